"""The committed numbers in ``reports/reference/``: tables and claims of a run that most machines cannot repeat.

They are CSV files of numbers and short text, no image: ``<notebook>-<table>.csv``, among them
``<notebook>-provenance.csv`` which says where they come from, and ``claims.csv``.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from .checks import InpaintError
from .claims import BEST, finished, reading_order, recorded, reference_folder
from .files import write_atomically
from .study import project_root

__all__ = ["Table", "tables", "write_reference"]

COLUMNS = ("id", "notebook", "statement", "effect", "low", "high", "verdict", "n", "least")
LOCAL = ("timing", "jobs")  # tables of one machine's run, that say nothing to another
LONGEST = 500  # characters of a cell: a statement, a list of prompts
FEW = 40  # rows of a table that a page shows itself


class Table(NamedTuple):
    """A reference table for a report's page; ``rows`` is None if it is too long to be shown there."""

    name: str
    href: str
    rows: pd.DataFrame | None


def write_reference(profile: str = BEST) -> list[Path]:
    """Writes ``reports/reference/`` from the reports of a profile and returns the files.

    Tables and claims of its notebooks replace those of an earlier reference; those of other notebooks stay. Each file
    is written whole or not at all, and none before all have been checked.

    Raises InpaintError for another profile than ``full``, if no notebook of it ran to its end, or if a cell of a table
    is neither a number nor text in one line of at most 500 characters.
    """
    if profile != BEST:
        raise InpaintError(f"a reference must come from profile {BEST!r}, whose verdicts outrank all; got {profile!r}")
    folder = project_root() / "reports" / profile / "tables"
    stems = [path.name.removesuffix("-provenance.csv") for path in folder.glob("*-provenance.csv")]
    ran = {stem for stem in stems if finished(profile, stem)}
    if not ran:
        raise InpaintError(f"{folder} must hold tables of finished reports; run `make all PROFILE={profile}` first")
    found = [path for stem in sorted(ran) for path in _of(folder, stem)]
    target = reference_folder()
    rows = [record for record in _older(target) if record["notebook"] not in ran]
    rows += [record for record in recorded(profile) if record["notebook"] in ran]
    contents = {path.name: path.read_text(encoding="utf-8") for path in found} | {"claims.csv": _claims(rows)}
    for name, text in contents.items():
        _check_cells(name, text)
    for stem in ran:
        for stale in _of(target, stem):
            if stale.name not in contents:
                stale.unlink()
    for name, text in contents.items():
        write_atomically(target / name, text.encode())
    return [target / name for name in contents]


def tables(notebook: str) -> list[Table]:
    """Returns the reference tables of a notebook, short ones first; their addresses are seen from a report's page."""
    found = []
    for path in _of(reference_folder(), notebook):
        rows = pd.read_csv(path)
        name = path.stem.removeprefix(f"{notebook}-")
        found.append(Table(name, f"../{path.parent.name}/{path.name}", rows if len(rows) <= FEW else None))
    return sorted(found, key=lambda table: (table.rows is None, table.name))


def _of(folder: Path, stem: str) -> list[Path]:
    """Returns a notebook's tables that another machine may read."""
    return [path for path in sorted(folder.glob(f"{stem}-*.csv")) if path.stem.rpartition("-")[2] not in LOCAL]


def _check_cells(name: str, text: str) -> None:
    for number, row in enumerate(csv.reader(io.StringIO(text)), start=1):
        for cell in row:
            if len(cell) > LONGEST or not cell.isprintable():
                raise InpaintError(
                    f"{name}, row {number}: a reference table must hold numbers and text in one line of at most "
                    f"{LONGEST} characters; found {len(cell)} of them, {cell[:20]!r}..."
                )


def _older(folder: Path) -> list[dict[str, object]]:
    path = folder / "claims.csv"
    return pd.read_csv(path).to_dict("records") if path.is_file() else []


def _claims(rows: list[dict[str, object]]) -> str:
    table = pd.DataFrame(sorted(rows, key=lambda row: reading_order(str(row["id"]))), columns=COLUMNS)
    numbers = table.astype(dict.fromkeys(("effect", "low", "high", "least", "n"), float))
    return numbers.to_csv(index=False, float_format="%.6g", lineterminator="\n")
