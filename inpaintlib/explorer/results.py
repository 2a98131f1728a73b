"""A result of the explorer: completions of one photo, and everything that belongs to them, as files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from PIL import Image
from safetensors import SafetensorError, safe_open

from ..checks import InpaintError, check_integer
from ..images import decode
from .pictures import as_file, shrunk, spread
from .settings import Settings

__all__ = ["Result", "read_result", "zip_of"]

LATENTS, PARAMS, SCORES, COMMAND, MASK = "latents.safetensors", "params.yaml", "scores.csv", "command.txt", "mask.png"
LAST_CHANGE = (1980, 1, 1, 0, 0, 0)  # of a file in a ZIP: equal results are equal ZIPs


@dataclass(frozen=True, eq=False)
class Result:
    """Completions of one photo, best objective first. Pictures are read when they are asked for.

    Attributes:
        number: of its folder.
        folder: where its files are, None if they could not be saved.
        settings: of the run.
        scores: a row a sample: sample (1, 2, ..), seed, objective, known_mse, known_lpips (``percept-judge``), and a
            column a wish as :func:`inpaintlib.own.wish_scores` has them.
        stopped: ``finished``, ``flat`` or ``stopped``, see :class:`inpaintlib.record.Inversion`.
        steps: that the last sample's search made.
        held: name -> content of the files of a result without a folder.
    """

    number: int
    folder: Path | None
    settings: Settings
    scores: pd.DataFrame
    stopped: str
    steps: int
    held: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def samples(self) -> int:
        return len(self.scores)

    @property
    def names(self) -> list[str]:
        """The names of its files."""
        pictures = [f"result-{i + 1}.png" for i in range(self.samples)]
        return [photo_name(self.number), MASK, *pictures, LATENTS, PARAMS, SCORES, COMMAND]

    def read(self, name: str) -> bytes:
        """Returns the content of one of its files. Raises InpaintError if it is gone."""
        if self.folder is None:
            return self.held[name]
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise InpaintError(f"{self.folder / name} cannot be read: {error.strerror or error}") from None

    @property
    def yaml(self) -> str:
        """The params file that makes it again."""
        return self.read(PARAMS).decode()

    @property
    def command(self) -> str:
        """What is said of how to make it again: the line of ``make inpaint``, and remarks on top, each behind a #."""
        return self.read(COMMAND).decode().rstrip("\n")

    def png(self, sample: int) -> bytes:
        """Returns a completion as the content of a PNG, at the photo's resolution; samples count from 0, the best."""
        check_integer("sample", sample, low=0, high=self.samples - 1)
        return self.read(f"result-{sample + 1}.png")

    def picture(self, sample: int, longest: int | None = None) -> np.ndarray:
        """Returns a completion, uint8 (H, W, 3); ``longest`` is the most pixels of its longer side, None = all."""
        return shrunk(_pixels(self.png(sample)), longest)

    def photo(self, longest: int | None = None) -> np.ndarray:
        """Returns the photo, uint8 (H, W, 3), as :meth:`picture` does."""
        return shrunk(_pixels(self.read(photo_name(self.number))), longest)

    @cached_property
    def mask(self) -> np.ndarray:
        """The mask, bool (H, W), True = hole."""
        return _pixels(self.read(MASK))[..., 0] > 0

    def spread(self, longest: int | None = 512) -> np.ndarray:
        """Returns how far the samples differ, see :func:`inpaintlib.explorer.pictures.spread`."""
        return spread(np.stack([self.picture(i, longest) for i in range(self.samples)]))


def photo_name(number: int) -> str:
    """Returns the name of a result's photo: ``make inpaint`` names its report's folder by it, so it has the number."""
    return f"photo-{number:04d}.png"


def zip_of(result: Result) -> bytes:
    """Returns the content of a ZIP with all files of a result, in a folder ``explorer-NUMBER``.

    Its command says on top that the paths are those of the result's folder, not of the ZIP.

    Raises InpaintError if one is gone.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in result.names:
            entry = zipfile.ZipInfo(f"explorer-{result.number:04d}/{name}", LAST_CHANGE)
            entry.external_attr = 0o644 << 16  # else unzip makes files that nobody may read
            remark = f"# The paths are those of reports/explorer/{result.number:04d}, where these files are from.\n"
            archive.writestr(entry, (remark.encode() if name == COMMAND else b"") + result.read(name))
    return buffer.getvalue()


def read_result(folder: Path) -> Result | None:
    """Returns the result in a folder; None if it is not whole."""
    try:
        scores = pd.read_csv(folder / SCORES)
        settings = Settings.from_params(yaml.safe_load((folder / PARAMS).read_text(encoding="utf-8")))
        with safe_open(folder / LATENTS, framework="np") as f:
            facts = f.metadata() or {}
        result = Result(int(folder.name), folder, settings, scores, facts["stopped"], int(facts["steps"]))
        for name in result.names:
            if name.endswith(".png"):
                Image.open(folder / name, formats=("PNG",)).close()
        whole = all((folder / name).stat().st_size for name in result.names) and len(scores) > 0
    # InpaintError is a ValueError, and so is what is no YAML, no UTF-8 or no table.
    except (OSError, ValueError, KeyError, TypeError, SafetensorError, yaml.YAMLError):
        return None
    return result if whole else None


def _pixels(content: bytes) -> np.ndarray:
    with as_file("a picture of the result", content) as path:
        return np.asarray(decode(path).convert("RGB"))
