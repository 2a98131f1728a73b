"""Distances of feature sets against closed forms, loops and simulated coverage."""

import numpy as np
import pytest

from inpaintlib.checks import InpaintError
from inpaintlib.distances import frechet, gaussian_frechet, kernel_distance, prdc, uids


def normal(n: int, d: int = 4, *, seed: int = 0, mean: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return mean + scale * np.random.default_rng(seed).normal(size=(n, d))


# Kernel distance --------------------------------------------------------------------------------------


def test_kernel_distance_equals_the_unbiased_estimate_in_loops():
    p, q = normal(6), normal(9, seed=1, mean=0.5)
    kernel = lambda u, v: (u @ v / 4 + 1.0) ** 3  # noqa: E731
    within = [np.mean([kernel(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j]) for s in (p, q)]
    expected = sum(within) - 2.0 * np.mean([kernel(u, v) for u in p for v in q])
    value, low, high = kernel_distance(p, q)
    assert value == pytest.approx(expected) and low < value < high
    assert kernel_distance(q, p).value == pytest.approx(expected)


def test_interval_of_two_halves_of_one_set_contains_0():
    found = [kernel_distance(*np.split(normal(100, seed=seed), 2)) for seed in range(20)]
    assert sum(low < 0 < high for _, low, high in found) >= 19
    assert abs(np.mean([value for value, _, _ in found])) < 0.1


def test_interval_of_two_different_sets_covers_their_distance_and_shrinks_with_their_size():
    draw = lambda n, seed: (normal(n, seed=seed), normal(n, seed=1000 + seed, mean=0.5))  # noqa: E731
    truth = np.mean([kernel_distance(*draw(500, seed)).value for seed in range(20)])
    found = [kernel_distance(*draw(40, 50 + seed)) for seed in range(200)]
    assert 0.88 <= np.mean([low <= truth <= high for _, low, high in found]) <= 0.99
    width = lambda interval: interval.high - interval.low  # noqa: E731
    assert width(kernel_distance(*draw(500, 0))) < 0.5 * np.mean([width(x) for x in found])


def test_few_images_have_a_distance_without_an_interval():
    value, low, high = kernel_distance(normal(3), normal(9, seed=1))
    assert np.isfinite(value) and (low, high) == (-np.inf, np.inf)
    assert np.isfinite(kernel_distance(normal(4), normal(4, seed=1))).all()


@pytest.mark.parametrize("function", [kernel_distance, lambda a, b, seed=0: frechet(a, b, dims=2, seed=seed)])
def test_distance_depends_on_its_seed_alone(function):
    a, b = normal(30), normal(40, seed=1)
    np.random.seed(0)  # noqa: NPY002 (the state that must not be touched)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert function(a, b) == function(a, b) != function(a, b, seed=1)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


# Fréchet distance -------------------------------------------------------------------------------------


def test_frechet_distance_of_diagonal_gaussians_is_the_sum_over_the_axes():
    means, deviations = np.array([[1.0, 0.0, -2.0], [0.5, 0.0, 3.0]]), np.array([[1.0, 2.0, 0.5], [3.0, 2.0, 0.1]])
    expected = ((means[0] - means[1]) ** 2 + (deviations[0] - deviations[1]) ** 2).sum()
    cov1, cov2 = (np.diag(s**2) for s in deviations)
    assert gaussian_frechet(means[0], cov1, means[1], cov2) == pytest.approx(expected)


def test_frechet_distance_of_gaussians_that_do_not_commute_has_its_closed_form_in_two_dimensions():
    rng = np.random.default_rng(0)
    cov1, cov2 = (x @ x.T for x in rng.normal(size=(2, 2, 2)))
    # For 2 x 2, tr(sqrt(P)) = sqrt(tr(P) + 2 sqrt(det(P))), with P = C1 C2.
    product = cov1 @ cov2
    cross = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    expected = np.trace(cov1) + np.trace(cov2) - 2 * cross
    assert gaussian_frechet(np.zeros(2), cov1, np.zeros(2), cov2) == pytest.approx(expected)
    assert gaussian_frechet(np.zeros(2), cov2, np.zeros(2), cov1) == pytest.approx(expected)


def test_frechet_distance_of_equal_or_flat_gaussians_is_0():
    x = normal(50)
    assert gaussian_frechet(x[0], np.cov(x.T), x[0], np.cov(x.T)) == pytest.approx(0.0, abs=1e-9)
    flat = np.outer(x[0], x[0])  # of rank 1, eigenvalues of which rounding makes negative
    assert gaussian_frechet(x[0], flat, x[0], flat) == pytest.approx(0.0, abs=1e-6)


def test_frechet_distance_of_samples_nears_that_of_their_distributions():
    a, b = normal(4000), normal(4000, seed=1, mean=1.0, scale=2.0)
    expected = 4 * 1.0 + 4 * (2.0 - 1.0) ** 2
    value, low, high = frechet(a, b)
    assert value == pytest.approx(expected, rel=0.1) and low < expected < high
    assert frechet(a, a).value == pytest.approx(0.0, abs=1e-9)


def test_frechet_distance_looks_at_the_reference_s_main_axes():
    scales = np.array([5.0, 3.0, 0.5, 0.1])
    reference, wide = normal(500) * scales, normal(500, seed=1) * scales
    other = wide * np.array([1.0, 1.0, 20.0, 1.0])  # off the reference's two main axes
    assert frechet(other, reference, dims=2).value == pytest.approx(frechet(wide, reference, dims=2).value, abs=0.1)
    assert frechet(other, reference, dims=3).value > 80


def test_frechet_distance_has_a_bias_that_the_same_number_of_images_shares():
    few = [frechet(normal(20, seed=s), normal(20, seed=100 + s)).value for s in range(20)]
    larger = [frechet(normal(20, seed=s), normal(500, seed=100 + s)).value for s in range(20)]
    many = [frechet(normal(200, seed=s), normal(200, seed=100 + s)).value for s in range(20)]
    assert np.mean(few) > 4 * np.mean(many) > 0
    assert np.mean(larger) == pytest.approx(np.mean(few), rel=0.3)  # of the larger set only as many count
    low = frechet(normal(20), normal(20, seed=1)).low
    assert low >= 0


def test_frechet_distance_works_in_one_dimension():
    assert frechet(normal(2000, 1, mean=2.0), normal(2000, 1, seed=1)).value == pytest.approx(4.0, rel=0.1)


# Precision and recall ---------------------------------------------------------------------------------


def test_identical_sets_are_precise_and_complete():
    x = normal(40)
    found = prdc(x, x.copy())
    assert found.precision == found.recall == found.coverage == (1.0, 1.0, 1.0)
    assert found.density.value >= 1.0


def test_sets_far_apart_share_nothing():
    assert all(x == (0.0, 0.0, 0.0) for x in prdc(normal(40), normal(30, seed=1, mean=100.0)))


def test_a_set_within_one_of_two_clusters_is_precise_but_not_complete():
    real = np.concatenate([normal(60), normal(60, seed=1, mean=50.0)])
    found = prdc(real, normal(120, seed=2))
    assert found.precision.value > 0.9 and found.density.value > 0.7
    assert found.recall.value == pytest.approx(0.5, abs=0.05) and found.coverage.value == pytest.approx(0.5, abs=0.05)
    swapped = prdc(normal(120, seed=2), real)
    assert (swapped.precision.value, swapped.recall.value) == (found.recall.value, found.precision.value)


def test_counts_on_a_line_are_those_by_hand():
    real, fake = np.array([[0.0], [1.0], [3.0]]), np.array([[0.5], [2.0], [9.0]])
    # k = 1: real balls of radius 1, 1, 2 and fake balls of radius 1.5, 1.5, 7.
    found = prdc(real, fake, k=1)
    assert found.precision.value == pytest.approx(2 / 3)  # 0.5 and 2.0 lie in real balls, 9.0 in none
    assert found.recall.value == pytest.approx(1.0)  # 0 and 1 in the first fake ball, 3 in the second
    assert found.density.value == pytest.approx((2 + 2 + 0) / 3)  # 2.0 on the edge of one
    assert found.coverage.value == pytest.approx(1.0)
    # k = 2: radii 3, 2 and 3 hold 0.5 and 2.0 each.
    assert prdc(real, fake, k=2).density.value == pytest.approx((3 + 3 + 0) / (2 * 3))


# Discriminative scores --------------------------------------------------------------------------------


def test_sets_of_one_distribution_cannot_be_told_apart():
    found = [uids(normal(60, seed=s), normal(60, seed=100 + s)) for s in range(10)]
    assert np.mean([x.u_ids.value for x in found]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([x.p_ids.value for x in found]) == pytest.approx(0.5, abs=0.05)
    assert sum(x.u_ids.low <= 0.5 <= x.u_ids.high for x in found) >= 8 and {x.n for x in found} == {60}


def test_identical_sets_are_at_chance_exactly():
    x = normal(30)
    found = uids(x, x.copy())
    assert found.u_ids.value == 0.5 and found.p_ids.value == 0.5


def test_sets_that_a_plane_separates_are_told_apart():
    found = uids(normal(50), normal(50, seed=1, mean=20.0))
    assert found.u_ids == (0.0, 0.0, 0.0) and found.p_ids == (0.0, 0.0, 0.0)


def test_few_images_in_many_dimensions_are_not_told_apart_by_heart():
    # A classifier scored on its own training set separates these perfectly (U-IDS 0).
    found = [uids(normal(20, 200, seed=s), normal(20, 200, seed=100 + s)).u_ids.value for s in range(10)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.08)


def test_pairs_stay_in_one_fold():
    # Fakes differ from their targets by less than targets among each other; with a fake's own target in the training
    # set, and the fake itself held out, the fake would be taken for real.
    real = normal(40, 100, scale=3.0)
    found = uids(real, real + normal(40, 100, seed=1, scale=1e-3))
    assert found.u_ids.value == pytest.approx(0.5, abs=0.12)


def test_discriminative_scores_depend_on_their_seed_alone():
    a, b = normal(40, 20), normal(40, 20, seed=1, mean=0.2)
    assert uids(a, b) == uids(a, b) != uids(a, b, seed=1)


# Wrong input ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kernel_distance(normal(1), normal(9)), "a must hold at least 2 images; got 1"),
        (
            lambda: kernel_distance(normal(9), normal(9, 5)),
            r"a and b must be features \(N, D\) of one network; got \(9,",
        ),
        (lambda: kernel_distance(normal(9), np.zeros((9, 3, 4, 4))), r"a and b must be features \(N, D\) of one net"),
        (lambda: kernel_distance(normal(9), np.nan * normal(9)), "b must be finite; 36 of 36 values are not"),
        (lambda: frechet(normal(8), normal(99)), "in 4 dimensions needs more than 8 images a set; got 8"),
        (lambda: frechet(normal(99), normal(5), dims=3), "in 3 dimensions needs more than 6 images a set; got 5"),
        (lambda: frechet(normal(99), normal(99), dims=0), "dims must be at least 1; got 0"),
        (lambda: prdc(normal(9), normal(5)), "fake must hold at least 6 images; got 5"),
        (lambda: prdc(normal(9), normal(9), k=0), "k must be at least 1; got 0"),
        (lambda: uids(normal(9), normal(10)), "real must hold at least 10 images; got 9"),
        (lambda: uids(normal(11), normal(10)), "real and fake must be pairs; got 11 and 10 images"),
        (lambda: uids(normal(11), normal(11), folds=1), "folds must be at least 2; got 1"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(InpaintError, match=message):
        call()
