"""What the notebooks have in common: targets, methods run side by side, their scores, and verdicts.

A *method* is a name with an objective and a search. All methods of an experiment see the same targets,
masks and seeds, so that scores can be compared in pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .alignment import Face, square_of
from .checks import InpaintError, check_integer
from .codes import draw_classes
from .features import Percept
from .grid import Method
from .images import at_once, composite, crop, from_uint8, resize, to_uint8
from .invert import Search, mean_code
from .losses import objective_from
from .metrics import REGIONS, Interval, mean_interval, paired_difference, regional
from .stylegan2 import Generator

__all__ = [
    "BASELINE",
    "C1",
    "READABLE",
    "astronaut",
    "at_mean_code",
    "by_region",
    "difference",
    "differences",
    "generated_faces",
    "hole_mean",
    "intervals",
    "lpips_methods",
    "lpips_name",
    "mse_name",
    "photograph",
    "random_classes",
    "random_codes",
    "random_ws",
    "score",
    "verdict",
]

C1 = (
    "MSE alone is not sufficient, LPIPS helps greatly (tested: hole LPIPS falls by at least {great:.0%} of what MSE "
    "alone leaves)"
)
SCORED = 1024  # images of at most 64 px that are scored at once; of larger ones as many pixels
# Separates the seeds of targets from those of searches. Below 2^32: torch's CPU generator drops higher bits.
TARGETS = 2**31
COLLINS = Face((203.0, 101.5), (247.0, 103.0), (224.0, 145.0))  # in the astronaut's picture of 512 x 512 pixels
BASELINE = "mean code"  # the method that searches nothing
# Metric -> heading of the tables for reading; the CSV files of the summary hold all metrics.
READABLE = {"lpips": "LPIPS (judge)", "psnr": "PSNR in dB", "ssim": "SSIM"}


def _random_inputs(generator: Generator, n: int, seed: int) -> tuple[Tensor, Tensor | None]:
    """z and class (None without classes) of each item: its stream's draws, the class first."""
    streams = [torch.Generator().manual_seed(TARGETS + seed + i) for i in range(n)]
    c = draw_classes(generator, streams)
    draws = [torch.randn(1, generator.z_dim, generator=stream) for stream in streams]
    return torch.cat(draws).to(next(generator.parameters())), c


def random_codes(generator: Generator, n: int, *, seed: int) -> Tensor:
    """Returns z, (n, z_dim) from N(0, 1); item i comes from a generator of its own, made of ``seed + i``.

    The stream is not that of a search's random start: with equal seeds it would start at the answer.
    """
    return _random_inputs(generator, n, seed)[0]


def random_classes(generator: Generator, n: int, *, seed: int) -> Tensor | None:
    """Returns the classes that go with :func:`random_codes`, one-hot (n, c_dim), uniform; None without classes."""
    return _random_inputs(generator, n, seed)[1]


@torch.no_grad()
def random_ws(generator: Generator, n: int, *, seed: int, truncation: float = 1.0) -> Tensor:
    """Returns the mapped codes (n, num_ws, w_dim) of :func:`random_codes` and their classes."""
    return generator.map(*_random_inputs(generator, n, seed), truncation=truncation)


def generated_faces(generator: Generator, n: int, *, seed: int) -> Tensor:
    """Returns images of ``n`` random codes, (n, 3, R, R) on the CPU, rounded to 8 bits as a file would hold them.

    Item i comes from its own generator, seeded ``seed + i``: it does not depend on ``n``. A class-conditional
    network's classes are those of :func:`random_classes`.
    """
    check_integer("n", n, low=1)
    ws = random_ws(generator, n, seed=seed)
    with torch.no_grad():
        images = torch.cat([generator.synthesis(part).cpu() for part in ws.split(at_once(generator.img_resolution))])
    return from_uint8(to_uint8(images)).to(images)


def photograph() -> Tensor:
    """Returns a photograph, (1, 3, 512, 512): NASA's portrait of Eileen Collins (public domain), of scikit-image."""
    import skimage.data

    return from_uint8(np.ascontiguousarray(skimage.data.astronaut())[None])


def astronaut(size: int, *, alignment: str = "celeba") -> Tensor:
    """Returns a real photograph, (1, 3, size, size): NASA's portrait of Eileen Collins (public domain).

    It comes with scikit-image. The upright square is chosen so that the face lies as the alignment has it (``none``:
    as CelebA's, with the eyes at 0.51 of the height, 0.22 of the width apart).
    """
    photo = photograph()
    if alignment != "ffhq":
        return resize(crop(photo, (0, 125, 200)), size)
    square = square_of(COLLINS, alignment)
    side = round(square.side)
    return resize(crop(photo, (round(square.cy - side / 2), round(square.cx - side / 2), side)), size)


def at_mean_code(generator: Generator, n: int) -> Tensor:
    """Returns the image of the mean code ``n`` times, on the CPU: what is shown if nothing is searched at all."""
    with torch.no_grad():
        image = generator.synthesis(mean_code(generator).expand(1, generator.num_ws, -1))
    return image.cpu().repeat(n, 1, 1, 1)


def score(images: Mapping[str, Tensor], target: Tensor, mask: Tensor, *, judge: Percept) -> pd.DataFrame:
    """Returns the table of :func:`~inpaintlib.metrics.regional` for each method, with a column ``method`` first.

    Args:
        images: method -> its G(w), (N, 3, R, R). The composite is judged in hole, band and whole; in the
            known region, where the composite is the target itself, G(w) is.
    """
    tables, mask, batch = [], mask.to(target).expand(len(target), -1, -1, -1), at_once(target.shape[-1], SCORED)
    for name, image in images.items():
        for start in range(0, len(target), batch):
            part = slice(start, start + batch)
            table = _scored(image[part].to(target), target[part], mask[part], judge)
            table.insert(0, "method", name)
            tables.append(table.assign(item=table["item"] + start).sort_values(["item", "region"]))
    return pd.concat(tables, ignore_index=True)


def _scored(image: Tensor, target: Tensor, mask: Tensor, judge: Percept) -> pd.DataFrame:
    pasted = regional(target, composite(target, image.clamp(-1, 1), mask), mask, judge=judge)
    raw = regional(target, image, mask, judge=judge)
    return pd.concat([pasted[pasted.region != "known"], raw[raw.region == "known"]])


def intervals(scores: pd.DataFrame, by: Sequence[str] = ("method", "region"),
              metrics: Sequence[str] = ("psnr", "ssim", "lpips", "l1"), *, resamples: int,
              seed: int = 0) -> pd.DataFrame:  # fmt: skip
    """Returns mean and 95 % bootstrap interval over items, a row for each group and metric.

    Columns ``by``, metric, n, mean, low, high.
    """
    rows = []
    for key, group in scores.groupby(list(by), sort=False, dropna=False):
        for metric in metrics:
            interval = mean_interval(group[metric], seed=seed, resamples=resamples)
            rows.append((*key, metric, len(group), *interval))
    return pd.DataFrame(rows, columns=[*by, "metric", "n", "mean", "low", "high"])


def hole_mean(scores: pd.DataFrame, method: str) -> float:
    """Returns a method's mean hole LPIPS."""
    return float(scores[(scores.region == "hole") & (scores.method == method)]["lpips"].mean())


def by_region(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the table of :func:`intervals` for reading: a row a method and region, a column a metric."""
    cells = [str(Interval(row.mean, row.low, row.high)) for row in table.itertuples()]
    wide = table.assign(cell=cells).pivot(index=["region", "method"], columns="metric", values="cell").reset_index()
    order = {name: i for i, name in enumerate((*REGIONS, *dict.fromkeys(table["method"])))}
    wide = wide.sort_values(["region", "method"], key=lambda column: column.map(order))
    return wide.rename_axis(columns=None)[["region", "method", *READABLE]].rename(columns=READABLE)


def difference(scores: pd.DataFrame, a: str, b: str, *, metric: str = "lpips", region: str = "hole", resamples: int,
               seed: int = 0) -> Interval:  # fmt: skip
    """Returns the paired difference ``a - b`` of two methods over items, with its 95 % bootstrap interval."""
    wide = scores[scores.region == region].pivot(index="item", columns="method", values=metric)
    for name in (a, b):
        if name not in wide:
            raise InpaintError(f"{name!r} must be one of the methods {', '.join(wide.columns)}")
    return paired_difference(wide[a], wide[b], seed=seed, resamples=resamples)


def verdict(effect: Interval, *, least: float = 0.0) -> str:
    """Returns the verdict on 'the effect is above ``least``': decided only if the interval excludes ``least``."""
    if effect.low > least:
        return "supported"
    return "not supported" if effect.high < least else "undecided"


def lpips_methods(settings: Mapping[str, object], search: Search, modes: Sequence[str],
                  *, steps_long: int) -> dict[str, Method]:  # fmt: skip
    """Returns the methods of the report ``mse_lpips``.

    MSE in W, MSE in the search's space, the same with more steps (a control: does MSE alone only lack
    time?), and MSE + LPIPS by mode.

    Args:
        settings: the objective's flat mapping with ``mse_weight``, ``lpips_weight`` and ``lpips_network``.
        search: of all methods; the first one's space is W.
        modes: of masked LPIPS.
        steps_long: updates of the control.
    """
    mse = objective_from({"mse_weight": settings["mse_weight"]})
    methods = {mse_name("w"): Method(mse, replace(search, space="w")), mse_name(search.space): Method(mse, search)}
    methods[mse_name(search.space, steps_long)] = Method(mse, replace(search, steps=steps_long))
    for mode in modes:
        methods[lpips_name(mode)] = Method(objective_from({**settings, "lpips_mode": mode}), search)
    return methods


def mse_name(space: str, steps: int | None = None) -> str:
    """Returns the name under which MSE alone in a space (of the long control's steps) stands in tables and figures."""
    return f"MSE, {space.upper()}" + ("" if steps is None else f", {steps} steps")


def lpips_name(mode: str) -> str:
    """Returns the name under which a mode stands in tables and figures."""
    return f"MSE + LPIPS, {mode}"


def differences(scores: pd.DataFrame, main: str, *, resamples: int) -> pd.DataFrame:
    """Returns hole LPIPS that ``main`` saves against every other method, paired, with 95 % intervals."""
    rows = []
    for other in dict.fromkeys(scores["method"]):
        if other != main:
            rows.append((other, *difference(scores, other, main, resamples=resamples)))
    return pd.DataFrame(rows, columns=["against", "difference", "low", "high"])
