"""How every file of the project is written: whole, or not at all with one sentence that says why."""

from __future__ import annotations

import contextlib
import os
import platform
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from .errors import InpaintError

__all__ = ["check_writable", "marked", "orphaned", "remove_orphans", "write_atomically", "writing"]


@contextlib.contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Turns an OSError of the ``with`` block into an InpaintError that says ``path`` cannot be written."""
    try:
        yield
    except OSError as error:
        raise InpaintError(f"{path} cannot be written: {error.strerror or error}") from error


def write_atomically(path: Path | str, content: bytes) -> None:
    """Writes ``content`` under a temporary name and renames it: the file is whole or as it was before.

    Its folder is made if there is none.

    Raises InpaintError if the folder cannot be written or the disk is full.
    """
    path = Path(path)
    # Of this thread too: another one may be writing the same file.
    temporary = marked(path.with_name(f"{path.name}.{threading.get_native_id()}"))
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content)
            os.replace(temporary, path)
    finally:
        # Also after Ctrl-C. Whatever kept the file from being written may keep this from being removed.
        with contextlib.suppress(OSError):
            temporary.unlink()


def marked(path: Path) -> Path:
    """Returns a hidden name beside ``path`` that tells that it is of this process of this machine."""
    return path.with_name(f".{path.name}{_mark(os.getpid())}")


def orphaned(path: Path) -> bool:
    """Returns whether a name of :func:`marked` is of a process of this machine that runs no more."""
    pid = path.name.split(".")[-2]
    return pid.isdecimal() and path.name.endswith(_mark(pid)) and not _runs(int(pid))


def _mark(pid: int | str) -> str:
    """The end of a temporary name: it tells whose file it is."""
    return f".{platform.node()}.{pid}.tmp"


def remove_orphans(*folders: Path | str) -> None:
    """Removes what :func:`write_atomically` left in folders for processes of this machine that were killed."""
    for path in (path for folder in folders for path in Path(folder).glob(".*.tmp")):
        if orphaned(path):
            with contextlib.suppress(OSError):
                path.unlink()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # asks only
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def check_writable(path: Path | str) -> None:
    """Makes the folder of ``path`` and raises InpaintError unless a file can be written there by that name."""
    path = Path(path)
    if path.is_dir():
        raise InpaintError(f"{path} must name a file to write; it is a folder")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Permission bits do not tell of a read-only disk, and mean nothing to root: try it.
        tempfile.TemporaryFile(dir=path.parent).close()
