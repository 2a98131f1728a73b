"""The mask as it is edited: plain state in the pixels of the photo, every change one step that can be undone."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from ..alignment import Square
from ..checks import InpaintError, check_integer
from ..images import square_box
from ..masks import make_mask, read_mask
from ..warping import unaligned_hole
from . import pictures

__all__ = ["MOST_STEPS", "MaskEditor"]

MOST_STEPS = 100
MOST_BYTES = 64_000_000  # of all steps together, whatever their number; packed masks are mostly far smaller
DRAWN = 1024  # pixels: presets of larger squares are drawn at this size


class MaskEditor:
    """A mask of ``height`` x ``width`` pixels, True = hole, and its history.

    It begins with no hole. At most ``MOST_STEPS`` changes are kept, fewer of very large masks; a change that changes
    no pixel is none.

    Args:
        height, width: of the photo, in pixels.
        alignment: how faces lie in the photo's square, for presets that are parts of a face.
        changed: called without arguments after every change, undo and redo.

    Raises:
        InpaintError: for sizes below 1.
    """

    def __init__(
        self, height: int, width: int, *, alignment: str = "celeba", changed: Callable[[], None] | None = None
    ):
        check_integer("height", height, low=1)
        check_integer("width", width, low=1)
        self.height, self.width, self.alignment, self.changed = height, width, alignment, changed
        self._mask = _frozen(np.zeros((height, width), dtype=bool))
        self._states, self._at = [_packed(self._mask)], 0

    @property
    def mask(self) -> np.ndarray:
        """The mask, bool (H, W), True = hole; a read-only view of the present state, which no later change touches."""
        return self._mask

    @property
    def coverage(self) -> float:
        """The hidden fraction of the pixels, in [0, 1]."""
        return float(self._mask.mean())

    @property
    def can_undo(self) -> bool:
        return self._at > 0

    @property
    def can_redo(self) -> bool:
        return self._at + 1 < len(self._states)

    def undo(self) -> None:
        """Goes back one change; without one it does nothing."""
        self._go(self._at - 1)

    def redo(self) -> None:
        """Takes an undone change again; without one it does nothing."""
        self._go(self._at + 1)

    def replace(self, mask: np.ndarray) -> None:
        """Puts another mask in place: (H, W), bool or numbers, where all but 0 is hole.

        Raises InpaintError for another shape.
        """
        mask = np.asarray(mask)
        if mask.shape != (self.height, self.width):
            raise InpaintError(f"the mask must be {self.height} x {self.width} (height x width); got {mask.shape}")
        mask = mask != 0
        if not np.array_equal(mask, self._mask):
            self._remember(_frozen(mask))

    def clear(self) -> None:
        """Takes the whole hole away."""
        self.replace(np.zeros_like(self._mask))

    def invert(self) -> None:
        """Makes the known pixels the hole, and the hole known."""
        self.replace(~self._mask)

    def rectangle(self, top: int, left: int, bottom: int, right: int, erase: bool = False) -> None:
        """Adds a rectangle to the hole, or with ``erase`` takes it away.

        Args:
            top, left, bottom, right: pixels, two opposite corners in any order; the larger row and column are not part
                of it, and what lies beyond the photo does not count.

        Raises InpaintError for a corner that is no whole number.
        """
        for name, value in (("top", top), ("left", left), ("bottom", bottom), ("right", right)):
            check_integer(name, value, low=-(2**31))
        rows, columns = sorted((max(top, 0), max(bottom, 0))), sorted((max(left, 0), max(right, 0)))
        mask = self._mask.copy()
        mask[slice(*rows), slice(*columns)] = not erase
        self.replace(mask)

    def preset(self, family: str, coverage: float, seed: int = 0, *, square: Square | None = None) -> None:
        """Replaces the mask by one of ``masks.FAMILIES``.

        Args:
            family, coverage: as in :func:`inpaintlib.masks.make_mask`; the coverage is that of the square.
            seed: of the draws, at least 0.
            square: a face's square in the photo; None = the centred square.

        Raises InpaintError for an unknown family, or coverage or seed out of range.
        """
        check_integer("seed", seed, low=0, high=2**63 - 1)
        top, left, side = square_box(self.height, self.width)
        side = side if square is None else max(round(square.side), 2)
        drawn = make_mask(family, max(min(side, DRAWN), 2), coverage=coverage, alignment=self.alignment,
                          generator=torch.Generator().manual_seed(seed))  # fmt: skip
        if square is not None:
            self.replace(unaligned_hole(drawn, square, self.height, self.width)[0, 0].numpy())
            return
        mask = np.zeros_like(self._mask)
        mask[top : top + side, left : left + side] = F.interpolate(drawn, (side, side), mode="nearest")[0, 0] > 0.5
        self.replace(mask)

    def load(self, png: bytes) -> None:
        """Puts the mask of a picture file in place, white = hole; grey is split at half brightness.

        Raises InpaintError if it is no picture, has another size than the photo, or no hole or nothing known.
        """
        with pictures.as_file("the mask's file", png) as path:
            mask = read_mask(path, threshold=True)[0, 0].numpy()
        if mask.shape != (self.height, self.width):
            raise InpaintError(
                f"the mask's file must be {self.width} x {self.height} pixels (width x height) as the photo; it is"
                f" {mask.shape[1]} x {mask.shape[0]}"
            )
        self.replace(mask)

    def png(self) -> bytes:
        """Returns the mask as the content of an 8-bit grey PNG, white = hole; also one without a hole."""
        return pictures.mask_png(self._mask)

    def _remember(self, mask: np.ndarray) -> None:
        self._states[self._at + 1 :] = [_packed(mask)]
        while len(self._states) > 2 and (len(self._states) > MOST_STEPS + 1 or self._bytes() > MOST_BYTES):
            del self._states[0]
        self._show(len(self._states) - 1, mask)

    def _bytes(self) -> int:
        return sum(len(state) for state in self._states)

    def _go(self, place: int) -> None:
        if 0 <= place < len(self._states):
            self._show(place, _unpacked(self._states[place], self.height, self.width))

    def _show(self, place: int, mask: np.ndarray) -> None:
        self._at, self._mask = place, mask
        if self.changed is not None:
            self.changed()


def _frozen(mask: np.ndarray) -> np.ndarray:
    mask.flags.writeable = False
    return mask


def _packed(mask: np.ndarray) -> bytes:
    """A bit a pixel, compressed."""
    return zlib.compress(np.packbits(mask).tobytes(), level=1)


def _unpacked(state: bytes, height: int, width: int) -> np.ndarray:
    bits = np.unpackbits(np.frombuffer(zlib.decompress(state), np.uint8), count=height * width)
    return _frozen(bits.view(bool).reshape(height, width))
