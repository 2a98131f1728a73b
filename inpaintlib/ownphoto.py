"""The report on one's own photo: a photograph that ships with scikit-image, from its face to three paste-backs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from .alignment import LANDMARKS, square_of
from .blending import BLENDS
from .figures import PALETTE, masked
from .framing import Problem, completion, prepare_faces
from .images import to_uint8
from .invert import Inversion
from .landmarks import choose_faces, find_faces
from .masks import border_band, make_mask
from .metrics import BAND_PX, seam
from .warping import aligned, aligned_hole, unaligned_hole

__all__ = ["drawn_hole", "framed", "paste_backs", "pasted", "prepared", "reading", "seam_maps", "seams"]

LEVELS = 127.5  # levels of 8 bits in a unit of [-1, 1]
PHOTO = "photo"  # the name of the photo itself among the paste-backs


def drawn_hole(photo: Tensor, part: str, *, coverage: float, alignment: str) -> Tensor:
    """Returns a mask in the photo's coordinates, (1, 1, H, W), as its owner would draw it over a part of the face.

    Args:
        photo: (1, 3, H, W).
        part: a family of :func:`inpaintlib.masks.make_mask` that is a part of a face.
        coverage: fraction of the face's square that is hidden.
        alignment: the generator's; its square is turned as the face is, and so is the mask.

    Raises InpaintError if there is no face in the photo.
    """
    square = square_of(choose_faces(find_faces(photo), 1)[0], alignment)
    mask = make_mask(part, round(square.side), coverage=coverage, generator=torch.Generator(), alignment=alignment)
    return unaligned_hole(mask, square, *photo.shape[2:])


def prepared(photo: Tensor, hole: Tensor, *, size: int, alignment: str) -> Problem:
    """Returns the problem of the photo's largest face; its eyes are looked for again, among the known pixels alone."""
    faces = choose_faces(find_faces(photo, hole), 1)
    return prepare_faces(photo, hole, faces, size=size, alignment=alignment)[0]


def pasted(problem: Problem, record: Inversion, *, feather: int) -> dict[str, Tensor]:
    """Returns the photo, and by each blending the photo with the best sample's hole, (1, 3, H, W)."""
    best = record.image[:1]
    return {PHOTO: problem.photo} | {kind: completion([problem], [best], kind=kind, feather=feather) for kind in BLENDS}


def seams(pictures: Mapping[str, Tensor], hole: Tensor) -> pd.DataFrame:
    """Returns seam and what became of the known pixels, a row for each picture of :func:`pasted`.

    Columns: picture; seam (:func:`inpaintlib.metrics.seam`); changed, the known pixels that are not the photo's any
    more; mean change and largest change, of those, in levels of 8 bits (0 where there are none).
    """
    rows = []
    for name, picture in pictures.items():
        change = (picture - pictures[PHOTO]).abs().amax(dim=1, keepdim=True)[hole == 0] * LEVELS
        changed = change[change > 0]
        mean, most = (float(changed.mean()), float(changed.max())) if len(changed) else (0.0, 0.0)
        rows.append((name, float(seam(picture, hole)), len(changed), mean, most))
    return pd.DataFrame(rows, columns=["picture", "seam", "changed", "mean change", "largest change"])


def reading(problem: Problem, table: pd.DataFrame, *, alignment: str) -> str:
    """Returns what the numbers of :func:`seams` say, and where the face was found."""
    at = table.set_index("picture")
    value, own = at["seam"], at["seam"][PHOTO]
    (x0, y0), (x1, y1) = problem.face.left_eye, problem.face.right_eye
    order = "lower" if value["poisson"] < value["hard"] else "not lower"
    mouth = " (the mouth was estimated from the eyes)" if alignment == "ffhq" else ""
    return (
        f"Eyes were found at {x0:.0f},{y0:.0f} and {x1:.0f},{y1:.0f}; the face's square is {problem.square.side:.0f}"
        f" pixels wide{mouth}. Along the hole's edge the photo itself has a seam of {own:.2f}; pasted hard the filling"
        f" has {value['hard']:.2f}, by Poisson blending {value['poisson']:.2f}, which is {order}, and feathered"
        f" {value['feathered']:.2f}. Hard and Poisson paste-backs changed {at['changed']['hard']} and"
        f" {at['changed']['poisson']} known pixels; the feather changed {at['changed']['feathered']}, by"
        f" {at['mean change']['feathered']:.1f} levels on average and {at['largest change']['feathered']:.0f} at most."
    )


# Figures ----------------------------------------------------------------------------------------------


def framed(problem: Problem, *, alignment: str) -> Figure:
    """Returns the photo with its face's square (the top is darker) and eyes, the square upright with crosses where the
    model's pictures have eyes and mouth, and what the search sees of it.
    """
    fig = Figure(figsize=(11, 4.1), layout="constrained")
    left, middle, right = fig.subplots(1, 3)
    corners = np.array([*problem.square.corners(), problem.square.corners()[0]])
    eyes = np.array([problem.face.left_eye, problem.face.right_eye])
    _show(left, masked(problem.photo, problem.hole), "photo, mask, eyes and square")
    left.plot(*corners.T, color=PALETTE[1], linewidth=2)
    left.plot(*corners[:2].T, color=PALETTE[3], linewidth=3)  # its top: the square may stand on its head
    left.plot(*eyes.T, "+", color=PALETTE[9], markersize=9, markeredgewidth=2)
    low, high = np.minimum(corners.min(axis=0), 0), np.maximum(corners.max(axis=0), problem.photo.shape[:1:-1])
    left.set(xlim=(low[0] - 4, high[0] + 4), ylim=(high[1] + 4, low[1] - 4))
    size = round(problem.square.side)
    upright = aligned(problem.photo, problem.hole, problem.square, size)
    _show(middle, masked(upright, aligned_hole(problem.hole, problem.square, size)), f"upright, {size} px")
    places = np.array([LANDMARKS[alignment][name] for name in ("left_eye", "right_eye", "mouth")]) * size
    middle.plot(*places.T, "+", color=PALETTE[9], markersize=9, markeredgewidth=2)
    _show(right, masked(problem.target, problem.mask), f"target, {problem.target.shape[-1]} px")
    return fig


def paste_backs(pictures: Mapping[str, Tensor], hole: Tensor) -> Figure:
    """Returns the pictures of :func:`pasted` at the photo's resolution, above whole, below around the hole."""
    rows, columns = _window(hole, 2.0)
    fig = Figure(figsize=(3 * len(pictures), 6.4), layout="constrained")
    axs = fig.subplots(2, len(pictures))
    for (whole, near), (name, picture) in zip(axs.T, pictures.items(), strict=True):
        _show(whole, picture, name)
        _show(near, picture[..., rows, columns], "")
        whole.add_patch(_frame(rows, columns))
    return fig


def seam_maps(pictures: Mapping[str, Tensor], hole: Tensor) -> Figure:
    """Returns, near the hole's edge, the largest step of each pixel to a neighbour, in levels of 8 bits."""
    rows, columns = _window(hole, 1.4)
    band = border_band(hole, BAND_PX)[0, 0, rows, columns].numpy() == 1
    maps = {name: _steps(picture)[rows, columns].numpy() for name, picture in pictures.items()}
    top = max(float(values[band].max()) for values in maps.values())
    fig = Figure(figsize=(3 * len(pictures) + 0.9, 3.3), layout="constrained")
    axs = fig.subplots(1, len(pictures))
    for ax, (name, values) in zip(axs, maps.items(), strict=True):
        shown = ax.imshow(np.where(band, values, np.nan), vmin=0, vmax=top, cmap="viridis", interpolation="nearest")
        ax.contour(hole[0, 0, rows, columns].numpy(), levels=[0.5], colors="white", linewidths=0.8)
        ax.set(xticks=[], yticks=[], facecolor="0.85")
        ax.set_title(name, fontsize=11)
    fig.colorbar(shown, ax=axs, label="step to a neighbour\n(levels of 8 bits)", shrink=0.85)
    return fig


def _show(ax, picture: Tensor, title: str) -> None:
    height, width = picture.shape[2:]
    # Pixel i reaches from i to i + 1, as landmarks and squares count.
    ax.imshow(to_uint8(picture.clamp(-1, 1))[0], extent=(0, width, height, 0), interpolation="nearest")
    ax.set_title(title, fontsize=11)
    ax.set_axis_off()


def _window(hole: Tensor, times: float) -> tuple[slice, slice]:
    """A square window around the hole, so many times as wide or high as it, inside the photo."""
    spans = [hole[0, 0].any(dim=axis).nonzero().flatten() for axis in (1, 0)]
    side = round(times * max(int(span[-1] - span[0]) + 1 for span in spans))
    window = []
    for span, length in zip(spans, hole.shape[2:], strict=True):
        start = max(min(int(span[0] + span[-1] + 1 - side) // 2, length - side), 0)
        window.append(slice(start, min(start + side, length)))
    return window[0], window[1]


def _frame(rows: slice, columns: slice):
    from matplotlib.patches import Rectangle

    size = (columns.stop - columns.start, rows.stop - rows.start)
    return Rectangle((columns.start, rows.start), *size, fill=False, edgecolor=PALETTE[1], linewidth=1.5)


def _steps(picture: Tensor) -> Tensor:
    """The largest difference of each pixel to the four beside it, mean over channels, (H, W), in levels of 8 bits."""
    out = torch.zeros(picture.shape[2:])
    for axis in (0, 1):
        step = picture[0].diff(dim=axis + 1).abs().mean(dim=0) * LEVELS
        for start in (0, 1):
            part = out.narrow(axis, start, step.shape[axis])
            part.copy_(torch.maximum(part, step))
    return out
