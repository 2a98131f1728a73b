"""How good an inpainting is: by region, with intervals, and against sets of images.

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

import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.stats
import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure
from torchmetrics.image.kid import KernelInceptionDistance

from .checks import InpaintError, check_finite, check_image, check_mask
from .features import Percept, load_percept, lpips
from .masks import border_band

__all__ = ["Interval", "REGIONS", "kid", "l1", "mean_interval", "paired_difference", "psnr", "region_weights",
           "regional", "ssim"]  # fmt: skip

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
    target, image = target.clamp(-1, 1), image.to(target).clamp(-1, 1)
    mask = mask.to(target).expand(len(target), -1, -1, -1)
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
    if np.ptp(x) <= 1e-9 * np.abs(x).max():  # alike but for rounding: a bootstrap of nothing is no number
        return Interval(float(x[0]), float(x[0]), float(x[0]))
    rng = np.random.default_rng(seed)
    result = scipy.stats.bootstrap((x,), np.mean, n_resamples=resamples, rng=rng).confidence_interval
    return Interval(float(x.mean()), float(result.low), float(result.high))


def paired_difference(a, b, *, seed: int = 0, resamples: int = 2000) -> Interval:
    """Returns the mean of ``a - b`` over paired values with its 95 % bootstrap interval over the pairs.

    Raises InpaintError if the two are not of one length.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape:
        raise InpaintError(f"paired values must be of one length; got {a.shape} and {b.shape}")
    return mean_interval(a - b, seed=seed, resamples=resamples)


class _Pooled(torch.nn.Module):
    """The judge's features in the form that torchmetrics asks of an extractor."""

    def __init__(self, percept: Percept):
        super().__init__()
        self.percept = percept

    def forward(self, x: Tensor) -> Tensor:
        return self.percept.pooled(x)


def kid(images: Tensor, reference: Tensor, *, judge: Percept | None = None, subsets: int = 100,
        subset_size: int = 200, seed: int = 0, device: torch.device | str = "cpu",
        batch: int = 100) -> Interval:  # fmt: skip
    """Returns the kernel distance between two sets of images in the judge's features.

    Source: Binkowski et al. 2018, the unbiased estimate with a cubic polynomial kernel, by torchmetrics;
    with ``percept-judge``'s features in place of Inception's, so numbers compare only with each other.
    The interval spans the central 95 % of the subsets' estimates (normal approximation).

    Args:
        images, reference: (N, 3, H, W) in [-1, 1]; at least ``subset_size`` of each.
        judge: None = the shipped ``percept-judge``.

    Raises:
        InpaintError: for fewer images than a subset.
    """
    for name, x in (("images", images), ("reference", reference)):
        if len(x) < subset_size:
            raise InpaintError(f"{name} must hold at least subset_size = {subset_size} images; got {len(x)}")
    judge = (judge or load_percept("percept-judge")).like(torch.empty(0, device=device))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*will save all extracted features in buffer.*")
        metric = KernelInceptionDistance(feature=_Pooled(judge), subsets=subsets, subset_size=subset_size)
    metric = metric.to(device)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        # torchmetrics draws its subsets from the global generator, of the CPU alone.
        torch.default_generator.manual_seed(seed)
        for part in images.split(batch):
            metric.update(part.to(device), real=False)
        for part in reference.split(batch):
            metric.update(part.to(device), real=True)
        mean, std = (float(v) for v in metric.compute())
    return Interval(mean, mean - 1.96 * std, mean + 1.96 * std)
