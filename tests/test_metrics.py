"""Scores by region against closed forms and loops, intervals against their coverage, distances of sets."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchmetrics.functional.image import structural_similarity_index_measure

from inpaintlib.checks import InpaintError
from inpaintlib.features import Percept, lpips
from inpaintlib.images import composite
from inpaintlib.metrics import (
    BAND_PX,
    REGIONS,
    Interval,
    kid,
    l1,
    mean_interval,
    paired_difference,
    psnr,
    region_weights,
    regional,
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


def test_interval_reads_well():
    assert str(Interval(0.12345, -0.5, 1234.5)) == "0.123 [-0.5, 1.23e+03]"


# Sets of images ---------------------------------------------------------------------------------------

KID = {"subsets": 20, "subset_size": 30, "batch": 25}


def test_kid_tells_two_sets_from_two_halves_of_one():
    noise, other, judge = pictures(120, 16), 0.3 * pictures(60, 16, seed=1) + 0.5, tiny_percept()
    same, different = kid(noise[:60], noise[60:], judge=judge, **KID), kid(noise[:60], other, judge=judge, **KID)
    assert same.low < 0 < same.high and different.low > 0
    assert different.value > 20 * abs(same.value) and different.low <= different.value <= different.high


def test_kid_equals_the_unbiased_estimate_in_loops():
    a, b, judge = pictures(6, 16), 0.5 * pictures(6, 16, seed=1), tiny_percept()
    p, q = (judge.pooled(x).double().numpy() for x in (a, b))
    kernel = lambda u, v: (u @ v / p.shape[1] + 1.0) ** 3  # noqa: E731
    within = [kernel(s[i], s[j]) for s in (p, q) for i in range(6) for j in range(6) if i != j]
    between = [kernel(u, v) for u in p for v in q]
    expected = sum(within) / 30 - 2.0 * np.mean(between)
    # A subset of all images leaves nothing to draw, so every subset gives the same number.
    value, low, high = kid(a, b, judge=judge, subsets=3, subset_size=6)
    assert value == pytest.approx(expected, rel=1e-3, abs=1e-6) and high - low < 1e-5


def test_kid_depends_on_its_seed_alone_and_leaves_the_global_generator():
    a, b, judge = pictures(50, 16), pictures(50, 16, seed=1), tiny_percept()
    before = torch.get_rng_state()
    first = kid(a, b, judge=judge, **KID)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert kid(a, b, judge=judge, **KID) == first != kid(a, b, judge=judge, seed=1, **KID)
    assert kid(a, b, judge=judge, **KID | {"batch": 7}).value == pytest.approx(first.value, rel=1e-3, abs=1e-7)


@pytest.mark.parametrize(("n", "m", "name"), [(29, 30, "images"), (30, 29, "reference")])
def test_kid_of_too_few_images_is_refused(n, m, name):
    with pytest.raises(InpaintError, match=f"{name} must hold at least subset_size = 30 images; got 29"):
        kid(pictures(n, 16), pictures(m, 16), judge=Percept("tiny", lambda x: [x]), **KID)
