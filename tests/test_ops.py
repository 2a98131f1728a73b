"""Kernels against scipy, against literal loops, and against their own finite differences, all in float64."""

import math

import numpy as np
import pytest
import scipy.signal
import torch
import torch.nn.functional as F

from inpaintlib.ops import (
    bias_act,
    conv_down,
    conv_up,
    demodulation,
    fir_down,
    fir_filter,
    fir_up,
    normalize_second_moment,
)

TAPS = np.array([1.0, 3.0, 3.0, 1.0]) / 8.0
FIR = fir_filter().double()


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def convolved(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Full true convolution of one plane, one output at a time."""
    h, w, k = *x.shape, len(kernel)
    y = np.zeros((h + k - 1, w + k - 1))
    for i, j in np.ndindex(y.shape):
        for a, b in np.ndindex(k, k):
            if 0 <= i - a < h and 0 <= j - b < w:
                y[i, j] += kernel[a, b] * x[i - a, j - b]
    return y


def all_planes(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Full true convolution of (N, I, H, W) with (O, I, k, k)."""
    return np.stack([[sum(map(convolved, item, kernels)) for kernels in weight] for item in x])


def filtered(x: np.ndarray) -> np.ndarray:
    """Every plane fully convolved with the resampling filter."""
    return np.stack([[convolved(plane, np.outer(TAPS, TAPS)) for plane in item] for item in x])


def zero_inserted(x: np.ndarray) -> np.ndarray:
    y = np.zeros((*x.shape[:2], 2 * x.shape[2] - 1, 2 * x.shape[3] - 1))
    y[:, :, ::2, ::2] = x
    return y


def test_filter_is_the_binomial_of_sum_one():
    np.testing.assert_allclose(fir_filter().numpy(), np.outer(TAPS, TAPS), rtol=1e-7)


@pytest.mark.parametrize("size", [(4, 4), (6, 10), (2, 8)])
def test_fir_up_is_scipys_upfirdn(size):
    x = random(2, 3, *size)
    y = x.numpy()
    for axis in (2, 3):
        y = scipy.signal.upfirdn(2 * TAPS, y, up=2, axis=axis)
    np.testing.assert_allclose(fir_up(x, FIR).numpy(), y[:, :, 1:-1, 1:-1], atol=1e-13)


@pytest.mark.parametrize("size", [(4, 4), (6, 10), (2, 8)])
def test_fir_down_is_scipys_convolution_then_every_second_pixel(size):
    x = random(2, 3, *size)
    kernel = np.outer(TAPS, TAPS)[None, None]
    y = scipy.signal.convolve(x.numpy(), kernel, mode="full")[:, :, 2:-1:2, 2:-1:2]
    np.testing.assert_allclose(fir_down(x, FIR).numpy(), y, atol=1e-13)


def test_resampling_keeps_a_constant_away_from_the_border():
    x = torch.ones(1, 1, 8, 8, dtype=torch.float64)
    for y in (fir_up(x, FIR), fir_down(x, FIR)):
        torch.testing.assert_close(y[:, :, 1:-1, 1:-1], torch.ones_like(y[:, :, 1:-1, 1:-1]))


def test_conv_up_inserts_zeros_convolves_and_filters():
    x, weight = random(2, 3, 4, 6), random(5, 3, 3, 3, seed=1)
    y = 4.0 * filtered(all_planes(zero_inserted(x.numpy()), weight.numpy()))
    # Of the full result, 12 x 16, the filter's overhang goes: one row and column before, two after.
    assert y.shape == (2, 5, 12, 16)
    np.testing.assert_allclose(conv_up(x, weight, FIR).numpy(), y[:, :, 2:-2, 2:-2], atol=1e-12)


def test_conv_down_filters_then_correlates_every_second_pixel():
    x, weight = random(2, 3, 6, 4), random(5, 3, 3, 3, seed=1)
    y = all_planes(filtered(x.numpy()), weight.numpy()[:, :, ::-1, ::-1])  # correlation: a flipped kernel
    np.testing.assert_allclose(conv_down(x, weight, FIR).numpy(), y[:, :, 3:-3:2, 3:-3:2], atol=1e-12)


def test_conv_down_of_one_tap_filters_then_mixes_channels():
    x, weight = random(2, 3, 6, 4), random(5, 3, 1, 1, seed=1)
    y = np.einsum("oi,nihw->nohw", weight.numpy()[:, :, 0, 0], filtered(x.numpy())[:, :, 2:-1:2, 2:-1:2])
    np.testing.assert_allclose(conv_down(x, weight, FIR).numpy(), y, atol=1e-12)


@pytest.mark.parametrize("up", [False, True])
def test_scaled_activations_equal_a_demodulated_kernel_for_each_item(up):
    x, weight, styles = random(3, 4, 5, 5), random(6, 4, 3, 3, seed=1), random(3, 4, seed=2)
    d = demodulation(styles, weight.square().sum(dim=(2, 3)))
    scaled = x * styles[:, :, None, None]
    y = conv_up(scaled, weight, FIR) if up else F.conv2d(scaled, weight, padding=1)
    y = y * d[:, :, None, None]
    for item in range(3):
        kernel = weight * styles[item].view(1, -1, 1, 1)  # Karras et al. 2020, eq. 1
        kernel = kernel / torch.sqrt(kernel.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8)  # eq. 3
        one = x[item : item + 1]
        expected = conv_up(one, kernel, FIR) if up else F.conv2d(one, kernel, padding=1)
        torch.testing.assert_close(y[item : item + 1], expected, rtol=1e-12, atol=1e-12)


def test_demodulated_outputs_have_unit_variance():
    x, weight, styles = random(1, 32, 48, 48), random(8, 32, 3, 3, seed=1), random(1, 32, seed=2)
    d = demodulation(styles, weight.square().sum(dim=(2, 3)))
    y = F.conv2d(x * styles[:, :, None, None], weight) * d[:, :, None, None]
    assert y.std().item() == pytest.approx(1.0, abs=0.05)


def test_bias_act_known_values():
    x = torch.tensor([[-1.0, 2.0]], dtype=torch.float64)
    bias = torch.tensor([0.5, 1.0], dtype=torch.float64)
    root = math.sqrt(2.0)
    assert bias_act(x, bias).tolist()[0] == pytest.approx([-0.1 * root, 3.0 * root])
    assert bias_act(x, bias, gain=0.5, lrelu=False).tolist()[0] == [-0.25, 1.5]
    assert bias_act(x, None, gain=2.0, clamp=2.0).tolist()[0] == pytest.approx([-0.4 * root, 2.0])


def test_bias_goes_to_the_channel_axis_of_images():
    x, bias = random(2, 3, 4, 5), random(3, seed=1)
    torch.testing.assert_close(bias_act(x, bias, lrelu=False), x + bias[None, :, None, None])


def test_normalisation_gives_unit_second_moment_and_survives_zero():
    x = normalize_second_moment(random(4, 64) * torch.tensor([1e-2, 1.0, 7.0, 1e3]).view(4, 1))
    torch.testing.assert_close(x.square().mean(dim=1), torch.ones(4, dtype=torch.float64), rtol=2e-4, atol=0)
    assert normalize_second_moment(torch.zeros(1, 8)).tolist() == [[0.0] * 8]


@pytest.mark.parametrize(
    "kernel",
    [
        lambda x, w: fir_up(x, FIR),
        lambda x, w: fir_down(x, FIR),
        lambda x, w: conv_up(x, w, FIR),
        lambda x, w: conv_down(x, w, FIR),
        lambda x, w: conv_down(x, w[:, :, :1, :1], FIR),
        lambda x, w: bias_act(x, w[:2, 0, 0, 0], gain=0.7),
        lambda x, w: demodulation(x.flatten(2)[:, :, 0], w.square().sum(dim=(2, 3))),
        lambda x, w: normalize_second_moment(x.flatten(1)),
    ],
    ids=["fir_up", "fir_down", "conv_up", "conv_down", "conv_down_1x1", "bias_act", "demodulation", "normalise"],
)
def test_kernels_are_differentiable_twice(kernel):
    x, w = random(1, 2, 4, 4).requires_grad_(), random(2, 2, 3, 3, seed=1).requires_grad_()
    used = (x, w) if torch.autograd.grad(kernel(x, w).sum(), w, allow_unused=True)[0] is not None else (x,)
    fn = kernel if len(used) == 2 else lambda x: kernel(x, None)
    assert torch.autograd.gradcheck(fn, used, fast_mode=True)
    assert torch.autograd.gradgradcheck(fn, used, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernels_keep_the_dtype_of_their_input(dtype):
    x, weight = random(1, 3, 8, 8).to(dtype), random(4, 3, 3, 3).to(dtype)
    for y in (fir_up(x, fir_filter()), fir_down(x, fir_filter()), conv_up(x, weight, fir_filter()),
              conv_down(x, weight, fir_filter()), bias_act(x, torch.zeros(3))):  # fmt: skip
        assert y.dtype == dtype
