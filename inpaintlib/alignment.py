"""How a face lies in the square picture that a generator was trained on: a property of the model.

``celeba``: the centred square of CelebA's aligned pictures. ``ffhq``: the rotated square around eyes and mouth of
Karras et al. 2019 (appendix A). ``none``: no face, or none in a fixed place; a photo's centred square is taken.

A face in a photo is cut out by a similarity (shift, turn, scale): a :class:`Square` that lies turned in the photo.
Coordinates are pixels, x from the left edge and y from the top, so that the first pixel's middle is (0.5, 0.5). Left
and right are as seen in the picture.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from .checks import InpaintError, check_choice

__all__ = ["ALIGNMENTS", "LANDMARKS", "Face", "Point", "Square", "square_of"]

ALIGNMENTS = ("none", "celeba", "ffhq")

Point = tuple[float, float]  # x, y

# From the eyes' middle to the mouth's, as a multiple of the eyes' distance, where the mouth is not known. The mean of
# CelebA's landmarks is 1.07; in FFHQ's aligned faces it is a little less.
EYE_TO_MOUTH = 1.05
# Where the formula of ``square_of`` puts such a face: its square is four distances of the eyes wide.
_EYES_Y = 0.5 - 0.1 * EYE_TO_MOUTH / 4

# Alignment -> part of the face -> its middle as (x, y) in the square, fractions of the side. The nose's is its ridge's.
LANDMARKS: dict[str, dict[str, Point]] = {
    "celeba": {"left_eye": (0.39, 0.51), "right_eye": (0.61, 0.51), "nose": (0.5, 0.605), "mouth": (0.5, 0.755)},
    "ffhq": {
        "left_eye": (0.375, _EYES_Y),
        "right_eye": (0.625, _EYES_Y),
        "nose": (0.5, _EYES_Y + 0.108),  # as far below the eyes as in celeba, by the distance of the eyes
        "mouth": (0.5, _EYES_Y + EYE_TO_MOUTH / 4),
    },
}


class Face(NamedTuple):
    """Where a face's landmarks lie in a photo, in pixels."""

    left_eye: Point
    right_eye: Point
    mouth: Point | None = None  # its middle; None: estimated from the eyes where it is needed


class Square(NamedTuple):
    """A turned square in a photo. The point at the fractions (u, v) of its sides lies at::

    x = cx + (2u - 1) ax - (2v - 1) ay
    y = cy + (2u - 1) ay + (2v - 1) ax
    """

    cx: float  # its middle, pixels
    cy: float
    ax: float  # from the middle to the middle of its right side, pixels
    ay: float

    @property
    def side(self) -> float:
        """Its side in pixels."""
        return 2 * math.hypot(self.ax, self.ay)

    def point(self, u: float, v: float) -> Point:
        """Returns (x, y) in the photo of the fractions (u, v) of the sides."""
        return _add((self.cx, self.cy), _turned((self.ax, self.ay), (2 * u - 1, 2 * v - 1)))

    def corners(self) -> list[Point]:
        """Returns the corners that are top left, top right, bottom right and bottom left in the aligned picture."""
        return [self.point(u, v) for u, v in ((0, 0), (1, 0), (1, 1), (0, 1))]


def square_of(face: Face, alignment: str) -> Square:
    """Returns the square that is the model's picture of this face.

    ``ffhq``: Karras et al. 2019, appendix A: with e from eye to eye and m from the eyes' middle to the mouth,

    .. math:: a = s \\, \\frac{e - R m}{\\lVert e - R m \\rVert}, \\quad
              s = \\max(2 \\lVert e \\rVert, 1.8 \\lVert m \\rVert), \\quad c = \\text{eyes' middle} + 0.1\\, m

    where R turns x to y. A mouth that is not given is taken to lie ``EYE_TO_MOUTH`` eye distances straight below the
    eyes. ``celeba``: the similarity that brings the eyes to where ``LANDMARKS`` has them; the mouth has no say.

    Raises:
        InpaintError: if the alignment is ``none`` or unknown, or the eyes lie in one place.
    """
    check_choice("alignment", alignment, tuple(LANDMARKS))
    eyes = _sub(face.right_eye, face.left_eye)
    middle = _scaled(_add(face.left_eye, face.right_eye), 0.5)
    if not math.hypot(*eyes) > 0:
        raise InpaintError(f"the eyes must lie apart; both are at {face.left_eye}")
    if alignment == "celeba":
        (left, y), (right, _) = (LANDMARKS[alignment][name] for name in ("left_eye", "right_eye"))
        axis = _scaled(eyes, 0.5 / (right - left))
        return Square(*_sub(middle, _turned(axis, (left + right - 1, 2 * y - 1))), *axis)
    mouth = _scaled(_quarter(eyes), EYE_TO_MOUTH) if face.mouth is None else _sub(face.mouth, middle)
    axis = _sub(eyes, _quarter(mouth))
    if not math.hypot(*axis) > 0:
        raise InpaintError(f"the mouth must lie below the eyes, as seen along the face; it is at {face.mouth}")
    scale = max(2.0 * math.hypot(*eyes), 1.8 * math.hypot(*mouth))
    return Square(*_add(middle, _scaled(mouth, 0.1)), *_scaled(axis, scale / math.hypot(*axis)))


def _add(a: Point, b: Point) -> Point:
    return a[0] + b[0], a[1] + b[1]


def _sub(a: Point, b: Point) -> Point:
    return a[0] - b[0], a[1] - b[1]


def _scaled(a: Point, by: float) -> Point:
    return by * a[0], by * a[1]


def _quarter(a: Point) -> Point:
    """A quarter turn from x to y, which is clockwise in a picture."""
    return -a[1], a[0]


def _turned(axis: Point, by: Point) -> Point:
    """by[0] times the axis plus by[1] times its quarter turn."""
    return _add(_scaled(axis, by[0]), _scaled(_quarter(axis), by[1]))
