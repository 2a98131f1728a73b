"""How a search is done, as plain settings."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .checks import InpaintError, check_choice, check_integer, check_number

__all__ = ["NOISES", "OPTIMISERS", "PRECISIONS", "SCHEDULES", "SPACES", "STARTS", "Search"]

SPACES = ("z", "w", "w+")
STARTS = ("w_avg", "random", "best")
NOISES = ("const", "none", "random", "optimised")
OPTIMISERS = ("adam", "lbfgs")
SCHEDULES = ("exponential", "constant", "ramp")
PRECISIONS = ("float32", "autocast")
WARM_UP, RAMP_DOWN = 0.05, 0.25  # of the updates, of ``ramp``


@dataclass(frozen=True)
class Search:
    """How to search; every field is a number or a word, as params files hold them.

    Attributes:
        space: ``z``, ``w`` (one code for all layers) or ``w+`` (one code a layer).
        start: ``w_avg`` (the mean of 10,000 mapped codes), ``random``, or ``best`` (the random code of the lowest
            objective among ``candidates``); in z every start is random, since no z maps to the mean code.
        candidates: random codes that are tried first, at least 1 with the start ``best``, else 0.
        noise: the generator's noise inputs: ``const``, ``none``, ``random`` (drawn once an item), or ``optimised``
            (drawn so, then searched for like the code, see :mod:`inpaintlib.noise`).
        noise_weight: weight of the penalty on optimised noise, at least 0; 1e5 in the longer searches of Karras et al.
            2020, where it dominates until the maps are white.
        steps: the whole budget of generator passes of an item, at least 1: candidates first, then updates (of L-BFGS
            evaluations). Equal steps are equal compute, whatever the variant.
        optimiser: ``adam``, or ``lbfgs`` (see :mod:`inpaintlib.optimisers`), of one phase and the code alone.
        learning_rate: Adam's first rate, L-BFGS's first step length, above 0.
        schedule: of Adam's rate: ``exponential`` (to ``last_rate``), ``constant``, or ``ramp`` (rises linearly over
            the first 5 % of the updates, falls as a cosine over the last 25 %: Karras et al. 2020, but never 0).
        last_rate: the last step's rate as a fraction of the first, in (0, 1], of the exponential schedule.
        clip: Adam's limit of the norm of each item's gradient by its code, above 0; None = none.
        patience: an item stops after this many updates without improving by ``tolerance`` (relative); what its
            history shows after that does not count, so that it gets what it would get alone. None = all steps.
        tolerance: at least 0.
        fit_steps: how many of the steps come first in which the terms that steer rest; then the code is the best one
            of them, Adam begins anew (its rate goes on falling) and everything counts. 0 = one phase.
        stay_weight: in the second phase, the weight of the mean squared distance to the code that the first one
            found, at least 0; else prompts drag the code away from the known pixels.
        frozen_layers: in the second phase, layers whose codes stay as they are; only in ``w+``.
        precision: ``float32`` (what the generator's weights are), or ``autocast``: while it searches, convolutions and
            matrix products of the networks run in bfloat16, which a GPU does faster and in half the memory. Codes,
            optimiser and sums stay float32, and what is returned is rendered in float32.
    """

    space: str = "w+"
    start: str = "w_avg"
    candidates: int = 0
    noise: str = "const"
    noise_weight: float = 10.0
    steps: int = 200
    optimiser: str = "adam"
    learning_rate: float = 0.1
    schedule: str = "exponential"
    last_rate: float = 0.1
    clip: float | None = 1.0
    patience: int | None = None
    tolerance: float = 1e-3
    fit_steps: int = 0
    stay_weight: float = 0.0
    frozen_layers: tuple[int, ...] = ()
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name, choices in (("space", SPACES), ("start", STARTS), ("noise", NOISES), ("optimiser", OPTIMISERS),
                              ("schedule", SCHEDULES), ("precision", PRECISIONS)):  # fmt: skip
            check_choice(name, getattr(self, name), choices)
        check_integer("steps", self.steps, low=1)
        check_number("learning_rate", self.learning_rate, low=0.0, open_low=True)
        check_number("last_rate", self.last_rate, low=0.0, high=1.0, open_low=True)
        check_number("tolerance", self.tolerance, low=0.0)
        check_number("noise_weight", self.noise_weight, low=0.0)
        if self.clip is not None:
            check_number("clip", self.clip, low=0.0, open_low=True)
        if self.patience is not None:
            check_integer("patience", self.patience, low=1)
        self._check_candidates()
        self._check_phases()
        self._check_lbfgs()

    def _check_candidates(self) -> None:
        if self.start == "best":
            check_integer("candidates of the start 'best'", self.candidates, low=1, high=self.steps - 1)
        elif self.candidates != 0:
            raise InpaintError(f"candidates need the start 'best'; got {self.candidates!r} and start {self.start!r}")

    def _check_phases(self) -> None:
        check_integer("fit_steps", self.fit_steps, low=0, high=self.steps - 1)
        if 0 < self.fit_steps <= self.candidates:
            raise InpaintError(f"fit_steps must be above the {self.candidates} candidates; got {self.fit_steps}")
        check_number("stay_weight", self.stay_weight, low=0.0)
        if not isinstance(self.frozen_layers, (list, tuple)):
            raise InpaintError(f"frozen_layers must be a list of whole numbers; got {self.frozen_layers!r}")
        object.__setattr__(self, "frozen_layers", tuple(self.frozen_layers))  # params files hold lists
        for layer in self.frozen_layers:
            check_integer("each of frozen_layers", layer, low=0)
        if self.frozen_layers and self.space != "w+":
            raise InpaintError(f"frozen_layers need space 'w+', which has a code a layer; got space {self.space!r}")
        if not self.fit_steps and (self.stay_weight or self.frozen_layers):
            raise InpaintError("stay_weight and frozen_layers are of the second phase; fit_steps must be at least 1")

    def _check_lbfgs(self) -> None:
        if self.optimiser == "lbfgs" and self.fit_steps:
            raise InpaintError(f"two phases need the optimiser 'adam'; got 'lbfgs' and fit_steps {self.fit_steps}")
        if self.optimiser == "lbfgs" and self.noise == "optimised":
            raise InpaintError("optimised noise needs the optimiser 'adam', since its maps are changed between steps; "
                               "got 'lbfgs'")  # fmt: skip

    @property
    def passes(self) -> int:
        """Generator passes, forward and mostly backward, that the search of one item costs: its steps.

        The closing evaluation and the final picture come on top, for every variant alike.
        """
        return self.steps

    @property
    def maps_z(self) -> bool:
        """Whether the search maps a z to a code, and so needs a class where the generator has classes."""
        return self.space == "z" or self.start != "w_avg"

    @property
    def updates(self) -> int:
        """Steps that are left for the optimiser after the candidates."""
        return self.steps - self.candidates

    @property
    def gamma(self) -> float:
        """The factor of the exponential schedule: the rate falls to ``last_rate`` of the first at the last update."""
        return self.last_rate ** (1.0 / max(self.updates - 1, 1))

    def rate(self, update: int) -> float:
        """Returns Adam's learning rate at an update, counted from 0."""
        if self.schedule == "exponential":
            return self.learning_rate * self.gamma**update
        if self.schedule == "constant":
            return self.learning_rate
        up = min(1.0, (update + 1) / (WARM_UP * self.updates))
        down = min(1.0, (1.0 - update / self.updates) / RAMP_DOWN)
        return self.learning_rate * up * (0.5 - 0.5 * math.cos(math.pi * down))
