"""The slides' claims, and what the reports of a profile or the committed reference say of them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from .checks import InpaintError, check_integer
from .study import VERDICTS, project_root

__all__ = ["BEST", "EITHER_WAY", "LACKING", "REPORTS", "SLIDES", "finished", "gather", "needed", "read_claim",
           "reading_order", "recorded", "reference_folder", "reference_profile", "two_digits", "upright"]  # fmt: skip

SLIDES = {
    "C1": "MSE alone is not sufficient: blurry or implausible in the hole; LPIPS helps greatly",
    "C2": "Generations are stochastic",
    "C3": "With a classifier it is easy to guide the generation; margin and soft forms improve on plain BCE",
    "C4": "Classifiers are rare; CLIP is more generic",
    "C5": "The generations are diverse",
    "C6": "Some masks are more difficult than others",
    "C7": "L2 regularisation and discriminator losses do not noticeably improve the result",
    "C8": "About 20 min an image on a GTX 1050 Ti: the cost, and how to avoid the optimisation",
}
# Claim -> the report that decides it.
REPORTS = {
    "C1": "mse_lpips", "C2": "stochasticity", "C3": "classifier", "C4": "clip", "C5": "stochasticity",
    "C6": "mask_robustness", "C7": "regularisers", "C8": "summary",
}  # fmt: skip
# Claim -> the model without which no number of images decides it.
LACKING = {
    "C4": "needs a CLIP that did not learn from these attributes, as ViT-B-16/openai",
    "C8": "needs an encoder that gives the search its start, and a feed-forward model; neither is built yet",
}
# Claims of a size in either direction: -0.3 exceeds a threshold of 0.1.
EITHER_WAY = ("C6-shape", "C6-position")
BEST = "full"  # the profile whose verdicts count, where there are any
MEASURED = ("effect", "low", "high")
NUMBERS = (*MEASURED, "least", "n")


def reference_folder() -> Path:
    """Returns the folder of the committed numbers, ``reports/reference/``."""
    return project_root() / "reports" / "reference"


def reference_profile(notebook: str) -> str:
    """Returns the profile that a notebook's committed numbers come from, '' if there are none."""
    path = reference_folder() / f"{notebook}-provenance.csv"
    if not path.is_file():
        return ""
    rows = pd.read_csv(path, dtype=str)
    found = rows[(rows["part"] == "parameter") & (rows["name"] == "profile")]["value"]
    return str(found.iloc[0]) if len(found) else ""


def finished(profile: str, notebook: str) -> bool:
    """Returns whether a report ran to its end: its tables and claims may be of a run that failed, the page is not."""
    return (project_root() / "reports" / profile / f"{notebook}.ipynb").is_file()


def recorded(profile: str, *, running: str = "") -> list[dict[str, Any]]:
    """Returns the claims of a profile's finished reports, with every key of ``study.Claim``, in reading order.

    Args:
        running: a notebook whose claims count though it has not ended.

    Raises InpaintError if a file of them is damaged.
    """
    files = (project_root() / "reports" / profile / "claims").glob("*.json")
    found = [record for record in map(read_claim, files)
             if record["notebook"] == running or finished(profile, record["notebook"])]  # fmt: skip
    return sorted(found, key=lambda record: reading_order(record["id"]))


def read_claim(path: Path) -> dict[str, Any]:
    """Returns what a report recorded of a claim, with every key of ``study.Claim``; InpaintError if it is damaged."""
    try:
        record = {"least": None, "n": None} | json.loads(path.read_text(encoding="utf-8"))
        words = all(isinstance(record[key], str) for key in ("id", "notebook", "statement"))
        numbers = [record[key] for key in NUMBERS if key in MEASURED or record[key] is not None]
        sound = all(type(x) in (int, float) and math.isfinite(x) for x in numbers)
        whole = words and sound and record["verdict"] in VERDICTS
    except (ValueError, TypeError, KeyError):
        whole = False
    if not whole:
        raise InpaintError(f"{path} must hold a claim's words, numbers and verdict; remove it and run its report again")
    return record


def gather(profile: str, *, open_claims: Sequence[str] = (), running: str = "") -> pd.DataFrame:
    """Returns a row for each claim that has a verdict, in the order C1, C1-..., C2, ...

    The verdict is that of profile ``full``: of its reports if they are here, else of the committed reference; a claim
    without it has the verdict of ``profile``. ``open_claims`` have a row, undecided, even if no report recorded them.
    ``running`` is a notebook of ``profile`` whose claims count though it has not ended.

    Columns: id, claim (the slides' words, or those of the part that is tested), tested (how), notebook, effect, low,
    high, least (the threshold), n (images), verdict, profile (where it comes from), here (the verdict of ``profile``
    itself, '' if none), decides (what would decide an undecided one). Missing numbers are NaN.

    Raises InpaintError if a file is damaged.
    """
    here = {record["id"]: record for record in recorded(profile, running=running)}
    full = here if profile == BEST else {record["id"]: record for record in recorded(BEST)}
    best = {id: _open(id) | {"profile": profile} for id in open_claims}
    best |= {id: record | {"profile": profile} for id, record in here.items()}
    best |= {record["id"]: record | {"profile": f"{BEST}, committed"} for record in _reference()}
    best |= {id: record | {"profile": BEST} for id, record in full.items()}
    rows = [_row(best[id], here.get(id)) for id in sorted(best, key=reading_order)]
    columns = ["id", "claim", "tested", "notebook", *NUMBERS, "verdict", "profile", "here", "decides"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(NUMBERS, float))


def needed(n: int, effect: float, low: float, high: float, least: float) -> int | None:
    """Returns about how many items would decide whether an effect is above ``least``, if it stays what it is.

    An interval's half-width falls as 1 / sqrt(n), so it excludes ``least`` from n * (half-width / distance)^2 items on;
    both are taken on the side of the effect where ``least`` lies. None if the effect is at ``least`` itself. For an
    interval that excludes ``least`` it is at most ``n``.
    """
    check_integer("n", n, low=1)
    distance = abs(effect - least)
    half = effect - low if effect > least else high - effect
    return None if distance == 0 else math.ceil(n * (half / distance) ** 2)


def upright(record: Mapping[str, Any]) -> tuple[float, float, float]:
    """Returns effect, low and high as they are held against the threshold: mirrored where no direction is asked for."""
    effect, low, high = record["effect"], record["low"], record["high"]
    return (-effect, -high, -low) if record["id"] in EITHER_WAY and effect < 0 else (effect, low, high)


def reading_order(id: str) -> tuple[int, str]:
    """Returns the key that sorts C2 before C10, a claim before its parts, and other names last."""
    number = re.match(r"C(\d+)(?:-|$)", id)
    return (int(number[1]) if number else 10**6, id)


def _open(id: str) -> dict[str, Any]:
    return {"id": id, "notebook": REPORTS[id], "statement": "", "verdict": "undecided", **dict.fromkeys(NUMBERS)}


def _reference() -> list[dict[str, Any]]:
    """The committed claims of profile ``full``: a smaller run outranks nobody's."""
    path = reference_folder() / "claims.csv"
    if not path.is_file():
        return []
    rows = pd.read_csv(path, dtype={"id": str, "notebook": str, "statement": str, "verdict": str})
    return [row for row in rows.to_dict("records") if reference_profile(row["notebook"]) == BEST]


def _row(record: Mapping[str, Any], here: Mapping[str, Any] | None) -> dict[str, Any]:
    said, _, tested = str(record["statement"]).partition(" (tested: ")
    claim = SLIDES.get(record["id"], said)
    return {**record, "claim": claim, "tested": tested.removesuffix(")"), "here": here["verdict"] if here else "",
            "decides": _decides(record) if record["verdict"] == "undecided" else ""}  # fmt: skip


def _decides(record: Mapping[str, Any]) -> str:
    """Says in a clause what would decide an undecided claim."""
    if record["id"] in LACKING:
        return LACKING[record["id"]]
    n, least, (effect, low, high) = record["n"], record["least"], upright(record)
    if lacks := [name for name, value in (("threshold", least), ("number of images", n)) if pd.isna(value)]:
        return f"its report records no {' and no '.join(lacks)}"
    if not low <= least <= high:
        return "its interval is clear of the threshold; another condition of the test is not"
    items = needed(int(n), effect, low, high, least)
    enough = "no number of" if items is None else f"about {two_digits(max(items, int(n) + 1))}"
    return f"{enough} images would decide it"


def two_digits(number: float) -> str:
    """Returns a number with two digits, as 1,300: more would promise what an estimate cannot keep."""
    return f"{float(f'{number:.2g}'):,.0f}"
