"""What the report ``summary`` gathers from all others: claims, cost, and a figure of each in the slides' order."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML
from matplotlib.figure import Figure

from .checks import InpaintError
from .claims import EITHER_WAY, LACKING, REPORTS, SLIDES, gather, upright
from .figures import PALETTE
from .metrics import Interval
from .pages import claims_html, figure_html, report_name
from .study import Claim, Study

__all__ = ["WALL", "Shown", "check_complete", "claims_box", "claims_table", "cost_claim", "cost_reading", "forest",
           "networks", "passes", "reading", "seconds", "wall"]  # fmt: skip


class Shown(NamedTuple):
    """A figure on the wall: its report, its name there, and what it shows."""

    report: str
    name: str
    caption: str


# The slides in their order.
WALL = (
    Shown("generator", "samples", "What the generator draws: random samples"),
    Shown("naive_mse", "faces", "Squared error of the known pixels alone"),
    Shown("mse_lpips", "faces", "The perceptual term added, in each of its modes"),
    Shown("classifier", "faces", "Guided by an attribute classifier"),
    Shown("clip", "faces", "Guided by a sentence"),
    Shown(
        "mask_robustness", "difficulty", "Where faces are difficult: error of each pixel, and how often it was hidden"
    ),
    Shown("mask_robustness", "coverage", "Masks of every shape: scores against the hidden fraction"),
    Shown("stochasticity", "fillings", "Several fillings of one hole"),
    Shown("stochasticity", "maps", "Where fillings differ: standard deviation of each pixel"),
    Shown("regularisers", "faces", "The default search, then with an adversarial term and with each prior, by weight"),
    Shown(
        "regularisers",
        "fidelity-realism",
        "Fidelity against realism, of these and of other noise, optimisers, starts, spaces and rates",
    ),
)
COST = ("regularisers", "passes")  # table: passes of the generator until the error is near its last value
SEARCHES = ("search", "stability", "corruption")  # clocks of searches for the generated faces
C8 = (
    "The optimisation is slow and can be avoided (tested: no more than how many passes of the generator an image takes "
    "until the error of its known pixels is within {near:.0%} of the last value)"
)
LOOKS = {"supported": ("o", PALETTE[2], True), "not supported": ("X", PALETTE[3], True),
         "undecided": ("D", PALETTE[0], False)}  # verdict -> marker, colour, filled  # fmt: skip


def check_complete(folder: Path) -> None:
    """Raises InpaintError, naming the reports to run, unless a profile's folder holds all that the summary gathers.

    A report counts if its executed notebook is there: tables and figures outlive a later run that fails.
    """
    needs = {report: set() for report in dict.fromkeys(shown.report for shown in WALL)}
    for shown in WALL:
        needs[shown.report].add(f"figures/{shown.report}-{shown.name}.png")
    for claim, report in REPORTS.items():
        if report != "summary":
            needs.setdefault(report, set()).add(f"claims/{report}-{claim}.json")
    for report, files in needs.items():
        files |= {f"tables/{report}-provenance.csv", f"tables/{report}-timing.csv", f"{report}.ipynb"}
    needs[COST[0]].add(f"tables/{'-'.join(COST)}.csv")
    lacking = [report for report, files in needs.items() if not all((folder / file).is_file() for file in files)]
    if lacking:
        command = " ".join(["make", *(f"report-{report}" for report in lacking), f"PROFILE={folder.name}"])
        raise InpaintError(f"the summary needs the results of {', '.join(lacking)} in {folder}; run `{command}` first")


def claims_table(folder: Path) -> pd.DataFrame:
    """Returns the claims as ``claims.gather`` does, all of the slides among them, and ``where``, the page to read."""
    table = gather(folder.name, open_claims=tuple(SLIDES), running="summary")
    return table.assign(where=table["notebook"] + ".html")


def claims_box(table: pd.DataFrame) -> HTML:
    """Returns the claims as a table to be shown, each with a link to the report that decides it."""
    return HTML(claims_html(table, {report: f"{report}.html" for report in REPORTS.values()}))


def wall(folder: Path) -> HTML:
    """Returns the figures of :data:`WALL`, from the files of a profile's folder, each with a link to its report."""
    figures = [_on_the_wall(folder, shown) for shown in WALL]
    return HTML(f'<div class="wall">{"".join(figures)}</div>')


def _on_the_wall(folder: Path, shown: Shown) -> str:
    name = f"{shown.report}-{shown.name}"
    link = f'<a href="{escape(shown.report)}.html">{escape(report_name(shown.report))}</a>'
    png = (folder / "figures" / f"{name}.png").read_bytes()
    return figure_html(png, f"wall-{name}", shown.caption, f"{escape(shown.caption)} ({link})")


def forest(table: pd.DataFrame) -> Figure:
    """Returns effects with their intervals, a row a claim, each on a scale of its own on which its threshold is 0.

    A claim without a recorded threshold has its numbers alone. Verdicts differ by marker and colour.

    Args:
        table: of :func:`claims_table`.
    """
    rows = table.to_dict("records")
    fig = Figure(figsize=(9.6, 0.42 * len(rows) + 1.5), layout="constrained")
    ax = fig.subplots()
    for y, row in enumerate(rows):
        _draw(ax, y, row)
    ax.axvline(0, color="0.35", linestyle="--", linewidth=1)
    ax.set_xticks([0], ["threshold"])
    ax.set_yticks(range(len(rows)), [row["id"] for row in rows])
    label = "effect, each claim on its own scale (short line: no effect)"
    ax.set(xlim=(-1.12, 1.12), ylim=(len(rows) - 0.4, -0.6), xlabel=label)
    handles = [ax.errorbar([], [], label=verdict, **_look(verdict)) for verdict in LOOKS]
    fig.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    sns.despine(ax=ax, left=True)
    return fig


def _draw(ax, y: int, row: dict[str, object]) -> None:
    """Draws one claim, if it has a threshold, and writes its numbers to the right."""
    least, (effect, low, high) = float(row["least"]), upright(row)
    text = f"{row['effect']:.3g} [{row['low']:.3g}, {row['high']:.3g}]"
    text = "nothing measured" if math.isnan(effect) else text
    text += ", no threshold" if math.isnan(least) else f", threshold {least:.3g}"
    text += " either way" if row["id"] in EITHER_WAY else ""
    ax.text(1.16, y, f"{text}; {row['profile']}", va="center", fontsize=9, clip_on=False)
    if math.isnan(effect - least):
        return
    scale = max(abs(low - least), abs(high - least), abs(effect - least)) or 1.0
    error = [[max(effect - low, 0.0) / scale], [max(high - effect, 0.0) / scale]]
    ax.errorbar([(effect - least) / scale], [y], xerr=error, **_look(str(row["verdict"])))
    if abs(zero := -least / scale) <= 1.1:
        ax.plot([zero, zero], [y - 0.3, y + 0.3], color="0.6", linewidth=1, zorder=0)


def _look(verdict: str) -> dict[str, object]:
    marker, colour, filled = LOOKS[verdict]
    return {"fmt": marker, "color": colour, "markerfacecolor": colour if filled else "white", "capsize": 3,
            "markersize": 7}  # fmt: skip


def reading(table: pd.DataFrame) -> str:
    """Returns how many of the slides' claims hold, and which verdict comes from where, as sentences."""
    main = table[table["id"].isin(SLIDES)]
    counts = ", ".join(_counted(verdict, main[main["verdict"] == verdict]["id"]) for verdict in LOOKS)
    groups = table.groupby("profile", sort=False)["id"]
    sources = "; ".join(f"{', '.join(ids)} from {profile}" for profile, ids in groups)
    changed = table[(table["here"] != "") & (table["here"] != table["verdict"])]
    other = ", ".join(f"{row['id']} is {row['here']}" for row in changed.to_dict("records"))
    own = f" In this profile itself {other}." if other else ""
    return f"Of the slides' {len(main)} claims {counts}. Verdicts by profile: {sources}.{own}"


def _counted(verdict: str, ids: pd.Series) -> str:
    names = f" ({', '.join(ids)})" if len(ids) else ""
    return f"{len(ids)} {'is' if len(ids) == 1 else 'are'} {verdict}{names}"


def passes(folder: Path) -> pd.DataFrame:
    """Returns the table of passes of the generator that each method takes, the default first.

    Columns method, mean, low, high, n (faces), and near: how close to its last value the error is then, a fraction.

    Raises InpaintError if it lacks one of them, or has no rows.
    """
    path = folder / "tables" / f"{'-'.join(COST)}.csv"
    table, columns = pd.read_csv(path), ["method", "mean", "low", "high", "n"]
    if table.empty or not set(columns) <= set(table):
        has = f"{len(table)} rows of {', '.join(table)}"
        raise InpaintError(f"{path} must have rows and the columns {', '.join(columns)}; it has {has}")
    return table[columns].assign(near=float(_stated(folder, COST[0])["near"]))


def cost_claim(run: Study, table: pd.DataFrame) -> Claim:
    """Records what is known of claim C8, the passes of the first method of :func:`passes`; it stays undecided."""
    first = table.iloc[0]
    interval = (first["low"], first["high"])
    return run.claim("C8", C8.format(near=first["near"]), first["mean"], interval, "undecided", n=int(first["n"]))


def cost_reading(table: pd.DataFrame) -> str:
    """Returns what is known of the cost as sentences."""
    first, few, many = table.iloc[0], table.loc[table["mean"].idxmin()], table.loc[table["mean"].idxmax()]
    return (
        f"An image takes {Interval(first['mean'], first['low'], first['high'])} passes of the generator (method "
        f"{first['method']}) until the error of its known pixels is within {first['near']:.0%} of the last value; "
        f"of all methods from {few['mean']:.3g} ({few['method']}) to {many['mean']:.3g} ({many['method']}). "
        f"Whether the optimisation can be avoided is open: that {LACKING['C8']}."
    )


def seconds(folder: Path) -> pd.DataFrame:
    """Returns how long each report searched: columns report, faces, search in s, s a face (of all its methods).

    What counts are the clocks :data:`SEARCHES`, with the scores that are computed under them; photographs, which are
    other faces, and Jacobians do not. Times are one machine's and differ from run to run; searches that were stored
    took no time.
    """
    rows = []
    for report in dict.fromkeys(shown.report for shown in WALL):
        timing = pd.read_csv(folder / "tables" / f"{report}-timing.csv").set_index("what")["value"]
        stated = _stated(folder, report)
        clocks = [name for name in SEARCHES if name in timing]
        if clocks and "faces" in stated:
            spent, faces = float(timing[clocks].sum()), int(stated["faces"])
            rows.append((report_name(report), faces, spent, spent / faces))
    columns = ["report", "faces", "search in s", "s a face"]
    return pd.DataFrame(rows or [("none", 0, np.nan, np.nan)], columns=columns)


def _stated(folder: Path, report: str) -> pd.Series:
    """Returns what a report's provenance states, by name."""
    return pd.read_csv(folder / "tables" / f"{report}-provenance.csv", dtype=str).set_index("name")["value"]


def networks(folder: Path) -> list[str]:
    """Returns the names of all networks that the gathered reports used, as their provenance tells."""
    found: dict[str, None] = {}
    for report in dict.fromkeys([*(shown.report for shown in WALL), *REPORTS.values()]):
        path = folder / "tables" / f"{report}-provenance.csv"
        if report != "summary" and path.is_file():
            rows = pd.read_csv(path, dtype=str)
            found |= dict.fromkeys(rows[rows["part"] == "weights"]["name"])
    return list(found)
