"""Every check accepts what its docstring says and names what it refuses."""

import pytest
import torch

from inpaintlib.checks import (
    InpaintError,
    check_choice,
    check_finite,
    check_image,
    check_integer,
    check_mask,
    check_number,
)


def half_mask(n: int = 2, size: int = 4) -> torch.Tensor:
    mask = torch.zeros(n, 1, size, size)
    mask[..., size // 2 :] = 1.0
    return mask


def test_error_is_a_value_error_for_callers_that_know_no_other():
    assert issubclass(InpaintError, ValueError)


def test_choice_lists_what_would_be_right():
    check_choice("space", "w", ("w", "w+"))
    with pytest.raises(InpaintError, match=r"space must be one of w, w\+; got 'z'"):
        check_choice("space", "z", ("w", "w+"))


@pytest.mark.parametrize("value", [True, 2.0, "2", None])
def test_integer_refuses_other_types(value):
    with pytest.raises(InpaintError, match="steps must be a whole number at least 1; got"):
        check_integer("steps", value, low=1)


def test_integer_bounds_are_inclusive():
    for value in (1, 5):
        check_integer("steps", value, low=1, high=5)
    for value in (0, 6):
        with pytest.raises(InpaintError, match=f"steps must be between 1 and 5; got {value}"):
            check_integer("steps", value, low=1, high=5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 0.0, -1.0, 1.5])
def test_number_refuses_what_is_not_finite_or_outside(value):
    with pytest.raises(InpaintError, match="rate must be above 0 and at most 1; got"):
        check_number("rate", value, low=0.0, high=1.0, open_low=True)


def test_number_accepts_its_ends_and_integers():
    check_number("rate", 0.0, low=0.0, high=1.0)
    check_number("rate", 1, low=0.0, high=1.0, open_low=True)
    check_number("rate", -1e300)
    with pytest.raises(InpaintError, match="rate must be a number finite; got True"):
        check_number("rate", True)


def test_finite_counts_bad_values():
    check_finite("x", torch.zeros(3))
    with pytest.raises(InpaintError, match="2 of its 4 values"):
        check_finite("x", torch.tensor([0.0, float("nan"), float("inf"), 1.0]))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), "floating-point tensor; got torch.uint8"),
        ([[0.0]], "be a Tensor; got a list"),
        (torch.zeros(3, 4, 4), r"\(N, 3, H, W\); got \(3, 4, 4\)"),
        (torch.zeros(1, 1, 4, 4), r"\(N, 3, H, W\); got \(1, 1, 4, 4\)"),
        (torch.zeros(0, 3, 4, 4), r"\(N, 3, H, W\); got \(0, 3, 4, 4\)"),
        (torch.full((1, 3, 4, 4), float("nan")), "finite"),
        (torch.full((1, 3, 4, 4), 255.0), r"lie in \[-1, 1\]; got values from 255 to 255"),
        (torch.zeros(1, 3, 4, 6), r"8 x 8 pixels, the model's resolution; got 6 x 4 \(width x height\)"),
    ],
)
def test_image_names_the_rule_it_breaks(x, message):
    with pytest.raises(InpaintError, match=f"image must .*{message}"):
        check_image("image", x, size=8 if "8 x 8" in message else None)


def test_image_accepts_the_range_ends():
    check_image("image", torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(2, 3, 8, 8), size=8)


def test_mask_accepts_one_for_all_images():
    image = torch.zeros(3, 3, 4, 4)
    check_mask("mask", half_mask(1), like=image)
    check_mask("mask", half_mask(3).double(), like=image)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (half_mask()[:, 0], r"\(N, 1, H, W\) with 1 = hole; got \(2, 4, 4\)"),
        (half_mask(2, 6), r"fit the image's \(3, 3, 4, 4\); got \(2, 1, 6, 6\)"),
        (half_mask(2), r"fit the image's \(3, 3, 4, 4\); got \(2, 1, 4, 4\)"),
        (half_mask(3) * 0.5, "only 0"),
        (half_mask(3) * float("nan"), "only 0"),
        (half_mask(3) * torch.tensor([1.0, 0.0, 1.0]).view(3, 1, 1, 1), "no hole in item 1"),
        (torch.ones(1, 1, 4, 4), "hides every pixel of item 0"),
    ],
)
def test_mask_names_the_rule_it_breaks(mask, message):
    with pytest.raises(InpaintError, match=f"mask .*{message}"):
        check_mask("mask", mask, like=torch.zeros(3, 3, 4, 4))
