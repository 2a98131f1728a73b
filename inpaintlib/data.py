"""Readers of the training and test images: CelebA faces and CIFAR-10.

The folder is given by the user (``INPAINTLIB_DATA`` or ``--data``); nothing here has a default place.
Two layouts are read: Parquet files with an ``image`` struct of encoded bytes (``celeba_train.parquet``,
``celeba_val.parquet``, ``cifar10_train.parquet``), and the official ones (``img_align_celeba/`` with
``list_attr_celeba.txt``; torchvision's CIFAR-10).
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .checks import InpaintError, check_choice

__all__ = ["Labelled", "data_folder", "load_celeba", "load_cifar10"]

# Rows of the official list that stand for the splits here: faces 000001-009000 and 009001-009500.
CELEBA_SPLITS = {"train": (0, 9000), "val": (9000, 9500)}


class Labelled(NamedTuple):
    """Images with labels."""

    images: Tensor  # uint8 (N, 3, H, W)
    labels: Tensor  # bool (N, 40) attributes, or int64 (N,) classes
    names: tuple[str, ...]  # of the attributes or classes


def data_folder() -> Path | None:
    """Returns the folder that ``INPAINTLIB_DATA`` names, or None if it is not set.

    Raises InpaintError if it is set and is no folder.
    """
    value = os.environ.get("INPAINTLIB_DATA")
    if not value:
        return None
    folder = Path(value)
    if not folder.is_dir():
        raise InpaintError(f"INPAINTLIB_DATA must name a folder; {value!r} is none")
    return folder


def _square(encoded: bytes | Path, size: int) -> np.ndarray:
    """Decodes a picture, takes the centred square and resizes it to (size, size, 3) with antialiasing."""
    with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded) as im:
        im = im.convert("RGB")
        side = min(im.size)
        left, top = (im.width - side) // 2, (im.height - side) // 2
        box = (left, top, left + side, top + side)
        return np.asarray(im.resize((size, size), Image.Resampling.LANCZOS, box=box))


def _stack(pictures: list[bytes] | list[Path], size: int) -> Tensor:
    images = np.empty((len(pictures), size, size, 3), dtype=np.uint8)
    for i, picture in enumerate(pictures):
        try:
            images[i] = _square(picture, size)
        except OSError as error:
            name = picture if isinstance(picture, Path) else f"row {i}"
            raise InpaintError(f"{name} must be a picture; it cannot be read: {error}") from error
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def _parquet(path: Path):
    import pyarrow.parquet  # only this layout needs it

    try:
        return pyarrow.parquet.read_table(path)
    except (OSError, ValueError) as error:  # pyarrow's own errors are of these two kinds
        raise InpaintError(f"{path} must be a Parquet file; it cannot be read: {error}") from error


def load_celeba(folder: Path | str, split: str = "train", *, size: int = 64) -> Labelled:
    """Returns CelebA faces, centred squares of ``size`` px, with their 40 attributes.

    Raises InpaintError if neither layout is in ``folder``.
    """
    check_choice("split", split, tuple(CELEBA_SPLITS))
    folder = Path(folder)
    parquet, aligned = folder / f"celeba_{split}.parquet", folder / "img_align_celeba"
    if parquet.is_file():
        table = _parquet(parquet)
        names = tuple(n for n in table.column_names if n != "image")
        labels = np.stack([table[n].to_numpy() for n in names], axis=1)
        pictures = [row["bytes"] for row in table["image"].to_pylist()]
    elif aligned.is_dir():
        names, labels, files = _official_attributes(folder / "list_attr_celeba.txt", CELEBA_SPLITS[split])
        pictures = [aligned / f for f in files]
    else:
        raise InpaintError(f"{folder} must hold {parquet.name} or img_align_celeba/; it holds neither")
    return Labelled(_stack(pictures, size), torch.from_numpy(labels.astype(bool)), names)


def _official_attributes(path: Path, rows: tuple[int, int]):
    if not path.is_file():
        raise InpaintError(f"{path} is missing; CelebA's attribute list belongs beside img_align_celeba/")
    lines = path.read_text().splitlines()
    body = [line.split() for line in lines[2:][slice(*rows)]]
    labels = np.array([[int(v) > 0 for v in row[1:]] for row in body])
    return tuple(lines[1].split()), labels, [row[0] for row in body]


def load_cifar10(folder: Path | str, split: str = "train") -> Labelled:
    """Returns CIFAR-10, uint8 (N, 3, 32, 32), with class numbers 0 to 9.

    Raises InpaintError if neither layout is in ``folder``.
    """
    check_choice("split", split, ("train", "test"))
    folder = Path(folder)
    parquet = folder / f"cifar10_{split}.parquet"
    if parquet.is_file():
        table = _parquet(parquet)
        images = _stack([row["bytes"] for row in table["image"].to_pylist()], 32)
        labels = torch.from_numpy(table["label"].to_numpy().astype(np.int64))
        return Labelled(images, labels, tuple(str(i) for i in range(10)))
    if (folder / "cifar-10-batches-py").is_dir():
        from torchvision.datasets import CIFAR10  # verifies the official checksums before it reads

        data = CIFAR10(str(folder), train=split == "train")
        images = torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous()
        return Labelled(images, torch.tensor(data.targets), tuple(data.classes))
    raise InpaintError(f"{folder} must hold {parquet.name} or cifar-10-batches-py/; it holds neither")
