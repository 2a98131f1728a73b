"""Claim C6: its contrasts by hand, its verdicts, and what the readings say."""

import numpy as np
import pandas as pd
import pytest

from inpaintlib import hardness
from inpaintlib.checks import InpaintError
from inpaintlib.metrics import Interval

SIDES = ("left", "right", "top", "bottom")
SPREAD = np.array([-0.02, -0.01, 0.0, 0.01, 0.02, 0.0])  # of six faces about their mean
OPTIONS = {"position_coverage": 0.5, "resamples": 500}


def table(*, center=(1.0, 2.0), scatter=(0.5, 1.0), top=1.0, bottom=1.5, left=1.1, right=1.3, mouth=1.0,
          baseline=3.0) -> pd.DataFrame:  # fmt: skip
    """Scores of six faces; a pair stands for the coverages 0.1 and 0.5, a number for both."""
    levels = {"center": center, "scatter": scatter, "top": top, "bottom": bottom, "left": left, "right": right}
    rows = []
    for j, (family, level) in enumerate([*levels.items(), ("mouth", mouth)]):
        for k, coverage in enumerate((0.1, 0.5)):
            if family == "mouth" and k:
                continue
            value = level[k] if isinstance(level, tuple) else level
            for i, spread in enumerate(SPREAD):
                noise = spread * (1 + 0.1 * j)
                rows.append(("search", i, 2 * j + k, family, coverage, value + noise, 20 - 3 * value, 0.9))
                rows.append(("mean code", i, 2 * j + k, family, coverage, baseline + noise, 10.0, 0.7))
    return pd.DataFrame(rows, columns=["method", "image", "mask", "family", "coverage", "lpips", "psnr", "agreement"])


# Contrasts --------------------------------------------------------------------------------------------


def test_contrasts_are_paired_and_relative_to_the_smaller_mean():
    found = hardness.contrasts(table(), **OPTIONS)
    low, high = np.mean([1.0, 0.5, 1.0, 1.5, 1.1, 1.3]), np.mean([2.0, 1.0, 1.0, 1.5, 1.1, 1.3])
    assert found["coverage"].value == pytest.approx((high - low) / low)  # the mouth has no large mask
    assert found["shape"].value == pytest.approx(0.75 / 0.75)
    assert found["position"].value == pytest.approx(0.5)
    for effect in found.values():
        assert effect.low <= effect.value <= effect.high and effect.high - effect.low < 0.05


def test_the_smaller_side_is_the_base_whichever_it_is():
    found = hardness.contrasts(table(top=1.5, bottom=1.0), **OPTIONS)
    assert found["position"].value == pytest.approx(-0.5) and found["position"].high < 0


def test_intervals_are_of_the_ratio_not_of_the_difference_over_one_mean():
    """Every face's bottom is half as much again as its top: certain, however unlike the faces are."""
    found = table()
    own = 1.0 + 0.2 * found["image"]
    found["lpips"] = own * found["family"].map({"bottom": 1.5}).fillna(1.0)
    assert hardness.contrasts(found, **OPTIONS)["position"] == pytest.approx((0.5, 0.5, 0.5))


def test_contrasts_of_the_baseline_and_of_another_score():
    assert hardness.contrasts(table(), method="mean code", **OPTIONS)["shape"].value == pytest.approx(0.0, abs=1e-3)
    decibels = hardness.contrasts(table(), metric="psnr", relative=False, **OPTIONS)
    assert decibels["position"] == pytest.approx((-1.5, -1.5, -1.5))


def test_what_is_compared_must_be_there():
    with pytest.raises(InpaintError, match="contrast of position compares; it lacks bottom at 0.3, top at 0.3"):
        hardness.contrasts(table(), position_coverage=0.3, resamples=100)
    one = table().query("coverage == 0.5")
    with pytest.raises(InpaintError, match="contrast of coverage compares; it lacks a second coverage"):
        hardness.contrasts(one, **OPTIONS)


def test_friedman_tells_unlike_sides_from_like_ones():
    assert hardness.friedman(table(), position_coverage=0.5) < 0.01
    assert hardness.friedman(shuffled(), position_coverage=0.5) > 0.2


def shuffled(**levels) -> pd.DataFrame:
    """As table(), but with the sides' ranks evenly mixed."""
    rng, found = np.random.default_rng(0), table(**levels)
    where = found["family"].isin(SIDES) & (found["method"] == "search")
    found.loc[where, "lpips"] = 1.0 + 0.01 * rng.permutation(where.sum())
    return found


# Verdicts ---------------------------------------------------------------------------------------------


def decided(found: pd.DataFrame, noticeable: float = 0.1) -> dict[str, str]:
    return {k: v for k, (_, _, v) in hardness.verdicts(found, noticeable=noticeable, **OPTIONS).items()}


def test_all_three_make_the_claim():
    assert decided(table()) == {"C6-coverage": "supported", "C6-shape": "supported", "C6-position": "supported",
                                "C6": "supported"}  # fmt: skip


@pytest.mark.parametrize(
    ("levels", "claim"),
    [
        ({"center": (1.0, 1.0), "scatter": (0.5, 0.5)}, "C6-coverage"),
        ({"center": (2.0, 1.0), "scatter": (1.0, 0.5)}, "C6-coverage"),  # easier with coverage is not harder
        ({"scatter": (1.0, 2.0)}, "C6-shape"),
        ({"bottom": 1.0}, "C6-position"),
    ],
)
def test_one_that_fails_fails_the_claim(levels, claim):
    found = decided(table(**levels))
    assert found.pop("C6") == "not supported" and found.pop(claim) == "not supported"
    assert set(found.values()) == {"supported"}


@pytest.mark.parametrize("levels", [{"center": (0.5, 1.0), "scatter": (1.0, 2.0)}, {"top": 1.5, "bottom": 1.0}])
def test_shape_and_position_count_in_either_direction(levels):
    assert decided(table(**levels))["C6"] == "supported"


def test_position_needs_friedmans_consent():
    found = shuffled()
    for side, level in (("top", 1.0), ("bottom", 1.5)):  # the contrast is clear, but the sides' ranks are not
        where = (found["family"] == side) & (found["coverage"] == 0.5) & (found["method"] == "search")
        found.loc[where, "lpips"] = level
    for side in ("left", "right"):
        where = (found["family"] == side) & (found["coverage"] == 0.5) & (found["method"] == "search")
        found.loc[where, "lpips"] = [0.9, 0.9, 0.9, 1.6, 1.6, 1.6]
    found.loc[(found["family"] == "bottom") & (found["image"] == 0), "lpips"] = 0.8
    assert hardness.friedman(found, position_coverage=0.5) >= 0.05
    assert decided(found, noticeable=0.05)["C6-position"] == "undecided"


def test_between_supported_and_not_it_is_undecided():
    wide = table()
    where = (wide["family"] == "bottom") & (wide["method"] == "search")
    wide.loc[where, "lpips"] += np.tile(np.repeat([-0.9, 0.6], 3), 2)  # its interval spans the threshold
    found = decided(wide)
    assert found["C6-position"] == "undecided" and found["C6"] == "undecided"
    below = Interval(0.02, -0.3, 0.09)  # above on one side it is excluded, below on the other it is not
    assert hardness._either_way(below, 0.1) == "undecided"
    assert hardness._either_way(Interval(-0.02, -0.05, 0.09), 0.1) == "not supported"


def test_the_overall_effect_is_the_smallest_without_its_direction():
    found = hardness.verdicts(table(top=1.5, bottom=1.0), noticeable=0.1, **OPTIONS)
    smallest = min((abs(found[f"C6-{name}"][1].value), name) for name in ("coverage", "shape", "position"))
    assert found["C6"][1].value == pytest.approx(smallest[0])
    assert list(found) == ["C6-coverage", "C6-shape", "C6-position", "C6"]
    assert "which the baseline without a search may show too" in found["C6-shape"][0]
    assert "at least 10% above" in found["C6-coverage"][0] and "coverage of 0.5" in found["C6-position"][0]
    weak = hardness.verdicts(table(top=1.2, bottom=1.0), noticeable=0.1, **OPTIONS)
    assert weak["C6"][1] == pytest.approx((0.2, -weak["C6-position"][1].high, -weak["C6-position"][1].low))


# Readings ---------------------------------------------------------------------------------------------


def test_the_grids_reading_counts_masks_and_names_extremes():
    found = table(center=(1.0, 4.0))  # at 0.5 worse than the baseline's 3
    text = hardness.grid(found, chance=0.62, resamples=200)
    assert "fills 12 of 13 masks better" in text
    assert "* 10% hidden: from 0.50 (*scatter*) to 1.50 (*bottom*); the mean code leaves 3.00." in text
    assert "* 50% hidden: from 1.00 (*scatter*) to 4.00 (*center*)" in text
    assert "90% of the attributes as in the target where 10% is hidden (mean code 70%)" in text and "62%" in text


def test_agreement_is_compared_over_the_families_that_have_both_coverages():
    found = table()
    found.loc[found["family"] == "mouth", "agreement"] = 0.0  # has no large mask
    assert "Under the families that have both, the judge decides 90%" in hardness.grid(found, chance=0.6, resamples=200)


def test_the_maps_reading_says_what_is_certain():
    rows = [("mouth", 9, 1.4, 1.2, 1.6), ("eyes", 9, 1.1, 0.9, 1.3), ("rest", 9, 0.8, 0.7, 0.9)]
    parts = pd.DataFrame(rows, columns=["part", "pixels", "mean", "low", "high"])
    text = hardness.places(parts)
    assert "mouth 1.40 (1.20 to 1.60)" in text
    assert (
        "certainly harder than what is hidden with it: mouth; certainly easier than what is hidden with it: rest"
        in text
    )
    assert "no part differs certainly" in hardness.places(parts[1:2])


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(0.3, 0.6, "*stable under shifts*"), (1.1, 1.4, "*unstable under shifts*"), (0.8, 1.2, "*perhaps stable")],
)
def test_the_shifts_reading_is_decided_by_the_filling(low, high, word):
    rows = [(change, metric, 6, 0.1, 0.0, 0.2, *ratio) for metric in ("lpips", "filling")
            for change, ratio in (("4 px", (0.5, low, high)), ("other start", (1.0, 1.0, 1.0)))]  # fmt: skip
    columns = ["change", "metric", "n", "mean", "low", "high", "ratio", "ratio_low", "ratio_high"]
    text = hardness.stable(pd.DataFrame(rows, columns=columns))
    assert word in text and "by 4 px changes it 0.50 times" in text and f"{low:.2f} to {high:.2f}" in text


def test_the_corruptions_reading_is_relative_to_clean():
    rows = [(method, kind, level, i, value + spread)
            for method, levels in (("search", (1.0, 1.5)), ("mean code", (2.0, 2.0)))
            for (kind, level), value in zip((("clean", np.nan), ("noise", 0.3)), levels, strict=True)
            for i, spread in enumerate(SPREAD)]  # fmt: skip
    found = pd.DataFrame(rows, columns=["method", "kind", "level", "image", "lpips"])
    text = hardness.corrupted(found, resamples=200)
    assert "hole LPIPS is 1.00 (mean code 2.00)" in text and "* noise 0.3: +50% (+49% to +51%)." in text


def test_photographs_are_compared_or_their_absence_explained():
    assert "the parameter `photos` is 0" in hardness.no_photographs(0)
    assert "`INPAINTLIB_DATA` names no folder" in hardness.no_photographs(3)
    assert hardness.on_photographs(table(), None) == ""
    real = table(center=(2.0, 4.0)).query("family == 'center' and image < 3")
    text = hardness.on_photographs(table(), real)
    assert "Over center, hole LPIPS is 1.50 on 6 generated faces" in text and "2.99 on 3 held-out photographs" in text


def test_the_claims_reading_has_contrasts_of_search_and_baseline():
    text = hardness.compared(table(), **OPTIONS)
    assert "* bottom less top: +50% (" in text and "hole PSNR -1.5 dB (-1.5 to -1.5)" in text
    assert f"p = {hardness.friedman(table(), position_coverage=0.5):.2g}" in text
