"""How good an inpainting is: by region, at the seam, and with intervals and paired comparisons.

Regions (:data:`REGIONS`): ``hole`` (M), ``known`` (K), ``band`` (pixels within 3 px of the hole's edge,
on both sides: the seam) and ``whole``.

**Hole LPIPS**, defined here once for the whole study: LPIPS of the *judge* between target and
*composite*, each layer's map of distances averaged with the area-downsampled M. The composite's known
pixels are the target's own, so what is measured is the filling in its surroundings. It is computed with
``percept-judge``, never with the network of the objective, and the judge's layer weights are uniform,
not calibrated on humans.

All differences are on the range [-1, 1]; images are clamped to it first, as a PNG would.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.stats
import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from .checks import InpaintError, check_finite, check_image, check_mask
from .features import Percept, lpips
from .masks import border_band

__all__ = ["Interval", "REGIONS", "effect_size", "l1", "mean_interval", "paired_difference", "paired_test", "psnr",
           "region_weights", "regional", "relative_difference", "seam", "ssim"]  # fmt: skip

REGIONS = ("hole", "known", "band", "whole")
BAND_PX = 3
RANGE = 2.0  # of pixel values, max - min


class Interval(NamedTuple):
    """An estimate with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


def region_weights(mask: Tensor) -> dict[str, Tensor]:
    """Returns region -> (N, 1, H, W) of 0 and 1, for a mask (N, 1, H, W) with 1 = hole."""
    return {"hole": mask, "known": 1 - mask, "band": border_band(mask, BAND_PX), "whole": torch.ones_like(mask)}


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean of (N, C, H, W) over channels and weighted pixels, (N,)."""
    return (values.mean(dim=1, keepdim=True) * weight).sum(dim=(1, 2, 3)) / weight.sum(dim=(1, 2, 3))


def l1(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Returns the mean absolute difference over the weighted pixels, (N,), in [0, 2]."""
    return _mean((a - b).abs(), weight)


def psnr(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Returns the peak signal-to-noise ratio over the weighted pixels, (N,), in dB; inf for equal images.

    .. math:: 10 \\log_{10}(2^2 / \\mathrm{MSE})

    Example:
        >>> x = torch.zeros(1, 3, 1, 1)
        >>> psnr(x, x + 0.2, torch.ones(1, 1, 1, 1))
        tensor([20.])
    """
    return 10.0 * torch.log10(RANGE**2 / _mean((a - b).square(), weight))


def ssim(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Returns the structural similarity averaged over the weighted pixels, (N,), in [-1, 1].

    Source: Wang et al. 2004, by torchmetrics (Gaussian window of 11 px, sigma 1.5); its map of local
    similarities is averaged here over a region. A window reaches 5 px beyond the region's edge.
    """
    _, local = structural_similarity_index_measure(a, b, data_range=RANGE, reduction="none", return_full_image=True)
    return _mean(local, weight)


def seam(image: Tensor, mask: Tensor) -> Tensor:
    """Returns how visible the hole's edge is, (N,): 1 as its surroundings, above 1 a seam, in (0, 255].

    The mean absolute difference of neighbouring pixels (above, beside) across the edge, one in the hole and one known,
    over that of neighbours on one side, both within 3 px of the edge. Both means are at least one level of 8 bits,
    less than which no file shows. An edge of the picture itself may lie on the hole's edge: compare with the target's
    own value.

    Args:
        image: (N, 3, H, W), the composite; clamped to [-1, 1].
        mask: (N or 1, 1, H, W), 1 = hole.

    Raises:
        InpaintError: for wrong shapes or values.
    """
    check_mask("mask", mask, like=image)
    check_finite("image", image)
    image = image.clamp(-1, 1)
    mask = mask.to(image).expand(len(image), -1, -1, -1)
    band = border_band(mask, BAND_PX)
    sums = image.new_zeros(4, len(image))
    for axis in (2, 3):
        (a, b), (m, n), (near, near_too) = (_neighbours(x, axis) for x in (image, mask, band))
        steps, edge = (a - b).abs().mean(dim=1, keepdim=True), (m - n).abs()
        side = near * near_too * (1 - edge)
        sums += torch.stack([steps * edge, edge, steps * side, side]).sum(dim=(2, 3, 4))
    across, n_across, beside, n_beside = sums
    level = RANGE / 255
    return (across / n_across).clamp_min(level) / (beside / n_beside.clamp_min(1)).clamp_min(level)


def _neighbours(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Each pixel and the next along an axis."""
    return x.narrow(axis, 0, x.shape[axis] - 1), x.narrow(axis, 1, x.shape[axis] - 1)


def regional(target: Tensor, image: Tensor, mask: Tensor, *, judge: Percept) -> pd.DataFrame:
    """Returns a tidy table, columns item, region, psnr, ssim, lpips, l1; four rows an item.

    Where image and target are equal, as in a composite's known region, psnr is infinite.

    Args:
        target: (N, 3, H, W) in [-1, 1].
        image: (N, 3, H, W), what is judged (the composite, or G(w)); clamped to [-1, 1].
        mask: (N or 1, 1, H, W), 1 = hole.
        judge: a network that no objective used.

    Raises:
        InpaintError: for wrong shapes or ranges.
    """
    check_image("target", target)
    check_mask("mask", mask, like=target)
    if image.shape != target.shape:
        raise InpaintError(f"image must fit the target's {tuple(target.shape)}; got {tuple(image.shape)}")
    check_finite("image", image)
    target = target.to(judge.device).clamp(-1, 1)
    image, mask = image.to(target).clamp(-1, 1), mask.to(target).expand(len(target), -1, -1, -1)
    tables = []
    judge = judge.like(target)
    with torch.no_grad():
        for region, weight in region_weights(mask).items():
            scores = {"psnr": psnr(image, target, weight), "ssim": ssim(image, target, weight),
                      "lpips": lpips(judge, image, target, weight), "l1": l1(image, target, weight)}  # fmt: skip
            table = pd.DataFrame({k: v.double().cpu().numpy() for k, v in scores.items()})
            table.insert(0, "region", region)
            table.insert(0, "item", range(len(target)))
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _alike(x: np.ndarray) -> bool:
    """Whether all values are the same but for rounding."""
    return bool(np.ptp(x) <= 1e-9 * np.abs(x).max())


def mean_interval(values, *, seed: int = 0, resamples: int = 2000) -> Interval:
    """Returns the mean of independent values with its 95 % bootstrap interval (BCa, Efron 1987, by scipy).

    With fewer than 2 values the interval is (-inf, inf); with all values alike it is that value.
    Raises InpaintError if a value is missing or infinite.
    """
    x = np.asarray(values, dtype=float)
    if not np.isfinite(x).all():
        raise InpaintError(f"values must be finite; {int((~np.isfinite(x)).sum())} of {x.size} are not")
    if len(x) < 2:
        return Interval(float(x.mean()) if len(x) else float("nan"), -np.inf, np.inf)
    if _alike(x):  # a bootstrap of nothing is no number
        return Interval(float(x[0]), float(x[0]), float(x[0]))
    rng = np.random.default_rng(seed)
    result = scipy.stats.bootstrap((x,), np.mean, n_resamples=resamples, rng=rng).confidence_interval
    return Interval(float(x.mean()), float(result.low), float(result.high))


def paired_difference(a, b, *, seed: int = 0, resamples: int = 2000) -> Interval:
    """Returns the mean of ``a - b`` over paired values with its 95 % bootstrap interval over the pairs.

    Raises InpaintError if the two are not of one length.
    """
    return mean_interval(_differences(a, b), seed=seed, resamples=resamples)


def relative_difference(a, b, base, *, seed: int = 0, resamples: int = 2000) -> Interval:
    """Returns ``mean(a - b) / mean(base)`` of paired values with its 95 % bootstrap interval (BCa, as the mean's).

    Pairs are drawn with their values of ``base``, so that the divisor varies as the differences do: an interval that is
    divided by one fixed mean of the same items would be too narrow or too wide.
    With fewer than 2 pairs the interval is (-inf, inf); if every ``a - b`` is the same fraction of ``base`` it is that.

    Args:
        base: as many values as pairs, above 0, for instance ``b``: then it is by what fraction ``a`` is above ``b``.

    Raises:
        InpaintError: for values that are not of one length, missing or infinite, or a ``base`` that is not above 0.
    """
    x, base = _differences(a, b), np.asarray(base, dtype=float)
    if x.shape != base.shape:
        raise InpaintError(f"base must have a value for each pair; got {base.shape} for {x.shape}")
    if not np.isfinite([x, base]).all():
        raise InpaintError(f"values must be finite; {int((~np.isfinite([x, base])).sum())} of {2 * x.size} are not")
    if not (base > 0).all():
        raise InpaintError(f"base must be above 0, it divides; {int((base <= 0).sum())} of {base.size} values are not")
    if len(x) < 2:
        return Interval(float(x[0] / base[0]) if len(x) else float("nan"), -np.inf, np.inf)
    ratio = float(x.mean() / base.mean())
    if (np.abs(x - ratio * base) <= 1e-9 * np.abs(x).max()).all():  # a bootstrap of nothing is no number
        return Interval(ratio, ratio, ratio)

    def statistic(x: np.ndarray, base: np.ndarray, axis: int) -> np.ndarray:
        return x.mean(axis=axis) / base.mean(axis=axis)

    rng = np.random.default_rng(seed)
    found = scipy.stats.bootstrap((x, base), statistic, paired=True, n_resamples=resamples, rng=rng)
    return Interval(ratio, float(found.confidence_interval.low), float(found.confidence_interval.high))


def _differences(a, b) -> np.ndarray:
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape:
        raise InpaintError(f"paired values must be of one length; got {a.shape} and {b.shape}")
    return a - b


def effect_size(a, b) -> float:
    """Returns Cohen's d_z of paired values: the mean of ``a - b`` over its standard deviation (Cohen 1988).

    Differences that are all alike (but for rounding) give 0 if they are 0, else inf with their sign.
    Raises InpaintError for fewer than 2 pairs, another length, or a value that is missing or infinite.
    """
    x = _finite_differences(a, b, least=2)
    if _alike(x):
        return float(np.sign(x[0]) * np.inf) if x[0] else 0.0
    return float(x.mean() / x.std(ddof=1))


def paired_test(a, b) -> float:
    """Returns the two-sided p value of Wilcoxon's signed-rank test on ``a - b`` (by scipy; exact for few values).

    1.0 if all differences are 0. It asks whether the differences lie symmetrically around 0; fewer than 6 pairs cannot
    give a p value below 0.05.
    Raises InpaintError for no pair, another length, or a value that is missing or infinite.
    """
    x = _finite_differences(a, b, least=1)
    return float(scipy.stats.wilcoxon(x).pvalue) if x.any() else 1.0


def _finite_differences(a, b, *, least: int) -> np.ndarray:
    x = _differences(a, b)
    if len(x) < least:
        raise InpaintError(f"paired values must be at least {least}; got {len(x)}")
    if not np.isfinite(x).all():
        raise InpaintError(f"values must be finite; {int((~np.isfinite(x)).sum())} of {x.size} are not")
    return x
