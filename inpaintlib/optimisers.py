"""Optimisers of a batch of independent problems.

Adam works element by element. L-BFGS (Liu & Nocedal 1989) does not, so here every item has a history, a direction and
a step length of its own: one evaluation of the batch is one trial of every item. An item whose trial lowers its
objective enough (Armijo) moves there and proposes its next direction; another one halves its step. No decision reads
the device back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .search import Search

__all__ = ["Adam", "Lbfgs", "two_loop"]

HISTORY = 10  # pairs of an item
ARMIJO = 1e-4  # least fall, as a fraction of what the slope promises (Nocedal & Wright 2006, 3.1)
CURVATURE = 1e-8  # least cosine of step and change of gradient of a pair that is kept
TINY = 1e-30


class Adam:
    """Adam (Kingma & Ba 2015) with a search's rates; the first variable's gradient is cut to the limit ``clip``."""

    def __init__(self, variables: Sequence[Tensor], search: Search):
        self.variables, self.search, self.done = list(variables), search, 0
        self.adam = torch.optim.Adam(self.variables, lr=search.learning_rate)

    def restart(self) -> None:
        """Forgets the moments; the rate goes on falling."""
        self.adam.state.clear()

    def step(self, value: Tensor, gradients: Sequence[Tensor]) -> None:
        """Moves the variables, given the objective (N,) and its gradients there."""
        for variable, gradient in zip(self.variables, gradients, strict=True):
            variable.grad = gradient
        if self.search.clip is not None:
            code = self.variables[0]
            factor = (self.search.clip / code.grad.flatten(1).norm(dim=1).clamp_min(1e-12)).clamp_max(1.0)
            code.grad = code.grad * factor.view(-1, *[1] * (code.ndim - 1))
        self.adam.param_groups[0]["lr"] = self.search.rate(self.done)
        self.adam.step()
        self.done += 1


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=1)


def two_loop(gradient: Tensor, s: Tensor, y: Tensor, rho: Tensor, scale: Tensor) -> Tensor:
    """Returns each item's H g, (N, D): its inverse Hessian as L-BFGS knows it, times the gradient.

    Source: Nocedal & Wright 2006, algorithm 7.4.

    Args:
        gradient: (N, D).
        s, y: (N, m, D), steps and changes of the gradient, the oldest first.
        rho: (N, m), 1 / (s . y); 0 where there is no pair.
        scale: (N,), the Hessian's inverse before the first pair is that times the identity.
    """
    q, weights = gradient, []
    for k in reversed(range(rho.shape[1])):
        weights.append(rho[:, k] * _dot(s[:, k], q))
        q = q - weights[-1][:, None] * y[:, k]
    q = scale[:, None] * q
    for k, weight in enumerate(reversed(weights)):
        q = q + (weight - rho[:, k] * _dot(y[:, k], q))[:, None] * s[:, k]
    return q


class Lbfgs:
    """L-BFGS of every item of a variable (N, ...), in lock-step.

    The first evaluation only looks. Then each call judges the trial point at which the variable stood and moves the
    variable to the next one. A value or gradient that is not finite refuses its item's trial and touches no other.

    Args:
        variable: changed in place.
        first_step: Euclidean length of an item's step while it has no history.
    """

    def __init__(self, variable: Tensor, first_step: float):
        self.variable, self.first_step = variable, first_step
        self.x = variable.detach().flatten(1).clone()  # the points that items have moved to, (N, D)
        n, d = self.x.shape
        self.value = self.x.new_full((n,), math.inf)
        self.gradient = torch.zeros_like(self.x)
        self.promise = self.x.new_zeros(n)  # what the slope promises of the trial
        self.length = self.x.new_zeros(n)
        self.s = self.y = self.x.new_zeros(n, HISTORY, d)
        self.rho = self.x.new_zeros(n, HISTORY)

    @torch.no_grad()
    def step(self, value: Tensor, gradients: Sequence[Tensor]) -> None:
        """Moves the variable to the next trial, given the objective (N,) and its gradient at this one."""
        trial, gradient = self.variable.flatten(1), gradients[0].flatten(1)
        fits = value.isfinite() & gradient.isfinite().all(dim=1) & (value <= self.value + ARMIJO * self.promise)
        there = fits[:, None]
        known = fits & self.value.isfinite()  # else it is the item's first point: there is no step to it
        self._remember(known, trial - self.x, gradient - self.gradient)
        self.x = torch.where(there, trial, self.x)
        self.gradient = torch.where(there, gradient, self.gradient)
        self.value = torch.where(fits, value, self.value)
        self._propose(fits)

    def _remember(self, known: Tensor, s: Tensor, y: Tensor) -> None:
        curvature = _dot(s, y)
        keep = known & (curvature > CURVATURE * s.norm(dim=1) * y.norm(dim=1))
        s, y = (torch.where(keep[:, None], pair, 0.0) for pair in (s, y))
        rho = 1.0 / torch.where(keep, curvature, 1.0)
        latest = lambda old, new: torch.cat([old[:, 1:], new[:, None]], dim=1)  # noqa: E731
        self.s = torch.where(keep[:, None, None], latest(self.s, s), self.s)
        self.y = torch.where(keep[:, None, None], latest(self.y, y), self.y)
        self.rho = torch.where(keep[:, None], latest(self.rho, rho), self.rho)

    def _propose(self, fits: Tensor) -> None:
        fresh = self.rho[:, -1] == 0  # no pair yet
        y = self.y[:, -1]
        scale = torch.where(fresh, 1.0, 1.0 / (self.rho[:, -1] * _dot(y, y)).clamp_min(TINY))
        direction = -two_loop(self.gradient, self.s, self.y, self.rho, scale)
        first = torch.where(fresh, self.first_step / self.gradient.norm(dim=1).clamp_min(TINY), 1.0)
        self.length = torch.where(fits, first, 0.5 * self.length)
        self.promise = self.length * _dot(self.gradient, direction)
        self.variable.copy_((self.x + self.length[:, None] * direction).view_as(self.variable))
