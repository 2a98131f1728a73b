"""Three ways to join a filling to a photo: what each keeps, and what Poisson's equation asks for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from inpaintlib import blending
from inpaintlib.blending import BLENDS, blend, margin
from inpaintlib.checks import InpaintError
from inpaintlib.metrics import seam

from .tiny import pictures

H, W = 30, 41
PHOTO, FILLING = (0.5 * pictures(1, W, seed=seed)[:, :, :H] for seed in (1, 2))


def hole_of(*boxes: tuple[int, int, int, int]) -> torch.Tensor:
    hole = torch.zeros(1, 1, H, W)
    for top, left, height, width in boxes:
        hole[..., top : top + height, left : left + width] = 1.0
    return hole


HOLES = pytest.mark.parametrize(
    "hole",
    [hole_of((8, 9, 11, 14)), hole_of((0, 0, 9, 12)), hole_of((4, 0, 9, W)), hole_of((3, 3, 6, 6), (20, 30, 10, 11)),
     hole_of((10, 10, 1, 1)), 1 - hole_of((12, 20, 2, 2))],
    ids=["inside", "corner", "across", "two", "pixel", "nearly all"],
)  # fmt: skip
every_blend = pytest.mark.parametrize("kind", BLENDS)


@HOLES
@every_blend
def test_known_pixels_are_the_photos_but_for_the_feather(hole, kind):
    out = blend(PHOTO, FILLING, hole, kind=kind, feather=3)
    far = torch.nn.functional.max_pool2d(hole, 7, stride=1, padding=3) == 0 if kind == "feathered" else hole == 0
    assert torch.equal(out[far.expand_as(out)], PHOTO[far.expand_as(out)])
    assert out.abs().max() <= 1


@HOLES
@every_blend
def test_no_pixel_of_the_photo_under_the_hole_has_a_share(hole, kind):
    other = torch.where(hole == 1, pictures(1, W, seed=7)[:, :, :H], PHOTO)
    assert torch.equal(*(blend(photo, FILLING, hole, kind=kind) for photo in (PHOTO, other)))


@HOLES
def test_in_the_hole_hard_and_feathered_are_the_filling(hole):
    inside = hole.expand_as(PHOTO) == 1
    for kind in ("hard", "feathered"):
        assert torch.equal(blend(PHOTO, FILLING, hole, kind=kind)[inside], FILLING[inside])


def test_the_feather_fades_over_its_width():
    hole = hole_of((0, 0, H, 10))
    out = blend(torch.zeros_like(PHOTO), torch.ones_like(PHOTO), hole, kind="feathered", feather=4)
    assert out[0, 0, 5].tolist() == pytest.approx([1.0] * 10 + [0.8, 0.6, 0.4, 0.2] + [0.0] * (W - 14))


def test_the_feather_stays_where_the_filling_is_and_off_others_holes():
    hole, covered = hole_of((10, 10, 8, 8)), hole_of((10, 10, 8, 10)) == 1
    out = blend(PHOTO, FILLING, hole, kind="feathered", feather=5, covered=covered)
    changed = (out != PHOTO).any(dim=1, keepdim=True)
    assert not changed[~covered].any() and changed[covered].all()
    unknown = hole_of((10, 18, 8, 2)) == 1
    out = blend(PHOTO, FILLING, hole, kind="feathered", feather=5, unknown=unknown)
    assert torch.equal(out[..., 10:18, 18:20], PHOTO[..., 10:18, 18:20])


def test_a_poisson_filling_is_the_membrane_over_the_known_rim():
    """Against a literal loop: in the hole the Laplacian is the filling's, beside it stand known pixels."""
    hole = hole_of((0, 5, 7, 9), (15, 20, 8, 6))
    out = blend(PHOTO, 0.5 * FILLING, hole, kind="poisson").double()[0].numpy()
    assert np.abs(out).max() < 1, "nothing is clamped"
    filling, inside = 0.5 * FILLING.double()[0].numpy(), hole[0, 0].numpy() == 1
    for y, x in np.argwhere(inside):
        around = [(y + dy, x + dx) for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)) if 0 <= y + dy < H]
        laplacian = sum(out[:, v, u] - out[:, y, x] for v, u in around)
        asked = sum(filling[:, v, u] - filling[:, y, x] for v, u in around)
        assert np.allclose(laplacian, asked, atol=1e-5)


def test_a_filling_that_is_the_photo_but_for_its_colour_is_the_photo_again():
    for hole in (hole_of((8, 9, 11, 14)), hole_of((0, 0, 9, 12), (21, 5, 9, 9))):
        out = blend(PHOTO, PHOTO + 0.3, hole, kind="poisson")
        assert torch.allclose(out, PHOTO, atol=1e-5)


@pytest.mark.parametrize("hole", [hole_of((8, 9, 11, 14)), hole_of((0, 0, 9, 12), (21, 25, 9, 9))])
def test_poisson_has_less_of_a_seam_than_a_hard_paste(hole):
    seams = {kind: float(seam(blend(PHOTO, FILLING + 0.4, hole, kind=kind), hole)) for kind in BLENDS}
    assert seams["poisson"] < 0.8 * seams["hard"] and seams["feathered"] < 0.8 * seams["hard"]


def test_holes_that_touch_nothing_known_keep_the_filling():
    hole = hole_of((0, 0, 10, W))
    out = blend(PHOTO, FILLING, hole, kind="poisson", unknown=hole_of((10, 0, 20, W)) == 1)
    assert torch.allclose(out[..., :10, :], FILLING[..., :10, :], atol=1e-5)
    assert torch.equal(out[..., 10:, :], PHOTO[..., 10:, :])


LARGE = 200
BIG_PHOTO, BIG_FILLING = (0.5 * pictures(1, LARGE, seed=seed) for seed in (1, 2))


def large_hole(*, at_border: bool) -> torch.Tensor:
    hole = torch.zeros(1, 1, LARGE, LARGE)
    hole[..., 5:180, (0 if at_border else 9) : 185] = 1.0
    hole[..., 60:64, 90:93] = 0.0
    return hole


@pytest.mark.parametrize("at_border", [False, True])
@pytest.mark.parametrize("what", ["noise", "stripes"])
def test_in_large_holes_blocks_give_the_exact_solution_to_a_fraction_of_a_level(monkeypatch, at_border, what):
    hole = large_hole(at_border=at_border)
    stripes = 0.5 * (torch.arange(LARGE) + torch.arange(LARGE)[:, None]).mul(0.06).sin().sign().expand(1, 3, -1, -1)
    photo, filling = (stripes, -stripes) if what == "stripes" else (BIG_PHOTO, BIG_FILLING)
    exact = blend(photo, filling, hole, kind="poisson")
    monkeypatch.setattr(blending, "EXACT", 0)
    found = blend(photo, filling, hole, kind="poisson")
    assert 0 < (found - exact).abs().max() * 127.5 < 0.25
    assert torch.equal(found[(hole == 0).expand_as(found)], photo[(hole == 0).expand_as(found)])
    other = torch.where(hole == 1, pictures(1, LARGE, seed=7), photo)
    assert torch.equal(blend(other, filling, hole, kind="poisson"), found)


def test_blocks_fill_the_hole_once_and_are_small_near_its_rim():
    inside = large_hole(at_border=False)[0, 0].numpy() == 1
    blocks = blending._blocks(inside, blending.LEVELS)
    covered, near = np.zeros(inside.shape, int), []
    far = np.pad(inside, blending.NEAR)
    for row, column, side in zip(blocks.row, blocks.column, blocks.side, strict=True):
        covered[row : row + side, column : column + side] += 1
        near.append(side > 1 and not far[row : row + side + 16, column : column + side + 16].all())
    assert np.array_equal(covered, inside.astype(int)) and not any(near)
    assert blocks.side.max() >= 4 and blocks.unknowns < inside.sum() / 2
    assert np.array_equal(np.unique(blocks.nodes), np.arange(blocks.unknowns))


def test_a_system_with_many_unknowns_is_iterated_to_the_same_result(monkeypatch):
    hole = large_hole(at_border=True)
    monkeypatch.setattr(blending, "EXACT", 0)
    direct = blend(BIG_PHOTO, BIG_FILLING, hole, kind="poisson")
    monkeypatch.setattr(blending, "DIRECT", 0)
    assert torch.allclose(blend(BIG_PHOTO, BIG_FILLING, hole, kind="poisson"), direct, atol=1e-4)
    monkeypatch.setattr(blending, "MOST", 3)
    with pytest.raises(
        InpaintError, match="Poisson blending did not converge in 3 iterations in this hole; take BLEND="
    ):
        blend(BIG_PHOTO, BIG_FILLING, hole, kind="poisson")


def test_a_filling_beyond_the_range_is_clamped():
    bright = torch.full_like(PHOTO, 0.95)
    out = blend(bright, FILLING.sign(), hole_of((8, 9, 11, 14)), kind="poisson")
    assert out.max() <= 1 and out.min() >= -1


def test_how_far_around_a_hole_a_filling_is_looked_at():
    assert [margin(kind, 7) for kind in BLENDS] == [0, 7, 1]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kind": "soft"}, "blend must be one of hard, feathered, poisson; got 'soft'"),
        ({"feather": 0}, "feather must be at least 1; got 0"),
        ({"filling": FILLING[..., 1:]}, r"filling must fit the photo's \(1, 3, 30, 41\)"),
        ({"hole": torch.zeros(1, 1, H, W)}, "hole has no hole"),
        ({"photo": 4.0 + PHOTO}, r"photo must lie in \[-1, 1\]"),
    ],
)
def test_unfit_input_is_one_sentence(change, sentence):
    with pytest.raises(InpaintError, match=sentence):
        blend(**{"photo": PHOTO, "filling": FILLING, "hole": hole_of((8, 9, 5, 5)), "kind": "feathered"} | change)
