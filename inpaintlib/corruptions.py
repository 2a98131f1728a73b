"""What may happen to a picture or its mask before the search sees them, and how much the filling then changes."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from .checks import InpaintError, check_image, check_integer, check_number
from .experiments import BASELINE, at_mean_code
from .features import Percept
from .grid import Method, Progress, invert_all
from .images import composite, from_uint8, to_uint8
from .masks import shifted
from .metrics import mean_interval, relative_difference
from .params import MaskRobustness
from .robustness import SEARCH, Frozen, hole_scores, times_hidden
from .store import Store
from .stylegan2 import Generator

__all__ = ["check_plan", "corruption_scores", "jpeg", "noisy", "planned_passes", "stability", "stability_summary"]


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


def _moved(mask: Tensor, shifts: Sequence[int]) -> list[tuple[str, Tensor]]:
    """The mask moved down and right by each shift, with the change's name."""
    moved = [(f"{d} px", shifted(mask, *step)) for d in shifts for step in ((d, 0), (0, d))]
    if not torch.cat([mask, *(m for _, m in moved)]).amin(dim=0).any():
        raise InpaintError(f"shifts must leave a pixel that all masks hide; got {list(shifts)}, take smaller ones")
    return moved


def planned_passes(p: MaskRobustness, masks: int, photographed: int = 0) -> int:
    """Returns how many generator passes of one image the report ``mask_robustness`` takes, its chunks filled up.

    Args:
        masks: in the grid of generated faces.
        photographed: items of the grid of photographs.
    """
    per_face = (masks, 2 * len(p.shifts) + p.random_starts, 1 + len(p.noise_levels) + len(p.jpeg_qualities))
    items = [p.faces * n for n in per_face] + [photographed]
    return sum(math.ceil(n / p.batch_size) for n in items) * p.batch_size * p.search().passes


def check_plan(p: MaskRobustness, frozen: Frozen, probe: Tensor, photographs: Tensor | None, few: Frozen) -> None:
    """Checks what else would be refused only after long searches.

    Args:
        frozen: masks of the grid; ``few``: those of the photographs (None = there are none).
        probe: (1, 1, R, R), the mask that is shifted.

    Raises:
        InpaintError: if a shifted probe leaves the image, no pixel is hidden often enough for the map of difficulty, or
            all searches together exceed the budget.
    """
    _moved(probe, p.shifts)
    times_hidden(frozen.masks, least=p.least_hidden)
    photographed = 0 if photographs is None else len(photographs) * len(few.masks)
    planned = planned_passes(p, len(frozen.masks), photographed)
    if planned > p.image_steps:
        raise InpaintError(
            f"image_steps must be at least {planned}, what all searches take in chunks of {p.batch_size}; it is"
            f" {p.image_steps}. Raise it, or take fewer faces, masks or steps."
        )


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
        InpaintError: for fewer starts, a hole that would leave the image, or no pixel that all masks hide.
    """
    check_integer("starts", starts, low=2)
    n = len(target)
    moved = ((name, m, 0) for name, m in _moved(mask, shifts))
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

    The ratio is one of means over faces, see :func:`~inpaintlib.metrics.relative_difference`.

    Args:
        table: of :func:`stability`.

    Returns:
        Columns change, metric (lpips, filling), n, mean, low, high, ratio, ratio_low, ratio_high.
    """
    rows = []
    for metric in ("lpips", "filling"):
        wide = table.pivot(index="image", columns="change", values=metric)
        base = wide["other start"].to_numpy().clip(min=1e-12)
        for change in dict.fromkeys(table["change"]):
            values = wide[change].to_numpy()
            here = mean_interval(values, resamples=resamples)
            ratio = relative_difference(values, np.zeros(len(values)), base, resamples=resamples)
            rows.append((change, metric, len(base), *here, *ratio))
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
