"""A search that is watched: it shows what it sees, finds the same, and can be ended with the best so far."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from inpaintlib import framing, own
from inpaintlib.grid import Method, invert_all
from inpaintlib.invert import Search, invert, replay
from inpaintlib.losses import Objective, Weighted, mse_term, objective_from
from inpaintlib.store import Store

from .tiny import pictures, square_hole, tiny_generator

R = 16
OBJECTIVE = Objective({"mse": Weighted(1.0, mse_term())})
SEARCHES = {
    "w+": Search(steps=5),
    "z": Search(steps=5, space="z", noise="random"),
    "best of": Search(steps=6, start="best", candidates=2),
    "lbfgs": Search(steps=5, optimiser="lbfgs"),
    "two phases": Search(steps=6, fit_steps=3, stay_weight=1.0),
    "noise": Search(steps=5, noise="optimised"),
}
KINDS = pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)


@pytest.fixture(scope="module")
def generator():
    return tiny_generator(R)


def run(generator, search, watch=None, n=2):
    return invert(generator, pictures(n, R), square_hole(1, R), objective=OBJECTIVE, search=search, watch=watch)


class Eyes:
    """Collects what is seen; asks for the end after the step ``last``."""

    def __init__(self, last: int | None = None):
        self.last, self.seen = last, []

    def __call__(self, sight) -> bool:
        self.seen.append(sight)
        return sight.step == self.last


@KINDS
def test_a_watched_search_finds_what_an_unwatched_one_does_to_the_bit(generator, search):
    eyes = Eyes()
    plain, watched = run(generator, search), run(generator, search, eyes)
    for name in ("w", "image", "composite", "loss"):
        assert torch.equal(getattr(plain, name), getattr(watched, name))
    assert plain.history.equals(watched.history) and watched.stopped == plain.stopped == "finished"
    assert [s.step for s in eyes.seen] == list(range(1, search.steps + 1))
    assert {s.steps for s in eyes.seen} == {search.steps} and eyes.seen[0].seeds == [0, 1]


@KINDS
def test_what_is_seen_is_what_the_history_records(generator, search):
    eyes = Eyes()
    history = run(generator, search, eyes).history
    for sight in eyes.seen:
        rows = history[history["step"] == sight.step - 1].sort_values("item")
        assert list(sight.losses) == list(history.columns[2:])
        for name, values in sight.losses.items():
            assert values.double().tolist() == pytest.approx(rows[name].tolist(), nan_ok=True)


def test_the_picture_is_the_one_that_was_scored(generator):
    eyes = Eyes()
    run(generator, Search(steps=4), eyes)
    keep = 1 - square_hole(1, R)
    for sight in eyes.seen:
        errors = ((sight.image - pictures(2, R)) * keep).square().sum(dim=(1, 2, 3)) / (3 * keep.sum())
        assert torch.allclose(errors, sight.losses["mse"], rtol=1e-5) and not sight.image.requires_grad


@KINDS
@pytest.mark.parametrize("last", [1, 2, 4])
def test_a_stopped_search_returns_the_best_so_far(generator, search, last):
    eyes = Eyes(last)
    record = run(generator, search, eyes)
    assert record.stopped == "stopped" and len(eyes.seen) == last
    assert (record.history.groupby("item").size() == last).all()
    best = torch.stack([s.losses["best"] for s in eyes.seen])[-1]
    assert torch.equal(record.loss, best) and torch.equal(replay(record), record.image)


def grid(generator, watch, store=None, n=5):
    method = Method(objective_from({"mse_weight": 1.0}), Search(steps=4))
    return invert_all(generator, pictures(n, R), square_hole(1, R), method, seeds=range(n), batch_size=2, store=store,
                      watch=watch)  # fmt: skip


def test_a_grid_shows_its_jobs_without_what_fills_up_the_last_chunk(generator):
    eyes = Eyes()
    record = grid(generator, eyes)
    assert [s.seeds for s in eyes.seen[::4]] == [[0, 1], [2, 3], [4]]
    assert eyes.seen[-1].image.shape == (1, 3, R, R) and eyes.seen[-1].losses["mse"].shape == (1,)
    assert torch.equal(record.image, grid(generator, None).image)


def test_a_stopped_grid_leaves_out_what_had_not_begun(generator, tmp_path):
    whole, seen = grid(generator, None), []

    def watch(sight):
        seen.append(sight)
        return len(seen) == 6  # the second step of the second chunk

    store = Store(tmp_path, context={}, budget=None, tell=None)
    record = grid(generator, watch, store)
    assert record.stopped == "stopped" and record.seeds == [0, 1, 2, 3] and len(record.image) == 4
    assert torch.equal(record.image[:2], whole.image[:2])
    assert record.history.groupby("item").size().tolist() == [5, 5, 2, 2]
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1, "what was stopped is not stored"
    assert torch.equal(grid(generator, None, store).image, whole.image)


def test_ones_own_photo_passes_it_on(generator):
    problem = framing.prepare(pictures(1, 24), square_hole(1, 24), size=R)
    settings = SimpleNamespace(samples=2, seed=3, objective=lambda: OBJECTIVE, search=lambda: Search(steps=9))
    eyes = Eyes(2)
    record = own.search(generator, problem, settings, watch=eyes)
    assert record.stopped == "stopped" and eyes.seen[0].seeds == [3, 4] and sorted(record.seeds) == [3, 4]
