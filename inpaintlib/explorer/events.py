"""What the explorer's controller tells its view, as plain tuples; they come from any thread."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from .results import Result

__all__ = ["Event", "Failed", "Finished", "Note", "Preview", "StateChanged"]


class StateChanged(NamedTuple):
    """The controller is in another state: ``idle``, ``running`` or ``stopping``."""

    state: str


class Preview(NamedTuple):
    """What the search sees; all images are on the CPU, clamped to [-1, 1], R the generator's resolution."""

    step: int  # of all steps of all samples that are searched one after another: 1, 2, ..
    steps: int
    seconds_left: float
    target: Tensor  # (1, 3, R, R)
    mask: Tensor  # (1, 1, R, R), 1 = hole
    image: Tensor  # (S, 3, R, R), G(w) of the samples that are searched at present
    composite: Tensor  # (S, 3, R, R), its hole in the target
    losses: dict[str, list[float]]  # objective, each term, best: the means over the S samples, one a step so far
    seeds: list[int]  # S of them


class Finished(NamedTuple):
    """A run ended, or was stopped, with a result, which is first among the controller's results now."""

    result: Result


class Failed(NamedTuple):
    """A run ended without a result; the sentence says why."""

    sentence: str


class Note(NamedTuple):
    """A sentence for the user that ends nothing."""

    sentence: str


Event = StateChanged | Preview | Finished | Failed | Note
