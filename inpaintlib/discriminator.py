"""The StyleGAN2(-ADA) discriminator; see :mod:`inpaintlib.stylegan2` for sources, names and shapes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .checks import InpaintError, check_choice, check_integer
from .layers import ARCHITECTURES, Convolution, FullyConnected, Mapping, channels, resolutions
from .ops import fir_down, fir_filter

__all__ = ["Discriminator", "minibatch_std"]


class DiscriminatorBlock(nn.Module):
    """Halves the resolution: two 3x3 convolutions and the block's way from the image."""

    def __init__(self, fan_in: int, fan_out: int, channels: int, *, architecture: str, first: bool,
                 clamp: float | None):  # fmt: skip
        super().__init__()
        self.architecture = architecture
        self.register_buffer("resample_filter", fir_filter())
        if first or architecture == "skip":
            self.fromrgb = Convolution(channels, fan_in, 1, clamp=clamp)
        self.conv0 = Convolution(fan_in, fan_in, 3, clamp=clamp)
        self.conv1 = Convolution(fan_in, fan_out, 3, down=True, clamp=clamp)
        if architecture == "resnet":
            self.skip = Convolution(fan_in, fan_out, 1, lrelu=False, bias=False, down=True)

    def forward(self, x: Tensor | None, image: Tensor | None):
        if hasattr(self, "fromrgb"):
            y = self.fromrgb(image)
            x = y if x is None else x + y
            image = fir_down(image, self.resample_filter) if self.architecture == "skip" else None
        if self.architecture != "resnet":
            return self.conv1(self.conv0(x)), image
        gain = math.sqrt(0.5)
        return self.skip(x, gain=gain) + self.conv1(self.conv0(x), gain=gain), image


def minibatch_std(x: Tensor, group_size: int | None) -> Tensor:
    """Returns x with one more channel: the standard deviation over a group of items, averaged over the rest.

    Item i is grouped with items i, i + N/g, ..., g = min(group_size, N), None = N (Karras et al. 2018, 3).
    """
    n, c, h, w = x.shape
    g = n if group_size is None else min(group_size, n)
    if n % g:
        raise InpaintError(f"the batch size must be a multiple of the minibatch-std group {g}; got {n}")
    y = x.to(torch.promote_types(x.dtype, torch.float32)).reshape(g, n // g, c, h, w)
    y = (y - y.mean(dim=0)).square().mean(dim=0).add(1e-8).sqrt().mean(dim=(1, 2, 3))
    return torch.cat([x, y.to(x.dtype).repeat(g).view(n, 1, 1, 1).expand(-1, 1, h, w)], dim=1)


class DiscriminatorEpilogue(nn.Module):
    """4x4 features -> logit: minibatch standard deviation, 3x3 convolution, two linear layers."""

    def __init__(self, fan_in: int, cmap_dim: int, channels: int, *, architecture: str, group_size: int | None,
                 clamp: float | None):  # fmt: skip
        super().__init__()
        self.group_size, self.cmap_dim = group_size, cmap_dim
        if architecture == "skip":
            self.fromrgb = Convolution(channels, fan_in, 1)
        self.conv = Convolution(fan_in + 1, fan_in, 3, clamp=clamp)
        self.fc = FullyConnected(fan_in * 16, fan_in, lrelu=True)
        self.out = FullyConnected(fan_in, cmap_dim or 1, lrelu=False)

    def forward(self, x: Tensor, image: Tensor | None, cmap: Tensor | None, *, alone: bool) -> Tensor:
        if image is not None:
            x = x + self.fromrgb(image)
        x = self.conv(minibatch_std(x, 1 if alone else self.group_size))
        x = self.out(self.fc(x.flatten(1)))
        return x if cmap is None else (x * cmap).sum(dim=1, keepdim=True) / math.sqrt(self.cmap_dim)


class Discriminator(nn.Module):
    """StyleGAN2 discriminator; arguments as :class:`Generator`.

    ``mbstd_group_size`` None = the whole batch; ``mapping_layers`` of the classes' network, 0 = their embedding alone.
    """

    def __init__(self, c_dim: int = 0, img_resolution: int = 256, img_channels: int = 3, *,
                 architecture: str = "resnet", channel_base: int = 32768, channel_max: int = 512,
                 conv_clamp: float | None = None, mbstd_group_size: int | None = 4,
                 mapping_layers: int = 8):  # fmt: skip
        super().__init__()
        check_choice("architecture", architecture, ARCHITECTURES)
        check_integer("img_resolution", img_resolution, low=8)
        check_integer("mapping_layers", mapping_layers, low=0)
        self.config = dict(c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels,
                           architecture=architecture, channel_base=channel_base, channel_max=channel_max,
                           conv_clamp=conv_clamp, mbstd_group_size=mbstd_group_size,
                           mapping_layers=mapping_layers)  # fmt: skip
        self.img_resolution, self.c_dim = img_resolution, c_dim
        self.block_resolutions = resolutions(img_resolution)[:0:-1]
        for res in self.block_resolutions:
            block = DiscriminatorBlock(channels(res, channel_base, channel_max),
                                       channels(res // 2, channel_base, channel_max), img_channels,
                                       architecture=architecture, first=res == img_resolution,
                                       clamp=conv_clamp)  # fmt: skip
            self.add_module(f"b{res}", block)
        width = channels(4, channel_base, channel_max)
        cmap_dim = width if c_dim else 0
        self.b4 = DiscriminatorEpilogue(width, cmap_dim, img_channels, architecture=architecture,
                                        group_size=mbstd_group_size, clamp=conv_clamp)  # fmt: skip
        if c_dim:
            self.mapping = Mapping(0, c_dim, cmap_dim, layers=mapping_layers)

    def forward(self, image: Tensor, c: Tensor | None = None, *, alone: bool = False) -> Tensor:
        """Returns logits, (N, 1); high = looks real.

        ``alone``: every image is judged by itself, in a minibatch-std group of one; else its group has a say.
        """
        x, image = None, image.contiguous(memory_format=torch.channels_last)
        for res in self.block_resolutions:
            x, image = getattr(self, f"b{res}")(x, image)
        cmap = self.mapping(None, c) if self.c_dim else None
        return self.b4(x, image, cmap, alone=alone)
