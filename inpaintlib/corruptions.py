"""What may happen to a picture or its mask before the search sees them, and how much the filling then changes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from .checks import InpaintError, check_image, check_integer, check_mask, check_number
from .experiments import at_mean_code
from .features import Percept
from .grid import Method, Progress, invert_all
from .images import composite, from_uint8, to_uint8
from .metrics import mean_interval
from .robustness import BASELINE, SEARCH, hole_scores
from .store import Store
from .stylegan2 import Generator

__all__ = ["corruption_scores", "jpeg", "noisy", "shifted", "stability", "stability_summary"]


def noisy(images: Tensor, sigma: float, *, seed: int) -> Tensor:
    """Returns the images with Gaussian noise, (N, 3, H, W), clamped to [-1, 1] and rounded to 8 bits.

    Item i's noise comes from its own generator, seeded ``seed + i``; another ``sigma`` scales the same noise.

    Args:
        images: (N, 3, H, W) in [-1, 1].
        sigma: the noise's standard deviation on that range, above 0.

    Raises:
        InpaintError: for images of a wrong shape or range, or another sigma.
    """
    check_image("images", images)
    check_number("sigma", sigma, low=0.0, open_low=True)
    draws = [torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(seed + i))
             for i in range(len(images))]  # fmt: skip
    return from_uint8(to_uint8(images + sigma * torch.stack(draws).to(images))).to(images)


def jpeg(images: Tensor, quality: int) -> Tensor:
    """Returns the images as a JPEG file of that quality holds them, (N, 3, H, W) in [-1, 1].

    Written and read by Pillow with its default tables and 4:2:0 colour. Blocks of 8 px (16 px in colour) are coded as
    one: hidden pixels leak a little into known ones, as in a photograph that is masked after it was stored.

    Args:
        images: (N, 3, H, W) in [-1, 1].
        quality: 1 (worst) to 95.

    Raises:
        InpaintError: for images of a wrong shape or range, or another quality.
    """
    check_image("images", images)
    check_integer("quality", quality, low=1, high=95)
    return from_uint8(np.stack([_coded(picture, quality) for picture in to_uint8(images)])).to(images)


def _coded(picture: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=quality)
    with Image.open(buffer) as im:
        return np.asarray(im)


def shifted(mask: Tensor, down: int, right: int) -> Tensor:
    """Returns the mask moved by whole pixels, (N, 1, H, W); what comes in at the border is known.

    Raises:
        InpaintError: if the mask is not valid, or a hole would leave the image: then another one would be compared.

    Example:
        >>> shifted(torch.tensor([0.0, 1.0, 0.0]).view(1, 1, 1, 3), 0, 1).ravel().tolist()
        [0.0, 0.0, 1.0]
    """
    check_mask("mask", mask)
    moved = torch.zeros_like(mask)
    height, width = mask.shape[2:]
    if max(abs(down) / height, abs(right) / width) < 1:
        rows, columns = _overlap(down, height), _overlap(right, width)
        moved[:, :, rows[1], columns[1]] = mask[:, :, rows[0], columns[0]]
    if moved.sum() != mask.sum():
        raise InpaintError(
            f"mask must keep its hole inside the image when it moves; {down} px down and {right} px right take"
            f" {int(mask.sum() - moved.sum())} pixels out. Take smaller shifts or a smaller hole."
        )
    return moved


def _overlap(step: int, size: int) -> tuple[slice, slice]:
    """Where pixels that stay inside come from and go to, along one axis."""
    return slice(max(-step, 0), size - max(step, 0)), slice(max(step, 0), size - max(-step, 0))


def stability(generator: Generator, target: Tensor, mask: Tensor, method: Method, *, shifts: Sequence[int],
              starts: int, seed: int, judge: Percept, batch_size: int, store: Store | None = None,
              progress: Progress | None = None) -> pd.DataFrame:  # fmt: skip
    """Returns how much the filling changes when the mask moves, and when the search starts elsewhere.

    All searches start at random codes. The base is the mask with each face's first start. It is compared with the mask
    moved down and right by each shift, from the same start, and with the mask in place from each other start.

    Args:
        target: (F, 3, R, R).
        mask: (1, 1, R, R).
        shifts: in px.
        starts: random starts a face, at least 2.

    Returns:
        A row a face and change; columns image, change (``"other start"`` or ``"1 px"``, ...), lpips (absolute change
        of hole LPIPS), filling (mean absolute difference of the pixels that all masks hide, on the range [-1, 1]);
        means over directions or starts.

    Raises:
        InpaintError: for fewer starts, or a hole that would leave the image.
    """
    check_integer("starts", starts, low=2)
    n = len(target)
    moved = [(f"{d} px", shifted(mask, *step), 0) for d in shifts for step in ((d, 0), (0, d))]
    variants = [("base", mask, 0), *moved, *(("other start", mask, k) for k in range(1, starts))]
    masks = torch.cat([m for _, m, _ in variants]).to(target).repeat_interleave(n, dim=0)
    seeds = [seed + k * n + i for _, _, k in variants for i in range(n)]
    image = target.repeat(len(variants), 1, 1, 1)
    random = Method(method.objective, replace(method.search, start="random"))
    record = invert_all(generator, image, masks, random, seeds=seeds, batch_size=batch_size, store=store,
                        progress=progress)  # fmt: skip
    lpips_of = hole_scores(image, record.composite, masks, judge=judge)["lpips"].to_numpy().reshape(-1, n)
    core = masks.amin(dim=0, keepdim=True)
    fillings = record.composite.clamp(-1, 1).unflatten(0, (-1, n))
    apart = ((fillings - fillings[:1]).abs() * core).sum(dim=(2, 3, 4)).double().cpu().numpy() / (3 * float(core.sum()))
    rows = [(i, name, abs(lpips_of[v, i] - lpips_of[0, i]), apart[v, i])
            for v, (name, _, _) in enumerate(variants) if v for i in range(n)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["image", "change", "lpips", "filling"])
    return table.groupby(["image", "change"], sort=False).mean().reset_index()


def stability_summary(table: pd.DataFrame, *, resamples: int) -> pd.DataFrame:
    """Returns each change's mean with its 95 % interval, and its ratio to what another start changes.

    The ratio is one of means over faces; its interval is a percentile bootstrap over the faces.

    Args:
        table: of :func:`stability`.

    Returns:
        Columns change, metric (lpips, filling), n, mean, low, high, ratio, ratio_low, ratio_high.
    """
    rows = []
    for metric in ("lpips", "filling"):
        wide = table.pivot(index="image", columns="change", values=metric)
        base = wide["other start"].to_numpy().clip(min=1e-12)
        drawn = np.random.default_rng(0).integers(len(base), size=(resamples, len(base)))
        for change in dict.fromkeys(table["change"]):
            values = wide[change].to_numpy()
            ratios = np.quantile(values[drawn].mean(axis=1) / base[drawn].mean(axis=1), [0.025, 0.975])
            here = mean_interval(values, resamples=resamples)
            rows.append((change, metric, len(base), *here, values.mean() / base.mean(), *ratios))
    columns = ["change", "metric", "n", "mean", "low", "high", "ratio", "ratio_low", "ratio_high"]
    return pd.DataFrame(rows, columns=columns)


def corruption_scores(generator: Generator, target: Tensor, mask: Tensor, method: Method, *,
                      noise_levels: Sequence[float], jpeg_qualities: Sequence[int], seed: int, judge: Percept,
                      batch_size: int, store: Store | None = None,
                      progress: Progress | None = None) -> pd.DataFrame:  # fmt: skip
    """Returns scores against the clean target in the hole where the search saw a noisy or JPEG-coded one.

    Returns:
        A row a method, corruption and face; columns method, kind (clean, noise, JPEG), level (sigma or quality; NaN
        for clean), image, lpips, psnr, ssim.
    """
    seen: Mapping[tuple[str, float], Tensor] = {
        ("clean", np.nan): target,
        **{("noise", sigma): noisy(target, sigma, seed=seed) for sigma in noise_levels},
        **{("JPEG", quality): jpeg(target, quality) for quality in jpeg_qualities},
    }
    n, size = len(target), len(target) * len(seen)
    masks = mask.to(target).expand(size, -1, -1, -1)
    record = invert_all(generator, torch.cat(list(seen.values())), masks, method, seeds=[seed] * size,
                        batch_size=batch_size, store=store, progress=progress)  # fmt: skip
    clean = target.repeat(len(seen), 1, 1, 1)
    tables = []
    for name, image in ((SEARCH, record.image), (BASELINE, at_mean_code(generator, size))):
        table = hole_scores(clean, composite(clean, image.clamp(-1, 1), masks), masks, judge=judge)
        keys = pd.DataFrame([(name, *key, i) for key in seen for i in range(n)],
                            columns=["method", "kind", "level", "image"])  # fmt: skip
        tables.append(pd.concat([keys, table], axis=1))
    return pd.concat(tables, ignore_index=True)
