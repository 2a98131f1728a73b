"""The mask's editor: every change is one step, and nothing but the photo's pixels counts."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from inpaintlib.alignment import Square
from inpaintlib.checks import InpaintError
from inpaintlib.explorer import editor
from inpaintlib.explorer.editor import MOST_STEPS, MaskEditor
from inpaintlib.masks import make_mask


def png(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def small() -> MaskEditor:
    return MaskEditor(4, 6)


def test_it_begins_without_a_hole_and_without_a_past(small):
    assert small.mask.shape == (4, 6) and small.mask.dtype == bool and small.coverage == 0
    assert not small.can_undo and not small.can_redo
    small.undo()
    small.redo()
    assert small.coverage == 0


@pytest.mark.parametrize("corners", [(1, 2, 3, 5), (3, 5, 1, 2), (1, 5, 3, 2)])
def test_a_rectangle_is_the_same_whatever_corner_is_first(small, corners):
    small.rectangle(*corners)
    assert small.mask.sum() == 6 and small.mask[1:3, 2:5].all()


def test_a_rectangle_ends_at_the_photos_border_and_erases(small):
    small.rectangle(-5, 4, 9, 99)
    assert np.array_equal(small.mask, np.arange(6)[None].repeat(4, 0) >= 4)
    small.rectangle(0, 0, 2, 6, erase=True)
    assert small.coverage == pytest.approx(4 / 24)
    small.rectangle(2, 2, 2, 2)
    small.rectangle(-3, -3, 0, 0)
    assert small.coverage == pytest.approx(4 / 24)


def test_every_change_is_one_step_back_and_forth(small):
    states = [small.mask]
    for change in (lambda: small.rectangle(0, 0, 2, 2), small.invert, small.clear,
                   lambda: small.preset("box", 0.5, seed=3), lambda: small.replace(np.eye(4, 6))):  # fmt: skip
        change()
        states.append(small.mask)
    for state in reversed(states[:-1]):
        small.undo()
        assert np.array_equal(small.mask, state)
    assert not small.can_undo and small.can_redo
    for state in states[1:]:
        small.redo()
        assert np.array_equal(small.mask, state)
    assert not small.can_redo


def test_a_change_after_undo_forgets_what_was_undone(small):
    small.invert()
    small.clear()
    small.undo()
    small.rectangle(0, 0, 1, 1, erase=True)
    assert not small.can_redo
    small.undo()
    assert small.coverage == 1
    small.undo()
    assert small.coverage == 0


def test_what_changes_no_pixel_is_no_step(small):
    small.clear()
    small.replace(np.zeros((4, 6)))
    assert not small.can_undo


def test_the_past_is_bounded(small, monkeypatch):
    for i in range(MOST_STEPS + 30):
        mask = np.zeros(24, bool)
        mask[i % 24] = True
        small.replace(mask.reshape(4, 6))
    steps = 0
    while small.can_undo:
        small.undo()
        steps += 1
    assert steps == MOST_STEPS
    monkeypatch.setattr(editor, "MOST_BYTES", 1)
    small.invert()
    assert small.can_undo, "one step is always kept"
    small.undo()
    assert not small.can_undo


def test_a_state_that_was_handed_out_does_not_change_and_cannot_be_changed(small):
    small.rectangle(0, 0, 1, 1)
    before, given = small.mask, np.ones((4, 6), bool)
    small.replace(given)
    given[:] = False
    assert before.sum() == 1 and small.coverage == 1
    with pytest.raises(ValueError, match="read-only"):
        small.mask[0, 0] = False


@pytest.mark.parametrize(("height", "width", "top", "left"), [(8, 8, 0, 0), (8, 12, 0, 2), (13, 8, 2, 0)])
def test_a_preset_lies_in_the_centred_square(height, width, top, left):
    edited = MaskEditor(height, width)
    edited.preset("strokes-thin", 0.3, seed=5)
    expected = np.zeros((height, width), bool)
    drawn = make_mask("strokes-thin", 8, coverage=0.3, generator=torch.Generator().manual_seed(5))
    expected[top : top + 8, left : left + 8] = drawn[0, 0] == 1
    assert np.array_equal(edited.mask, expected)


def test_a_preset_of_a_large_square_is_drawn_smaller_and_keeps_its_coverage(monkeypatch):
    monkeypatch.setattr(editor, "DRAWN", 16)
    edited = MaskEditor(50, 50)
    edited.preset("scatter", 0.25)
    assert edited.coverage == pytest.approx(0.25, abs=0.03)


def test_a_preset_turns_with_the_face():
    edited, square = MaskEditor(40, 40), Square(20, 20, 0, 10)  # a quarter turn: its right is down
    edited.preset("right", 0.5, square=square)
    assert edited.mask[20:30, 10:30].all() and edited.mask.sum() == 200


def test_parts_of_a_face_lie_as_the_generator_has_them():
    celeba, ffhq = MaskEditor(32, 32), MaskEditor(32, 32, alignment="ffhq")
    for edited in (celeba, ffhq):
        edited.preset("mouth", 0.1)
    assert not np.array_equal(celeba.mask, ffhq.mask)


def test_a_mask_that_is_saved_can_be_loaded(small):
    small.rectangle(1, 1, 3, 5)
    other = MaskEditor(4, 6)
    other.load(small.png())
    assert np.array_equal(other.mask, small.mask)
    small.clear()
    assert np.asarray(Image.open(io.BytesIO(small.png()))).max() == 0, "also without a hole"


def test_grey_is_split_at_half_brightness(small):
    levels = np.full((4, 6), 100, np.uint8)
    levels[0] = 140
    small.load(png(levels))
    assert small.mask[0].all() and small.coverage == 0.25


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the mask's file must be a picture file; it is empty"),
        (b"no picture", "the mask's file must be a PNG, JPEG, WebP, BMP or TIFF picture; it is none of them"),
        (png(np.eye(5, 6, dtype=np.uint8) * 255), "must be 6 x 4 pixels .* as the photo; it is 6 x 5"),
        (png(np.zeros((4, 6), np.uint8)), "in it nothing is missing"),
        (png(np.full((4, 6), 255, np.uint8)), "in it nothing is known"),
        (png(np.zeros((4, 6, 4), np.uint8)), "without transparency"),
    ],
)
def test_an_unfit_file_is_refused_and_changes_nothing(small, content, said):
    small.rectangle(0, 0, 1, 1)
    with pytest.raises(InpaintError, match=said):
        small.load(content)
    assert small.mask.sum() == 1


@pytest.mark.parametrize(
    "wrong",
    [
        lambda e: e.replace(np.zeros((6, 4))),
        lambda e: e.replace(np.zeros((4, 6, 1))),
        lambda e: e.rectangle(0, 0, 1.5, 2),
        lambda e: e.preset("moon", 0.2),
        lambda e: e.preset("box", 0.0),
        lambda e: e.preset("box", 1.0),
        lambda e: e.preset("box", float("nan")),
        lambda e: e.preset("box", 0.2, seed=-1),
        lambda e: MaskEditor(0, 5),
    ],
)
def test_what_makes_no_sense_is_refused(small, wrong):
    with pytest.raises(InpaintError):
        wrong(small)
    assert not small.can_undo


def test_changes_are_told(small):
    told = []
    small.changed = lambda: told.append(small.coverage)
    small.invert()
    small.invert()
    small.clear()
    small.undo()
    assert told == [1, 0, 1]
