"""Finished work on disk: a killed run goes on where it was, and nothing that was finished is computed again.

A piece of work is stored, whole or not at all, in one file under the SHA-256 of everything that determines its
result: what the caller states (settings, weights, inputs), and what :func:`surroundings` finds (versions, machine,
threads, the code). So an entry is never stale: whatever changes, its name changes with it. Entries carry a digest of
their content; a damaged one counts as missing.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .checks import InpaintError
from .files import write_atomically
from .machine import hardware, packages

__all__ = ["Store", "digest", "source_digest", "surroundings"]

PACKAGE = Path(__file__).parent


class Store:
    """A folder of finished work.

    Args:
        folder: made when something is stored.
        context: name -> what determines every piece beside its own facts, as :func:`surroundings` returns it.
        budget: most generator passes that may be asked for in all, None = any number.
        tell: called with a sentence where an entry was damaged.
    """

    def __init__(self, folder: Path | str, *, context: Mapping[str, str] | None = None, budget: int | None = None,
                 tell: Callable[[str], None] | None = None):  # fmt: skip
        self.folder, self.context, self.budget, self.tell = Path(folder), dict(context or {}), budget, tell
        self.asked, self.counted = 0, set()

    def reserve(self, work: Sequence[tuple[str | None, int]]) -> None:
        """Counts pieces of work that are about to be asked for, stored or not: their keys (or None) and passes.

        A key that was counted before costs nothing more. Raises InpaintError if with them the budget is exceeded.
        """
        new = {key: passes for key, passes in work if key is not None and key not in self.counted}
        passes = sum(new.values()) + sum(passes for key, passes in work if key is None)
        if self.budget is not None and self.asked + passes > self.budget:
            before = f" after the {self.asked} before it" if self.asked else ""
            raise InpaintError(
                f"image_steps must be at least {self.asked + passes}: this grid takes {passes} passes{before};"
                f" it is {self.budget}. Raise it, or take fewer faces, steps or settings."
            )
        self.asked += passes
        self.counted |= set(new)

    def key(self, facts: Mapping[str, object]) -> str:
        """Returns the name of a piece of work, 64 hexadecimal digits; ``facts`` hold what JSON can hold."""
        text = json.dumps({"context": self.context, "facts": dict(facts)}, sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def holds(self, key: str) -> bool:
        """Returns whether there is a file of that name; only :meth:`load` tells whether it is whole."""
        return self._path(key).is_file()

    def load(self, key: str) -> tuple[dict[str, Tensor], dict[str, object]] | None:
        """Returns the tensors and the facts stored under ``key``, or None if there are none or they are damaged."""
        path = self._path(key)
        if not self.holds(key):
            return None
        try:
            with safe_open(path, framework="pt") as f:
                tensors, metadata = {name: f.get_tensor(name) for name in f.keys()}, f.metadata()  # noqa: SIM118
            facts = json.loads(metadata["facts"])
            whole = metadata["digest"] == _digest(tensors, metadata["facts"])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError):
            whole = False
        if not whole:
            if self.tell is not None:
                self.tell(f"{path} is damaged; what it held is computed again")
            return None
        return tensors, facts

    def save(self, key: str, tensors: Mapping[str, Tensor], facts: Mapping[str, object]) -> None:
        """Stores tensors and facts (what JSON can hold) under ``key``.

        Raises InpaintError if the file cannot be written.
        """
        content = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
        text = json.dumps(dict(facts))
        metadata = {"facts": text, "digest": _digest(content, text)}
        write_atomically(self._path(key), save(content, metadata=metadata))

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"


def digest(*tensors: Tensor) -> str:
    """Returns the SHA-256 of tensors' types, shapes and values."""
    state = hashlib.sha256()
    for x in tensors:
        state.update(f"{x.dtype} {tuple(x.shape)}".encode())
        state.update(x.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return state.hexdigest()


def _digest(tensors: Mapping[str, Tensor], facts: str) -> str:
    names = sorted(tensors)
    text = json.dumps([names, facts, digest(*(tensors[name] for name in names))])
    return hashlib.sha256(text.encode()).hexdigest()


def surroundings(module: str) -> dict[str, str]:
    """Returns what determines every result of a module of the package: its code, versions, the machine, threads.

    The processor is part of it, since results are the same to the last bit on one kind of machine only.
    """
    known = hardware()
    machine = {name: known[name] for name in ("processor", "GPU", "threads of torch")}
    return {**packages(), **machine, "code": source_digest(module)}


def source_digest(module: str) -> str:
    """Returns the SHA-256 of the code of a module of the package and of all modules that it imports.

    Comments, docstrings and layout do not count: they change no result.
    """
    seen: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            tree = _code(PACKAGE / f"{name}.py")
            seen[name] = ast.dump(tree)
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and node.level == 1:
                    waiting += [node.module] if node.module else [alias.name for alias in node.names]
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()


def _code(path: Path) -> ast.Module:
    """A source's syntax tree without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = ""  # a text that nothing reads
    return tree
