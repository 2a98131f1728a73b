"""What the generator sees of a photo, and how its pictures go back: crops, faces, masks in the photo's coordinates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from inpaintlib import blending, framing
from inpaintlib.alignment import Face, square_of
from inpaintlib.checks import InpaintError
from inpaintlib.images import read_image, write_image
from inpaintlib.masks import write_mask
from inpaintlib.metrics import seam
from inpaintlib.warping import off_centre

from .tiny import HEIGHT, WIDTH, hole_at, pictures
from .tiny import OBLONG as PHOTO

R = 16
BOX = (0, 17, 97)  # the centred square
CROPS = pytest.mark.parametrize("crop", ["square", "whole"])
BLENDS = pytest.mark.parametrize("kind", ["hard", "feathered", "poisson"])


HOLE = hole_at(20, 40, 31, 23)

# The problem at two sizes -----------------------------------------------------------------------------


@CROPS
def test_what_lies_under_the_mask_reaches_neither_target_nor_mask(crop):
    other = torch.where(HOLE == 1, pictures(1, WIDTH, seed=9)[:, :, :HEIGHT], PHOTO)
    assert not torch.equal(other, PHOTO)
    ours, theirs = (framing.prepare(photo, HOLE, size=R, crop_to=crop) for photo in (PHOTO, other))
    assert torch.equal(ours.target, theirs.target)
    assert torch.equal(ours.mask, theirs.mask)


@CROPS
def test_a_small_pixel_is_a_hole_if_it_covers_any_missing_pixel(crop):
    problem = framing.prepare(PHOTO, hole_at(40, 60, 1, 1), size=R, crop_to=crop)
    top, left, height, width = (0, 0, HEIGHT, WIDTH) if crop == "whole" else (*BOX[:2], BOX[2], BOX[2])
    expected = np.zeros((R, R))
    for i in range(R):
        for j in range(R):
            rows = range(i * height // R, -(-(i + 1) * height // R))
            columns = range(j * width // R, -(-(j + 1) * width // R))
            expected[i, j] = 40 - top in rows and 60 - left in columns
    assert 1 <= expected.sum() <= 4
    assert np.array_equal(problem.mask[0, 0].numpy(), expected)


def test_square_takes_the_middle_and_whole_takes_everything():
    square, whole = (framing.prepare(PHOTO, HOLE, size=R, crop_to=crop) for crop in ("square", "whole"))
    assert square.box == BOX and whole.box is None
    cut = framing.prepare(PHOTO[..., 17:114], HOLE[..., 17:114], size=R, crop_to="whole")
    assert torch.equal(square.target, cut.target) and torch.equal(square.mask, cut.mask)
    for problem in (square, whole):
        assert problem.target.shape == (1, 3, R, R) and problem.mask.shape == (1, 1, R, R)
    assert torch.equal(square.photo, PHOTO) and torch.equal(whole.hole, HOLE)


@pytest.mark.parametrize("size", [R, 128], ids=["shrunk", "grown"])
def test_known_small_pixels_average_known_pixels_alone(size):
    """Neither what lies under the mask nor what stands in its place has a share."""
    colour = torch.full((1, 3, HEIGHT, WIDTH), 0.75)
    problem = framing.prepare(torch.where(HOLE == 1, -1.0, colour), HOLE, size=size)
    assert torch.allclose(problem.target[(problem.mask == 0).expand_as(problem.target)], torch.tensor(0.75))


def test_far_from_the_hole_the_target_is_the_picture_made_small():
    ramp = torch.linspace(-0.9, 0.9, WIDTH).expand(1, 3, HEIGHT, WIDTH)
    problem = framing.prepare(ramp, HOLE, size=R, crop_to="whole")
    centres = torch.linspace(-0.9, 0.9, WIDTH).view(1, 1, -1)
    expected = torch.nn.functional.adaptive_avg_pool1d(centres, R)[0, 0]
    assert torch.allclose(problem.target[0, :, 0, 1:-1], expected[1:-1].expand(3, -1), atol=0.01)


def test_a_hole_beyond_the_square_is_refused_there_and_fine_in_the_whole():
    hole = hole_at(20, 5, 10, 14)  # 12 of its 14 columns lie left of the square
    sentence = r"the mask reaches 120 pixels beyond the picture's centred square \(0, 17, 97\).*use crop = whole"
    with pytest.raises(InpaintError, match=sentence):
        framing.prepare(PHOTO, hole, size=R)
    assert framing.prepare(PHOTO, hole, size=R, crop_to="whole").mask.sum() > 0


@pytest.mark.parametrize(
    "hole", [1.0 - hole_at(0, 0, 1, WIDTH), 1.0 - hole_at(0, 0, HEIGHT, 17) - hole_at(0, 114, HEIGHT, 17)],
    ids=["one known row", "the square"],
)  # fmt: skip
def test_a_hole_that_covers_every_small_pixel_is_refused(hole):
    with pytest.raises(InpaintError, match="the mask hides every one of the 16 x 16 pixels that the generator sees"):
        framing.prepare(PHOTO, hole, size=R, crop_to="square" if hole[..., :17].sum() == 0 else "whole")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"hole": torch.zeros(1, 1, HEIGHT, WIDTH)}, "hole has no hole in item 0"),
        ({"hole": torch.ones(1, 1, HEIGHT, WIDTH)}, "hole hides every pixel"),
        ({"hole": HOLE[..., 1:]}, "hole must fit the image's"),
        ({"photo": 3.0 * PHOTO}, r"photo must lie in \[-1, 1\]"),
        ({"crop_to": "centre"}, "crop must be one of square, whole; got 'centre'"),
    ],
)
def test_unfit_input_is_one_sentence(change, sentence):
    with pytest.raises(InpaintError, match=sentence):
        framing.prepare(**{"photo": PHOTO, "hole": HOLE, "size": R} | change)


# Reading and writing files ----------------------------------------------------------------------------


def files(folder: Path, hole: torch.Tensor = HOLE) -> dict[str, object]:
    write_image(folder / "photo.png", PHOTO)
    write_mask(folder / "mask.png", hole)
    return {"image": folder / "photo.png", "mask": folder / "mask.png", "size": R, "crop": "square"}


def test_files_are_read_as_they_are(tmp_path):
    arguments = files(tmp_path)
    (problem,) = framing.read(**arguments, resize_mask=False, threshold=False)
    expected = framing.prepare(read_image(arguments["image"]), HOLE, size=R)
    assert torch.equal(problem.target, expected.target) and torch.equal(problem.hole, HOLE)


def test_a_mask_of_another_size_is_resized_only_if_asked(tmp_path):
    arguments = files(tmp_path, HOLE[..., 1:])
    with pytest.raises(InpaintError, match="mask.png must be 131 x 97 pixels"):
        framing.read(**arguments, resize_mask=False, threshold=False)
    assert framing.read(**arguments, resize_mask=True, threshold=False)[0].hole.shape == HOLE.shape


# Faces ------------------------------------------------------------------------------------------------

LEFT, RIGHT = Face((28.0, 40.0), (42.0, 43.0)), Face((88.0, 50.0), (100.0, 48.0))
TWO_HOLES = torch.maximum(hole_at(50, 30, 9, 8), hole_at(55, 90, 7, 9))
ALIGNMENTS = pytest.mark.parametrize("alignment", ["celeba", "ffhq"])


def faces(hole=TWO_HOLES, photo=PHOTO, listed=(LEFT, RIGHT), alignment="ffhq"):
    return framing.prepare_faces(photo, hole, listed, size=R, alignment=alignment)


@ALIGNMENTS
def test_under_the_mask_of_one_face_no_face_sees(alignment):
    other = torch.where(TWO_HOLES == 1, pictures(1, WIDTH, seed=9)[:, :, :HEIGHT], PHOTO)
    for ours, theirs in zip(faces(alignment=alignment), faces(photo=other, alignment=alignment), strict=True):
        assert torch.equal(ours.target, theirs.target) and torch.equal(ours.mask, theirs.mask)


def test_each_hole_pixel_belongs_to_the_face_in_whose_middle_it_lies_most():
    close = (LEFT, Face((52.0, 40.0), (66.0, 40.0)))  # their squares overlap
    hole = hole_at(45, 38, 8, 20)
    first, second = faces(hole, listed=close)
    assert torch.equal(first.hole + second.hole, hole) and first.hole.any() and second.hole.any()
    far = [off_centre(square_of(face, "ffhq"), HEIGHT, WIDTH) for face in close]
    assert (far[0] <= far[1])[first.hole == 1].all() and (far[1] <= far[0])[second.hole == 1].all()
    alone = faces(hole_at(45, 38, 8, 20), listed=close[:1])[0]
    assert torch.equal(alone.mask, first.mask), "what the other face fills is hidden to the first as well"
    theirs = faces(hole, torch.where(hole == 1, -PHOTO, PHOTO), close)
    assert all(torch.equal(a.target, b.target) for a, b in zip((first, second), theirs, strict=True))


def test_faces_without_a_hole_are_left_out():
    (problem,) = faces(hole_at(55, 90, 7, 9))
    assert problem.face == RIGHT


@pytest.mark.parametrize(
    ("listed", "sentence"),
    [
        ((LEFT,), r"the mask reaches 63 pixels beyond the face's square \(middle 35, 43, side 57\)"),
        ((LEFT, Face((30.0, 10.0), (40.0, 10.0))), "the mask reaches 63 pixels beyond the squares of all 2 faces"),
    ],
)
def test_a_hole_outside_every_square_is_refused(listed, sentence):
    with pytest.raises(
        InpaintError, match=sentence + ".*hide less, .* FACE=1 .*, or take the centred square with ALIGN=0"
    ):
        faces(listed=listed)


def test_a_hole_over_a_whole_face_is_refused():
    hole = 1.0 - hole_at(0, 80, HEIGHT, WIDTH - 80)
    with pytest.raises(InpaintError, match="the mask hides every one of the 16 x 16 pixels"):
        faces(torch.where(off_centre(square_of(LEFT, "ffhq"), HEIGHT, WIDTH) < 1, hole, 0.0), listed=(LEFT,))


CLOSE = (LEFT, Face((52.0, 40.0), (66.0, 40.0)))  # their squares overlap
SHARED = torch.maximum(hole_at(45, 38, 8, 20), hole_at(90, 120, 4, 5))  # a part of each, and 20 pixels of neither


@pytest.mark.parametrize("number", [1, 2])
def test_a_chosen_face_is_filled_alone_and_the_rest_of_the_hole_stays(number):
    (problem,) = framing.prepare_faces(PHOTO, SHARED, CLOSE, size=R, alignment="ffhq", only=number)
    both = faces(hole_at(45, 38, 8, 20), listed=CLOSE)
    assert problem.face == CLOSE[number - 1] and torch.equal(problem.hole, both[number - 1].hole)
    assert torch.equal(problem.rest, SHARED - problem.hole) and problem.rest.sum() > 20
    assert (problem.mask >= both[number - 1].mask).all(), "what stays unfilled is hidden to the search as well"
    other = torch.where(SHARED == 1, -PHOTO, PHOTO)
    (theirs,) = framing.prepare_faces(other, SHARED, CLOSE, size=R, alignment="ffhq", only=number)
    assert torch.equal(theirs.target, problem.target)


@BLENDS
def test_what_a_chosen_face_leaves_is_neither_changed_nor_looked_at(kind):
    (problem,) = framing.prepare_faces(PHOTO, SHARED, CLOSE, size=R, alignment="ffhq", only=1)
    images, rest = [pictures(1, R, seed=5)], problem.rest.expand_as(PHOTO) == 1
    picture = framing.completion([problem], images, kind=kind)
    assert torch.equal(picture[rest], PHOTO[rest])
    other = problem._replace(photo=torch.where(SHARED == 1, -PHOTO, PHOTO))
    assert torch.equal(framing.completion([other], images, kind=kind)[~rest], picture[~rest])


def test_without_a_choice_nothing_is_left():
    assert all(problem.rest is None for problem in faces())


def test_a_chosen_face_without_a_part_of_the_hole_is_refused():
    with pytest.raises(InpaintError, match="no part in face 1, FACE=1: its 63 pixels lie beyond .* leave FACE"):
        framing.prepare_faces(PHOTO, hole_at(55, 90, 7, 9), (LEFT, RIGHT), size=R, alignment="ffhq", only=1)


def test_owners_do_not_depend_on_the_bands(monkeypatch):
    whole = faces(hole_at(45, 38, 8, 20), listed=CLOSE)
    monkeypatch.setattr(framing, "BAND", 300)
    for ours, theirs in zip(whole, faces(hole_at(45, 38, 8, 20), listed=CLOSE), strict=True):
        assert torch.equal(ours.hole, theirs.hole)


def test_eyes_that_imply_a_square_many_times_the_photo_are_refused():
    eyes = Face((20.0, 10.0), (65.0, 96.0))
    sentence = (
        "EYES must be those of one face in the picture; 20,10 and 65,96 are 97 pixels apart, so that the face's"
        " square would be 4.. pixels wide, in a picture of 131 x 97"
    )
    with pytest.raises(InpaintError, match=sentence):
        faces(listed=(eyes,), alignment="celeba")


# Back into the photo ----------------------------------------------------------------------------------


def cropped(crop: str, hole: torch.Tensor = HOLE) -> list[framing.Problem]:
    if crop == "aligned":
        return faces()
    return [framing.prepare(PHOTO, hole, size=R, crop_to=crop)]


@BLENDS
@pytest.mark.parametrize("crop", framing.CROPS)
def test_what_is_known_comes_back_bit_for_bit_but_for_the_feather(crop, kind):
    problems = cropped(crop)
    hole = torch.stack([problem.hole for problem in problems]).amax(dim=0)
    images = [3.0 * pictures(1, R, seed=5) for _ in problems]  # G(w) may leave [-1, 1]
    picture = framing.completion(problems, images, kind=kind, feather=2)
    changed = (picture != PHOTO).any(dim=1, keepdim=True)
    assert changed[hole == 1].float().mean() > 0.9 and picture.abs().max() <= 1
    near = torch.nn.functional.max_pool2d(hole, 5, stride=1, padding=2) == 1
    assert not changed[~near].any()
    assert bool(changed[(hole == 0) & near].any()) == (kind == "feathered")


@BLENDS
@pytest.mark.parametrize("crop", framing.CROPS)
def test_nothing_that_lay_under_the_mask_is_in_the_picture(crop, kind):
    """Not even where one face's hole is filled before the other's."""
    problems = cropped(crop)
    other = pictures(1, WIDTH, seed=9)[:, :, :HEIGHT]
    hole = torch.stack([problem.hole for problem in problems]).amax(dim=0)
    theirs = [problem._replace(photo=torch.where(hole == 1, other, PHOTO)) for problem in problems]
    images = [pictures(1, R, seed=5) for _ in problems]
    ours, others = (framing.completion(which, images, kind=kind, feather=30) for which in (problems, theirs))
    assert torch.equal(ours, others)


@BLENDS
def test_two_faces_whose_holes_touch_do_not_look_under_each_others_mask(kind):
    hole = hole_at(45, 38, 8, 20)
    problems = faces(hole, listed=(LEFT, Face((52.0, 40.0), (66.0, 40.0))))
    assert len(problems) == 2
    other = torch.where(hole == 1, -PHOTO, PHOTO)
    images = [pictures(1, R, seed=seed) for seed in (5, 6)]
    ours = framing.completion(problems, images, kind=kind)
    theirs = framing.completion([problem._replace(photo=other) for problem in problems], images, kind=kind)
    assert torch.equal(ours, theirs)


@ALIGNMENTS
def test_a_smooth_picture_comes_back_through_the_inverse_transform(alignment):
    y, x = torch.linspace(-1, 1, HEIGHT)[:, None], torch.linspace(-1, 1, WIDTH)
    smooth = torch.stack([0.5 * x + 0.3 * y, -0.4 * x * y, (2 * x).sin() * 0.5 + 0 * y])[None]
    (problem,) = framing.prepare_faces(smooth, TWO_HOLES * (torch.arange(WIDTH) > 60), [RIGHT], size=32,
                                       alignment=alignment)  # fmt: skip
    whole = framing.prepare_faces(smooth, hole_at(50, 95, 1, 1), [RIGHT], size=32, alignment=alignment)[0].target
    picture = framing.completion([problem], [whole])
    assert (picture - smooth).abs().max() < 0.02
    assert torch.equal(picture[problem.hole.expand_as(picture) == 0], smooth[problem.hole.expand_as(picture) == 0])


@pytest.mark.parametrize("crop", framing.CROPS)
def test_the_feather_and_poisson_hide_a_change_of_colour(crop):
    """The photo itself, brighter: pasted hard it shows a seam, blended none."""
    problems = cropped(crop)
    hole = torch.stack([problem.hole for problem in problems]).amax(dim=0)
    flat = torch.linspace(-0.5, 0.0, WIDTH).expand(1, 3, HEIGHT, WIDTH)
    problems = [problem._replace(photo=flat) for problem in problems]
    images = [torch.full((1, 3, R, R), 0.6) for _ in problems]
    seams = {kind: float(seam(framing.completion(problems, images, kind=kind), hole)) for kind in blending.BLENDS}
    assert seams["poisson"] < 2 < seams["hard"] and seams["feathered"] < seams["hard"]


# Files with faces -------------------------------------------------------------------------------------


def aligned(folder: Path, **change):
    arguments = files(folder, hole_at(50, 30, 9, 8)) | {"crop": "aligned", "alignment": "ffhq"} | change
    return framing.read(**arguments, resize_mask=False, threshold=False)


def test_eyes_by_hand_need_no_face_to_be_found(tmp_path):
    (problem,) = aligned(tmp_path, eyes="28,40, 42,43")
    assert problem.face == LEFT and problem.square == square_of(LEFT, "ffhq")
    assert torch.equal(problem.target, faces(hole_at(50, 30, 9, 8), read_image(tmp_path / "photo.png"))[0].target)


def test_the_faces_found_are_taken_largest_first_or_one_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr(framing, "find_faces", lambda photo, hole: [LEFT, RIGHT])
    assert [problem.face for problem in aligned(tmp_path)] == [LEFT], "the other has no hole"
    assert aligned(tmp_path, face=1)[0].face == LEFT
    with pytest.raises(InpaintError, match="the mask has no part in face 2, FACE=2: its 72 pixels lie beyond"):
        aligned(tmp_path, face=2)
    with pytest.raises(InpaintError, match="FACE must be at most 2, the number of faces found; got 3"):
        aligned(tmp_path, face=3)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"alignment": "none"}, r"ALIGN=1 \(crop: aligned\) needs a generator whose file says how .* Take ALIGN=0"),
        ({}, r"no face with two visible eyes was found in the picture; .* EYES=x,y,x,y .* ALIGN=0"),
        ({"eyes": "1,2,3"}, "EYES must be four numbers x,y,x,y"),
        ({"eyes": "28,40,142,43"}, "EYES must lie in the picture, 131 x 97 pixels; 142,43 does not"),
        ({"eyes": "28,40,42,43", "face": 2}, "FACE must be at most 1"),
        ({"crop": "square", "eyes": "28,40,42,43"}, "EYES and FACE are for aligned faces, ALIGN=1"),
        ({"crop": "whole", "face": 1}, "EYES and FACE are for aligned faces, ALIGN=1"),
        ({"crop": "middle"}, "crop must be one of square, whole, aligned; got 'middle'"),
    ],
)
def test_what_cannot_be_aligned_is_one_sentence(tmp_path, change, sentence):
    with pytest.raises(InpaintError, match=sentence):
        aligned(tmp_path, **change)
