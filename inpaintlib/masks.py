"""Makes, reads, writes and measures masks: 1 = hole (to be painted), 0 = known.

A mask is float32 (N, 1, H, W). ``make_mask`` draws one of ``FAMILIES``:

==================================  ==========================================  =======================
family                              hole                                        \\|covered - asked\\|
==================================  ==========================================  =======================
box                                 near-square rectangle at a random place     at most 1 / size
center                              the same, centred                           at most 1 / size
left, right, top, bottom            whole columns or rows from that side        at most 1 / size
strokes-thin, -medium, -thick       round brush strokes along random walks      at most 1 / size^2
scatter                             single pixels                               at most 1 / size^2
mouth, eyes, nose, hair             that part of a face, see below              at most 1 / size^2
==================================  ==========================================  =======================

The first three rows keep to 0.5 / size unless that would leave nothing known or nothing missing. At least
one pixel of a mask is known and at least one is missing. The parts of a face lie where CelebA's aligned square
has them: mouth, eyes and nose are rounded boxes around them, hair is a band around the face above the chin; each
grows from its middle until the coverage is reached. Source: this project.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import InpaintError, check_choice, check_integer, check_mask, check_number
from .images import decode, write_png

__all__ = ["FAMILIES", "border_band", "coverage", "make_mask", "read_mask", "resize_mask", "shifted", "write_mask"]

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


def _box(size: int, coverage: float, generator: torch.Generator) -> Tensor:
    height, width = _rectangle(size, coverage)
    top = int(torch.randint(size - height + 1, (), generator=generator))
    left = int(torch.randint(size - width + 1, (), generator=generator))
    hole = torch.zeros(size, size, dtype=torch.bool)
    hole[top : top + height, left : left + width] = True
    return hole


def _center(size: int, coverage: float, generator: torch.Generator) -> Tensor:
    height, width = _rectangle(size, coverage)
    top, left = (size - height) // 2, (size - width) // 2
    hole = torch.zeros(size, size, dtype=torch.bool)
    hole[top : top + height, left : left + width] = True
    return hole


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


def _part(size: int, coverage: float, generator: torch.Generator, *, part: str) -> Tensor:
    """Hides the pixels that are nearest to a part of a face, in the order of their distance."""
    grid = (torch.arange(size) + 0.5) / size
    y, x = grid[:, None], grid[None, :]
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


def _arrival(points: Tensor, size: int, radius: float) -> Tensor:
    """Returns (size, size): how far along the walk (in segments) a round brush reaches a pixel, or infinity.

    On a segment, the brush at ``start + t step`` covers a pixel while ``t`` is within ``chord`` of the foot
    of the perpendicular from the pixel; that stretch has to meet 0 <= t <= 1.
    """
    arrival = torch.full((size, size), math.inf)
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
        window = arrival[rows, columns]
        window.copy_(torch.where(covered, torch.minimum(window, reached), window))
    return arrival


def _span(a: float, b: float, radius: float, size: int) -> slice:
    """The pixels that a brush moving from ``a`` to ``b`` can touch, along one axis."""
    return slice(max(math.floor(min(a, b) - radius), 0), min(math.ceil(max(a, b) + radius), size))


def _strokes(size: int, coverage: float, generator: torch.Generator, *, width: float) -> Tensor:
    hole = torch.zeros(size * size, dtype=torch.bool)
    missing = _clamped(coverage * size * size, size * size)
    radius = max(width * size / 2.0, 1.0)
    while missing > 0:
        arrival = _arrival(_walk(size, generator), size, radius).flatten()
        new = (arrival.isfinite() & ~hole).nonzero().squeeze(1)
        # The last stroke simply ends sooner: its pixels are taken in the order in which the brush meets them.
        new = new[arrival[new].argsort(stable=True)[:missing]]
        hole[new] = True
        missing -= len(new)
    return hole.view(size, size)


_MAKERS: dict[str, Callable[[int, float, torch.Generator], Tensor]] = {
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
    "mouth": partial(_part, part="mouth"),
    "eyes": partial(_part, part="eyes"),
    "nose": partial(_part, part="nose"),
    "hair": partial(_part, part="hair"),
}
FAMILIES: tuple[str, ...] = tuple(_MAKERS)


def make_mask(family: str, size: int, *, coverage: float, generator: torch.Generator) -> Tensor:
    """Returns a square mask of one family, float32 (1, 1, size, size), 1 = hole.

    Args:
        family: one of ``FAMILIES``.
        size: side in pixels, at least 2.
        coverage: fraction of the pixels to hide, strictly between 0 and 1; the module's text states how
            closely each family keeps it.
        generator: on the CPU; the source of every draw (sides, center and the parts of a face draw nothing).

    Raises:
        InpaintError: if the family is unknown, or size, coverage or generator is not as above.

    Example:
        >>> make_mask("left", 4, coverage=0.5, generator=torch.Generator())[0, 0, 0].tolist()
        [1.0, 1.0, 0.0, 0.0]
    """
    check_choice("family", family, FAMILIES)
    check_integer("size", size, low=2)
    check_number("coverage", coverage)
    if not 0.0 < coverage < 1.0:
        raise InpaintError(f"coverage must lie between 0 and 1, both excluded; got {coverage}")
    if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
        raise InpaintError(f"generator must be a torch.Generator on the CPU; got {generator!r}")
    return _MAKERS[family](size, coverage, generator).float()[None, None]


def read_mask(
    path: str | Path,
    *,
    size: tuple[int, int] | None = None,
    hole: str = "white",
    threshold: bool = False,
    resize: bool = False,
) -> Tensor:
    """Returns the mask in a file, float32 (1, 1, H, W), 1 = hole.

    Args:
        path: PNG, JPEG, WebP, BMP or TIFF. An alpha channel must be opaque: tools disagree on whether
            the transparent part is the hole.
        size: (H, W) that the mask must have; None accepts any.
        hole: "white", or "black" for files of tools with the opposite convention.
        threshold: split grey and coloured pixels at half brightness (a JPEG has some at every edge)
            instead of refusing them.
        resize: bring a mask of another size to ``size`` by ``resize_mask`` instead of refusing it.

    Raises:
        InpaintError: naming the file, if it cannot be read (as ``images.decode``), is not pure black and
            white, is transparent somewhere, has another size, or has no hole or nothing known.
    """
    check_choice("hole", hole, ("white", "black"))
    white = _white(path, threshold)
    mask = torch.from_numpy(white if hole == "white" else ~white).float()[None, None]
    if size is not None and tuple(mask.shape[2:]) != tuple(size):
        if not resize:
            found, asked = (f"{s[1]} x {s[0]}" for s in (mask.shape[2:], size))
            raise InpaintError(
                f"{path} must be {asked} pixels (width x height) as its image; got {found}."
                " Bring it to that size with resize=True in Python, RESIZE=1 for make inpaint."
            )
        mask = resize_mask(mask, size)
    low, high = mask.min(), mask.max()
    if low == high:
        fault = "nothing is missing" if high == 0 else "nothing is known"
        raise InpaintError(f"{path} must have black and white pixels ({hole} = hole); in it {fault}")
    return mask


def _white(path: str | Path, threshold: bool) -> np.ndarray:
    picture = decode(path)
    if picture.getchannel("A").getextrema()[0] < 255:
        raise InpaintError(f"{path} must be black and white without transparency; flatten it onto one colour first")
    if threshold:
        return np.asarray(picture.convert("L")) >= 128
    rgb = np.asarray(picture)[..., :3]
    white = (rgb == 255).all(axis=2)
    grey = int((~white & (rgb != 0).any(axis=2)).sum())
    if grey:
        raise InpaintError(
            f"{path} must be pure black and white; {grey} of its {white.size} pixels are grey or coloured."
            " Split them at half brightness with threshold=True in Python, THRESHOLD=1 for make inpaint."
        )
    return white


def write_mask(path: str | Path, mask: Tensor) -> None:
    """Writes one mask (1, 1, H, W) as 8-bit grey PNG, white = hole.

    Raises:
        InpaintError: if the mask is not a valid single mask or the file cannot be written (nothing is left then).
    """
    check_mask("mask", mask)
    if mask.shape[0] != 1:
        raise InpaintError(f"mask must be a single mask (1, 1, H, W); got {tuple(mask.shape)}")
    write_png(path, (mask[0, 0].detach().cpu() * 255).to(torch.uint8).numpy())


def resize_mask(mask: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Returns the mask at (N, 1, *size); a pixel is a hole if any source pixel that it touches is one.

    So a missing pixel is never taken for a known one, however thin the stroke. Growing by a whole factor
    repeats pixels. ``size`` is the side of a square or (height, width).

    Raises:
        InpaintError: if ``size`` is not positive whole numbers.

    Example:
        >>> resize_mask(torch.tensor([0.0, 0.0, 0.0, 1.0]).view(1, 1, 1, 4), (1, 2)).ravel().tolist()
        [0.0, 1.0]
    """
    height, width = (size, size) if isinstance(size, int) else size
    check_integer("height", height, low=1)
    check_integer("width", width, low=1)
    return F.adaptive_max_pool2d(mask, (height, width))


def coverage(mask: Tensor) -> Tensor:
    """Returns the hidden fraction of each mask, (N,) in [0, 1].

    Example:
        >>> coverage(torch.tensor([1.0, 0.0, 0.0, 0.0]).view(1, 1, 2, 2)).tolist()
        [0.25]
    """
    return mask.flatten(1).mean(dim=1)


def shifted(mask: Tensor, dy: int, dx: int, *, repeat: bool = False) -> Tensor:
    """Returns the mask moved ``dy`` px down and ``dx`` px to the right (below 0: up, left), (N, 1, H, W).

    Args:
        mask: (N, 1, H, W), 1 = hole.
        repeat: what comes in at the border is like the border's own pixels, and what goes out is lost; else it is
            known, and the whole hole must stay inside.

    Raises:
        InpaintError: if the mask is not valid, a shift is as large as the image, or, without ``repeat``, a part of the
            hole would leave the image: then another hole would be compared.

    Example:
        >>> mask = torch.tensor([1.0, 0.0, 0.0]).view(1, 1, 1, 3)
        >>> shifted(mask, 0, 1).ravel().tolist(), shifted(mask, 0, 1, repeat=True).ravel().tolist()
        ([0.0, 1.0, 0.0], [1.0, 1.0, 0.0])
    """
    check_mask("mask", mask)
    height, width = mask.shape[2:]
    check_integer("dy", dy, low=1 - height, high=height - 1)
    check_integer("dx", dx, low=1 - width, high=width - 1)
    top, left = max(dy, 0), max(dx, 0)
    sides = (left, max(-dx, 0), top, max(-dy, 0))
    padded = F.pad(mask.float(), sides, mode="replicate") if repeat else F.pad(mask, sides)
    moved = padded[:, :, top - dy :, left - dx :][:, :, :height, :width].to(mask.dtype)
    lost = int(mask.sum() - moved.sum())
    if lost and not repeat:
        raise InpaintError(
            f"mask must keep its hole inside the image when it moves; {dy} px down and {dx} px right take {lost} pixels"
            " out. Take smaller shifts or a smaller hole."
        )
    return moved


def border_band(mask: Tensor, width: int) -> Tensor:
    """Returns (N, 1, H, W) in {0, 1}: pixels whose nearest pixel of the other kind is at most ``width`` away.

    The distance is the larger of the offsets in x and y; the image's own border is no edge. Both the
    known and the missing side are in the band, which is where a seam would show.

    Raises:
        InpaintError: if the mask is not valid or ``width`` is below 1.

    Example:
        >>> border_band(torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0]).view(1, 1, 1, 5), 1).ravel().tolist()
        [0.0, 0.0, 1.0, 1.0, 0.0]
    """
    check_mask("mask", mask)
    check_integer("width", width, low=1)
    near_hole = F.max_pool2d(mask, 2 * width + 1, stride=1, padding=width)
    near_known = F.max_pool2d(1.0 - mask, 2 * width + 1, stride=1, padding=width)
    return near_hole * near_known
