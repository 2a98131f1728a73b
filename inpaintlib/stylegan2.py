"""StyleGAN2(-ADA) generator and discriminator.

Sources: Karras et al. 2019 (mapping, noise, style mixing), Karras et al. 2020a "Analyzing and improving
the image quality of StyleGAN" (demodulation, skip and residual architectures), Karras et al. 2020b
"Training generative adversarial networks with limited data". Parameter and buffer names are those of
the StyleGAN2-ADA release, so that weights interchange.

Shapes: z (N, z_dim), c (N, c_dim) one-hot or None, w (N, w_dim), ws (N, num_ws, w_dim),
images (N, img_channels, R, R) nominally in [-1, 1] and not clamped.

The synthesis network runs in two steps so that a latent search computes nothing twice: ``plan(noise)``
gathers what depends only on the network and the noise maps, ``render(ws, plan)`` does the rest.
``forward`` is ``render(ws, plan(noise))``: there is one code path.

Features run channels-last: on a CPU the up-convolution at 64 px takes a third of the time that it takes
channels-first, and GPUs want that layout for half precision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checks import InpaintError, check_choice, check_integer
from .discriminator import Discriminator
from .layers import ARCHITECTURES, Convolution, FullyConnected, Mapping, channels, resolutions
from .ops import LRELU_GAIN, LRELU_SLOPE, bias_act, conv_up, demodulation, fir_filter, fir_up

__all__ = ["Discriminator", "Generator", "Mapping", "Synthesis"]


class LayerPlan(NamedTuple):
    """What a synthesis layer needs besides its input and code; all of it independent of the codes."""

    affine: tuple[Tensor, Tensor]  # (I, w_dim), (I): code -> styles
    weight: Tensor  # (O, I, 3, 3)
    energy: Tensor  # (O, I), sum over taps of weight^2
    offset: Tensor  # (1 or N, O, H, W) or (1, O, 1, 1): sqrt(2) * gain * (noise + bias)


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU (Karras et al. 2020a, figure 2d)."""

    def __init__(self, fan_in: int, fan_out: int, w_dim: int, resolution: int, *, up: bool, clamp: float | None,
                 gain: float = 1.0):  # fmt: skip
        super().__init__()
        self.resolution, self.up = resolution, up
        self.gain, self.clamp = gain * LRELU_GAIN, None if clamp is None else clamp * gain
        self.affine = FullyConnected(w_dim, fan_in, lrelu=False, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in, 3, 3))
        self.bias = nn.Parameter(torch.zeros(fan_out))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.register_buffer("resample_filter", fir_filter())

    def plan(self, noise: Tensor | None) -> LayerPlan:
        """Returns the layer's constants for a noise map (1 or N, 1, H, W), or None for no noise."""
        # Leaky ReLU is positively homogeneous, so its gain moves in front of it, into constants.
        offset = self.bias.view(1, -1, 1, 1) * self.gain
        if noise is not None:
            offset = offset + noise * (self.noise_strength * self.gain)
        weight = self.weight.contiguous(memory_format=torch.channels_last)
        offset = offset.contiguous(memory_format=torch.channels_last)
        return LayerPlan(self.affine.effective(), weight, weight.square().sum(dim=(2, 3)), offset)

    def forward(self, x: Tensor, w: Tensor, plan: LayerPlan) -> Tensor:
        styles = F.linear(w, *plan.affine)
        d = demodulation(styles, plan.energy) * self.gain
        x = x * styles.to(x.dtype)[:, :, None, None]
        if self.up:
            x = conv_up(x, plan.weight, self.resample_filter)
        else:
            x = F.conv2d(x, plan.weight, padding=1)
        x = torch.addcmul(plan.offset.to(x.dtype), x, d.to(x.dtype)[:, :, None, None])
        x = F.leaky_relu_(x, LRELU_SLOPE)
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to colours, without demodulation and noise."""

    def __init__(self, fan_in: int, channels: int, w_dim: int, *, clamp: float | None):
        super().__init__()
        self.clamp, self.weight_gain = clamp, 1.0 / math.sqrt(fan_in)
        self.affine = FullyConnected(w_dim, fan_in, lrelu=False, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(channels, fan_in, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))

    def plan(self) -> tuple[Tensor, Tensor]:
        """Returns the map from code to styles, (I, w_dim) and (I,), with the layer's gain in it."""
        weight, bias = self.affine.effective()
        return weight * self.weight_gain, bias * self.weight_gain

    def forward(self, x: Tensor, w: Tensor, plan: tuple[Tensor, Tensor]) -> Tensor:
        # Three output channels only: a kernel per item, (N, 3, I), is far smaller than a scaled copy of x.
        kernel = self.weight[:, :, 0, 0] * F.linear(w, *plan)[:, None, :]
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2)  # a view: features are channels-last
        y = torch.matmul(pixels, kernel.to(x.dtype).transpose(1, 2)).unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
        return bias_act(y, self.bias, clamp=self.clamp, lrelu=False)


class BlockPlan(NamedTuple):
    """The constants of a block's layers, and of its toRGB (None if it has none)."""

    layers: list[LayerPlan]
    torgb: tuple[Tensor, Tensor] | None


class SynthesisBlock(nn.Module):
    """Two synthesis layers at one resolution (one in the first block), and the block's way to the image."""

    def __init__(self, fan_in: int, fan_out: int, w_dim: int, resolution: int, channels: int, *,
                 architecture: str, last: bool, clamp: float | None):  # fmt: skip
        super().__init__()
        first, residual = fan_in == 0, architecture == "resnet" and fan_in > 0
        self.first, self.residual, self.to_image = first, residual, last or architecture == "skip"
        self.register_buffer("resample_filter", fir_filter())
        if first:
            self.const = nn.Parameter(torch.randn(fan_out, resolution, resolution))
        else:
            self.conv0 = SynthesisLayer(fan_in, fan_out, w_dim, resolution, up=True, clamp=clamp)
        gain = math.sqrt(0.5) if residual else 1.0
        self.conv1 = SynthesisLayer(fan_out, fan_out, w_dim, resolution, up=False, clamp=clamp, gain=gain)
        if self.to_image:
            self.torgb = ToRGB(fan_out, channels, w_dim, clamp=clamp)
        if residual:
            self.skip = Convolution(fan_in, fan_out, 1, lrelu=False, bias=False, up=True)

    @property
    def layers(self) -> list[SynthesisLayer]:
        return [self.conv1] if self.first else [self.conv0, self.conv1]

    def plan(self, noise: Sequence[Tensor | None]) -> BlockPlan:
        """Returns the block's constants for one noise map (or None) a layer."""
        layers = [layer.plan(n) for layer, n in zip(self.layers, noise, strict=True)]
        return BlockPlan(layers, self.torgb.plan() if self.to_image else None)

    def forward(self, x: Tensor | None, image: Tensor | None, ws: Sequence[Tensor], plan: BlockPlan):
        """Returns features and image; ``ws`` holds the block's codes in the order conv0, conv1, torgb."""
        plans = plan.layers
        if self.first:
            x = self.const.expand(len(ws[0]), -1, -1, -1).contiguous(memory_format=torch.channels_last)
            x = self.conv1(x, ws[0], plans[0])
        else:
            y = self.skip(x, gain=math.sqrt(0.5)) if self.residual else None
            x = self.conv1(self.conv0(x, ws[0], plans[0]), ws[1], plans[1])
            x = x if y is None else x + y
        if image is not None:
            image = fir_up(image, self.resample_filter)
        if self.to_image:
            rgb = self.torgb(x, ws[-1], plan.torgb)
            image = rgb if image is None else image + rgb
        return x, image


class Synthesis(nn.Module):
    """ws -> image: blocks ``b4`` to ``b{R}``."""

    def __init__(self, w_dim: int, img_resolution: int, img_channels: int, *, architecture: str, channel_base: int,
                 channel_max: int, conv_clamp: float | None):  # fmt: skip
        super().__init__()
        self.w_dim, self.resolution = w_dim, img_resolution
        self.block_resolutions = resolutions(img_resolution)
        self.num_ws = 2 * len(self.block_resolutions)
        fan_in = 0
        for res in self.block_resolutions:
            fan_out = channels(res, channel_base, channel_max)
            block = SynthesisBlock(fan_in, fan_out, w_dim, res, img_channels, architecture=architecture,
                                   last=res == img_resolution, clamp=conv_clamp)  # fmt: skip
            self.add_module(f"b{res}", block)
            fan_in = fan_out

    @property
    def blocks(self) -> list[SynthesisBlock]:
        return [getattr(self, f"b{res}") for res in self.block_resolutions]

    @property
    def layers(self) -> list[SynthesisLayer]:
        """The 3x3 layers in the order in which they run; noise maps are listed in this order."""
        return [layer for block in self.blocks for layer in block.layers]

    def constant_noise(self) -> list[Tensor]:
        """Returns the stored noise maps, one (1, 1, H, W) a layer."""
        return [layer.noise_const[None, None] for layer in self.layers]

    def random_noise(self, generators: Sequence[torch.Generator]) -> list[Tensor]:
        """Returns fresh N(0, 1) noise maps, (N, 1, H, W) a layer, item i drawn from ``generators[i]``.

        An item's maps depend on its own generator only. Draws happen on the generators' device.
        """
        like = self.layers[0].noise_const
        return [
            torch.stack([
                torch.randn(1, layer.resolution, layer.resolution, generator=g, device=g.device) for g in generators
            ]).to(like)
            for layer in self.layers
        ]  # fmt: skip

    def plan(self, noise: str | Sequence[Tensor] = "const") -> list[BlockPlan]:
        """Returns the constants of all blocks for a noise choice.

        Args:
            noise: ``"const"`` the stored maps, ``"none"`` no noise, or one map a layer, (1 or N, 1, H, W),
                for instance from :meth:`random_noise`.

        Raises:
            InpaintError: for another word, or maps of another number or shape than the layers.
        """
        layers = self.layers
        if isinstance(noise, str):
            check_choice("noise", noise, ("const", "none"))
            maps = self.constant_noise() if noise == "const" else [None] * len(layers)
        else:
            maps = list(noise)
            expected = [(1, layer.resolution, layer.resolution) for layer in layers]
            if [tuple(m.shape[1:]) for m in maps] != expected:
                raise InpaintError(
                    f"noise must hold {len(layers)} maps (N, 1, H, W) of heights {[e[1] for e in expected]}; "
                    f"got shapes {[tuple(m.shape) for m in maps]}"
                )
        rest = iter(maps)
        return [block.plan([next(rest) for _ in block.layers]) for block in self.blocks]

    def render(self, ws: Tensor, plans: Sequence[BlockPlan]) -> Tensor:
        """Returns the image of ``ws`` (N, num_ws, w_dim) under the constants of :meth:`plan`.

        Raises InpaintError if ``ws`` has another shape, or the noise maps were for another number of items.
        """
        if ws.ndim != 3 or tuple(ws.shape[1:]) != (self.num_ws, self.w_dim):
            raise InpaintError(f"ws must have shape (N, {self.num_ws}, {self.w_dim}); got {tuple(ws.shape)}")
        counts = {len(layer.offset) for plan in plans for layer in plan.layers}
        if not counts <= {1, len(ws)}:
            raise InpaintError(f"noise must hold 1 or {len(ws)} maps a layer, as many as codes; got {max(counts)}")
        codes, x, image = ws.unbind(dim=1), None, None
        start = 0  # a block's toRGB shares its code with the next block's conv0
        for block, plan in zip(self.blocks, plans, strict=True):
            n = len(plan.layers)
            x, image = block(x, image, codes[start : start + n + 1], plan)
            start += n
        return image

    def forward(self, ws: Tensor, noise: str | Sequence[Tensor] = "const") -> Tensor:
        """Returns the image, (N, img_channels, R, R); see :meth:`plan` for ``noise``."""
        return self.render(ws, self.plan(noise))


class Generator(nn.Module):
    """StyleGAN2 generator.

    Args:
        z_dim, c_dim, w_dim: widths of the input, the class label (0 = unconditional) and the code.
        img_resolution: a power of two, at least 4.
        img_channels: 3 for RGB.
        architecture: ``"skip"`` (default), ``"resnet"`` or ``"orig"`` (Karras et al. 2020a, figure 7).
        channel_base, channel_max: a block has ``min(channel_base // resolution, channel_max)`` channels.
        mapping_layers: depth of the mapping network.
        conv_clamp: activations are clamped to +- this (256 in half-precision training), None = not.

    Attributes:
        alignment: how faces lie in its images, one of :data:`inpaintlib.alignment.ALIGNMENTS`; a file says it.
    """

    alignment = "none"

    def __init__(self, z_dim: int = 512, c_dim: int = 0, w_dim: int = 512, img_resolution: int = 256,
                 img_channels: int = 3, *, architecture: str = "skip", channel_base: int = 32768,
                 channel_max: int = 512, mapping_layers: int = 8, conv_clamp: float | None = None):  # fmt: skip
        super().__init__()
        check_choice("architecture", architecture, ARCHITECTURES)
        check_integer("mapping_layers", mapping_layers, low=1)
        self.config = dict(z_dim=z_dim, c_dim=c_dim, w_dim=w_dim, img_resolution=img_resolution,
                           img_channels=img_channels, architecture=architecture, channel_base=channel_base,
                           channel_max=channel_max, mapping_layers=mapping_layers, conv_clamp=conv_clamp)  # fmt: skip
        self.z_dim, self.c_dim, self.w_dim, self.img_resolution = z_dim, c_dim, w_dim, img_resolution
        self.mapping = Mapping(z_dim, c_dim, w_dim, layers=mapping_layers)
        self.synthesis = Synthesis(w_dim, img_resolution, img_channels, architecture=architecture,
                                   channel_base=channel_base, channel_max=channel_max,
                                   conv_clamp=conv_clamp)  # fmt: skip

    @property
    def num_ws(self) -> int:
        return self.synthesis.num_ws

    def map(self, z: Tensor, c: Tensor | None = None, *, truncation: float = 1.0, cutoff: int | None = None) -> Tensor:
        """Returns ws, (N, num_ws, w_dim): the mapped code repeated, truncated towards ``w_avg``.

        ``ws[:, i] = w_avg + truncation * (w - w_avg)`` for ``i < cutoff`` (None = all) (Karras et al. 2019, B).
        """
        ws = self.mapping(z, c)[:, None].repeat(1, self.num_ws, 1)
        if truncation == 1.0:
            return ws
        truncated = torch.lerp(self.mapping.w_avg, ws[:, :cutoff], truncation)
        return torch.cat([truncated, ws[:, truncated.shape[1] :]], dim=1)

    def forward(self, z: Tensor, c: Tensor | None = None, *, truncation: float = 1.0,
                noise: str | Sequence[Tensor] = "const") -> Tensor:  # fmt: skip
        """Returns the image of z; see :meth:`map` and :meth:`Synthesis.plan`."""
        return self.synthesis(self.map(z, c, truncation=truncation), noise)
