"""How good the networks themselves are that steer and judge, and what a CLIP can read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pandas as pd

from .clip import Clip
from .metrics import Interval, mean_interval
from .weights import load_weights, shipped_names

__all__ = ["MINORITY", "by_attribute", "mean_score", "network_scores", "readable"]

MINORITY = 25  # fewer faces than these on one side: the attribute is listed and left out of means


def readable(clip: Clip, prompts: Sequence[str]) -> pd.DataFrame:
    """Returns which prompts a CLIP can read; columns prompt, readable, unknown words."""
    rows = [(prompt, not clip.unknown(prompt), ", ".join(clip.unknown(prompt)) or "–") for prompt in prompts]
    return pd.DataFrame(rows, columns=["prompt", "readable", "unknown words"]).drop_duplicates()


def network_scores(names: Sequence[str]) -> pd.DataFrame:
    """Returns what networks scored on faces that they had not seen, as their training recorded it in their files.

    Columns network, attribute, faces, with, minority, majority_accuracy, accuracy, and balanced_accuracy and
    average_precision with ``_low`` and ``_high`` ends of their 95 % intervals (NaN with fewer than 2 minority faces).
    A file without such a record (another's) has no rows. Chance: balanced accuracy 0.5, average precision with / faces.
    """
    tables = []
    for name in names:
        record = json.loads(load_weights(name)[1].get("scores", "{}")) if name in shipped_names() else {}
        if rows := record.get("attributes"):
            tables.append(pd.DataFrame(rows))
            tables[-1].insert(0, "network", name)
    return pd.concat(tables, ignore_index=True)


def by_attribute(scores: pd.DataFrame) -> pd.DataFrame:
    """Returns the table of :func:`network_scores` for reading: a row an attribute, cells with intervals."""
    first = scores.drop_duplicates("attribute")
    chance = first["with"] / first["faces"]
    having = first["with"].astype(str) + " / " + first["faces"].astype(str)
    wide = pd.DataFrame({"attribute": first["attribute"], "with it, of all": having})
    keys = {"balanced_accuracy": "balanced accuracy", "average_precision": "average precision"}
    baseline = {"balanced_accuracy": "0.50", "average_precision": chance.map("{:.2f}".format)}
    for key, title in keys.items():
        for network, rows in scores.groupby("network", sort=False):
            cells = [_cell(row, key) for row in rows.to_dict("records")]
            short = network.rpartition("-")[2]
            wide[f"{title}, {short}"] = wide["attribute"].map(dict(zip(rows["attribute"], cells, strict=True)))
        wide[f"{title}, chance or majority"] = baseline[key]
    return wide.reset_index(drop=True)


def _cell(row: Mapping[str, object], key: str) -> str:
    if row["minority"] < MINORITY:
        return f"({row['minority']} faces)"
    return f"{row[key]:.2f} [{row[f'{key}_low']:.2f}, {row[f'{key}_high']:.2f}]"


def mean_score(scores: pd.DataFrame, network: str, key: str) -> Interval:
    """Returns the mean over the attributes that count, with an interval over them; ``key`` as a column's name."""
    rows = scores[(scores["network"] == network) & (scores["minority"] >= MINORITY)]
    return mean_interval(rows[key])
