"""What a generator's inputs do: samples, truncation, style mixing, noise. Serves the report ``generator``."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from .checks import InpaintError, check_integer
from .experiments import random_classes, random_ws
from .features import Percept, lpips
from .images import at_once
from .metrics import mean_interval
from .stylegan2 import Discriminator, Generator

__all__ = [
    "deviation_maps",
    "deviation_table",
    "fresh_noise",
    "logits",
    "mixing",
    "noise_variants",
    "samples",
    "truncated",
    "truncation_table",
]


@torch.no_grad()
def _images(generator: Generator, ws: Tensor, noise: str | list[Tensor] = "const") -> Tensor:
    """Returns the images of codes (n, num_ws, w_dim) and noise maps, (n, 1, H, W) a layer, on the CPU."""
    parts, batch = [], at_once(generator.img_resolution)
    for start in range(0, len(ws), batch):
        part = slice(start, start + batch)
        maps = noise if isinstance(noise, str) else [m[part] for m in noise]
        parts.append(generator.synthesis(ws[part], maps).cpu())
    return torch.cat(parts)


def fresh_noise(generator: Generator, n: int, seed: int) -> list[Tensor]:
    """Returns noise maps, (n, 1, H, W) a layer; item i's come from its own generator, seeded ``seed + i``."""
    return generator.synthesis.random_noise([torch.Generator().manual_seed(seed + i) for i in range(n)])


def samples(generator: Generator, n: int, *, seed: int) -> Tensor:
    """Returns images of n random codes, (n, 3, R, R), not clamped."""
    return _images(generator, random_ws(generator, n, seed=seed))


def truncated(generator: Generator, truncations: Sequence[float], *, n: int, seed: int) -> Tensor:
    """Returns n rows of one code's images under each truncation, (n * len(truncations), 3, R, R)."""
    columns = [_images(generator, random_ws(generator, n, seed=seed, truncation=psi)) for psi in truncations]
    return torch.stack(columns, dim=1).flatten(0, 1)


def truncation_table(generator: Generator, discriminator: Discriminator, judge: Percept, truncations: Sequence[float],
                     *, n: int, seed: int, resamples: int) -> pd.DataFrame:  # fmt: skip
    """Returns diversity and realism under each truncation, columns method (psi), metric, n, mean, low, high.

    Diversity is the judge's LPIPS between samples 2i and 2i + 1 (independent pairs, so that the bootstrap
    over them is valid); realism is the discriminator's logit of each sample by itself, in a batch of one
    group, so that samples do not influence each other. A discriminator with classes is told the samples' own.
    """
    check_integer("n", n, low=2)
    rows, classes = [], random_classes(generator, n, seed=seed)
    for psi in truncations:
        images = samples_at(generator, n, seed=seed, truncation=psi)
        values = {"diversity": _pair_distances(judge, images), "realism": logits(discriminator, images, classes)}
        for metric, value in values.items():
            interval = mean_interval(value.double().numpy(), resamples=resamples)
            rows.append((f"{psi:g}", metric, len(value), *interval))
    return pd.DataFrame(rows, columns=["method", "metric", "n", "mean", "low", "high"])


def samples_at(generator: Generator, n: int, *, seed: int, truncation: float) -> Tensor:
    """Returns images of n random codes under a truncation, clamped to [-1, 1]."""
    return _images(generator, random_ws(generator, n, seed=seed, truncation=truncation)).clamp(-1, 1)


@torch.no_grad()
def _pair_distances(judge: Percept, images: Tensor) -> Tensor:
    pairs, batch = images[: len(images) // 2 * 2], max(at_once(images.shape[-1]), 2)
    return torch.cat([lpips(judge, part[::2], part[1::2]) for part in pairs.split(batch)])


@torch.no_grad()
def logits(discriminator: Discriminator, images: Tensor, classes: Tensor | None = None) -> Tensor:
    """Returns the discriminator's logit of each image by itself, (N,), on the CPU.

    Args:
        images: (N, 3, R, R).
        classes: (N, c_dim) one-hot, for a discriminator with classes; one without takes no notice of them.

    Raises:
        InpaintError: if the discriminator has classes and they are not given, or other ones.
    """
    if discriminator.c_dim and (classes is None or tuple(classes.shape) != (len(images), discriminator.c_dim)):
        got = None if classes is None else tuple(classes.shape)
        raise InpaintError(
            f"a discriminator of {discriminator.c_dim} classes must be told each image's, one-hot "
            f"({len(images)}, {discriminator.c_dim}); got {got}"
        )
    like, batch = next(discriminator.parameters()), at_once(images.shape[-1])
    told = [None] * len(images) if not discriminator.c_dim else classes.to(like).split(batch)
    parts = zip(images.split(batch), told, strict=False)
    return torch.cat([discriminator(x.to(like), c, alone=True)[:, 0] for x, c in parts]).cpu()


def mixing(generator: Generator, n: int, *, cut: int, seed: int) -> Tensor:
    """Returns an (n + 1) x (n + 1) table of images in reading order.

    Row 0 and column 0 hold the faces themselves (the corner is white); entry (i, j) has the codes of row
    face i below layer ``cut`` and those of column face j from there on. Raises InpaintError unless cut is a
    layer.
    """
    if not 0 < cut < generator.num_ws:
        raise InpaintError(f"cut must be between 1 and {generator.num_ws - 1}; got {cut}")
    ws = random_ws(generator, 2 * n, seed=seed)
    rows, columns = ws[:n], ws[n:]
    mixed = torch.cat([rows[:, None, :cut].expand(-1, n, -1, -1), columns[None, :, cut:].expand(n, -1, -1, -1)], dim=2)
    row_faces, column_faces = _images(generator, rows), _images(generator, columns)
    table = _images(generator, mixed.flatten(0, 1)).unflatten(0, (n, n))
    table = torch.cat([row_faces[:, None], table], dim=1)
    corner = torch.ones_like(column_faces[:1])
    return torch.cat([torch.cat([corner, column_faces]), table.flatten(0, 1)])


def noise_variants(generator: Generator, *, n: int, seed: int) -> dict[str, Tensor]:
    """Returns title -> images (n, 3, R, R) of the same codes with stored, no, and two fresh noises."""
    ws = random_ws(generator, n, seed=seed)
    noises = {"stored noise": "const", "no noise": "none"}
    noises |= {f"fresh noise {k}": fresh_noise(generator, n, seed + 10_000 * k) for k in (1, 2)}
    return {title: _images(generator, ws, noise) for title, noise in noises.items()}


def deviation_maps(generator: Generator, *, n: int, seed: int) -> dict[str, Tensor]:
    """Returns per-pixel standard deviations (R, R), averaged over channels: over noise, and over codes."""
    ws = random_ws(generator, n, seed=seed)
    over_noise = _images(generator, ws[:1].expand(n, -1, -1), fresh_noise(generator, n, seed))
    over_codes = _images(generator, ws)
    return {"over noise, one code": over_noise.std(dim=0).mean(dim=0),
            "over codes, one noise": over_codes.std(dim=0).mean(dim=0)}  # fmt: skip


def deviation_table(maps: dict[str, Tensor]) -> pd.DataFrame:
    """Returns mean and largest standard deviation of each map."""
    rows = [(name, float(m.mean()), float(m.max())) for name, m in maps.items()]
    return pd.DataFrame(rows, columns=["source", "mean deviation", "largest deviation"])
