"""What is seen of a search while it runs: progress, pictures, and the objective as a curve."""

from __future__ import annotations

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
            f"Step {event.step} of {event.steps}, {time_left(event.seconds_left)}"
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
    """Returns the objective and its best so far as a picture in SVG, and the last value of every term."""
    lines = {name: np.nan_to_num(np.asarray(losses[name], dtype=float)) for name in ("objective", "best")}
    values = np.concatenate([*lines.values()])
    low, high = float(values.min()), float(values.max())
    n = len(lines["objective"])
    places = np.unique(np.linspace(0, n - 1, min(n, POINTS)).round().astype(int))

    def points(line: np.ndarray) -> str:
        x, y = places * WIDTH / max(n - 1, 1), (high - line[places]) * HEIGHT / ((high - low) or 1.0)
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))

    drawn = "".join(f'<polyline class="ex-{name}" points="{points(line)}"/>' for name, line in lines.items())
    last = ", ".join(f"{name} {losses[name][-1]:.3g}" for name in losses if name != "best")
    best = lines["best"][-1]
    return (
        f'<svg viewBox="-2 -2 {WIDTH + 4} {HEIGHT + 4}" role="img" aria-label="The objective over the steps, from '
        f'{lines["objective"][0]:.3g} to {best:.3g} at best">{drawn}</svg>'
        f'<p><span class="ex-key ex-key-objective"></span>objective <span class="ex-key ex-key-best"></span>'
        f"best, {best:.3g}"
        f"<br>Now: {last}</p>"
    )


def _png(image: Tensor) -> bytes:
    return pictures.png(to_uint8(image)[0], compress_level=1)
