"""How the fillings of one hole spread: variance by source, distances, clusters, and where the truth lies among them."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from torch import Tensor

from .checks import InpaintError, check_finite, check_mask
from .features import Percept, layer_masks, weighted_sum

__all__ = ["Shares", "chance", "decompose", "distinct", "hole_pixels", "inside", "mean_distance", "nominal",
           "outlyingness", "pairwise", "variance"]  # fmt: skip


class Shares(NamedTuple):
    """Shares of the total sum of squares, which sum to 1: of each factor, and of what neither explains alone."""

    a: float
    b: float
    interaction: float


def hole_pixels(images: Tensor, mask: Tensor) -> Tensor:
    """Returns the values in the hole of images (..., 3, H, W) under one mask (1, 1, H, W), as (..., 3 P)."""
    return images.flatten(-3)[..., (mask[0] > 0.5).expand(3, -1, -1).flatten()]


def _levels(name: str, values: Tensor, axes: int) -> Tensor:
    if values.ndim <= axes or min(values.shape[:axes]) < 2:
        raise InpaintError(
            f"{name} must have at least 2 levels on each of the first {axes} axes and pixels after them; "
            f"got shape {tuple(values.shape)}"
        )
    check_finite(name, values)
    return values.double().flatten(axes)


def variance(values: Tensor) -> float:
    """Returns the variance over the levels of one factor, (L, pixels...), unbiased, averaged over the pixels.

    Raises:
        InpaintError: for fewer than 2 levels, or values that are not finite.
    """
    return float(_levels("values", values, 1).var(dim=0).mean())


def decompose(values: Tensor) -> Shares:
    """Returns how a two-way table of pictures, (A, B, pixels...), divides its sum of squares.

    .. math:: \\sum_{ab} (y_{ab} - \\bar y)^2 = B \\sum_a (\\bar y_a - \\bar y)^2 + A \\sum_b (\\bar y_b - \\bar y)^2
              + \\sum_{ab} (y_{ab} - \\bar y_a - \\bar y_b + \\bar y)^2

    summed over the pixels; every share is divided by the left side. The last one holds the interaction of the two
    factors (with one value a cell nothing tells it from a residual). Effects that add up have none.
    Source: analysis of variance of two crossed factors (Fisher 1925).

    Raises:
        InpaintError: for fewer than 2 levels of a factor, values that are not finite, or values all alike.
    """
    y = _levels("values", values, 2)
    of_a, of_b, mean = y.mean(dim=1, keepdim=True), y.mean(dim=0, keepdim=True), y.mean(dim=(0, 1), keepdim=True)
    total = float((y - mean).square().sum())
    if total == 0.0:
        raise InpaintError("values must differ between levels, for there is no variance to divide; they are all alike")
    parts = ((of_a - mean).expand_as(y), (of_b - mean).expand_as(y), y - of_a - of_b + mean)
    return Shares(*(float(part.square().sum()) / total for part in parts))


def chance(a: int, b: int) -> Shares:
    """Returns the shares that independent values of one variance have on average: the degrees of freedom, of all.

    Example:
        >>> chance(3, 2)
        Shares(a=0.4, b=0.2, interaction=0.4)
    """
    return Shares((a - 1) / (a * b - 1), (b - 1) / (a * b - 1), (a - 1) * (b - 1) / (a * b - 1))


@torch.no_grad()
def pairwise(images: Tensor, mask: Tensor, judge: Percept) -> np.ndarray:
    """Returns hole LPIPS between all pairs of S composites of one face, (S, S), symmetric, with zeros in its diagonal.

    Args:
        images: (S, 3, H, W), S at least 2, clamped to [-1, 1].
        mask: (1, 1, H, W), 1 = hole.
        judge: a network that no objective used.

    Raises:
        InpaintError: for other shapes, a single image, or values that are not finite.
    """
    if images.ndim != 4 or images.shape[1] != 3 or len(images) < 2:
        raise InpaintError(f"images must have shape (S >= 2, 3, H, W); got {tuple(images.shape)}")
    check_finite("images", images)
    check_mask("mask", mask, like=images[:1])
    images = images.to(judge.device)
    taps = judge.like(images).taps(images.clamp(-1, 1))
    first, second = (list(side) for side in zip(*combinations(range(len(images)), 2), strict=True))
    maps = judge.distances([f[first] for f in taps], [f[second] for f in taps])
    values = weighted_sum(maps, layer_masks(mask.to(images), [d.shape[2:] for d in maps]))
    return squareform(values.double().cpu().numpy())


def mean_distance(distances: np.ndarray) -> np.ndarray:
    """Returns each one's mean distance to the others, (S,), of a matrix of :func:`pairwise`."""
    return distances.sum(axis=1) / (len(distances) - 1)


def distinct(distances: np.ndarray, least: float) -> int:
    """Returns the number of different fillings: clusters under single linkage, cut at the distance ``least``.

    Two fillings that are at most ``least`` apart, directly or by way of others, count as the same.
    """
    tree = linkage(squareform(distances), "single")
    return int(fcluster(tree, least, criterion="distance").max())


def inside(samples: Tensor, truth: Tensor) -> float:
    """Returns the share of values of ``truth`` (P,) that lie between the lowest and highest of ``samples`` (S, P)."""
    return float(((truth >= samples.amin(dim=0)) & (truth <= samples.amax(dim=0))).double().mean())


def nominal(samples: int) -> float:
    """Returns what :func:`inside` is on average if truth and ``samples`` values are exchangeable draws.

    Among S + 1 of them, the truth is neither lowest nor highest with probability (S - 1) / (S + 1).
    """
    return (samples - 1) / (samples + 1)


def outlyingness(distances: np.ndarray) -> float:
    """Returns how many samples lie closer to the others than the truth does, as a share of them in [0, 1].

    Where truth and samples are exchangeable this is uniform, with mean 0.5; at 1 the truth is the odd one out.

    Args:
        distances: (S + 1, S + 1), of :func:`pairwise`; the first one is the truth.
    """
    mean = mean_distance(distances)
    return float((mean[1:] < mean[0]).mean())
