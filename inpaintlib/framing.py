"""What of a user's photo the generator sees, and how what it makes of it goes back.

A *problem* is one picture for the generator: the photo's centred square, the whole photo, or the turned square around
one face. A pixel of the small mask is a hole if it covers any part of the hole (or, in a turned square, of what lies
beyond the photo), and a known pixel of the small target averages known pixels only: nothing of what lies under the
mask, and nothing put in its place, can leak into what the search sees.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .alignment import Face, Square, square_of
from .blending import blend, margin
from .checks import InpaintError, check_choice, check_image, check_integer, check_mask
from .images import crop, read_image, resize, square_box
from .landmarks import choose_faces, find_faces, parse_eyes
from .masks import read_mask, resize_mask
from .warping import BAND, aligned, aligned_hole, inside, known_average, off_centre, unaligned

__all__ = ["CROPS", "Problem", "completion", "prepare", "prepare_faces", "read"]

CROPS = ("square", "whole", "aligned")
WIDEST = 3.0  # a face's square, as a multiple of the photo's larger side; wider, the eyes are no face's in the photo


class Problem(NamedTuple):
    """A picture with its hole, at full size and at the generator's."""

    photo: Tensor  # (1, 3, H, W)
    hole: Tensor  # (1, 1, H, W), the part of the mask that this picture fills
    box: tuple[int, int, int] | None  # top, left, side of the centred square
    target: Tensor  # (1, 3, R, R)
    mask: Tensor  # (1, 1, R, R)
    face: Face | None = None
    square: Square | None = None  # of the face; without box and square it is the whole photo
    rest: Tensor | None = None  # (1, 1, H, W), the mask's pixels that stay as they are, since one face alone was chosen


def read(image: Path, mask: Path, *, size: int, crop: str, resize_mask: bool, threshold: bool, alignment: str = "none",
         eyes: str = "", face: int = 0) -> list[Problem]:  # fmt: skip
    """Returns the problems of two files: one, or with ``crop`` "aligned" one for each face that has a hole.

    Args:
        image, mask: the files; the mask is in the photo's coordinates.
        size: R, the generator's resolution.
        crop: ``square`` (the centred square), ``whole`` (the picture squeezed to a square) or ``aligned`` (the faces,
            as the generator's pictures have them).
        resize_mask, threshold: as ``resize`` and ``threshold`` of :func:`inpaintlib.masks.read_mask`.
        alignment: the generator's; used by ``aligned``, as the next two.
        eyes: where the eyes of the only face are, as :func:`inpaintlib.landmarks.parse_eyes` reads it; "" looks.
        face: 0 for all faces found, else the one to be filled alone, 1 is the largest.

    Raises:
        InpaintError: if a file is unusable, their sizes differ (unless ``resize_mask``), there is no face, eyes or face
            are given without ``aligned``, or see :func:`prepare` and :func:`prepare_faces`.
    """
    check_choice("crop", crop, CROPS)
    if crop != "aligned" and (eyes or face):
        raise InpaintError(f"EYES and FACE are for aligned faces, ALIGN=1 (crop: aligned); here crop is {crop!r}")
    if crop == "aligned" and alignment == "none":
        raise InpaintError(
            "ALIGN=1 (crop: aligned) needs a generator whose file says how faces lie in its images; this one's says"
            " nothing. Take ALIGN=0, or say it when the file is made: python -m inpaintlib convert --alignment ffhq"
        )
    photo = read_image(image)
    given = [parse_eyes(eyes, height=photo.shape[2], width=photo.shape[3])] if eyes else None
    hole = read_mask(mask, size=tuple(photo.shape[2:]), resize=resize_mask, threshold=threshold)
    if crop != "aligned":
        return [prepare(photo, hole, size=size, crop_to=crop)]
    faces = find_faces(photo, hole) if given is None else given
    choose_faces(faces, face)  # are there so many?
    return prepare_faces(photo, hole, faces, size=size, alignment=alignment, only=face)


def prepare(photo: Tensor, hole: Tensor, *, size: int, crop_to: str = "square") -> Problem:
    """Returns the problem of the centred square or of the whole picture.

    Args:
        photo, hole: (1, 3, H, W) in [-1, 1] and (1, 1, H, W), 1 = hole.
        size: R, the generator's resolution.
        crop_to: ``square`` or ``whole``.

    Raises:
        InpaintError: for unfit shapes or ranges, or if the hole reaches beyond the square, or leaves nothing
            known at the generator's size.
    """
    check_choice("crop", crop_to, CROPS[:2])
    check_image("photo", photo)
    check_mask("hole", hole, like=photo)
    box = square_box(*photo.shape[2:]) if crop_to == "square" else None
    part, part_hole = (photo, hole) if box is None else (crop(photo, box), crop(hole, box))
    beyond = int(hole.count_nonzero() - part_hole.count_nonzero())
    if beyond:
        raise InpaintError(
            f"the mask reaches {beyond} pixels beyond the picture's centred square {box} (top, left, side); cut the"
            " picture, or use crop = whole"
        )
    small_hole = resize_mask(part_hole, size)
    _check_known(small_hole)
    return Problem(photo, hole, box, known_average(part, 1 - part_hole, size), small_hole)


def prepare_faces(photo: Tensor, hole: Tensor, faces: Sequence[Face], *, size: int, alignment: str,
                  only: int = 0) -> list[Problem]:  # fmt: skip
    """Returns a problem for each face whose square has a part of the hole; in the order of the faces.

    A hole pixel that lies in several squares belongs to that in whose middle it lies most; the others do not see it
    either.

    Args:
        photo, hole: (1, 3, H, W) in [-1, 1] and (1, 1, H, W), 1 = hole.
        faces: at least one.
        size: R, the generator's resolution.
        alignment: the generator's, ``celeba`` or ``ffhq``.
        only: 0 for all faces, else the number of the only one that is filled, 1 is the first. What of the hole does not
            belong to it is hidden to the search, and left as it is in the photo (``Problem.rest``).

    Raises:
        InpaintError: for unfit shapes or ranges, eyes that imply a square many times larger than the photo, or if a
            part of the hole lies in no square, the only face has none, or nothing is known in one at the generator's
            size.
    """
    check_image("photo", photo)
    check_mask("hole", hole, like=photo)
    check_integer("FACE", only, low=0, high=len(faces))
    squares = [square_of(face, alignment) for face in faces]
    for face, square in zip(faces, squares, strict=True):
        _check_side(face, square, *photo.shape[2:])
    owner = _owners(hole, squares)
    if only:
        return [_chosen(photo, hole, faces[only - 1], squares[only - 1], owner == only, only, size)]
    if outside := int(hole.count_nonzero() - owner.count_nonzero()):
        which = "the face's square" if len(faces) == 1 else f"the squares of all {len(faces)} faces"
        at = "; ".join(f"middle {s.cx:.0f}, {s.cy:.0f}, side {s.side:.0f}" for s in squares)
        raise InpaintError(
            f"the mask reaches {outside} pixels beyond {which} ({at}), where the generator draws nothing; hide less,"
            " fill the part of one face alone with FACE=1 (the largest), or take the centred square with ALIGN=0"
        )
    parts = [(face, square, owner == i + 1) for i, (face, square) in enumerate(zip(faces, squares, strict=True))]
    return [_of_face(photo, hole, face, square, mine, size) for face, square, mine in parts if mine.any()]


def _chosen(photo: Tensor, hole: Tensor, face: Face, square: Square, mine: Tensor, number: int, size: int) -> Problem:
    """The problem of the only face that is filled. Raises InpaintError if no part of the hole is its own."""
    if not mine.any():
        raise InpaintError(
            f"the mask has no part in face {number}, FACE={number}: its {int(hole.count_nonzero())} pixels lie beyond"
            f" the face's square (middle {square.cx:.0f}, {square.cy:.0f}, side {square.side:.0f}) or nearer to the"
            " middle of another;"
            " choose another face, or leave FACE out"
        )
    rest = torch.where(mine, 0.0, hole)
    return _of_face(photo, hole, face, square, mine, size)._replace(rest=rest if rest.any() else None)


def _of_face(photo: Tensor, hole: Tensor, face: Face, square: Square, mine: Tensor, size: int) -> Problem:
    small_hole = aligned_hole(hole, square, size)
    _check_known(small_hole)
    return Problem(photo, mine.to(hole), None, aligned(photo, hole, square, size), small_hole, face, square)


def _owners(hole: Tensor, squares: Sequence[Square]) -> Tensor:
    """The number, from 1, of the square in whose middle a hole pixel lies most; 0 in none, or no hole, (1, 1, H, W)."""
    out = torch.zeros_like(hole, dtype=torch.int16)
    height, width = hole.shape[2:]
    for top in range(0, height, step := max(BAND // width, 1)):
        rows = slice(top, min(top + step, height))
        if hole[..., rows, :].any():
            nearest, owner = torch.stack([off_centre(s, height, width, rows) for s in squares]).min(dim=0)
            out[..., rows, :] = torch.where((hole[..., rows, :] == 1) & (nearest < 1), owner + 1, 0).to(torch.int16)
    return out


def _check_side(face: Face, square: Square, height: int, width: int) -> None:
    if square.side > WIDEST * max(height, width):
        (x0, y0), (x1, y1) = face.left_eye, face.right_eye
        raise InpaintError(
            f"EYES must be those of one face in the picture; {x0:g},{y0:g} and {x1:g},{y1:g} are"
            f" {math.hypot(x1 - x0, y1 - y0):.0f} pixels apart, so that the face's square would be {square.side:.0f}"
            f" pixels wide, in a picture of {width} x {height}"
        )


def _check_known(small_hole: Tensor) -> None:
    size = small_hole.shape[-1]
    if bool((small_hole == 1).all()):
        raise InpaintError(f"the mask hides every one of the {size} x {size} pixels that the generator sees; hide less")


def completion(
    problems: Sequence[Problem], images: Sequence[Tensor], *, kind: str = "hard", feather: int = 8
) -> Tensor:
    """Returns the photo, (1, 3, H, W) in [-1, 1], each problem's hole filled from its G(w), (1, 3, R, R).

    ``kind`` and ``feather`` are :func:`inpaintlib.blending.blend`'s. One hole is filled after the other; none ever sees
    what lay under another.
    """
    picture = problems[0].photo
    for i, (problem, image) in enumerate(zip(problems, images, strict=True)):
        near = _grown(problem.hole, margin(kind, feather)) == 1
        filling, covered = _laid(problem, image.cpu().clamp(-1, 1), picture, near)
        others = [other.hole == 1 for other in problems[i + 1 :]] + (
            [] if problem.rest is None else [problem.rest == 1]
        )
        unknown = torch.stack(others).any(dim=0) if others else None
        picture = blend(picture, filling, problem.hole, kind=kind, feather=feather, covered=covered, unknown=unknown)
    return picture


def _grown(hole: Tensor, by: int) -> Tensor:
    """The hole and all pixels at most ``by`` rows and columns away."""
    if by == 0:
        return hole
    rows = F.max_pool2d(hole, (2 * by + 1, 1), stride=1, padding=(by, 0))
    return F.max_pool2d(rows, (1, 2 * by + 1), stride=1, padding=(0, by))


def _laid(problem: Problem, image: Tensor, photo: Tensor, near: Tensor) -> tuple[Tensor, Tensor | None]:
    """The image where the generator's picture lies in the photo, at least at the pixels ``near``; and where that is."""
    height, width = photo.shape[2:]
    if problem.square is not None:
        return unaligned(image, problem.square, photo, near), inside(problem.square, height, width)
    if problem.box is None:
        return resize(image, (height, width)), None
    top, left, side = problem.box
    sides = (left, width - left - side, top, height - top - side)
    covered = F.pad(torch.ones(1, 1, side, side, dtype=torch.bool), sides)
    # Beyond the square stand its border's own pixels, so that a hole at the border can be compared with the photo.
    return F.pad(resize(image, side), sides, mode="replicate"), covered
