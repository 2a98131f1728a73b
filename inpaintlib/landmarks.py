"""Where the faces of a photo are: found by OpenCV's cascades, which come inside its package, or given by hand.

A face counts if both its eyes are found among the known pixels. What lies under the mask is painted over from around it
first (Telea 2004), so it has no share in where a face is found, as it has none in what the search sees.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from .alignment import Face
from .checks import InpaintError, check_image, check_integer, check_mask
from .images import to_uint8

__all__ = ["choose_faces", "find_faces", "parse_eyes"]

LONGEST = 1600  # pixels: larger photos are shrunk before faces are looked for
SMALLEST = 32  # pixels: the smallest face that is looked for there
WIDTH = 240  # pixels to which a face is brought before its eyes are looked for
PAINTED = 3  # pixels around the hole that the paint is mixed from
# Degrees that the photo is turned by, until a face is found: the cascades know upright ones alone.
TURNS = ((0,), (20, -20, 40, -40))
# Votes that a finding needs; few, since a face without two eyes is dropped anyway.
FACE_VOTES, EYE_VOTES = 5, 4
# Where eyes lie in the box of an upright face, as shares of its width, and how far off all their numbers may be.
EYES = np.array([(0.30, 0.38), (0.72, 0.38)])
FAR = 0.3
EYE_CASCADES = ("haarcascade_eye_tree_eyeglasses.xml", "haarcascade_eye.xml")


def parse_eyes(text: str, *, height: int | None = None, width: int | None = None) -> Face:
    """Returns the face whose eyes are written ``x,y,x,y``: pixels of the photo, the left eye in the picture first.

    Raises:
        InpaintError: if the text is not four numbers, the eyes are not left and right, or one lies outside the photo.

    Example:
        >>> parse_eyes("203,101,247,103")
        Face(left_eye=(203.0, 101.0), right_eye=(247.0, 103.0), mouth=None)
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 4 or not all(re.fullmatch(r"[+-]?\d+(\.\d*)?", part, re.ASCII) for part in parts):
        raise InpaintError(
            f"EYES must be four numbers x,y,x,y, pixels of the eye on the left of the picture, then of the other;"
            f" got {text!r}"
        )
    x0, y0, x1, y1 = map(float, parts)
    if math.hypot(x1 - x0, y1 - y0) < 2:
        raise InpaintError(f"EYES must be two places, at least 2 pixels apart; got {text!r}")
    if x1 < x0:
        raise InpaintError(f"EYES must name the eye on the left of the picture first; in {text!r} it comes last")
    for x, y in ((x0, y0), (x1, y1)):
        if height is not None and width is not None and not (0 <= x <= width and 0 <= y <= height):
            raise InpaintError(f"EYES must lie in the picture, {width} x {height} pixels; {x:g},{y:g} does not")
    return Face((x0, y0), (x1, y1))


def find_faces(photo: Tensor, hole: Tensor | None = None) -> list[Face]:
    """Returns the faces with two visible eyes, largest first.

    Args:
        photo: (1, 3, H, W) in [-1, 1].
        hole: (1, 1, H, W), 1 = hole, or None; no eye is looked for in it, and its pixels are not read.

    Raises:
        InpaintError: for wrong shapes or ranges.
    """
    check_image("photo", photo)
    levels, hidden = to_uint8(photo)[0], np.zeros(photo.shape[2:], np.float32)
    if hole is not None:
        check_mask("hole", hole, like=photo)
        hidden = hole[0, 0].cpu().float().numpy()
    scale = min(LONGEST / max(hidden.shape), 1.0)
    grey, hidden = _shrunk(cv2.cvtColor(levels, cv2.COLOR_RGB2GRAY), hidden, scale)
    grey = cv2.inpaint(grey, hidden, PAINTED, cv2.INPAINT_TELEA)
    for turns in TURNS:
        found = [pair for turn in turns for pair in _tilted_faces(grey, turn) if not _hides(hidden, pair[1])]
        if found:
            return [Face(*(tuple(float(at / scale) for at in eye) for eye in eyes)) for eyes in _distinct(found)]
    return []


def choose_faces(faces: Sequence[Face], number: int) -> list[Face]:
    """Returns all faces for number 0, else the one with that number: 1 is the first, largest.

    Raises:
        InpaintError: if there is no face, or none of that number.
    """
    check_integer("FACE", number, low=0)
    if not faces:
        raise InpaintError(
            "no face with two visible eyes was found in the picture; say where the eyes are with EYES=x,y,x,y (pixels,"
            " the eye on the left first), or take the centred square with ALIGN=0"
        )
    if number > len(faces):
        raise InpaintError(f"FACE must be at most {len(faces)}, the number of faces found; got {number}")
    return [faces[number - 1]] if number else list(faces)


def _shrunk(grey: np.ndarray, hole: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """The grey levels at ``scale``, and 1 at every pixel that has a share of the hole, both uint8."""
    size = tuple(max(round(n * scale), 1) for n in grey.shape[::-1])
    levels, share = (cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in (grey, hole))
    return levels, (share > 0).astype(np.uint8)


def _tilted_faces(grey: np.ndarray, degrees: float) -> list[tuple[float, np.ndarray]]:
    """How unlike, and the eyes (2, 2) of x and y, of each face that is upright after so much of a turn."""
    height, width = grey.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    cos, sin = abs(turn[0, 0]), abs(turn[0, 1])
    size = (math.ceil(width * cos + height * sin), math.ceil(width * sin + height * cos))
    turn[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    turned = cv2.warpAffine(grey, turn, size, borderMode=cv2.BORDER_REPLICATE)
    boxes = _cascade("haarcascade_frontalface_default.xml").detectMultiScale(
        turned, scaleFactor=1.05, minNeighbors=FACE_VOTES, minSize=(SMALLEST, SMALLEST)
    )
    pairs = [pair for box in boxes if (pair := _eyes(turned, *map(int, box))) is not None]
    back = cv2.invertAffineTransform(turn)
    return [(unlike, eyes @ back[:, :2].T + back[:, 2]) for unlike, eyes in pairs]


def _eyes(grey: np.ndarray, left: int, top: int, width: int, height: int) -> tuple[float, np.ndarray] | None:
    """How unlike, and the eyes (2, 2) of x and y, of the pair in a face's box that is likest; None without one."""
    upper = grey[top : top + round(0.65 * height), left : left + width]
    face = cv2.resize(upper, (WIDTH, max(round(upper.shape[0] * WIDTH / width), 1)), interpolation=cv2.INTER_CUBIC)
    for name in EYE_CASCADES:
        found = _cascade(name).detectMultiScale(
            face, scaleFactor=1.05, minNeighbors=EYE_VOTES, minSize=(WIDTH // 10, WIDTH // 10)
        )
        middles = [((x + w / 2) / WIDTH, (y + h / 2) / WIDTH) for x, y, w, h in found]
        pairs = [np.array(pair) for pair in itertools.permutations(middles, 2)]
        best = min(pairs, key=_unlike, default=EYES + FAR)
        if _unlike(best) < FAR:
            return _unlike(best), best * width + (left, top)
    return None


def _unlike(eyes: np.ndarray) -> float:
    """How far eyes are from where they are in most faces, and, weighed as much, from being level."""
    return float(np.abs(eyes - EYES).sum() + abs(eyes[0, 1] - eyes[1, 1]))


def _hides(hidden: np.ndarray, eyes: np.ndarray) -> bool:
    """Whether an eye lies in the hole or outside of the picture."""
    for x, y in np.floor(eyes).astype(int):
        if not (0 <= y < hidden.shape[0] and 0 <= x < hidden.shape[1]) or hidden[y, x]:
            return True
    return False


def _distinct(found: list[tuple[float, np.ndarray]]) -> list[np.ndarray]:
    """Each face once, as it is found at the best turn, largest first; two faces are an eye's distance apart."""
    kept: list[np.ndarray] = []
    for _, eyes in sorted(found, key=lambda pair: pair[0]):
        if all(math.hypot(*(eyes - other).mean(axis=0)) > _distance(other) for other in kept):
            kept.append(eyes)
    return sorted(kept, key=_distance, reverse=True)


def _distance(eyes: np.ndarray) -> float:
    return math.hypot(*(eyes[1] - eyes[0]))


@cache
def _cascade(name: str) -> cv2.CascadeClassifier:
    return cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / name))
