"""How the hole of every family of masks is drawn; :mod:`inpaintlib.masks` describes the families.

A maker takes the side in pixels, the fraction to hide and the generator of its draws, and returns the hole, a bool
(size, size), True = hole.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from .alignment import LANDMARKS

__all__ = ["MAKERS", "PARTS", "arrival"]

PARTS = ("mouth", "eyes", "nose", "hair")
# Middle (fraction of the height), relative width and height of a part of a face in CelebA's aligned square.
_PARTS = {"mouth": (0.755, 0.24, 0.13), "eyes": (0.51, 0.36, 0.12), "nose": (0.605, 0.14, 0.14)}
# A stroke is a walk of SEGMENTS straight pieces; lengths and brush widths are fractions of the image's side.
SEGMENTS = 8
LENGTH = (0.05, 0.25)
MAX_TURN = math.pi / 3
THIN, MEDIUM, THICK = 0.03, 0.08, 0.16


def _clamped(count: float, total: int) -> int:
    """Rounds so that at least one of ``total`` is in and one is out."""
    return min(max(round(count), 1), total - 1)


def _rectangle(size: int, coverage: float) -> tuple[int, int]:
    height = min(max(round(math.sqrt(coverage) * size), 1), size)
    width = round(coverage * size * size / height)
    return height, min(max(width, 1), size - (height == size))


def _filled(size: int, top: int, left: int, height: int, width: int) -> Tensor:
    hole = torch.zeros(size, size, dtype=torch.bool)
    hole[top : top + height, left : left + width] = True
    return hole


def _box(size: int, coverage: float, generator: torch.Generator) -> Tensor:
    height, width = _rectangle(size, coverage)
    top, left = (int(torch.randint(size - side + 1, (), generator=generator)) for side in (height, width))
    return _filled(size, top, left, height, width)


def _center(size: int, coverage: float, generator: torch.Generator) -> Tensor:
    height, width = _rectangle(size, coverage)
    return _filled(size, (size - height) // 2, (size - width) // 2, height, width)


def _half(size: int, coverage: float, generator: torch.Generator, *, turns: int) -> Tensor:
    """Hides the topmost rows, turned ``turns`` times by 90 degrees: 0 top, 1 left, 2 bottom, 3 right."""
    hole = torch.zeros(size, size, dtype=torch.bool)
    hole[: _clamped(coverage * size, size)] = True
    return torch.rot90(hole, turns)


def _scatter(size: int, coverage: float, generator: torch.Generator) -> Tensor:
    order = torch.randperm(size * size, generator=generator)
    hole = torch.zeros(size * size, dtype=torch.bool)
    hole[order[: _clamped(coverage * size * size, size * size)]] = True
    return hole.view(size, size)


def _in_celeba(size: int, alignment: str) -> tuple[Tensor, Tensor]:
    """y (size, 1) and x (1, size) of the pixels' middles, where a face aligned so has them in CelebA's square.

    The eyes' height and distance and the mouth's height agree. Without an alignment it is CelebA's itself.
    """
    grid = (torch.arange(size) + 0.5) / size
    y, x = grid[:, None], grid[None, :]
    if alignment in ("celeba", "none"):
        return y, x
    (eyes, mouth, apart), (to_eyes, to_mouth, to_apart) = (_frame(a) for a in (alignment, "celeba"))
    return to_eyes + (y - eyes) * (to_mouth - to_eyes) / (mouth - eyes), 0.5 + (x - 0.5) * to_apart / apart


def _frame(alignment: str) -> tuple[float, float, float]:
    """Height of the eyes, height of the mouth, and the eyes' distance."""
    at = LANDMARKS[alignment]
    return at["left_eye"][1], at["mouth"][1], at["right_eye"][0] - at["left_eye"][0]


def _part(size: int, coverage: float, generator: torch.Generator, *, part: str, alignment: str = "celeba") -> Tensor:
    """Hides the pixels that are nearest to a part of a face, in the order of their distance."""
    y, x = _in_celeba(size, alignment)
    if part == "hair":
        # Distance to the outline of the face, an ellipse; nothing inside of it, nothing below the mouth.
        reach = ((x - 0.5) / 0.29).square() + ((y - 0.6) / 0.37).square()
        distance = torch.where((reach < 1.0) | (y > 0.72), 10.0 + (reach - 1.0).abs() + (y > 0.72), reach - 1.0)
    else:
        middle, wide, tall = _PARTS[part]
        distance = ((x - 0.5) / wide).pow(4) + ((y - middle) / tall).pow(4)
    hole = torch.zeros(size * size, dtype=torch.bool)
    hole[distance.flatten().argsort(stable=True)[: _clamped(coverage * size * size, size * size)]] = True
    return hole.view(size, size)


def _walk(size: int, generator: torch.Generator) -> Tensor:
    """Returns (SEGMENTS + 1, 2) points (y, x) in pixels, folded back where the walk would leave the image."""
    start = torch.rand(1, 2, generator=generator) * size
    heading = torch.rand(1, generator=generator) * 2.0 * math.pi
    turns = (2.0 * torch.rand(SEGMENTS, generator=generator) - 1.0) * MAX_TURN
    low, high = LENGTH
    length = (low + (high - low) * torch.rand(SEGMENTS, generator=generator)) * size
    angle = heading + turns.cumsum(0)
    steps = torch.stack([angle.sin(), angle.cos()], dim=1) * length[:, None]
    points = torch.cat([start, start + steps.cumsum(0)])
    return size - (points.remainder(2.0 * size) - size).abs()


def arrival(points: Tensor, size: int, radius: float) -> Tensor:
    """Returns (size, size): how far along the walk (in segments) a round brush reaches a pixel, or infinity.

    On a segment, the brush at ``start + t step`` covers a pixel while ``t`` is within ``chord`` of the foot
    of the perpendicular from the pixel; that stretch has to meet 0 <= t <= 1.
    """
    reach = torch.full((size, size), math.inf)
    for order, ((y0, x0), (y1, x1)) in enumerate(itertools.pairwise(points.tolist())):
        rows, columns = _span(y0, y1, radius, size), _span(x0, x1, radius, size)
        y = torch.arange(rows.start, rows.stop)[:, None] + (0.5 - y0)
        x = torch.arange(columns.start, columns.stop) + (0.5 - x0)
        dy, dx = y1 - y0, x1 - x0
        square = dy * dy + dx * dx
        foot = (y * dy + x * dx) / square
        room = radius * radius - (y - foot * dy).square() - (x - foot * dx).square()
        chord = (room.clamp(min=0.0) / square).sqrt()
        covered = (room >= 0.0) & (foot - chord <= 1.0) & (foot + chord >= 0.0)
        # What a later segment covers at its start, the one before it has covered at its end.
        reached = (foot - chord).clamp(min=0.0 if order else -math.inf) + order
        window = reach[rows, columns]
        window.copy_(torch.where(covered, torch.minimum(window, reached), window))
    return reach


def _span(a: float, b: float, radius: float, size: int) -> slice:
    """The pixels that a brush moving from ``a`` to ``b`` can touch, along one axis."""
    return slice(max(math.floor(min(a, b) - radius), 0), min(math.ceil(max(a, b) + radius), size))


def _strokes(size: int, coverage: float, generator: torch.Generator, *, width: float) -> Tensor:
    hole = torch.zeros(size * size, dtype=torch.bool)
    missing = _clamped(coverage * size * size, size * size)
    radius = max(width * size / 2.0, 1.0)
    while missing > 0:
        reach = arrival(_walk(size, generator), size, radius).flatten()
        new = (reach.isfinite() & ~hole).nonzero().squeeze(1)
        # The last stroke simply ends sooner: its pixels are taken in the order in which the brush meets them.
        new = new[reach[new].argsort(stable=True)[:missing]]
        hole[new] = True
        missing -= len(new)
    return hole.view(size, size)


MAKERS: dict[str, Callable[[int, float, torch.Generator], Tensor]] = {
    "box": _box,
    "left": partial(_half, turns=1),
    "right": partial(_half, turns=3),
    "top": partial(_half, turns=0),
    "bottom": partial(_half, turns=2),
    "center": _center,
    "strokes-thin": partial(_strokes, width=THIN),
    "strokes-medium": partial(_strokes, width=MEDIUM),
    "strokes-thick": partial(_strokes, width=THICK),
    "scatter": _scatter,
    **{part: partial(_part, part=part) for part in PARTS},
}
