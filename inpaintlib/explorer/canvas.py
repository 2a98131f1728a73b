"""The photo and the mask on it, kept on the disk as they change."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import numpy as np
from torch import Tensor

from ..checks import InpaintError
from ..images import to_uint8
from . import pictures
from .editor import MaskEditor
from .session import Session

__all__ = ["SAVE_AFTER", "Canvas"]

SAVE_AFTER = 0.5  # seconds from a change of the mask to its being saved, so that many changes are saved once


class Canvas:
    """A photo and its mask.

    Attributes:
        photo: (1, 3, H, W) in [-1, 1], of 8-bit levels.
        png: the photo as the content of a PNG.
        origin: where the photo is from, in words.
        editor: of the mask; another one after the photo has changed size.

    Args:
        session: where they are kept.
        alignment: the generator's.
        warn: is told, in a sentence, that they could not be saved.
    """

    photo: Tensor
    png: bytes
    origin: str
    editor: MaskEditor

    def __init__(self, session: Session, alignment: str, warn: Callable[[str], None]):
        self.session, self.alignment, self.warn = session, alignment, warn
        self._lock, self._timer = threading.Lock(), None

    def show(self, photo: Tensor, origin: str, mask: np.ndarray | None) -> None:
        """Puts another photo in place, with its mask, bool (H, W), None = no hole. Keeps nothing on the disk."""
        png = pictures.png(to_uint8(photo)[0], compress_level=1)
        if not self._fits(photo):
            self.editor = MaskEditor(*photo.shape[2:], alignment=self.alignment, changed=self._changed)
        self.photo, self.png, self.origin = photo, png, origin
        if mask is None:
            self.editor.clear()
        else:
            self.editor.replace(mask)

    def take(self, photo: Tensor, origin: str, *, keep: bool) -> None:
        """As :meth:`show`, with the present mask if ``keep`` and it fits, else no hole; and keeps all on the disk."""
        self.show(photo, origin, self.editor.mask if keep and self._fits(photo) else None)
        with self.saving():
            self.session.keep_photo(self.png, origin)
        self.save()

    def save(self) -> None:
        """Keeps the mask on the disk now."""
        with self._lock:
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        with self.saving():
            self.session.keep_mask(self.editor.mask)

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Warns of a file that cannot be written, and goes on."""
        try:
            yield
        except (InpaintError, OSError) as error:
            self.warn(f"What you see could not be saved for the next time: {error}")

    def _fits(self, photo: Tensor) -> bool:
        return hasattr(self, "editor") and self.editor.mask.shape == tuple(photo.shape[2:])

    def _changed(self) -> None:
        with self._lock:
            if self._timer is None:
                self._timer = threading.Timer(SAVE_AFTER, self.save)
                self._timer.daemon = True
                self._timer.start()
