"""The widget with which a mask is painted over a photo, by mouse, finger or keyboard.

Strokes are drawn by the browser (``static/brush.js``), also while Python is busy, and arrive here as patches of
pixels. The widget shows photos of at most ``SHOWN`` pixels; larger ones are shown smaller, and a stroke covers the
photo's pixels that lie under its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import anywidget
import numpy as np
import traitlets

from ..checks import InpaintError, check_integer
from . import pictures

__all__ = ["SHOWN", "STATIC", "Brush"]

STATIC = Path(__file__).parent / "static"
SHOWN = 1024  # pixels of the longer side, at most


class Brush(anywidget.AnyWidget):
    """A photo with a mask over it.

    What a user does comes in by ``stroke``, called with the pixels of the photo, bool (H, W), that were painted, and
    whether they were erased, and by ``undo`` and ``redo``; whoever holds the mask answers with :meth:`show_mask`.

    Args:
        stroke, undo, redo: the above.
        safe: makes what a message calls safe, see :meth:`inpaintlib.explorer.parts.Desk.safe`.
    """

    _esm = STATIC / "brush.js"
    _css = STATIC / "explorer.css"

    photo = traitlets.Bytes(help="the content of a PNG").tag(sync=True)
    title = traitlets.Unicode(help="of the photo, for who cannot see it").tag(sync=True)
    width = traitlets.Int().tag(sync=True)
    height = traitlets.Int().tag(sync=True)
    mask = traitlets.Bytes(help="a bit a pixel, 1 = hole, as numpy.packbits has them").tag(sync=True)
    done = traitlets.Unicode(help="the last stroke that was handled").tag(sync=True)

    def __init__(self, stroke: Callable[[np.ndarray, bool], None], undo: Callable[[], None], redo: Callable[[], None],
                 safe: Callable[[Callable[..., None]], Callable[..., None]] = lambda call: call):  # fmt: skip
        super().__init__()
        self._stroke, self._keys, self._size = stroke, {"undo": undo, "redo": redo}, (0, 0)
        self.on_msg(safe(self._received))

    def show(self, photo: np.ndarray, mask: np.ndarray, title: str) -> None:
        """Shows another photo, uint8 (H, W, 3), and its mask, bool (H, W)."""
        small = pictures.shrunk(photo, SHOWN)
        self._size = photo.shape[:2]
        with self.hold_sync():
            self.height, self.width = small.shape[:2]
            self.photo, self.title = pictures.png(small, compress_level=1), title
            self.show_mask(mask)

    def show_mask(self, mask: np.ndarray) -> None:
        """Shows a mask, bool (H, W), of the photo that is shown."""
        rows, columns = (_centres(n, m) for n, m in zip((self.height, self.width), self._size, strict=True))
        self.mask = np.packbits(mask[rows][:, columns]).tobytes()

    def _received(self, _: object, content: Mapping, buffers: Sequence[memoryview]) -> None:
        kind = content.get("kind")
        if kind in self._keys:
            self._keys[kind]()
        elif kind == "stroke":
            with self.hold_sync():  # so that mask and stroke arrive together
                try:
                    if tuple(content["shape"]) == (self.height, self.width):  # else it was drawn on another photo
                        self._stroke(self._painted(content, buffers), bool(content["erase"]))
                finally:
                    self.done = str(content["id"])

    def _painted(self, content: Mapping, buffers: Sequence[memoryview]) -> np.ndarray:
        """The pixels of the photo that a message is about. Raises InpaintError if it is not as brush.js makes them."""
        top, left, height, width = (content[name] for name in ("top", "left", "height", "width"))
        for name, start, size, whole in (("height", top, height, self.height), ("width", left, width, self.width)):
            check_integer("the stroke's place", start, low=0, high=whole)
            check_integer(f"the stroke's {name}", size, low=1, high=whole - start)
        patch = np.frombuffer(buffers[0], dtype=np.uint8)
        if patch.size != height * width:
            raise InpaintError(f"a stroke must have {height * width} pixels; got {patch.size}")
        painted = np.zeros((self.height, self.width), dtype=bool)
        painted[top : top + height, left : left + width] = patch.reshape(height, width) != 0
        rows, columns = (_centres(m, n) for n, m in zip((self.height, self.width), self._size, strict=True))
        return painted[rows][:, columns]


def _centres(n: int, m: int) -> np.ndarray:
    """For each of n equal parts of a line, which of m equal parts has its centre: int (n,)."""
    return ((2 * np.arange(n) + 1) * m) // (2 * n)
