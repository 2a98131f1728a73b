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
        self._disk = threading.RLock()  # photo and mask are put in place and kept together

    def show(self, photo: Tensor, origin: str, mask: np.ndarray | None) -> None:
        """Puts another photo in place, with its mask, bool (H, W), None = no hole. Keeps nothing on the disk."""
        png = pictures.png(to_uint8(photo)[0], compress_level=1)
        with self._disk:
            if not self._fits(photo):
                self.editor = MaskEditor(*photo.shape[2:], alignment=self.alignment, changed=self._changed)
            self.photo, self.png, self.origin = photo, png, origin
            if mask is None:
                self.editor.clear()
            else:
                self.editor.replace(mask)
            self._pending()  # that was no change of the user's

    def take(self, photo: Tensor, origin: str, *, keep: bool) -> None:
        """As :meth:`show`, with the present mask if ``keep`` and it fits, else no hole; and keeps all on the disk."""
        with self._disk:
            self.show(photo, origin, self.editor.mask if keep and self._fits(photo) else None)
            self._keep(photo=True)

    def save(self) -> None:
        """Keeps the mask on the disk now, and the photo if another session has kept its own meanwhile."""
        with self._disk:
            self._pending()
            self._keep(photo=False)

    def _save_soon(self) -> None:
        with self._disk:
            if self._pending():
                self._keep(photo=False)

    def close(self) -> None:
        """Keeps a change of the mask that is not kept yet, unless another session has kept its own meanwhile."""
        with self._disk:
            if self._pending() and not self.session.overtaken:
                self._keep(photo=False)

    def _keep(self, *, photo: bool) -> None:
        with self.saving():
            if photo or not self.session.owns:
                self.session.keep_photo(self.png, self.origin)
            self.session.keep_mask(self.editor.mask)

    def _pending(self) -> bool:
        """Ends the wait until a change is saved; returns whether there was one."""
        with self._lock:
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        return timer is not None

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
                self._timer = threading.Timer(SAVE_AFTER, self._save_soon)
                self._timer.daemon = True
                self._timer.start()
