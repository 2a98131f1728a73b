"""The figures of the report ``stochasticity``; as those of :mod:`inpaintlib.figures` they only build and return."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure
from torch import Tensor

from .figures import PALETTE, masked
from .fillings import NOISE, Fillings, start
from .images import composite, to_uint8
from .spectra import Spectra
from .stochasticity import sd_maps

__all__ = ["gallery", "maps", "shares", "spectrum", "theory_maps", "trade"]

LOOKS = ("o", "s", "^")
BRIGHTEST = 0.99  # quantile of a map that has the last colour


def gallery(target: Tensor, mask: Tensor, found: Mapping[str, Fillings], space: str, shown: int) -> dict[str, Tensor]:
    """Returns columns of pictures: truth, what is visible, four fillings by start, two by noise inputs, one G(w)."""
    n = min(shown, len(target))
    x, from_start, by_noise = target[:n], found[start(space)].image[:n], found[NOISE].image[:n]
    columns = {"target": x, "masked": masked(x, mask)}
    columns |= {f"start {i + 1}": composite(x, from_start[:, i], mask) for i in range(4)}
    columns |= {f"mean code, noise {i + 1}": composite(x, by_noise[:, i], mask) for i in range(2)}
    return columns | {"G(w), start 1": from_start[:, 0]}


def shares(table: pd.DataFrame) -> Figure:
    """Returns the shares of :func:`inpaintlib.stochasticity.decomposition`, a panel a design, with intervals."""
    designs = list(table.groupby("design", sort=False))
    fig = Figure(figsize=(4.0 * len(designs), 2.3), layout="constrained")
    for ax, (design, rows) in zip(fig.subplots(1, len(designs), squeeze=False)[0], designs, strict=True):
        error = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
        ax.errorbar(rows["mean"], rows["part"], xerr=error, fmt="o", color=PALETTE[0], capsize=3, label="fillings")
        ax.plot(rows["chance"], rows["part"], "D", color="0.4", mfc="white", label="independent fillings")
        ax.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5), xlabel="share of the sum of squares")
        ax.set_title(design, fontsize=10)
        ax.grid(axis="x", alpha=0.3)
        sns.despine(ax=ax)
    fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return fig


def trade(table: pd.DataFrame) -> Figure:
    """Returns, for every filling, its distance to the face's others against its error on the known pixels."""
    fig = Figure(figsize=(5.6, 3.6), layout="constrained")
    ax = fig.subplots()
    for i, (space, rows) in enumerate(table.groupby("space", sort=False)):
        ax.plot(rows["known"], rows["apart"], LOOKS[i], color=PALETTE[i], alpha=0.7, markersize=6, label=space.upper())
    ax.set(xlabel="RMS error of G(w) on the known pixels, range [-1, 1]",
           ylabel="mean hole LPIPS (judge) to\nthe face's other fillings")  # fmt: skip
    fig.legend(title="space", loc="outside right upper", frameon=False)
    ax.grid(alpha=0.3)
    sns.despine(ax=ax)
    return fig


def _panels(pictures: Mapping[str, Tensor], heats: Mapping[str, Tensor], hole: Tensor, label: str) -> Figure:
    """A row a face: pictures (N, 3, H, W), then maps (N, H, W) of the hole alone, each column with its own bar."""
    n, k = len(next(iter(heats.values()))), len(pictures) + len(heats)
    fig = Figure(figsize=(1.55 * k, 1.5 * n + 0.9), layout="constrained")
    axs = fig.subplots(n, k, squeeze=False)
    for column, (title, values) in enumerate(pictures.items()):
        for ax, picture in zip(axs[:, column], values, strict=True):
            ax.imshow(to_uint8(picture[None])[0], interpolation="nearest")
        axs[0, column].set_title(title, fontsize=10)
    rows, columns = (torch.nonzero(hole[0, 0].amax(dim=side) > 0.5).flatten() for side in (1, 0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    for column, (title, values) in enumerate(heats.items(), start=len(pictures)):
        within = torch.where(hole[0] > 0.5, values.double().cpu(), torch.nan)
        top = float(within.nanquantile(BRIGHTEST))  # a few pixels at edges would leave all others dark
        for ax, picture in zip(axs[:, column], within, strict=True):
            drawn = ax.imshow(picture[box].numpy(), vmin=0.0, vmax=top, cmap="viridis", interpolation="nearest")
        axs[0, column].set_title(title, fontsize=10)
        bar = fig.colorbar(drawn, ax=list(axs[:, column]), location="bottom", shrink=0.9, pad=0.02, extend="max")
        bar.set_label(label, fontsize=9)
        bar.ax.tick_params(labelsize=8)
    for ax in axs.flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_color("0.8")
    return fig


def maps(target: Tensor, images: Tensor, hole: Tensor, shown: int) -> Figure:
    """Returns truth, mean of the fillings (F, L, 3, R, R), their standard deviation, and how far the mean is off."""
    x, images = target[:shown], images[:shown]
    mean = composite(x, images.mean(dim=1), hole)
    error = (mean - x).double().square().mean(dim=1).sqrt()
    heats = {"standard deviation": sd_maps(images), "error of the mean": error}
    return _panels({"target": x, "mean of fillings": mean}, heats, hole, "pixel, range [-1, 1]")


def theory_maps(target: Tensor, images: Tensor, spectra: Spectra, hole: Tensor, shown: int) -> Figure:
    """Returns the observed standard deviation of fillings beside what the linear theory foretells."""
    heats = {"observed": sd_maps(images[:shown]), "theory, seen": spectra.posterior[:shown],
             "theory, unseen": spectra.prior[:shown]}  # fmt: skip
    return _panels({"target": target[:shown]}, heats, hole, "sd, range [-1, 1]")


def spectrum(table: pd.DataFrame) -> Figure:
    """Returns the singular values of :class:`~inpaintlib.spectra.Spectra`: median and range over faces."""
    fig = Figure(figsize=(6.6, 3.8), layout="constrained")
    ax = fig.subplots()
    for i, (hidden, rows) in enumerate(table.groupby("hidden")):
        values = rows.groupby("index")["value"].agg(["min", "median", "max"])
        ax.plot(values.index, values["median"], color=PALETTE[i], label=f"{hidden:.0%} hidden")
        ax.fill_between(values.index, values["min"], values["max"], color=PALETTE[i], alpha=0.12, linewidth=0)
    sigma = table.groupby("face")["sigma"].first()
    ax.axhspan(sigma.min(), sigma.max(), color="0.5", alpha=0.2, linewidth=0)
    ax.axhline(sigma.median(), color="0.3", linestyle="--", label="error of a visible value")
    ax.set(xscale="log", yscale="log", xlabel="direction of the code, most visible first",
           ylabel="singular value: change of the visible\nvalues a standard deviation of the code")  # fmt: skip
    ax.legend(frameon=False, fontsize=9)
    ax.grid(alpha=0.3)
    sns.despine(ax=ax)
    return fig
