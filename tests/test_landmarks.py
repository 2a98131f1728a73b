"""Faces are found by their visible eyes, whatever lies under the mask, or their eyes are given by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from inpaintlib.alignment import Face
from inpaintlib.checks import InpaintError
from inpaintlib.experiments import photograph
from inpaintlib.images import from_uint8, resize, to_uint8
from inpaintlib.landmarks import choose_faces, find_faces, parse_eyes

EYES = np.array([(203.3, 101.3), (247.0, 103.5)])  # the pupils in the photograph, read by eye
NEAR = 0.06 * np.hypot(*(EYES[1] - EYES[0]))  # a share of the eyes' distance


def hole_at(top: int, left: int, height: int, width: int) -> torch.Tensor:
    mask = torch.zeros(1, 1, 512, 512)
    mask[..., top : top + height, left : left + width] = 1.0
    return mask


PHOTO = photograph()
FACE = PHOTO[..., 20:200, 130:310]  # what is searched is smaller, and quicker


def distance(face: Face, eyes: np.ndarray) -> float:
    return float(np.abs(np.array(face[:2]) - eyes).max())


def test_the_eyes_of_the_photograph_are_found():
    (face,) = find_faces(PHOTO)
    assert distance(face, EYES) < NEAR and face.mouth is None


@pytest.mark.parametrize(
    "hole", [hole_at(125, 195, 35, 60), hole_at(105, 205, 30, 35), hole_at(0, 150, 75, 130)],
    ids=["mouth", "nose", "hair"],
)  # fmt: skip
def test_what_lies_under_the_mask_has_no_share_in_it(hole):
    found = find_faces(PHOTO, hole)
    assert len(found) == 1 and distance(found[0], EYES) < NEAR
    assert find_faces(torch.where(hole == 1, 1.0, PHOTO), hole) == found
    noise = torch.rand(PHOTO.shape, generator=torch.Generator().manual_seed(0))
    assert find_faces(torch.where(hole == 1, noise, PHOTO), hole) == found


@pytest.mark.parametrize("hole", [hole_at(88, 180, 28, 90), hole_at(90, 185, 25, 35)], ids=["both", "one"])
def test_a_face_whose_eyes_are_hidden_is_not_found(hole):
    assert find_faces(PHOTO, hole) == []


@pytest.mark.parametrize("degrees", [-30, 20, 45])
def test_a_tilted_face_is_found(degrees):
    levels = Image.fromarray(to_uint8(FACE)[0]).rotate(degrees, resample=Image.Resampling.BICUBIC, fillcolor="grey")
    (face, *_) = find_faces(from_uint8(np.asarray(levels)[None]))
    angle = np.radians(degrees)  # counterclockwise around the middle
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    assert distance(face, (EYES - (130, 20) - 90) @ turn.T + 90) < 2 * NEAR


def test_several_faces_come_largest_first():
    both = torch.ones(1, 3, 240, 420)
    both[..., 20:140, 20:140] = resize(FACE, 120)
    both[..., 30:210, 200:380] = FACE
    large, small = find_faces(both)
    assert distance(large, EYES - (130, 20) + (200, 30)) < NEAR
    assert distance(small, (EYES - (130, 20)) * 120 / 180 + 20) < NEAR


def test_a_large_photo_is_searched_at_a_smaller_size_and_told_in_its_own_pixels():
    large, hole = resize(FACE, 1800), torch.zeros(1, 1, 1800, 1800)
    hole[..., 1053:1401, 651:1249] = 1.0  # the mouth; no multiple of the scale
    faces = find_faces(large, hole)
    assert distance(faces[0], (EYES - (130, 20)) * 10) < 10 * NEAR
    assert find_faces(torch.where(hole == 1, 1.0, large), hole) == faces


def test_there_is_no_face_where_there_is_none():
    y, x = torch.linspace(-1, 1, 200)[:, None], torch.linspace(-1, 1, 260)
    assert find_faces(((3 * x).sin() * (2 * y).cos()).expand(1, 3, 200, 260).contiguous()) == []


# By hand ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["20,30,50,31", " 20.0, 30 ,50.,31", "+20,30,50,31"])
def test_eyes_are_read(text):
    assert parse_eyes(text, height=40, width=60) == Face((20.0, 30.0), (50.0, 31.0))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "EYES must be four numbers x,y,x,y, .* got ''"),
        ("1,2,3", "EYES must be four numbers"),
        ("1,2,3,4,5", "EYES must be four numbers"),
        ("1,2,3,four", "EYES must be four numbers"),
        ("nan,2,3,4", "EYES must be four numbers"),
        ("1e3,2,3,4", "EYES must be four numbers"),
        ("1;2;3;4", "EYES must be four numbers"),
        ("٢٠,30,50,31", "EYES must be four numbers"),
        ("5,5,6,5", "EYES must be two places, at least 2 pixels apart; got '5,5,6,5'"),
        ("50,30,20,30", "EYES must name the eye on the left of the picture first; in '50,30,20,30' it comes last"),
        ("20,30,61,30", "EYES must lie in the picture, 60 x 40 pixels; 61,30 does not"),
        ("-1,30,50,30", "EYES must lie in the picture, 60 x 40 pixels; -1,30 does not"),
        ("20,41,50,30", "EYES must lie in the picture, 60 x 40 pixels; 20,41 does not"),
    ],
)
def test_eyes_that_cannot_be_are_one_sentence(text, sentence):
    with pytest.raises(InpaintError, match=sentence):
        parse_eyes(text, height=40, width=60)


def test_all_faces_or_one():
    faces = [Face((0, 0), (3, 0)), Face((9, 9), (11, 9))]
    assert choose_faces(faces, 0) == faces and choose_faces(faces, 2) == faces[1:]


@pytest.mark.parametrize(
    ("faces", "number", "sentence"),
    [
        ([], 0, "no face with two visible eyes was found in the picture; say where .* EYES=x,y,x,y .* ALIGN=0"),
        ([Face((0, 0), (3, 0))], 2, "FACE must be at most 1, the number of faces found; got 2"),
        ([Face((0, 0), (3, 0))], -1, "FACE must be at least 0; got -1"),
    ],
)
def test_a_face_that_is_not_there_is_one_sentence(faces, number, sentence):
    with pytest.raises(InpaintError, match=sentence):
        choose_faces(faces, number)
