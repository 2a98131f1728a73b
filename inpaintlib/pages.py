"""Pieces of HTML that notebooks and pages share: tables, figures that enlarge, claims.

``templates/style.css`` dresses them.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping
from html import escape

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

__all__ = ["claims_html", "figure_html", "report_name", "table_html"]

MARKS = {"supported": "✓", "not supported": "✗", "undecided": "?"}  # a verdict is told by more than its colour


def report_name(stem: str) -> str:
    """Returns a notebook's name as it is read: ``mse_lpips`` -> ``mse lpips``."""
    return stem.replace("_", " ")


def table_html(table: pd.DataFrame) -> str:
    """Returns a table without its index, numbers to the right, missing ones as a dash; a wide one scrolls by itself."""
    numeric = [is_numeric_dtype(kind) and not is_bool_dtype(kind) for kind in table.dtypes]
    marks = [' class="number"' if number else "" for number in numeric]
    rows = table.astype(object).itertuples(index=False, name=None)
    head = "".join(f"<th{mark}>{escape(str(name))}</th>" for mark, name in zip(marks, table.columns, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{mark}>{_cell(value)}</td>" for mark, value in zip(marks, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table class="data"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return escape(str(value))
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.4g}"


def figure_html(png: str | bytes, id: str, alt: str, caption: str = "") -> str:
    """Returns a picture inside the page that a click, or the space bar, makes fill the window and shrink again.

    Args:
        png: the file's bytes, or their base64.
        id: unique in its page.
        alt: what it shows, for readers who cannot see it.
        caption: HTML below it.
    """
    data = base64.b64encode(png).decode() if isinstance(png, bytes) else re.sub(r"\s", "", png)
    below = caption and f"<figcaption>{caption}</figcaption>"
    # A checkbox is a magnifier without a script.
    return (
        f'<figure><input type="checkbox" id="zoom-{escape(id)}" aria-label="enlarge: {escape(alt)}">'
        f'<label for="zoom-{escape(id)}"><img src="data:image/png;base64,{data}" alt="{escape(alt)}"></label>'
        f"{below}</figure>"
    )


def claims_html(claims: pd.DataFrame, links: Mapping[str, str]) -> str:
    """Returns the table of claims that ``claims.gather`` makes.

    Args:
        links: notebook -> address of its page; a claim of another notebook is not linked.
    """
    heads = ("claim", "verdict", "effect [95 %]", "from", "report")
    body = "".join(_claim_row(row, heads, links) for row in claims.to_dict("records"))
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f'<table class="claims"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _claim_row(row: Mapping[str, object], heads: tuple[str, ...], links: Mapping[str, str]) -> str:
    cells = (_claim_text(row), _verdict(row), _numbers(row), _origin(row), _link(str(row["notebook"]), links))
    tagged = zip(heads, cells, strict=True)
    return "<tr>" + "".join(f'<td data-label="{name}">{cell}</td>' for name, cell in tagged) + "</tr>"


def _claim_text(row: Mapping[str, object]) -> str:
    tested = row["tested"] and f" <small>tested: {escape(str(row['tested']))}</small>"
    return f"<b>{escape(str(row['id']))}</b> {escape(str(row['claim']))}{tested}"


def _verdict(row: Mapping[str, object]) -> str:
    verdict = str(row["verdict"])
    decides = row["decides"] and f" <small>{escape(str(row['decides']))}</small>"
    return f'<span class="claim {verdict.replace(" ", "-")}">{MARKS[verdict]} {verdict}</span>{decides}'


def _numbers(row: Mapping[str, object]) -> str:
    effect, low, high, least, n = (float(row[key]) for key in ("effect", "low", "high", "least", "n"))  # type: ignore[arg-type]
    if math.isnan(effect):
        return "–"
    known = [f"[{low:.3g}, {high:.3g}]"]
    known += [] if math.isnan(least) else [f"threshold {least:.3g}"]
    known += [] if math.isnan(n) else [f"n = {n:.0f}"]
    return f"{effect:.3g}" + "".join(f" <small>{text}</small>" for text in known)


def _origin(row: Mapping[str, object]) -> str:
    other = row["here"] not in ("", row["verdict"])
    return escape(str(row["profile"])) + (f" <small>this profile: {escape(str(row['here']))}</small>" if other else "")


def _link(stem: str, links: Mapping[str, str]) -> str:
    name = escape(report_name(stem))
    return f'<a href="{escape(links[stem])}">{name}</a>' if stem in links else name
