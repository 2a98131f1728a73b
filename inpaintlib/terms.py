"""What a term of an objective is: plain functions, bound once to a target and its mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["BoundTerm", "OnViews", "Term", "Weighted"]

#: The value of a term for x_hat (N, 3, H, W) and its codes ws (N, L, C), one number per image.
BoundTerm = Callable[[Tensor, Tensor], Tensor]
#: A term, which takes the constants target (N, 3, H, W) and mask (N, 1, H, W) once, before the search.
Term = Callable[[Tensor, Tensor], BoundTerm]


class OnViews(NamedTuple):
    """A bound term that is descended on random views of the image, and scored on the image itself.

    Attributes:
        value: the score, (N,), that decides which code was the best.
        descended: the same averaged over views, (N,), whose draws come from each item's own generator.
    """

    value: BoundTerm
    descended: Callable[[Tensor, Tensor, Sequence[torch.Generator]], Tensor]

    def __call__(self, x_hat: Tensor, ws: Tensor) -> Tensor:
        return self.value(x_hat, ws)


class Weighted(NamedTuple):
    """A term with its factor in the sum.

    Attributes:
        weight: at least 0.
        term: the term.
        steers: it says what the hole should show, and rests while the known pixels are fitted. True also if the term
            itself has a true attribute ``steers``, as those of :mod:`inpaintlib.steering` have.
        network: name or file of the network that it reads, "" for none: no table may be made by the same one. Where it
            is "", the term's attribute ``network`` counts.
    """

    weight: float
    term: Term
    steers: bool = False
    network: str = ""

    @property
    def rests(self) -> bool:
        """Whether it rests while the known pixels are fitted."""
        return self.steers or bool(getattr(self.term, "steers", False))

    @property
    def reads(self) -> str:
        """Name or file of the network that it reads, "" for none that is known."""
        return self.network or str(getattr(self.term, "network", ""))
