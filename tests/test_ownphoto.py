"""The report on the photograph: its mask, its paste-backs, and what is said of them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from inpaintlib import experiments, ownphoto
from inpaintlib.alignment import square_of
from inpaintlib.metrics import seam
from inpaintlib.warping import inside

from .tiny import pictures

ALIGNMENT = "ffhq"


@pytest.fixture(scope="module")
def problem():
    photo = experiments.photograph()
    hole = ownphoto.drawn_hole(photo, "mouth", coverage=0.04, alignment=ALIGNMENT)
    return ownphoto.prepared(photo, hole, size=32, alignment=ALIGNMENT)


@pytest.fixture(scope="module")
def pictures_of(problem):
    return ownphoto.pasted(problem, SimpleNamespace(image=pictures(2, 32)), feather=5)


def test_the_mask_lies_over_the_part_in_the_photos_coordinates(problem):
    square = square_of(problem.face, ALIGNMENT)
    area = float(problem.hole.sum() / inside(square, 512, 512).sum())
    assert area == pytest.approx(0.04, rel=0.1)
    y, x = problem.hole[0, 0].nonzero().double().mean(dim=0)
    assert abs(float(x) - 223) < 4 and abs(float(y) - 148) < 6, "the mouth, read by eye"
    assert problem.square == square and problem.hole.shape == (1, 1, 512, 512)


def test_the_paste_backs_are_the_photo_and_one_a_blending(problem, pictures_of):
    assert list(pictures_of) == ["photo", "hard", "feathered", "poisson"]
    known = (problem.hole == 0).expand_as(problem.photo)
    for kind in ("photo", "hard", "poisson"):
        assert torch.equal(pictures_of[kind][known], problem.photo[known])


def test_the_table_holds_seams_and_changes(problem, pictures_of):
    table = ownphoto.seams(pictures_of, problem.hole).set_index("picture")
    assert table["changed"].tolist()[:2] == [0, 0] and table["changed"]["poisson"] == 0
    for name, picture in pictures_of.items():
        assert table["seam"][name] == pytest.approx(float(seam(picture, problem.hole)))
    change = 127.5 * (pictures_of["feathered"] - problem.photo).abs().amax(dim=1)[problem.hole[:, 0] == 0]
    assert table["changed"]["feathered"] == int((change > 0).sum()) > 0
    assert table["largest change"]["feathered"] == pytest.approx(float(change.max()))
    assert table["mean change"]["feathered"] == pytest.approx(float(change[change > 0].mean()), rel=1e-4)
    assert np.allclose(table.drop("feathered")[["mean change", "largest change"]], 0)


def test_the_reading_says_what_was_computed(problem, pictures_of):
    table = ownphoto.seams(pictures_of, problem.hole)
    text, value = ownphoto.reading(problem, table, alignment=ALIGNMENT), table.set_index("picture")
    assert f"the photo itself has a seam of {value['seam']['photo']:.2f}" in text
    assert f"the feather changed {value['changed']['feathered']}, by" in text
    assert "by Poisson blending" in text and "which is lower" in text
    assert "(the mouth was estimated from the eyes)" in text
    assert "mouth" not in ownphoto.reading(problem, table, alignment="celeba")
    worse = table.assign(seam=[1.0, 2.0, 1.0, 3.0])
    assert "which is not lower" in ownphoto.reading(problem, worse, alignment=ALIGNMENT)


def test_figures_show_every_picture(problem, pictures_of):
    framed = ownphoto.framed(problem, alignment=ALIGNMENT)
    assert [ax.get_title() for ax in framed.axes][1:] == [f"upright, {round(problem.square.side)} px", "target, 32 px"]
    pasted = ownphoto.paste_backs(pictures_of, problem.hole)
    assert [ax.get_title() for ax in pasted.axes[:4]] == list(pictures_of) and len(pasted.axes) == 8
    maps = ownphoto.seam_maps(pictures_of, problem.hole)
    assert [ax.get_title() for ax in maps.axes[:4]] == list(pictures_of)


def test_a_step_is_in_levels_and_on_both_of_its_sides():
    picture = torch.full((1, 3, 3, 4), -1.0)
    picture[..., 2:] = -1.0 + 2.0 * 10 / 255
    assert ownphoto._steps(picture)[1].tolist() == pytest.approx([0, 10, 10, 0], abs=1e-4)


@pytest.mark.parametrize("box", [(0, 0, 4, 30), (500, 200, 12, 9), (100, 490, 50, 22)])
def test_the_window_stays_in_the_photo(box):
    top, left, height, width = box
    hole = torch.zeros(1, 1, 512, 512)
    hole[..., top : top + height, left : left + width] = 1.0
    rows, columns = ownphoto._window(hole, 2.0)
    assert hole[..., rows, columns].sum() == hole.sum()
    assert rows.stop - rows.start == columns.stop - columns.start == 2 * max(height, width)
    assert rows.start >= 0 and rows.stop <= 512 and columns.start >= 0 and columns.stop <= 512
