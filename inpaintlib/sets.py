"""How good sets of images are: distances from real images, and what a judge sees kept.

A set is judged by where a frozen network (:class:`~inpaintlib.extractors.Features`) puts its images. Numbers of
different networks, or of sets of different sizes, are not comparable: :func:`set_scores` gives each with its
*baseline*, what other real images score in place of the set.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .attributes import AttributeNetwork
from .checks import InpaintError
from .distances import Prdc, Uids, frechet, kernel_distance, prdc, uids
from .extractors import Features, features, of_percept
from .features import Percept, load_percept
from .metrics import Interval

__all__ = ["Features", "agreement", "agreement_chance", "features", "frechet", "kid", "prdc", "set_scores",
           "uids"]  # fmt: skip


def kid(images: Tensor, reference: Tensor, *, judge: Percept | None = None, seed: int = 0,
        device: torch.device | str | None = None, batch: int = 100) -> Interval:  # fmt: skip
    """Returns the :func:`kernel_distance` between two sets of images in a judge's features.

    KID with ``percept-judge``'s features in place of Inception's: numbers compare only with each other.

    Args:
        images, reference: (N, 3, H, W) and (M, 3, H, W) in [-1, 1]; at least 2 of each.
        judge: None = the shipped ``percept-judge``.
        device: None = where the judge is.

    Raises:
        InpaintError: for fewer images.
    """
    features = of_percept(judge or load_percept("percept-judge"), device=device, batch=batch)
    for name, x in (("images", images), ("reference", reference)):
        if len(x) < 2:
            raise InpaintError(f"{name} must hold at least 2 images; got {len(x)}")
    return kernel_distance(features(images), features(reference), seed=seed)


def set_scores(sets: Mapping[str, Tensor], reference: Tensor, *, features: Features, targets: Tensor | None = None,
               dims: int = 64, k: int = 5, folds: int = 5, seed: int = 0) -> pd.DataFrame:  # fmt: skip
    """Returns the distances of sets of images from a reference, a row a set and metric.

    The reference is split in two random halves. A set is compared with the first half; the *baseline* compares as many
    images of the second half with the first: it is what a perfect generator scores.

    Args:
        sets: name -> (N, 3, H, W) in [-1, 1].
        reference: (M, 3, H, W) of other images than the sets' targets, at least twice as many as a set: of a larger
            set only the first M // 2 images count.
        features: the network that judges.
        targets: (N, 3, H, W), image i is what every set's image i is an inpainting of; None = without u_ids and p_ids,
            which need pairs.
        dims: of :func:`frechet`.
        k: of :func:`prdc`.
        folds: of :func:`uids`.
        seed: of every draw.

    Returns:
        Columns images (the set's name), features (the network's), metric (kid, frechet, precision, recall, density,
        coverage, u_ids, p_ids), n (images of the set), value, low, high (95 % interval), and baseline, baseline_low,
        baseline_high. A metric that needs more images than n has NaN for its numbers.

    Raises:
        InpaintError: if there is no set, the reference holds fewer than 4 images, or targets are not a set's pairs.
    """
    if not sets:
        raise InpaintError("sets must hold at least one set of images; it is empty")
    if len(reference) < 4:
        raise InpaintError(f"reference must hold at least 4 images; got {len(reference)}")
    half = len(reference) // 2
    found = features(reference)[np.random.default_rng(seed).permutation(len(reference))]
    real, other = found[:half], found[half : 2 * half]
    paired = None if targets is None else features(targets)
    options = {"dims": dims, "k": k, "folds": folds, "seed": seed}
    rows, baselines = [], {}  # baselines by n: the sets are mostly of one size
    for name, images in sets.items():
        if targets is not None and len(images) != len(targets):
            raise InpaintError(f"targets must be as many as the images of {name!r}, {len(images)}; got {len(targets)}")
        n = min(len(images), half)
        scores = _scores(features(images[:n]), real, paired, **options)
        if n not in baselines:
            baselines[n] = _scores(other[:n], real, None if paired is None else real, **options)
        rows += [(name, features.name, metric, n, *scores[metric], *baselines[n][metric]) for metric in scores]
    columns = ["images", "features", "metric", "n", "value", "low", "high", "baseline", "baseline_low", "baseline_high"]
    return pd.DataFrame(rows, columns=columns)


def _scores(fake: np.ndarray, real: np.ndarray, paired: np.ndarray | None, *, dims: int, k: int, folds: int,
            seed: int) -> dict[str, Interval]:  # fmt: skip
    """Every metric of a set of features, NaN where it needs more of them."""
    n, nothing = len(fake), Interval(np.nan, np.nan, np.nan)
    found = {"kid": kernel_distance(fake, real, seed=seed) if n >= 4 else nothing}
    enough = n > 2 * min(dims, real.shape[1])
    found["frechet"] = frechet(fake, real, dims=dims, seed=seed) if enough else nothing
    found |= (prdc(real[:n], fake, k=k) if n > k else Prdc(*[nothing] * 4))._asdict()
    if paired is not None:
        decided = uids(paired[:n], fake, folds=folds, seed=seed) if n >= 2 * folds else Uids(nothing, nothing, n)
        found |= {"u_ids": decided.u_ids, "p_ids": decided.p_ids}
    return found


@torch.no_grad()
def _has(judge: AttributeNetwork, images: Tensor) -> Tensor:
    """Which attributes each image has in the judge's eyes, bool (N, A)."""
    here = next(judge.parameters()).device
    return (judge.evidence(judge(images.to(here).clamp(-1, 1))) > 0).cpu()


def agreement(judge: AttributeNetwork, images: Tensor, target: Tensor) -> Tensor:
    """Returns the share of attributes on which the judge decides alike for image and target, (N,) in [0, 1].

    Args:
        judge: a classifier that no objective used.
        images, target: (N, 3, H, W) in [-1, 1]; images are composites.

    Raises:
        InpaintError: if the two differ in shape.
    """
    if images.shape != target.shape:
        raise InpaintError(f"images must fit the target's {tuple(target.shape)}; got {tuple(images.shape)}")
    return (_has(judge, images) == _has(judge, target)).double().mean(dim=1)


def agreement_chance(judge: AttributeNetwork, target: Tensor) -> float:
    """Returns the chance baseline of :func:`agreement`: its mean between two different targets, in [0, 1].

    Raises InpaintError for a single target.
    """
    if len(target) < 2:
        raise InpaintError(f"target must hold at least 2 images to compare with each other; got {len(target)}")
    has, n = _has(judge, target).double(), len(target)
    alike = has @ has.T + (1 - has) @ (1 - has).T
    return float((alike.sum() - alike.trace()) / (n * (n - 1) * has.shape[1]))
