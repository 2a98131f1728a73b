"""What a notebook needs beside the library: its folder, its files, its claims, its progress, its provenance.

A notebook begins with ``run = study.begin(p)`` and then writes only by ``run.save_figure``,
``run.save_table`` and ``run.claim``, under ``reports/<profile>/``::

    figures/<notebook>-<name>.png   tables/<notebook>-<name>.csv   claims/<notebook>-<id>.json

Every table is the same, bit for bit, in two runs on one machine, except those named ``timing``.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
import torch
from IPython import get_ipython
from IPython.display import HTML, Image, Markdown, display

from .checks import InpaintError, check_choice, check_integer, check_number
from .files import remove_orphans, write_atomically
from .machine import device, hardware, peak_gpu_memory_gb, peak_memory_gb, versions
from .pages import table_html
from .params import Params
from .store import Store, surroundings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Claim", "Progress", "Study", "begin", "generator", "notice", "project_root", "together"]

DPI = 150
VERDICTS = ("supported", "not supported", "undecided")
PROGRESS_MARK = "inpaintlib-progress"  # metadata of the outputs that are progress, not result


def project_root() -> Path:
    """Returns the folder that holds ``notebooks/``, ``params/`` and ``reports/``.

    It is ``INPAINTLIB_ROOT`` if set, else the repository that the package is installed from, else the
    nearest folder at or above the working directory with ``notebooks/`` and ``params/``.

    Raises InpaintError if there is none.
    """
    if given := os.environ.get("INPAINTLIB_ROOT"):
        if not Path(given).is_dir():
            raise InpaintError(f"INPAINTLIB_ROOT must name a folder; {given!r} is none")
        return Path(given).resolve()
    here = Path.cwd()
    for folder in (Path(__file__).resolve().parents[1], here, *here.parents):
        if (folder / "notebooks").is_dir() and (folder / "params").is_dir():
            return folder
    raise InpaintError(f"no project found at or above {here}; set INPAINTLIB_ROOT to the folder of the Makefile")


def generator(seed: int, index: int = 0) -> torch.Generator:
    """Returns a CPU generator for item ``index`` of a study with root ``seed``: draws do not depend on batching."""
    return torch.Generator().manual_seed(seed + index)


def begin(p: Params) -> Study:
    """Returns the study of a notebook with parameters ``p``; makes torch deterministic in this process.

    Results depend on the number of threads in their last bits, so it is fixed: 1, or ``INPAINTLIB_THREADS``. On a
    processor notebooks that run side by side use the cores better than threads do. On a GPU convolutions do not round
    to TF32, and what has no deterministic kernel (the gradient of random views is all of ours) runs in another one.

    Raises InpaintError for a wrong ``INPAINTLIB_THREADS`` or ``INPAINTLIB_DEVICE``.
    """
    run = Study(p.notebook, p.model_dump())
    torch.set_num_threads(_threads())
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with this
    on_gpu = run.device != "cpu"
    torch.use_deterministic_algorithms(True, warn_only=on_gpu)
    if on_gpu:
        torch.backends.cudnn.conv.fp32_precision = "ieee"
        warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation")  # said above
    torch.utils.deterministic.fill_uninitialized_memory = False  # a debugging aid that costs time
    return run


def _threads() -> int:
    value = os.environ.get("INPAINTLIB_THREADS") or "1"
    if not value.isdecimal() or int(value) < 1:
        raise InpaintError(f"INPAINTLIB_THREADS must be a whole number of at least 1; got {value!r}")
    return int(value)


class Claim(NamedTuple):
    """A claim's effect with its 95 % interval and its verdict; shown as a box in a notebook.

    ``least`` is the threshold that the interval was held against, ``n`` the number of images; None if there is none.
    """

    id: str
    notebook: str
    statement: str
    effect: float
    low: float
    high: float
    verdict: str
    least: float | None = None
    n: int | None = None

    def _repr_html_(self) -> str:
        kind = self.verdict.replace(" ", "-")
        numbers = f"effect {self.effect:.3g}, 95 % interval [{self.low:.3g}, {self.high:.3g}]"
        numbers += "" if self.least is None else f", threshold {self.least:.3g}"
        numbers += "" if self.n is None else f", n = {self.n}"
        return (
            f'<div class="claim {kind}"><b>{escape(self.id)}: {self.verdict}.</b> '
            f"{escape(self.statement)} <span>({numbers})</span></div>"
        )


def together(*claims: Claim) -> HTML:
    """Returns several claims as one thing to be shown as a cell's value."""
    return HTML("".join(claim._repr_html_() for claim in claims))


class Study:
    """One run of one notebook.

    Args:
        notebook: stem of the notebook's file; the files that it writes begin with it.
        settings: the parameters; ``profile`` names the folder under ``reports/``, ``seed`` roots the draws.
    """

    def __init__(self, notebook: str, settings: Mapping[str, Any]):
        self.notebook, self.settings = notebook, dict(settings)
        self.root = project_root()
        self.folder = self.root / "reports" / self.settings["profile"]
        self.device = device()  # where its networks are and search; what they return is on the CPU
        self.seconds: dict[str, float] = {}
        self._start = time.perf_counter()

    @cached_property
    def store(self) -> Store:
        """Where finished searches are kept, ``cache/`` or ``INPAINTLIB_CACHE``; its budget is ``image_steps``."""
        folder = Path(os.environ.get("INPAINTLIB_CACHE") or self.root / "cache")
        remove_orphans(*folder.glob("[0-9a-f][0-9a-f]"))
        context = surroundings("grid")
        return Store(folder, context=context, budget=self.settings.get("image_steps"), tell=notice)

    def path(self, name: str) -> Path:
        """Returns the path that a parameter names: relative ones start at the project's root."""
        return self.root / name

    def generator(self, index: int = 0) -> torch.Generator:
        """Returns the CPU generator of item ``index``, rooted at the study's seed."""
        return generator(self.settings["seed"], index)

    def save_figure(self, fig: Figure, name: str, alt: str) -> Image:
        """Writes ``figures/<notebook>-<name>.png`` and returns that very picture, to be shown as a cell's value.

        Args:
            fig: of matplotlib; it is neither changed nor closed.
            alt: what the figure shows, in a sentence, for readers who cannot see it.
        """
        buffer = io.BytesIO()
        # No Software field: equal figures are equal files, whatever matplotlib's version.
        fig.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", metadata={"Software": None})
        write_atomically(self._file("figures", name, "png"), buffer.getvalue())
        return Image(buffer.getvalue(), alt=alt)

    def save_table(self, table: pd.DataFrame, name: str) -> HTML:
        """Writes ``tables/<notebook>-<name>.csv`` (floats as ``%.6g``) and returns the table, to be shown.

        Raises InpaintError if the table has no rows, or its index has a name (it would be lost).
        """
        if table.empty:
            raise InpaintError(f"table {name!r} must have rows; it has {len(table)} and {table.shape[1]} columns")
        if any(level is not None for level in table.index.names):
            raise InpaintError(f"table {name!r} must keep its keys in columns; reset_index() its {table.index.names}")
        text = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
        write_atomically(self._file("tables", name, "csv"), text.encode())
        return HTML(table_html(table))

    def claim(self, id: str, statement: str, effect: float, interval: tuple[float, float], verdict: str, *,
              least: float | None = None, n: int | None = None) -> Claim:  # fmt: skip
        """Records the verdict on a claim as ``claims/<notebook>-<id>.json`` and returns it, to be shown.

        Args:
            id: as in the list of claims, for instance ``"C1"``.
            effect: the estimate; ``interval`` is its 95 % interval, low first.
            verdict: supported, not supported or undecided.
            least: the threshold that decides; without it the summary cannot say how many images would.
            n: the number of images that the interval is over.
        """
        check_choice("verdict", verdict, VERDICTS)
        low, high = interval
        for name, value in (("effect", effect), ("interval's low end", low), ("interval's high end", high)):
            check_number(f"claim {id}: {name}", float(value))
        if low > high:
            raise InpaintError(f"claim {id}: interval must be low end first; got ({low:.6g}, {high:.6g})")
        if least is not None:
            check_number(f"claim {id}: least", float(least))
            least = _rounded(least)
        if n is not None:
            check_integer(f"claim {id}: n", n, low=1)
            n = int(n)
        numbers = (_rounded(effect), _rounded(low), _rounded(high))
        record = Claim(id, self.notebook, statement, *numbers, verdict, least, n)
        text = json.dumps(record._asdict(), indent=2, ensure_ascii=False) + "\n"
        write_atomically(self._file("claims", id, "json"), text.encode())
        return record

    def say(self, text: str) -> Markdown:
        """Returns a computed sentence (markdown), to be shown: readings state numbers that come from tables."""
        return Markdown(text)

    @contextmanager
    def clock(self, name: str) -> Iterator[None]:
        """Adds the wall time of a ``with`` block to the row ``name`` of the timing table."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def provenance(self, weights: Mapping[str, str]) -> HTML:
        """Writes and returns the settings actually used (table ``provenance``); writes the timing table too.

        Args:
            weights: name of each network used -> what identifies its file, as ``weights.checksums`` says it.
        """
        timing = {**self.seconds, "whole notebook": time.perf_counter() - self._start}
        rows = [(name, seconds, "s") for name, seconds in timing.items()]
        rows.append(("peak memory", peak_memory_gb(), "GB"))
        rows += [("peak memory of the GPU", peak_gpu_memory_gb(), "GB")] if self.device != "cpu" else []
        self.save_table(pd.DataFrame(rows, columns=["what", "value", "unit"]), "timing")
        parts = {
            "parameter": self.settings,
            "weights": weights,
            "version": versions(self.root),
            "hardware": {**hardware(), "device": self.device},
        }
        table = [(part, name, str(value)) for part, items in parts.items() for name, value in items.items()]
        return self.save_table(pd.DataFrame(table, columns=["part", "name", "value"]), "provenance")

    def _file(self, kind: str, name: str, suffix: str) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
            raise InpaintError(f"a file's name must be letters, digits, '_' and '-'; got {name!r}")
        return self.folder / kind / f"{self.notebook}-{name}.{suffix}"


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def notice(text: str) -> None:
    """Says a sentence in the terminal, and in a notebook where its page leaves it out."""
    if get_ipython() is None:
        print(text, file=sys.stderr)
    else:
        display({"text/plain": text}, raw=True, metadata={PROGRESS_MARK: "notice"})


class Progress:
    """One line that says how far a long computation is; call it with (done, total) and optionally losses and a text.

    In a notebook it is one output, updated in place (the report leaves it out); the runner repeats it
    in the terminal. Elsewhere it prints to stderr.

    Args:
        label: what is being done.
        every: least number of seconds between two updates; the last one is always shown.
    """

    def __init__(self, label: str, *, every: float = 1.0):
        self.label, self.every = label, every
        self._start = self._shown = time.perf_counter()
        self._handle: Any = None

    def __call__(self, done: int, total: int, losses: torch.Tensor | None = None, text: str = "") -> None:
        now = time.perf_counter()
        if done == 0:
            notice(f"{self.label}: {text or f'0 of {total}'}")
            self._start = self._shown = time.perf_counter()
            return
        if done < total and now - self._shown < self.every:
            return
        self._shown = now
        seconds = now - self._start
        left = f", {seconds * (total - done) / done:.0f} s left" if 0 < done < total else ""
        loss = "" if losses is None else f", mean loss {float(losses.mean()):.4g}"
        self._show(f"{self.label}: {text and f'{text}, '}{done} of {total}, {seconds:.0f} s{left}{loss}")

    def _show(self, line: str) -> None:
        if get_ipython() is None:
            print(line, file=sys.stderr)
        elif self._handle is None:
            mark = {PROGRESS_MARK: True}
            self._handle = display({"text/plain": line}, raw=True, metadata=mark, display_id=True)
        else:
            self._handle.update({"text/plain": line}, raw=True, metadata={PROGRESS_MARK: True})
