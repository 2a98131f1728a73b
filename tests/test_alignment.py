"""The square around a face: the formulas of the data sets, and what turns, shifts and scales do to it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from inpaintlib.alignment import ALIGNMENTS, EYE_TO_MOUTH, LANDMARKS, Face, Square, square_of
from inpaintlib.checks import InpaintError
from inpaintlib.warping import aligned, aligned_hole

from .tiny import pictures

every_alignment = pytest.mark.parametrize("alignment", sorted(LANDMARKS))
FACES = [Face((30.0, 40.0), (52.0, 46.0)), Face((30.0, 40.0), (52.0, 46.0), (38.0, 66.0)), Face((5.5, 9), (25, 2.5)),
         Face((30.0, 40.0), (52.0, 46.0), (33.0, 80.0))]  # fmt: skip


def rotated(point, angle, scale, shift):
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    return cos * point[0] - sin * point[1] + shift[0], sin * point[0] + cos * point[1] + shift[1]


def ffhq_reference(left, right, mouth):
    """The paper's recipe with its own steps, in NumPy; returns the corners, top left first, clockwise."""
    eyes, mouth = (np.array(left) + right) / 2, np.array(mouth, dtype=float)
    eye_to_eye, eye_to_mouth = np.subtract(right, left), mouth - eyes
    x = eye_to_eye - np.array([-eye_to_mouth[1], eye_to_mouth[0]])
    x = x / np.hypot(*x) * max(np.hypot(*eye_to_eye) * 2.0, np.hypot(*eye_to_mouth) * 1.8)
    y, c = np.array([-x[1], x[0]]), eyes + eye_to_mouth * 0.1
    return np.array([c - x - y, c + x - y, c + x + y, c - x + y])


def test_only_models_of_faces_have_landmarks():
    assert set(LANDMARKS) == set(ALIGNMENTS) - {"none"}
    for parts in LANDMARKS.values():
        assert list(parts) == ["left_eye", "right_eye", "nose", "mouth"]
        assert parts["left_eye"][1] == parts["right_eye"][1] < parts["nose"][1] < parts["mouth"][1]
        assert parts["left_eye"][0] + parts["right_eye"][0] == pytest.approx(1)


@every_alignment
def test_landmarks_lie_in_their_own_square(alignment):
    """A face that is aligned already has the unit square around it: one truth for crops and masks."""
    at = LANDMARKS[alignment]
    for mouth in (None, at["mouth"]):
        square = square_of(Face(at["left_eye"], at["right_eye"], mouth), alignment)
        assert square == pytest.approx((0.5, 0.5, 0.5, 0.0), abs=1e-12)


@pytest.mark.parametrize("face", FACES)
def test_ffhq_is_the_papers_square(face):
    ex, ey = np.subtract(face.right_eye, face.left_eye)
    middle = np.add(face.left_eye, face.right_eye) / 2
    mouth = face.mouth or tuple(middle + EYE_TO_MOUTH * np.array([-ey, ex]))
    assert np.allclose(square_of(face, "ffhq").corners(), ffhq_reference(face.left_eye, face.right_eye, mouth))


@pytest.mark.parametrize("face", FACES)
def test_celeba_puts_the_eyes_where_the_data_set_has_them(face):
    square = square_of(face, "celeba")
    for eye in ("left_eye", "right_eye"):
        assert square.point(*LANDMARKS["celeba"][eye]) == pytest.approx(getattr(face, eye))
    assert square.side == pytest.approx(math.dist(face.left_eye, face.right_eye) / 0.22)


@every_alignment
@pytest.mark.parametrize("face", FACES)
def test_a_similarity_of_the_landmarks_is_one_of_the_square(face, alignment):
    how = (0.7, 1.9, (3.0, -8.0))
    moved = Face(*(None if point is None else rotated(point, *how) for point in face))
    expected = [rotated(corner, *how) for corner in square_of(face, alignment).corners()]
    assert np.allclose(square_of(moved, alignment).corners(), expected)


@every_alignment
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_photo_gives_the_same_aligned_picture(alignment, turns):
    """A quarter turn moves pixels onto pixels, so nothing but rounding may differ."""
    photo, face = pictures(1, 90, seed=3)[:, :, :80], FACES[0]
    hole = torch.zeros(1, 1, 80, 90)
    hole[..., 50:58, 30:44] = 1.0
    height, width = 80, 90
    for _ in range(turns):  # counterclockwise: (x, y) -> (y, width - x)
        photo, hole = photo.rot90(1, (2, 3)), hole.rot90(1, (2, 3))
    moved = face
    for _ in range(turns):
        moved = Face(*((y, width - x) for x, y in moved[:2]))
        height, width = width, height
    first = pictures(1, 90, seed=3)[:, :, :80], torch.zeros(1, 1, 80, 90)
    first[1][..., 50:58, 30:44] = 1.0
    ours = aligned(*first, square_of(face, alignment), 24), aligned_hole(first[1], square_of(face, alignment), 24)
    theirs = aligned(photo, hole, square_of(moved, alignment), 24), aligned_hole(hole, square_of(moved, alignment), 24)
    assert torch.allclose(ours[0], theirs[0], atol=1e-4)
    assert (ours[1] != theirs[1]).float().mean() < 0.01, "an edge may fall on the other side by rounding"


@every_alignment
def test_a_scaled_photo_gives_the_same_aligned_picture(alignment):
    photo, none = pictures(1, 60, seed=3), torch.zeros(1, 1, 60, 60)
    large = F.interpolate(photo, (180, 180), mode="bilinear", align_corners=False)
    face = Face((22.0, 26.0), (35.0, 29.0))
    triple = Face(*(tuple(3 * at for at in eye) for eye in face[:2]))
    ours = aligned(photo, none, square_of(face, alignment), 16)
    theirs = aligned(large, torch.zeros(1, 1, 180, 180), square_of(triple, alignment), 16)
    assert (ours - theirs).abs().mean() < 0.02


def test_a_point_of_the_square():
    square = Square(10.0, 20.0, 3.0, 4.0)
    assert square.side == 10 and square.point(0.5, 0.5) == (10, 20)
    assert square.point(1.0, 0.5) == (13, 24) and square.point(0.5, 1.0) == (6, 23), "right, and below: clockwise"


@pytest.mark.parametrize(
    ("face", "alignment", "sentence"),
    [
        (FACES[0], "none", "alignment must be one of celeba, ffhq; got 'none'"),
        (FACES[0], "metfaces", "alignment must be one of celeba, ffhq; got 'metfaces'"),
        (Face((3.0, 4.0), (3.0, 4.0)), "ffhq", r"the eyes must lie apart; both are at \(3.0, 4.0\)"),
        (Face((0.0, 0.0), (2.0, 0.0), (1.0, -2.0)), "ffhq", "the mouth must lie below the eyes"),
    ],
)
def test_what_has_no_square_is_one_sentence(face, alignment, sentence):
    with pytest.raises(InpaintError, match=sentence):
        square_of(face, alignment)
