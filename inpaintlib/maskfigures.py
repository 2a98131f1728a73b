"""The figures of the report ``mask_robustness``; as those of :mod:`inpaintlib.figures` they only build and return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from .experiments import BASELINE, READABLE
from .figures import CELL, PALETTE, estimates
from .images import sheet, to_uint8
from .robustness import GROUPS, SEARCH, Filled, Frozen

__all__ = [
    "against_coverage",
    "against_level",
    "changes",
    "difficulty_map",
    "filling_sheet",
    "mask_sheet",
    "on_photographs",
]

MARKS = ("o", "s", "^", "D")
LABELS = {
    **{name: f"hole {title}\n{'lower' if name == 'lpips' else 'higher'} is better" for name, title in READABLE.items()},
    "agreement": "attributes decided alike\nhigher is better",
    "seam": "step at the edge,\n1 = as in the target",
}
GAP = 2  # px around a picture


def _sheet(rows: Sequence[str], columns: Sequence[str], pictures: Mapping[tuple[int, int], Tensor]) -> Figure:
    """A table of pictures (3, H, W) at (row, column); the rest is blank."""
    height, width = next(iter(pictures.values())).shape[1:]
    cells = torch.ones(len(rows) * len(columns), 3, height + 2 * GAP, width + 2 * GAP)
    for (row, column), picture in pictures.items():
        cells[row * len(columns) + column, :, GAP:-GAP, GAP:-GAP] = picture.cpu()
    fig = Figure(figsize=(CELL * len(columns) + 0.7, CELL * len(rows) + 0.5), layout="constrained")
    ax = fig.subplots()
    ax.imshow(to_uint8(sheet(cells, len(columns))[None])[0], interpolation="nearest")
    centres = lambda n, side: (np.arange(n) + 0.5) * (side + 2 * GAP) - 0.5  # noqa: E731
    ax.set_xticks(centres(len(columns), width), [c.replace("-", "\n") for c in columns], fontsize=12)
    ax.set_yticks(centres(len(rows), height), rows, fontsize=12)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return fig


def _axes_of(table: pd.DataFrame) -> tuple[list[str], list[float]]:
    return list(dict.fromkeys(table["family"])), sorted(set(table["coverage"]))


def mask_sheet(frozen: Frozen) -> Figure:
    """Returns all masks, a column a family and a row a coverage, white = hole."""
    families, coverages = _axes_of(frozen.table)
    framed = F.pad(1.6 * frozen.masks - 0.6, (1, 1, 1, 1), value=-1.0).expand(-1, 3, -1, -1)
    places = [(coverages.index(row.coverage), families.index(row.family)) for row in frozen.table.itertuples()]
    return _sheet([f"{c:.0%}" for c in coverages], families, dict(zip(places, framed, strict=True)))


def filling_sheet(filled: Filled, shown: int) -> Figure:
    """Returns the first ``shown`` faces: the target, then each as it was filled under every mask."""
    families, coverages = _axes_of(filled.items)
    pictures = {}
    for row in filled.items[filled.items["image"] < shown].itertuples():
        top = row.image * len(coverages)
        pictures[top, 0] = filled.target[row.Index]
        pictures[top + coverages.index(row.coverage), 1 + families.index(row.family)] = filled.composite[row.Index]
    rows = [f"{c:.0%}" for c in coverages] * min(shown, filled.items["image"].nunique())
    return _sheet(rows, ["target", *families], pictures)


def _line(ax: Axes, x: Sequence[float] | np.ndarray, rows: pd.DataFrame, *, dashed: bool, **look) -> None:
    error = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
    style = {"linestyle": (0, (2, 2)), "linewidth": 1, "alpha": 0.8, "marker": ""} if dashed else {"markersize": 5}
    ax.errorbar(x, rows["mean"], yerr=None if dashed else error, capsize=2, **look | style)


def _finish(ax: Axes, **labels) -> None:
    ax.set(**labels)
    ax.grid(alpha=0.3)
    sns.despine(ax=ax)


def against_coverage(table: pd.DataFrame, metrics: Sequence[str], *, lines: Mapping[str, float]) -> Figure:
    """Returns scores against the hidden fraction, a panel a group of families and metric, with 95 % intervals.

    Args:
        table: columns method, group, family, coverage, metric, mean, low, high; the baseline is dashed, without its
            interval.
        metrics: a row of panels each.
        lines: metric -> a value to compare with, a dotted line.
    """
    groups = [group for group in GROUPS if group in set(table["group"])]
    size = (2.5 * len(groups) + 1.0, 2.1 * len(metrics) + 1.2)
    fig = Figure(figsize=size, layout="constrained")
    axs = fig.subplots(len(metrics), len(groups), sharex=True, sharey="row", squeeze=False)
    for (r, metric), (c, group) in ((m, g) for m in enumerate(metrics) for g in enumerate(groups)):
        ax, part = axs[r, c], table[(table["metric"] == metric) & (table["group"] == group)]
        for i, (family, rows) in enumerate(part.groupby("family", sort=False)):
            for method, own in rows.groupby("method", sort=False):
                points = own.sort_values("coverage")
                x = points["coverage"] + 0.012 * (i - 1)  # bars of several lines would cover each other
                label = {"label": family} if method == SEARCH else {}
                _line(ax, x, points, dashed=method == BASELINE, color=PALETTE[i], marker=MARKS[i], **label)
        if metric in lines:
            ax.axhline(lines[metric], color="0.4", linestyle=":", linewidth=1.2)
        bottom = r == len(metrics) - 1
        _finish(ax, xlabel="hidden fraction" if bottom else "", ylabel="" if c else LABELS[metric])
        if not r:
            ax.set_title(group, fontsize=11)
        if bottom:
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.24), frameon=False, fontsize=9)
    return fig


def difficulty_map(target: Tensor, difficulties: Tensor, count: Tensor) -> Figure:
    """Returns the mean face, the mean map of difficulty and how many masks hid each pixel, side by side.

    Args:
        target: (F, 3, R, R).
        difficulties: (F, R, R) and count: (R, R), of :func:`~inpaintlib.robustness.difficulty`; NaN is blank.
    """
    fig = Figure(figsize=(10.5, 3.4), layout="constrained")
    axs = fig.subplots(1, 3)
    axs[0].imshow(to_uint8(target.mean(dim=0, keepdim=True))[0], interpolation="nearest")
    axs[0].set_title("mean of the faces", fontsize=11)
    maps = (("difficulty", difficulties.mean(dim=0), "error / mean error of its hole"),
            ("how often it was hidden", count, "masks that hide the pixel"))  # fmt: skip
    for ax, (title, values, label) in zip(axs[1:], maps, strict=True):
        picture = ax.imshow(values.numpy(), cmap="viridis", interpolation="nearest")
        ax.set_title(title, fontsize=11)
        fig.colorbar(picture, ax=ax, label=label, shrink=0.85)
    for ax in axs:
        ax.set(xticks=[], yticks=[])
    return fig


def against_level(table: pd.DataFrame, metrics: Sequence[str]) -> Figure:
    """Returns scores against what was done to the known pixels, a column a kind, clean first, with 95 % intervals.

    Args:
        table: columns method, kind, level, metric, mean, low, high; kinds clean, noise, JPEG.
        metrics: a row of panels each.
    """
    titles = {"noise": "sigma of the noise, range [-1, 1]", "JPEG": "JPEG quality"}
    kinds = [kind for kind in titles if kind in set(table["kind"])]
    fig = Figure(figsize=(4.2 * len(kinds) + 1.0, 2.4 * len(metrics) + 0.6), layout="constrained")
    axs = fig.subplots(len(metrics), len(kinds), sharex="col", sharey="row", squeeze=False)
    for (r, metric), (c, kind) in ((m, k) for m in enumerate(metrics) for k in enumerate(kinds)):
        part = table[(table["metric"] == metric) & table["kind"].isin(["clean", kind])]
        for i, (method, rows) in enumerate(part.groupby("method", sort=False)):
            colour = {"color": PALETTE[i], "marker": MARKS[i], "label": method}
            _line(axs[r, c], np.arange(len(rows)), rows, dashed=method == BASELINE, **colour)
        names = ["clean" if np.isnan(level) else f"{level:g}" for level in rows["level"]]
        axs[r, c].set_xticks(np.arange(len(rows)), names)
        axs[r, c].margins(x=0.12)
        bottom = r == len(metrics) - 1
        _finish(axs[r, c], xlabel=titles[kind] if bottom else "", ylabel="" if c else LABELS[metric])
    axs[0, 0].legend(frameon=False, fontsize=9)
    return fig


def changes(table: pd.DataFrame) -> Figure:
    """Returns what shifts of a mask and another start change, of :func:`~inpaintlib.corruptions.stability_summary`."""
    labels = {"lpips": "change of hole LPIPS", "filling": "change of the filling, range [-1, 1]"}
    return estimates(table.rename(columns={"change": "method"}), labels)


def on_photographs(generated: pd.DataFrame, photographs: pd.DataFrame) -> Figure:
    """Returns hole LPIPS against the hidden fraction, a panel a family, for both kinds of faces.

    Args:
        generated, photographs: as :func:`against_coverage` takes; families of the second are shown.
    """
    families = list(dict.fromkeys(photographs["family"]))
    fig = Figure(figsize=(3.4 * len(families) + 2.6, 3.2), layout="constrained")
    axs = fig.subplots(1, len(families), sharey=True, squeeze=False)
    for ax, family in zip(axs[0], families, strict=True):
        for i, (name, table) in enumerate((("generated", generated), ("photograph", photographs))):
            part = table[(table["family"] == family) & (table["metric"] == "lpips")]
            for method, rows in part.groupby("method", sort=False):
                rows = rows.sort_values("coverage")
                look = {"color": PALETTE[i], "marker": MARKS[i], "label": f"{name}, {method}"}
                _line(ax, rows["coverage"] + 0.012 * i, rows, dashed=method == BASELINE, **look)
        ax.set_title(family, fontsize=11)
        _finish(ax, xlabel="hidden fraction", ylabel=LABELS["lpips"] if ax is axs[0, 0] else "")
    fig.legend(*axs[0, 0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=9)
    return fig
