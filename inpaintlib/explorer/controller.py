"""The explorer without its widgets: photo, mask, runs and results. Plain calls in, plain events out.

A run is a search in a thread of its own, one at a time. All other calls return at once, from whatever thread they
come; a call that cannot be done raises :class:`~inpaintlib.errors.InpaintError` and changes nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import experiments
from ..alignment import square_of
from ..checks import InpaintError, check_integer
from ..images import from_uint8
from ..landmarks import choose_faces, find_faces, parse_eyes
from ..machine import device
from ..masks import MOSTLY_HIDDEN
from ..stylegan2 import Generator
from ..weights import load_generator
from . import filling, pictures
from .canvas import Canvas
from .editor import MaskEditor
from .events import Event, Failed, Finished, Note, StateChanged
from .previews import Previews
from .results import Result
from .session import Session
from .settings import Settings

__all__ = ["Controller"]

MOST_SEED = 2**31 - 1  # of a generated face, see experiments.TARGETS


class Controller:
    """The explorer's state; it begins as it was left (:attr:`restored`), or with the generated face of seed 0.

    Attributes:
        settings: of the last run, or what :meth:`remember` was told.
        results: newest first.
        state: ``idle``, ``running`` or ``stopping``.
        restored: whether photo, mask and settings are those of an earlier session.
        threads: that torch computes with.

    Args:
        root: the project's folder; results go to ``reports/explorer`` in it.
        generator: a name or file of :func:`inpaintlib.weights.load_generator`.
        notify: called with each event of :mod:`inpaintlib.explorer.events`, from any thread, in order. It must return
            soon and wait for no other thread that calls the controller; what it raises is logged.
        threads: None = ``INPAINTLIB_THREADS``, else all cores.

    Raises:
        InpaintError: for a generator that is missing.
    """

    def __init__(self, root: Path | str, *, generator: str = "faces64", notify: Callable[[Event], None] | None = None,
                 threads: int | None = None):  # fmt: skip
        # As `make inpaint` finds it, which runs in another folder.
        generator = os.path.abspath(generator) if os.path.isfile(generator) else generator
        self.generator_name, self.notify = generator, notify or (lambda event: None)
        self.threads = filling.default_threads() if threads is None else threads
        self.device = device()
        self.generator: Generator = load_generator(generator, device=self.device)
        self.session, self.state, self.settings = Session(root), "idle", Settings(generator=generator)
        self.results = self.session.results()
        self.canvas = Canvas(self.session, self.generator.alignment, lambda sentence: self._tell(Note(sentence)))
        self._lock, self._stop, self._closed = threading.RLock(), threading.Event(), False
        self._worker: threading.Thread | None = None
        self.session.tidy()
        last = self.session.restore()
        self.restored = last is not None
        if last is None:
            self.choose_generated(0)
        else:
            self.settings = last.settings.model_copy(update={"generator": generator})
            self.canvas.show(last.photo, last.origin, last.mask)

    # Photo and mask ---------------------------------------------------------------------------------------

    @property
    def photo(self) -> Tensor:
        """The photo, (1, 3, H, W) in [-1, 1]."""
        return self.canvas.photo

    @property
    def origin(self) -> str:
        """Where the photo is from, in words; may hold a file's name: escape it where it meets HTML."""
        return self.canvas.origin

    @property
    def editor(self) -> MaskEditor:
        """The mask of the present photo; another editor after the photo has changed size."""
        return self.canvas.editor

    def generated(self, seeds: Sequence[int]) -> Tensor:
        """Returns generated faces to choose from, (N, 3, R, R) in [-1, 1], one a seed in [0, 2^31).

        Raises InpaintError for another seed.
        """
        for seed in seeds:
            check_integer("the face's seed", seed, low=0, high=MOST_SEED)
        return torch.cat([experiments.generated_faces(self.generator, 1, seed=seed) for seed in seeds])

    def choose_generated(self, seed: int) -> None:
        """Takes a generated face as the photo; the mask stays if it fits. Raises InpaintError for a wrong seed."""
        self.canvas.take(self.generated([seed]), f"generated face, seed {seed}", keep=True)

    def upload(self, name: str, content: bytes) -> None:
        """Takes a picture file as the photo, upright as its EXIF orientation says; the mask is empty then.

        Raises InpaintError, which calls the file ``name``, if it is no picture, or a huge one.
        """
        name = pictures.clean_name(name)
        self.canvas.take(pictures.from_bytes(name, content), name, keep=False)

    def use_as_start(self, result: Result, sample: int = 0) -> None:
        """Takes a result's completion as the photo; the mask is empty then. Samples count from 0.

        Raises InpaintError if its file is gone.
        """
        photo = from_uint8(np.ascontiguousarray(result.picture(sample))[None])
        self.canvas.take(photo, f"result {result.number}, sample {sample + 1}", keep=False)

    def preset(self, family: str, coverage: float, seed: int = 0, *, settings: Settings | None = None) -> None:
        """Replaces the mask by a preset, see :meth:`MaskEditor.preset`, where ``settings.crop`` has the face.

        Raises InpaintError also if ``crop`` is ``aligned`` and there is no such face.
        """
        s, square = settings or self.settings, None
        if s.crop == "aligned" and self.generator.alignment != "none":
            height, width = self.photo.shape[2:]
            faces = [parse_eyes(s.eyes, height=height, width=width)] if s.eyes else find_faces(self.photo)
            square = square_of(choose_faces(faces, max(s.face, 1))[0], self.generator.alignment)
        self.editor.preset(family, coverage, seed, square=square)

    # Runs -------------------------------------------------------------------------------------------------

    def run(self, settings: Settings | None = None) -> None:
        """Begins a run; its end is told by Finished or Failed, and StateChanged("idle") after it.

        Raises:
            InpaintError: while one runs, after :meth:`close`, for a mask without a hole or without known pixels, or
                settings, wishes or words that cannot be used.
        """
        settings = (settings or self.settings).model_copy(update={"generator": self.generator_name})
        with self._lock:
            if self._closed:
                raise InpaintError("the explorer is closed; open it again")
            if self.state != "idle":
                raise InpaintError("a search is running; wait for its end, or stop it first")
            mask = self.editor.mask
            if not mask.any():
                raise InpaintError("the mask has no hole; paint over the part that should be filled")
            if mask.all():
                raise InpaintError("the mask hides everything; leave a part of the face to be seen")
            filling.check(settings)
            job = filling.Job(settings, self.canvas.png, mask, self.threads)
            self._stop.clear()
            self._worker = threading.Thread(target=self._work, args=(job,), name="explorer", daemon=True)
            self._set("running")
            try:
                self._worker.start()
            except BaseException:  # no thread to be had, or Ctrl-C
                self._set("idle")
                raise
        self.remember(settings)
        if self.editor.coverage > MOSTLY_HIDDEN:
            self._tell(Note(f"The mask hides {self.editor.coverage:.0%} of the picture. Is it inverted?"))

    def stop(self) -> None:
        """Asks the run to end after its present step, with the best so far; does nothing where none runs."""
        with self._lock:
            if self.state == "running":
                self._stop.set()
                self._set("stopping")

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for the end of the run; returns whether none runs. ``timeout`` in seconds, None = however long."""
        worker = self._worker
        if worker is not None:
            worker.join(timeout)
        return worker is None or not worker.is_alive()

    def refresh(self) -> None:
        """Adds the results that other explorers of the same project have saved, as that of a page that was closed."""
        with self._lock:
            known = {result.folder for result in self.results}
            found = [result for result in self.session.results() if result.folder not in known]
            self.results = sorted([*self.results, *found], key=lambda result: result.number, reverse=True)

    def others_running(self) -> int:
        """Returns how many searches of other explorers of the same project are running, as of a page that was left."""
        return self.session.others_running()

    def remember(self, settings: Settings) -> None:
        """Keeps the settings for the next time; so quick (one small file) that it may follow every change."""
        self.settings = settings
        with self.canvas.saving():
            self.session.keep_settings(settings)

    def warm_up(self) -> threading.Thread:
        """Loads in the background what the first run needs, so that it begins at once; returns the thread."""
        thread = threading.Thread(target=self._warm_up, name="explorer-warm-up", daemon=True)
        thread.start()
        return thread

    def close(self, timeout: float = 10.0) -> None:
        """Stops a run, waits for its result up to ``timeout`` seconds, and saves the mask if it has changed.

        No run begins after it. What another explorer of the project has saved meanwhile stays.
        """
        with self._lock:
            self._closed = True
        self.stop()
        self.wait(timeout)
        self.canvas.close()

    # The worker -------------------------------------------------------------------------------------------

    def _work(self, job: filling.Job) -> None:
        try:
            event = self._fill(job)
        except InpaintError as error:
            event = Failed(_sentence(str(error)))
        except BaseException as error:  # a thread must not die without a word
            event = Failed(self._logged(error))
        with self._lock:
            if isinstance(event, Finished):
                self.results.insert(0, event.result)
            self._tell(event)
            self._set("idle")

    def _fill(self, job: filling.Job) -> Event:
        with self.session.begin() as draft:
            job = job._replace(settings=job.settings.model_copy(update={"profile": draft.final.name}))
            p = filling.check(job.settings)
            filling.settle(p, job.threads)
            problem = filling.frame(job, draft, self.generator)
            if self._stop.is_set():
                return Failed("Stopped before the first step, so there is nothing to keep.")
            watch = Previews(problem, p, self._tell, self._stop.is_set)
            result, note = filling.fill(job, draft, self.generator, problem, watch)
        for text in filter(None, (watch.broken, note)):
            self._tell(Note(text))
        return Finished(result)

    def _warm_up(self) -> None:
        try:
            filling.warm_up(self.generator, self.settings)
        except BaseException as error:
            self._logged(error)  # the run will say it, if it matters

    # Events and files -------------------------------------------------------------------------------------

    def _set(self, state: str) -> None:
        self.state = state
        self._tell(StateChanged(state))

    def _tell(self, event: Event) -> None:
        try:
            self.notify(event)
        except Exception as error:  # a fault of the view ends no search
            self._logged(error)

    def _logged(self, error: BaseException) -> str:
        """Writes the traceback to the log, and returns a sentence."""
        return _sentence(f"the search ended {self.session.unforeseen(error)}")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
