"""The latent search: find the code whose image agrees with the known pixels.

Items of a batch are independent. The batch's loss is the sum of the items' losses, Adam works element
by element, clipping is per item, and every item draws from its own generator; so a batch of k gives
what k single runs give, up to the rounding of differently shaped matrix products.

A search may have two phases: first the known pixels are fitted, then the terms that steer join in (see
:class:`~inpaintlib.search.Search`). Views that a term asks for are drawn from each item's own generator, and only
descended on: what counts as best is scored without them, and anew in the second phase.

The search keeps, for every item, the code of the lowest objective seen. What is returned is rendered
once more from that code, by the very call that :func:`replay` makes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import Tensor

from .checks import InpaintError, check_image, check_integer, check_mask, check_type
from .images import composite
from .losses import Objective, objective_from
from .search import SPACES, STARTS, Search
from .stylegan2 import Generator

__all__ = ["Inversion", "SPACES", "STARTS", "Search", "invert", "mean_code", "product", "replay"]

#: Called after a step with (step, steps, objective of each item (N,)).
Progress = Callable[[int, int, Tensor], None]


@dataclass(frozen=True)
class Inversion:
    """The result of :func:`invert` for N items.

    Attributes:
        w: (N, num_ws, w_dim), the best code of each item, one a layer whatever the space.
        z: (N, z_dim) in space ``z``, else None.
        noise: ``"const"``, ``"none"``, or the drawn maps, one (N, 1, H, W) a layer.
        image: (N, 3, R, R), G(w), not clamped.
        composite: (N, 3, R, R), known pixels of the target and the hole of G(w).
        history: tidy table with columns item, step, objective, one a term, best; a row an item and step. With
            ``stay_weight`` there is a column ``stay``; NaN where a term rests.
        loss: (N,), the objective of w.
        seeds: each item's seed.
        search: the settings.
        stopped: ``"finished"``, ``"flat"`` (all items ran out of patience), ``"diverged"`` (some item's objective
            ended as NaN or infinity; its best code is from before) or ``"interrupted"``.
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
    """Returns ``record.image`` again, bit for bit, from its code and noise."""
    return _render(record.generator, record.w, record.noise)


@torch.no_grad()
def _render(generator: Generator, w: Tensor, noise: str | list[Tensor]) -> Tensor:
    # One at a time: an item's image, to the last bit, must not depend on the batch that it stands in,
    # so that records can be joined, cut and sorted.
    maps = [noise if isinstance(noise, str) else [m[i : i + 1] for m in noise] for i in range(len(w))]
    return torch.cat([generator.synthesis(w[i : i + 1], maps[i]) for i in range(len(w))])


def mean_code(generator: Generator, *, samples: int = 10_000, seed: int = 0) -> Tensor:
    """Returns the mean of ``samples`` mapped codes, (w_dim,): the start ``w_avg`` of the study.

    For a class-conditional network the classes are drawn uniformly.
    """
    parameter = next(generator.parameters())
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(samples, generator.z_dim, generator=rng).to(parameter)
    c = None
    if generator.c_dim:
        labels = torch.randint(generator.c_dim, (samples,), generator=rng)
        c = torch.nn.functional.one_hot(labels, generator.c_dim).to(parameter)
    with torch.no_grad():
        return generator.mapping(z, c).mean(dim=0)


def product(images: Tensor, masks: Tensor, seeds: Sequence[int]) -> tuple[Tensor, Tensor, list[int], pd.DataFrame]:
    """Returns the batch of every image under every mask with every seed.

    Args:
        images: (I, 3, H, W).
        masks: (J, 1, H, W).
        seeds: S whole numbers.

    Returns:
        images (I J S, 3, H, W), masks (I J S, 1, H, W), seeds, and a table with columns item, image, mask, seed.
    """
    i, j, s = torch.meshgrid(*(torch.arange(n) for n in (len(images), len(masks), len(seeds))), indexing="ij")
    i, j, s = i.flatten(), j.flatten(), s.flatten()
    chosen = [int(seeds[k]) for k in s]
    table = pd.DataFrame({"item": range(len(i)), "image": i.numpy(), "mask": j.numpy(), "seed": chosen})
    return images[i], masks[j], chosen, table


def invert(generator: Generator, image: Tensor, mask: Tensor, *, objective: Objective | None = None,
           search: Search | None = None, seeds: Sequence[int] | int = 0, c: Tensor | None = None,
           progress: Progress | None = None) -> Inversion:  # fmt: skip
    """Returns, for every item, the code whose image agrees best with the known pixels.

    .. math:: w^* = \\arg\\min_w \\sum_j \\lambda_j L_j(G(w), x, M)

    Source: the study's objectives; Adam (Kingma & Ba 2015) with an exponentially falling rate.

    Args:
        generator: frozen; its weights receive no gradient.
        image: the target, (N, 3, R, R), in [-1, 1], R the generator's resolution; the generator's dtype.
        mask: (N or 1, 1, R, R), 1 = hole.
        objective: None = masked MSE + masked LPIPS of ``percept-guide``, both of weight 1.
        search: None = the defaults of :class:`Search`.
        seeds: one for each item, or the first item's (the others follow by 1).
        c: (N, c_dim) one-hot where a class-conditional generator maps a z (space ``z``, or a random start);
            None else.
        progress: called after each step.

    Returns:
        The record; on KeyboardInterrupt the best so far, with ``stopped == "interrupted"``.

    Raises:
        InpaintError: for images or masks of a wrong shape or range, another number of seeds or classes than items, a
            generator whose weights require gradients, or an objective that is never finite.

    Example:
        >>> G = inpaintlib.load_generator("faces64")                          # doctest: +SKIP
        >>> record = invert(G, image, mask, search=Search(steps=100))         # doctest: +SKIP
        >>> record.composite                                                  # doctest: +SKIP
    """
    search = Search() if search is None else search
    for name, value, kind in (("generator", generator, Generator), ("search", search, Search)):
        check_type(name, value, kind)
    if objective is not None:
        check_type("objective", objective, Objective)
    objective = objective or objective_from({"mse_weight": 1.0, "lpips_weight": 1.0})
    check_image("image", image, size=generator.img_resolution)
    check_mask("mask", mask, like=image)
    if any(p.requires_grad for p in generator.parameters()):
        raise InpaintError("generator must be frozen; call generator.eval().requires_grad_(False) first")
    seeds, c = _seeds(seeds, len(image)), _classes(c, generator, search, len(image))
    parameter = next(generator.parameters())
    image = image.to(parameter)
    mask = mask.to(parameter).expand(len(image), -1, -1, -1)
    if any(layer >= generator.num_ws for layer in search.frozen_layers):
        raise InpaintError(
            f"frozen_layers must be below {generator.num_ws}, the generator's layers; got {search.frozen_layers}"
        )
    problem = _Problem(generator, objective.bind(image, mask), search, seeds, c)
    stopped = problem.run(progress)
    return problem.record(image, mask, stopped)


def _seeds(seeds: Sequence[int] | int, n: int) -> list[int]:
    if not isinstance(seeds, Sequence):
        check_integer("seeds", seeds, low=0)
        seeds = range(seeds, seeds + n)
    if len(seeds) != n:
        raise InpaintError(f"seeds must be one whole number or one for each of the {n} items; got {len(seeds)}")
    for seed in seeds:
        check_integer("each of seeds", seed, low=0, high=2**63 - 1)
    return list(seeds)


def _classes(c: Tensor | None, generator: Generator, search: Search, n: int) -> Tensor | None:
    mapped = generator.c_dim > 0 and (search.space == "z" or search.start == "random")
    expected, got = (n, generator.c_dim) if mapped else None, None if c is None else tuple(c.shape)
    if got != expected:
        rule = f"have shape {expected}, one-hot" if mapped else "be None where no class is mapped"
        raise InpaintError(f"c must {rule}; got {got}")
    return None if c is None else c.to(next(generator.parameters()))


class _Problem:
    """One batched search: the variable, its optimiser, and the best so far."""

    def __init__(self, generator: Generator, objective, search: Search, seeds: list[int], c: Tensor | None):
        self.generator, self.objective, self.search, self.seeds, self.c = generator, objective, search, seeds, c
        self.rngs = [torch.Generator().manual_seed(s) for s in seeds]
        parameter = next(generator.parameters())
        self.variable = self._start(self.rngs, parameter).requires_grad_()
        self.noise = search.noise
        if search.noise == "random":
            self.noise = generator.synthesis.random_noise(self.rngs)
        with torch.no_grad():
            self.plan = generator.synthesis.plan(self.noise)  # constant during the search
        self.optimiser = torch.optim.Adam([self.variable], lr=search.learning_rate)
        self.schedule = torch.optim.lr_scheduler.ExponentialLR(self.optimiser, search.gamma)
        self.rows: list[Tensor] = []
        self.names: list[str] = []
        self.steering = search.fit_steps == 0
        self.anchor: Tensor | None = None  # the codes that the first phase found
        self.anew = False  # a phase has begun that no evaluation has seen
        self._forget()

    def _forget(self) -> None:
        """Begins the record of the best code, at the variable."""
        n = len(self.seeds)
        self.best = self.variable.detach().clone()
        self.best_loss = torch.full((n,), math.inf).to(self.variable)
        self.marked = self.best_loss.clone()  # the objective that the last real improvement reached
        self.waited = torch.zeros(n, dtype=torch.int64, device=self.variable.device)

    @torch.no_grad()
    def _begin_steering(self) -> None:
        """Begins the second phase at the best code of the first."""
        self._check_found()
        self.steering = True
        self.variable.copy_(self.best)
        self.anchor = self.codes(self.variable).clone()
        self.optimiser.state.clear()  # its moments are those of another objective
        self.anew = True  # until the first evaluation an interruption finds the first phase's result

    def _start(self, rngs: list[torch.Generator], like: Tensor) -> Tensor:
        g, n = self.generator, len(rngs)
        if self.search.space == "z" or self.search.start == "random":
            z = torch.cat([torch.randn(1, g.z_dim, generator=rng) for rng in rngs]).to(like)
            if self.search.space == "z":
                return z
            with torch.no_grad():
                w = g.mapping(z, self.c)[:, None]
        else:
            w = mean_code(g).expand(n, 1, -1)
        return w.repeat(1, g.num_ws if self.search.space == "w+" else 1, 1)

    def codes(self, variable: Tensor) -> Tensor:
        """Returns ws (N, num_ws, w_dim) of the searched variable."""
        if self.search.space == "z":
            return self.generator.map(variable, self.c)
        return variable.expand(-1, self.generator.num_ws, -1)

    def evaluate(self, *, views: bool = True) -> tuple[Tensor, Tensor]:
        """Returns what to descend and the objective, both (N,), at the variable; keeps the best code and a row of
        history. They differ only where a term asks for views.
        """
        ws = self.codes(self.variable)
        image = self.generator.synthesis.render(ws, self.plan)
        descended, loss, parts = self.objective.descent(image, ws, self.rngs if views else None, steering=self.steering)
        if self.search.stay_weight > 0:
            parts["stay"] = self._distance(ws, loss)
            if self.steering:
                descended, loss = (x + self.search.stay_weight * parts["stay"] for x in (descended, loss))
        with torch.no_grad():
            if self.anew:
                self._forget()
                self.anew = False
            better = (loss < self.best_loss) & self._active()
            self.best_loss = torch.where(better, loss, self.best_loss)
            self.best = torch.where(better.view(-1, *[1] * (self.best.ndim - 1)), self.variable, self.best)
            if self.search.patience is not None:
                self._count(loss)
            self.names = list(parts)
            self.rows.append(torch.stack([loss.detach(), *(p.detach() for p in parts.values()), self.best_loss]))
        return descended, loss

    def _distance(self, ws: Tensor, like: Tensor) -> Tensor:
        """The mean squared distance to the first phase's codes, (N,); NaN before there are any."""
        if self.anchor is None:
            return torch.full_like(like, math.nan)
        return (ws - self.anchor).square().mean(dim=(1, 2))

    def _active(self) -> Tensor:
        return self.waited < (self.search.patience or 1)

    def _count(self, loss: Tensor) -> None:
        improved = loss < self.marked - self.search.tolerance * self.marked.abs()
        improved |= self.marked.isinf() & loss.isfinite()
        self.marked = torch.where(improved, loss, self.marked)
        # An item that ran out of patience stays out.
        self.waited = torch.where(improved & self._active(), 0, self.waited + 1)

    def step(self) -> Tensor:
        """One update of every item."""
        descended, loss = self.evaluate()
        if not descended.requires_grad:
            phase = "" if self.steering else " while the known pixels are fitted"
            raise InpaintError(f"the objective must depend on the image or its codes; it has no gradient{phase}")
        (gradient,) = torch.autograd.grad(descended.sum(), self.variable)
        if self.steering and self.search.frozen_layers:
            gradient[:, list(self.search.frozen_layers)] = 0.0
        if self.search.clip is not None:
            norm = gradient.flatten(1).norm(dim=1)
            factor = (self.search.clip / norm.clamp_min(1e-12)).clamp_max(1.0)
            gradient = gradient * factor.view(-1, *[1] * (gradient.ndim - 1))
        self.variable.grad = gradient
        self.optimiser.step()
        self.schedule.step()
        return loss

    def run(self, progress: Progress | None) -> str:
        """Steps until done; returns how it ended."""
        steps = self.search.steps
        try:
            for step in range(steps):
                if step and step == self.search.fit_steps:
                    self._begin_steering()
                loss = self.step()
                if progress is not None:
                    progress(step + 1, steps, loss.detach())
                # Reading the device back is the price of patience; without it the loop never waits.
                # The first phase always runs to its end, or the second would begin earlier alone than in a batch.
                if self.search.patience is not None and self.steering and not bool(self._active().any()):
                    return "flat"
            with torch.no_grad():
                _, last = self.evaluate(views=False)
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
        self._check_found()
        with torch.no_grad():
            w = self.codes(self.best).contiguous()
        x_hat = _render(self.generator, w, self.noise)
        z = self.best if self.search.space == "z" else None
        return Inversion(w, z, self.noise, x_hat, composite(image, x_hat, mask), self._history(), self.best_loss,
                         self.seeds, self.search, stopped, self.generator)  # fmt: skip

    def _history(self) -> pd.DataFrame:
        values = torch.stack(self.rows).double().cpu()  # (steps, columns, N)
        steps, _, n = values.shape
        columns = ["objective", *self.names, "best"]
        table = pd.DataFrame(values.permute(2, 0, 1).reshape(n * steps, -1).numpy(), columns=columns)
        table.insert(0, "step", list(range(steps)) * n)
        table.insert(0, "item", [i for i in range(n) for _ in range(steps)])
        return table
