"""Runs one notebook with one params file by papermill: checked before, visible while, whole or absent after."""

from __future__ import annotations

import ast
import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import filelock
import nbformat
import papermill
from jupyter_client.kernelspec import NoSuchKernel
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines
from papermill.exceptions import PapermillExecutionError

from . import params
from .checks import InpaintError
from .files import check_writable, remove_orphans, writing
from .study import PROGRESS_MARK, project_root

__all__ = ["checked_parameters", "run"]

ENGINE = "inpaintlib"
# What jupyter says of a kernel that did not start; when several start at once, now and then one does not.
NO_START = ("before replying", "didn't respond")
# What nbformat and papermill are known to raise on damaged notebooks.
DAMAGE = (OSError, ValueError, TypeError, AttributeError, KeyError, nbformat.ValidationError)
ECHO_SECONDS = 3.0  # least time between two progress lines in the terminal


def run(notebook: Path, params_file: Path, out: Path, overrides: Mapping[str, Any] | None = None) -> None:
    """Executes ``notebook`` with the values of ``params_file`` and leaves the result as ``out``.

    While it runs, and if it fails, the notebook stands beside ``out`` as ``<stem>.failed.ipynb``; an
    older ``out`` is gone from the start, so that it cannot be taken for a result of these parameters.
    A second run of the same ``out`` waits until the first has ended. Temporary files of killed runs are removed.

    Args:
        overrides: values that replace those of the file.

    Raises InpaintError if a parameter is wrong or ``out`` cannot be written (nothing is run or removed
    then), or a cell fails.
    """
    values = checked_parameters(notebook, params_file, overrides or {})
    failed = out.with_suffix(".failed.ipynb")
    check_writable(out)
    papermill_engines.register(ENGINE, _Engine)
    with _alone(out):
        remove_orphans(out.parent, *(out.parent / kind for kind in ("figures", "tables", "claims")))
        with writing(out):
            out.unlink(missing_ok=True)
        _run_cells(notebook, failed, values)
        with writing(out):
            os.replace(failed, out)


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Holds the lock of ``out``, which the system takes from a process that dies."""
    lock = filelock.FileLock(out.with_name(f".{out.stem}.lock"))
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        print(f"[{out.stem}] another run makes {out}; waiting for its end", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def checked_parameters(notebook: Path, params_file: Path, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values to inject into ``notebook``.

    Raises InpaintError if the notebook is missing or damaged, the file's keys are not those of the parameters
    cell, or a value is not what the notebook's model asks for.
    """
    if not notebook.is_file():
        raise InpaintError(f"{notebook} is missing; a notebook lies in notebooks/")
    defaults = _parameters_cell(notebook)
    values = {**params.load(params_file), **overrides}
    # papermill only warns of an unknown key, and a missing one would silently keep the cell's value.
    if strange := sorted(set(values) - set(defaults)):
        close = get_close_matches(strange[0], defaults, n=1)
        hint = f", is {close[0]!r} meant?" if close else ""
        text = f"{params_file}: unknown key {', '.join(strange)}; {notebook.name} has no such parameter{hint}"
        raise InpaintError(text)
    if lacking := sorted(set(defaults) - set(values)):
        raise InpaintError(f"{params_file}: key {', '.join(lacking)} is missing; {notebook.name} has it")
    model = params.model_for(notebook.stem, defaults)
    return model.from_mapping(values, str(params_file)).model_dump()


def _parameters_cell(notebook: Path) -> dict[str, Any]:
    """Returns names and values of the cell tagged ``parameters``, as papermill sees them."""
    try:
        found = papermill.inspect_notebook(str(notebook))
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise InpaintError(f"{notebook} must be a notebook; it cannot be read: {reason}") from None
    if not found:
        raise InpaintError(f"{notebook} must have a cell tagged 'parameters' that assigns values; it has none")
    values = {}
    for name, entry in found.items():
        try:
            values[name] = ast.literal_eval(entry["default"])
        except (ValueError, SyntaxError):
            text = f"{notebook}: parameter {name} must be a literal value; found {entry['default']}"
            raise InpaintError(text) from None
    return values


def _run_cells(notebook: Path, failed: Path, values: Mapping[str, Any]) -> None:
    """Executes the notebook as ``failed``, and says in one sentence why it could not be done."""
    try:
        _execute(notebook, failed, values)
    except OSError as error:
        raise InpaintError(f"{notebook.name} could not be run to its end: {error}") from error
    except NoSuchKernel as error:
        raise InpaintError(f"{notebook.name} needs the kernel {error.name!r}; install ipykernel for it") from None
    except PapermillExecutionError as error:
        # The library's own errors are sentences for the user; of others the kind matters too.
        reason = error.evalue if error.ename == "InpaintError" else f"{error.ename}: {error.evalue}"
        raise InpaintError(f"{notebook.name} failed in cell {error.exec_count}: {reason} (see {failed})") from None
    except DeadKernelError:
        raise InpaintError(
            f"{notebook.name}: its process was killed, often for want of memory (see {failed})"
        ) from None


def _execute(notebook: Path, target: Path, values: Mapping[str, Any]) -> None:
    for attempt in (1, 2):
        try:
            papermill.execute_notebook(
                notebook, target, dict(values), engine_name=ENGINE, kernel_name="python3", progress_bar=False,
                cwd=project_root(),
            )  # fmt: skip
            return
        except DeadKernelError:
            raise
        except RuntimeError as error:
            if not any(sign in str(error) for sign in NO_START):
                raise
            if attempt == 2:
                raise InpaintError(f"{notebook.name}: its kernel did not start, twice: {error}") from None


class _Engine(Engine):
    """papermill's engine with a client that speaks in the terminal."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: NotebookExecutionManager, kernel_name: str, start_timeout: int = 60, **_: Any
    ) -> None:
        # The kernel warns at every start that it uses TCP; the alternative, IPC, mixes up parallel kernels.
        quiet = ["--log-level=CRITICAL"]
        _Client(nb_man, kernel_name=kernel_name, startup_timeout=start_timeout, timeout=None, extra_arguments=quiet
                ).execute()  # fmt: skip


class _Client(PapermillNotebookClient):
    """Prints a line when a code cell starts, with the heading above it, and the cells' progress lines."""

    _echoed = 0.0
    _heading = ""

    def execute_cell(self, cell: NotebookNode, cell_index: int, **kwargs: Any) -> NotebookNode:
        if cell.cell_type == "markdown":
            headings = [line.lstrip("# ") for line in cell.source.splitlines() if line.startswith("#")]
            self._heading = headings[-1] if headings else self._heading
        elif cell.cell_type == "code" and cell.source.strip():
            code = [i for i, c in enumerate(self.nb.cells) if c.cell_type == "code"]
            self._say(f"{code.index(cell_index) + 1}/{len(code)} {self._heading}")
        return super().execute_cell(cell, cell_index, **kwargs)

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> NotebookNode | None:
        content = msg["content"]
        mark = content.get("metadata", {}).get(PROGRESS_MARK)
        if mark and (mark == "notice" or time.monotonic() - self._echoed >= ECHO_SECONDS):
            self._echoed = time.monotonic()
            self._say(f"    {content['data']['text/plain']}")
        return super().process_message(msg, cell, cell_index)

    def _say(self, line: str) -> None:
        name = Path(self.nb.metadata.papermill["input_path"]).stem
        print(f"[{name}] {line}", file=sys.stderr, flush=True)
