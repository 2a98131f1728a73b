"""The explorer's results: samples side by side, compared with the photo, as files, and how to make them again."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

import ipywidgets
import matplotlib
import numpy as np

from . import pictures
from .parts import Compare, Desk, Download, Tile, Tiles, button, column, field, fold, heading, row, text
from .results import Result, zip_of

__all__ = ["Gallery", "said_of"]

SMALL, LARGE = 256, 1024  # pixels of the longer side of a tile's picture and of the compared ones, at most
PLAIN = ("sample", "seed")  # columns of the scores that are no scores


class Gallery:
    """The panel of results; ``page`` shows it once there is one.

    Args:
        desk: makes its callbacks safe.
        start: called with a result and a sample that become the photo.
    """

    def __init__(self, desk: Desk, start: Callable[[Result, int], None]):
        self.results: Sequence[Result] = []
        self.result: Result | None = None
        self.sample, self._large = 0, [np.zeros((0, 0, 3), np.uint8)]  # of the result: its photo, its samples
        self.which = field(ipywidgets.Dropdown(description="Result", tooltip="Newest first"), "ex-wide")
        self.which.observe(desk.safe(self._which), "value")
        self.tiles = Tiles("Samples, best first; press one to compare it", side=128, choose=desk.safe(self.choose))
        self.spread = Tiles("How far the samples differ", side=128)
        self.compare = Compare()
        self.reuse = button("Use as new start", "The chosen sample becomes the photo",
                            desk.pressed(lambda: self.result and start(self.result, self.sample)))  # fmt: skip
        self.png = Download("Download PNG", "The chosen sample, as large as the photo", desk.giving(self._png))
        self.zip = Download("Download ZIP", "Photo, mask, all samples, latents, settings and scores",
                            desk.giving(self._zip))  # fmt: skip
        self.command = text("ex-code")
        again = fold("how to reproduce it", "The command and the params file that make the same result", self.command)
        self.page: ipywidgets.VBox = column(
            heading("Results"), self.which,
            row(column(self.tiles, self.spread), column(self.compare, row(self.reuse, self.png, self.zip))), again,
        )  # fmt: skip
        self.page.add_class("ex-results")
        self.page.layout.display = "none"

    def show(self, results: Sequence[Result]) -> None:
        """Shows results, newest first, and of them the newest."""
        self.results = list(results)
        self.page.layout.display = "" if self.results else "none"
        if self.results:
            self._open(self.results[0])  # first, so that the list finds it open and opens none
            self.which.options = [(_label(result), i) for i, result in enumerate(self.results)]
            self.which.value = 0

    def choose(self, sample: int) -> None:
        """Compares a sample of the shown result with its photo."""
        if self.result is not None:
            self.sample = self.tiles.chosen = sample
            said = f"Photo and sample {sample + 1} of result {self.result.number}"
            self.compare.show(self._large[0], self._large[1 + sample], said)

    def _which(self, change: dict) -> None:
        if change["new"] is not None and self.result is not self.results[change["new"]]:
            self._open(self.results[change["new"]])

    def _open(self, result: Result) -> None:
        """Shows a result; raises InpaintError, and shows what it has shown, if its files are gone."""
        said = (result.command, result.yaml)
        # A large photo takes long to decode: each picture is read once.
        large = [result.photo(LARGE), *(result.picture(i, LARGE) for i in range(result.samples))]
        small = [pictures.shrunk(pixels, SMALL) for pixels in large[1:]]
        self.result, self._large = result, large
        self.tiles.show([Tile(pictures.png(pixels, compress_level=1), f"Sample {i + 1}", said_of(result, i))
                         for i, pixels in enumerate(small)])  # fmt: skip
        self.spread.show([_spread(np.stack(small))] if result.samples > 1 else [])
        self.command.value = "".join(f'<pre tabindex="0">{html.escape(part)}</pre>' for part in said)
        self.choose(0)

    def _png(self) -> tuple[str, str, bytes] | None:
        result, k = self.result, self.sample
        return result and (f"explorer-{result.number:04d}-{k + 1}.png", "image/png", result.png(k))

    def _zip(self) -> tuple[str, str, bytes] | None:
        result = self.result
        return result and (f"explorer-{result.number:04d}.zip", "application/zip", zip_of(result))


def said_of(result: Result, sample: int) -> list[str]:
    """Returns what the scores say of a sample, in lines: what judges see of the wishes first."""
    scores = result.scores.iloc[sample]
    known = [name for name in ("objective", "known_mse", "known_lpips") if name in scores.index]
    wishes = [name for name in scores.index if name not in (*PLAIN, *known)]
    shares = [f"{name.replace('_', ' ')}: {scores[name]:.0%}" for name in wishes if name != "prompt"]
    nearness = [f"nearness to the prompt: {scores['prompt']:+.2f}"] if "prompt" in wishes else []
    rest = [f"{name.replace('_', ' ')} {scores[name]:.3g}" for name in known]
    return [f"seed {scores['seed']:.0f}", *shares, *nearness, *rest]


def _label(result: Result) -> str:
    s = result.settings
    wish = ", ".join(part for part in (s.prompt, s.attributes) if part) or "no wish"
    wish = wish if len(wish) <= 60 else wish[:59] + "…"
    count = f"{result.samples} sample{'s' if result.samples > 1 else ''}"
    return f"{result.number}: {wish} ({count}, {result.steps} steps)"


def _spread(samples: np.ndarray) -> Tile:
    """The map of the spread of samples, uint8 (N, H, W, 3): black where they agree, bright where they differ most."""
    spread = pictures.spread(samples)
    most = float(spread.max())
    colours = matplotlib.colormaps["magma"](spread / (most or 1.0))[..., :3]
    image = pictures.png((colours * 255).round().astype(np.uint8))
    return Tile(image, "Spread", ["bright = they differ", f"at most {most:.3f}"])
