"""A reader's own picture: what is known stays, what is hidden does not leak, and the samples keep together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from inpaintlib import own
from inpaintlib.checks import InpaintError
from inpaintlib.features import lpips
from inpaintlib.images import read_image, write_image
from inpaintlib.invert import Search, replay
from inpaintlib.losses import Objective, Weighted, mse_term
from inpaintlib.masks import write_mask

from .tiny import pictures, tiny_classifier, tiny_clip, tiny_generator, tiny_percept

R = 16
HEIGHT, WIDTH = 97, 131
BOX = (0, 17, 97)  # the centred square
CROPS = pytest.mark.parametrize("crop", own.CROPS)


def hole_at(top: int, left: int, height: int, width: int) -> torch.Tensor:
    mask = torch.zeros(1, 1, HEIGHT, WIDTH)
    mask[..., top : top + height, left : left + width] = 1.0
    return mask


PHOTO = pictures(1, WIDTH)[:, :, :HEIGHT]
HOLE = hole_at(20, 40, 31, 23)
SETTINGS = SimpleNamespace(
    samples=4, seed=11, objective=lambda: Objective({"mse": Weighted(1.0, mse_term())}),
    search=lambda: Search(space="z", noise="random", steps=4),
)  # fmt: skip


@pytest.fixture(scope="module")
def generator():
    return tiny_generator(R)


@pytest.fixture(scope="module")
def solved(generator):
    problem = own.prepare(PHOTO, HOLE, size=R)
    return problem, own.search(generator, problem, SETTINGS)


NOTHING = pd.DataFrame(index=range(4))  # what the judges say without a wish

# The problem at two sizes -----------------------------------------------------------------------------


@CROPS
def test_what_lies_under_the_mask_reaches_neither_target_nor_mask(crop):
    other = torch.where(HOLE == 1, pictures(1, WIDTH, seed=9)[:, :, :HEIGHT], PHOTO)
    assert not torch.equal(other, PHOTO)
    ours, theirs = (own.prepare(photo, HOLE, size=R, crop_to=crop) for photo in (PHOTO, other))
    assert torch.equal(ours.target, theirs.target)
    assert torch.equal(ours.mask, theirs.mask)


@CROPS
def test_a_small_pixel_is_a_hole_if_it_covers_any_missing_pixel(crop):
    problem = own.prepare(PHOTO, hole_at(40, 60, 1, 1), size=R, crop_to=crop)
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
    square, whole = (own.prepare(PHOTO, HOLE, size=R, crop_to=crop) for crop in ("square", "whole"))
    assert square.box == BOX and whole.box is None
    cut = own.prepare(PHOTO[..., 17:114], HOLE[..., 17:114], size=R, crop_to="whole")
    assert torch.equal(square.target, cut.target) and torch.equal(square.mask, cut.mask)
    for problem in (square, whole):
        assert problem.target.shape == (1, 3, R, R) and problem.mask.shape == (1, 1, R, R)
    assert torch.equal(square.photo, PHOTO) and torch.equal(whole.hole, HOLE)


@pytest.mark.parametrize("size", [R, 128], ids=["shrunk", "grown"])
def test_known_small_pixels_average_known_pixels_alone(size):
    """Neither what lies under the mask nor what stands in its place has a share."""
    colour = torch.full((1, 3, HEIGHT, WIDTH), 0.75)
    problem = own.prepare(torch.where(HOLE == 1, -1.0, colour), HOLE, size=size)
    assert torch.allclose(problem.target[(problem.mask == 0).expand_as(problem.target)], torch.tensor(0.75))


def test_far_from_the_hole_the_target_is_the_picture_made_small():
    ramp = torch.linspace(-0.9, 0.9, WIDTH).expand(1, 3, HEIGHT, WIDTH)
    problem = own.prepare(ramp, HOLE, size=R, crop_to="whole")
    centres = torch.linspace(-0.9, 0.9, WIDTH).view(1, 1, -1)
    expected = torch.nn.functional.adaptive_avg_pool1d(centres, R)[0, 0]
    assert torch.allclose(problem.target[0, :, 0, 1:-1], expected[1:-1].expand(3, -1), atol=0.01)


def test_a_hole_beyond_the_square_is_refused_there_and_fine_in_the_whole():
    hole = hole_at(20, 5, 10, 14)  # 12 of its 14 columns lie left of the square
    sentence = r"the mask reaches 120 pixels beyond the picture's centred square \(0, 17, 97\).*use crop = whole"
    with pytest.raises(InpaintError, match=sentence):
        own.prepare(PHOTO, hole, size=R)
    assert own.prepare(PHOTO, hole, size=R, crop_to="whole").mask.sum() > 0


@pytest.mark.parametrize(
    "hole", [1.0 - hole_at(0, 0, 1, WIDTH), 1.0 - hole_at(0, 0, HEIGHT, 17) - hole_at(0, 114, HEIGHT, 17)],
    ids=["one known row", "the square"],
)  # fmt: skip
def test_a_hole_that_covers_every_small_pixel_is_refused(hole):
    with pytest.raises(InpaintError, match="the mask hides every one of the 16 x 16 pixels that the generator sees"):
        own.prepare(PHOTO, hole, size=R, crop_to="square" if hole[..., :17].sum() == 0 else "whole")


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
        own.prepare(**{"photo": PHOTO, "hole": HOLE, "size": R} | change)


# Reading and writing files ----------------------------------------------------------------------------


def files(folder: Path, hole: torch.Tensor = HOLE) -> dict[str, object]:
    write_image(folder / "photo.png", PHOTO)
    write_mask(folder / "mask.png", hole)
    return {"image": folder / "photo.png", "mask": folder / "mask.png", "size": R, "crop": "square"}


def test_files_are_read_as_they_are(tmp_path):
    arguments = files(tmp_path)
    problem = own.read(**arguments, resize_mask=False, threshold=False)
    expected = own.prepare(read_image(arguments["image"]), HOLE, size=R)
    assert torch.equal(problem.target, expected.target) and torch.equal(problem.hole, HOLE)


def test_a_mask_of_another_size_is_resized_only_if_asked(tmp_path):
    arguments = files(tmp_path, HOLE[..., 1:])
    with pytest.raises(InpaintError, match="mask.png must be 131 x 97 pixels"):
        own.read(**arguments, resize_mask=False, threshold=False)
    assert own.read(**arguments, resize_mask=True, threshold=False).hole.shape == HOLE.shape


def test_a_completion_is_written_where_no_folder_was(tmp_path):
    own.write(tmp_path / "new" / "out.png", PHOTO)
    assert torch.allclose(read_image(tmp_path / "new" / "out.png"), PHOTO, atol=1 / 255)
    (tmp_path / "file").touch()
    with pytest.raises(InpaintError, match="out.png cannot be written"):
        own.write(tmp_path / "file" / "out.png", PHOTO)


# The samples ------------------------------------------------------------------------------------------


def test_samples_are_sorted_and_everything_of_an_item_moves_with_it(generator, solved):
    _, record = solved
    assert record.loss.tolist() == sorted(record.loss.tolist())
    assert record.seeds != [11, 12, 13, 14] and sorted(record.seeds) == [11, 12, 13, 14]
    assert torch.equal(replay(record), record.image), "image i = G(w_i) with noise i"
    assert torch.allclose(generator.map(record.z), record.w, atol=1e-6)
    for item, rows in record.history.groupby("item"):
        assert rows["best"].iloc[-1] == pytest.approx(float(record.loss[item]))
        assert rows["step"].tolist() == [0, 1, 2, 3, 4]


def test_a_seed_gives_its_sample_whatever_its_place(generator, solved):
    problem, record = solved
    one = SimpleNamespace(**{**vars(SETTINGS), "samples": 1, "seed": record.seeds[2]})
    assert torch.allclose(own.search(generator, problem, one).image[0], record.image[2], atol=1e-3)


@CROPS
def test_known_pixels_come_back_bit_for_bit_at_full_size(generator, crop):
    problem = own.prepare(PHOTO, HOLE, size=R, crop_to=crop)
    record = own.search(generator, problem, SETTINGS)
    picture = own.completion(problem, 3.0 * record.image[:1])  # G(w) may leave [-1, 1]
    assert picture.shape == PHOTO.shape
    known = (HOLE == 0).expand_as(picture)
    assert torch.equal(picture[known], PHOTO[known])
    assert (picture[~known] != PHOTO[~known]).float().mean() > 0.9
    assert picture.abs().max() <= 1.0


@CROPS
def test_the_hole_shows_the_part_of_the_image_that_lies_there(crop):
    """Where every image is the target itself, the completion continues the picture."""
    ramp = torch.linspace(-0.9, 0.9, WIDTH).expand(1, 3, HEIGHT, WIDTH) * torch.linspace(0.5, 1.0, HEIGHT)[:, None]
    hole = hole_at(43, 60, 3, 3)
    problem = own.prepare(ramp, hole, size=64, crop_to=crop)
    small = own.prepare(ramp, hole_at(0, 17, 1, 1), size=64, crop_to=crop).target
    picture = own.completion(problem, small)
    assert torch.allclose(picture, ramp, atol=0.02)


def test_columns_show_target_and_every_sample(solved):
    problem, record = solved
    columns = own.columns(problem, record, NOTHING)
    assert list(columns) == ["target", *(f"seed {seed}" for seed in record.seeds)]
    assert torch.equal(columns["target"][0], problem.target[0])
    assert torch.equal(columns[f"seed {record.seeds[1]}"], torch.stack([record.image[1], record.composite[1]]))


def test_scores_are_of_the_known_pixels_alone(generator, solved):
    problem, record = solved
    judge = tiny_percept()
    table = own.scores(problem, record, judge)
    assert table["seed"].tolist() == record.seeds
    assert np.allclose(table["objective"], record.loss)
    squares = (record.image.clamp(-1, 1) - problem.target).square() * (1 - problem.mask)
    assert np.allclose(table["known_mse"], squares.sum(dim=(1, 2, 3)) / (3 * (1 - problem.mask).sum()), rtol=1e-5)
    assert (table["known_lpips"] > 0).all()


def test_the_reading_holds_the_computed_numbers(solved):
    problem, record = solved
    judge = tiny_percept()
    text = own.reading(problem, record, judge, NOTHING, "", "out/best.png")
    share = 31 * 23 / (HEIGHT * WIDTH)
    assert f"The mask hides {share:.1%} of the picture. The best sample is in `out/best.png`." in text
    x = record.composite.clamp(-1, 1)
    apart = [
        float(lpips(judge, x[i : i + 1], x[j : j + 1], problem.mask)) for i in range(4) for j in range(4) if i != j
    ]
    assert f"two samples are {np.mean(apart):.3f} apart" in text


def test_one_sample_has_no_distance(generator):
    problem = own.prepare(PHOTO, HOLE, size=R)
    one = SimpleNamespace(**{**vars(SETTINGS), "samples": 1})
    text = own.reading(problem, own.search(generator, problem, one), tiny_percept(), NOTHING, "", "a.png")
    assert "apart" not in text


def test_tied_samples_keep_their_order(solved):
    _, record = solved
    assert own.sorted_by_loss(replace(record, loss=torch.zeros(4))).seeds == record.seeds


# Wishes -----------------------------------------------------------------------------------------------


@pytest.fixture
def judges(monkeypatch):
    """Tiny networks under the judges' names, and no other."""
    classifier, clip = tiny_classifier(), tiny_clip()
    monkeypatch.setattr(own, "load_classifier", {"attributes-judge": classifier}.__getitem__)
    monkeypatch.setattr(own, "load_clip", {"clip-judge": clip}.__getitem__)
    return classifier, clip


def test_without_a_wish_nothing_is_judged(solved):
    table = own.wish_scores(solved[1], "", "")
    assert table.shape == (4, 0)


def test_an_unwanted_attribute_counts_by_its_absence(solved, judges):
    record = solved[1]
    table = own.wish_scores(record, "+Smiling,-Young", "")
    probability = torch.sigmoid(judges[0](record.composite.clamp(-1, 1)))
    assert np.allclose(table["+Smiling"], probability[:, 31], rtol=1e-5)
    assert np.allclose(table["-Young"], 1 - probability[:, 39], rtol=1e-5)


def test_a_prompt_is_judged_against_saying_nothing(solved, judges):
    record, clip = solved[1], judges[1]
    near = clip.embed_images(record.composite.clamp(-1, 1))
    expected = near @ clip.embed_texts(["a smiling woman"])[0] - near @ clip.embed_texts(own.neutral()).mean(0)
    assert np.allclose(own.wish_scores(record, "", "a smiling woman")["prompt"], expected, atol=1e-5)


def test_a_prompt_that_the_judge_cannot_read_is_left_out(solved, judges):
    problem, record = solved
    table = own.wish_scores(record, "", "a purple unicorn")
    assert table.empty
    text = own.reading(problem, record, tiny_percept(), table, "a purple unicorn", "a.png")
    assert "The prompt is not judged: `clip-judge` does not know purple, unicorn." in text


def test_a_missing_judge_is_no_unknown_word(solved, monkeypatch):
    def missing(name):
        raise InpaintError(f"{name} is missing")

    monkeypatch.setattr(own, "load_clip", missing)
    with pytest.raises(InpaintError, match="clip-judge is missing"):
        own.wish_scores(solved[1], "", "a smiling woman")


def test_titles_and_reading_tell_what_the_judges_see(solved):
    problem, record = solved
    judged = pd.DataFrame({"+Smiling": [0.25, 0.5, 0.75, 1.0], "prompt": [0.5, 0.5, -0.5, -0.5]})
    titles = list(own.columns(problem, record, judged))
    assert titles[1] == f"seed {record.seeds[0]}, +Smiling 0.25, prompt 0.50"
    text = own.reading(problem, record, tiny_percept(), judged, "", "a.png")
    assert "probability of +Smiling is 0.25 for the best sample and 0.62 on average" in text
    assert "as a difference of cosines, is 0.50 for the best sample and 0.00 on average" in text
