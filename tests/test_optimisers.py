"""Optimisers of independent problems: L-BFGS takes the textbook's directions and keeps items apart."""

import math
from collections.abc import Callable

import pytest
import torch
from scipy.optimize import LbfgsInvHessProduct
from torch import Tensor

from inpaintlib.optimisers import HISTORY, Adam, Lbfgs, two_loop
from inpaintlib.search import Search

F64 = torch.float64
Function = Callable[[Tensor], Tensor]  # (N, D) -> (N,)


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def quadratic(n: int, d: int, *, condition: float = 100.0, seed: int = 0) -> tuple[Function, Tensor]:
    """Returns n convex quadratics of d numbers, each of its own minimum, and the minima."""
    q = torch.linalg.qr(draws(n, d, d, seed=seed))[0]
    matrix = q @ torch.diag_embed(torch.logspace(0, math.log10(condition), d, dtype=F64).expand(n, d)) @ q.mT
    minima = draws(n, d, seed=seed + 1)
    return lambda x: 0.5 * ((x - minima)[:, None] @ matrix @ (x - minima)[..., None]).flatten(), minima


def rosenbrock(x: Tensor) -> Tensor:
    return (100.0 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1.0 - x[:, :-1]) ** 2).sum(dim=1)


def trials(f: Function, start: Tensor, evaluations: int, *, first_step: float = 0.1, adam: bool = False):
    """Returns the points that were evaluated (T, N, D) and their values (T, N)."""
    variable = start.clone().requires_grad_()
    settings = Search(steps=evaluations, learning_rate=first_step)
    optimiser = Adam([variable], settings) if adam else Lbfgs(variable, first_step)
    points, values = [], []
    for _ in range(evaluations):
        value = f(variable)
        points.append(variable.detach().clone())
        values.append(value.detach())
        optimiser.step(value.detach(), torch.autograd.grad(value.sum(), variable))
    return torch.stack(points), torch.stack(values)


def pairs(n: int, m: int, d: int) -> tuple[Tensor, Tensor]:
    """Returns steps and changes of the gradient (n, m, d) of positive curvature."""
    s, stretch = draws(n, m, d), torch.rand(n, 1, d, generator=torch.Generator().manual_seed(1), dtype=F64) + 0.1
    return s, s * stretch


def test_the_two_loops_are_scipys_product_with_the_inverse_hessian():
    s, y = pairs(3, 5, 7)
    gradient, ones = draws(3, 7, seed=2), torch.ones(3, dtype=F64)
    ours = two_loop(gradient, s, y, 1.0 / (s * y).sum(dim=2), ones)
    for i in range(3):
        theirs = LbfgsInvHessProduct(s[i].numpy(), y[i].numpy()) @ gradient[i].numpy()
        torch.testing.assert_close(ours[i], torch.from_numpy(theirs), rtol=1e-10, atol=1e-12)


def test_places_without_a_pair_are_as_if_there_were_none():
    s, y = pairs(2, 3, 5)
    rho, gradient, scale = 1.0 / (s * y).sum(dim=2), draws(2, 5, seed=2), torch.tensor([0.5, 2.0], dtype=F64)
    none = torch.zeros(2, 4, 5, dtype=F64)
    padded = two_loop(gradient, torch.cat([none, s], 1), torch.cat([none, y], 1),
                      torch.cat([none[:, :, 0], rho], 1), scale)  # fmt: skip
    assert torch.equal(padded, two_loop(gradient, s, y, rho, scale))
    assert torch.equal(two_loop(gradient, none, none, none[:, :, 0], scale), scale[:, None] * gradient)


def test_path_is_that_of_torch_on_a_single_problem():
    f, _ = quadratic(1, 6, condition=5.0)
    x = draws(1, 6, seed=5).requires_grad_()
    gradient = torch.autograd.grad(f(x).sum(), x)[0]
    # torch's first step is the gradient times the smaller of 1 and 1 / its sum of magnitudes.
    first = float(gradient.norm() * min(1.0, 1.0 / gradient.abs().sum()))
    optimiser = torch.optim.LBFGS([x], lr=1.0, max_iter=12, max_eval=12, history_size=HISTORY,
                                  tolerance_grad=0, tolerance_change=0)  # fmt: skip
    theirs = []

    def closure() -> Tensor:
        theirs.append(x.detach().clone())
        optimiser.zero_grad()
        value = f(x).sum()
        value.backward()
        return value

    optimiser.step(closure)
    ours, values = trials(f, theirs[0], 12, first_step=first)
    assert (values.diff(dim=0) < 0).all(), "no trial is refused here, else the two would part"
    torch.testing.assert_close(ours, torch.stack(theirs)[:12], rtol=1e-8, atol=1e-10)


def test_it_finds_the_minimum_of_every_quadratic_where_adam_does_not():
    f, minima = quadratic(4, 20)
    start = 3.0 * draws(4, 20, seed=3)
    (ours, _), (adams, _) = trials(f, start, 80), trials(f, start, 80, adam=True)
    errors = [(points[-1] - minima).norm(dim=1) for points in (ours, adams)]
    assert (errors[0] < 1e-5).all() and (errors[1] > 1e-2).all()


def test_batch_equals_singles():
    start = 2.0 * draws(5, 4, seed=4)
    together, values = trials(rosenbrock, start, 60)
    # Some trials are refused, not at the same time: items are out of step with each other.
    refused = values[1:] > values.cummin(dim=0).values[:-1]
    assert refused.any(dim=0).sum() > 1 and not refused.all(dim=1).any()
    for i in range(5):
        alone, _ = trials(rosenbrock, start[i : i + 1], 60)
        torch.testing.assert_close(together[:, i], alone[:, 0], rtol=1e-9, atol=1e-9)


def test_it_descends_the_valley_of_rosenbrock():
    _, values = trials(rosenbrock, torch.tensor([[-1.2, 1.0]], dtype=F64), 80)
    assert values[-1] < 1e-12


def test_refused_trial_halves_its_own_step_and_no_other():
    f, _ = quadratic(2, 3, condition=1.0)
    steep = torch.tensor([1.0, 1e4], dtype=F64)
    start = draws(2, 3, seed=6)
    points, values = trials(lambda x: steep * f(x), start, 16, first_step=1.0)
    lengths = (points - start).norm(dim=2)
    assert values[1, 0] < values[0, 0], "the first item moves on at once"
    # Armijo lets a step pass if it is shorter than about twice the way to the minimum; a step of 16 is not.
    points, values = trials(lambda x: steep * f(x), start, 16, first_step=16.0)
    lengths = (points - start).norm(dim=2)
    assert lengths[1].tolist() == pytest.approx([16.0, 16.0]) and (values[1] > values[0]).all()
    for i in range(2):
        until = int((values[:, i] < values[0, i]).nonzero()[0])
        assert lengths[1 : until + 1, i].tolist() == pytest.approx([16.0 / 2**k for k in range(until)])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_value_that_is_no_number_refuses_its_items_trial_only(bad):
    f, minima = quadratic(2, 3)
    start = draws(2, 3, seed=7)

    def broken(x: Tensor) -> Tensor:
        """The first item is no number further than 0.3 from its start."""
        far = (x - start).norm(dim=1) > 0.3
        return f(x) + torch.where(far & torch.tensor([True, False]), bad, 0.0)

    points, values = trials(broken, start, 40, first_step=1.0)
    alone, _ = trials(f, start, 40, first_step=1.0)
    assert not values[:, 0].isfinite().all() and points.isfinite().all()
    assert values[-10:, 0].isfinite().any() and values[:, 0].nan_to_num(1e9, posinf=1e9).min() < values[0, 0]
    torch.testing.assert_close(points[:, 1], alone[:, 1], rtol=1e-9, atol=1e-9)


def test_item_that_is_never_a_number_stays_where_it_is():
    f, _ = quadratic(2, 3)
    start = draws(2, 3, seed=7)
    points, values = trials(lambda x: f(x) + torch.tensor([math.nan, 0.0]), start, 10)
    assert torch.equal(points[:, 0], start[0].expand(10, -1)) and values[-1, 1] < values[0, 1]


def test_it_begins_where_the_variable_stands_when_it_is_first_asked():
    f, _ = quadratic(1, 4)
    variable = torch.zeros(1, 4, dtype=F64).requires_grad_()
    optimiser, start = Lbfgs(variable, 0.1), draws(1, 4, seed=10)
    with torch.no_grad():
        variable.copy_(start)
    expected, _ = trials(f, start, 6)
    for point in expected:
        assert torch.equal(variable.detach(), point)
        value = f(variable)
        optimiser.step(value.detach(), torch.autograd.grad(value.sum(), variable))


def test_pairs_of_negative_curvature_are_not_kept():
    variable = draws(1, 3, seed=8).requires_grad_()
    optimiser = Lbfgs(variable, 0.1)
    for _ in range(4):
        value = -variable.square().sum(dim=1)
        optimiser.step(value.detach(), torch.autograd.grad(value.sum(), variable))
    assert (optimiser.rho == 0).all() and variable.isfinite().all()
    assert value < -draws(1, 3, seed=8).square().sum(), "it descends all the same"


def test_oldest_pairs_are_forgotten():
    f, _ = quadratic(1, 30)
    variable = draws(1, 30, seed=9).requires_grad_()
    optimiser = Lbfgs(variable, 0.1)
    kept = []
    for _ in range(HISTORY + 5):
        value = f(variable)
        optimiser.step(value.detach(), torch.autograd.grad(value.sum(), variable))
        kept.append(int((optimiser.rho != 0).sum()))
    assert kept[0] == 0 and max(kept) == HISTORY == kept[-1]


def test_adam_cuts_the_gradient_of_the_first_variable_only():
    code, noise = torch.zeros(2, 4), torch.zeros(2, 9)
    optimiser = Adam([code, noise], Search(clip=1.0))
    optimiser.step(torch.zeros(2), [torch.tensor([[3.0], [0.1]]).expand(2, 4), torch.full((2, 9), 5.0)])
    assert code.grad.norm(dim=1).tolist() == pytest.approx([1.0, 0.2]) and (noise.grad == 5.0).all()
