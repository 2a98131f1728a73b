"""The grid of jobs on tiny networks: chunks, what is stored, what is loaded, what runs again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from inpaintlib import grid, losses
from inpaintlib.checks import InpaintError
from inpaintlib.experiments import generated_faces
from inpaintlib.grid import Method, Task, compare, invert_all, run_all
from inpaintlib.invert import Search, invert, replay
from inpaintlib.losses import Objective, Weighted, mse_term, objective_from
from inpaintlib.store import Store

from .tiny import frozen, square_hole, tiny_generator

MSE = objective_from({"mse_weight": 1.0})
SIZE = 8


@pytest.fixture(scope="module")
def generator():
    return frozen(tiny_generator(SIZE).double())


@pytest.fixture(scope="module")
def problem(generator):
    """Five targets, each with a hole of its own, and a method whose noise and start are drawn."""
    target = generated_faces(generator, 5, seed=3)
    mask = torch.cat([square_hole(1, SIZE, side=side, dtype=torch.float64) for side in (2, 3, 4, 5, 6)])
    return target, mask, Method(MSE, Search(space="w", start="random", noise="random", steps=4))


# Searching in batches ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(generator, problem):
    """The same five items searched two at a time and all at once."""
    target, mask, method = problem
    return [invert_all(generator, target, mask, method, seeds=range(40, 45), batch_size=n) for n in (2, 5)]


def test_batches_find_what_one_batch_finds(both):
    parts, whole = both
    for name in ("w", "image", "composite", "loss"):
        assert torch.allclose(getattr(parts, name), getattr(whole, name), rtol=1e-9, atol=1e-11), name
    assert parts.seeds == whole.seeds == [40, 41, 42, 43, 44]
    for ours, theirs in zip(parts.noise, whole.noise, strict=True):
        assert torch.equal(ours, theirs)
    pd.testing.assert_frame_equal(parts.history, whole.history, rtol=1e-9, atol=1e-11)


def test_an_item_of_a_batch_is_that_item_searched_alone(generator, problem, both):
    target, mask, method = problem
    alone = invert(generator, target[3:4], mask[3:4], objective=MSE, search=method.search, seeds=[43])
    assert torch.allclose(both[0].w[3:4], alone.w, rtol=1e-9, atol=1e-11)
    history = both[0].history
    assert np.allclose(history[history["item"] == 3]["objective"], alone.history["objective"], rtol=1e-9)


def test_a_joined_record_replays_up_to_the_rounding_of_another_batch_size(both):
    assert torch.allclose(replay(both[0]), both[0].image, rtol=1e-12, atol=1e-12)
    assert torch.equal(replay(both[1]), both[1].image)


def test_a_mask_for_all_and_the_z_of_every_item_are_kept(generator, problem):
    target, mask, _ = problem
    method = Method(MSE, Search(space="z", steps=2))
    record = invert_all(generator, target[:3], mask[:1], method, seeds=[1, 2, 3], batch_size=2)
    assert torch.allclose(generator.map(record.z), record.w)
    assert torch.equal(torch.where(mask[:1] == 1, record.image, target[:3]), record.composite)


@pytest.mark.parametrize(("patience", "stopped"), [(1, "flat"), (9, "finished"), (None, "finished")])
def test_joined_items_are_flat_if_every_batch_is(generator, problem, patience, stopped):
    target, mask, method = problem
    method = method._replace(search=replace(method.search, steps=9, patience=patience, tolerance=0.5))
    record = invert_all(generator, target[:2], mask[:2], method, seeds=[0, 1], batch_size=1)
    assert record.stopped == stopped
    assert record.history["item"].unique().tolist() == [0, 1]
    assert (len(record.history) < 2 * 10) == (stopped == "flat")


def test_one_flat_batch_is_not_a_flat_search(both):
    parts = [replace(both[1], stopped=stopped) for stopped in ("flat", "finished")]
    assert grid._joined(parts).stopped == "finished"


def test_an_interrupt_ends_the_experiment(generator, problem):
    target, mask, method = problem

    def interrupt(done, total, losses, text):
        if done > 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        invert_all(generator, target, mask, method, seeds=range(5), batch_size=2, progress=interrupt)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seeds": range(4)}, "seeds must be 5, one for each item; got 4"),
        ({"seeds": range(6)}, "seeds must be 5, one for each item; got 6"),
        ({"mask": square_hole(2, SIZE)}, "mask must fit the image's"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_what_does_not_fit_the_items_is_refused(generator, problem, change, sentence):
    target, mask, method = problem
    arguments = {"image": target, "mask": mask, "method": method, "seeds": range(5), "batch_size": 2} | change
    with pytest.raises(InpaintError, match=sentence):
        invert_all(generator, **arguments)


# Methods side by side ---------------------------------------------------------------------------------


def test_methods_share_targets_and_seeds_and_progress_rises_to_the_total(generator, problem):
    target, mask, method = problem
    methods = {"short": method, "same": method, "long": method._replace(search=replace(method.search, steps=6))}
    calls = []
    records = compare(generator, target, mask, methods, seeds=range(5), batch_size=2,
                      progress=lambda *call: calls.append(call))  # fmt: skip
    assert list(records) == ["short", "same", "long"]
    assert all(record.seeds == [0, 1, 2, 3, 4] for record in records.values())
    assert torch.equal(records["short"].image, records["same"].image)
    assert len(records["long"].history) == 5 * 7
    total = 6 * (4 + 4 + 6)  # three chunks of two a method, the last one filled up
    done = [call[0] for call in calls]
    assert done == sorted(set(done)) and done[0] == 0 and done[-1] == total
    assert {call[1] for call in calls} == {total}
    assert calls[0][2] is None and "15 jobs, about " in calls[0][3]
    assert {len(call[2]) for call in calls[1:]} == {2} and calls[-1][3] == "14 of 15 jobs"


def test_an_experiment_needs_a_method(generator, problem):
    with pytest.raises(InpaintError, match="methods must hold at least one method"):
        compare(generator, *problem[:2], {}, seeds=range(5), batch_size=2)


# What is stored ---------------------------------------------------------------------------------------


class Counting(Store):
    """A store that notes which chunks were computed, and what it said."""

    def __init__(self, folder, **options):
        self.said = []
        super().__init__(folder, tell=self.said.append, **options)
        self.computed = []

    def save(self, key, tensors, facts):
        self.computed.append(key)
        super().save(key, tensors, facts)


def assert_same(a, b):
    """Two records are the same, bit for bit."""
    for name in ("w", "image", "composite", "loss"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert (a.z is None) == (b.z is None) and (a.z is None or torch.equal(a.z, b.z))
    if isinstance(a.noise, str):
        assert a.noise == b.noise
    else:
        assert all(torch.equal(x, y) for x, y in zip(a.noise, b.noise, strict=True))
    pd.testing.assert_frame_equal(a.history, b.history, check_exact=True)
    assert (a.seeds, a.stopped, a.search) == (b.seeds, b.stopped, b.search)


SEARCHES = [
    Search(space="w", start="random", noise="random", steps=4),
    Search(space="z", steps=3),
    Search(space="w+", steps=4, fit_steps=2, stay_weight=1.0),
    Search(space="w+", steps=9, patience=1, tolerance=0.5),
]


@pytest.mark.parametrize("search", SEARCHES, ids=["noise", "z", "phases", "patience"])
def test_what_is_loaded_is_what_was_computed(generator, problem, tmp_path, search):
    target, mask, _ = problem
    arguments = {"method": Method(MSE, search), "seeds": range(5), "batch_size": 2}
    plain = invert_all(generator, target, mask, **arguments)
    first, second = Counting(tmp_path), Counting(tmp_path)
    assert_same(invert_all(generator, target, mask, **arguments, store=first), plain)
    assert len(first.computed) == 3
    assert_same(invert_all(generator, target, mask, **arguments, store=second), plain)
    assert second.computed == [] and second.said == []


def test_a_killed_grid_goes_on_after_its_last_whole_chunk(generator, problem, tmp_path):
    target, mask, method = problem
    methods = {"a": method, "b": method._replace(search=replace(method.search, steps=5))}
    undisturbed = compare(generator, target, mask, methods, seeds=range(5), batch_size=2)
    total = 0
    for chunks in (1, 2, 5):  # that each run finishes before it is killed

        class Killed(Counting):
            def save(self, key, tensors, facts, chunks=chunks):
                super().save(key, tensors, facts)
                if len(self.computed) == chunks:
                    raise SystemExit

        store = Killed(tmp_path)
        try:
            resumed = compare(generator, target, mask, methods, seeds=range(5), batch_size=2, store=store)
        except SystemExit:
            resumed = None
        total += len(store.computed)
    assert total == 6, "each chunk was computed once"
    for name in methods:
        assert_same(resumed[name], undisturbed[name])


def test_only_what_depends_on_a_change_is_computed_again(generator, problem, tmp_path):
    target, mask, method = problem
    run = dict(seeds=list(range(5)), batch_size=2)

    def computed(target=target, mask=mask, method=method, network=generator, **change):
        store = Counting(tmp_path)
        invert_all(network, target, mask, method, **(run | change), store=store)
        return len(store.computed)

    assert computed() == 3
    assert computed() == 0
    assert computed(seeds=[0, 1, 2, 3, 9]) == 1, "the last chunk"
    other = target.clone()
    other[2] = other[2].flip(1)
    assert computed(target=other) == 1, "the chunk with the changed target"
    assert computed(mask=mask[:1]) == 3
    assert computed(method=method._replace(search=replace(method.search, learning_rate=0.2))) == 3
    assert computed(method=method._replace(objective=objective_from({"mse_weight": 2.0}))) == 3
    assert computed(network=frozen(tiny_generator(SIZE, seed=1).double())) == 3
    assert computed(batch_size=3) == 2
    assert computed(target=target[:3], mask=mask[:3], seeds=[0, 1, 2]) == 1, "fewer faces share the whole chunks"


def test_weights_of_the_objectives_networks_count(generator, problem, tmp_path, monkeypatch):
    target, mask, method = problem
    objective = objective_from({"mse_weight": 1.0})
    objective.terms["mse"] = Weighted(1.0, mse_term(), network="net")
    computed = []
    for content in ("sha256:a", "sha256:a", "sha256:b", "weights of another package"):
        monkeypatch.setattr(grid, "checksums", lambda *names, content=content: dict.fromkeys(names, content))
        store = Counting(tmp_path)
        invert_all(
            generator, target, mask, method._replace(objective=objective), seeds=range(5), batch_size=5, store=store
        )
        computed.append(len(store.computed))
    assert computed == [1, 0, 1, 0], "weights that nothing identifies are not stored"


def test_what_nothing_tells_the_change_of_is_not_stored(generator, problem, tmp_path, monkeypatch):
    target, mask, method = problem
    by_hand = Objective({"mse": Weighted(1.0, mse_term())})
    monkeypatch.setitem(losses.TERMS, "own", lambda: mse_term())
    own = objective_from({"mse_weight": 1.0, "own_weight": 1.0})
    for objective in (by_hand, own):
        store = Counting(tmp_path)
        invert_all(
            generator, target, mask, method._replace(objective=objective), seeds=range(5), batch_size=5, store=store
        )
        assert store.computed == []
    assert list(tmp_path.iterdir()) == []


DAMAGE = {
    "truncated": lambda b: b[: len(b) // 2],
    "empty": lambda b: b"",
    "one bit": lambda b: b[:-1] + bytes([b[-1] ^ 1]),
    "another fact": lambda b: b.replace(b"finished", b"finishes"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_entry_is_computed_again_and_said_so(generator, problem, tmp_path, damage):
    target, mask, method = problem
    run = dict(method=method, seeds=range(5), batch_size=2)
    plain = invert_all(generator, target, mask, **run, store=Store(tmp_path))
    path = sorted(tmp_path.rglob("*.safetensors"))[1]
    path.write_bytes(damage(path.read_bytes()))
    store = Counting(tmp_path)
    assert_same(invert_all(generator, target, mask, **run, store=store), plain)
    assert store.computed == [path.stem]
    assert store.said == [f"{path} is damaged; what it held is computed again"]


def test_a_grid_over_its_budget_is_refused_before_it_starts(generator, problem, tmp_path):
    """The copies that fill the last chunk count; the same chunks asked for again do not."""
    target, mask, method = problem
    store = Store(tmp_path, budget=25)
    for _ in range(2):
        invert_all(generator, target, mask, method, seeds=range(5), batch_size=2, store=store)
    stored = sorted(tmp_path.rglob("*"))
    with pytest.raises(InpaintError, match="image_steps must be at least 48: this grid takes 24 passes after the 24"):
        invert_all(generator, target, mask, method, seeds=range(5, 10), batch_size=2, store=store)
    assert sorted(tmp_path.rglob("*")) == stored


def test_equal_jobs_of_one_grid_are_searched_once(generator, problem, tmp_path):
    target, mask, method = problem
    store = Counting(tmp_path)
    found = compare(generator, target, mask, {"a": method, "b": method}, seeds=range(5), batch_size=5, store=store)
    assert len(store.computed) == 1
    assert_same(found["a"], found["b"])


def test_an_empty_grid_is_refused(generator, problem):
    with pytest.raises(InpaintError, match="the grid is empty"):
        run_all(generator, {"a": Task(problem[0][:0], problem[1], problem[2], [])}, batch_size=1)


def test_progress_counts_what_is_stored_as_finished(generator, problem, tmp_path):
    target, mask, method = problem
    invert_all(generator, target[:4], mask[:4], method, seeds=range(4), batch_size=2, store=Store(tmp_path))
    calls = []
    invert_all(generator, target, mask, method, seeds=range(5), batch_size=2, store=Store(tmp_path),
               progress=lambda *call: calls.append(call))  # fmt: skip
    assert calls[0][:3] == (0, 8, None) and calls[0][3].startswith("5 jobs, 4 of them stored, about ")
    assert calls[-1][0] == 8 and calls[-1][3] == "4 of 5 jobs"
