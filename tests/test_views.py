"""Random views: closed forms of flip, shift, turn and scale, and draws that belong to one image."""

import math

import pytest
import torch
from torch import Tensor

from inpaintlib.checks import InpaintError
from inpaintlib.views import draw, random_views, warp

from .tiny import pictures

F64 = torch.float64
STILL = (-1.0, 0.0, 0.0, 0.0, 0.0)
FLIPPED = (1.0, 0.0, 0.0, 0.0, 0.0)


def view(x: Tensor, *draws: float, **limits: float) -> Tensor:
    """Returns the view of every image with the same draws."""
    return warp(x, torch.tensor([draws], dtype=x.dtype).expand(len(x), -1), **limits)


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


# Closed forms -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [8, 15])
def test_view_without_flip_turn_scale_and_shift_is_the_image(size):
    x = pictures(2, size, dtype=F64)
    torch.testing.assert_close(view(x, *STILL), x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [8, 15])
def test_flip_is_the_mirrored_image(size):
    x = pictures(2, size, dtype=F64)
    torch.testing.assert_close(view(x, *FLIPPED), x.flip(-1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [8, 15])
def test_flip_of_a_view_is_the_flipped_view(size):
    x, rest = pictures(2, size, dtype=F64), (0.3, -0.8, 0.5, -0.9)
    torch.testing.assert_close(view(x, 0.7, *rest), view(x, -0.7, *rest).flip(-1), rtol=0, atol=1e-12)


def test_shift_by_a_pixel_moves_the_image_and_reflects_at_its_border():
    x = pictures(2, 8, dtype=F64)
    across = torch.cat([x[..., 1:], x[..., -1:]], dim=3)
    down = torch.cat([x[:, :, :1], x[:, :, :-1]], dim=2)
    torch.testing.assert_close(view(x, -1.0, 0.0, 0.0, 1.0, 0.0, shift=1 / 8), across, rtol=0, atol=1e-12)
    torch.testing.assert_close(view(x, -1.0, 0.0, 0.0, 0.0, -1.0, shift=1 / 8), down, rtol=0, atol=1e-12)


def test_turn_by_a_right_angle_is_exact():
    x = pictures(2, 8, dtype=F64)
    turned = view(x, -1.0, 1.0, 0.0, 0.0, 0.0, angle=math.pi / 2)
    torch.testing.assert_close(turned, torch.rot90(x, 1, (2, 3)), rtol=0, atol=1e-12)


def test_scale_is_the_exponential_of_its_draw():
    ramp = ((torch.arange(8, dtype=F64) + 0.5) / 4.0 - 1.0).expand(1, 3, 8, 8)
    scaled = view(ramp, -1.0, 0.0, -0.5, 0.0, 0.0, scale=0.2)
    torch.testing.assert_close(scaled, ramp * math.exp(-0.1), rtol=0, atol=1e-12)


def test_gradient_equals_finite_differences():
    draws = draw(2, torch.Generator().manual_seed(0))
    x = pictures(2, 5, dtype=F64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: warp(x, draws, angle=0.5, shift=0.3), x)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_views_keep_the_type_of_the_image(dtype):
    assert random_views(pictures(1, 8, dtype=dtype), 2, generators(0)).dtype == dtype


# Draws ------------------------------------------------------------------------------------------------


def test_draws_are_uniform_on_both_sides_of_zero():
    draws = draw(4000, torch.Generator().manual_seed(0))
    assert draws.shape == (4000, 5) and draws.abs().max() < 1.0
    # Mean 0 and variance 1/3 of a uniform number, to five standard errors.
    assert draws.mean(dim=0).abs().max() < 5.0 * math.sqrt(1 / 3 / 4000)
    assert (draws.square().mean(dim=0) - 1 / 3).abs().max() < 5.0 * math.sqrt(4 / 45 / 4000)


def test_views_of_an_image_stand_together_and_differ():
    x = pictures(2, 8)
    views = random_views(x, 3, generators(5, 6)).unflatten(0, (2, 3))
    for i, seed in enumerate((5, 6)):
        expected = warp(x[i].expand(3, -1, -1, -1), draw(3, torch.Generator().manual_seed(seed)))
        torch.testing.assert_close(views[i], expected)
        assert (views[i, 0] - views[i, 1]).abs().max() > 0.1


def test_views_of_an_item_depend_on_its_own_generator_only():
    x, rngs = pictures(3, 8), generators(7, 1, 3)
    together = [random_views(x, 2, rngs).unflatten(0, (3, 2)) for _ in range(2)]
    for i, seed in enumerate((7, 1, 3)):
        (alone,) = generators(seed)
        for step in range(2):  # the second views go on where the first ended
            torch.testing.assert_close(together[step][i], random_views(x[i : i + 1], 2, [alone]))
    assert not torch.allclose(together[0], together[1])


def test_strength_scales_all_but_the_flip():
    x, draws = pictures(1, 8), draw(4, torch.Generator().manual_seed(0))
    weaker = warp(x.expand(4, -1, -1, -1), draws, angle=0.075, scale=0.05, shift=0.03)
    torch.testing.assert_close(random_views(x, 4, generators(0), strength=0.5), weaker)
    flips = draw(8, torch.Generator().manual_seed(0))[:, 0] > 0
    for flip, image in zip(flips, random_views(x, 8, generators(0), strength=0.0), strict=True):
        torch.testing.assert_close(image, x[0].flip(-1) if flip else x[0], rtol=0, atol=1e-5)
    assert 0 < flips.sum() < 8


def test_draws_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    random_views(pictures(1, 8), 2, generators(0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("count", "strength", "message"),
    [
        (0, 1.0, "views must be at least 1; got 0"),
        (1.5, 1.0, "views must be a whole number at least 1; got 1.5"),
        (1, -0.1, "strength must be at least 0; got -0.1"),
        (1, math.nan, "strength must be at least 0; got nan"),
        (1, "1", "strength must be a number at least 0; got '1'"),
    ],
)
def test_wrong_settings_are_refused(count, strength, message):
    with pytest.raises(InpaintError, match=message):
        random_views(pictures(1, 8), count, generators(0), strength=strength)
