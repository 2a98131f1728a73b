"""Scores by region against closed forms and loops, seams, intervals against their coverage, paired comparisons."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from torchmetrics.functional.image import structural_similarity_index_measure

from inpaintlib.checks import InpaintError
from inpaintlib.features import lpips
from inpaintlib.images import composite
from inpaintlib.metrics import (
    BAND_PX,
    REGIONS,
    Interval,
    effect_size,
    l1,
    mean_interval,
    paired_difference,
    paired_test,
    psnr,
    region_weights,
    regional,
    relative_difference,
    seam,
    ssim,
)

from .tiny import pictures, square_hole, tiny_percept

EVERYWHERE = torch.ones(1, 1, 24, 24)


def smooth(n: int, *, seed: int = 0) -> torch.Tensor:
    return F.interpolate(pictures(n, 6, seed=seed), 24, mode="bilinear")


# By region --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "expected"), [(0.2, 20.0), (0.02, 40.0), (2.0, 0.0)])
def test_psnr_of_a_constant_error(error, expected):
    x = torch.full((2, 3, 24, 24), -1.0)
    assert psnr(x + error, x, EVERYWHERE).tolist() == pytest.approx([expected] * 2, abs=1e-3)


def test_psnr_of_equal_images_is_infinite():
    assert psnr(smooth(1), smooth(1), EVERYWHERE).item() == math.inf


@pytest.mark.parametrize("metric", [l1, psnr])
def test_weighted_metric_equals_a_loop_over_the_pixels(metric):
    a, b, weight = smooth(2), smooth(2, seed=1), square_hole(2, 24, side=5)
    weight[1, 0, 3] = 1.0
    for item in range(2):
        known = [(y, x) for y in range(24) for x in range(24) if weight[item, 0, y, x] == 1]
        differences = [float(a[item, c, y, x] - b[item, c, y, x]) for c in range(3) for y, x in known]
        absolute = sum(map(abs, differences)) / len(differences)
        square = sum(d * d for d in differences) / len(differences)
        expected = absolute if metric is l1 else 10 * math.log10(4 / square)
        assert metric(a, b, weight)[item].item() == pytest.approx(expected, rel=1e-5)


def test_ssim_over_the_whole_image_is_torchmetrics_own():
    a, b = smooth(2), smooth(2, seed=1)
    expected = structural_similarity_index_measure(a, b, data_range=2.0, reduction="none")
    torch.testing.assert_close(ssim(a, b, EVERYWHERE), expected)
    assert ssim(a, a, EVERYWHERE).tolist() == pytest.approx([1.0] * 2, abs=1e-6)


def test_ssim_of_a_region_equals_a_loop_over_windows():
    a, b = smooth(1), smooth(1, seed=1)
    window = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(window, window) / window.sum() ** 2
    mean = lambda v: (window * v).sum()  # noqa: E731
    values = []
    for c in range(3):
        for y in range(10, 13):
            for x in range(11, 14):
                p, q = (im[0, c, y - 5 : y + 6, x - 5 : x + 6].double().numpy() for im in (a, b))
                covariance = mean(p * q) - mean(p) * mean(q)
                luminance = (2 * mean(p) * mean(q) + 0.02**2) / (mean(p) ** 2 + mean(q) ** 2 + 0.02**2)
                variances = mean(p * p) - mean(p) ** 2 + mean(q * q) - mean(q) ** 2
                values.append(luminance * (2 * covariance + 0.06**2) / (variances + 0.06**2))
    weight = torch.zeros(1, 1, 24, 24)
    weight[..., 10:13, 11:14] = 1.0
    assert ssim(a, b, weight).item() == pytest.approx(np.mean(values), abs=1e-5)


def test_regions_are_hole_known_band_and_all():
    mask = square_hole(1, 24, side=10)
    weights = region_weights(mask)
    assert tuple(weights) == REGIONS
    assert torch.equal(weights["hole"], mask) and torch.equal(weights["known"], 1 - mask)
    assert torch.equal(weights["whole"], torch.ones_like(mask))
    outer, inner = square_hole(1, 24, side=10 + 2 * BAND_PX), square_hole(1, 24, side=10 - 2 * BAND_PX)
    assert torch.equal(weights["band"], outer - inner)


def test_table_holds_each_metric_of_each_region():
    judge, x, y = tiny_percept(), smooth(2), smooth(2, seed=1)
    mask = torch.cat([square_hole(1, 24, side=8), square_hole(1, 24, side=10)])
    table = regional(x, y, mask, judge=judge)
    assert list(table.columns) == ["item", "region", "psnr", "ssim", "lpips", "l1"] and len(table) == 8
    for (item, region), row in table.set_index(["item", "region"]).iterrows():
        one, other, weight = x[[item]], y[[item]], region_weights(mask)[region][[item]]
        expected = {"psnr": psnr(one, other, weight), "ssim": ssim(one, other, weight),
                    "lpips": lpips(judge, one, other, weight), "l1": l1(one, other, weight)}  # fmt: skip
        assert row.to_dict() == pytest.approx({k: v.item() for k, v in expected.items()}, rel=1e-4)


def test_hole_lpips_of_a_composite_is_lpips_weighted_by_the_mask():
    judge, x, mask = tiny_percept(), smooth(2), square_hole(1, 24)
    pasted = composite(x, smooth(2, seed=1), mask)
    table = regional(x, pasted, mask, judge=judge)
    expected = lpips(judge, pasted, x, mask)
    assert table[table.region == "hole"].lpips.tolist() == pytest.approx(expected.tolist(), rel=1e-5)


@pytest.mark.parametrize("beyond", [0.0, 5e-5])
def test_known_region_of_a_composite_is_the_targets(beyond):
    x, mask = smooth(2), square_hole(1, 24)
    x[:, :, 0] = 1.0 + beyond  # the slack that checks leave to rounding
    table = regional(x, composite(x, -x, mask), mask, judge=tiny_percept())
    known = table[table.region == "known"]
    assert (known.l1 == 0).all() and (known.psnr == math.inf).all()
    assert (table[table.region == "hole"].l1 > 0).all()


def test_images_are_clamped_as_a_file_would():
    x, mask = smooth(1), square_hole(1, 24)
    one, other = (regional(x, y, mask, judge=tiny_percept()) for y in (3.0 * x, (3.0 * x).clamp(-1, 1)))
    assert one.equals(other)


def test_scores_need_no_graph_and_take_masks_of_any_type():
    x, y, mask = smooth(1), smooth(1, seed=1).requires_grad_(), square_hole(1, 24)
    table = regional(x, y, mask, judge=tiny_percept())
    for other in (mask.bool(), mask.double()):
        assert regional(x, y, other, judge=tiny_percept()).equals(table)


@pytest.mark.parametrize(
    ("target", "image", "mask", "message"),
    [
        (smooth(2), smooth(1), square_hole(1, 24), r"image must fit the target's \(2, 3, 24, 24\); got \(1, 3,"),
        (smooth(1), smooth(1)[..., :8], square_hole(1, 24), "image must fit the target's"),
        (smooth(1), math.nan * smooth(1), square_hole(1, 24), "image must be finite"),
        (math.nan * smooth(1), smooth(1), square_hole(1, 24), "target must be finite"),
        (127.5 * smooth(1), smooth(1), square_hole(1, 24), r"target must lie in \[-1, 1\]"),
        (smooth(1), smooth(1), square_hole(1, 8), "mask must fit the image's"),
        (smooth(1), smooth(1), 0.0 * EVERYWHERE, "mask has no hole"),
        (smooth(1), smooth(1), EVERYWHERE, "mask hides every pixel"),
    ],
)
def test_wrong_input_is_refused(target, image, mask, message):
    with pytest.raises(InpaintError, match=message):
        regional(target, image, mask, judge=tiny_percept())


# The seam ---------------------------------------------------------------------------------------------


def test_no_seam_where_nothing_changes():
    flat = torch.full((2, 3, 24, 24), 0.3)
    assert seam(flat, square_hole(2, 24)).tolist() == [1.0, 1.0]


def test_filling_of_another_brightness_has_the_largest_seam_of_its_step():
    mask = square_hole(1, 24)
    for step in (0.5, 2.0):
        assert seam(-1.0 + step * mask.expand(-1, 3, -1, -1), mask).item() == pytest.approx(step * 255 / 2, rel=1e-5)


def test_untouched_image_has_a_seam_about_1_and_a_shifted_hole_a_larger_one():
    x, mask = F.avg_pool2d(pictures(8, 28), 5, stride=1), square_hole(1, 24)
    untouched, shifted = seam(x, mask), seam(x + 0.3 * mask, mask)
    assert untouched.mean().item() == pytest.approx(1.0, abs=0.15)
    assert (shifted > 1.5 * untouched).all()


def test_seam_equals_a_loop_over_the_pairs_of_pixels():
    x, mask = smooth(1)[..., :9], (pictures(1, 24, seed=3)[:, :1, :, :9] > 0.9).float()
    band = region_weights(mask)["band"]
    across, beside = [], []
    for y in range(24):
        for z in range(9):
            for other in ((y + 1, z), (y, z + 1)):
                if other[0] < 24 and other[1] < 9:
                    step = (x[0, :, y, z] - x[0, :, other[0], other[1]]).abs().mean().item()
                    if mask[0, 0, y, z] != mask[(0, 0, *other)]:
                        across.append(step)
                    elif band[0, 0, y, z] == 1 and band[(0, 0, *other)] == 1:
                        beside.append(step)
    assert seam(x, mask).item() == pytest.approx(np.mean(across) / np.mean(beside), rel=1e-5)


def test_seam_takes_one_mask_of_any_type_and_clamps():
    x, mask = smooth(2), square_hole(1, 24)
    assert torch.equal(seam(3 * x, mask.bool()), seam((3 * x).clamp(-1, 1), mask.expand(2, -1, -1, -1)))
    single = torch.tensor([[0.0, 1.0]]).view(1, 1, 1, 2)  # nothing beside the edge to compare with
    assert seam(torch.zeros(1, 3, 1, 2), single).tolist() == [1.0]


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (math.nan * smooth(1), square_hole(1, 24), "image must be finite"),
        (smooth(1), square_hole(1, 8), "mask must fit the image's"),
        (smooth(1), EVERYWHERE, "mask hides every pixel"),
    ],
)
def test_seam_of_wrong_input_is_refused(image, mask, message):
    with pytest.raises(InpaintError, match=message):
        seam(image, mask)


# Intervals --------------------------------------------------------------------------------------------


def test_interval_of_normal_values_is_students():
    x = np.random.default_rng(0).normal(5.0, 2.0, size=400)
    value, low, high = mean_interval(x)
    half_width = 1.966 * x.std(ddof=1) / 20
    assert value == pytest.approx(x.mean())
    assert (value - low, high - value) == pytest.approx((half_width, half_width), rel=0.12)


def test_interval_covers_the_mean_about_95_times_in_100():
    rng = np.random.default_rng(1)
    covered = [low <= 1.0 <= high for _, low, high in
               (mean_interval(rng.gamma(4.0, 0.25, size=40), resamples=300) for _ in range(200))]  # fmt: skip
    assert 0.90 <= np.mean(covered) <= 0.985


def test_interval_depends_on_its_seed_alone():
    x = np.random.default_rng(0).normal(size=20)
    np.random.seed(0)  # noqa: NPY002 (the state that must not be touched)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert mean_interval(x) == mean_interval(x) != mean_interval(x, seed=1)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0], (3.0, -math.inf, math.inf)),
        ([2.0, 2.0, 2.0], (2.0, 2.0, 2.0)),
        (torch.tensor([0.5, 0.5]), (0.5, 0.5, 0.5)),
    ],
)
def test_degenerate_intervals(values, expected):
    assert mean_interval(values) == expected


def test_interval_of_nothing_is_everything():
    value, low, high = mean_interval([])
    assert math.isnan(value) and (low, high) == (-math.inf, math.inf)


@pytest.mark.parametrize("values", [[0.0, 1.0], [0.0] * 30 + [1.0], [1.0, 1.0 + 1e-15, 1.0], [1e-12, 0.0, 0.0]])
def test_few_or_nearly_equal_values_give_an_interval_around_their_mean(values):
    value, low, high = mean_interval(values)
    assert min(values) <= low <= value <= high <= max(values)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_value_that_is_not_finite_is_refused(bad):
    with pytest.raises(InpaintError, match="values must be finite; 1 of 3 are not"):
        mean_interval([0.0, bad, 1.0])


def test_paired_difference_sees_what_the_scatter_of_items_hides():
    rng = np.random.default_rng(0)
    items = rng.normal(0.0, 10.0, size=50)
    a, b = items + 0.2 + rng.normal(0.0, 0.1, size=50), items
    value, low, high = paired_difference(a, b)
    assert value == pytest.approx((a - b).mean()) and 0 < low < 0.2 < high < 0.3
    assert mean_interval(a).low < mean_interval(b).high
    assert paired_difference(b, a).value == -value


def test_unpaired_values_are_refused():
    with pytest.raises(InpaintError, match=r"paired values must be of one length; got \(2,\) and \(3,\)"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])


def test_missing_pair_is_refused():
    with pytest.raises(InpaintError, match="values must be finite; 1 of 2 are not"):
        paired_difference([math.inf, 2.0], [1.0, 2.0])


# Relative differences -----------------------------------------------------------------------------------


def test_relative_difference_is_a_ratio_of_means_and_unit_free():
    rng = np.random.default_rng(0)
    b = rng.gamma(4.0, 0.25, size=30)
    a = 1.2 * b + rng.normal(0.0, 0.05, size=30)
    found = relative_difference(a, b, b)
    assert found.value == pytest.approx(a.mean() / b.mean() - 1) and found.low < 0.2 < found.high
    assert relative_difference(1000 * a, 1000 * b, 1000 * b) == pytest.approx(found)
    assert relative_difference(b, a, b).value == -found.value
    assert relative_difference(a, b, b) == found != relative_difference(a, b, b, seed=1)


def test_relative_difference_lets_the_divisor_vary_with_its_pairs():
    """Faces that differ much, but all by about a fifth: only the fixed divisor's interval is as wide as the faces."""
    rng = np.random.default_rng(0)
    b = rng.gamma(1.0, 1.0, size=40) + 0.01
    a = b * (1.2 + 0.01 * rng.normal(size=40))
    _, low, high = relative_difference(a, b, b)
    fixed = paired_difference(a / b.mean(), b / b.mean())
    assert 0.19 < low < 0.2 < high < 0.21 and high - low < 0.1 * (fixed.high - fixed.low)


def test_relative_difference_covers_the_ratio_about_95_times_in_100():
    rng, covered = np.random.default_rng(2), []
    for _ in range(200):
        base = rng.gamma(4.0, 0.25, size=40)
        _, low, high = relative_difference(rng.normal(0.5, 0.3, size=40), np.zeros(40), base, resamples=300)
        covered.append(low <= 0.5 <= high)
    assert 0.90 <= np.mean(covered) <= 0.985


@pytest.mark.parametrize(
    ("a", "b", "base", "expected"),
    [
        ([3.0], [1.0], [4.0], (0.5, -math.inf, math.inf)),
        ([1.0, 2.0, 6.0], [0.5, 1.0, 3.0], [0.5, 1.0, 3.0], (1.0, 1.0, 1.0)),  # every pair by the same fraction
        ([0.3, 0.3], [0.1, 0.1], [0.1, 0.1], (2.0, 2.0, 2.0)),
        ([1.0, 2.0], [1.0, 2.0], [1.0, 5.0], (0.0, 0.0, 0.0)),
    ],
)
def test_degenerate_relative_differences(a, b, base, expected):
    assert relative_difference(a, b, base) == pytest.approx(expected)


def test_relative_difference_of_nothing_is_everything():
    value, low, high = relative_difference([], [], [])
    assert math.isnan(value) and (low, high) == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("a", "base", "message"),
    [
        ([1.0], [1.0, 1.0], "paired values must be of one length"),
        ([1.0, 2.0], [1.0], r"base must have a value for each pair; got \(1,\) for \(2,\)"),
        ([1.0, math.nan], [1.0, 1.0], "values must be finite; 1 of 4 are not"),
        ([1.0, 2.0], [math.inf, 1.0], "values must be finite; 1 of 4 are not"),
        ([1.0, 2.0], [0.0, 1.0], "base must be above 0, it divides; 1 of 2 values are not"),
    ],
)
def test_wrong_relative_differences_are_refused(a, base, message):
    with pytest.raises(InpaintError, match=message):
        relative_difference(a, [1.0, 1.0], base)


# Paired comparisons -------------------------------------------------------------------------------------


def test_effect_size_is_the_mean_difference_over_its_deviation():
    assert effect_size([2.0, 4.0, 9.0], [1.0, 1.0, 4.0]) == pytest.approx(3.0 / 2.0)  # differences 1, 3, 5
    assert effect_size([1.0, 1.0, 4.0], [2.0, 4.0, 9.0]) == pytest.approx(-3.0 / 2.0)


@pytest.mark.parametrize(("by", "expected"), [(0.0, 0.0), (0.5, math.inf), (-0.1, -math.inf)])
def test_effect_size_of_differences_all_alike(by, expected):
    x = np.array([0.1, 0.2, 0.7])
    assert effect_size(x + by, x) == expected


def test_paired_test_is_exact_for_few_pairs():
    differences = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert paired_test(differences, np.zeros(6)) == pytest.approx(2 / 2**6)
    assert paired_test(np.zeros(6), differences) == pytest.approx(2 / 2**6)


def test_paired_test_finds_a_shift_that_the_scatter_of_items_hides_and_none_where_there_is_none():
    rng = np.random.default_rng(0)
    items = rng.normal(0.0, 10.0, size=100)
    a, b = items + rng.normal(0.1, 0.1, size=100), items
    assert paired_test(a, b) < 1e-6 < 0.05 < scipy.stats.mannwhitneyu(a, b).pvalue
    below = [paired_test(rng.normal(size=20), rng.normal(size=20)) < 0.05 for _ in range(400)]
    assert np.mean(below) == pytest.approx(0.05, abs=0.03)


@pytest.mark.parametrize("n", [1, 5, 100])
def test_paired_test_of_equal_values_is_1(n):
    assert paired_test(np.arange(n), np.arange(n)) == 1.0


@pytest.mark.parametrize("function", [effect_size, paired_test])
@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1.0, 2.0], [1.0], "paired values must be of one length"),
        ([], [], r"paired values must be at least \d; got 0"),
        ([1.0, math.nan, 2.0], [1.0, 1.0, 1.0], "values must be finite; 1 of 3 are not"),
    ],
)
def test_wrong_pairs_are_refused(function, a, b, message):
    with pytest.raises(InpaintError, match=message):
        function(a, b)


def test_interval_reads_well():
    assert str(Interval(0.12345, -0.5, 1234.5)) == "0.123 [-0.5, 1.23e+03]"
