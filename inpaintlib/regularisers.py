"""What else may help a search: regularisers, noise, optimisers, starts, spaces and schedules, one change at a time.

All methods get the same targets, mask, seeds and number of generator passes; every one differs from the *default* in
one thing. Scores are those of the filling, by networks that no objective read; a method whose objective contained the
discriminator has no logit, since a network that was climbed does not judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .checks import InpaintError
from .claims import needed
from .experiments import BASELINE, at_mean_code, generated_faces, score, verdict
from .features import Percept
from .grid import Method
from .invert import Inversion
from .losses import masked_mse, objective_from
from .metrics import Interval, effect_size, mean_interval, paired_difference, paired_test, relative_difference
from .probes import logits
from .search import SCHEDULES, SPACES, Search
from .sets import Features, set_scores
from .stylegan2 import Discriminator, Generator

__all__ = ["C7", "DEFAULT", "METRICS", "decide", "differences", "dimensions", "equivalence", "face_scores",
           "holm", "methods", "passes", "realism", "regularised", "tradeoff"]  # fmt: skip

DEFAULT = "default"
LABELS = {"adversarial": "adversarial", "l2": "L2", "mahalanobis": "Mahalanobis"}
METRICS = ("lpips", "psnr", "known_mse", "logit")
MOST_DIMS = 64  # of a Fréchet distance
C7 = (
    "L2 regularisation and discriminator losses do not noticeably improve the result (tested: with each of them, at "
    "every weight, the paired gain in hole LPIPS lies below {noticeable:.0%} of what the default leaves; the effect is "
    "that fraction for {method}, the one that decides)"
)


def regularised(weights: Mapping[str, Sequence[float]]) -> dict[str, list[str]]:
    """Returns regulariser -> the names of its methods, the lowest weight first.

    Args:
        weights: ``adversarial``, ``l2`` or ``mahalanobis`` -> weights.
    """
    return {kind: [f"{LABELS[kind]} {weight:g}" for weight in sorted(listed)] for kind, listed in weights.items()}


def methods(fidelity: Mapping[str, object], search: Search, weights: Mapping[str, Sequence[float]], *, generator: str,
            discriminator: str, lbfgs_step: float, best_of: int) -> dict[str, Method]:  # fmt: skip
    """Returns the methods of the report ``regularisers``, the default first, all of equal generator passes.

    Args:
        fidelity: keys of the default's objective, for :func:`~inpaintlib.losses.objective_from`.
        search: the default's.
        weights: as in :func:`regularised`.
        generator: name or file of the network whose mapped codes the priors know.
        discriminator: name or file of that of the adversarial term.
        lbfgs_step: first step length of L-BFGS.
        best_of: candidates of the start ``best``.
    """
    prior = lambda form: {"prior_form": form, "prior_network": generator}  # noqa: E731
    options = {"adversarial": ("adversarial", {"adversarial_network": discriminator}), "l2": ("prior", prior("l2")),
               "mahalanobis": ("prior", prior("mahalanobis"))}  # fmt: skip
    found = {DEFAULT: Method(objective_from(fidelity), search)}
    for kind, names in regularised(weights).items():
        term, keys = options[kind]
        for name, weight in zip(names, sorted(weights[kind]), strict=True):
            found[name] = Method(objective_from({**fidelity, f"{term}_weight": weight, **keys}), search)
    changes: dict[str, dict[str, object]] = {
        "drawn noise": {"noise": "random"},
        "optimised noise": {"noise": "optimised"},
        "L-BFGS": {"optimiser": "lbfgs", "learning_rate": lbfgs_step},
        "random start": {"start": "random"},
        f"best of {best_of}": {"start": "best", "candidates": best_of},
    }
    changes |= {f"space {space.upper()}": {"space": space} for space in SPACES if space != search.space}
    changes |= {f"{schedule} rate": {"schedule": schedule} for schedule in SCHEDULES if schedule != search.schedule}
    plain = found[DEFAULT].objective
    return found | {name: Method(plain, replace(search, **change)) for name, change in changes.items()}


def face_scores(records: Mapping[str, Inversion], tested: Mapping[str, Method], target: Tensor, mask: Tensor, *,
                judge: Percept, discriminator: Discriminator, network: str) -> pd.DataFrame:  # fmt: skip
    """Returns a row a method and face, the mean code's image (no search at all) first.

    Columns method, item, lpips (hole LPIPS) and psnr (dB, of the hole) of the composite, known_mse of G(w) (clamped),
    logit (the discriminator's of the composite by itself; NaN where the objective read the network named ``network``).
    """
    first = next(iter(records.values()))
    images = {BASELINE: at_mean_code(first.generator, len(target))} | {n: r.image for n, r in records.items()}
    scores = score(images, target, mask, judge=judge)
    table = scores[scores["region"] == "hole"][["method", "item", "lpips", "psnr"]].reset_index(drop=True)
    for name, image in images.items():
        rows = table["method"] == name
        clamped = image.clamp(-1, 1)
        with torch.no_grad():
            table.loc[rows, "known_mse"] = masked_mse(clamped, target, mask).double().numpy()
        climbed = name in tested and network in tested[name].objective.networks
        filled = torch.where(mask > 0.5, clamped, target)
        table.loc[rows, "logit"] = np.nan if climbed else logits(discriminator, filled).double().numpy()
    return table


def holm(p: Sequence[float]) -> np.ndarray:
    """Returns p values adjusted for their number (Holm 1979), in the given order, at most 1.

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(p, dtype=float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return adjusted.clip(max=1.0)


def differences(table: pd.DataFrame, *, resamples: int) -> pd.DataFrame:
    """Returns how every method differs from the default, paired over the faces, a row a metric and method.

    Columns method, metric, n, default, mean (of the method), difference (method less default) with its 95 % bootstrap
    interval low and high, d_z (Cohen's, paired), p (Wilcoxon's signed ranks) and p_holm, adjusted over the methods of
    the metric. A metric that a method lacks is NaN.

    Args:
        table: of :func:`face_scores`.
    """
    names = [name for name in dict.fromkeys(table["method"]) if name not in (BASELINE, DEFAULT)]
    if not names:
        raise InpaintError("table must hold methods beside the default; there is none")
    rows = []
    for metric in METRICS:
        wide = table.pivot(index="item", columns="method", values=metric)
        ours = [name for name in names if wide[name].notna().all()]
        adjusted = dict(zip(ours, holm([paired_test(wide[name], wide[DEFAULT]) for name in ours]), strict=True))
        for name in names:
            a, b, numbers = wide[name], wide[DEFAULT], [np.nan] * 6
            if name in ours:
                found = paired_difference(a, b, resamples=resamples)
                numbers = [*found, effect_size(a, b), paired_test(a, b), adjusted[name]]
            rows.append((name, metric, len(wide), b.mean(), a.mean(), *numbers))
    columns = ["method", "metric", "n", "default", "mean", "difference", "low", "high", "d_z", "p", "p_holm"]
    return pd.DataFrame(rows, columns=columns)


def dimensions(n: int) -> int:
    """Returns in how many dimensions sets of n images have a Fréchet distance, 2 to 64 (none with fewer than 5)."""
    return min(MOST_DIMS, max(2, (n - 1) // 2))


def realism(records: Mapping[str, Inversion], target: Tensor, generator: Generator, features: Features, *,
            reference: int, seed: int) -> pd.DataFrame:  # fmt: skip
    """Returns how far each method's composites are from other generated faces, as a set.

    The columns are those of :func:`~inpaintlib.sets.set_scores` with method in place of images; the Fréchet distance is
    in :func:`dimensions` of n, and u_ids and p_ids take a composite and its target for a pair.

    Args:
        target: (N, 3, R, R), what the composites are inpaintings of.
        features: of a network that no objective read.
        reference: number of the other faces, seeded from ``seed`` on.
    """
    others = generated_faces(generator, reference, seed=seed)
    composites = {name: record.composite for name, record in records.items()}
    dims = dimensions(min(len(target), reference // 2))
    found = set_scores(composites, others, features=features, targets=target, dims=dims, seed=seed)
    return found.rename(columns={"images": "method"})


def tradeoff(table: pd.DataFrame, distances: pd.DataFrame, *, resamples: int) -> pd.DataFrame:
    """Returns fidelity and realism of each method, a row a method and panel (lpips, kid, logit).

    Columns method, panel, then known_mse, known_low, known_high (the error of the known pixels) and value, low, high.

    Args:
        table: of :func:`face_scores`; distances: of :func:`realism`.
    """
    rows = []
    kid = distances[distances["metric"] == "kid"].set_index("method")[["value", "low", "high"]]
    for name, group in table[table["method"] != BASELINE].groupby("method", sort=False):
        known = mean_interval(group["known_mse"], resamples=resamples)
        for panel in ("lpips", "kid", "logit"):
            if panel == "kid":
                value = tuple(kid.loc[name])
            elif group[panel].isna().any():
                value = (np.nan, np.nan, np.nan)
            else:
                value = tuple(mean_interval(group[panel], resamples=resamples))
            rows.append((name, panel, *known, *value))
    columns = ["method", "panel", "known_mse", "known_low", "known_high", "value", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def passes(records: Mapping[str, Inversion], *, near: float, resamples: int) -> pd.DataFrame:
    """Returns how many generator passes each method takes, a row a method, the default first.

    The error is the lowest masked squared error of the known pixels so far; what only the closing evaluation finds
    counts as found at the last pass. Columns method, n (faces), error (mean, at
    the end), mean, low, high (passes until the error is within the fraction ``near`` of its last value, with a 95 %
    bootstrap interval), reached (share of the faces whose error comes within ``near`` of the *default's* last value)
    and until_default (mean passes until then; NaN unless all reach it).
    """
    rows, goal = [], None
    for name in (DEFAULT, *(n for n in records if n != DEFAULT)):
        history = records[name].history
        error = history.pivot(index="step", columns="item", values="mse").cummin().to_numpy()
        goal = error[-1] if goal is None else goal
        own = _first(error <= (1.0 + near) * error[-1], records[name].search)
        close = error <= (1.0 + near) * goal
        reached = close.any(axis=0)
        until = float(_first(close, records[name].search).mean()) if reached.all() else np.nan
        rows.append((name, error.shape[1], error[-1].mean(), *mean_interval(own, resamples=resamples), reached.mean(),
                     until))  # fmt: skip
    columns = ["method", "n", "error", "mean", "low", "high", "reached", "until_default"]
    return pd.DataFrame(rows, columns=columns)


def _first(close: np.ndarray, search: Search) -> np.ndarray:
    """The pass at which a column first holds, a row a step; the closing evaluation is no pass of its own."""
    return np.minimum(close.argmax(axis=0) + 1, search.passes)


def equivalence(table: pd.DataFrame, names: Sequence[str], *, noticeable: float, resamples: int) -> pd.DataFrame:
    """Returns the gain of each regulariser in hole LPIPS against what counts as noticeable, a row a method.

    Columns method, n, gain (default less method, paired, as a fraction of what the default leaves), low, high (the
    fraction's bootstrap interval, since what the default leaves is of the same faces), least (the threshold), improves
    (``no`` if the interval lies below it, ``yes`` if above, else ``undecided``) and needed, about how many faces would
    decide it if the gain stays what it is (NaN where it is decided).

    Args:
        table: of :func:`face_scores`.
        names: of the regularisers' methods.
        noticeable: as a fraction of the default's mean hole LPIPS.
    """
    wide = table.pivot(index="item", columns="method", values="lpips")
    base, words = wide[DEFAULT], {"supported": "yes", "not supported": "no", "undecided": "undecided"}
    rows = []
    for name in names:
        gain = relative_difference(base, wide[name], base, resamples=resamples)
        improves = words[verdict(gain, least=noticeable)]
        faces = needed(len(wide), *gain, noticeable) if improves == "undecided" else None
        rows.append((name, len(wide), *gain, noticeable, improves, np.nan if faces is None else faces))
    columns = ["method", "n", "gain", "low", "high", "least", "improves", "needed"]
    return pd.DataFrame(rows, columns=columns)


def decide(table: pd.DataFrame) -> tuple[str, Interval, str]:
    """Returns the method that decides claim C7, its gain, and the verdict.

    Supported if no regulariser's interval reaches the threshold, not supported if one's lies above it, else undecided.
    The one that decides is that with the highest lower end where C7 is not supported, else with the highest upper end.

    Args:
        table: of :func:`equivalence`.
    """
    improves = set(table["improves"])
    decided = "not supported" if "yes" in improves else "undecided" if "undecided" in improves else "supported"
    row = table.loc[table["low" if decided == "not supported" else "high"].idxmax()]
    return row["method"], Interval(row["gain"], row["low"], row["high"]), decided
