"""The search's other starts, noises and optimisers: items stay apart, records replay, budgets are kept."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from inpaintlib.checks import InpaintError
from inpaintlib.invert import Inversion, invert, mean_code, replay
from inpaintlib.noise import noise_penalty, standardise
from inpaintlib.search import Search

from .test_invert import (
    assert_batch_equals_singles,
    assert_same,
    conditional_search,
    objective,
    search_for,
    steered,
    targets,
)
from .tiny import square_hole, tiny_generator

VARIANTS = {
    "lbfgs": {"optimiser": "lbfgs", "learning_rate": 1.0},
    "lbfgs in z": {"optimiser": "lbfgs", "space": "z"},
    "best": {"start": "best", "candidates": 4},
    "best in w, lbfgs": {"start": "best", "candidates": 3, "space": "w", "optimiser": "lbfgs"},
    "best in z, patience": {"start": "best", "candidates": 3, "space": "z", "patience": 2, "tolerance": 0.05},
    "optimised noise": {"noise": "optimised", "noise_weight": 10.0},
    "optimised noise in z": {"noise": "optimised", "space": "z", "clip": None},
    "ramp": {"schedule": "ramp", "noise": "random"},
    "constant": {"schedule": "constant", "start": "random"},
}
every_variant = pytest.mark.parametrize("search", VARIANTS.values(), ids=VARIANTS)


@every_variant
def test_batch_equals_singles(search):
    assert_batch_equals_singles(steps=10, **search)


@every_variant
def test_two_runs_are_bit_identical_and_replay(search):
    one, other = search_for(**search), search_for(**search)
    assert_same(one, other)
    assert torch.equal(replay(one), one.image)


@every_variant
def test_record_is_the_best_of_as_many_steps_as_asked_for(search):
    record = search_for(**{"steps": 8, **search, "patience": None})
    assert record.history.step.max() == 8 and (record.history.groupby("item").size() == 9).all()
    assert record.loss.tolist() == record.history.groupby("item").objective.min().tolist()
    assert record.history.best.equals(record.history.groupby("item").objective.cummin())
    x, mask = targets(tiny_generator(), 2), square_hole(1, 16)
    value = objective().bind(x, mask)(record.image, record.w)[0]
    if record.search.noise == "optimised":
        value = value + record.search.noise_weight * noise_penalty(record.noise)
    torch.testing.assert_close(value, record.loss, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("search", [VARIANTS["lbfgs"], VARIANTS["best"], VARIANTS["optimised noise"]])
def test_every_step_is_one_pass_of_the_generator(search):
    g = tiny_generator()
    x, passes = targets(g, 2), []
    render = g.synthesis.render
    g.synthesis.render = lambda *args: passes.append(torch.is_grad_enabled()) or render(*args)
    record = invert(g, x, square_hole(1, 16), objective=objective(), search=Search(steps=9, **search))
    # The closing evaluation, and the picture of each of the two items, come on top.
    assert len(passes) == record.search.passes + 1 + 2
    assert sum(passes) == record.search.updates


# L-BFGS -----------------------------------------------------------------------------------------------


def test_lbfgs_finds_the_known_pixels():
    record = search_for(space="w", optimiser="lbfgs", learning_rate=1.0, steps=40)
    first = record.history[record.history.step == 0].objective.to_numpy()
    assert (record.loss.numpy() < 0.02 * first).all()


def test_lbfgs_begins_with_a_step_of_the_asked_length():
    points = []
    search_for(space="w", optimiser="lbfgs", learning_rate=0.01, steps=2, what=watched(points))
    start, second = points[:2]
    assert (second - start).norm(dim=1).tolist() == pytest.approx([0.01, 0.01], rel=1e-3)


def watched(points: list[Tensor]):
    """The usual objective, which also lists the codes of the first layer (N, w_dim) that it sees."""
    what = objective()
    term = what.terms["mse"].term

    def watching(target: Tensor, mask: Tensor):
        bound = term(target, mask)

        def value(x_hat: Tensor, ws: Tensor) -> Tensor:
            points.append(ws[:, 0].detach().clone())
            return bound(x_hat, ws)

        return value

    what.terms["mse"] = what.terms["mse"]._replace(term=watching)
    return what


def test_lbfgs_with_random_views_is_refused():
    with pytest.raises(InpaintError, match="'lbfgs' needs an objective without random views; set views to 0"):
        search_for(what=steered(views=2), optimiser="lbfgs")
    assert search_for(what=steered(), optimiser="lbfgs").loss.isfinite().all()


def test_lbfgs_may_be_interrupted():
    def stop(step: int, steps: int, loss: Tensor) -> None:
        if step == 4:
            raise KeyboardInterrupt

    record, whole = search_for(optimiser="lbfgs", progress=stop), search_for(optimiser="lbfgs")
    assert record.stopped == "interrupted" and record.history.step.max() == 3
    assert record.loss.tolist() == whole.history[whole.history.step < 4].groupby("item").objective.min().tolist()


# Starts -----------------------------------------------------------------------------------------------


def best_start(space: str = "w+", *, candidates: int = 5, **search) -> tuple[Inversion, list[Tensor]]:
    """Returns a record of a start among candidates, and the codes of layer 0 that were evaluated, in order."""
    points: list[Tensor] = []
    settings = {"start": "best", "candidates": candidates, "space": space, "seeds": [3, 8], "steps": candidates + 3}
    return search_for(what=watched(points), **settings | search), points


@pytest.mark.parametrize("space", ["w", "w+", "z"])
def test_search_begins_at_the_best_of_its_own_random_codes(space):
    record, points = best_start(space)
    g = tiny_generator()
    for item, seed in enumerate([3, 8]):
        rng = torch.Generator().manual_seed(seed)
        drawn = g.mapping(torch.cat([torch.randn(1, 16, generator=rng) for _ in range(5)]), None)
        torch.testing.assert_close(torch.stack([p[item] for p in points[:5]]), drawn)
        tried = record.history[(record.history.item == item) & (record.history.step < 5)].objective.to_numpy()
        torch.testing.assert_close(points[5][item], points[int(np.argmin(tried))][item])
        assert record.loss[item] < tried.min()


def test_first_candidate_is_the_random_start():
    _, points = best_start("w")
    random_points: list[Tensor] = []
    search_for(what=watched(random_points), start="random", space="w", seeds=[3, 8])
    assert torch.equal(points[0], random_points[0])


def test_candidates_do_not_use_up_patience():
    record, _ = best_start(candidates=6, patience=1, steps=30, tolerance=1e-9)
    assert record.history.step.max() > 7


def test_second_phase_may_follow_on_candidates():
    record = search_for(what=steered(), start="best", candidates=3, fit_steps=6, steps=9)
    assert record.history["clip"].isna().tolist() == ([True] * 6 + [False] * 4) * 2


@pytest.mark.parametrize("space", ["w", "z"])
def test_candidates_of_a_conditional_generator_are_of_given_or_of_drawn_classes(space):
    settings = {"start": "best", "candidates": 2, "space": space, "steps": 3}
    for classes in (torch.eye(3)[:2], None):
        assert conditional_search(classes, **settings).loss.isfinite().all()


def test_candidates_that_are_all_no_number_are_named():
    what = objective()
    broken = lambda target, mask: lambda x_hat, ws: x_hat.mean(dim=(1, 2, 3)) * math.nan  # noqa: E731
    what.terms["mse"] = what.terms["mse"]._replace(term=broken)
    with pytest.raises(InpaintError, match="the objective of item 0 was never finite"):
        search_for(what=what, start="best", candidates=2)


# Noise ------------------------------------------------------------------------------------------------


def test_optimised_noise_begins_at_the_items_own_draws_and_stays_noise():
    record = search_for(noise="optimised", seeds=[4, 9], steps=12)
    drawn = search_for(noise="random", seeds=[4, 9], steps=1).noise
    assert len(record.noise) == len(drawn)
    for ours, theirs in zip(record.noise, drawn, strict=True):
        assert ours.shape == theirs.shape and not ours.requires_grad and not torch.allclose(ours, theirs, atol=1e-3)
        torch.testing.assert_close(ours.mean(dim=(1, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
        torch.testing.assert_close(ours.square().mean(dim=(1, 2, 3)), torch.ones(2))
    barely = search_for(noise="optimised", seeds=[4, 9], steps=1, learning_rate=1e-12)
    for maps in (barely.noise, drawn):
        standardise(maps)
    torch.testing.assert_close(barely.noise, drawn, atol=1e-5, rtol=1e-5)


def test_optimised_noise_fits_better_than_the_drawn_one():
    drawn, optimised = (search_for(noise=n, noise_weight=0.0, steps=15) for n in ("random", "optimised"))
    assert (optimised.loss < 0.8 * drawn.loss).all()


def test_penalty_keeps_the_noise_from_taking_in_the_picture():
    free, kept = (search_for(noise="optimised", noise_weight=weight, steps=15) for weight in (0.0, 100.0))
    assert (noise_penalty(kept.noise) < 0.5 * noise_penalty(free.noise)).all()
    history = kept.history
    expected = history.mse + 0.5 * history.lpips + 100.0 * history.noise
    assert history.objective.to_numpy() == pytest.approx(expected.to_numpy(), rel=1e-5)


def test_optimised_noise_goes_through_two_phases():
    record = search_for(what=steered(), noise="optimised", fit_steps=3, stay_weight=0.1, steps=6)
    assert list(record.history.columns)[-3:] == ["stay", "noise", "best"]
    assert torch.equal(replay(record), record.image) and record.history.noise.notna().all()


def test_starts_do_not_depend_on_whether_the_noise_is_searched_for():
    one, other = (search_for(noise=n, start="random", space="w", steps=1, learning_rate=1e-12) for n in
                  ("random", "optimised"))  # fmt: skip
    torch.testing.assert_close(one.w, other.w)
    assert not torch.allclose(one.w[0, 0], mean_code(tiny_generator()))
