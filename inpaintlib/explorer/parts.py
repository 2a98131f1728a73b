"""The explorer's smaller widgets, and what all of its controls have in common.

Own widgets are where the ready ones cannot be pressed, named or reached by keyboard, or where files are sent: they
put text into the page as text, never as HTML.
"""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import anywidget
import ipywidgets
import numpy as np
import traitlets

from ..checks import InpaintError
from . import pictures
from .brush import STATIC

__all__ = ["Chips", "Compare", "Desk", "Download", "Status", "Tile", "Tiles", "Upload", "button", "column", "field",
           "fold", "heading", "row", "text"]  # fmt: skip


class Tile(NamedTuple):
    """A picture with text."""

    image: bytes  # the content of a PNG
    title: str
    lines: Sequence[str] = ()


class Tiles(anywidget.AnyWidget):
    """Pictures in a row that wraps; with ``choose`` each is a button, and it is called with the place of the pressed.

    Args:
        label: what they are.
        side: of a picture, in pixels of the screen.
    """

    _esm = STATIC / "tiles.js"

    tiles = traitlets.List().tag(sync=True)
    chosen = traitlets.Int(-1, help="which is marked, -1 = none").tag(sync=True)
    choosable = traitlets.Bool().tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    side = traitlets.Int(96).tag(sync=True)

    def __init__(self, label: str, *, side: int = 96, choose: Callable[[int], None] | None = None):
        super().__init__(label=label, side=side, choosable=choose is not None)
        self._choose = choose
        self.on_msg(self._received)

    def show(self, tiles: Sequence[Tile], chosen: int = -1) -> None:
        """Shows other tiles."""
        with self.hold_sync():
            self.tiles = [{"image": t.image, "title": t.title, "lines": list(t.lines)} for t in tiles]
            self.chosen = chosen

    def _received(self, _: object, content: Mapping, buffers: object) -> None:
        place = content.get("place")
        if self._choose is not None and content.get("kind") == "chosen" and place in range(len(self.tiles)):
            self._choose(place)


class Compare(anywidget.AnyWidget):
    """Two pictures of one size on top of each other and a slider between them; empty content hides it."""

    _esm = STATIC / "compare.js"

    before = traitlets.Bytes().tag(sync=True)
    after = traitlets.Bytes().tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)

    def show(self, before: np.ndarray, after: np.ndarray, title: str) -> None:
        """Shows two pictures, uint8 (H, W, 3)."""
        with self.hold_sync():
            self.before, self.after = pictures.png(before, compress_level=1), pictures.png(after, compress_level=1)
            self.title = title


class Chips(anywidget.AnyWidget):
    """Names that are wanted, unwanted or neither; ``wishes`` is ``+Smiling,-Eyeglasses``.

    ``common`` is how many of the names are always shown.
    """

    _esm = STATIC / "chips.js"

    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    common = traitlets.Int().tag(sync=True)
    wishes = traitlets.Unicode().tag(sync=True)


class Status(anywidget.AnyWidget):
    """A line of text that is read aloud when it changes, and that says by itself when Python does not answer any more.

    Args:
        seen: called each time a browser shows it.

    Attributes:
        said: how often something was said.
    """

    _esm = STATIC / "status.js"

    text = traitlets.Unicode().tag(sync=True)
    kind = traitlets.Enum(("info", "error"), "info").tag(sync=True)

    def __init__(self, seen: Callable[[], None] = lambda: None):
        super().__init__()
        self._seen, self.said = seen, 0
        self.on_msg(self._received)

    def say(self, sentence: str, kind: str = "info") -> None:
        self.said += 1
        with self.hold_sync():
            self.text, self.kind = sentence, kind

    def focus(self, name: str) -> None:
        """Gives the focus to the button with a class, if it was lost with a button that was disabled."""
        self.send({"kind": "focus", "on": name})

    def scroll(self, name: str) -> None:
        """Scrolls to what has a class, where the page is so narrow that it lies far below."""
        self.send({"kind": "scroll", "to": name})

    def _received(self, _: object, content: Mapping, buffers: object) -> None:
        if content.get("kind") == "seen":
            self._seen()
        elif content.get("kind") == "ping":
            self.send({"kind": "pong"})


class Download(anywidget.AnyWidget):
    """A button that saves a file.

    Args:
        content: returns its name, media type and content when it is asked for, or None if there is none.
    """

    _esm = STATIC / "download.js"

    label = traitlets.Unicode().tag(sync=True)
    hint = traitlets.Unicode().tag(sync=True)
    disabled = traitlets.Bool(False).tag(sync=True)

    def __init__(self, label: str, hint: str, content: Callable[[], tuple[str, str, bytes] | None]):
        super().__init__(label=label, hint=hint)
        self._content = content
        self.on_msg(self._received)

    def _received(self, _: object, message: Mapping, buffers: object) -> None:
        found = self._content() if message.get("kind") == "wanted" else None
        if found is not None:
            name, mime, content = found
            self.send({"id": message.get("id"), "name": name, "mime": mime}, buffers=[content])


class Upload(anywidget.AnyWidget):
    """A button that sends a file here, in pieces; ``got`` is called with its name and content.

    ``refuse`` is called with a sentence if it is empty, or larger than an upload may be; ``safe`` is as of
    :class:`~inpaintlib.explorer.brush.Brush`.
    """

    _esm = STATIC / "upload.js"

    label = traitlets.Unicode().tag(sync=True)
    hint = traitlets.Unicode().tag(sync=True)
    accept = traitlets.Unicode(".png,.jpg,.jpeg,.webp,.bmp,.tif,.tiff").tag(sync=True)
    most = traitlets.Int(pictures.MOST_BYTES).tag(sync=True)

    def __init__(self, label: str, hint: str, got: Callable[[str, bytes], None], refuse: Callable[[str], None],
                 safe: Callable[[Callable[..., None]], Callable[..., None]] = lambda call: call):  # fmt: skip
        super().__init__(label=label, hint=hint)
        self._got, self._refuse, self._id, self._pieces = got, refuse, "", bytearray()
        self.on_msg(safe(self._received))

    def _received(self, _: object, content: Mapping, buffers: Sequence[memoryview]) -> None:
        name, kind = pictures.clean_name(str(content.get("name", ""))), content.get("kind")
        if kind == "lost":
            self._refuse(f"“{name}” could not be read by the browser.")
        elif kind != "piece":
            return
        elif not 0 < content["total"] <= self.most:
            self._refuse(f"“{name}” must have 1 byte to {self.most // 10**6} MB; it has {content['total']} bytes.")
        else:
            self._piece(name, content, buffers[0])

    def _piece(self, name: str, content: Mapping, piece: memoryview) -> None:
        if content["at"] == 0:
            self._id, self._pieces = str(content["id"]), bytearray()
        if self._id != content["id"] or len(self._pieces) != content["at"]:
            return  # the rest of a file that another one has overtaken
        self._pieces += piece
        if len(self._pieces) >= content["total"]:
            whole, self._pieces = bytes(self._pieces), bytearray()
            try:
                self._got(name, whole)
            except InpaintError as error:  # in quotes, a name at the sentence's begin stays as it is written
                raise InpaintError(re.sub(f"^{re.escape(name)}", lambda found: f"“{found[0]}”", str(error))) from None


class Desk:
    """Makes callbacks safe: one at a time, and whatever they raise becomes a sentence in the status line, which the
    next that raises nothing takes away.

    Args:
        log: writes a traceback for whoever looks into it, and returns a sentence.
        after: called after each.
    """

    def __init__(self, status: Status, log: Callable[[BaseException], str], after: Callable[[], None]):
        self.status, self.log, self.after, self.lock = status, log, after, threading.RLock()
        self._depth = 0  # of callbacks that call others

    def safe(self, call: Callable[..., None], *, clears: bool = True) -> Callable[..., None]:
        """Returns ``call`` made safe; what is no act of the user's does not clear the status line."""

        def run(*args: object) -> None:
            with self.lock:
                said, self._depth = self.status.said, self._depth + 1
                try:
                    call(*args)
                    if clears and self._depth == 1 and self.status.kind == "error" and self.status.said == said:
                        self.status.say("")
                except InpaintError as error:
                    self.refuse(str(error))
                except KeyboardInterrupt:
                    self.refuse("interrupted; nothing was lost")
                except Exception as error:
                    self.status.say(self.log(error), "error")
                finally:
                    self.after()
                    self._depth -= 1

        return run

    def giving(self, call: Callable[[], Any]) -> Callable[[], Any]:
        """Returns ``call`` made safe; it returns None where it has failed."""

        def run() -> Any:
            found: list[Any] = []
            self.safe(lambda: found.append(call()))()
            return found[0] if found else None

        return run

    def refuse(self, sentence: str) -> None:
        """Says why something was not done."""
        self.status.say(sentence[:1].upper() + sentence[1:] + ("" if sentence.endswith((".", "?")) else "."), "error")

    def pressed(self, call: Callable[[], None]) -> Callable[[object], None]:
        """Returns what a button calls, with itself, when it is pressed."""
        return self.safe(lambda _: call())


def button(label: str, tooltip: str, press: Callable[[object], None], *classes: str) -> ipywidgets.Button:
    """Returns a button that says what it does."""
    made = ipywidgets.Button(description=label, tooltip=tooltip)
    made.on_click(press)
    return _of(made, "ex-button", *classes)


def field(widget: ipywidgets.DOMWidget, *classes: str) -> ipywidgets.DOMWidget:
    """Returns an input with its description above it."""
    widget.style.description_width = "initial"
    return _of(widget, "ex-field", *classes)


def fold(label: str, tooltip: str, content: ipywidgets.DOMWidget) -> ipywidgets.VBox:
    """Returns content that is hidden until its button is pressed. (An Accordion cannot be opened by keyboard.)"""
    toggle = ipywidgets.ToggleButton(description=f"Show {label}", tooltip=tooltip)
    content.layout.display = "none"

    def changed(change: Mapping) -> None:
        content.layout.display = "" if change["new"] else "none"
        toggle.description = f"{'Hide' if change['new'] else 'Show'} {label}"

    toggle.observe(changed, "value")
    return column(row(_of(toggle, "ex-button")), content)


def heading(title: str) -> ipywidgets.HTML:
    return ipywidgets.HTML(f"<h2>{html.escape(title)}</h2>")


def text(*classes: str) -> ipywidgets.HTML:
    """Returns a place for HTML; whoever fills it escapes what is not of the program's own."""
    return _of(ipywidgets.HTML(), *classes)


def row(*children: ipywidgets.DOMWidget) -> ipywidgets.HBox:
    """Returns widgets side by side, in as many lines as they need."""
    return _of(ipywidgets.HBox(children), "ex-row")


def column(*children: ipywidgets.DOMWidget) -> ipywidgets.VBox:
    """Returns widgets one below the other."""
    return _of(ipywidgets.VBox(children), "ex-column")


def _of(widget: ipywidgets.DOMWidget, *classes: str) -> ipywidgets.DOMWidget:
    for name in classes:
        widget.add_class(name)
    return widget
