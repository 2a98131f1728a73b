"""Noise maps as variables: white noise costs nearly nothing, pictures cost."""

import pytest
import torch
from torch import Tensor

from inpaintlib.noise import noise_penalty, standardise


def white(n: int, size: int, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(n, 1, size, size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def checkers(size: int) -> Tensor:
    rows = torch.arange(size)
    return (1.0 - 2.0 * ((rows[:, None] + rows) % 2)).view(1, 1, size, size)


@pytest.mark.parametrize(
    ("maps", "expected"),
    [
        ([torch.ones(1, 1, 4, 4)], 2.0),
        ([torch.ones(1, 1, 8, 8), 2.0 * torch.ones(1, 1, 4, 4)], 2.0 + 2.0 * 4.0**2),
        # Coarser levels of a constant are 2 and 4 times as large, each product the square of that, and squared again.
        ([torch.ones(1, 1, 32, 32)], 2.0 * (1.0 + 4.0**2 + 16.0**2)),
        ([checkers(8)], 2.0),
        ([checkers(16)], 2.0),  # its means of 2 x 2 vanish
    ],
)
def test_penalty_has_its_known_values(maps, expected):
    assert noise_penalty(maps).tolist() == pytest.approx([expected])


def test_white_noise_costs_nearly_nothing_at_every_level():
    mean = noise_penalty([white(200, 64)]).mean()
    # A mean of r^2 products of unit variance has the variance 1 / r^2; two axes, levels of 64, 32, 16 and 8.
    assert float(mean) == pytest.approx(2.0 * sum(1.0 / r**2 for r in (64, 32, 16, 8)), rel=0.25)


def test_penalty_is_each_items_own():
    maps = [white(3, 16), white(3, 8, seed=1)]
    together = noise_penalty(maps)
    alone = [noise_penalty([m[i : i + 1] for m in maps]).item() for i in range(3)]
    assert together.shape == (3,) and together.tolist() == pytest.approx(alone, rel=1e-5)


def test_gradient_is_that_of_finite_differences():
    maps = (white(2, 16, dtype=torch.float64).requires_grad_(), white(2, 4, dtype=torch.float64).requires_grad_())
    assert torch.autograd.gradcheck(lambda *m: noise_penalty(m), maps)


def test_standardised_maps_have_zero_mean_and_unit_variance_each():
    maps = [3.0 + 5.0 * white(2, 8), white(2, 4) - 1.0]
    maps[0][1] *= 7.0
    standardise(maps)
    for m in maps:
        torch.testing.assert_close(m.mean(dim=(1, 2, 3)), torch.zeros(2), atol=1e-6, rtol=0)
        torch.testing.assert_close(m.square().mean(dim=(1, 2, 3)), torch.ones(2))


def test_standardising_a_constant_gives_no_nan():
    maps = [torch.full((1, 1, 4, 4), 2.0)]
    standardise(maps)
    assert (maps[0] == 0).all()
