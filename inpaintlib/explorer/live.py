"""What is seen of a search while it runs: progress, pictures, and the objective as a curve."""

from __future__ import annotations

import math

import ipywidgets
import numpy as np
from torch import Tensor

from ..figures import masked
from ..images import to_uint8
from . import pictures
from .events import Preview
from .parts import Tile, Tiles, column, heading, row, text

__all__ = ["Live", "curve"]

SIDE = 76  # pixels of the screen: the four samples of the defaults stand side by side
PIXELS = 256  # of a picture's longer side, at most
WIDTH, HEIGHT, POINTS = 320, 120, 200


class Live:
    """The panel of a running search; ``page`` shows it, once there is something to show."""

    def __init__(self) -> None:
        self.progress, self.plot = text("ex-progress"), text("ex-plot")
        self.target = Tiles("Target", side=SIDE)
        self.drawn, self.filled = Tiles("What the generator draws, G(w)", side=SIDE), Tiles("In the hole", side=SIDE)
        panels = row(self.target, self.plot), self.drawn, self.filled
        self.page: ipywidgets.VBox = column(heading("Search"), self.progress, *panels)
        self.page.layout.display = "none"

    def show(self, event: Preview) -> None:
        """Shows a preview."""
        self.page.layout.display = ""
        self.progress.value = (
            f'<progress max="{event.steps}" value="{event.step}" aria-label="Steps of the search"></progress> '
            f"Step {event.step} of {event.steps}, "
            f"{time_left(event.seconds_left) if event.step < event.steps else 'saving ...'}"
        )
        self.target.show([Tile(_png(masked(event.target, event.mask)), "Masked")])
        for tiles, images in ((self.drawn, event.image), (self.filled, event.composite)):
            tiles.show([Tile(_png(x[None]), f"Seed {s}") for x, s in zip(images, event.seeds, strict=True)])
        self.plot.value = curve(event.losses)

    def end(self) -> None:
        """Takes the bar away."""
        self.progress.value = ""


def time_left(seconds: float) -> str:
    """Returns the time left in words."""
    if seconds < 1:
        return "nearly done"
    return f"about {seconds:.0f} s left" if seconds < 90 else f"about {seconds / 60:.0f} min left"


def curve(losses: dict[str, list[float]]) -> str:
    """Returns the objective and its best so far as a picture in SVG, and the last value of every term that counts.

    Terms that are no number at first are those of wishes: a line stands where they begin, since the objective jumps.
    """
    lines = {name: np.nan_to_num(np.asarray(losses[name], dtype=float)) for name in ("objective", "best")}
    values = np.concatenate([*lines.values()])
    low, high = float(values.min()), float(values.max())
    n = len(lines["objective"])
    places = np.unique(np.linspace(0, n - 1, min(n, POINTS)).round().astype(int))

    def points(line: np.ndarray) -> str:
        x, y = places * WIDTH / max(n - 1, 1), (high - line[places]) * HEIGHT / ((high - low) or 1.0)
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))

    drawn = "".join(f'<polyline class="ex-{name}" points="{points(line)}"/>' for name, line in lines.items())
    drawn += _begin(losses)
    now = {name: values[-1] for name, values in losses.items() if name != "best" and math.isfinite(values[-1])}
    last = ", ".join(f"{name} {value:.3g}" for name, value in now.items())
    best = lines["best"][-1]
    return (
        f'<svg viewBox="-2 -2 {WIDTH + 4} {HEIGHT + 4}" role="img" aria-label="The objective over the steps, from '
        f'{lines["objective"][0]:.3g} to {best:.3g} at best">{drawn}</svg>'
        f'<p><span class="ex-key ex-key-objective"></span>objective <span class="ex-key ex-key-best"></span>'
        f"best, {best:.3g}"
        f"<br>Now: {last}</p>"
    )


def _begin(losses: dict[str, list[float]]) -> str:
    """The line where the first of the terms begins that did not count from the first step; empty if none has."""
    counts = np.array([np.isfinite(values) for name, values in losses.items() if name not in ("objective", "best")])
    late = counts[~counts[:, 0]].any(axis=0) if counts.size else np.zeros(1, dtype=bool)
    if not late.any():
        return ""
    x = int(late.argmax()) * WIDTH / (len(late) - 1)
    side, anchor = (4, "start") if x < WIDTH / 2 else (-4, "end")
    return (
        f'<line class="ex-begin" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}"/>'
        f'<text x="{x + side:.1f}" y="11" text-anchor="{anchor}">wishes begin</text>'
    )


def _png(image: Tensor) -> bytes:
    return pictures.png(pictures.shrunk(to_uint8(image)[0], PIXELS), compress_level=1)
