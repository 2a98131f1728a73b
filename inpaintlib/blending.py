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

import numpy as np
import scipy.ndimage
import scipy.sparse
import scipy.sparse.linalg
import torch
from torch import Tensor

from .checks import InpaintError, check_choice, check_image, check_integer, check_mask

__all__ = ["BLENDS", "blend", "margin"]

BLENDS = ("hard", "feathered", "poisson")
DIRECT = 1_000_000  # pixels of a hole up to which it is factorised (3 s, 1 GB); iterated beyond, in less room
RTOL = 1e-4  # of the iteration: below a level of 8 bits


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

    with nothing across the photo's border, solved for every pixel by scipy. (OpenCV's ``seamlessClone`` solves in the
    hole's bounding box and in 8 bits, which changes known pixels there.)

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

    A pixel is the mean of those neighbours that there are: not beyond the photo, not barred.
    """
    inside, known = hole[0, 0].cpu().numpy(), ~(hole | barred)[0, 0].cpu().numpy()
    values = difference[0].permute(1, 2, 0).double().cpu().numpy()
    number = np.full(inside.shape, -1)
    number[inside] = np.arange(inside.sum())
    # Where no known pixel is near (a hole bounded by the photo alone) this holds h at 0, and is nothing elsewhere.
    diagonal, right = np.full(inside.sum(), 1e-9), np.zeros((inside.sum(), values.shape[-1]))
    pairs = []
    for here, there in _neighbours(inside.shape):
        joined = inside[here] & inside[there]
        pairs.append((number[here][joined], number[there][joined]))
        for one, other in ((here, there), (there, here)):
            rim = inside[one] & known[other]
            np.add.at(right, number[one][rim], values[other][rim])
            np.add.at(diagonal, number[one][rim | joined], 1.0)
    row, column = (np.concatenate(side) for side in zip(*pairs, strict=True))
    links = scipy.sparse.coo_array((np.ones(len(row)), (row, column)), shape=2 * (len(diagonal),))
    solution = _solve((scipy.sparse.diags_array(diagonal) - links - links.T).tocsc(), right)
    out = np.zeros_like(values)
    out[inside] = solution
    return torch.from_numpy(out).permute(2, 0, 1)[None].to(difference)


def _neighbours(shape: tuple[int, int]):
    """Views of the pixels and of their neighbours below, and beside."""
    yield (slice(None, -1), slice(None)), (slice(1, None), slice(None))
    yield (slice(None), slice(None, -1)), (slice(None), slice(1, None))


def _solve(matrix: scipy.sparse.csc_array, right: np.ndarray) -> np.ndarray:
    """Solves a symmetric, positive system for each column of ``right``."""
    if matrix.shape[0] <= DIRECT:
        options = {"SymmetricMode": True}
        factor = scipy.sparse.linalg.splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
        return factor.solve(right)
    rows = matrix.tocsr()
    columns = [scipy.sparse.linalg.cg(rows, column, rtol=RTOL)[0] for column in right.T]
    return np.stack(columns, axis=1)
