"""The explorer as a page of widgets, in JupyterLab or served by :mod:`inpaintlib.explorer.server`.

``page = explore().page`` in a notebook shows it. A page has one controller in one kernel; all of its callbacks run
one at a time, and what the search tells from its own thread waits in a queue for the kernel's main thread.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import html
import queue
import secrets
from collections.abc import Callable
from pathlib import Path

import ipywidgets
import numpy as np

from ..checks import InpaintError
from ..images import to_uint8
from ..masks import FAMILIES
from ..study import project_root
from . import pictures
from .brush import Brush
from .controller import Controller
from .events import Event, Failed, Finished, Note, Preview, StateChanged
from .forms import Form
from .gallery import Gallery
from .live import Live
from .parts import Desk, Download, Status, Tile, Tiles, Upload, button, column, field, heading, row, text
from .results import Result

__all__ = ["App", "explore"]

FACES = 6  # generated ones to choose from
TILE = 256  # pixels of their pictures' longer side, at most
ENDED = "The search of an earlier page has ended."
CALM, POLL = 0.5, 2.0  # seconds: without a change until settings are kept; between two looks for others' results
FIRST_MASK = ("center", 0.2)  # so that Run alone does something


class App:
    """The page and what its controls do; ``page`` is the widget to show.

    Args:
        root: the project's folder, None = that of :func:`inpaintlib.study.project_root`.
        generator: a name or file of :func:`inpaintlib.weights.load_generator`.

    Raises InpaintError for a generator that is missing.
    """

    def __init__(self, root: Path | str | None = None, *, generator: str = "faces64"):
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._notes: list[str] = []
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:  # outside of a kernel, where whoever waits for events calls drain
            self._loop = None
        self.status, self._warm = Status(lambda: self.desk.safe(self._seen, clears=False)()), False
        self.desk = Desk(self.status, self._log, self.drain)
        self._saving: asyncio.TimerHandle | None = None
        self._unsaved = self._polling = False
        self.controller = Controller(root or project_root(), generator=generator, notify=self._told)
        self.first_face = 0
        self._build()
        if not self.controller.restored:
            self.controller.preset(*FIRST_MASK)
        self.form.show(self.controller.settings)
        self.form.observe(self._changed)
        self._show_faces()
        self._show_photo()
        self._show_state("idle")
        self.status.say("Go on where you left off." if self.controller.restored else
                        "Paint over a part of the face, or take the square in its middle, and press Run.")  # fmt: skip
        self._show_results()
        self._await_others()

    # What is where ----------------------------------------------------------------------------------------

    def _build(self) -> None:
        press, editor = self._press, lambda: self.controller.editor
        self.form, self.live = Form(), Live()
        self.gallery = Gallery(self.desk, self._use_as_start)
        self.run = button("Run", "Search for completions with these settings", press(self._run), "ex-primary", "ex-run")
        self.stop = button("Stop", "End the search and keep the best so far", press(self._stop), "ex-stop")
        self.page = column(
            row(column(*self._photo_panel(press)), column(*self._mask_panel(press, editor)),
                column(heading("Wishes"), self.form.page, row(self.run, self.stop), self.status, self.live.page)),
            self.gallery.page,
        )  # fmt: skip
        self.page.add_class("ex-app")

    def _photo_panel(self, press: Callable) -> list[ipywidgets.DOMWidget]:
        self.faces = Tiles("Generated faces; press one to take it", side=84, choose=self.desk.safe(self._choose_face))
        self.other = button("Other faces", "Draw other faces to choose from", press(self._other_faces))
        self.random = button("Random face", "Take a new random face; its seed is shown", press(self._random_face))
        self.upload = Upload("Upload a photo", "A picture of your own: PNG, JPEG, WebP, BMP or TIFF",
                             self._uploaded, self.desk.refuse, self.desk.safe)  # fmt: skip
        self.origin = text()
        return [heading("Photo"), self.faces, row(self.other, self.random, self.upload), self.origin]

    def _mask_panel(self, press: Callable, editor: Callable) -> list[ipywidgets.DOMWidget]:
        self.brush = Brush(self._stroke, press(lambda: editor().undo()), press(lambda: editor().redo()), self.desk.safe)
        self.undo = button("Undo", "Take back the last change of the mask", press(lambda: editor().undo()))
        self.redo = button("Redo", "Do again what was undone", press(lambda: editor().redo()))
        self.clear = button("Clear", "Hide nothing", press(lambda: editor().clear()))
        self.invert = button("Invert", "Hide what is seen, and show what is hidden", press(lambda: editor().invert()))
        self.coverage = text()
        self.family = field(ipywidgets.Dropdown(options=FAMILIES, value=FIRST_MASK[0], description="Preset",
                                                tooltip="A shape, or a part of the face"))  # fmt: skip
        self.percent = field(ipywidgets.BoundedIntText(value=round(100 * FIRST_MASK[1]), min=1, max=99,
                                                       description="Covering (%)",
                                                       tooltip="Of the model's square"))  # fmt: skip
        self.preset = button("Use preset", "Replace the mask by this preset", press(self._preset))
        self.load = Upload("Load mask", "A picture of the photo's size, white = hole",
                           self._load_mask, self.desk.refuse, self.desk.safe)  # fmt: skip
        self.save = Download("Save mask", "The mask as a PNG, white = hole", self.desk.giving(
            lambda: ("mask.png", "image/png", self.controller.editor.png())))  # fmt: skip
        return [heading("Mask"), self.brush, self.coverage, row(self.undo, self.redo, self.clear, self.invert),
                row(self.family, self.percent, self.preset), row(self.load, self.save)]  # fmt: skip

    def _press(self, call: Callable[[], None]) -> Callable[..., None]:
        """Returns what a control calls: safe, and the mask is shown afterwards as it is then."""

        def act(*_: object) -> None:
            mask = self.controller.editor.mask
            call()
            if self.controller.editor.mask is not mask:
                self._show_mask()

        return self.desk.safe(act)

    # Photo and mask ---------------------------------------------------------------------------------------

    def _show_faces(self) -> None:
        seeds = range(self.first_face, self.first_face + FACES)
        faces = to_uint8(self.controller.generated(seeds))
        self.faces.show([Tile(pictures.png(pictures.shrunk(face, TILE)), f"Seed {seed}")
                         for seed, face in zip(seeds, faces, strict=True)])  # fmt: skip
        self._mark_face()

    def _mark_face(self) -> None:
        origins = [f"generated face, seed {self.first_face + place}" for place in range(FACES)]
        self.faces.chosen = origins.index(self.controller.origin) if self.controller.origin in origins else -1

    def _other_faces(self) -> None:
        self.first_face += FACES
        self._show_faces()

    def _choose_face(self, place: int) -> None:
        self.controller.choose_generated(self.first_face + place)
        self._show_photo()

    def _random_face(self) -> None:
        self.controller.choose_generated(secrets.randbelow(2**31))
        self._show_photo()

    def _uploaded(self, name: str, content: bytes) -> None:
        self.controller.upload(name, content)
        self._show_photo()
        self.status.say(f"“{name}” is here. Paint over what should be filled.")

    def _use_as_start(self, result: Result, sample: int) -> None:
        self.controller.use_as_start(result, sample)
        self._show_photo()
        self.status.say(f"Sample {sample + 1} of result {result.number} is the photo now. Paint a new mask.")

    def _show_photo(self) -> None:
        photo = to_uint8(self.controller.photo)[0]
        self._mark_face()
        self.brush.show(photo, self.controller.editor.mask, self.controller.origin)
        height, width = photo.shape[:2]
        said = f"{self.controller.origin}, {width} × {height} pixels"
        self.origin.value = f"<p>The photo: <b>{html.escape(said)}</b></p>"
        self._show_mask()

    def _show_mask(self) -> None:
        editor = self.controller.editor
        self.brush.show_mask(editor.mask)
        self.coverage.value = f"<p>The mask hides <b>{100 * editor.coverage:.1f} %</b> of the picture.</p>"
        self.undo.disabled, self.redo.disabled = not editor.can_undo, not editor.can_redo

    def _stroke(self, painted: np.ndarray, erase: bool) -> None:
        editor = self.controller.editor
        editor.replace(editor.mask & ~painted if erase else editor.mask | painted)
        self._show_mask()

    def _preset(self) -> None:
        self.controller.preset(self.family.value, self.percent.value / 100, secrets.randbelow(2**31),
                               settings=self.form.settings())  # fmt: skip

    def _load_mask(self, name: str, content: bytes) -> None:
        self.controller.editor.load(content)
        self._show_mask()
        self.status.say(f"The mask of “{name}” is here.")

    # Settings ---------------------------------------------------------------------------------------------

    def _changed(self) -> None:
        """Called at each change of the form; it is kept when no other follows for a while."""
        self._unsaved = True
        if self._saving is not None:
            self._saving.cancel()
        self._saving = self._later(CALM, self.desk.safe(self._remember))

    def _remember(self) -> None:
        self._unsaved = False
        try:
            settings = self.form.settings()
        except InpaintError:  # half typed, maybe; Run says it
            return
        self.controller.remember(settings)

    def _later(self, seconds: float, call: Callable[[], None]) -> asyncio.TimerHandle | None:
        """Has ``call`` called by the kernel's main thread; not at all outside of a kernel."""
        return None if self._loop is None else self._loop.call_later(seconds, call)

    # Runs -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._notes.clear()
        self.status.say("The search begins.")
        self.controller.run(self.form.settings())

    def _stop(self) -> None:
        self.controller.stop()

    def _told(self, event: Event) -> None:
        """Called by the controller, from any thread."""
        self._events.put(event)
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the kernel is ending
                self._loop.call_soon_threadsafe(self.drain)

    def drain(self) -> None:
        """Shows what the controller has told; of several previews the last alone. It never raises."""
        with self.desk.lock:
            events: list[Event] = []
            with contextlib.suppress(queue.Empty):
                while True:
                    events.append(self._events.get_nowait())
            last = max((i for i, e in enumerate(events) if isinstance(e, Preview)), default=-1)
            for i, event in enumerate(events):
                if i == last or not isinstance(event, Preview):
                    try:
                        self._show_event(event)
                    except Exception as error:
                        self.status.say(str(error) if isinstance(error, InpaintError) else self._log(error), "error")

    def _show_event(self, event: Event) -> None:
        match event:
            case StateChanged(state):
                self._show_state(state)
            case Preview():
                self.live.show(event)
            case Finished(result):
                self.controller.refresh()
                self._show_results()
                how = f"stopped after {result.steps} steps" if result.stopped == "stopped" else "ready"
                self.status.say(" ".join([f"Result {result.number} is {how}.", *self._notes]))
                self.status.scroll("ex-results")
            case Failed(sentence):
                self.status.say(" ".join([sentence, *self._notes]), "error")
            case Note(sentence):
                self._notes.append(sentence)
                self.status.say(sentence)

    def _show_state(self, state: str) -> None:
        self.run.disabled, self.stop.disabled = state != "idle", state != "running"
        if state == "running":
            self.status.focus("ex-stop")
        elif state == "idle":
            self.live.end()
            self.status.focus("ex-run")
        elif state == "stopping":
            self.status.say("Stopping after this step.")

    def _seen(self) -> None:
        """Called when a browser shows the page."""
        if not self._warm:  # not earlier, which would only make the page late
            self._warm = True
            self.controller.warm_up()
        self._look_for_results()
        self._await_others()

    # Results ----------------------------------------------------------------------------------------------

    def _show_results(self) -> None:
        self.gallery.show(self.controller.results)

    def _look_for_results(self) -> bool:
        """Shows results that other pages have made since; returns whether there are any."""
        known = len(self.controller.results)
        self.controller.refresh()
        found = len(self.controller.results) != known
        if found:
            self._show_results()
        return found

    def _await_others(self) -> None:
        """Says that searches of other pages run, as one that was left by a reload, and looks for their results."""
        if not self._polling and self.controller.others_running():
            self._polling = True
            self.status.say("A search of an earlier page still runs. Its result will be shown here.")
            self._later(POLL, self.desk.safe(self._poll, clears=False))

    def _poll(self) -> None:
        self._polling = self.controller.others_running() > 0  # first: a search that ends now has its result already
        found = self._look_for_results()
        if self.controller.state == "idle" and (found or not self._polling):
            said = f"Result {self.controller.results[0].number} of an earlier page is here." if found else ENDED
            self.status.say(said)
        if self._polling:
            self._later(POLL, self.desk.safe(self._poll, clears=False))

    # The rest ---------------------------------------------------------------------------------------------

    def _log(self, error: BaseException) -> str:
        return f"That did not work, {self.controller.session.unforeseen(error)}."

    def close(self, timeout: float = 3.0) -> None:
        """Ends a run, keeps its result if it comes within ``timeout`` seconds, and keeps the mask."""
        if self._unsaved:
            self.desk.safe(self._remember)()
        self.controller.close(timeout)


_open: list[App] = []  # of this kernel: one at most, so that running the cell again does not double the memory


def explore(root: Path | str | None = None, *, generator: str = "faces64") -> App:
    """Returns the explorer, which begins as it was left; an earlier one of this kernel is closed.

    Raises InpaintError for a generator that is missing; arguments as of :class:`App`.
    """
    while _open:
        earlier = _open.pop()
        atexit.unregister(earlier.close)
        earlier.close()
        earlier.page.close()
    app = App(root, generator=generator)
    _open.append(app)
    atexit.register(app.close)
    return app
