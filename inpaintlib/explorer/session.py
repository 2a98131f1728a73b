"""What the explorer keeps on the disk: every result, and the state in which it was left.

::

    reports/explorer/
        0001/  photo-0001.png  mask.png  result-1.png ..  latents.safetensors  params.yaml  scores.csv  command.txt
        last/  photo.png  mask.png  settings.yaml  origin.txt

A result's folder is written under a hidden name and renamed when it is whole, so a folder with a number holds a
result. Several explorers may share the folder: a number is taken by one alone.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from torch import Tensor

from ..checks import InpaintError
from ..files import write_atomically, writing
from ..images import read_image
from ..masks import read_mask
from .pictures import mask_png
from .results import Result, read_result
from .settings import Settings

__all__ = ["Draft", "Last", "Session"]

OFFERED = 50  # results that are found again, the newest


class Last(NamedTuple):
    """The state in which the explorer was left."""

    photo: Tensor  # (1, 3, H, W) in [-1, 1]
    mask: np.ndarray  # bool (H, W), True = hole
    settings: Settings
    origin: str  # where the photo is from, in words


class Draft:
    """A result's folder while it is being written: a context that removes it unless :meth:`finish` was called."""

    def __init__(self, number: int, hidden: Path, final: Path):
        self.number, self.hidden, self.final = number, hidden, final

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.hidden, ignore_errors=True)

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

    def begin(self) -> Draft:
        """Returns the folder of a new result, with the next free number. Raises InpaintError if none can be made."""
        number = max((int(name) for name in self._names()), default=0)
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            while True:
                number += 1
                hidden, final = self.folder / f".{number:04d}", self.folder / f"{number:04d}"
                try:
                    hidden.mkdir()  # fails where another explorer has taken the number
                except FileExistsError:
                    continue
                if not final.exists():
                    return Draft(number, hidden, final)
                hidden.rmdir()

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

        A mask that is missing or does not fit the photo is empty then, and settings that cannot be read are the
        defaults.
        """
        folder = self.folder / "last"
        try:
            photo = read_image(folder / "photo.png")
        except InpaintError:
            return None
        return Last(photo, _mask(folder / "mask.png", photo), _settings(folder / "settings.yaml"),
                    _text(folder / "origin.txt"))  # fmt: skip

    def keep_photo(self, photo_png: bytes, origin: str) -> None:
        """Keeps the photo, the content of a PNG. Raises InpaintError if it cannot be written."""
        (self.folder / "last" / "mask.png").unlink(missing_ok=True)  # is another photo's, if the next line is the last
        write_atomically(self.folder / "last" / "photo.png", photo_png)
        write_atomically(self.folder / "last" / "origin.txt", origin.encode("utf-8", "replace"))

    def keep_mask(self, mask: np.ndarray) -> None:
        """Keeps the mask, bool (H, W). Raises InpaintError if it cannot be written."""
        write_atomically(self.folder / "last" / "mask.png", mask_png(mask))

    def keep_settings(self, settings: Settings) -> None:
        """Keeps the settings. Raises InpaintError if they cannot be written."""
        text = yaml.safe_dump(settings.model_dump(), sort_keys=False, allow_unicode=True)
        write_atomically(self.folder / "last" / "settings.yaml", text.encode("utf-8", "replace"))

    def log(self, text: str) -> Path:
        """Adds to ``log.txt``, for whoever looks into an error, and returns its path."""
        path = self.folder / "log.txt"
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8", errors="replace") as file:
                file.write(text)
        return path


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


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return "the last picture"
