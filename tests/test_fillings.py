"""Searches that differ in one source of chance: their levels, shared starts and baselines."""

from types import SimpleNamespace

import pytest
import torch

from inpaintlib import fillings, params
from inpaintlib.checks import InpaintError
from inpaintlib.experiments import generated_faces
from inpaintlib.fillings import BOTH, CROSSED, FACES, KEPT, LONG, MASK, NOISE, RATE, SPACE, start
from inpaintlib.losses import masked_mse, objective_from
from inpaintlib.search import Search
from inpaintlib.study import project_root

from .tiny import square_hole, tiny_generator

FACES_N, SAMPLES, SHIFTS = 2, 3, [1, 2]


def run(search: Search, **change):
    g = tiny_generator()
    target = generated_faces(g, FACES_N, seed=5)
    holes = fillings.shifted_holes(square_hole(1, 16), SHIFTS)
    options = {"samples": SAMPLES, "crossed": 2, "rate": 0.5, "steps_long": 3, "seed": 5, "batch_size": 4} | change
    return g, target, holes, fillings.fill(g, target, holes, objective_from({"mse_weight": 1.0}), search, **options)


@pytest.fixture(scope="module")
def filled():
    return run(Search(steps=2))


@pytest.fixture(scope="module")
def unmoved():
    """Searches so slow that they stay at their starts."""
    return run(Search(steps=2, learning_rate=1e-9))[3]


def test_a_shifted_hole_moves_to_the_right_and_its_left_edge_is_repeated():
    mask = torch.tensor([[[[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]]])
    moved = fillings.shifted_holes(mask, [1, 2])
    assert moved[:, 0, 0].tolist() == [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert moved[:, 0, 1].tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]]
    assert fillings.common(moved)[0, 0].tolist() == [[0, 0, 0, 0], [1, 0, 0, 0]]
    with pytest.raises(InpaintError, match="each of shifts"):
        fillings.shifted_holes(mask, [0])
    with pytest.raises(InpaintError, match="hide a pixel in common"):
        fillings.common(moved[:, :, :1])


def test_every_source_has_its_levels(filled):
    _, _, _, found = filled
    seeds = {name: SAMPLES for name in (*map(start, ("z", "w", "w+")), NOISE, BOTH, LONG)}
    assert {name: each.known.shape[1] for name, each in found.items()} == seeds | {
        RATE: 2, SPACE: 2, MASK: 1 + len(SHIFTS), CROSSED: 2 * (1 + len(SHIFTS)),
    }  # fmt: skip
    for each in found.values():
        assert each.image.shape[:1] + each.image.shape[2:] == (FACES_N, 3, 16, 16) and each.image.abs().max() <= 1
        assert each.code.shape[:2] == each.known.shape and (each.known > 0).all()


def test_a_seed_has_the_same_start_in_every_search_and_another_face_another(unmoved):
    ours = unmoved[start("w+")].code[:, :, 0]
    for name in (start("z"), start("w"), BOTH, LONG):
        torch.testing.assert_close(unmoved[name].code[:, :, 0], ours, atol=1e-5, rtol=0.0)
    crossed = unmoved[CROSSED].code.unflatten(1, (2, 3))[:, :, :, 0]
    torch.testing.assert_close(crossed, ours[:, :2, None].expand_as(crossed), atol=1e-5, rtol=0.0)
    assert torch.pdist(ours.flatten(0, 1)).min() > 0.01


def test_searches_from_the_mean_code_begin_with_the_same_filling(filled, unmoved):
    _, _, _, found = filled
    for name in (RATE, SPACE):
        assert torch.equal(found[name].image[:, 0], found[MASK].image[:, 0])
        assert not torch.equal(found[name].image[:, 1], found[MASK].image[:, 0])
    assert not torch.equal(found[MASK].image[:, 1], found[MASK].image[:, 0])
    mean = unmoved[MASK].code[:1, :1]
    for name in (RATE, SPACE, NOISE):
        torch.testing.assert_close(unmoved[name].code, mean.expand_as(unmoved[name].code), atol=1e-5, rtol=0.0)


def test_the_first_hole_of_the_crossed_design_is_that_of_the_other_searches(filled):
    _, _, _, found = filled
    crossed = found[CROSSED].image.unflatten(1, (2, 3))
    assert torch.equal(crossed[:, :, 0], found[start("w+")].image[:, :2])
    assert not torch.equal(crossed[:, :, 1], crossed[:, :, 0])


def test_the_known_error_is_that_of_the_own_mask(filled):
    _, target, holes, found = filled
    expected = masked_mse(found[MASK].image[:, 2], target, holes[2:]).sqrt()
    torch.testing.assert_close(found[MASK].known[:, 2], expected, atol=1e-3, rtol=1e-2)


def test_baselines_keep_the_code_or_take_other_faces(filled):
    g, target, holes, found = filled
    base = fillings.baselines(g, target, holes[:1], found, seed=5)
    assert base[KEPT].image.shape == base[FACES].image.shape == found[NOISE].image.shape
    kept = base[KEPT].code
    assert torch.equal(kept, found[MASK].code[:, :1].expand_as(kept))
    assert (base[KEPT].image[:, 1:] != base[KEPT].image[:, :1]).any()
    distances = torch.cdist(base[FACES].image.flatten(2).flatten(0, 1), target.flatten(1))
    assert distances.min() > 0.1, "none of the other faces is a target"


def test_two_runs_are_equal_to_the_last_bit(filled):
    found, again = filled[3], run(Search(steps=2))[3]
    for name, each in found.items():
        assert all(torch.equal(a, b) for a, b in zip(each, again[name], strict=True))


@pytest.mark.parametrize(
    ("search", "change", "fault"),
    [
        (Search(steps=2, start="random"), {}, "search must start at 'w_avg'"),
        (Search(steps=2, space="z"), {}, "search must start at 'w_avg'"),
        (Search(steps=2, noise="random"), {}, "search must start at 'w_avg'"),
        (Search(steps=2), {"crossed": 4}, "crossed must be between 2 and 3"),
        (Search(steps=2), {"samples": 2}, "samples must be at least 3"),
    ],
)
def test_what_would_change_two_things_at_once_is_refused(search, change, fault):
    with pytest.raises(InpaintError, match=fault):
        run(search, **change)


@pytest.mark.parametrize("profile", ["embedded", "smoke", "full", "ffhq"])
def test_the_grid_fits_its_budget(monkeypatch, profile):
    p = params.Stochasticity.from_mapping(params.load(project_root() / f"params/{profile}/stochasticity.yaml"))
    spent = []

    def compare(generator, image, mask, methods, *, seeds, batch_size, **_):
        chunks = -(-len(image) // batch_size)  # each is filled up to batch_size, and counts in full
        spent.append(chunks * batch_size * sum(method.search.passes for method in methods.values()))
        return {name: SimpleNamespace(image=image, w=torch.zeros(len(image), 1, 1)) for name in methods}

    monkeypatch.setattr(fillings, "compare", compare)
    grid = {"samples": p.samples, "crossed": p.crossed, "rate": p.rate, "steps_long": p.steps_long}
    holes = fillings.shifted_holes(square_hole(1, 32), p.shifts)
    fillings.fill(None, torch.zeros(p.faces, 3, 32, 32), holes, objective_from({"mse_weight": 1.0}), p.search(),
                  seed=0, batch_size=p.batch_size, **grid)  # fmt: skip
    assert 0.9 * p.image_steps <= sum(spent) <= p.image_steps


def test_a_single_hole_is_refused():
    g = tiny_generator()
    with pytest.raises(InpaintError, match="at least one shifted"):
        fillings.fill(g, generated_faces(g, 1, seed=0), square_hole(1, 16), objective_from({"mse_weight": 1.0}),
                      Search(steps=1), samples=3, crossed=2, rate=0.5, steps_long=1, seed=0, batch_size=1)  # fmt: skip
