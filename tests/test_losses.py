"""The masked terms: closed forms, blindness to the hole, and gradients against finite differences."""

import math

import pytest
import torch
from torch import Tensor

from inpaintlib import losses
from inpaintlib.checks import InpaintError
from inpaintlib.features import Percept, lpips
from inpaintlib.losses import (
    LPIPS_MODES,
    Objective,
    Weighted,
    lpips_term,
    masked_lpips,
    masked_mse,
    mse_term,
    objective_from,
)
from inpaintlib.terms import OnViews

from .tiny import pictures, square_hole, tiny_percept

MODES = pytest.mark.parametrize("mode", LPIPS_MODES)


def every_term(dtype: torch.dtype = torch.float32) -> dict:
    return {"mse": mse_term()} | {mode: lpips_term(tiny_percept(dtype=dtype), mode) for mode in LPIPS_MODES}


TERMS = every_term()
EVERY_TERM = pytest.mark.parametrize("term", TERMS.values(), ids=TERMS)
NO_CODES = torch.empty(0)


def value_and_gradient(term, x_hat: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    x_hat = x_hat.clone().requires_grad_()
    value = term(target, mask)(x_hat, NO_CODES)
    (gradient,) = torch.autograd.grad(value.sum(), x_hat)
    return value.detach(), gradient


def literal_lpips(percept: Percept, x_hat: Tensor, target: Tensor, mask: Tensor, mode: str, copy: Tensor) -> Tensor:
    """The four modes as their description says, with the hole filled from ``copy`` where a mode fills."""
    keep = 1.0 - mask
    ours, theirs = {
        "zero": (keep * x_hat, keep * target),
        "features": (keep * x_hat, keep * target),
        "fill": (x_hat, keep * target + mask * copy),
        "fill+features": (x_hat, keep * target + mask * copy),
    }[mode]
    return lpips(percept, ours, theirs, keep if "features" in mode else None)


# Closed forms -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [1, 4, 7])
def test_mse_of_a_constant_error_is_its_square_whatever_the_hole(side):
    x = 0.5 * pictures(2, 8)
    value = masked_mse(x + 0.25, x, square_hole(2, 8, side=side))
    torch.testing.assert_close(value, torch.full((2,), 0.0625), rtol=1e-5, atol=0)


def test_mse_equals_a_loop_over_known_pixels():
    x_hat, x, mask = pictures(2, 8), pictures(2, 8, seed=1), square_hole(2, 8)
    mask[1, :, 0] = 1.0
    for item in range(2):
        errors = [
            float(x_hat[item, c, i, j] - x[item, c, i, j]) ** 2
            for i in range(8) for j in range(8) if mask[item, 0, i, j] == 0 for c in range(3)
        ]  # fmt: skip
        assert math.isclose(masked_mse(x_hat, x, mask)[item], sum(errors) / len(errors), rel_tol=1e-5)


@MODES
def test_modes_are_what_their_description_says(mode):
    percept, x_hat, x, mask = tiny_percept(), pictures(2, 16), pictures(2, 16, seed=1), square_hole(2, 16)
    expected = literal_lpips(percept, x_hat, x, mask, mode, x_hat)
    torch.testing.assert_close(masked_lpips(percept, x_hat, x, mask, mode), expected, rtol=1e-5, atol=0)


def test_modes_differ():
    percept, x_hat, x, mask = tiny_percept(), pictures(1, 16), pictures(1, 16, seed=1), square_hole(1, 16)
    values = [masked_lpips(percept, x_hat, x, mask, mode).item() for mode in LPIPS_MODES]
    assert all(abs(a - b) > 1e-3 * a for i, a in enumerate(values) for b in values[:i])
    assert masked_lpips(percept, x_hat, x, mask).item() == values[LPIPS_MODES.index("fill+features")]


@MODES
def test_nothing_hidden_is_plain_lpips(mode):
    percept, x_hat, x = tiny_percept(), pictures(2, 16), pictures(2, 16, seed=1)
    value = masked_lpips(percept, x_hat, x, torch.zeros(2, 1, 16, 16), mode)
    torch.testing.assert_close(value, lpips(percept, x_hat, x), rtol=1e-5, atol=0)


@EVERY_TERM
def test_image_that_agrees_on_the_known_pixels_costs_nothing(term):
    x, mask = pictures(2, 16), square_hole(2, 16)
    x_hat = torch.where(mask == 1, pictures(2, 16, seed=1), x)
    value, gradient = value_and_gradient(term, x_hat, x, mask)
    assert (value < 1e-6).all() and gradient.abs().max() < 1e-6


def test_unknown_mode_is_refused():
    with pytest.raises(InpaintError, match="lpips_mode must be one of zero, fill, features, fill.features; got 'crop'"):
        masked_lpips(tiny_percept(), pictures(1, 8), pictures(1, 8), square_hole(1, 8), "crop")


# What the hole of the target shows --------------------------------------------------------------------


@EVERY_TERM
@pytest.mark.parametrize("hidden", [0.0, -0.7, 1e30, math.nan, math.inf, "noise"])
def test_target_in_the_hole_changes_no_bit(term, hidden):
    x_hat, x, mask = pictures(2, 16), pictures(2, 16, seed=1), square_hole(2, 16)
    other = pictures(2, 16, seed=2) if hidden == "noise" else torch.full_like(x, hidden)
    expected = value_and_gradient(term, x_hat, x, mask)
    result = value_and_gradient(term, x_hat, torch.where(mask == 1, other, x), mask)
    assert all(torch.equal(a, b) for a, b in zip(result, expected, strict=True))
    assert all(a.isfinite().all() and (a != 0).any() for a in result)


@MODES
def test_target_in_the_hole_of_a_large_image_changes_no_bit(mode):
    """The networks see averages over squares of pixels, and the hole's edge runs through such squares."""
    x_hat, x, mask = pictures(1, 320), pictures(1, 320, seed=1), square_hole(1, 320, side=101)
    results = []
    for hidden in (0.0, math.nan, 1e30):
        shown = torch.where(mask == 1, torch.full_like(x, hidden), x)
        results.append(value_and_gradient(lpips_term(tiny_percept(), mode), x_hat, shown, mask))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
    assert all(a.isfinite().all() and (a != 0).any() for a in results[0])


@pytest.mark.parametrize("name", ["mse", "zero", "features"])
def test_terms_that_blank_the_hole_give_it_no_gradient(name):
    mask = square_hole(2, 16)
    _, gradient = value_and_gradient(TERMS[name], pictures(2, 16), pictures(2, 16, seed=1), mask)
    assert (gradient[mask.expand_as(gradient) == 1] == 0).all() and (gradient != 0).any()


# Gradients --------------------------------------------------------------------------------------------


def finite_differences(function, x: Tensor, step: float = 1e-6) -> Tensor:
    """Central differences of the sum of ``function``, entry by entry."""
    gradient = torch.zeros_like(x)
    for i in range(x.numel()):
        ends = []
        for sign in (1.0, -1.0):
            moved = x.clone()
            moved.view(-1)[i] += sign * step
            ends.append(function(moved).sum())
        gradient.view(-1)[i] = (ends[0] - ends[1]) / (2.0 * step)
    return gradient


@pytest.fixture
def double():
    """A percept, an estimate, a target and a mask in float64, small enough for finite differences."""
    f64 = torch.float64
    return (
        tiny_percept(dtype=f64),
        pictures(1, 6, dtype=f64),
        pictures(1, 6, seed=1, dtype=f64),
        square_hole(1, 6, side=2, dtype=f64),
    )


def test_gradient_of_mse_equals_finite_differences(double):
    _, x_hat, x, mask = double
    _, gradient = value_and_gradient(mse_term(), x_hat, x, mask)
    expected = finite_differences(lambda y: masked_mse(y, x, mask), x_hat)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-9)


@MODES
def test_gradient_of_lpips_equals_finite_differences_with_the_fill_held_fixed(double, mode):
    percept, x_hat, x, mask = double
    _, gradient = value_and_gradient(lpips_term(percept, mode), x_hat, x, mask)
    expected = finite_differences(lambda y: literal_lpips(percept, y, x, mask, mode, x_hat), x_hat)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("mode", ["fill", "fill+features"])
def test_target_copy_of_the_image_carries_no_gradient(double, mode):
    percept, x_hat, x, mask = double
    _, gradient = value_and_gradient(lpips_term(percept, mode), x_hat, x, mask)
    y = x_hat.clone().requires_grad_()
    for copy, same in ((y.detach(), True), (y, False)):
        (reference,) = torch.autograd.grad(literal_lpips(percept, y, x, mask, mode, copy).sum(), y)
        assert torch.allclose(gradient, reference, rtol=1e-9, atol=1e-12) == same


@pytest.mark.parametrize("name", TERMS)
def test_items_are_independent(name):
    f64 = torch.float64
    term, x_hat, x = every_term(f64)[name], pictures(3, 16, dtype=f64), pictures(3, 16, seed=1, dtype=f64)
    mask = torch.cat([square_hole(1, 16, side=side, dtype=f64) for side in (8, 8, 3)])
    value, gradient = value_and_gradient(term, x_hat, x, mask)
    for i in range(3):
        alone = value_and_gradient(term, x_hat[i : i + 1], x[i : i + 1], mask[i : i + 1])
        torch.testing.assert_close((value[i], gradient[i]), (alone[0][0], alone[1][0]), rtol=1e-9, atol=1e-12)


@EVERY_TERM
@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_one_mask_of_any_type_serves_all_items(term, dtype):
    x_hat, x, mask = pictures(2, 16), pictures(2, 16, seed=1), square_hole(2, 16)
    torch.testing.assert_close(
        value_and_gradient(term, x_hat, x, mask[:1].to(dtype)), value_and_gradient(term, x_hat, x, mask)
    )


# Sums of terms ----------------------------------------------------------------------------------------


def test_objective_weighs_its_terms_and_reports_each():
    x_hat, x, mask = pictures(2, 16), pictures(2, 16, seed=1), square_hole(2, 16)
    size = lambda target, mask: lambda x_hat, ws: ws.square().sum(dim=(1, 2))  # noqa: E731
    objective = Objective({"mse": Weighted(0.5, mse_term()), "size": Weighted(3.0, size), "off": Weighted(0.0, size)})
    ws = torch.arange(8.0).view(2, 2, 2)
    total, parts = objective.bind(x, mask)(x_hat, ws)
    mse = masked_mse(x_hat, x, mask)
    assert list(parts) == ["mse", "size", "off"] and torch.equal(parts["mse"], mse)
    assert parts["size"].tolist() == [0 + 1 + 4 + 9, 16 + 25 + 36 + 49]
    torch.testing.assert_close(total, 0.5 * mse + 3.0 * parts["size"])


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf, True, "1"])
def test_objective_refuses_a_bad_weight(weight):
    with pytest.raises(InpaintError, match="mse_weight must be"):
        Objective({"mse": Weighted(weight, mse_term())})


def test_objective_without_terms_is_refused():
    with pytest.raises(InpaintError, match="needs at least one term"):
        Objective({})


@pytest.fixture
def loaded(monkeypatch) -> list[str]:
    """Puts the tiny network in place of every one that is asked for; lists the names asked for."""
    names: list[str] = []
    monkeypatch.setattr(losses, "load_percept", lambda name: names.append(name) or tiny_percept())
    return names


def test_objective_from_a_flat_mapping(loaded):
    settings = {"mse_weight": 2, "lpips_weight": 0.5, "lpips_network": "lpips-vgg", "lpips_mode": "zero"}
    objective = objective_from(settings)
    x_hat, x, mask = pictures(2, 16), pictures(2, 16, seed=1), square_hole(2, 16)
    total, parts = objective.bind(x, mask)(x_hat, NO_CODES)
    assert loaded == ["lpips-vgg"]
    assert torch.equal(parts["lpips"], masked_lpips(tiny_percept(), x_hat, x, mask, "zero"))
    torch.testing.assert_close(total, 2.0 * parts["mse"] + 0.5 * parts["lpips"])


def test_defaults_are_the_guide_and_the_mode_fill_features(loaded):
    x_hat, x, mask = pictures(1, 16), pictures(1, 16, seed=1), square_hole(1, 16)
    _, parts = objective_from({"lpips_weight": 1.0}).bind(x, mask)(x_hat, NO_CODES)
    assert loaded == ["percept-guide"] and list(parts) == ["lpips"]
    assert torch.equal(parts["lpips"], masked_lpips(tiny_percept(), x_hat, x, mask, "fill+features"))


def test_term_of_weight_zero_is_left_out(loaded):
    objective = objective_from({"mse_weight": 1.0, "lpips_weight": 0.0, "lpips_mode": "zero"})
    assert list(objective.terms) == ["mse"] and loaded == []


def test_settings_are_what_the_objective_was_built_from(loaded):
    filled = {"lpips_weight": 0.5, "lpips_network": "percept-guide", "lpips_mode": "fill+features"}
    given = {"mse_weight": 2, "lpips_weight": 0.5, "adversarial_weight": 0.0, "adversarial_network": "none"}
    assert objective_from(given).settings == {"mse_weight": 2.0} | filled
    assert objective_from({**filled, "mse_weight": 2.0}).settings == objective_from(given).settings
    assert objective_from({**filled, "lpips_mode": "zero"}).settings["lpips_mode"] == "zero"
    assert Objective({"mse": Weighted(1.0, mse_term())}).settings is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mse_wieght": 1.0}, "a key of the objective must be one of mse_weight, .*; got 'mse_wieght'"),
        ({"mse_weight": 1.0, "mse_mode": "zero"}, "a key of the objective must be one of .*; got 'mse_mode'"),
        ({"mse_weight": 1.0, "lpips_mode": "zero"}, "lpips_mode needs lpips_weight beside it"),
        ({"mse_weight": math.nan}, "mse_weight must be at least 0; got nan"),
        ({"mse_weight": -1.0}, "mse_weight must be at least 0; got -1"),
        ({"mse_weight": "1.0"}, "mse_weight must be a number"),
        ({"lpips_weight": 1.0, "lpips_mode": "crop"}, "lpips_mode must be one of zero, .*; got 'crop'"),
        ({"mse_weight": 0.0}, "needs at least one term"),
        ({}, "needs at least one term"),
    ],
)
def test_bad_settings_are_refused(loaded, settings, message):
    with pytest.raises(InpaintError, match=message):
        objective_from(settings)


def test_unknown_network_is_refused():
    with pytest.raises(InpaintError, match="percept must be one of .*; got 'resnet'"):
        objective_from({"lpips_weight": 1.0, "lpips_network": "resnet"})


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (lambda image, ws: image.mean(), r"term 'own' must return one value per image, \(2,\); got shape \(\)"),
        (lambda image, ws: image.flatten(1).mean(1, keepdim=True), r"got shape \(2, 1\)"),
        (lambda image, ws: 0.5, "must be a Tensor; got a float"),
    ],
)
def test_a_term_of_a_wrong_shape_is_named(part, message):
    bound = Objective({"own": Weighted(1.0, lambda target, mask: part)}).bind(pictures(2, 8), square_hole(2, 8))
    with pytest.raises(InpaintError, match=message):
        bound(pictures(2, 8), torch.empty(0))


# Terms that steer, and views ---------------------------------------------------------------------------


def brightness(target: Tensor, mask: Tensor):
    return lambda x_hat, ws: x_hat.mean(dim=(1, 2, 3))


def contrast_on_views(target: Tensor, mask: Tensor) -> OnViews:
    """A term whose view is the image times a number that each item's generator draws."""
    square = lambda x_hat: x_hat.square().mean(dim=(1, 2, 3))  # noqa: E731
    factors = lambda rngs: torch.cat([torch.rand(1, generator=rng) for rng in rngs]).view(-1, 1, 1, 1)  # noqa: E731
    return OnViews(lambda x_hat, ws: square(x_hat), lambda x_hat, ws, rngs: square(factors(rngs) * x_hat))


def rngs(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_terms_that_steer_rest_without_steering():
    x_hat, x, mask = pictures(2, 16), pictures(2, 16, seed=1), square_hole(2, 16)
    terms = {"bright": Weighted(3.0, brightness, steers=True), "mse": Weighted(2.0, mse_term())}
    bound = Objective(terms).bind(x, mask)
    total, parts = bound(x_hat, NO_CODES)
    torch.testing.assert_close(total, 2.0 * parts["mse"] + 3.0 * x_hat.mean(dim=(1, 2, 3)))
    resting, values = bound(x_hat, NO_CODES, steering=False)
    assert list(values) == ["bright", "mse"] and values["bright"].isnan().all()
    assert torch.equal(resting, 2.0 * parts["mse"]) and torch.equal(values["mse"], parts["mse"])


def test_a_term_that_rests_is_not_computed():
    def refuse(x_hat: Tensor, ws: Tensor) -> Tensor:
        raise AssertionError("it rests")

    terms = {"mse": Weighted(1.0, mse_term()), "own": Weighted(1.0, lambda x, mask: OnViews(refuse, refuse), True)}
    bound = Objective(terms).bind(pictures(1, 8), square_hole(1, 8))
    descended, total, _ = bound.descent(pictures(1, 8), NO_CODES, rngs(0), steering=False)
    assert torch.equal(descended, total)


def test_without_a_term_left_the_sum_is_zero():
    x_hat = pictures(2, 8).requires_grad_()
    bound = Objective({"bright": Weighted(3.0, brightness, steers=True)}).bind(pictures(2, 8), square_hole(2, 8))
    descended, total, _ = bound.descent(x_hat, NO_CODES, None, steering=False)
    assert descended.tolist() == total.tolist() == [0.0, 0.0] and not descended.requires_grad


def test_views_are_descended_and_the_image_is_scored():
    x_hat, x, mask = pictures(2, 8).requires_grad_(), pictures(2, 8, seed=1), square_hole(2, 8)
    terms = {"mse": Weighted(2.0, mse_term()), "contrast": Weighted(0.5, contrast_on_views)}
    descended, total, parts = Objective(terms).bind(x, mask).descent(x_hat, NO_CODES, rngs(3, 4))
    square, factors = x_hat.square().mean(dim=(1, 2, 3)), torch.cat([torch.rand(1, generator=r) for r in rngs(3, 4)])
    assert torch.equal(parts["contrast"], square) and not parts["contrast"].requires_grad  # a score keeps no graph
    torch.testing.assert_close(total, 2.0 * parts["mse"] + 0.5 * square)
    torch.testing.assert_close(descended, 2.0 * parts["mse"] + 0.5 * factors.square() * square)
    (gradient,) = torch.autograd.grad(descended.sum(), x_hat)
    expected = 2.0 * masked_mse(x_hat, x, mask) + 0.5 * factors.square() * square
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), x_hat)[0])


def test_without_generators_the_sum_is_descended():
    x_hat = pictures(2, 8).requires_grad_()
    terms = {"contrast": Weighted(0.5, contrast_on_views)}
    bound = Objective(terms).bind(pictures(2, 8, seed=1), square_hole(2, 8))
    descended, total, parts = bound.descent(x_hat, NO_CODES, None)
    assert torch.equal(descended, total) and torch.equal(total, 0.5 * parts["contrast"]) and total.requires_grad
    assert torch.equal(bound(x_hat, NO_CODES)[0], total)


def test_networks_are_those_that_the_terms_name():
    named = lambda name: Weighted(1.0, mse_term(), network=name)  # noqa: E731
    terms = {"a": named("guide"), "b": named(""), "c": named("own"), "d": named("guide")}
    assert Objective(terms).networks == ("guide", "own")


def test_a_registered_term_is_known_by_its_name_and_options(monkeypatch):
    def power_term(power: float = 1.0):
        return lambda target, mask: lambda image, ws: (image - target).abs().pow(power).mean(dim=(1, 2, 3))

    monkeypatch.setitem(losses.TERMS, "power", power_term)
    bound = objective_from({"power_weight": 2.0, "power_power": 3.0}).bind(torch.zeros(1, 3, 8, 8), square_hole(1, 8))
    total, parts = bound(torch.full((1, 3, 8, 8), 0.5), torch.empty(0))
    assert float(parts["power"]) == 0.125 and float(total) == 0.25
