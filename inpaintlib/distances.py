"""Distances between two sets of features, with 95 % intervals.

Features are float arrays (N, D), a row an image, of one network for both sets (:mod:`inpaintlib.extractors`). The
intervals of KID and the Fréchet distance come from half samples (a delete-half jackknife, Shao & Wu 1989): the spread
of the estimate over random halves of both sets is about that of the whole estimate over new sets.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.decomposition import PCA
from sklearn.metrics import pairwise_distances
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.model_selection import KFold
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from .checks import InpaintError, check_integer
from .metrics import Interval, mean_interval

__all__ = ["Prdc", "Uids", "frechet", "gaussian_frechet", "kernel_distance", "prdc", "uids"]

SUBSETS = 100  # random halves for an interval


class Prdc(NamedTuple):
    """Precision, recall, density and coverage, each with its 95 % interval."""

    precision: Interval
    recall: Interval
    density: Interval
    coverage: Interval


class Uids(NamedTuple):
    """Unpaired and paired inception discriminative score, each with its 95 % interval, and the number of pairs."""

    u_ids: Interval
    p_ids: Interval
    n: int


def _check_features(least: int, **sets: np.ndarray) -> None:
    widths = {x.shape[-1] for x in sets.values()}
    for name, x in sets.items():
        if x.ndim != 2 or len(widths) > 1:
            shapes = " and ".join(str(s.shape) for s in sets.values())
            raise InpaintError(f"{' and '.join(sets)} must be features (N, D) of one network; got {shapes}")
        if len(x) < least:
            raise InpaintError(f"{name} must hold at least {least} images; got {len(x)}")
        if not np.isfinite(x).all():
            raise InpaintError(f"{name} must be finite; {int((~np.isfinite(x)).sum())} of {x.size} values are not")


def _around(value: float, of_halves: np.ndarray) -> Interval:
    margin = 1.96 * float(np.std(of_halves))
    return Interval(float(value), float(value) - margin, float(value) + margin)


def _halves(n: int, rng: np.random.Generator) -> np.ndarray:
    """Random halves as rows of 0 and 1, (SUBSETS, n)."""
    ranks = rng.random((SUBSETS, n)).argsort(axis=1)
    return (ranks < n // 2).astype(float)


def kernel_distance(a: np.ndarray, b: np.ndarray, *, seed: int = 0) -> Interval:
    """Returns the squared kernel distance (MMD) between two sets of features; unbiased, so it may be negative.

    Source: Binkowski et al. 2018, with the kernel k(x, y) = (x . y / D + 1)^3. With fewer than 4 images of a kind the
    interval is (-inf, inf).

    Args:
        a, b: (N, D) and (M, D), at least 2 of each.
        seed: of the halves that the interval comes from.

    Raises:
        InpaintError: for fewer images, or features of two networks.
    """
    _check_features(2, a=a, b=b)
    aa, bb, ab = (polynomial_kernel(x, y, degree=3, coef0=1) for x, y in ((a, a), (b, b), (a, b)))
    np.fill_diagonal(aa, 0.0)
    np.fill_diagonal(bb, 0.0)

    def estimate(s: np.ndarray, t: np.ndarray) -> np.ndarray:
        """The distance between the chosen images, for rows of 0 and 1."""
        n, m = s.sum(axis=1), t.sum(axis=1)
        within = ((s @ aa) * s).sum(axis=1) / (n * (n - 1)) + ((t @ bb) * t).sum(axis=1) / (m * (m - 1))
        return within - 2.0 * ((s @ ab) * t).sum(axis=1) / (n * m)

    value = float(estimate(np.ones((1, len(a))), np.ones((1, len(b))))[0])
    if min(len(a), len(b)) < 4:
        return Interval(value, -np.inf, np.inf)
    rng = np.random.default_rng(seed)
    return _around(value, estimate(_halves(len(a), rng), _halves(len(b), rng)))


def gaussian_frechet(mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray) -> float:
    """Returns the squared Fréchet distance of two normal distributions (Dowson & Landau 1982), at least 0.

    .. math:: |m_1 - m_2|^2 + \\mathrm{tr}(C_1 + C_2 - 2 (C_1^{1/2} C_2 C_1^{1/2})^{1/2})

    Args:
        mean1, mean2: (D,).
        cov1, cov2: (D, D), symmetric without negative eigenvalues.

    Example:
        >>> one = np.eye(2)
        >>> gaussian_frechet(np.zeros(2), one, np.array([3.0, 0.0]), 4 * one)
        11.0
    """
    values, vectors = np.linalg.eigh(cov1)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ cov2 @ root).clip(0)).sum()
    return max(0.0, float(np.sum((mean1 - mean2) ** 2) + np.trace(cov1) + np.trace(cov2) - 2.0 * cross))


def frechet(a: np.ndarray, b: np.ndarray, *, dims: int = 64, seed: int = 0) -> Interval:
    """Returns the Fréchet distance of two sets of features as normal distributions, in at most ``dims`` dimensions.

    Source: Heusel et al. 2017 (FID), after projection on the first ``dims`` principal components of ``b``: a
    covariance of more dimensions needs more images than a study of searches has. The estimate is too large by an
    amount that depends on the number of images; the interval does not hold that bias, so compare with the baseline of
    as many images.

    Args:
        a, b: (N, D) and (M, D), more than ``2 * min(dims, D)`` of each; b is the reference. Of the larger set a random
            part as large as the other counts.
        seed: of that part and of the halves that the interval comes from.

    Raises:
        InpaintError: for fewer images, or features of two networks.
    """
    check_integer("dims", dims, low=1)
    _check_features(2, a=a, b=b)
    dims, n = min(dims, b.shape[1]), min(len(a), len(b))
    if n <= 2 * dims:
        raise InpaintError(f"a Fréchet distance in {dims} dimensions needs more than {2 * dims} images a set; got {n}")
    rng = np.random.default_rng(seed)
    project = PCA(dims, svd_solver="full").fit(b).transform
    a, b = (project(x[np.sort(rng.permutation(len(x))[:n])]) for x in (a, b))

    def estimate(x: np.ndarray, y: np.ndarray) -> float:
        return gaussian_frechet(x.mean(axis=0), np.cov(x.T).reshape(dims, dims), y.mean(axis=0),
                                np.cov(y.T).reshape(dims, dims))  # fmt: skip

    halves = zip(_halves(n, rng) > 0, _halves(n, rng) > 0, strict=True)
    value, low, high = _around(estimate(a, b), np.array([estimate(a[s], b[t]) for s, t in halves]))
    return Interval(value, max(low, 0.0), high)


def prdc(real: np.ndarray, fake: np.ndarray, *, k: int = 5) -> Prdc:
    """Returns precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    Each image has a ball that reaches to its k-th nearest neighbour within its own set. Precision is the share of fakes
    in some real ball, recall the share of reals in some fake ball, density the number of real balls around a fake over
    k (may exceed 1), coverage the share of real balls that hold a fake. All depend on the number of images. The
    intervals are bootstraps over the images that are counted.

    Args:
        real, fake: features (N, D) and (M, D), more than k of each.

    Raises:
        InpaintError: for fewer images, or features of two networks.
    """
    check_integer("k", k, low=1)
    _check_features(k + 1, real=real, fake=fake)
    radii = [NearestNeighbors(n_neighbors=k).fit(x).kneighbors()[0][:, -1] for x in (real, fake)]
    apart = pairwise_distances(real, fake)
    in_real, in_fake = apart <= radii[0][:, None], apart <= radii[1][None]
    counts = (in_real.any(axis=0), in_fake.any(axis=1), in_real.sum(axis=0) / k, in_real.any(axis=1))
    return Prdc(*(mean_interval(x) for x in counts))


def uids(real: np.ndarray, fake: np.ndarray, *, folds: int = 5, seed: int = 0) -> Uids:
    """Returns U-IDS and P-IDS, how well a linear classifier tells fakes from real images that it has not seen.

    Source: Zhao et al. 2021 (CoModGAN), with held-out folds: scored on its own training set, as theirs, a classifier of
    few images tells all apart. A pair, an inpainting and its target, stays in one fold. U-IDS is the error (0.5: they
    cannot be told apart), P-IDS the share of pairs whose fake seems more real than its target (a tie counts half).
    The intervals are bootstraps over the pairs.

    Args:
        real, fake: features (N, D) of N pairs, at least two a fold.
        seed: of the folds.

    Raises:
        InpaintError: for fewer pairs, unpaired sets, or features of two networks.
    """
    check_integer("folds", folds, low=2)
    _check_features(2 * folds, real=real, fake=fake)
    if len(real) != len(fake):
        raise InpaintError(f"real and fake must be pairs; got {len(real)} and {len(fake)} images")
    seems = np.zeros((2, len(real)))  # evidence for being real: of reals, of fakes
    for train, test in KFold(folds, shuffle=True, random_state=seed).split(real):
        classifier = make_pipeline(StandardScaler(), LinearSVC(dual=False, random_state=seed))
        classifier.fit(np.concatenate([real[train], fake[train]]), np.repeat([1, 0], len(train)))
        seems[:, test] = [classifier.decision_function(x[test]) for x in (real, fake)]
    wrong = np.stack([seems[0] <= 0, seems[1] > 0]).mean(axis=0)
    ahead = np.sign(seems[1] - seems[0]) / 2 + 0.5
    return Uids(mean_interval(wrong, seed=seed), mean_interval(ahead, seed=seed), len(real))
