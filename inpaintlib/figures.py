"""The study's figures. Every function builds one matplotlib figure and returns it; none writes or shows.

Colours are seaborn's ``colorblind`` palette; sizes are in inches and fixed, so that equal inputs give
equal files.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from .images import resize, to_uint8
from .masks import resize_mask
from .stylegan2 import Generator

__all__ = ["architecture", "architecture_table", "curves", "estimates", "heat", "image_columns", "masked",
           "paired", "rates", "sample_grid", "sweep", "training_curve"]  # fmt: skip

PALETTE = sns.color_palette("colorblind")
CELL = 0.95  # inches of one face


def _subplots(rows: int = 1, columns: int = 1, *, figsize: tuple[float, float], layout: str | None = None, **options):
    """A figure of its own, which no global state of pyplot knows, and its axes."""
    fig = Figure(figsize=figsize, layout=layout)
    return fig, fig.subplots(rows, columns, **options)


def masked(target: Tensor, mask: Tensor) -> Tensor:
    """Returns the target with its hole shown as a grey checkerboard, (N, 3, H, W)."""
    h, w = target.shape[2:]
    rows, columns = np.indices((h, w))
    step = max(h // 16, 1)
    board = np.where((rows // step + columns // step) % 2, 0.25, 0.55)
    checker = target.new_tensor(board).expand_as(target)
    return target * (1 - mask) + checker * mask


def before_after(photo: Tensor, hole: Tensor, result: Tensor) -> Figure:
    """Returns a photo (1, 3, H, W), its hole and a result side by side, shrunk to at most 512 px."""
    height, width = photo.shape[2:]
    if (scale := 512 / max(height, width)) < 1:
        size = (max(round(height * scale), 1), max(round(width * scale), 1))
        photo, result, hole = resize(photo, size), resize(result, size), resize_mask(hole, size)
    fig, axs = _subplots(1, 3, figsize=(12, 12 / 3 * photo.shape[2] / photo.shape[3] + 0.4), layout="constrained")
    pictures = {"picture": photo, "masked": masked(photo, hole), "result": result}
    for ax, (title, picture) in zip(axs, pictures.items(), strict=True):
        ax.imshow(to_uint8(picture)[0])
        ax.set_title(title, fontsize=14)
        ax.set_axis_off()
    return fig


def _strip(images: Tensor, gap: int = 2) -> np.ndarray:
    """Stacks images (N, 3, H, W) into one picture, one below the other, with white gaps."""
    pictures = to_uint8(images)
    n, h, w, _ = pictures.shape
    out = np.full((n * (h + gap) - gap, w, 3), 255, dtype=np.uint8)
    for i, picture in enumerate(pictures):
        out[i * (h + gap) : i * (h + gap) + h] = picture
    return out


def image_columns(columns: Mapping[str, Tensor], *, row_labels: Sequence[str] = ()) -> Figure:
    """Returns a table of pictures: a column for each entry (title -> (N, 3, H, W)), a row for each item."""
    n, k = len(next(iter(columns.values()))), len(columns)
    fig, axs = _subplots(1, k, figsize=(k * CELL * 1.12 + 0.3, n * CELL + 0.45), squeeze=False, layout="tight")
    for ax, (title, images) in zip(axs[0], columns.items(), strict=True):
        picture = _strip(images)
        ax.imshow(picture, interpolation="nearest")
        text = title.replace(", ", "\n")
        longest = max(map(len, text.split("\n")))
        ax.set_title(text, fontsize=min(8.0, max(5.0, 8.0 * 14 / longest)))  # neighbours must not run into each other
        ax.set_axis_off()
    if row_labels:
        height = _strip(next(iter(columns.values()))).shape[0] / n
        for i, label in enumerate(row_labels):
            axs[0, 0].text(-4, (i + 0.5) * height, label, ha="right", va="center", fontsize=7)
    return fig


def sample_grid(images: Tensor, columns: int, *, row_labels: Sequence[str] = (), column_labels: Sequence[str] = (),
                row_title: str = "", column_title: str = "") -> Figure:  # fmt: skip
    """Returns images (N, 3, H, W) in rows of ``columns``, with optional labels."""
    rows = -(-len(images) // columns)
    fig, axs = _subplots(rows, columns, figsize=(columns * CELL + 0.6, rows * CELL + 0.5), squeeze=False)
    for ax in axs.flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    for ax, picture in zip(axs.flat, to_uint8(images), strict=False):
        ax.imshow(picture, interpolation="nearest")
    for ax, label in zip(axs[:, 0], row_labels, strict=False):
        ax.set_ylabel(label, fontsize=8, rotation=0, ha="right", va="center")
    for ax, label in zip(axs[0], column_labels, strict=False):
        ax.set_title(label, fontsize=8)
    fig.supylabel(row_title, fontsize=9)
    fig.suptitle(column_title, fontsize=9)
    fig.subplots_adjust(wspace=0.04, hspace=0.04)
    return fig


def heat(maps: Mapping[str, Tensor], *, label: str) -> Figure:
    """Returns maps (H, W) side by side on one colour scale with its bar; ``label`` names the quantity and unit."""
    top = max(float(m.max()) for m in maps.values())
    fig, axs = _subplots(1, len(maps), figsize=(2.4 * len(maps) + 0.8, 2.6), squeeze=False, layout="constrained")
    for ax, (title, values) in zip(axs[0], maps.items(), strict=True):
        picture = ax.imshow(values.cpu().numpy(), vmin=0, vmax=top, cmap="viridis", interpolation="nearest")
        ax.set_title(title, fontsize=9)
        ax.set_axis_off()
    fig.colorbar(picture, ax=axs, label=label, shrink=0.85)
    return fig


def curves(histories: Mapping[str, pd.DataFrame], *, column: str = "objective", label: str, log: bool = True) -> Figure:
    """Returns the median over items of a history's column against the step; a single one with its central 80 %.

    Bands of several histories would cover each other, so they are told apart by colour and dashes alone.
    """
    fig, ax = _subplots(figsize=(6.4, 3.4), layout="constrained")
    looks = zip(itertools.cycle(PALETTE), itertools.cycle(("-", "--", ":", "-.")), histories.items(), strict=False)
    for colour, dashes, (name, history) in looks:
        quantiles = history.groupby("step")[column].quantile([0.1, 0.5, 0.9]).unstack()
        ax.plot(quantiles.index, quantiles[0.5], color=colour, linestyle=dashes, label=name)
        if len(histories) == 1:
            ax.fill_between(quantiles.index, quantiles[0.1], quantiles[0.9], color=colour, alpha=0.2, linewidth=0)
    ax.set(xlabel="step", ylabel=f"{label}, median", yscale="log" if log else "linear")
    ax.legend(frameon=False, fontsize=8)
    sns.despine(ax=ax)
    return fig


def training_curve(table: pd.DataFrame) -> Figure:
    """Returns KID with its interval against the images seen; columns images, kid, low, high."""
    fig, ax = _subplots(figsize=(5.2, 3.2), layout="constrained")
    error = [table["kid"] - table["low"], table["high"] - table["kid"]]
    ax.errorbar(table["images"] / 1000, table["kid"], yerr=error, fmt="o-", color=PALETTE[0], capsize=3, markersize=4)
    ax.set(xlabel="thousand images seen", ylabel="KID (percept-judge features)")
    sns.despine(ax=ax)
    return fig


def estimates(table: pd.DataFrame, metrics: Mapping[str, str]) -> Figure:
    """Returns means with 95 % intervals, a row a method and a panel a metric.

    Args:
        table: columns method, metric, mean, low, high.
        metrics: metric -> axis label with unit.
    """
    methods = list(dict.fromkeys(table["method"]))
    fig, axs = _subplots(1, len(metrics), figsize=(3.1 * len(metrics) + 1.2, 0.32 * len(methods) + 1.0),
                            sharey=True, squeeze=False, layout="constrained")  # fmt: skip
    for ax, (metric, label) in zip(axs[0], metrics.items(), strict=True):
        rows = table[table["metric"] == metric].set_index("method").loc[methods]
        error = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
        y = np.arange(len(methods))
        ax.errorbar(rows["mean"], y, xerr=error, fmt="o", color=PALETTE[0], capsize=3, markersize=5)
        ax.set(xlabel=label, yticks=y, yticklabels=methods)
        ax.set_ylim(len(methods) - 0.5, -0.5)
        ax.grid(axis="x", alpha=0.3)
        sns.despine(ax=ax)
    return fig


def rates(table: pd.DataFrame, observers: Mapping[str, str]) -> Figure:
    """Returns rates before (hollow) and after (filled), joined by a line, a row a method and a panel an observer.

    Args:
        table: columns method, observer, before, after, in [0, 1].
        observers: observer -> title of its panel.
    """
    methods = list(dict.fromkeys(table["method"]))
    size = (2.3 * len(observers) + 2.2, 0.32 * len(methods) + 1.1)
    fig, axs = _subplots(1, len(observers), figsize=size, sharey=True, squeeze=False, layout="constrained")
    y = np.arange(len(methods))
    for ax, (observer, title) in zip(axs[0], observers.items(), strict=True):
        rows = table[table["observer"] == observer].set_index("method").loc[methods]
        ax.hlines(y, rows["before"], rows["after"], color="0.6", linewidth=2, zorder=0)
        ax.scatter(rows["before"], y, s=34, facecolor="white", edgecolor=PALETTE[0], label="without the wish")
        ax.scatter(rows["after"], y, s=34, color=PALETTE[0], label="with it")
        ax.set(xlim=(-0.05, 1.05), xlabel="share of faces", yticks=y, yticklabels=methods)
        ax.set_title(title, fontsize=9)
        ax.set_ylim(len(methods) - 0.5, -0.5)
        ax.grid(axis="x", alpha=0.3)
        sns.despine(ax=ax)
    fig.legend(*axs[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return fig


def sweep(table: pd.DataFrame, panels: Mapping[str, str], *, label: str) -> Figure:
    """Returns lines against a weight on a logarithmic axis, a panel a quantity, with 95 % intervals as bars.

    Args:
        table: columns weight, panel, line, mean, low, high.
        panels: panel -> label of its vertical axis.
        label: of the weight.
    """
    fig, axs = _subplots(1, len(panels), figsize=(3.4 * len(panels), 2.9), squeeze=False, layout="constrained")
    looks = ("o-", "s--", "^:", "D-.")
    for ax, (panel, title) in zip(axs[0], panels.items(), strict=True):
        for i, (line, rows) in enumerate(table[table["panel"] == panel].groupby("line", sort=False)):
            rows, shift = rows.sort_values("weight"), 1.0 + 0.06 * i  # bars of several lines would cover each other
            error = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
            ax.errorbar(rows["weight"] * shift, rows["mean"], yerr=error, fmt=looks[i], color=PALETTE[i], label=line,
                        capsize=2, markersize=5)  # fmt: skip
        ax.set(xscale="log", xlabel=label, ylabel=title)
        ax.legend(frameon=False, fontsize=8)
        ax.grid(alpha=0.3)
        sns.despine(ax=ax)
    return fig


def paired(scores: pd.DataFrame, a: str, b: str, *, metric: str, region: str, label: str) -> Figure:
    """Returns each item's value under method ``b`` against that under ``a``; on the line they are equal."""
    wide = scores[scores.region == region].pivot(index="item", columns="method", values=metric)
    fig, ax = _subplots(figsize=(3.9, 3.7), layout="constrained")
    low, high = wide[[a, b]].to_numpy().min(), wide[[a, b]].to_numpy().max()
    margin = 0.05 * (high - low)
    limits = (low - margin, high + margin)
    ax.plot(limits, limits, color="0.6", linewidth=1, zorder=0)
    ax.scatter(wide[a], wide[b], s=22, color=PALETTE[0], alpha=0.8)
    ax.set(xlabel=f"{label} of {a}", ylabel=f"{label} of {b}", xlim=limits, ylim=limits, aspect="equal")
    sns.despine(ax=ax)
    return fig


def architecture_table(generator: Generator) -> pd.DataFrame:
    """Returns a row a layer: block, layer, output, code index, parameters, multiply-adds of one image (millions)."""
    rows, code = [], 0
    for block in generator.synthesis.blocks:
        names = ["conv1"] if block.first else ["conv0", "conv1"]
        for name in names:
            layer = getattr(block, name)
            fan_out, fan_in = layer.weight.shape[:2]
            # The up-convolution is a transposed one: its taps meet the input's pixels, a quarter of the output's.
            pixels = layer.resolution**2 // (4 if layer.up else 1)
            rows.append(
                (f"b{layer.resolution}", name, layer.resolution, fan_out, code, layer, 9 * fan_in * fan_out * pixels)
            )
            code += 1
        if block.to_image:
            weight, res = block.torgb.weight, block.conv1.resolution
            rows.append((f"b{res}", "torgb", res, weight.shape[0], code, block.torgb, weight.numel() * res**2))
    table = [
        (b, n, f"{c} x {r} x {r}", f"w{i}", sum(p.numel() for p in layer.parameters()), macs / 1e6)
        for b, n, r, c, i, layer, macs in rows
    ]
    return pd.DataFrame(table, columns=["block", "layer", "output", "code", "parameters", "million multiply-adds"])


def _box(ax, x: float, y: float, text: str, *, width: float = 1.5, height: float = 0.62, colour=PALETTE[0]) -> None:
    style = {"boxstyle": "round,pad=0.02,rounding_size=0.08", "linewidth": 1.0}
    ax.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, facecolor=(*colour, 0.16),
                                edgecolor=colour, **style))  # fmt: skip
    ax.text(x, y, text, ha="center", va="center", fontsize=7.5)


def _arrow(ax, start: tuple[float, float], end: tuple[float, float], colour="0.3") -> None:
    ax.annotate("", xy=end, xytext=start, arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 1.0})


def architecture(generator: Generator) -> Figure:
    """Returns a diagram of the network as it is built: mapping, blocks, codes, noise, way to the image."""
    blocks, config = generator.synthesis.blocks, generator.config
    width = 2.2 * (len(blocks) + 1)
    fig, ax = _subplots(figsize=(min(width * 0.72, 13), 3.6))
    _box(ax, 0, 1.5, f"z\n({config['z_dim']})", height=0.6, colour=PALETTE[7])
    _box(ax, 0, 0.0, f"mapping\n{config['mapping_layers']} layers", colour=PALETTE[2])
    _arrow(ax, (0, 1.18), (0, 0.34))
    ax.plot([0, 0], [-0.34, -1.1], color=PALETTE[2], linewidth=1)
    ax.plot([0, 2.2 * len(blocks)], [-1.1, -1.1], color=PALETTE[2], linewidth=1)
    ax.text(0.05, -1.38, f"codes w ({config['w_dim']}), one a layer in W+", fontsize=7.5, color=PALETTE[2])
    code = 0
    for i, block in enumerate(blocks):
        x, res = 2.2 * (i + 1), block.conv1.resolution
        layers = 1 if block.first else 2
        kind = "constant, conv" if block.first else "conv up, conv"
        _box(ax, x, 0.0, f"{res} x {res}, {block.conv1.weight.shape[0]} ch.\n{kind}")
        _arrow(ax, (x, -1.1), (x, -0.34), PALETTE[2])
        codes = f"w{code}" if layers == 1 else f"w{code}, w{code + 1}"
        ax.text(x + 0.08, -0.75, codes, fontsize=7, color=PALETTE[2])
        ax.text(x - 0.08, -0.75, "+ noise", fontsize=7, color=PALETTE[3], ha="right")
        code += layers
        if i:
            _arrow(ax, (x - 2.2 + 0.78, 0), (x - 0.78, 0))
        if block.to_image:
            _box(ax, x, 1.5, f"to RGB (w{code})", height=0.42, colour=PALETTE[1])
            _arrow(ax, (x, 0.34), (x, 1.26))
            if i and config["architecture"] == "skip":
                _arrow(ax, (x - 2.2 + 0.78, 1.5), (x - 0.78, 1.5), PALETTE[1])
                ax.text(x - 1.1, 1.62, "up, +", fontsize=7, ha="center", color=PALETTE[1])
    _arrow(ax, (2.2 * len(blocks) + 0.78, 1.5), (2.2 * len(blocks) + 1.3, 1.5), PALETTE[1])
    ax.text(2.2 * len(blocks) + 1.35, 1.5, "image", fontsize=8, va="center")
    ax.set(xlim=(-0.95, 2.2 * len(blocks) + 2.1), ylim=(-1.6, 2.0))
    ax.set_axis_off()
    return fig
