"""Pictures as bytes: what is uploaded, shown and saved."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from ..checks import InpaintError
from ..images import png, read_image

__all__ = ["MOST_BYTES", "as_file", "clean_name", "from_bytes", "mask_png", "png", "shrunk", "spread"]

MOST_BYTES = 200_000_000  # of an upload; 64 million pixels, the most that is decoded, are rarely more


def spread(samples: np.ndarray) -> np.ndarray:
    """Returns how far samples, uint8 (N, H, W, 3), differ at each pixel, float32 (H, W) in [0, 0.5].

    It is the standard deviation over the samples of levels in [0, 1], averaged over the channels; 0 for one sample.
    """
    return (samples.astype(np.float32) / 255).std(axis=0).mean(axis=2)


def mask_png(mask: np.ndarray) -> bytes:
    """Returns a mask, bool (H, W), as the content of a grey PNG, white = hole."""
    return png(mask.astype(np.uint8) * 255, compress_level=1)


def clean_name(name: str) -> str:
    """Returns a file's name as it can be shown in a sentence: without folders and control characters, not too long."""
    base = name.replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in base if c.isprintable())[:80] or "the file"


@contextlib.contextmanager
def as_file(name: str, content: bytes) -> Iterator[Path]:
    """Gives ``content`` as a file while the ``with`` block reads it; errors of the block call it ``name``.

    Raises InpaintError if it is larger than ``MOST_BYTES``.
    """
    if len(content) > MOST_BYTES:
        raise InpaintError(f"{name} must have at most {MOST_BYTES // 10**6} MB; it has {len(content) / 1e6:.0f}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(content)
        try:
            yield path
        except InpaintError as error:
            raise InpaintError(str(error).replace(str(path), name)) from None


def from_bytes(name: str, content: bytes) -> Tensor:
    """Returns the picture in the content of a file, as :func:`inpaintlib.images.read_image` does.

    Raises InpaintError, which calls the file ``name``, if it is no picture or too large.
    """
    with as_file(name, content) as path:
        return read_image(path)


def shrunk(pixels: np.ndarray, longest: int | None) -> np.ndarray:
    """Returns uint8 pixels, (H, W, 3) or (H, W), whose longer side is at most ``longest``; None = as they are."""
    side = max(pixels.shape[:2])
    if longest is None or side <= longest:
        return pixels
    size = tuple(max(round(n * longest / side), 1) for n in pixels.shape[1::-1])
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
