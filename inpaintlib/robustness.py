"""Which masks are hard: frozen masks, the grid of masks and faces, its scores, and a map of difficulty.

Every face sees the same masks. A hole's scores are those of the composite against the clean target inside the hole, by
networks that no objective read, beside the *baseline*: the mean code's image pasted into the same hole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from .attributes import AttributeNetwork
from .checks import InpaintError, check_choice, check_integer, check_mask
from .data import data_folder, load_celeba
from .experiments import BASELINE
from .features import Percept, lpips
from .grid import Method, Progress, invert_all
from .images import at_once, composite, from_levels
from .invert import product
from .masks import coverage, make_mask
from .metrics import mean_interval, psnr, seam, ssim
from .sets import agreement
from .store import Store
from .stylegan2 import Generator

__all__ = ["GROUPS", "METRICS", "SEARCH", "Filled", "Frozen", "difficulty", "digests", "fill", "freeze",
           "hole_scores", "mask_sha256", "one_mask", "part_difficulty", "photographs", "scores",
           "times_hidden"]  # fmt: skip

GROUPS = {
    "shape": ("box", "center", "scatter"),
    "side": ("left", "right", "top", "bottom"),
    "face part": ("mouth", "eyes", "nose", "hair"),
    "strokes": ("strokes-thin", "strokes-medium", "strokes-thick"),
}
METRICS = ("lpips", "psnr", "ssim", "agreement", "seam")
SEARCH = "search"
# Hidden fraction at which a part of the face is no more than that part, for reading the map of difficulty.
PART_AREAS = {"mouth": 0.05, "eyes": 0.05, "nose": 0.04, "hair": 0.2}


class Frozen(NamedTuple):
    """The masks of a study.

    Attributes:
        masks: (J, 1, R, R).
        table: a row a mask; columns mask, family, group, coverage (asked), covered, seed, sha256.
    """

    masks: Tensor
    table: pd.DataFrame


class Filled(NamedTuple):
    """The grid, filled: N = faces x masks items.

    Attributes:
        target, composite: (N, 3, R, R).
        mask: (N, 1, R, R).
        items: a row an item; columns image, mask, family, group, coverage.
    """

    target: Tensor
    composite: Tensor
    mask: Tensor
    items: pd.DataFrame


def mask_sha256(mask: Tensor) -> str:
    """Returns the SHA-256 of one mask (1, 1, H, W) as 64 hexadecimal digits: of its pixels as uint8, row by row.

    Raises:
        InpaintError: if it is not a valid single mask.
    """
    check_mask("mask", mask)
    if len(mask) != 1:
        raise InpaintError(f"mask must be a single mask (1, 1, H, W); got {tuple(mask.shape)}")
    return hashlib.sha256(mask[0, 0].to(torch.uint8).cpu().numpy().tobytes()).hexdigest()


def one_mask(family: str, coverage: float, size: int, *, seed: int, alignment: str = "celeba") -> Tensor:
    """Returns the study's mask of a family and coverage, (1, 1, size, size): drawn from a seed of its own."""
    stream = torch.Generator().manual_seed(seed)
    return make_mask(family, size, coverage=coverage, generator=stream, alignment=alignment)


def freeze(families: Sequence[str], coverages: Sequence[float], size: int, *, part_limit: float, seed: int,
           alignment: str = "celeba") -> Frozen:  # fmt: skip
    """Returns one mask for each family and coverage, in that order.

    All draw from the same seed, so that strokes and scattered pixels of a small mask stay hidden in a larger one.

    Args:
        part_limit: largest coverage of a part of the face; beyond, it hides much else.
        alignment: the generator's; the parts of the face lie where it has them.

    Raises:
        InpaintError: for an unknown family, a coverage outside of (0, 1), or no mask at all.
    """
    rows, masks = [], []
    for family in families:
        check_choice("each of families", family, tuple(f for members in GROUPS.values() for f in members))
        group = next(name for name, members in GROUPS.items() if family in members)
        for asked in coverages:
            if group != "face part" or asked <= part_limit:
                mask = one_mask(family, asked, size, seed=seed, alignment=alignment)
                rows.append((len(rows), family, group, asked, float(coverage(mask)), seed, mask_sha256(mask)))
                masks.append(mask)
    if not masks:
        raise InpaintError(f"families and coverages must give a mask; part_limit {part_limit} leaves none")
    columns = ["mask", "family", "group", "coverage", "covered", "seed", "sha256"]
    return Frozen(torch.cat(masks), pd.DataFrame(rows, columns=columns))


def digests(frozen: Frozen) -> pd.DataFrame:
    """Returns the first 12 digits of every mask's SHA-256: a row a family and a column a coverage, "" for no mask."""
    asked = [f"{c:g}" for c in frozen.table["coverage"]]
    short = frozen.table.assign(digest=frozen.table["sha256"].str[:12], coverage=asked)
    families, coverages = short["family"].unique(), short["coverage"].unique()
    wide = short.pivot(index="family", columns="coverage", values="digest").loc[families, coverages].fillna("")
    return wide.reset_index().rename_axis(columns=None)


def fill(generator: Generator, target: Tensor, frozen: Frozen, method: Method, *, seed: int, batch_size: int,
         store: Store | None = None, progress: Progress | None = None) -> Filled:  # fmt: skip
    """Returns every face (F, 3, R, R) filled under every mask, all with the same seed."""
    image, mask, seeds, items = product(target, frozen.masks.to(target), [seed])
    record = invert_all(generator, image, mask, method, seeds=seeds, batch_size=batch_size, store=store,
                        progress=progress)  # fmt: skip
    items = items[["image", "mask"]].merge(frozen.table[["mask", "family", "group", "coverage"]], on="mask")
    return Filled(image, record.composite, mask, items)


@torch.no_grad()
def hole_scores(target: Tensor, filled: Tensor, mask: Tensor, *, judge: Percept,
                attributes: AttributeNetwork | None = None) -> pd.DataFrame:  # fmt: skip
    """Returns a row an item; columns lpips (hole LPIPS), psnr (dB), ssim, and with ``attributes`` agreement and seam.

    Agreement is the share of attributes that the judge decides alike for composite and target; seam is the step at the
    hole's edge relative to that of the target itself, 1 = none added.

    Args:
        target: (N, 3, H, W) in [-1, 1], clean.
        filled: (N, 3, H, W), known pixels of the target and the filling; clamped to [-1, 1].
        mask: (N, 1, H, W), 1 = hole.
        judge, attributes: networks that no objective used.
    """
    tables, batch = [], at_once(target.shape[-1])
    for part in zip(target.split(batch), filled.clamp(-1, 1).split(batch), mask.split(batch), strict=True):
        x, y, m = (t.to(judge.device) for t in part)
        found = {"lpips": lpips(judge.like(x), y, x, m), "psnr": psnr(y, x, m), "ssim": ssim(y, x, m)}
        if attributes is not None:
            found |= {"agreement": agreement(attributes, y, x), "seam": seam(y, m) / seam(x, m)}
        tables.append(pd.DataFrame({name: values.double().cpu().numpy() for name, values in found.items()}))
    return pd.concat(tables, ignore_index=True)


def scores(filled: Filled, mean: Tensor, *, judge: Percept, attributes: AttributeNetwork) -> pd.DataFrame:
    """Returns a row a method (:data:`SEARCH`, :data:`~inpaintlib.experiments.BASELINE`) and item; columns method, those
    of ``items``, and :data:`METRICS`.

    Args:
        mean: (1, 3, R, R), the mean code's image.
    """
    pasted = composite(filled.target, mean.clamp(-1, 1).expand_as(filled.target), filled.mask)
    tables = []
    for method, images in ((SEARCH, filled.composite), (BASELINE, pasted)):
        found = hole_scores(filled.target, images, filled.mask, judge=judge, attributes=attributes)
        table = pd.concat([filled.items, found], axis=1)
        table.insert(0, "method", method)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def photographs(n: int, size: int, *, alignment: str = "celeba") -> Tensor | None:
    """Returns the first ``n`` held-out CelebA faces, (n, 3, size, size), squared as CelebA's alignment says.

    None if ``n`` is 0 or ``INPAINTLIB_DATA`` is not set. Raises InpaintError if the folder holds too few, or the
    generator's faces are aligned otherwise.
    """
    if n and alignment == "ffhq":
        raise InpaintError(
            f"photos must be 0 for a generator of FFHQ's alignment, CelebA's faces lie otherwise; got {n}"
        )
    folder = data_folder() if n else None
    if folder is None:
        return None
    images = load_celeba(folder, "val", size=size).images
    if len(images) < n:
        raise InpaintError(f"photos must be at most {len(images)}, the held-out faces in {folder}; got {n}")
    return from_levels(images[:n])


def times_hidden(masks: Tensor, *, least: int) -> Tensor:
    """Returns how many of the masks (J, 1, H, W) hide each pixel, (H, W).

    Raises InpaintError if none is hidden by at least ``least``.
    """
    check_integer("least_hidden", least, low=1)
    count = masks[:, 0].double().sum(dim=0)
    if count.max() < least:
        raise InpaintError(f"least_hidden must be at most {int(count.max())}, the most masks on a pixel; got {least}")
    return count


def difficulty(filled: Filled, *, least: int) -> tuple[Tensor, Tensor]:
    """Returns how hard each pixel is for each face, (F, H, W), and how many masks hid it, (H, W).

    The absolute error of a hidden pixel, averaged over channels, is divided by its mean over the item's hole; what is
    averaged over masks is that ratio. So coverage and everything else that makes a mask hard as a whole is taken out: 1
    is a pixel as hard as the others that are hidden with it. Pixels that fewer than ``least`` masks hide are NaN.

    Raises InpaintError if every pixel is.
    """
    faces = int(filled.items["image"].max()) + 1
    hidden = filled.mask[:, 0].double()
    error = (filled.target - filled.composite.clamp(-1, 1)).abs().double().mean(dim=1) * hidden
    level = error.sum(dim=(1, 2), keepdim=True) / hidden.sum(dim=(1, 2), keepdim=True)
    ratio = (error / level.clamp_min(1e-12)).unflatten(0, (faces, -1)).sum(dim=1)  # items are sorted by face
    count = times_hidden(filled.mask.unflatten(0, (faces, -1))[0], least=least)
    return torch.where(count >= least, ratio / count, torch.nan), count


def part_difficulty(difficulties: Tensor, *, resamples: int, alignment: str = "celeba") -> pd.DataFrame:
    """Returns the mean difficulty in each part of the face and in the rest, with 95 % intervals over faces.

    Args:
        difficulties: (F, R, R) of :func:`difficulty`; blank pixels do not count.
        alignment: the generator's.

    Returns:
        Columns part, pixels, mean, low, high; a part without a pixel is left out.
    """
    size = difficulties.shape[-1]
    parts = {part: one_mask(part, area, size, seed=0, alignment=alignment)[0, 0] > 0
             for part, area in PART_AREAS.items()}  # fmt: skip
    parts["rest"] = ~torch.stack(list(parts.values())).any(dim=0)
    seen, rows = difficulties[0].isfinite(), []
    for part, where in parts.items():
        if n := int((where & seen).sum()):
            values = difficulties[:, where & seen].mean(dim=1).numpy()
            rows.append((part, n, *mean_interval(values, resamples=resamples)))
    return pd.DataFrame(rows, columns=["part", "pixels", "mean", "low", "high"])
