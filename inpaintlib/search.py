"""How a search is done, as plain settings."""

from __future__ import annotations

from dataclasses import dataclass

from .checks import InpaintError, check_choice, check_integer, check_number

__all__ = ["NOISES", "SPACES", "STARTS", "Search"]

SPACES = ("z", "w", "w+")
STARTS = ("w_avg", "random")
NOISES = ("const", "none", "random")


@dataclass(frozen=True)
class Search:
    """How to search; every field is a number or a word, as params files hold them.

    Attributes:
        space: ``z``, ``w`` (one code for all layers) or ``w+`` (one code a layer).
        start: ``w_avg`` (the mean of 10,000 mapped codes) or ``random``; in z every start is random,
            since no z maps to the mean code.
        noise: the generator's noise inputs: ``const``, ``none``, or ``random`` (drawn once an item).
        steps: updates, at least 1.
        learning_rate: Adam's first rate, above 0.
        last_rate: the last step's rate as a fraction of the first, in (0, 1]; ExponentialLR between.
        clip: limit of each item's gradient norm, above 0; None = none.
        patience: an item stops after this many steps without improving by ``tolerance`` (relative); what its
            history shows after that does not count, so that it gets what it would get alone. None = all steps.
        tolerance: at least 0.
        fit_steps: how many of the steps come first in which the terms that steer rest; then the code is the best one
            of them, Adam begins anew (its rate goes on falling) and everything counts. 0 = one phase.
        stay_weight: in the second phase, the weight of the mean squared distance to the code that the first one
            found, at least 0; else prompts drag the code away from the known pixels.
        frozen_layers: in the second phase, layers whose codes stay as they are; only in ``w+``.
    """

    space: str = "w+"
    start: str = "w_avg"
    noise: str = "const"
    steps: int = 200
    learning_rate: float = 0.1
    last_rate: float = 0.1
    clip: float | None = 1.0
    patience: int | None = None
    tolerance: float = 1e-3
    fit_steps: int = 0
    stay_weight: float = 0.0
    frozen_layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_choice("space", self.space, SPACES)
        check_choice("start", self.start, STARTS)
        check_choice("noise", self.noise, NOISES)
        check_integer("steps", self.steps, low=1)
        check_number("learning_rate", self.learning_rate, low=0.0, open_low=True)
        check_number("last_rate", self.last_rate, low=0.0, high=1.0, open_low=True)
        check_number("tolerance", self.tolerance, low=0.0)
        if self.clip is not None:
            check_number("clip", self.clip, low=0.0, open_low=True)
        if self.patience is not None:
            check_integer("patience", self.patience, low=1)
        check_integer("fit_steps", self.fit_steps, low=0, high=self.steps - 1)
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

    @property
    def gamma(self) -> float:
        """The factor of ExponentialLR: the rate falls to ``last_rate`` of the first at the last step."""
        return self.last_rate ** (1.0 / max(self.steps - 1, 1))
