"""How a filling is joined to its photo: hard, feathered or Poisson.

=========== ============================================================= ==================================
kind        in the hole                                                   known pixels
=========== ============================================================= ==================================
hard        the filling                                                   the photo's, bit for bit
feathered   the filling                                                   near the hole, partly the filling
poisson     the filling plus a smooth change that makes its rim fit       the photo's, bit for bit
=========== ============================================================= ==================================

No pixel of the photo under the hole has a share in any of them: a filling never fades out inside the hole.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import scipy.ndimage
import scipy.sparse
import scipy.sparse.linalg
import torch
from torch import Tensor

from .checks import InpaintError, check_choice, check_image, check_integer, check_mask

__all__ = ["BLENDS", "blend", "margin"]

BLENDS = ("hard", "feathered", "poisson")
EXACT = 250_000  # pixels of a hole up to which each is an unknown of Poisson's equation (1 s)
# Beyond, blocks of pixels far from the rim: a hole of 4 million pixels takes 2 s and 0.7 GB, one of 16 million 8 s and
# 2 GB. At worst, with stripes from black to white around the hole, a pixel was 0.14 levels of 8 bits off the exact
# solution; mostly it is 0.02.
LEVELS = 6  # blocks are at most 2^6 pixels a side,
NEAR = 8  # and so many of their sides away from the rim, where the solution is smooth
# Unknowns up to which the system is factorised. A hole has more if millions of its pixels are near its rim, as a fence
# over a large photo; then it is iterated, in less room (4 million: 5 to 40 s, 2.6 GB), to 0.01 levels of the same.
DIRECT = 1_500_000
RTOL = 1e-6
MOST = 2000  # iterations


def margin(kind: str, feather: int) -> int:
    """Returns how many pixels around the hole the filling is looked at. Raises InpaintError for an unknown kind."""
    check_choice("blend", kind, BLENDS)
    check_integer("feather", feather, low=1)
    return {"hard": 0, "feathered": feather, "poisson": 1}[kind]


def blend(photo: Tensor, filling: Tensor, hole: Tensor, *, kind: str = "hard", feather: int = 8,
          covered: Tensor | None = None, unknown: Tensor | None = None) -> Tensor:  # fmt: skip
    """Returns the photo with its hole filled, (1, 3, H, W) in [-1, 1].

    feathered: a known pixel at the distance d from the hole, in pixels up to ``feather``, is the filling with the share
    ``1 - d / (feather + 1)``, else the photo. poisson: Perez et al. 2003, equations 2 to 4, with the filling's own
    gradients, which is the filling plus the membrane h that

    .. math:: \\Delta h = 0 \\text{ in the hole}, \\quad h = \\text{photo} - \\text{filling} \\text{ around it}

    with nothing across the photo's border, solved by scipy: for every pixel, in large holes on a quadtree that is fine
    along the rim (Agarwala 2007). (OpenCV's ``seamlessClone`` solves in the hole's bounding box and in 8 bits, which
    changes known pixels there.)

    Args:
        photo, filling: (1, 3, H, W) in [-1, 1]; the filling counts in the hole and ``margin`` pixels around it.
        hole: (1, 1, H, W), 1 = to be filled.
        kind: one of ``BLENDS``.
        feather: width of the band in pixels of the photo, at least 1.
        covered: bool (1, 1, H, W), where known pixels may change; all by default.
        unknown: bool (1, 1, H, W), pixels that are another's hole: neither looked at nor changed.

    Raises:
        InpaintError: for wrong shapes or ranges, an unknown kind, or a feather below 1.
    """
    check_image("photo", photo)
    check_mask("hole", hole, like=photo)
    check_choice("blend", kind, BLENDS)
    check_integer("feather", feather, low=1)
    if filling.shape != photo.shape:
        raise InpaintError(f"filling must fit the photo's {tuple(photo.shape)}; got {tuple(filling.shape)}")
    out, nowhere = photo.clone(), torch.zeros_like(hole, dtype=torch.bool)
    free = (~nowhere if covered is None else covered) | (hole == 1)
    barred = nowhere if unknown is None else unknown & (hole == 0)
    window = (..., *_window(hole, margin(kind, feather)))  # what lies farther away is neither changed nor looked at
    out[window] = _joined(kind, feather, *(x[window] for x in (photo, filling, hole, free & ~barred, barred)))
    return out


def _joined(kind: str, feather: int, photo: Tensor, filling: Tensor, hole: Tensor, free: Tensor,
            barred: Tensor) -> Tensor:  # fmt: skip
    if kind == "feathered":
        share = torch.where(free, _shares(hole, feather), 0.0).to(photo)
        mixed = torch.where(hole == 1, filling, share * filling + (1 - share) * photo)
        return torch.where(share > 0, mixed, photo)
    if kind == "poisson":
        filling = (filling + _membrane(photo - filling, hole == 1, barred)).clamp(-1, 1)
    return torch.where(hole == 1, filling, photo)


def _window(hole: Tensor, by: int) -> tuple[slice, slice]:
    """The rows and columns of the hole and of ``by`` pixels around it."""
    spans = [hole[0, 0].amax(dim=axis).nonzero() for axis in (1, 0)]
    return tuple(slice(max(int(span[0]) - by, 0), int(span[-1]) + by + 1) for span in spans)


def _shares(hole: Tensor, feather: int) -> Tensor:
    """The filling's share at every pixel, (1, 1, H, W): 1 in the hole, falling linearly to 0 outside."""
    distance = scipy.ndimage.distance_transform_edt(hole[0, 0].cpu().numpy() == 0)
    return torch.from_numpy((1 - distance / (feather + 1)).clip(0)).to(hole)[None, None]


def _membrane(difference: Tensor, hole: Tensor, barred: Tensor) -> Tensor:
    """The harmonic function in the hole whose values around it are the difference's; 0 elsewhere, (1, 3, H, W).

    A pixel is the mean of those neighbours that there are: not beyond the photo, not barred. That is the function with
    the least sum of squared steps between neighbours; in large holes the least of all that are bilinear in each block.
    """
    inside, known = hole[0, 0].cpu().numpy(), ~(hole | barred)[0, 0].cpu().numpy()
    values = difference[0].permute(1, 2, 0).double().cpu().numpy()
    blocks = _blocks(inside, LEVELS if inside.sum() > EXACT else 0)
    node, single = blocks.nodes[blocks.of, 0], inside & (blocks.side[blocks.of] == 1)
    count = functools.partial(np.bincount, minlength=blocks.unknowns)
    # Where no known pixel is near (a hole bounded by the photo alone) this holds h at 0, and is nothing elsewhere.
    diagonal, right = np.full(blocks.unknowns, 1e-9), np.zeros((blocks.unknowns, values.shape[-1]))
    pairs, steps = [], []
    for here, there in _neighbours(inside.shape):
        pair = single[here] & single[there]
        pairs.append((node[here][pair], node[there][pair]))
        across = inside[here] & inside[there] & (blocks.of[here] != blocks.of[there]) & ~pair
        steps.append(_weights(blocks, *_places(across, here)) - _weights(blocks, *_places(across, there)))
        for one, other in ((here, there), (there, here)):
            rim = inside[one] & known[other]  # there a block is one pixel
            np.add.at(right, node[one][rim], values[other][rim])
            diagonal += count(node[one][rim | pair])
    row, column = (np.concatenate(side) for side in zip(*pairs, strict=True))
    links = scipy.sparse.coo_array((np.ones(len(row)), (row, column)), shape=2 * (blocks.unknowns,)).tocsc()
    step = scipy.sparse.vstack(steps)
    matrix = scipy.sparse.diags_array(diagonal) - links - links.T + step.T @ step + _inner_steps(blocks)
    return torch.from_numpy(_spread(blocks, _solve(matrix.tocsc(), right))).permute(2, 0, 1)[None].to(difference)


def _neighbours(shape: tuple[int, int]):
    """Views of the pixels and of their neighbours below, and beside."""
    yield (slice(None, -1), slice(None)), (slice(1, None), slice(None))
    yield (slice(None), slice(None, -1)), (slice(None), slice(1, None))


def _places(where: np.ndarray, window: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the pixels ``where``, of a window of the picture."""
    return tuple(at + (part.start or 0) for at, part in zip(np.nonzero(where), window, strict=True))


def _solve(matrix: scipy.sparse.csc_array, right: np.ndarray) -> np.ndarray:
    """Solves a symmetric, positive system for each column of ``right``."""
    if matrix.shape[0] <= DIRECT:
        options = {"SymmetricMode": True}
        factor = scipy.sparse.linalg.splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
        return factor.solve(right)
    rows = matrix.tocsr()
    options = {"rtol": RTOL, "maxiter": MOST, "M": scipy.sparse.diags_array(1 / rows.diagonal())}
    columns, faults = zip(*(scipy.sparse.linalg.cg(rows, column, **options) for column in right.T), strict=True)
    if any(faults):
        raise InpaintError(f"Poisson blending did not converge in {MOST} iterations in this hole; take BLEND=feathered")
    return np.stack(columns, axis=1)


class Blocks(NamedTuple):
    """A hole's square blocks of pixels, largest first. In each, a function is bilinear between the unknowns, its nodes,
    at the four corners; a block of one pixel has one unknown, named four times.
    """

    of: np.ndarray  # (H, W), the number of each pixel's block; -1 outside of the hole
    row: np.ndarray  # (n,), of a block's first pixel
    column: np.ndarray
    side: np.ndarray  # (n,), pixels
    nodes: np.ndarray  # (n, 4): top left, top right, bottom left, bottom right
    unknowns: int


def _blocks(inside: np.ndarray, levels: int) -> Blocks:
    """The quadtree of blocks at least ``NEAR`` sides away from what is not inside, at most 2^levels pixels a side."""
    far = scipy.ndimage.distance_transform_cdt(inside, "chessboard") if levels else inside.astype(np.int32)
    far = np.pad(far, [(0, -n % 2**levels) for n in far.shape])
    of = np.full(far.shape, -1, np.int32)
    parts, count, unknowns = [], 0, 0
    for side in (2**level for level in range(levels, -1, -1)):
        cells = (far.shape[0] // side, side, far.shape[1] // side, side)
        fit = far.reshape(cells).min(axis=(1, 3)) >= (NEAR * side if side > 1 else 1)
        row, column = np.nonzero(fit & (of.reshape(cells)[:, 0, :, 0] < 0))
        of.reshape(cells)[row, :, column, :] = count + np.arange(len(row))[:, None, None]
        # Blocks of one size share corners; those of different sizes share none, and are joined as pixels are.
        corners = [(row + a) * (cells[2] + 1) + column + b for a in (0, 1) for b in (0, 1)]
        keys = np.stack(corners if side > 1 else 4 * corners[:1], axis=1)
        found, nodes = np.unique(keys, return_inverse=True)
        nodes = nodes.reshape(-1, 4).astype(np.int32) + unknowns
        parts.append((row * side, column * side, np.full(len(row), side), nodes))
        count, unknowns = count + len(row), unknowns + len(found)
    return Blocks(of[: inside.shape[0], : inside.shape[1]], *map(np.concatenate, zip(*parts, strict=True)), unknowns)


def _weights(blocks: Blocks, row: np.ndarray, column: np.ndarray) -> scipy.sparse.csr_array:
    """The weights of all unknowns in pixels, (pixels, unknowns)."""
    block = blocks.of[row, column]
    weights = _bilinear(*((at - first[block] + 0.5) / blocks.side[block]
                          for at, first in ((row, blocks.row), (column, blocks.column))))  # fmt: skip
    ends = np.arange(0, weights.size + 1, 4)  # the four of a single pixel are one unknown's, and are summed
    return scipy.sparse.csr_array((weights.ravel(), blocks.nodes[block].ravel(), ends), (len(row), blocks.unknowns))


def _bilinear(v: np.ndarray, u: np.ndarray) -> np.ndarray:
    """The weights of the four corners at fractions of a block's height and width, (..., 4)."""
    return np.stack([(1 - v) * (1 - u), (1 - v) * u, v * (1 - u), v * u], axis=-1)


def _corner_shares(side: int) -> np.ndarray:
    """The corners' weights in a block's pixels, (side, side, 4)."""
    at = (np.arange(side) + 0.5) / side
    return _bilinear(*np.broadcast_arrays(at[:, None], at))


def _inner_steps(blocks: Blocks) -> scipy.sparse.csr_array:
    """What the steps inside the blocks add to the matrix."""
    shape, parts = 2 * (blocks.unknowns,), [(np.zeros(0), np.zeros(0, int), np.zeros(0, int))]
    for side in np.unique(blocks.side[blocks.side > 1]):
        nodes, weights = blocks.nodes[blocks.side == side], _corner_shares(side)
        steps = np.concatenate([np.diff(weights, axis=axis).reshape(-1, 4) for axis in (0, 1)])
        energy = np.tile((steps.T @ steps).ravel(), len(nodes))
        parts.append((energy, nodes.repeat(4, axis=1).ravel(), np.tile(nodes, 4).ravel()))
    energy, row, column = map(np.concatenate, zip(*parts, strict=True))
    return scipy.sparse.coo_array((energy, (row, column)), shape=shape).tocsr()


def _spread(blocks: Blocks, solution: np.ndarray) -> np.ndarray:
    """The function in the hole's pixels, 0 elsewhere, float32 (H, W, 3)."""
    out = np.zeros((*blocks.of.shape, solution.shape[1]), np.float32)
    for side in np.unique(blocks.side):
        chosen = blocks.side == side
        values = np.einsum("yxk,nkc->nyxc", _corner_shares(side), solution[blocks.nodes[chosen]])
        rows, columns = (at[chosen][:, None, None] + np.arange(side) for at in (blocks.row, blocks.column))
        out[rows.swapaxes(1, 2), columns] = values
    return out
