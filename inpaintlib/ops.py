"""Plain-PyTorch kernels of StyleGAN2: FIR resampling, equalised layers, modulated convolution.

Everything here works on CPU and GPU, in any float type, and can be differentiated twice (R1 needs it).

The FIR filter is [1, 3, 3, 1] x [1, 3, 3, 1] normalised to sum 1 (Karras et al. 2020, appendix B), kept
as a (4, 4) buffer because published weights carry it.

Modulated convolution (Karras et al. 2020, eq. 1 to 3). With style s, weights W and

    y_o = d_o * sum_i W_oi * (s_i x_i),      d_o = 1 / sqrt(sum_i s_i^2 sum_k W_oik^2 + eps)

scaling the *activations* before and after one ordinary convolution equals convolving each image with
its own demodulated kernel, but all images share one dense kernel and ``sum_k W_oik^2`` is a constant
of the network.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "LRELU_GAIN",
    "bias_act",
    "conv_down",
    "conv_up",
    "demodulation",
    "fir_filter",
    "fir_down",
    "fir_up",
    "normalize_second_moment",
]

LRELU_SLOPE = 0.2
LRELU_GAIN = math.sqrt(2.0)


def fir_filter() -> Tensor:
    """Returns the (4, 4) float32 resampling filter, sum 1."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = torch.outer(taps, taps)
    return kernel / kernel.sum()


def _depthwise(f: Tensor, channels: int, x: Tensor) -> Tensor:
    return f.to(x.dtype).expand(channels, 1, -1, -1)


def fir_up(x: Tensor, f: Tensor) -> Tensor:
    """Returns (N, C, 2H, 2W): zeros inserted between pixels, filtered by ``4 f`` so that the mean is kept."""
    c = x.shape[1]
    return F.conv_transpose2d(x, _depthwise(4.0 * f, c, x), stride=2, padding=1, groups=c)


def fir_down(x: Tensor, f: Tensor) -> Tensor:
    """Returns (N, C, H/2, W/2): filtered by ``f``, then every second pixel."""
    # Filtering every pixel and dropping three of four is several times faster on a CPU, above all
    # backward, than a depthwise convolution of stride 2, which has no fast kernel there.
    c = x.shape[1]
    return F.conv2d(x, _depthwise(f, c, x), padding=1, groups=c)[:, :, ::2, ::2]


def conv_up(x: Tensor, weight: Tensor, f: Tensor) -> Tensor:
    """Returns (N, O, 2H, 2W): transposed 3x3 convolution of stride 2 with ``weight`` (O, I, 3, 3), then ``4 f``."""
    y = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    c = y.shape[1]
    return F.conv2d(y, _depthwise(4.0 * f, c, y), padding=1, groups=c)


def conv_down(x: Tensor, weight: Tensor, f: Tensor) -> Tensor:
    """Returns (N, O, H/2, W/2): ``f``, then convolution of stride 2 with ``weight`` (O, I, k, k), k = 1 or 3."""
    if weight.shape[-1] == 1:
        return F.conv2d(fir_down(x, f), weight)
    c = x.shape[1]
    y = F.conv2d(x, _depthwise(f, c, x), padding=2, groups=c)
    return F.conv2d(y, weight, stride=2)


def bias_act(x: Tensor, bias: Tensor | None, *, gain: float = 1.0, clamp: float | None = None,
             lrelu: bool = True) -> Tensor:  # fmt: skip
    """Returns ``clamp(gain * act(x + bias))`` with leaky ReLU of slope 0.2 (its own gain sqrt 2 included) or linear.

    The channel axis is axis 1. ``clamp`` is the limit after all gains.
    """
    if bias is not None:
        x = x + bias.to(x.dtype).view(1, -1, *[1] * (x.ndim - 2))
    if lrelu:
        x, gain = F.leaky_relu(x, LRELU_SLOPE), gain * LRELU_GAIN
    if gain != 1.0:
        x = x * gain
    return x if clamp is None else x.clamp(-clamp, clamp)


def demodulation(styles: Tensor, energy: Tensor) -> Tensor:
    """Returns d, (N, O): ``1 / sqrt(styles^2 energy^T + 1e-8)`` (Karras et al. 2020, eq. 3).

    Args:
        styles: (N, I).
        energy: (O, I), the kernel's squares summed over its taps.
    """
    return torch.rsqrt(styles.square() @ energy.t() + 1e-8)


def normalize_second_moment(x: Tensor) -> Tensor:
    """Returns ``x / sqrt(mean(x^2) + 1e-8)`` over axis 1."""
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)
