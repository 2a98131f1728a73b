"""How stochastic and how diverse inpaintings are: tables over the fillings of :mod:`inpaintlib.fillings`, and readings.

All tables are over the pixels that every mask hides; intervals are over faces.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import distance_transform_edt
from scipy.stats import spearmanr
from torch import Tensor

from .features import Percept
from .fillings import BOTH, CROSSED, FACES, LONG, NOISE, Fillings, start
from .images import composite
from .metrics import Interval, mean_interval, paired_difference
from .search import SPACES
from .spectra import Spectra
from .spread import (
    chance,
    decompose,
    distinct,
    hole_pixels,
    inside,
    mean_distance,
    nominal,
    outlyingness,
    pairwise,
    variance,
)

__all__ = ["C2", "C5", "CEILING", "CLOSE", "EDGE", "SEEN", "UNSEEN", "best", "beyond_noise", "by_source",
           "decomposition", "distances", "diverse", "explained", "fitting", "fractions", "pinned", "rank_correlations",
           "sd_maps", "solutions", "spreads", "summary", "truths"]  # fmt: skip

C2 = (
    "Generations are stochastic (tested: in hole LPIPS, fillings from other random starts differ by at least "
    "{least:.0%} of what holes of different faces differ by, beyond what noise inputs alone cause)"
)
# Most that a filling which fits errs on the known pixels, as a fraction of what random codes do there: halfway from
# them to no error at all. A search that hardly leaves a random start stays near 1, however alike its fillings err.
CLOSE = 0.5
C5 = (
    "The generations are diverse (tested: fillings from random starts in W, those that err on the known pixels at most "
    "{fits:g} times as much as the face's best and at most "
    f"{CLOSE:.0%} of what random faces do, "
    "differ in hole LPIPS by at least {least:.0%} of what holes of different faces differ by; a face without two of "
    "them counts as 0)"
)
SEEN, UNSEEN = "theory, visible part seen", "theory, nothing seen"
EDGE, CEILING = "distance to the edge", "the most that so few fillings allow"


def distances(found: Mapping[str, Fillings], target: Tensor, hole: Tensor, judge: Percept) -> dict[str, np.ndarray]:
    """Returns source -> (F, 1 + L, 1 + L), hole LPIPS between truth (first) and fillings, with the truth around them.

    Args:
        hole: (1, 1, R, R), where the fillings are compared.
        judge: a network that no objective used.
    """
    out = {}
    for name, each in found.items():
        sets = [torch.cat([x[None], composite(x[None], images, hole)])
                for x, images in zip(target, each.image, strict=True)]  # fmt: skip
        out[name] = np.stack([pairwise(images, hole, judge) for images in sets])
    return out


def spreads(found: Mapping[str, Fillings], apart: Mapping[str, np.ndarray], hole: Tensor) -> pd.DataFrame:
    """Returns how much the fillings of each source differ; a row a source and face.

    Columns source, face, levels, variance (of a pixel in the hole over the levels, on the range [-1, 1]), lpips (mean
    hole LPIPS between two), known (mean error on the known pixels) and distinct: the number of fillings that differ by
    more than the largest hole LPIPS that NOISE causes in that face.
    """
    rows = []
    for name, each in found.items():
        for face, images in enumerate(each.image):
            matrix = apart[name][face, 1:, 1:]
            count = distinct(matrix, float(apart[NOISE][face, 1:, 1:].max()))
            rows.append((name, face, len(images), variance(hole_pixels(images, hole)),
                         float(mean_distance(matrix).mean()), float(each.known[face].mean()), count))  # fmt: skip
    return pd.DataFrame(rows, columns=["source", "face", "levels", "variance", "lpips", "known", "distinct"])


def fractions(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Returns a column of :func:`spreads` as a fraction of what FACES have in it: a row a face, a column a source."""
    wide = table.pivot(index="face", columns="source", values=column)[list(dict.fromkeys(table["source"]))]
    return wide.div(wide[FACES], axis=0)


def summary(table: pd.DataFrame, *, resamples: int) -> pd.DataFrame:
    """Returns means of :func:`spreads` over faces with 95 % intervals; columns method, metric, mean, low, high.

    The method is the source; variance and lpips are fractions of those of FACES, face by face.
    """
    wide = {column: fractions(table, column) for column in ("variance", "lpips")}
    wide |= {column: table.pivot(index="face", columns="source", values=column) for column in ("known", "distinct")}
    rows = [(name, metric, *mean_interval(values[name], resamples=resamples))
            for name in dict.fromkeys(table["source"]) for metric, values in wide.items()]  # fmt: skip
    return pd.DataFrame(rows, columns=["method", "metric", "mean", "low", "high"])


def by_source(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the table of :func:`summary` for reading: a row a source, cells with intervals."""
    titles = {"variance": "variance, of different faces'", "lpips": "hole LPIPS, of different faces'",
              "known": "error on known pixels", "distinct": "distinct fillings"}  # fmt: skip
    cells = [str(Interval(row.mean, row.low, row.high)) for row in table.itertuples()]
    wide = table.assign(cell=cells).pivot(index="method", columns="metric", values="cell")
    wide = wide.loc[list(dict.fromkeys(table["method"])), list(titles)].rename(columns=titles)
    return wide.rename_axis(index="source", columns=None).reset_index()


def solutions(found: Mapping[str, Fillings], apart: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Returns a row a filling of ``start`` in every space.

    Columns space, face, sample, known (error on the known pixels), apart (mean hole LPIPS to the face's other fillings)
    and truth (hole LPIPS to the truth).
    """
    tables = []
    for space in SPACES:
        for face, matrix in enumerate(apart[start(space)]):
            known, away = found[start(space)].known[face].tolist(), mean_distance(matrix[1:, 1:])
            tables.append(pd.DataFrame({"space": space, "face": face, "sample": range(len(known)), "known": known,
                                        "apart": away, "truth": matrix[0, 1:]}))  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def rank_correlations(table: pd.DataFrame, *, resamples: int) -> pd.DataFrame:
    """Returns Spearman's correlation of ``known`` with ``apart`` in :func:`solutions` within a face, mean over faces.

    Columns space, mean, low, high; positive where the fillings that differ more fit worse.
    """
    rows = []
    for space, group in table.groupby("space", sort=False):
        found = [spearmanr(each["known"], each["apart"]).statistic for _, each in group.groupby("face")]
        rows.append((space, *mean_interval(found, resamples=resamples)))
    return pd.DataFrame(rows, columns=["space", "mean", "low", "high"])


def truths(found: Mapping[str, Fillings], apart: Mapping[str, np.ndarray], target: Tensor, hole: Tensor, *,
           resamples: int) -> pd.DataFrame:  # fmt: skip
    """Returns whether the truth could be one of the fillings; columns source, measure, mean, low, high, expected.

    ``inside``: the share of the hole's values between the lowest and highest of the fillings; ``outlying``: the share
    of fillings that are closer to the others than the truth is. ``expected`` is what truth and fillings of one
    distribution would have.
    """
    truth, rows = hole_pixels(target, hole), []
    for name in (*(start(space) for space in SPACES), LONG, NOISE, BOTH, FACES):
        values = hole_pixels(found[name].image, hole)
        shares = [inside(samples, x) for samples, x in zip(values, truth, strict=True)]
        ranks = [outlyingness(matrix) for matrix in apart[name]]
        rows.append((name, "inside", *mean_interval(shares, resamples=resamples), nominal(values.shape[1])))
        rows.append((name, "outlying", *mean_interval(ranks, resamples=resamples), 0.5))
    return pd.DataFrame(rows, columns=["source", "measure", "mean", "low", "high", "expected"])


def decomposition(found: Mapping[str, Fillings], hole: Tensor, *, crossed: int, resamples: int) -> pd.DataFrame:
    """Returns the shares of the hole's sum of squares in two crossed designs, start × space and start × shifted hole.

    Columns design, part, mean, low, high (over faces) and chance: the share that independent fillings would give.
    """
    spaces = torch.stack([found[start(each)].image for each in SPACES], dim=2)
    designs = {"start × space": ("space", spaces),
               "start × hole": ("hole", found[CROSSED].image.unflatten(1, (crossed, -1)))}  # fmt: skip
    rows = []
    for design, (other, images) in designs.items():
        shares = np.array([decompose(hole_pixels(each, hole)) for each in images])
        by_chance = chance(*images.shape[1:3])
        for part, values, share in zip(("start", other, "interaction"), shares.T, by_chance, strict=True):
            rows.append((design, part, *mean_interval(values, resamples=resamples), share))
    return pd.DataFrame(rows, columns=["design", "part", "mean", "low", "high", "chance"])


def beyond_noise(table: pd.DataFrame, space: str, *, resamples: int) -> Interval:
    """Returns what :data:`C2` tests: hole LPIPS of ``start`` less that of NOISE, as a fraction of that of FACES."""
    lpips = fractions(table, "lpips")
    return paired_difference(lpips[start(space)], lpips[NOISE], resamples=resamples)


def fitting(found: Mapping[str, Fillings], fits: float) -> np.ndarray:
    """Returns which fillings of LONG fit the known pixels, bool (F, L).

    They err there at most ``fits`` times as much as the face's best, and at most :data:`CLOSE` of what FACES do on
    average: without a search all are alike, and none fits.
    """
    known = found[LONG].known
    most = torch.minimum(fits * known.amin(dim=1), CLOSE * found[FACES].known.mean(dim=1))
    return (known <= most[:, None]).cpu().numpy()


def diverse(found: Mapping[str, Fillings], apart: Mapping[str, np.ndarray], *, fits: float, resamples: int) -> Interval:
    """Returns what :data:`C5` tests: hole LPIPS between fitting fillings of LONG as a fraction of that of FACES.

    Only those that fit count (:func:`fitting`): where the search has not come far, fillings differ as starts do, which
    says nothing. A face with fewer than two counts as 0.
    """
    values = []
    for face, kept in enumerate(fitting(found, fits)):
        among = apart[LONG][face, 1:, 1:][np.ix_(kept, kept)]
        ours = mean_distance(among).mean() if len(among) > 1 else 0.0
        values.append(ours / mean_distance(apart[FACES][face, 1:, 1:]).mean())
    return mean_interval(values, resamples=resamples)


def best(found: Fillings) -> tuple[Tensor, Tensor]:
    """Returns every face's filling with the least error on the known pixels: codes (F, w_dim) in W, errors (F,)."""
    faces, chosen = torch.arange(len(found.known)), found.known.argmin(dim=1)
    return found.code[faces, chosen, 0], found.known[faces, chosen]


def sd_maps(images: Tensor) -> Tensor:
    """Returns a pixel's standard deviation over fillings (F, L, 3, R, R), (F, R, R); root mean square over channels."""
    return images.double().var(dim=1).mean(dim=1).sqrt()


def pinned(spectra: Spectra, *, resamples: int) -> pd.DataFrame:
    """Returns how many directions of the code the visible part pins down; columns hidden, mean, low, high, of."""
    table = spectra.table.assign(pinned=spectra.table["value"] > spectra.table["sigma"])
    rows = []
    for hidden, group in table.groupby("hidden"):
        counts = group.groupby("face")["pinned"].sum()
        rows.append((hidden, *mean_interval(counts, resamples=resamples), group["index"].max()))
    return pd.DataFrame(rows, columns=["hidden", "mean", "low", "high", "of"])


def explained(images: Tensor, spectra: Spectra, hole: Tensor, *, resamples: int) -> pd.DataFrame:
    """Returns how well maps foretell where fillings (F, L >= 4, 3, R, R) differ; a row a map.

    Columns map, mean, low, high (Spearman's correlation over the hole's pixels with the observed standard deviation,
    over faces), size, size_low, size_high (the map's mean as a fraction of the observed; NaN where units differ).
    Baselines: what was possible before anything was seen, and the distance to the edge of the hole. The last row is
    about what a perfect map would reach, for so few fillings show a noisy one: from the correlation r of the maps of
    their two halves, sqrt(2 r / (1 + r)) (Spearman 1910, Brown 1910).
    """
    seen, half = hole[0, 0] > 0.5, images.shape[1] // 2
    pick = lambda maps: maps[:, seen].double().cpu().numpy()  # noqa: E731
    observed, first, second = (pick(sd_maps(part)) for part in (images, images[:, :half], images[:, half:]))
    edge = torch.from_numpy(distance_transform_edt(hole[0, 0].cpu().numpy())).expand(len(images), -1, -1)
    theory = {SEEN: spectra.posterior, UNSEEN: spectra.prior}
    rows, unknown = [], (np.nan, np.nan, np.nan)
    for name, maps in theory.items():
        size = mean_interval(pick(maps).mean(axis=1) / observed.mean(axis=1), resamples=resamples)
        rows.append((name, *_ranks(pick(maps), observed, resamples), *size))
    rows.append((EDGE, *_ranks(pick(edge), observed, resamples), *unknown))
    halves = np.clip(_ranks(first, second, resamples), 0.0, 1.0)
    rows.append((CEILING, *np.sqrt(2.0 * halves / (1.0 + halves)), *unknown))
    return pd.DataFrame(rows, columns=["map", "mean", "low", "high", "size", "size_low", "size_high"])


def _ranks(a: np.ndarray, b: np.ndarray, resamples: int) -> Interval:
    """Spearman's correlation of each row with its fellow, mean over them."""
    return mean_interval([spearmanr(*pair).statistic for pair in zip(a, b, strict=True)], resamples=resamples)
