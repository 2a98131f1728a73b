"""A reader's own picture: the samples keep together, and the report says what was computed."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from inpaintlib import framing, own
from inpaintlib.alignment import Face
from inpaintlib.checks import InpaintError
from inpaintlib.features import lpips
from inpaintlib.images import read_image
from inpaintlib.invert import Search, replay
from inpaintlib.losses import Objective, Weighted, mse_term

from .tiny import HEIGHT, WIDTH, hole_at, tiny_classifier, tiny_clip, tiny_generator, tiny_percept
from .tiny import OBLONG as PHOTO

R = 16
CROPS = pytest.mark.parametrize("crop", ["square", "whole"])


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
    problem = framing.prepare(PHOTO, HOLE, size=R)
    return problem, own.search(generator, problem, SETTINGS)


NOTHING = pd.DataFrame(index=range(4))  # what the judges say without a wish


def say(problems, records, judged=NOTHING, prompt="", out="a.png", alignment="celeba"):
    return own.reading(problems, records, tiny_percept(), judged, prompt=prompt, out=out, alignment=alignment)


# The file ---------------------------------------------------------------------------------------------


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
    problem = framing.prepare(PHOTO, HOLE, size=R, crop_to=crop)
    record = own.search(generator, problem, SETTINGS)
    picture = framing.completion([problem], [3.0 * record.image[:1]])  # G(w) may leave [-1, 1]
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
    problem = framing.prepare(ramp, hole, size=64, crop_to=crop)
    small = framing.prepare(ramp, hole_at(0, 17, 1, 1), size=64, crop_to=crop).target
    picture = framing.completion([problem], [small])
    assert torch.allclose(picture, ramp, atol=0.02)


def test_columns_show_target_and_every_sample(solved):
    problem, record = solved
    columns = own.columns([problem], [record], NOTHING)
    assert list(columns) == ["target", *(f"seed {seed}" for seed in record.seeds)]
    assert torch.equal(columns["target"][0], problem.target[0])
    assert torch.equal(columns[f"seed {record.seeds[1]}"], torch.stack([record.image[1], record.composite[1]]))


def test_scores_are_of_the_known_pixels_alone(generator, solved):
    problem, record = solved
    judge = tiny_percept()
    table = own.scores([problem], [record], judge)
    assert table["seed"].tolist() == record.seeds
    assert np.allclose(table["objective"], record.loss)
    squares = (record.image.clamp(-1, 1) - problem.target).square() * (1 - problem.mask)
    assert np.allclose(table["known_mse"], squares.sum(dim=(1, 2, 3)) / (3 * (1 - problem.mask).sum()), rtol=1e-5)
    assert (table["known_lpips"] > 0).all()


def test_the_reading_holds_the_computed_numbers(solved):
    problem, record = solved
    judge = tiny_percept()
    text = say([problem], [record], out="out/best.png")
    share = 31 * 23 / (HEIGHT * WIDTH)
    assert f"The mask hides {share:.1%} of the picture. The best sample is in `out/best.png`." in text
    x = record.composite.clamp(-1, 1)
    apart = [
        float(lpips(judge, x[i : i + 1], x[j : j + 1], problem.mask)) for i in range(4) for j in range(4) if i != j
    ]
    assert f"two samples are {np.mean(apart):.3f} apart" in text


def test_one_sample_has_no_distance(generator):
    problem = framing.prepare(PHOTO, HOLE, size=R)
    one = SimpleNamespace(**{**vars(SETTINGS), "samples": 1})
    text = say([problem], [own.search(generator, problem, one)])
    assert "apart" not in text


def test_tied_samples_keep_their_order(solved):
    _, record = solved
    assert own.sorted_by_loss(replace(record, loss=torch.zeros(4))).seeds == record.seeds


# Several faces ----------------------------------------------------------------------------------------

FACES = [Face((28.0, 40.0), (42.0, 43.0)), Face((88.0, 50.0), (100.0, 48.0))]
TWO_HOLES = torch.maximum(hole_at(50, 30, 9, 8), hole_at(55, 90, 7, 9))


@pytest.fixture(scope="module")
def two(generator):
    problems = framing.prepare_faces(PHOTO, TWO_HOLES, FACES, size=R, alignment="ffhq")
    return problems, [own.search(generator, problem, SETTINGS) for problem in problems]


def test_each_face_has_its_rows(two):
    problems, records = two
    columns = own.columns(problems, records, NOTHING)
    assert own.row_labels(problems) == ["face 1: target, G(w)", "face 1: masked, inpainted", "face 2: target, G(w)",
                                        "face 2: masked, inpainted"]  # fmt: skip
    assert list(columns) == ["target", *(f"sample {i}" for i in (1, 2, 3, 4))]
    assert all(images.shape == (4, 3, R, R) for images in columns.values())
    assert torch.equal(columns["target"][2], problems[1].target[0])
    assert torch.equal(columns["sample 2"][2:], torch.stack([records[1].image[1], records[1].composite[1]]))
    assert list(own.histories(records)) == ["face 1", "face 2"]
    assert torch.equal(own.whole_hole(problems), TWO_HOLES)


def test_tables_stand_face_by_face(two, judges):
    problems, records = two
    table = own.scores(problems, records, tiny_percept())
    assert table["face"].tolist() == [1] * 4 + [2] * 4
    assert table["seed"].tolist() == records[0].seeds + records[1].seeds
    judged = own.wish_scores(records, "+Smiling", "")
    second = torch.sigmoid(judges[0](records[1].composite.clamp(-1, 1)))[:, 31]
    assert len(table.join(judged)) == 8 and np.allclose(judged["+Smiling"][4:], second, rtol=1e-5)


def test_the_reading_tells_each_face_and_averages_their_best(two):
    judged = pd.DataFrame({"+Bald": [0.5, 0, 0, 0, 0.7, 0, 0, 0]})
    text = say(*two, judged, alignment="ffhq")
    share = float(TWO_HOLES.mean())
    assert f"The mask hides {share:.1%} of the picture. Face 1 has its eyes at 28,40 and 42,43; its square is" in text
    assert "Face 2 has its eyes at 88,50 and 100,48" in text and "The best sample of each face is in" in text
    assert "Where the mouth is was estimated from the eyes." in text
    assert "probability of +Bald is 0.60 for the best sample and 0.15 on average" in text
    assert "mouth" not in say(*two, alignment="celeba")


def test_the_reading_says_what_a_chosen_face_leaves(generator):
    problems = framing.prepare_faces(PHOTO, TWO_HOLES, FACES, size=R, alignment="celeba", only=2)
    record = own.search(generator, problems[0], SETTINGS)
    text = say(problems, [record])
    assert f"The mask hides {float(TWO_HOLES.mean()):.1%} of the picture. The face has its eyes at 88,50" in text
    assert "It alone was chosen: 72 pixels of the mask lie beyond its square or belong to another face, and are" in text
    assert torch.equal(own.whole_hole(problems), hole_at(55, 90, 7, 9))


# Wishes -----------------------------------------------------------------------------------------------


@pytest.fixture
def judges(monkeypatch):
    """Tiny networks under the judges' names, and no other."""
    classifier, clip = tiny_classifier(), tiny_clip()
    monkeypatch.setattr(own, "load_classifier", {"attributes-judge": classifier}.__getitem__)
    monkeypatch.setattr(own, "load_clip", {"clip-judge": clip}.__getitem__)
    return classifier, clip


def test_without_a_wish_nothing_is_judged(solved):
    table = own.wish_scores([solved[1]], "", "")
    assert table.shape == (4, 0)


def test_an_unwanted_attribute_counts_by_its_absence(solved, judges):
    record = solved[1]
    table = own.wish_scores([record], "+Smiling,-Young", "")
    probability = torch.sigmoid(judges[0](record.composite.clamp(-1, 1)))
    assert np.allclose(table["+Smiling"], probability[:, 31], rtol=1e-5)
    assert np.allclose(table["-Young"], 1 - probability[:, 39], rtol=1e-5)


def test_a_prompt_is_judged_against_saying_nothing(solved, judges):
    record, clip = solved[1], judges[1]
    near = clip.embed_images(record.composite.clamp(-1, 1))
    expected = near @ clip.embed_texts(["a smiling woman"])[0] - near @ clip.embed_texts(own.neutral()).mean(0)
    assert np.allclose(own.wish_scores([record], "", "a smiling woman")["prompt"], expected, atol=1e-5)


def test_a_prompt_that_the_judge_cannot_read_is_left_out(solved, judges):
    problem, record = solved
    table = own.wish_scores([record], "", "a purple unicorn")
    assert table.empty
    text = say([problem], [record], table, prompt="a purple unicorn")
    assert "The prompt is not judged: `clip-judge` does not know purple, unicorn." in text


def test_a_missing_judge_is_no_unknown_word(solved, monkeypatch):
    def missing(name):
        raise InpaintError(f"{name} is missing")

    monkeypatch.setattr(own, "load_clip", missing)
    with pytest.raises(InpaintError, match="clip-judge is missing"):
        own.wish_scores([solved[1]], "", "a smiling woman")


def test_titles_and_reading_tell_what_the_judges_see(solved):
    problem, record = solved
    judged = pd.DataFrame({"+Smiling": [0.25, 0.5, 0.75, 1.0], "prompt": [0.5, 0.5, -0.5, -0.5]})
    titles = list(own.columns([problem], [record], judged))
    assert titles[1] == f"seed {record.seeds[0]}, +Smiling 0.25, prompt 0.50"
    text = say([problem], [record], judged)
    assert "probability of +Smiling is 0.25 for the best sample and 0.62 on average" in text
    assert "as a difference of cosines, is 0.50 for the best sample and 0.00 on average" in text
