"""Augmentation: neutral where it must be, exact where it can be, differentiable, and steered the right way."""

import math

import pytest
import torch

from inpaintlib.train.augment import SYM6, AdaController, _colour, _Draws, _geometry, augment

ALMOST_NEVER = 1e-12  # so small a p leaves every gate shut, but the whole pipeline runs


def images(n: int = 4, size: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def smooth_image(size: int = 32) -> torch.Tensor:
    """A picture without structure below 6 px, not symmetric in any way."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    waves = [torch.sin(0.4 * x + 0.3 * y), torch.cos(0.3 * y - 0.1 * x), torch.sin(0.2 * x - 0.5 * y)]
    return torch.stack(waves)[None]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Scripted(_Draws):
    """Neutral draws, except for those given by kind, in the order in which the pipeline asks for them."""

    def __init__(self, n: int = 1, **values: list[float]):
        super().__init__(n, 0.0, torch.Generator(), torch.device("cpu"))
        self.values = {kind: list(given) for kind, given in values.items()}

    def _next(self, kind: str, neutral: float) -> torch.Tensor:
        given = self.values.get(kind)
        return torch.full((self.n,), given.pop(0) if given else neutral)

    def uniform(self, low, high, neutral, p=None):
        return self._next("uniform", neutral)

    def normal(self, std):
        return self._next("normal", 0.0)

    def lognormal(self, std):
        return self._next("lognormal", 1.0)

    def integer(self, count):
        return self._next("integer", 0.0)


def inner(x: torch.Tensor) -> torch.Tensor:
    return x[:, :, 6:-6, 6:-6]


# Neutral ---------------------------------------------------------------------------------------------


def test_p_zero_returns_the_very_same_tensor_and_draws_nothing():
    x, generator = images(), seeded()
    state = generator.get_state()
    assert augment(x, 0.0, generator) is x
    assert torch.equal(generator.get_state(), state)


@pytest.mark.parametrize("size", [8, 16, 64])
def test_shut_gates_leave_the_image(size):
    x = images(2, size)
    torch.testing.assert_close(augment(x, ALMOST_NEVER, seeded()), x, rtol=0, atol=1e-5)


def test_filter_is_orthonormal_to_its_even_shifts():
    h = torch.tensor(SYM6, dtype=torch.float64)
    for k in range(len(SYM6) // 2):
        product = (h[: len(h) - 2 * k] * h[2 * k :]).sum().item()
        assert product == pytest.approx(1.0 if k == 0 else 0.0, abs=1e-11)
    assert h.sum().item() == pytest.approx(math.sqrt(2.0), abs=1e-11)


# Exact -----------------------------------------------------------------------------------------------


def test_mirror_flips_left_and_right():
    x = smooth_image()
    torch.testing.assert_close(inner(_geometry(x, Scripted(integer=[1]))), inner(x.flip(3)), rtol=0, atol=0.05)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_turn_about_the_centre(turns):
    x = smooth_image()
    turned = _geometry(x, Scripted(integer=[0, turns]))
    torch.testing.assert_close(inner(turned), inner(torch.rot90(x, -turns, (2, 3))), rtol=0, atol=0.08)


def test_whole_pixel_shifts_move_pixels_exactly():
    x = images(1, 32)
    shifted = _geometry(x, Scripted(uniform=[3 / 32, -2 / 32]))
    torch.testing.assert_close(inner(shifted), inner(x.roll((-2, 3), dims=(2, 3))), rtol=0, atol=1e-5)


def test_scale_two_magnifies_about_the_centre():
    y, x = torch.meshgrid(torch.arange(32.0) - 15.5, torch.arange(32.0) - 15.5, indexing="ij")
    ramp = torch.stack([x, y, x - y])[None] / 32
    scaled = _geometry(ramp, Scripted(lognormal=[2.0]))
    torch.testing.assert_close(inner(scaled), inner(ramp / 2), rtol=0, atol=0.02)


def test_images_are_reflected_at_their_border():
    x = images(1, 16)
    shifted = _geometry(x, Scripted(uniform=[2 / 16, 0.0]))
    # Two columns come in from the left: the mirror image of columns 1 and 2.
    torch.testing.assert_close(shifted[..., :2], x[..., 1:3].flip(3), rtol=0, atol=0.02)


def test_brightness_then_contrast():
    x = images()
    y = _colour(x, Scripted(4, normal=[0.25], lognormal=[2.0]))
    torch.testing.assert_close(y, 2.0 * (x + 0.25))


def test_luma_flip_negates_brightness_and_keeps_colour():
    x = images()
    y = _colour(x, Scripted(4, integer=[1]))
    mean = x.mean(dim=1, keepdim=True)
    torch.testing.assert_close(y, x - 2 * mean)


def test_hue_turn_of_a_third_permutes_the_channels():
    x = images()
    y = _colour(x, Scripted(4, uniform=[2 * math.pi / 3]))
    torch.testing.assert_close(y, x.roll(1, dims=1))


def test_saturation_scales_the_distance_from_grey():
    x = images()
    y = _colour(x, Scripted(4, lognormal=[1.0, 0.25]))
    mean = x.mean(dim=1, keepdim=True)
    torch.testing.assert_close(y, mean + 0.25 * (x - mean))


# Random ----------------------------------------------------------------------------------------------


def test_same_generator_same_images_and_global_state_untouched():
    x, before = images(), torch.get_rng_state()
    one, same, other = (augment(x, 0.8, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.allclose(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_p_is_the_share_of_images_that_each_gate_opens():
    draw = _Draws(20_000, 0.3, seeded(), torch.device("cpu"))
    changed = [draw.uniform(1.0, 2.0, 0.0) != 0, draw.normal(1.0) != 0, draw.lognormal(1.0) != 1]
    for gate in changed:
        assert gate.float().mean().item() == pytest.approx(0.3, abs=0.015)


def test_rare_augmentation_leaves_most_images():
    x = images(64, 8)
    kept = ((augment(x, 0.005, seeded()) - x).abs().amax(dim=(1, 2, 3)) < 1e-4).sum().item()
    assert 40 <= kept < 64


def test_full_augmentation_changes_every_image_and_stays_finite():
    x = images(32)
    y = augment(x, 1.0, seeded())
    assert torch.isfinite(y).all()
    assert ((y - x).abs().amax(dim=(1, 2, 3)) > 0.05).all()


def test_gradient_is_that_of_the_map_which_is_affine():
    x = images(3, 8).requires_grad_()
    y = augment(x, 0.9, seeded(3))
    target = images(3, 8, seed=1)
    (gradient,) = torch.autograd.grad((y * target).sum(), x)
    assert torch.isfinite(gradient).all() and (gradient.abs().sum(dim=(1, 2, 3)) > 0).all()
    # Colour and geometry are affine in the pixels, so a difference of any size is the derivative.
    step = images(3, 8, seed=2)
    with torch.no_grad():
        difference = ((augment(x + step, 0.9, seeded(3)) - y) * target).sum()
    torch.testing.assert_close((gradient * step).sum(), difference, rtol=1e-3, atol=1e-3)


# The controller --------------------------------------------------------------------------------------


def test_p_rises_on_overfitting_and_falls_without():
    ada = AdaController(target=0.6, ramp_images=1000, p=0.5)
    assert ada.update(0.9, 100) == pytest.approx(0.6)
    assert ada.update(0.1, 100) == pytest.approx(0.5)
    assert ada.p == pytest.approx(0.5)


def test_p_stays_a_probability():
    ada = AdaController(target=0.6, ramp_images=1000)
    assert ada.update(-1.0, 100) == 0.0
    assert [ada.update(1.0, 400) for _ in range(3)] == pytest.approx([0.4, 0.8, 1.0])


def test_p_takes_the_ramps_images_from_zero_to_one():
    ada = AdaController(target=0.6, ramp_images=500_000)
    updates = 0
    while ada.p < 1.0 - 1e-9:
        ada.update(1.0, 64)
        updates += 1
    assert updates == math.ceil(500_000 / 64)
