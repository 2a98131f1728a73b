"""Figures and sentences of the report ``regularisers``."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from torch import Tensor

from .claims import two_digits
from .experiments import BASELINE
from .figures import PALETTE, curves, estimates, masked, sample_grid
from .invert import Inversion
from .losses import Objective
from .metrics import Interval
from .regularisers import DEFAULT, METRICS, dimensions

__all__ = [
    "baselines",
    "compared",
    "convergence_figure",
    "cost",
    "difference_figure",
    "equivalent",
    "gallery",
    "realistic",
    "sets_table",
    "tradeoff_figure",
]

# Metric -> its name, and the sign of what is better.
TITLES = {
    "lpips": ("hole LPIPS", -1), "psnr": ("hole PSNR in dB", 1), "known_mse": ("squared error of known pixels", -1),
    "logit": ("discriminator's logit", 1), "kid": ("KID", -1), "frechet": ("Fréchet distance", -1),
    "precision": ("precision", 1), "recall": ("recall", 1), "density": ("density", 1), "coverage": ("coverage", 1),
    "u_ids": ("U-IDS", 1), "p_ids": ("P-IDS", 1),
}  # fmt: skip
PANELS = ("lpips", "kid", "logit")  # of fidelity and realism
OTHERS = "other generated faces"
MARKS = ("s", "^", "D", "v", "P", "X", "<", ">", "*", "p", "h", "d")


def gallery(records: Mapping[str, Inversion], names: Sequence[str], target: Tensor, mask: Tensor,
            shown: int) -> Figure:  # fmt: skip
    """Returns the first ``shown`` faces, a row each for the target, the masked target and every method's composite.

    Args:
        names: of the methods after the default.
        target, mask: (N, 3, R, R) and (1, 1, R, R).
    """
    rows = {"target": target, "masked": masked(target, mask)}
    rows |= {name: records[name].composite for name in (DEFAULT, *names)}
    images = torch.cat([row[:shown] for row in rows.values()])
    return sample_grid(images, len(target[:shown]), row_labels=list(rows))


def difference_figure(table: pd.DataFrame) -> Figure:
    """Returns paired differences from the default with 95 % intervals, a row a method and a panel a metric.

    Args:
        table: of :func:`~inpaintlib.regularisers.differences`.
    """
    labels = {metric: f"{TITLES[metric][0]},\nmore than the default's" for metric in METRICS if metric != "logit"}
    fig = estimates(table.drop(columns="mean").rename(columns={"difference": "mean"}), labels)
    for ax in fig.axes:
        ax.axvline(0.0, color="0.3", linewidth=1, linestyle="--", zorder=0)
    return fig


def baselines(table: pd.DataFrame, distances: pd.DataFrame) -> dict[str, tuple[str, float]]:
    """Returns panel -> what to compare with, for :func:`tradeoff_figure`: its name and value.

    Args:
        table: of :func:`~inpaintlib.regularisers.face_scores`; distances: of :func:`~inpaintlib.regularisers.realism`.
    """
    base = table[table["method"] == BASELINE]
    kid = distances[distances["metric"] == "kid"]["baseline"].iloc[0]
    return {"lpips": (BASELINE, float(base["lpips"].mean())), "kid": (OTHERS, float(kid)),
            "logit": (BASELINE, float(base["logit"].mean()))}  # fmt: skip


def tradeoff_figure(points: pd.DataFrame, families: Mapping[str, Sequence[str]],
                    lines: Mapping[str, tuple[str, float]]) -> Figure:  # fmt: skip
    """Returns realism against fidelity, a marker a method with 95 % intervals, and a line through a family's weights.

    Args:
        points: of :func:`~inpaintlib.regularisers.tradeoff`.
        families: regulariser -> its methods by weight; the line begins at the default, the weight 0.
        lines: panel -> name and value of what to compare with, dotted.
    """
    fig = Figure(figsize=(9.6, 4.4), layout="constrained")
    axs = fig.subplots(1, len(PANELS))
    looks = _looks(list(dict.fromkeys(points["method"])), families)
    for ax, panel in zip(axs, PANELS, strict=True):
        label = f"{TITLES[panel][0]}, {'higher' if TITLES[panel][1] > 0 else 'lower'} is better"
        rows = points[points["panel"] == panel].dropna().set_index("method")
        ax.set(xlabel="squared error of known pixels", ylabel=label)
        if rows.empty:
            ax.text(0.5, 0.5, "too few faces", transform=ax.transAxes, ha="center")
            continue
        for names in families.values():
            path = rows.loc[[name for name in (DEFAULT, *names) if name in rows.index]]
            ax.plot(path["known_mse"], path["value"], color=looks[names[0]]["color"], linewidth=1, zorder=1)
        for name, row in rows.iterrows():
            _point(ax, row, **looks[name], label=name)
        said, value = lines[panel]
        ax.axhline(value, color="0.4", linestyle=":", linewidth=1.2)
        ax.annotate(said, (1.0, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8)
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.grid(alpha=0.3)
        sns.despine(ax=ax)
    fig.legend(*axs[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return fig


def convergence_figure(records: Mapping[str, Inversion], names: Sequence[str], objective: Objective) -> Figure:
    """Returns the lowest value of an objective so far against generator passes, the median over faces, a line a method.

    Args:
        names: methods whose history has a column for each of the objective's terms; what a search adds of its own, as
            the penalty on noise, does not count.
    """
    histories = {}
    for name in names:
        history = records[name].history
        value = sum(weighted.weight * history[term] for term, weighted in objective.terms.items())
        lowest = value.groupby(history["item"]).cummin()
        histories[name] = pd.DataFrame({"step": history["step"] + 1, "lowest": lowest})
    fig = curves(histories, column="lowest", label=f"lowest objective so far ({' + '.join(objective.terms)})")
    (ax,) = fig.axes
    ax.set_xlabel("generator passes, then the closing evaluation")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)
    return fig


def _looks(methods: Sequence[str], families: Mapping[str, Sequence[str]]) -> dict[str, dict[str, object]]:
    """A marker and a colour for each method: one colour a regulariser, larger markers for larger weights."""
    looks = {DEFAULT: {"color": "black", "marker": "o", "markersize": 8}}
    for colour, (names, mark) in zip(PALETTE, zip(families.values(), MARKS, strict=False), strict=False):
        looks |= {n: {"color": colour, "marker": mark, "markersize": 5 + 2 * i} for i, n in enumerate(names)}
    rest = [name for name in methods if name not in looks]
    others = zip(rest, itertools.cycle(PALETTE[len(families) :]), itertools.cycle(MARKS[len(families) :]), strict=False)
    return looks | {name: {"color": colour, "marker": mark, "markersize": 6} for name, colour, mark in others}


def _point(ax: Axes, row: pd.Series, **look) -> None:
    error = {"xerr": [[row["known_mse"] - row["known_low"]], [row["known_high"] - row["known_mse"]]],
             "yerr": [[row["value"] - row["low"]], [row["high"] - row["value"]]]}  # fmt: skip
    bars = ax.errorbar(row["known_mse"], row["value"], linestyle="", elinewidth=0.6, **error, **look)
    for bar in bars[2]:
        bar.set_alpha(0.35)


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"*{name}*" for name in names)


def compared(table: pd.DataFrame) -> str:
    """Reading of :func:`~inpaintlib.regularisers.differences`: which methods differ from the default."""
    lines = []
    for metric, (what, better) in ((metric, TITLES[metric]) for metric in METRICS):
        rows = table[table["metric"] == metric]
        low, high = (rows["low"], rows["high"]) if better > 0 else (-rows["high"], -rows["low"])
        best = rows.loc[(better * rows["difference"]).idxmax()]
        lines.append(
            f"* {what}: better by the intervals {_names(rows[low > 0]['method']) or 'none'}; worse "
            f"{_names(rows[high < 0]['method']) or 'none'}. The best mean of the others is that of *{best['method']}*, "
            f"{best['mean']:.4g} ({Interval(best['difference'], best['low'], best['high'])} more than the default's "
            f"{best['default']:.4g}, $d_z$ {best['d_z']:.2f}, p {best['p']:.2g}, by Holm {best['p_holm']:.2g})."
        )
    n, family = int(table["n"].iloc[0]), int(table.dropna().groupby("metric").size().min())
    certain = table[table["p_holm"] < 0.05]
    least = min(1.0, family * 2.0 ** (1 - n))
    named = [f"*{row.method}* ({TITLES[row.metric][0]})" for row in certain.itertuples()]
    return (
        "Against the default:\n\n" + "\n".join(lines)
        + f"\n\nThe tests of a metric, at least {family} of them, are one family. After Holm's correction, p < 0.05 "
        f"holds for {', '.join(named) or 'none'}. With {n} faces no adjusted p can be below {least:.2g}"
        + (": too few faces for any." if least >= 0.05 else ".")
    )  # fmt: skip


def realistic(points: pd.DataFrame, distances: pd.DataFrame) -> str:
    """Reading of :func:`~inpaintlib.regularisers.tradeoff` and of the distances' baseline."""
    told = []
    for panel in ("kid", "logit"):
        what, better = TITLES[panel]
        rows = points[points["panel"] == panel].dropna().set_index("method")
        if DEFAULT not in rows.index:
            told.append(f"{what} needs more faces")
            continue
        best = (better * rows["value"]).idxmax()
        base = distances[distances["metric"] == "kid"]["baseline"].iloc[0]
        aside = f" ({OTHERS} {base:.3g})" if panel == "kid" else ""
        own, other = (Interval(*rows.loc[name, ["value", "low", "high"]]) for name in (DEFAULT, best))
        told.append(f"{what} is {own} with the default{aside}, the best mean is {other} with *{best}*")
    return f"Realism: {'; '.join(told)}. Methods whose objective held the discriminator have no logit."


def sets_table(distances: pd.DataFrame) -> pd.DataFrame:
    """Returns the distances for reading: a row a method, other generated faces first, cells "value [low, high]".

    Columns images, features (the network's), faces, then one a metric; a dash where it needs more faces.

    Args:
        distances: of :func:`~inpaintlib.regularisers.realism`.
    """
    first = distances["method"] == distances["method"].iloc[0]
    base = distances[first].assign(method=OTHERS, **{name: distances[f"baseline{end}"] for name, end in (
        ("value", ""), ("low", "_low"), ("high", "_high"))})  # fmt: skip
    every = pd.concat([base, distances])
    numbers = every[["value", "low", "high"]].to_numpy()
    cells = ["–" if pd.isna(row).any() else str(Interval(*row)) for row in numbers]
    wide = every.assign(cell=cells).pivot(index="method", columns="metric", values="cell")
    wide = wide.loc[every["method"].drop_duplicates(), every["metric"].drop_duplicates()]
    faces = int(distances["n"].iloc[0])
    titles = {metric: TITLES[metric][0] for metric in wide} | {"frechet": f"Fréchet, {dimensions(faces)} dimensions"}
    wide = wide.rename(columns=titles).rename_axis(columns=None).reset_index(names="images")
    wide.insert(1, "features", distances["features"].iloc[0])
    wide.insert(2, "faces", faces)
    return wide


def cost(table: pd.DataFrame, near: float) -> str:
    """Reading of :func:`~inpaintlib.regularisers.passes`."""
    first = table.iloc[0]
    quick = table[table["until_default"] < first["until_default"]].sort_values("until_default")
    never = table[table["reached"] < 1.0]
    faster = [f"*{row.method}* ({row.until_default:.1f})" for row in quick.itertuples()]
    return (
        f"With the default the error of the known pixels is within {near:.0%} of its last value after "
        f"{Interval(*first[['mean', 'low', 'high']])} passes. Before the default, on average, it is reached within "
        f"{near:.0%} by {', '.join(faster) or 'none'}; for some face it is never reached by "
        f"{_names(never['method']) or 'none'}."
    )


def equivalent(table: pd.DataFrame) -> str:
    """Reading of :func:`~inpaintlib.regularisers.equivalence`."""
    lines = []
    for row in table.itertuples():
        word = {"no": "no noticeable gain", "yes": "a noticeable gain", "undecided": "undecided"}[row.improves]
        more = "" if pd.isna(row.needed) else f"; about {two_digits(row.needed)} faces would decide it"
        lines.append(f"* *{row.method}*: gain {row.gain:+.1%} ({row.low:+.1%} to {row.high:+.1%}): {word}{more}.")
    least = table["least"].iloc[0]
    return f"Gains in hole LPIPS, of what the default leaves; noticeable is {least:.0%}:\n\n" + "\n".join(lines)
