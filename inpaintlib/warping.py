"""A photo's turned square becomes the generator's picture, and the generator's picture goes back into the photo.

Into the square: a small pixel is known only if it touches no hole and lies in the photo, and its colour averages known
pixels alone. Nothing under the mask and nothing beyond the photo's border has a share in it. Back into the photo:
bicubic, at the photo's own resolution.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .alignment import Square
from .images import resize

__all__ = ["aligned", "aligned_hole", "inside", "known_average", "off_centre", "unaligned", "unaligned_hole"]

EDGE = 1e-6  # pixels: less is rounding


def known_average(part: Tensor, known: Tensor, size: int) -> Tensor:
    """Returns a picture at ``size`` whose pixels average known pixels only; where there are none, all known ones.

    Args:
        part: (1, 3, H, W) in [-1, 1]; what is not known is not read.
        known: (1, 1, H, W), the share of every pixel that is known, in [0, 1].
        size: height and width of the result, (1, 3, size, size) in [-1, 1].
    """
    # Linear and antialiased: the weights are not negative, so the division below is an average.
    shrink = lambda x: F.interpolate(x, (size, size), mode="bilinear", antialias=True)  # noqa: E731
    weighted = torch.where(known > 0, part * known, 0.0)
    share, mean = shrink(known), weighted.sum(dim=(2, 3), keepdim=True) / known.sum().clamp_min(1e-3)
    return torch.where(share > 1e-3, shrink(weighted) / share.clamp_min(1e-3), mean).clamp(-1, 1)


def aligned(photo: Tensor, hole: Tensor, square: Square, size: int) -> Tensor:
    """Returns the square as the generator would see it, (1, 3, size, size) in [-1, 1].

    The turned square is sampled at no less than the photo's own density, linearly and of known pixels only; the samples
    are then averaged.

    Args:
        photo, hole: (1, 3, H, W) in [-1, 1] and (1, 1, H, W), 1 = hole.
        square: where the face lies; it may reach beyond the photo.
        size: R, the generator's resolution.
    """
    dense = size * max(math.ceil(square.side / size), 1)
    grid = _photo_grid(square, dense, *photo.shape[2:])
    known = 1 - hole
    # Sampled with its own weights: a sample's colour is sum(weight known colour) / sum(weight known).
    colour = F.grid_sample(torch.where(hole == 1, 0.0, photo), grid, padding_mode="zeros", align_corners=False)
    share = F.grid_sample(known, grid, padding_mode="zeros", align_corners=False)
    colour = torch.where(share > 1e-3, colour / share.clamp_min(1e-3), 0.0)
    return known_average(colour, torch.where(share > 1e-3, share, 0.0), size)


def aligned_hole(hole: Tensor, square: Square, size: int) -> Tensor:
    """Returns what the generator is not shown, (1, 1, size, size), 1 = hole.

    A pixel is a hole if it touches a hole pixel of the photo or a point beyond the photo's border. Every hole pixel is
    first grown to the upright box around its turned self: it hides a little more than it must, never less.
    """
    y, x = (hole[0, 0].nonzero().double() + 0.5).unbind(1)
    u, v = (size * fraction for fraction in _fractions(square, x, y))
    # Half of a box's side: (|cos| + |sin|) / 2 of the photo's pixel, which is size / side of a small one.
    reach = (abs(square.ax) + abs(square.ay)) / square.side * size / square.side
    first_u, first_v = ((at - reach + EDGE).floor().clamp(0, size).long() for at in (u, v))
    end_u, end_v = ((at + reach - EDGE).ceil().clamp(0, size).long() for at in (u, v))
    # The corners of the boxes, summed along both axes, count the boxes that cover a pixel.
    count = torch.zeros(size + 1, size + 1, dtype=torch.int64)
    for sign, rows, columns in ((1, first_v, first_u), (-1, first_v, end_u), (-1, end_v, first_u), (1, end_v, end_u)):
        count.index_put_((rows, columns), torch.tensor(sign), accumulate=True)
    touched = count.cumsum(0).cumsum(1)[:size, :size] > 0
    return (touched | _beyond(square, size, *hole.shape[2:])).to(hole)[None, None]


def off_centre(square: Square, height: int, width: int) -> Tensor:
    """Returns how far a photo's pixels lie from the square's middle, (1, 1, H, W): 0 there, 1 on its border."""
    u, v = _fractions(square, *(at.float() for at in _middles(height, width)))  # for millions of pixels
    return torch.maximum((2 * u - 1).abs(), (2 * v - 1).abs())[None, None]


def inside(square: Square, height: int, width: int) -> Tensor:
    """Returns the pixels of a photo whose middle lies in the square, bool (1, 1, H, W)."""
    return off_centre(square, height, width) < 1


def unaligned(image: Tensor, square: Square, photo: Tensor, where: Tensor) -> Tensor:
    """Returns the photo with the generator's picture in its square at the pixels of ``where``, (1, 3, H, W).

    Bicubic, antialiased where the photo has fewer pixels than the picture. Pixels of ``where`` outside of the square
    get its nearest border, so that a hole's surroundings can be compared with the photo everywhere.

    Args:
        image: (1, 3, R, R) in [-1, 1].
        square: where it lies in the photo.
        photo: (1, 3, H, W).
        where: bool (1, 1, H, W); all other pixels stay the photo's.
    """
    if not bool(where.any()):
        return photo
    if (side := math.ceil(square.side)) < image.shape[-1]:
        image = resize(image, side)
    y, x = where[0, 0].nonzero().unbind(1)
    rows, columns = slice(int(y.min()), int(y.max()) + 1), slice(int(x.min()), int(x.max()) + 1)
    u, v = _fractions(square, *_middles(*photo.shape[2:], rows, columns))
    grid = torch.stack([2 * u - 1, 2 * v - 1], dim=-1).float()[None]
    part = F.grid_sample(image.float(), grid, mode="bicubic", padding_mode="border", align_corners=False)
    out = photo.clone()
    window = (..., rows, columns)
    out[window] = torch.where(where[window], part.clamp(-1, 1).to(photo.dtype), photo[window])
    return out


def unaligned_hole(hole: Tensor, square: Square, height: int, width: int) -> Tensor:
    """Returns a hole that was drawn in the aligned square, (1, 1, N, N), in the photo's pixels, (1, 1, H, W).

    A pixel of the photo is what its middle lies on; outside of the square nothing is hidden.
    """
    size = hole.shape[-1]
    u, v = _fractions(square, *_middles(height, width))
    column, row = ((at * size).floor().long().clamp(0, size - 1) for at in (u, v))
    return hole[:, :, row, column] * inside(square, height, width)


def _fractions(square: Square, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The point (x, y) of the photo as fractions (u, v) of the square's sides."""
    dx, dy, norm = x - square.cx, y - square.cy, square.ax**2 + square.ay**2
    u = (dx * square.ax + dy * square.ay) / norm
    v = (dy * square.ax - dx * square.ay) / norm
    return (u + 1) / 2, (v + 1) / 2


def _middles(height: int, width: int, rows: slice = slice(None), columns: slice = slice(None)) -> tuple[Tensor, Tensor]:
    """x (w,) and y (h, 1) of the middles of a photo's pixels, or of a window of it."""
    x, y = (torch.arange(n, dtype=torch.float64) + 0.5 for n in (width, height))
    return x[columns], y[rows, None]


def _points(square: Square, n: int, *, corners: bool = False) -> tuple[Tensor, Tensor]:
    """x and y in the photo of the middles of n x n aligned pixels, or of their (n + 1) x (n + 1) corners."""
    at = torch.arange(n + 1, dtype=torch.float64) / n if corners else (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return square.point(at, at[:, None])


def _beyond(square: Square, size: int, height: int, width: int) -> Tensor:
    """The aligned pixels that reach beyond the photo's border, bool (size, size)."""
    x, y = _points(square, size, corners=True)
    out = (x < -EDGE) | (x > width + EDGE) | (y < -EDGE) | (y > height + EDGE)
    # A pixel is a convex patch: it lies inside if its four corners do.
    return out[1:, 1:] | out[1:, :-1] | out[:-1, 1:] | out[:-1, :-1]


def _photo_grid(square: Square, n: int, height: int, width: int) -> Tensor:
    """The middles of n x n aligned pixels for ``grid_sample`` of the photo, (1, n, n, 2)."""
    x, y = _points(square, n)
    return torch.stack([2 * x / width - 1, 2 * y / height - 1], dim=-1).float()[None]
