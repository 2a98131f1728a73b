"""One batched search as it runs: its variables, their optimiser, and the best so far."""

from __future__ import annotations

import math

import pandas as pd
import torch
from torch import Tensor

from .checks import InpaintError
from .codes import draw_classes, mean_code
from .images import composite
from .losses import BoundObjective
from .noise import noise_penalty, standardise
from .optimisers import Adam, Lbfgs
from .record import Inversion, Progress, Sight, Watch, render
from .search import Search
from .stylegan2 import Generator

__all__ = ["Problem"]


def _wide(x: Tensor, like: Tensor) -> Tensor:
    """Values (N,) in as many dimensions as ``like``."""
    return x.view(-1, *[1] * (like.ndim - 1))


class Problem:
    """A search of N items, see :func:`inpaintlib.invert.invert`, which checks the arguments.

    Args:
        objective: of the N targets and masks.
        seeds: N of them; item i draws from a generator of its own, in this order: class, start, noise, views. A class
            is drawn where the network maps one, and then also if ``c`` is given, so that the other draws are the same.
        c: (N, c_dim), None = the drawn classes.
    """

    def __init__(self, generator: Generator, objective: BoundObjective, search: Search, seeds: list[int],
                 c: Tensor | None):  # fmt: skip
        self.generator, self.objective, self.search, self.seeds = generator, objective, search, seeds
        self.rngs = [torch.Generator().manual_seed(s) for s in seeds]
        drawn = draw_classes(generator, self.rngs) if search.maps_z else None
        self.c = drawn if c is None else c
        self.candidates = [self._start() for _ in range(search.candidates)]
        self.code = (self.candidates[0].clone() if self.candidates else self._start()).requires_grad_()
        self.noise: str | list[Tensor] = search.noise
        if search.noise in ("random", "optimised"):
            self.noise = generator.synthesis.random_noise(self.rngs)
        maps = [m.requires_grad_() for m in self.noise] if search.noise == "optimised" else []
        self.variables = [self.code, *maps]
        with torch.no_grad():
            self.plan = None if maps else generator.synthesis.plan(self.noise)  # constant during the search
        lbfgs = search.optimiser == "lbfgs"
        self.optimiser = Lbfgs(self.code, search.learning_rate) if lbfgs else Adam(self.variables, search)
        self.rows: list[Tensor] = []
        self.columns: list[str] = []  # of the rows
        self.steering = search.fit_steps == 0
        self.anchor: Tensor | None = None  # the codes that the first phase found
        self.anew = False  # a phase has begun that no evaluation has seen
        self._forget()

    def _forget(self) -> None:
        """Begins the record of the best, at the variables."""
        n = len(self.seeds)
        self.best = [v.detach().clone() for v in self.variables]
        self.best_loss = torch.full((n,), math.inf).to(self.code)
        self.marked = self.best_loss.clone()  # the objective that the last real improvement reached
        self.waited = torch.zeros(n, dtype=torch.int64, device=self.code.device)

    @torch.no_grad()
    def _return_to_best(self) -> None:
        for variable, best in zip(self.variables, self.best, strict=True):
            variable.copy_(best)

    @torch.no_grad()
    def _begin_steering(self) -> None:
        """Begins the second phase at the best code of the first."""
        self._check_found()
        self.steering = True
        self._return_to_best()
        self.anchor = self.codes(self.code).clone()
        self.optimiser.restart()  # its moments are those of another objective
        self.anew = True  # until the first evaluation an interruption finds the first phase's result

    def _start(self) -> Tensor:
        """A start of every item in the search's space."""
        g, n, search = self.generator, len(self.rngs), self.search
        if search.maps_z:
            z = torch.cat([torch.randn(1, g.z_dim, generator=rng) for rng in self.rngs]).to(next(g.parameters()))
            if search.space == "z":
                return z
            with torch.no_grad():
                w = g.mapping(z, self.c)[:, None]
        else:
            w = mean_code(g).expand(n, 1, -1)
        return w.repeat(1, g.num_ws if search.space == "w+" else 1, 1)

    def codes(self, code: Tensor) -> Tensor:
        """Returns ws (N, num_ws, w_dim) of the searched code."""
        if self.search.space == "z":
            return self.generator.map(code, self.c)
        return code.expand(-1, self.generator.num_ws, -1)

    def evaluate(self, *, descending: bool = True) -> tuple[Tensor, Tensor]:
        """Returns what to descend and the objective, both (N,), at the variables; keeps the best and a row of history.

        They differ only where a term asks for views. Without ``descending`` there are no views, and patience rests.
        """
        ws = self.codes(self.code)
        plan = self.generator.synthesis.plan(self.variables[1:]) if self.plan is None else self.plan
        rngs = self.rngs if descending else None
        with torch.autocast(ws.device.type, torch.bfloat16, enabled=self.search.precision == "autocast"):
            image = self.generator.synthesis.render(ws, plan).to(ws.dtype)
            descended, loss, parts = self.objective.descent(image, ws, rngs, steering=self.steering)
        extra = self._extra(ws, loss, parts)
        descended, loss = descended + extra, loss + extra
        with torch.no_grad():
            if self.anew:
                self._forget()
                self.anew = False
            better = (loss < self.best_loss) & self._active()
            self.best_loss = torch.where(better, loss, self.best_loss)
            pairs = zip(self.variables, self.best, strict=True)
            self.best = [torch.where(_wide(better, best), now, best) for now, best in pairs]
            if self.search.patience is not None and descending:
                self._count(loss)
            self.columns, self.shown = ["objective", *parts, "best"], image.detach()
            self.rows.append(torch.stack([loss.detach(), *(p.detach() for p in parts.values()), self.best_loss]))
        return descended, loss

    def _extra(self, ws: Tensor, like: Tensor, parts: dict[str, Tensor]) -> Tensor | float:
        """What the search itself adds to the objective, (N,) or 0; its parts join ``parts``."""
        extra: Tensor | float = 0.0
        if self.search.stay_weight > 0:  # the mean squared distance to the first phase's codes, NaN before it ends
            away = self.anchor is not None
            parts["stay"] = (ws - self.anchor).square().mean(dim=(1, 2)) if away else torch.full_like(like, math.nan)
            extra = extra + self.search.stay_weight * parts["stay"] if self.steering else extra
        if maps := self.variables[1:]:
            parts["noise"] = noise_penalty(maps)
            extra = extra + self.search.noise_weight * parts["noise"]
        return extra

    def _active(self) -> Tensor:
        return self.waited < (self.search.patience or 1)

    def _count(self, loss: Tensor) -> None:
        improved = loss < self.marked - self.search.tolerance * self.marked.abs()
        improved |= self.marked.isinf() & loss.isfinite()
        self.marked = torch.where(improved, loss, self.marked)
        # An item that ran out of patience stays out.
        self.waited = torch.where(improved & self._active(), 0, self.waited + 1)

    @torch.no_grad()
    def _try(self, candidate: Tensor) -> Tensor:
        self.code.copy_(candidate)
        return self.evaluate(descending=False)[1]

    def _update(self) -> Tensor:
        """One update of every item."""
        descended, loss = self.evaluate()
        if not descended.requires_grad:
            phase = "" if self.steering else " while the known pixels are fitted"
            raise InpaintError(f"the objective must depend on the image or its codes; it has no gradient{phase}")
        gradients = torch.autograd.grad(descended.sum(), self.variables)
        if self.steering and self.search.frozen_layers:
            gradients[0][:, list(self.search.frozen_layers)] = 0.0
        self.optimiser.step(descended.detach(), gradients)
        standardise(self.variables[1:])
        return loss

    def _step(self, step: int) -> Tensor:
        if step < len(self.candidates):
            return self._try(self.candidates[step])
        if step and step == len(self.candidates):
            self._return_to_best()
        if step and step == self.search.fit_steps:
            self._begin_steering()
        return self._update()

    def _sight(self, step: int) -> Sight:
        losses = dict(zip(self.columns, self.rows[-1], strict=True))
        return Sight(step, self.search.steps, self.seeds, self.shown, losses)

    def run(self, progress: Progress | None, watch: Watch | None = None) -> str:
        """Steps until done; returns how it ended."""
        steps = self.search.steps
        try:
            for step in range(steps):
                loss = self._step(step)
                if progress is not None:
                    progress(step + 1, steps, loss.detach())
                if watch is not None and watch(self._sight(step + 1)):
                    return "stopped"
                # Reading the device back is the price of patience; without it the loop never waits.
                # The first phase always runs to its end, or the second would begin earlier alone than in a batch.
                if self.search.patience is not None and self.steering and not bool(self._active().any()):
                    return "flat"
            with torch.no_grad():
                _, last = self.evaluate(descending=False)
        except KeyboardInterrupt:
            if not self.rows:
                raise
            return "interrupted"
        return "finished" if bool(last.isfinite().all()) else "diverged"

    def _check_found(self) -> None:
        bad = (~self.best_loss.isfinite()).nonzero().flatten().tolist()
        if bad:
            raise InpaintError(
                f"the objective of item {bad[0]} was never finite; lower learning_rate ({self.search.learning_rate})"
                " or look at its target"
            )

    def record(self, image: Tensor, mask: Tensor, stopped: str) -> Inversion:
        """Returns the best of every item; ``image`` and ``mask`` as in :func:`inpaintlib.invert.invert`."""
        self._check_found()
        code, *maps = self.best
        with torch.no_grad():
            w = self.codes(code).contiguous()
        noise = maps or self.noise
        x_hat = render(self.generator, w, noise)
        z = code if self.search.space == "z" else None
        return Inversion(w, z, noise, x_hat, composite(image, x_hat, mask), self._history(), self.best_loss,
                         self.seeds, self.search, stopped, self.generator)  # fmt: skip

    def _history(self) -> pd.DataFrame:
        values = torch.stack(self.rows).double().cpu()  # (steps, columns, N)
        steps, _, n = values.shape
        table = pd.DataFrame(values.permute(2, 0, 1).reshape(n * steps, -1).numpy(), columns=self.columns)
        table.insert(0, "step", list(range(steps)) * n)
        table.insert(0, "item", [i for i in range(n) for _ in range(steps)])
        return table
