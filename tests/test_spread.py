"""Spread of fillings: the sum-of-squares identity, distances, clusters and coverage by known answers."""

import numpy as np
import pytest
import torch

from inpaintlib.checks import InpaintError
from inpaintlib.features import lpips
from inpaintlib.spread import (
    chance,
    decompose,
    distinct,
    hole_pixels,
    inside,
    mean_distance,
    nominal,
    outlyingness,
    pairwise,
    variance,
)

from .tiny import pictures, square_hole, tiny_percept


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_hole_pixels_are_the_channels_of_the_hidden_pixels():
    images = torch.arange(2 * 3 * 4, dtype=torch.float32).view(1, 2, 3, 2, 2)
    mask = torch.tensor([[[[0.0, 1.0], [0.0, 0.0]]]])
    assert hole_pixels(images, mask).tolist() == [[[1.0, 5.0, 9.0], [13.0, 17.0, 21.0]]]


def test_the_variance_is_unbiased_and_averaged_over_pixels():
    assert variance(torch.tensor([[0.0, 1.0], [2.0, 1.0]])) == 1.0  # 2 and 0
    assert variance(normal(4, 50_000)) == pytest.approx(1.0, abs=0.02)
    with pytest.raises(InpaintError, match="at least 2 levels"):
        variance(torch.zeros(1, 5))
    with pytest.raises(InpaintError, match="finite"):
        variance(torch.tensor([[0.0], [torch.nan]]))


def test_the_shares_are_the_textbook_sums_of_squares():
    y = normal(3, 4, 5, seed=1)
    a, b, mean = y.mean(1), y.mean(0), y.mean((0, 1))
    total = (y - mean).square().sum()
    shares = decompose(y)
    assert sum(shares) == pytest.approx(1.0, abs=1e-12)
    assert shares.a == pytest.approx(float(4 * (a - mean).square().sum() / total))
    assert shares.b == pytest.approx(float(3 * (b - mean).square().sum() / total))


def test_effects_that_add_up_have_no_interaction():
    a, b = normal(3, 1, 7), normal(1, 4, 7, seed=1)
    shares = decompose(a + b + 10.0)
    assert shares.interaction == pytest.approx(0.0, abs=1e-12) and shares.a + shares.b == pytest.approx(1.0)
    assert decompose(a.expand(3, 4, 7)) == pytest.approx((1.0, 0.0, 0.0))
    assert decompose(b.expand(3, 4, 7)) == pytest.approx((0.0, 1.0, 0.0))


def test_opposite_effects_are_all_interaction():
    shares = decompose(torch.tensor([[[1.0], [-1.0]], [[-1.0], [1.0]]]))
    assert shares == pytest.approx((0.0, 0.0, 1.0))


def test_exchanging_the_factors_exchanges_their_shares():
    y = normal(3, 4, 5)
    there, back = decompose(y), decompose(y.transpose(0, 1))
    assert (there.a, there.b, there.interaction) == pytest.approx((back.b, back.a, back.interaction))


def test_independent_values_have_the_shares_of_chance():
    assert decompose(normal(4, 3, 40_000)) == pytest.approx(chance(4, 3), abs=0.01)
    assert sum(chance(5, 2)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        (torch.zeros(2, 3, 4), "all alike"),
        (torch.zeros(1, 3, 4), "at least 2 levels"),
        (torch.zeros(2, 3), "at least 2 levels"),
        (torch.full((2, 2, 2), torch.inf), "finite"),
    ],
)
def test_what_cannot_be_decomposed_is_refused(values, fault):
    with pytest.raises(InpaintError, match=fault):
        decompose(values)


def test_pairwise_distances_are_hole_lpips():
    judge, images, mask = tiny_percept(), pictures(3, 16), square_hole(1, 16)
    found = pairwise(images, mask, judge)
    assert np.array_equal(found, found.T) and not found.diagonal().any()
    pairs = [float(lpips(judge, images[[a]], images[[b]], mask)) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert found[[0, 0, 1], [1, 2, 2]] == pytest.approx(pairs, rel=1e-5)
    assert mean_distance(found).mean() == pytest.approx(np.mean(pairs), rel=1e-5)


def test_equal_fillings_do_not_differ_and_copies_lower_the_mean_distance():
    judge, mask = tiny_percept(), square_hole(1, 16)
    a, b = pictures(2, 16).split(1)
    assert not pairwise(torch.cat([a, a, a]), mask.bool(), judge).any()
    two, four = (mean_distance(pairwise(torch.cat(x), mask, judge)).mean() for x in ([a, b], [a, a, b, b]))
    assert four == pytest.approx(two * 4 / 6, rel=1e-5)


@pytest.mark.parametrize(
    ("images", "fault"),
    [
        (pictures(1, 16), r"images must have shape \(S >= 2, 3, H, W\); got \(1, 3, 16, 16\)"),
        (pictures(2, 16)[:, :1], r"got \(2, 1, 16, 16\)"),
        (torch.nan * pictures(2, 16), "images must be finite"),
        (pictures(2, 8), "mask must fit the image's"),
    ],
)
def test_pairwise_refuses_other_images(images, fault):
    with pytest.raises(InpaintError, match=fault):
        pairwise(images, square_hole(1, 16), tiny_percept())


def line(*places: float) -> np.ndarray:
    x = np.array(places)
    return np.abs(x[:, None] - x)


def test_clusters_are_joined_by_way_of_others():
    distances = line(0.0, 1.0, 2.0, 10.0)
    assert [distinct(distances, least) for least in (0.5, 1.0, 7.9, 8.0)] == [4, 2, 2, 1]


def test_exchangeable_draws_cover_the_truth_at_the_nominal_rate():
    assert inside(normal(4, 50_000), normal(50_000, seed=1)) == pytest.approx(nominal(4), abs=0.01)
    assert inside(0.1 * normal(4, 50_000), normal(50_000, seed=1)) < 0.5 * nominal(4)
    assert inside(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([1.0, 1.5])) == 0.5
    assert nominal(3) == 0.5


def test_the_truth_is_odd_if_it_is_far_from_all():
    assert outlyingness(line(10.0, 0.0, 1.0, 2.0)) == 1.0
    assert outlyingness(line(1.0, 0.0, 2.0, 3.0)) == 0.0  # in the middle
    assert outlyingness(line(0.0, 1.0, 2.0, 8.0)) == pytest.approx(2 / 3)
