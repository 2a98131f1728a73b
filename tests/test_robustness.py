"""Frozen masks, the grid of masks and faces, its scores, the map of difficulty."""

import hashlib

import numpy as np
import pandas as pd
import pytest
import torch

from inpaintlib import corruptions, experiments, masks, metrics, params, robustness, sets
from inpaintlib.checks import InpaintError
from inpaintlib.features import lpips
from inpaintlib.grid import Method, invert_all
from inpaintlib.images import composite
from inpaintlib.losses import Objective, Weighted, mse_term
from inpaintlib.robustness import Filled, Frozen
from inpaintlib.search import Search
from inpaintlib.study import project_root

from .test_data import LABELS, encoded_pictures, write_celeba_parquet
from .tiny import pictures, square_hole, tiny_classifier, tiny_generator, tiny_percept

METHOD = Method(Objective({"mse": Weighted(1.0, mse_term())}), Search(steps=2))
FAMILIES = ["left", "mouth", "strokes-thin"]


def frozen(size: int = 16, families=FAMILIES, coverages=(0.1, 0.4)) -> Frozen:
    return robustness.freeze(families, coverages, size, part_limit=0.2, seed=7)


@pytest.fixture(scope="module")
def filled() -> Filled:
    return robustness.fill(tiny_generator(), pictures(2, 16) * 0.5, frozen(), METHOD, seed=3, batch_size=4)


# Masks ------------------------------------------------------------------------------------------------


def test_the_digest_is_that_of_the_pixels_row_by_row():
    mask = torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]).view(1, 1, 2, 3)
    assert robustness.mask_sha256(mask) == hashlib.sha256(bytes([0, 1, 1, 0, 0, 1])).hexdigest()
    assert robustness.mask_sha256(mask) == robustness.mask_sha256(mask.double())
    assert robustness.mask_sha256(mask) != robustness.mask_sha256(1 - mask)


def test_the_digest_is_of_one_mask():
    with pytest.raises(InpaintError, match="mask must be a single mask"):
        robustness.mask_sha256(square_hole(2, 8))
    with pytest.raises(InpaintError, match="only 0"):
        robustness.mask_sha256(square_hole(1, 8) * 0.5)


def test_masks_are_frozen():
    """The study's masks stay what they are, or its numbers no longer compare."""
    table = frozen(64, ["left", "center", "nose", "scatter"], (0.15,)).table
    digests = [digest[:16] for digest in table["sha256"]]
    assert digests == ["df61fee8f212741d", "3fa1f96a2d8c14dd", "bda0b05b10a2288d", "d94454833af5f538"]


def test_each_family_has_a_mask_a_coverage_but_parts_only_where_they_are_parts():
    found = frozen()
    rows = found.table[["family", "group", "coverage"]].to_numpy().tolist()
    assert rows == [["left", "side", 0.1], ["left", "side", 0.4], ["mouth", "face part", 0.1],
                    ["strokes-thin", "strokes", 0.1], ["strokes-thin", "strokes", 0.4]]  # fmt: skip
    assert found.table["mask"].tolist() == list(range(5)) and found.masks.shape == (5, 1, 16, 16)
    for mask, row in zip(found.masks, found.table.itertuples(), strict=True):
        again = masks.make_mask(
            row.family, 16, coverage=row.coverage, generator=torch.Generator().manual_seed(row.seed)
        )
        assert torch.equal(mask, again[0]) and robustness.mask_sha256(again) == row.sha256
        assert row.covered == pytest.approx(float(mask.mean()))
    assert (found.masks[3] <= found.masks[4]).all(), "a larger mask holds the smaller one's strokes"


def test_digests_are_a_table_of_families_and_coverages():
    found, table = robustness.digests(frozen(coverages=(0.4, 0.1))), frozen(coverages=(0.4, 0.1)).table
    assert list(found) == ["family", "0.4", "0.1"] and found["family"].tolist() == FAMILIES
    assert found.loc[1, "0.4"] == "", "a part is not hidden beyond its limit"
    assert found.loc[2, "0.1"] == table["sha256"].iloc[-1][:12] and found.loc[0, "0.4"] == table["sha256"].iloc[0][:12]


def test_every_family_belongs_to_a_group():
    assert sorted(family for members in robustness.GROUPS.values() for family in members) == sorted(masks.FAMILIES)


def test_unknown_families_and_empty_sets_are_refused():
    with pytest.raises(InpaintError, match="each of families must be one of box, .*; got 'blob'"):
        frozen(families=["blob"])
    with pytest.raises(InpaintError, match=r"families and coverages must give a mask; part_limit 0.2 leaves none"):
        frozen(families=["mouth"], coverages=(0.5,))


# The grid ---------------------------------------------------------------------------------------------


def test_every_face_is_filled_under_every_mask(filled):
    assert filled.items[["image", "mask"]].to_numpy().tolist() == [[i, j] for i in range(2) for j in range(5)]
    assert filled.items["family"].tolist() == frozen().table["family"].tolist() * 2
    target = pictures(2, 16) * 0.5
    for row in filled.items.itertuples():
        assert torch.equal(filled.target[row.Index], target[row.image])
        assert torch.equal(filled.mask[row.Index], frozen().masks[row.mask])
    alone = invert_all(tiny_generator(), target[1:], frozen().masks[3:4], METHOD, seeds=[3], batch_size=1)
    torch.testing.assert_close(filled.composite[8:9], alone.composite, atol=1e-4, rtol=1e-4)


def test_hole_scores_are_those_of_the_measures(monkeypatch):
    monkeypatch.setattr(robustness, "at_once", lambda size: 2)  # 3 items: a full batch and a rest
    target, other, mask = pictures(3, 16), pictures(3, 16, seed=1), square_hole(3, 16, side=6)
    pasted, judge, classifier = composite(target, 2 * other, mask), tiny_percept(), tiny_classifier()
    table = robustness.hole_scores(target, pasted, mask, judge=judge, attributes=classifier)
    shown = pasted.clamp(-1, 1)
    regional = metrics.regional(target, pasted, mask, judge=judge).query("region == 'hole'")
    for name in ("lpips", "psnr", "ssim"):
        np.testing.assert_allclose(table[name], regional[name], rtol=1e-5)
    np.testing.assert_allclose(table["lpips"], lpips(judge, shown, target, mask), rtol=1e-5)
    np.testing.assert_allclose(table["agreement"], sets.agreement(classifier, shown, target), rtol=1e-6)
    ratio = metrics.seam(shown, mask) / metrics.seam(target, mask)
    np.testing.assert_allclose(table["seam"], ratio, rtol=1e-5)
    assert list(robustness.hole_scores(target, pasted, mask, judge=judge)) == ["lpips", "psnr", "ssim"]


def test_a_perfect_filling_has_perfect_scores():
    target, mask = pictures(2, 16), square_hole(2, 16)
    table = robustness.hole_scores(target, target, mask, judge=tiny_percept(), attributes=tiny_classifier())
    assert table["lpips"].tolist() == [0.0, 0.0] and table["psnr"].tolist() == [np.inf] * 2
    assert table[["ssim", "agreement", "seam"]].to_numpy() == pytest.approx(np.ones((2, 3)), abs=1e-5)


def test_the_baseline_is_the_mean_codes_image_in_the_same_hole(filled):
    mean, judge, classifier = pictures(1, 16, seed=9), tiny_percept(), tiny_classifier()
    table = robustness.scores(filled, mean, judge=judge, attributes=classifier)
    assert table["method"].drop_duplicates().tolist() == ["search", "mean code"] and len(table) == 2 * 10
    assert np.isfinite(table[list(robustness.METRICS)]).all(axis=None)
    pasted = composite(filled.target, mean.expand(10, -1, -1, -1), filled.mask)
    by_hand = robustness.hole_scores(filled.target, pasted, filled.mask, judge=judge, attributes=classifier)
    np.testing.assert_array_equal(table[table["method"] == "mean code"][by_hand.columns], by_hand)


def test_the_summary_is_over_faces(filled):
    table = robustness.scores(filled, pictures(1, 16), judge=tiny_percept(), attributes=tiny_classifier())
    found = experiments.intervals(table, ["method", "family", "coverage"], ["lpips", "psnr"], resamples=100)
    assert len(found) == 2 * 5 * 2 and (found["n"] == 2).all()
    row = found.query("method == 'search' and family == 'mouth' and metric == 'psnr'").iloc[0]
    values = table.query("method == 'search' and family == 'mouth'")["psnr"]
    assert row["mean"] == pytest.approx(values.mean()) and row["low"] <= row["mean"] <= row["high"]


def test_a_summary_keeps_the_rows_without_a_level(filled):
    table = filled.items.assign(level=np.nan, lpips=1.0)
    found = experiments.intervals(table, ["family", "level"], ["lpips"], resamples=100)
    assert found["family"].tolist() == FAMILIES and found["n"].tolist() == [4, 2, 4]


# Photographs ------------------------------------------------------------------------------------------


def test_photographs_are_the_held_out_faces(tmp_path, monkeypatch):
    write_celeba_parquet(tmp_path, encoded_pictures(3, 16, 16), LABELS, "val")
    monkeypatch.setenv("INPAINTLIB_DATA", str(tmp_path))
    found = robustness.photographs(2, 16)
    assert found.shape == (2, 3, 16, 16) and found.dtype == torch.float32 and found.abs().max() <= 1
    with pytest.raises(InpaintError, match=r"photos must be at most 3, the held-out faces in .*; got 4"):
        robustness.photographs(4, 16)
    assert robustness.photographs(0, 16) is None
    monkeypatch.delenv("INPAINTLIB_DATA")
    assert robustness.photographs(2, 16) is None


# Difficulty -------------------------------------------------------------------------------------------


def hidden(*holes: list[int]) -> torch.Tensor:
    """Masks of one row of four pixels."""
    mask = torch.zeros(len(holes), 1, 1, 4)
    for i, hole in enumerate(holes):
        mask[i, 0, 0, hole] = 1.0
    return mask


def by_errors(errors: list[list[float]], mask: torch.Tensor, faces: int) -> Filled:
    """A grid whose composite misses a grey target by these amounts."""
    error = torch.tensor(errors).view(len(errors), 1, 1, 4).expand(-1, 3, -1, -1)
    items = pd.DataFrame({"image": np.repeat(range(faces), len(errors) // faces)})
    return Filled(torch.zeros_like(error), error * mask, mask, items)


def test_difficulty_is_the_error_relative_to_its_hole():
    """Two masks, two faces: by hand."""
    mask = hidden([0, 1], [1, 2])
    errors = [[0.1, 0.3, 9, 9], [9, 0.4, 0.4, 9], [0.2, 0.2, 9, 9], [9, 0.1, 0.3, 9]]
    found, count = robustness.difficulty(by_errors(errors, torch.cat([mask, mask]), 2), least=1)
    assert count.tolist() == [[1.0, 2.0, 1.0, 0.0]] and found.shape == (2, 1, 4)
    expected = [[0.5, (1.5 + 1.0) / 2, 1.0, np.nan], [1.0, (1.0 + 0.5) / 2, 1.5, np.nan]]
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-6)


def test_difficulty_does_not_depend_on_how_hard_a_mask_is():
    mask, errors = hidden([0, 1], [1, 2]), torch.tensor([[0.1, 0.3, 0, 0], [0, 0.04, 0.02, 0]])
    one = robustness.difficulty(by_errors(errors.tolist(), mask, 1), least=1)[0]
    harder = errors * torch.tensor([[3.0], [10.0]])
    other = robustness.difficulty(by_errors(harder.tolist(), mask, 1), least=1)[0]
    np.testing.assert_allclose(one, other, rtol=1e-5)


def test_seldom_hidden_pixels_are_blank():
    grid = by_errors([[0.1] * 4] * 2, hidden([0, 1], [1, 2]), 1)
    assert robustness.difficulty(grid, least=2)[0].isnan().tolist() == [[[True, False, True, True]]]
    with pytest.raises(InpaintError, match="least_hidden must be at most 2, the most masks on a pixel; got 3"):
        robustness.difficulty(grid, least=3)


def test_parts_are_means_over_their_pixels_with_intervals_over_faces():
    faces = torch.ones(3, 64, 64)
    nose = masks.make_mask("nose", 64, coverage=robustness.PART_AREAS["nose"], generator=torch.Generator())[0, 0] > 0
    faces[:, nose] = torch.tensor([1.0, 2.0, 3.0])[:, None]
    faces[:, :32] = torch.nan  # the eyes lie on both sides of the middle
    table = robustness.part_difficulty(faces, resamples=200).set_index("part")
    assert table.index.tolist() == ["mouth", "eyes", "nose", "hair", "rest"]
    assert table.loc["nose", "mean"] == pytest.approx(2.0) and table.loc["nose", "low"] < 2 < table.loc["nose", "high"]
    assert table.loc["rest", ["mean", "low", "high"]].tolist() == [1.0, 1.0, 1.0]
    assert 0 < table.loc["eyes", "pixels"] < 0.04 * 64 * 64
    faces[:, 64 * 3 // 5 :] = torch.nan
    assert "mouth" not in robustness.part_difficulty(faces, resamples=200)["part"].tolist()


# Parameters -------------------------------------------------------------------------------------------


def embedded() -> dict:
    return params.load(project_root() / "params/embedded/mask_robustness.yaml")


@pytest.mark.parametrize("profile", ["embedded", "ffhq"])
def test_the_grid_uses_its_share_of_the_budget(profile):
    p = params.MaskRobustness.from_mapping(params.load(project_root() / f"params/{profile}/mask_robustness.yaml"))
    grid = robustness.freeze(p.families(), p.coverages, 64, part_limit=p.part_limit, seed=p.seed)
    passes = corruptions.planned_passes(p, len(grid.masks))
    assert 0.9 * p.image_steps <= passes <= p.image_steps
    unfilled = corruptions.planned_passes(p.model_copy(update={"batch_size": 1}), len(grid.masks))
    assert passes <= 1.02 * unfilled, "copies that fill up chunks are searched for nothing"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"coverages": [0.5]}, "coverages"),
        ({"coverages": [0.2, 0.2, 0.5]}, "coverages must name nothing twice"),
        ({"position_coverage": 0.4}, r"position_coverage must be one of coverages, \[0.05, 0.15, 0.5, 0.8\]"),
        ({"shapes": ["box"], "photo_families": ["box"]}, "what is compared; center, scatter lack"),
        ({"photo_families": ["hair"]}, "what is compared; hair lack"),
        ({"strokes": ["left"]}, "must name no family twice, and none of the sides"),
        ({"random_starts": 1}, "random_starts must be greater than or equal to 2"),
        ({"jpeg_qualities": [96]}, "jpeg_qualities.0 must be less than or equal to 95"),
        ({"noise_levels": []}, "noise_levels"),
        ({"lpips_network": "percept-judge"}, "lpips_network"),
    ],
)
def test_grids_that_cannot_be_compared_are_refused(change, sentence):
    params.MaskRobustness.from_mapping(embedded())
    with pytest.raises(InpaintError, match=sentence):
        params.MaskRobustness.from_mapping(embedded() | change)
