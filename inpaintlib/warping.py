"""A photo's turned square becomes the generator's picture, and the generator's picture goes back into the photo.

Into the square: a small pixel is known only if it touches no hole and lies in the photo, and its colour averages known
pixels alone. Nothing under the mask and nothing beyond the photo's border has a share in it. Back into the photo:
bicubic, at the photo's own resolution.

A photo may have tens of millions of pixels: everything is done a tile or a band of rows at a time, and a face that is
many times larger than the generator's picture is first averaged over blocks of pixels.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .alignment import Point, Square
from .images import resize

__all__ = ["aligned", "aligned_hole", "inside", "known_average", "off_centre", "unaligned", "unaligned_hole"]

EDGE = 1e-6  # pixels: less is rounding
DENSE = 4  # blocks of the photo that a small pixel is at least wide, where blocks are averaged
TILE = 512  # samples a side that are taken at once
BAND = 2**20  # pixels of the photo that are worked on at once


def known_average(part: Tensor, known: Tensor, size: int) -> Tensor:
    """Returns a picture at ``size`` whose pixels average known pixels only; where there are none, all known ones.

    Args:
        part: (1, 3, H, W) in [-1, 1]; what is not known is not read.
        known: (1, 1, H, W), the share of every pixel that is known, in [0, 1].
        size: height and width of the result, (1, 3, size, size) in [-1, 1].
    """
    weighted = torch.where(known > 0, part * known, 0.0)
    mean = weighted.sum(dim=(2, 3), keepdim=True) / known.sum().clamp_min(1e-3)
    return _average(_shrunk(weighted, (size, size)), _shrunk(known, (size, size)), mean)


def aligned(photo: Tensor, hole: Tensor, square: Square, size: int) -> Tensor:
    """Returns the square as the generator would see it, (1, 3, size, size) in [-1, 1].

    The turned square is sampled linearly, and the samples are averaged, of known pixels only. It is sampled at no less
    than the photo's own density, or, where a small pixel is ``2 DENSE`` or more pixels wide, that of blocks of pixels
    of which it has ``DENSE`` or more a side.

    Args:
        photo, hole: (1, 3, H, W) in [-1, 1] and (1, 1, H, W), 1 = hole.
        square: where the face lies; it may reach beyond the photo.
        size: R, the generator's resolution.
    """
    block = _block(square, size)
    samples = max(math.ceil(square.side / size / block), 1)  # of a small pixel, a side
    out = photo.new_empty(1, 4, size, size)  # the known pixels' share times their colour, and the share itself
    for rows in _runs(size, max(TILE // samples, 1)):
        for columns in _runs(size, max(TILE // samples, 1)):
            # An antialiased pixel reaches half a pixel into its neighbours.
            wide = [slice(max(run.start - 1, 0), min(run.stop + 1, size)) for run in (rows, columns)]
            part = _shrunk(_sampled(photo, hole, square, size, *wide, block, samples), [w.stop - w.start for w in wide])
            height, width = (run.stop - run.start for run in (rows, columns))
            top, left = rows.start - wide[0].start, columns.start - wide[1].start
            out[..., rows, columns] = part[..., top : top + height, left : left + width]
    weighted, share = out[:, :3], out[:, 3:]
    return _average(weighted, share, weighted.sum(dim=(2, 3), keepdim=True) / share.sum().clamp_min(1e-3))


def aligned_hole(hole: Tensor, square: Square, size: int) -> Tensor:
    """Returns what the generator is not shown, (1, 1, size, size), 1 = hole.

    A pixel is a hole if it touches a hole pixel of the photo or a point beyond the photo's border. Every hole pixel is
    first grown to the upright box around its turned self: it hides a little more than it must, never less. Where
    :func:`aligned` averages blocks, a block with any hole pixel counts as a hole.
    """
    block = _block(square, size)
    # Half of a box's side: (|cos| + |sin|) / 2 of the photo's block, which is size / side of a small pixel's.
    reach = block * (abs(square.ax) + abs(square.ay)) / square.side * size / square.side
    # The corners of the boxes, summed along both axes, count the boxes that cover a pixel.
    count = torch.zeros((size + 1) ** 2, dtype=torch.int64)
    rows, columns = _window(square.corners(), *hole.shape[2:], block)
    for band in _bands(rows, columns, block):
        blocks = _pooled(hole[..., band, columns], block, F.max_pool2d)[0, 0].nonzero()
        y, x = (block * (blocks.double() + 0.5) + torch.tensor([band.start, columns.start])).unbind(1)
        u, v = (size * fraction for fraction in _fractions(square, x, y))
        first_u, first_v = ((at - reach + EDGE).floor().clamp(0, size).long() for at in (u, v))
        end_u, end_v = ((at + reach - EDGE).ceil().clamp(0, size).long() for at in (u, v))
        for sign, row, column in ((1, first_v, first_u), (-1, first_v, end_u), (-1, end_v, first_u), (1, end_v, end_u)):
            count += sign * torch.bincount(row * (size + 1) + column, minlength=len(count))
    touched = count.view(size + 1, size + 1).cumsum(0).cumsum(1)[:size, :size] > 0
    return (touched | _beyond(square, size, *hole.shape[2:])).to(hole)[None, None]


def off_centre(square: Square, height: int, width: int, rows: slice = slice(None)) -> Tensor:
    """Returns how far a photo's pixels lie from the square's middle, (1, 1, H, W): 0 there, 1 on its border.

    ``rows``: only those, (1, 1, h, W); for millions of pixels.
    """
    u, v = _fractions(square, *(at.float() for at in _middles(height, width, rows)))
    return torch.maximum((2 * u - 1).abs(), (2 * v - 1).abs())[None, None]


def inside(square: Square, height: int, width: int) -> Tensor:
    """Returns the pixels of a photo whose middle lies in the square, bool (1, 1, H, W)."""
    bands = _bands(slice(0, height), slice(0, width))
    return torch.cat([off_centre(square, height, width, band) < 1 for band in bands], dim=2)


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
    spans = [where[0, 0].any(dim=axis).nonzero() for axis in (1, 0)]
    rows, columns = (slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    out = photo.clone()
    for band in _bands(rows, columns):
        u, v = _fractions(square, *_middles(*photo.shape[2:], band, columns))
        grid = torch.stack([2 * u - 1, 2 * v - 1], dim=-1).float()[None]
        part = F.grid_sample(image.float(), grid, mode="bicubic", padding_mode="border", align_corners=False)
        window = (..., band, columns)
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


def _beyond(square: Square, size: int, height: int, width: int) -> Tensor:
    """The aligned pixels that reach beyond the photo's border, bool (size, size)."""
    at = torch.arange(size + 1, dtype=torch.float64) / size
    x, y = square.point(at, at[:, None])
    out = (x < -EDGE) | (x > width + EDGE) | (y < -EDGE) | (y > height + EDGE)
    # A pixel is a convex patch: it lies inside if its four corners do.
    return out[1:, 1:] | out[1:, :-1] | out[:-1, 1:] | out[:-1, :-1]


def _average(weighted: Tensor, share: Tensor, mean: Tensor) -> Tensor:
    """Colours of which ``weighted`` is the multiple by ``share``; the mean where next to nothing is known."""
    return torch.where(share > 1e-3, weighted / share.clamp_min(1e-3), mean).clamp(-1, 1)


def _shrunk(x: Tensor, size: Sequence[int]) -> Tensor:
    """Linear and antialiased: the weights are not negative, so that a quotient of two such sums is an average."""
    return F.interpolate(x, tuple(size), mode="bilinear", antialias=True)


def _block(square: Square, size: int) -> int:
    """Pixels of the photo, a side, that are averaged before anything is sampled."""
    return max(math.floor(square.side / size / DENSE), 1)


def _sampled(photo: Tensor, hole: Tensor, square: Square, size: int, rows: slice, columns: slice, block: int,
             samples: int) -> Tensor:  # fmt: skip
    """The share of known pixels times their colour, and the share, at ``samples`` a side of each aligned pixel."""
    v, u = (
        (torch.arange(r.start * samples, r.stop * samples) + 0.5).double() / (size * samples) for r in (rows, columns)
    )
    x, y = square.point(u, v[:, None])
    corners = [square.point(a / size, b / size) for a in (columns.start, columns.stop) for b in (rows.start, rows.stop)]
    window = _window(corners, *photo.shape[2:], block)
    blocks = torch.cat([_known_blocks(photo, hole, band, window[1], block) for band in _bands(*window, block)], dim=2)
    height, width = blocks.shape[2:]
    at = [2 * (x - window[1].start) / (width * block) - 1, 2 * (y - window[0].start) / (height * block) - 1]
    return F.grid_sample(blocks, torch.stack(at, dim=-1).to(photo)[None], padding_mode="zeros", align_corners=False)


def _known_blocks(photo: Tensor, hole: Tensor, rows: slice, columns: slice, block: int) -> Tensor:
    """The known pixels' sum of colours, and their number, a pixel of each block, (1, 4, h, w)."""
    known = 1 - hole[..., rows, columns]
    part = torch.cat([torch.where(known == 1, photo[..., rows, columns], 0.0), known], dim=1)
    # Blocks that reach beyond the photo have fewer pixels, and so less of a share.
    return _pooled(part, block, functools.partial(F.avg_pool2d, divisor_override=block**2))


def _pooled(x: Tensor, block: int, pool: Callable[..., Tensor]) -> Tensor:
    return x if block == 1 else pool(x, block, ceil_mode=True)


def _window(points: Sequence[Point], height: int, width: int, block: int) -> tuple[slice, slice]:
    """The rows and columns of the photo around points: whole blocks, and one more around them; at least one."""
    window = []
    for at, length in zip(zip(*points, strict=True), (width, height), strict=True):
        first, end = math.floor(min(at) / block) - 1, math.ceil(max(at) / block) + 1
        first = min(max(first, 0), (length - 1) // block)
        window.append(slice(first * block, min(max(end, first + 1) * block, length)))
    return window[1], window[0]


def _runs(n: int, most: int, start: int = 0) -> Iterator[slice]:
    """0 to n, or ``start`` to n, in runs of at most so many."""
    return (slice(first, min(first + most, n)) for first in range(start, n, most))


def _bands(rows: slice, columns: slice, block: int = 1) -> Iterator[slice]:
    """The rows in bands of at most ``BAND`` pixels, of whole blocks."""
    return _runs(rows.stop, max(BAND // (block * (columns.stop - columns.start)), 1) * block, rows.start)
