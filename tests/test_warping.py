"""Into a turned square and back: only known pixels count, no hole is too small, and the way back is the inverse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from inpaintlib import warping
from inpaintlib.alignment import Square
from inpaintlib.warping import aligned, aligned_hole, inside, known_average, off_centre, unaligned, unaligned_hole

from .tiny import pictures

H, W = 61, 83
PHOTO = pictures(1, W)[:, :, :H]


def turned(degrees: float, side: float = 40.0, middle=(40.0, 30.0)) -> Square:
    angle = math.radians(degrees)
    return Square(*middle, side / 2 * math.cos(angle), side / 2 * math.sin(angle))


def hole_at(rows: slice, columns: slice) -> torch.Tensor:
    mask = torch.zeros(1, 1, H, W)
    mask[..., rows, columns] = 1.0
    return mask


NONE = torch.zeros(1, 1, H, W)
HOLE = hole_at(slice(20, 33), slice(35, 52))
SQUARES = pytest.mark.parametrize(
    "square",
    [turned(0), turned(33), turned(-100, 52.5), turned(20, 14.0), turned(45, 90.0), turned(10, 40, (2.0, 60.0))],
    ids=["upright", "turned", "far", "small", "larger", "corner"],
)
SIZES = pytest.mark.parametrize("size", [3, 12, 64], ids=["blocks", "shrunk", "grown"])


@SQUARES
@SIZES
def test_what_lies_under_the_mask_changes_no_bit(square, size):
    other = torch.where(HOLE == 1, pictures(1, W, seed=4)[:, :, :H], PHOTO)
    assert torch.equal(aligned(PHOTO, HOLE, square, size), aligned(other, HOLE, square, size))


@SQUARES
@SIZES
def test_a_known_pixel_averages_known_pixels_alone(square, size):
    photo = torch.where(HOLE == 1, -1.0, torch.full_like(PHOTO, 0.75))
    picture, hole = aligned(photo, HOLE, square, size), aligned_hole(HOLE, square, size)
    assert torch.allclose(picture[(hole == 0).expand_as(picture)], torch.tensor(0.75))


def outline(square: Square, size: int, row: int, column: int) -> np.ndarray:
    """Points (x, y) all over an aligned pixel, its border included."""
    at = np.linspace(0, 1, 9)
    return np.array([square.point((column + u) / size, (row + v) / size) for u in at for v in at])


@SQUARES
@SIZES
def test_a_pixel_that_touches_a_hole_or_what_lies_beyond_is_a_hole(square, size):
    hole, found = HOLE[0, 0].numpy(), aligned_hole(HOLE, square, size)[0, 0].numpy()
    for row in range(0, size, 3):
        for column in range(0, size, 3):
            x, y = outline(square, size, row, column).T
            beyond = ((x < -1e-6) | (x > W + 1e-6) | (y < -1e-6) | (y > H + 1e-6)).any()
            # Points on a pixel's own edge belong to both neighbours: move them inside.
            i, j = (np.clip(at, 0, end - 1).astype(int) for at, end in ((y, H), (x, W)))
            if beyond or hole[i, j].any():
                near = np.abs(np.r_[x - x.round(), y - y.round()]).min() < 1e-9
                assert found[row, column] == 1 or near


@SQUARES
def test_a_hole_grows_by_no_more_than_it_must(square):
    """A pixel is no hole if all that it covers is farther than two pixels from hole and border."""
    size = 24
    wide = torch.nn.functional.max_pool2d(HOLE, 5, stride=1, padding=2)[0, 0].numpy()
    found = aligned_hole(HOLE, square, size)[0, 0].numpy()
    free = 0
    for row in range(size):
        for column in range(size):
            x, y = outline(square, size, row, column).T
            deep = x.min() > 3 and x.max() < W - 3 and y.min() > 3 and y.max() < H - 3
            if deep and not wide[y.astype(int), x.astype(int)].any():
                assert found[row, column] == 0
                free += 1
    assert free > 20 or square.side < 20


@SQUARES
@SIZES
def test_tiles_and_bands_make_no_difference(square, size, monkeypatch):
    whole, hole = aligned(PHOTO, HOLE, square, size), aligned_hole(HOLE, square, size)
    back, within = unaligned(whole, square, PHOTO, HOLE == 1), inside(square, H, W)
    monkeypatch.setattr(warping, "TILE", 20)
    monkeypatch.setattr(warping, "BAND", 200)
    assert torch.allclose(aligned(PHOTO, HOLE, square, size), whole, atol=1e-4)
    assert torch.equal(aligned_hole(HOLE, square, size), hole)
    assert torch.allclose(unaligned(whole, square, PHOTO, HOLE == 1), back, atol=1e-6)
    assert torch.equal(inside(square, H, W), within)


def test_a_face_much_larger_than_the_picture_is_averaged_over_blocks(monkeypatch):
    """Almost the picture, and a hole at most a block wider, of sampling at full density."""
    y, x = torch.linspace(-1, 1, H)[:, None], torch.linspace(-1, 1, W)
    smooth, square = torch.stack([0.5 * x + 0.3 * y, (9 * x).sin() * 0.5 + 0 * y, 0.4 * x * y])[None], turned(20, 48.0)
    picture, hole = aligned(smooth, HOLE, square, 3), aligned_hole(HOLE, square, 3)
    wider = aligned_hole(torch.nn.functional.max_pool2d(HOLE, 9, stride=1, padding=4), square, 3)
    monkeypatch.setattr(warping, "DENSE", 1000)
    exact, least = aligned(smooth, HOLE, square, 3), aligned_hole(HOLE, square, 3)
    assert (picture - exact).abs().max() < 0.04
    assert (least <= hole).all() and (hole <= wider).all()


def test_a_square_beside_the_photo_has_no_known_pixel():
    square = turned(30, 10.0, (-40.0, 200.0))
    assert aligned_hole(HOLE, square, 8).all() and torch.isfinite(aligned(PHOTO, HOLE, square, 8)).all()


def test_an_upright_square_on_whole_pixels_is_a_crop():
    square = Square(40.0, 30.0, 16.0, 0.0)
    assert torch.allclose(aligned(PHOTO, NONE, square, 32), PHOTO[..., 14:46, 24:56], atol=1e-5)
    assert torch.equal(aligned_hole(HOLE, square, 32), HOLE[..., 14:46, 24:56])
    small = aligned_hole(HOLE, square, 16)
    assert torch.equal(small, torch.nn.functional.max_pool2d(HOLE[..., 14:46, 24:56], 2))


@pytest.mark.parametrize("degrees", [0, 30, -75, 180])
@pytest.mark.parametrize("size", [16, 48])
def test_there_and_back_a_smooth_picture_is_the_same(degrees, size):
    y, x = torch.linspace(-1, 1, H)[:, None], torch.linspace(-1, 1, W)
    smooth = torch.stack([0.5 * x + 0.3 * y, (2 * x).sin() * 0.5 + 0 * y, 0.4 * x * y])[None]
    square = turned(degrees)
    where = off_centre(square, H, W) < 0.8
    back = unaligned(aligned(smooth, NONE, square, size), square, smooth, where)
    assert (back - smooth).abs().max() < 0.01
    assert torch.equal(back[~where.expand_as(back)], smooth[~where.expand_as(back)])


def test_a_turned_checkerboard_that_is_too_fine_becomes_grey():
    """Antialiased both ways: alternating pixels must not become stripes."""
    board = ((torch.arange(H)[:, None] + torch.arange(W)) % 2 * 2.0 - 1).expand(1, 3, H, W)
    assert aligned(board, NONE, turned(17), 10).abs().max() < 0.15
    fine = ((torch.arange(160)[:, None] + torch.arange(160)) % 2 * 2.0 - 1).expand(1, 3, 160, 160)
    square = turned(17)
    inner = off_centre(square, H, W) < 0.7
    assert unaligned(fine, square, PHOTO, inner)[inner.expand(1, 3, H, W)].abs().max() < 0.15


def test_pixels_outside_the_square_get_its_border():
    square, image = turned(0, 20.0), torch.full((1, 3, 8, 8), 0.5)
    everywhere = torch.ones(1, 1, H, W, dtype=torch.bool)
    assert torch.allclose(unaligned(image, square, PHOTO, everywhere), torch.tensor(0.5))
    assert torch.equal(unaligned(image, square, PHOTO, ~everywhere), PHOTO)


def test_inside_is_where_the_middle_of_a_pixel_lies():
    found = inside(Square(10.0, 5.0, 3.0, 0.0), H, W)
    assert found.sum() == 36 and found[..., 2:8, 7:13].all()


@pytest.mark.parametrize("degrees", [0, 90, 26])
def test_a_drawn_mask_comes_back_where_it_was_drawn(degrees):
    square, drawn = turned(degrees, 48.0), torch.zeros(1, 1, 48, 48)
    drawn[..., 20:30, 12:36] = 1.0
    hole = unaligned_hole(drawn, square, H, W)
    assert float(hole.sum()) == pytest.approx(240, rel=0.05)
    y, x = hole[0, 0].nonzero().double().mean(dim=0) + 0.5
    assert (float(x), float(y)) == pytest.approx(square.point(0.5, 25 / 48), abs=0.3)
    assert not unaligned_hole(torch.ones(1, 1, 4, 4), square, H, W)[~inside(square, H, W)].any()


def test_where_nothing_is_known_the_mean_of_all_known_stands():
    known = 1 - HOLE
    average = known_average(PHOTO, known, 61)
    mean = (PHOTO * known).sum(dim=(2, 3)) / known.sum()
    assert torch.allclose(average[0, :, 26, 32], mean[0], atol=1e-5)
