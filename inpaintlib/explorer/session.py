"""What the explorer keeps on the disk: every result, and the state in which it was left.

::

    reports/explorer/
        0001/  photo-0001.png  mask.png  result-1.png ..  latents.safetensors  params.yaml  scores.csv  command.txt
        last/  photo.png  mask-HASH.png  settings.yaml  origin.txt  owner.txt

A result's folder is written under a hidden name and renamed when it is whole, so a folder with a number holds a
result; a file beside it tells which process writes it. Several explorers may share the folder: a number is taken by
one alone, and ``last`` is of the one that was used last. A mask's name has the hash of its photo, so that no photo
ever gets the mask of another.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import time
import traceback
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from torch import Tensor

from ..checks import InpaintError
from ..files import marked, orphaned, remove_orphans, write_atomically, writing
from ..images import read_image
from ..masks import read_mask
from .pictures import mask_png
from .results import Result, read_result
from .settings import Settings

__all__ = ["Draft", "Last", "Session"]

OFFERED = 50  # results that are found again, the newest
CLAIM = re.compile(r"\.[0-9]+\.[0-9a-f]{8}\..+\.tmp")  # the name of a draft's claim


class Last(NamedTuple):
    """The state in which the explorer was left."""

    photo: Tensor  # (1, 3, H, W) in [-1, 1]
    mask: np.ndarray  # bool (H, W), True = hole
    settings: Settings
    origin: str  # where the photo is from, in words


class Draft:
    """A result's folder while it is being written: a context that removes it unless :meth:`finish` was called.

    Attributes:
        claim: an empty file that tells which process writes it; as long as its process runs, so does the search.
    """

    def __init__(self, number: int, hidden: Path, final: Path, claim: Path):
        self.number, self.hidden, self.final, self.claim = number, hidden, final, claim

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.hidden, ignore_errors=True)
        _remove(self.claim)

    def write(self, name: str, content: bytes) -> None:
        """Writes a file. Raises InpaintError if the disk is full or the like."""
        write_atomically(self.hidden / name, content)

    def finish(self) -> Path:
        """Gives the folder its name, which is returned. Raises InpaintError if that cannot be done."""
        with writing(self.final):
            os.rename(self.hidden, self.final)
        return self.final


class Session:
    """The folder ``reports/explorer`` of a project.

    Args:
        root: the project's folder.
    """

    def __init__(self, root: Path | str):
        self.root = Path(root)
        self.folder = self.root / "reports" / "explorer"
        self._last, self._id = self.folder / "last", secrets.token_hex(8)
        self._seen = ""  # the owner of ``last`` when it was looked at or written
        self._photo = ""  # the name of the mask of the photo that this session has kept, "" before
        self._claims: set[Path] = set()

    def begin(self) -> Draft:
        """Returns the folder of a new result, with the next free number. Raises InpaintError if none can be made."""
        number = max((int(name) for name in self._names()), default=0)
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            while True:
                number += 1
                hidden, final = self.folder / f".{number:04d}", self.folder / f"{number:04d}"
                if hidden.exists() or final.exists():
                    continue
                claim = marked(self.folder / f"{number:04d}.{secrets.token_hex(4)}")
                self._claims.add(claim)
                claim.touch()  # before the folder, which would be removed without it, see tidy
                try:
                    hidden.mkdir()  # fails where another explorer has taken the number
                    if not final.exists():
                        return Draft(number, hidden, final, claim)
                    hidden.rmdir()
                except FileExistsError:
                    pass
                except BaseException:
                    _remove(claim)
                    raise
                _remove(claim)

    def others_running(self) -> int:
        """Returns how many searches of other explorers of this project are running. It lists one folder."""
        return sum(not orphaned(claim) for claim in self._all_claims() if claim not in self._claims)

    def tidy(self) -> None:
        """Removes what explorers left that were killed; their numbers are free again."""
        alive = {claim.name.split(".")[1] for claim in self._all_claims() if not orphaned(claim)}
        for folder in self.folder.glob(".*"):
            if folder.name[1:].isdecimal() and folder.name[1:] not in alive:
                shutil.rmtree(folder, ignore_errors=True)
        remove_orphans(self.folder, self._last)

    def _all_claims(self) -> list[Path]:
        return [path for path in self.folder.glob(".*.tmp") if CLAIM.fullmatch(path.name)]

    def _names(self) -> list[str]:
        """The numbers of all folders, also of those that are being written."""
        names = [path.name.removeprefix(".") for path in self.folder.glob("*")] if self.folder.is_dir() else []
        return [name for name in names if name.isdecimal()]

    def results(self, most: int = OFFERED) -> list[Result]:
        """Returns the newest results, newest first; a folder that is not whole is left out."""
        numbers = sorted({int(name) for name in self._names()}, reverse=True)
        found = []
        for number in numbers:
            if len(found) < most and (result := read_result(self.folder / f"{number:04d}")) is not None:
                found.append(result)
        return found

    def restore(self) -> Last | None:
        """Returns the state in which the explorer was left; None if there is none, or its photo cannot be read.

        A mask that is missing or of another photo is empty then, and settings that cannot be read are the defaults.
        """
        self._seen = self._owner()
        path = self._last / "photo.png"
        try:
            name = _mask_name(path.read_bytes())
            photo = read_image(path)
        except (InpaintError, OSError):
            return None
        return Last(photo, _mask(self._last / name, photo), _settings(self._last / "settings.yaml"),
                    _text(self._last / "origin.txt", "the last picture"))  # fmt: skip

    @property
    def owns(self) -> bool:
        """Whether the photo and mask that are kept are what this session has kept."""
        return bool(self._photo) and self._owner() == self._id

    @property
    def overtaken(self) -> bool:
        """Whether another session has kept its photo since this one began or kept its own."""
        return self._owner() != self._seen

    def _owner(self) -> str:
        return _text(self._last / "owner.txt", "")

    def keep_photo(self, photo_png: bytes, origin: str) -> None:
        """Keeps the photo, the content of a PNG; what is kept is this session's then, see :attr:`owns`.

        Raises InpaintError if it cannot be written.
        """
        self._photo = ""
        write_atomically(self._last / "photo.png", photo_png)
        write_atomically(self._last / "origin.txt", origin.encode("utf-8", "replace"))
        write_atomically(self._last / "owner.txt", self._id.encode())
        self._photo, self._seen = _mask_name(photo_png), self._id
        for path in self._last.glob("mask-*.png"):
            if path.name != self._photo:
                _remove(path)

    def keep_mask(self, mask: np.ndarray) -> None:
        """Keeps the mask, bool (H, W), of the photo that was kept. Raises InpaintError if it cannot be written."""
        write_atomically(self._last / self._photo, mask_png(mask))

    def keep_settings(self, settings: Settings) -> None:
        """Keeps the settings. Raises InpaintError if they cannot be written."""
        text = yaml.safe_dump(settings.model_dump(), sort_keys=False, allow_unicode=True)
        write_atomically(self._last / "settings.yaml", text.encode("utf-8", "replace"))

    def log(self, text: str) -> Path:
        """Adds to ``log.txt``, for whoever looks into an error, and returns its path."""
        path = self.folder / "log.txt"
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8", errors="replace") as file:
                file.write(text)
        return path

    def unforeseen(self, error: BaseException) -> str:
        """Logs an error's traceback; returns what to say of it, the end of a sentence without its stop."""
        text, where = "".join(traceback.format_exception(error)), ""
        with contextlib.suppress(InpaintError):
            path = self.log(f"{time.strftime('%Y-%m-%d %H:%M:%S')}\n{text}\n")
            where = f"; what happened is in {path}"
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return f"by an error that nobody foresaw ({reason}){where}"


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _mask_name(photo_png: bytes) -> str:
    return f"mask-{hashlib.sha256(photo_png).hexdigest()[:16]}.png"


def _mask(path: Path, photo: Tensor) -> np.ndarray:
    empty = np.zeros(photo.shape[2:], dtype=bool)
    try:
        mask = read_mask(path)[0, 0].numpy() == 1
    except InpaintError:  # also of an empty mask, which is kept too
        return empty
    return mask if mask.shape == empty.shape else empty


def _settings(path: Path) -> Settings:
    try:
        return Settings.from_mapping(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, yaml.YAMLError):  # InpaintError is a ValueError
        return Settings()


def _text(path: Path, otherwise: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return otherwise
