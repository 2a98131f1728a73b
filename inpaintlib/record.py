"""What a search returns, and how it is rendered again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from .search import Search
from .stylegan2 import Generator

__all__ = ["Inversion", "Progress", "Sight", "Watch", "render", "replay"]

#: Called after a step with (step, steps, objective of each item (N,)).
Progress = Callable[[int, int, Tensor], None]


class Sight(NamedTuple):
    """What a search of N items saw at a step; the picture was rendered for the step anyway."""

    step: int  # 1, 2, ..
    steps: int
    seeds: list[int]
    image: Tensor  # (N, 3, R, R), G(w), not clamped
    losses: dict[str, Tensor]  # objective, one a term, best; (N,) each, see Inversion.history


#: Called after a step; True ends the search there, with the best so far.
Watch = Callable[[Sight], bool]


@dataclass(frozen=True)
class Inversion:
    """The result of :func:`inpaintlib.invert.invert` for N items.

    Attributes:
        w: (N, num_ws, w_dim), the best code of each item, one a layer whatever the space.
        z: (N, z_dim) in space ``z``, else None.
        noise: ``"const"``, ``"none"``, or the drawn or optimised maps, one (N, 1, H, W) a layer.
        image: (N, 3, R, R), G(w), not clamped.
        composite: (N, 3, R, R), known pixels of the target and the hole of G(w).
        history: tidy table with columns item, step, objective, one a term, best; a row an item and step (a candidate
            of the start ``best`` and a refused trial of L-BFGS are steps too, and the closing evaluation is the last).
            With ``stay_weight`` there is a column ``stay``, with optimised noise a column ``noise`` (the penalty); NaN
            where a term rests.
        loss: (N,), the objective of w.
        seeds: each item's seed.
        search: the settings.
        stopped: ``"finished"``, ``"flat"`` (all items ran out of patience), ``"diverged"`` (some item's objective
            ended as NaN or infinity; its best code is from before), ``"stopped"`` (as ``watch`` asked) or
            ``"interrupted"``.
        generator: the network, for :func:`replay`.
    """

    w: Tensor
    z: Tensor | None
    noise: str | list[Tensor]
    image: Tensor
    composite: Tensor
    history: pd.DataFrame
    loss: Tensor
    seeds: list[int]
    search: Search
    stopped: str
    generator: Generator = field(repr=False)


def replay(record: Inversion) -> Tensor:
    """Returns ``record.image`` again, bit for bit, from its code and noise; on the code's device."""
    return render(record.generator, record.w, record.noise)


@torch.no_grad()
def render(generator: Generator, w: Tensor, noise: str | list[Tensor]) -> Tensor:
    """Returns G(w), (N, 3, R, R), of codes (N, num_ws, w_dim) and a noise choice or maps (N, 1, H, W).

    It is computed where the generator is, and returned where the codes are.
    """
    # One at a time: an item's image, to the last bit, must not depend on the batch that it stands in,
    # so that records can be joined, cut and sorted.
    maps = [noise if isinstance(noise, str) else [m[i : i + 1] for m in noise] for i in range(len(w))]
    there = next(generator.parameters()).device
    maps = [m if isinstance(m, str) else [x.to(there) for x in m] for m in maps]
    return torch.cat([generator.synthesis(w[i : i + 1].to(there), maps[i]).to(w.device) for i in range(len(w))])
