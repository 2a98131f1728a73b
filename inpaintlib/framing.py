"""What of a user's photo the generator sees, and how what it makes of it goes back.

A *problem* is one picture for the generator: the photo's centred square, the whole photo, or the turned square around
one face. A pixel of the small mask is a hole if it covers any part of the hole (or, in a turned square, of what lies
beyond the photo), and a known pixel of the small target averages known pixels only: nothing of what lies under the
mask, and nothing put in its place, can leak into what the search sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .alignment import Face, Square, square_of
from .blending import blend, margin
from .checks import InpaintError, check_choice, check_image, check_mask
from .images import crop, read_image, resize, square_box
from .landmarks import choose_faces, find_faces, parse_eyes
from .masks import read_mask, resize_mask
from .warping import aligned, aligned_hole, inside, known_average, off_centre, unaligned

__all__ = ["CROPS", "Problem", "completion", "prepare", "prepare_faces", "read"]

CROPS = ("square", "whole", "aligned")


class Problem(NamedTuple):
    """A picture with its hole, at full size and at the generator's."""

    photo: Tensor  # (1, 3, H, W)
    hole: Tensor  # (1, 1, H, W), the part of the mask that this picture fills
    box: tuple[int, int, int] | None  # top, left, side of the centred square
    target: Tensor  # (1, 3, R, R)
    mask: Tensor  # (1, 1, R, R)
    face: Face | None = None
    square: Square | None = None  # of the face; without box and square it is the whole photo


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
        face: 0 for all faces found, else one of them, 1 is the largest.

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
    faces = choose_faces(find_faces(photo, hole) if given is None else given, face)
    return prepare_faces(photo, hole, faces, size=size, alignment=alignment)


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


def prepare_faces(photo: Tensor, hole: Tensor, faces: Sequence[Face], *, size: int, alignment: str) -> list[Problem]:
    """Returns a problem for each face whose square has a part of the hole; in the order of the faces.

    A hole pixel that lies in several squares belongs to that in whose middle it lies most; the others do not see it
    either.

    Args:
        photo, hole: (1, 3, H, W) in [-1, 1] and (1, 1, H, W), 1 = hole.
        faces: at least one.
        size: R, the generator's resolution.
        alignment: the generator's, ``celeba`` or ``ffhq``.

    Raises:
        InpaintError: for unfit shapes or ranges, or if a part of the hole lies in no square, or nothing is known in one
            at the generator's size.
    """
    check_image("photo", photo)
    check_mask("hole", hole, like=photo)
    squares = [square_of(face, alignment) for face in faces]
    far = torch.stack([off_centre(square, *photo.shape[2:]) for square in squares])
    nearest, owner = far.min(dim=0)
    outside = int((hole * (nearest >= 1)).sum())
    if outside:
        which = "the face's square" if len(faces) == 1 else f"the squares of all {len(faces)} faces"
        at = "; ".join(f"middle {s.cx:.0f}, {s.cy:.0f}, side {s.side:.0f}" for s in squares)
        raise InpaintError(
            f"the mask reaches {outside} pixels beyond {which} ({at}), where the generator draws nothing; hide less, or"
            " take the centred square with ALIGN=0"
        )
    problems = []
    for i, (face, square) in enumerate(zip(faces, squares, strict=True)):
        mine = hole * (owner == i)
        if mine.any():
            small_hole = aligned_hole(hole, square, size)
            _check_known(small_hole)
            target = aligned(photo, hole, square, size)
            problems.append(Problem(photo, mine, None, target, small_hole, face, square))
    return problems


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
        later = [other.hole == 1 for other in problems[i + 1 :]]
        unknown = torch.stack(later).any(dim=0) if later else None
        picture = blend(picture, filling, problem.hole, kind=kind, feather=feather, covered=covered, unknown=unknown)
    return picture


def _grown(hole: Tensor, by: int) -> Tensor:
    """The hole and all pixels at most ``by`` rows and columns away."""
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
