"""The checks that raise the library's one exception, :class:`InpaintError`.

Every public function checks its input before it works. A message is one sentence that says what must
hold, what was found, where, and (if it helps) what to do.
"""

from __future__ import annotations

import math
import numbers

import torch

from .errors import InpaintError

__all__ = [
    "InpaintError",
    "check_choice",
    "check_finite",
    "check_image",
    "check_integer",
    "check_mask",
    "check_number",
    "check_type",
]


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raises InpaintError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise InpaintError(f"{name} must be one of {', '.join(choices)}; got {value!r}")


def check_type(name: str, value: object, kind: type) -> None:
    """Raises InpaintError unless ``value`` is a ``kind``."""
    if not isinstance(value, kind):
        raise InpaintError(f"{name} must be a {kind.__name__}; got a {type(value).__name__}")


def check_integer(name: str, value: object, *, low: int, high: int | None = None) -> None:
    """Raises InpaintError unless ``value`` is a whole number in ``[low, high]``; ``high=None`` is no limit."""
    limit = f"at least {low}" if high is None else f"between {low} and {high}"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise InpaintError(f"{name} must be a whole number {limit}; got {value!r}")
    if value < low or (high is not None and value > high):
        raise InpaintError(f"{name} must be {limit}; got {value}")


def check_number(
    name: str, value: object, *, low: float = -math.inf, high: float = math.inf, open_low: bool = False
) -> None:
    """Raises InpaintError unless ``value`` is a finite number in ``[low, high]`` (``]low, high]`` if ``open_low``)."""
    parts = []
    if low > -math.inf:
        parts.append(f"above {low:g}" if open_low else f"at least {low:g}")
    if high < math.inf:
        parts.append(f"at most {high:g}")
    rule = " and ".join(parts) or "finite"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InpaintError(f"{name} must be a number {rule}; got {value!r}")
    if not math.isfinite(value) or value > high or value < low or (open_low and value == low):
        raise InpaintError(f"{name} must be {rule}; got {value}")


def check_finite(name: str, x: torch.Tensor) -> None:
    """Raises InpaintError if ``x`` holds NaN or infinity."""
    if not torch.isfinite(x).all():
        bad = int((~torch.isfinite(x)).sum())
        raise InpaintError(f"{name} must be finite; {bad} of its {x.numel()} values are NaN or infinite")


def check_image(name: str, x: torch.Tensor, *, size: int | None = None) -> None:
    """Raises InpaintError unless ``x`` is a floating (N, 3, H, W) tensor in [-1, 1].

    ``size`` additionally asks for H = W = size (pixels). The networks' own images may leave [-1, 1]
    slightly and are not checked by this function.
    """
    check_type(name, x, torch.Tensor)
    if not x.is_floating_point():
        raise InpaintError(f"{name} must be a floating-point tensor; got {x.dtype}")
    if x.ndim != 4 or x.shape[1] != 3 or 0 in x.shape:
        raise InpaintError(f"{name} must have shape (N, 3, H, W); got {tuple(x.shape)}")
    if size is not None and tuple(x.shape[2:]) != (size, size):
        raise InpaintError(
            f"{name} must be {size} x {size} pixels, the model's resolution; got {x.shape[3]} x {x.shape[2]}"
            " (width x height). Resize it first."
        )
    low, high = map(float, torch.aminmax(x))  # NaN is passed on; no copy of a large photo is made
    if not (math.isfinite(low) and math.isfinite(high)):
        check_finite(name, x)
    if low < -1.0 - 1e-4 or high > 1.0 + 1e-4:
        raise InpaintError(f"{name} must lie in [-1, 1]; got values from {low:.4g} to {high:.4g}")


def check_mask(name: str, mask: torch.Tensor, *, like: torch.Tensor | None = None) -> None:
    """Raises InpaintError unless ``mask`` is (N, 1, H, W), holds only 0 and 1, and each item has both.

    1 = hole, 0 = known. ``like`` asks for the same N, H and W as that image (an N of 1 may broadcast).
    """
    check_type(name, mask, torch.Tensor)
    if mask.ndim != 4 or mask.shape[1] != 1:
        raise InpaintError(f"{name} must have shape (N, 1, H, W) with 1 = hole; got {tuple(mask.shape)}")
    if like is not None and (mask.shape[2:] != like.shape[2:] or mask.shape[0] not in (1, like.shape[0])):
        raise InpaintError(f"{name} must fit the image's {tuple(like.shape)}; got {tuple(mask.shape)}")
    if not ((mask == 0) | (mask == 1)).all():
        raise InpaintError(f"{name} must hold only 0 (known) and 1 (hole); got other values. Threshold it first.")
    empty = (mask == 0).flatten(1).all(dim=1)
    if empty.any():
        raise InpaintError(f"{name} has no hole in item {int(empty.nonzero()[0])}; there is nothing to inpaint")
    full = (mask == 1).flatten(1).all(dim=1)
    if full.any():
        raise InpaintError(f"{name} hides every pixel of item {int(full.nonzero()[0])}; at least one must be known")
