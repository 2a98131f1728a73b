"""Layers that generator and discriminator share, with equalised learning rates (Karras et al. 2018, section 4.1)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checks import InpaintError, check_integer
from .ops import bias_act, conv_down, fir_filter, fir_up, normalize_second_moment

__all__ = ["ARCHITECTURES", "Convolution", "FullyConnected", "Mapping", "channels", "resolutions"]

ARCHITECTURES = ("orig", "skip", "resnet")


class FullyConnected(nn.Module):
    """Equalised-learning-rate linear layer: stored weight N(0, 1) / lr_mul, used times lr_mul / sqrt(fan_in)."""

    def __init__(self, fan_in: int, fan_out: int, *, lrelu: bool, lr_mul: float = 1.0, bias_init: float = 0.0):
        super().__init__()
        self.lrelu, self.lr_mul, self.gain = lrelu, lr_mul, lr_mul / math.sqrt(fan_in)
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in) / lr_mul)
        self.bias = nn.Parameter(torch.full((fan_out,), float(bias_init)))

    def effective(self) -> tuple[Tensor, Tensor]:
        """Returns weight and bias as they are used."""
        return self.weight * self.gain, self.bias * self.lr_mul

    def forward(self, x: Tensor) -> Tensor:
        return bias_act(F.linear(x, *self.effective()), None, lrelu=self.lrelu)


class Convolution(nn.Module):
    """Equalised convolution without modulation (discriminator, and the generator's residual skips)."""

    def __init__(self, fan_in: int, fan_out: int, kernel: int, *, lrelu: bool = True, bias: bool = True,
                 up: bool = False, down: bool = False, clamp: float | None = None):  # fmt: skip
        super().__init__()
        self.lrelu, self.up, self.down, self.clamp = lrelu, up, down, clamp
        self.weight_gain = 1.0 / math.sqrt(fan_in * kernel**2)
        self.register_buffer("resample_filter", fir_filter())
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(fan_out)) if bias else None

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        weight = self.weight * self.weight_gain
        if self.down:
            x = conv_down(x, weight, self.resample_filter)
        else:
            x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
            x = fir_up(x, self.resample_filter) if self.up else x
        clamp = None if self.clamp is None else self.clamp * gain
        return bias_act(x, self.bias, gain=gain, clamp=clamp, lrelu=self.lrelu)


class Mapping(nn.Module):
    """z, c -> w: an MLP with learning-rate multiplier 0.01 on normalised input (Karras et al. 2019).

    With ``z_dim = 0`` it maps the class alone (the conditional discriminator) and keeps no ``w_avg``.
    """

    def __init__(self, z_dim: int, c_dim: int, w_dim: int, *, layers: int):
        super().__init__()
        self.z_dim, self.c_dim, self.layers = z_dim, c_dim, layers
        if c_dim:
            self.embed = FullyConnected(c_dim, w_dim, lrelu=False)
        widths = [z_dim + (w_dim if c_dim else 0)] + [w_dim] * layers
        for i in range(layers):
            self.add_module(f"fc{i}", FullyConnected(widths[i], w_dim, lrelu=True, lr_mul=0.01))
        if z_dim:
            self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor | None, c: Tensor | None = None) -> Tensor:
        """Returns w, (N, w_dim). Raises InpaintError if z or c do not have the network's widths."""
        parts = []
        if self.z_dim:
            _check_width("z", z, self.z_dim)
            parts.append(normalize_second_moment(z))
        if self.c_dim:
            _check_width("c", c, self.c_dim)
            parts.append(normalize_second_moment(self.embed(c)))
        x = torch.cat(parts, dim=1)
        for i in range(self.layers):
            x = getattr(self, f"fc{i}")(x)
        return x


def _check_width(name: str, x: Tensor | None, width: int) -> None:
    if x is None or x.ndim != 2 or x.shape[1] != width:
        raise InpaintError(f"{name} must have shape (N, {width}); got {None if x is None else tuple(x.shape)}")


def resolutions(img_resolution: int) -> list[int]:
    """Returns 4, 8, ..., ``img_resolution``; raises InpaintError unless it is a power of two, at least 4."""
    check_integer("img_resolution", img_resolution, low=4)
    if img_resolution & (img_resolution - 1):
        raise InpaintError(f"img_resolution must be a power of two, at least 4; got {img_resolution}")
    return [2**i for i in range(2, img_resolution.bit_length())]


def channels(resolution: int, channel_base: int, channel_max: int) -> int:
    """Returns the number of channels at a resolution; raises InpaintError if there would be none."""
    width = min(channel_base // resolution, channel_max)
    if width < 1:
        raise InpaintError(
            f"channel_base and channel_max must leave at least one channel at {resolution} px; got {channel_base}"
            f" and {channel_max}"
        )
    return width
