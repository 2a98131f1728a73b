"""Turns what a search shows after each step into previews, not more of them than a screen can use."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..framing import Problem
from ..images import at_once, composite
from ..params import Inpaint
from ..record import Sight
from .events import Event, Preview

__all__ = ["EVERY", "Previews"]

EVERY = 0.3  # seconds between two previews, at least
BROKEN = (
    "The search broke down at step {step}: its objective is no number any more. What was best before is kept; lower"
    " learning_rate ({rate:g})."
)


class Previews:
    """A :data:`inpaintlib.record.Watch` that tells previews: of the first step, of the last, and of some between.

    Args:
        problem: what is searched for.
        p: settings.
        tell: called with each :class:`~inpaintlib.explorer.events.Preview`.
        stopped: asked after each step whether the search should end; it ends, too, where an objective is no number.
    """

    def __init__(self, problem: Problem, p: Inpaint, tell: Callable[[Event], None], stopped: Callable[[], bool]):
        self.problem, self.p, self.tell, self.stopped = problem, p, tell, stopped
        self.start, self.shown = time.perf_counter(), 0.0
        self.losses: dict[str, list[float]] = {}
        self.broken = ""  # or in a sentence, that an objective is no number any more

    def __call__(self, sight: Sight) -> bool:
        now = time.perf_counter()
        if not bool(sight.losses["objective"].isfinite().all()):
            self.broken = BROKEN.format(step=sight.step, rate=self.p.learning_rate)
        stop = self.stopped() or bool(self.broken)  # no later step would mend it
        if sight.step == 1:
            self.losses = {name: [] for name in sight.losses}
        for name, values in sight.losses.items():
            self.losses[name].append(float(values.mean()))
        done, total = self._progress(sight)
        if sight.step == 1 or stop or done == total or now - self.shown >= EVERY:
            self.shown = now
            self.tell(self._preview(sight, done, total, now))
        return stop

    def _progress(self, sight: Sight) -> tuple[int, int]:
        """Steps done and all; samples that are searched together (see ``own.search``) step together."""
        together = at_once(sight.image.shape[-1], self.p.samples)
        rounds, before = -(-self.p.samples // together), (sight.seeds[0] - self.p.seed) // together
        return before * sight.steps + sight.step, rounds * sight.steps

    def _preview(self, sight: Sight, done: int, total: int, now: float) -> Preview:
        target, mask = self.problem.target, self.problem.mask
        image = sight.image.cpu().nan_to_num().clamp(-1, 1)
        losses = {name: list(values) for name, values in self.losses.items()}
        left = (now - self.start) * (total - done) / done
        return Preview(done, total, left, target, mask, image, composite(target, image, mask), losses, sight.seeds)
