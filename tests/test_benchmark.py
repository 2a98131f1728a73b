"""The benchmark's floor holds the convolutions of one step, and its table adds up."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from inpaintlib import benchmark, losses
from inpaintlib.features import Percept, PlainBackbone

from .tiny import frozen, seeded, tiny_classifier, tiny_clip, tiny_generator


@pytest.fixture(scope="module")
def networks():
    return tiny_generator(16), frozen(seeded(lambda: PlainBackbone((4, 6), (1, 2))))


def test_a_step_has_every_convolution_with_its_gradient_and_the_filled_target_without(networks, monkeypatch):
    generator, backbone = networks
    ran = []

    def recorded(name):
        original = getattr(F, name)

        def run(x, w, *args, **options):
            ran.append((name, x.shape))
            return original(x, w, *args, **options)

        return run

    for name in ("conv2d", "conv_transpose2d"):
        monkeypatch.setattr(benchmark.F, name, recorded(name))
    calls = benchmark.convolutions(generator, backbone, 3)
    ran.clear()  # what was run to learn the shapes
    results = [call() for call in calls]
    channels = [layer.weight.shape[0] for layer in generator.synthesis.layers]
    assert len(calls) == 5 + 3 + 3
    assert [name for name, _ in ran[:5]] == ["conv2d", "conv_transpose2d", "conv2d", "conv_transpose2d", "conv2d"]
    assert [tuple(x) for _, x in ran[:5]] == [
        (3, channels[0], 4, 4), (3, channels[0], 4, 4), (3, channels[1], 8, 8), (3, channels[2], 8, 8),
        (3, channels[3], 16, 16),
    ]  # fmt: skip
    features = [(3, 3, 16, 16), (3, 4, 8, 8), (3, 6, 8, 8)]
    assert [tuple(x) for _, x in ran[5:]] == features * 2
    assert all(isinstance(r, tuple) for r in results[:8]), "gradients"
    assert [r[0].shape for r in results[:8]] == [x for _, x in ran[:8]]
    assert not any(r.requires_grad for r in results[8:])


def test_the_floor_leaves_no_hook_and_no_gradient_behind(networks):
    generator, backbone = networks
    for call in benchmark.convolutions(generator, backbone, 2):
        call()
    assert not any(m._forward_hooks for m in backbone.modules())
    assert all(p.grad is None for net in networks for p in net.parameters())


def test_nothing_is_drawn_from_the_global_generator(networks):
    state = torch.get_rng_state()
    benchmark.convolutions(*networks, 2)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_table_has_a_row_a_round_and_consistent_columns():
    table = benchmark.measure(batch=2, steps=1, rounds=2)
    assert len(table) == 2
    assert (table > 0).all(axis=None)
    assert (table["ratio"] * table["search"]).tolist() == pytest.approx(table["convolutions"].tolist())
    assert (table["image_steps"] * table["search"]).tolist() == pytest.approx([2.0, 2.0])


def test_the_command_prints_the_medians(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmark", "--batch", "1", "--steps", "1", "--rounds", "1"])
    benchmark.main()
    said = capsys.readouterr().out
    assert "image-steps/s" in said and "of the throughput of its convolutions alone" in said
    assert "processor" in said


def test_a_random_generator_has_the_published_configuration():
    generator = benchmark.random_generator(512)
    channels = [layer.weight.shape[0] for layer in generator.synthesis.layers]
    assert channels == [512] * 9 + [256, 256, 128, 128, 64, 64] and generator.num_ws == 16
    state = torch.get_rng_state()
    assert [layer.weight.shape[0] for layer in benchmark.random_generator(8).synthesis.layers] == [512] * 3
    assert torch.equal(torch.get_rng_state(), state)


def test_random_networks_are_timed_too(monkeypatch):
    monkeypatch.setenv("INPAINTLIB_DEVICE", "cpu")
    monkeypatch.setattr(benchmark, "_percept", lambda name: Percept(name, frozen(PlainBackbone((4, 6), (1, 2)))))
    table = benchmark.measure("random-8", batch=1, steps=1, rounds=1, percept="any", precision="autocast")
    assert len(table) == 1 and (table > 0).all(axis=None)


def test_steering_is_timed_beside_the_search_without_it(monkeypatch):
    """On the shipped names, with tiny networks behind them."""
    monkeypatch.setattr(benchmark, "load_generator", lambda name: tiny_generator(16))
    ran = []

    def search(generator, target, mask, *, objective, search):
        ran.append((tuple(objective.terms), len(target), search.steps))

    monkeypatch.setattr(benchmark, "invert", search)
    monkeypatch.setattr(losses, "load_classifier", lambda name: tiny_classifier())
    monkeypatch.setattr(losses, "load_clip", lambda name: tiny_clip())
    monkeypatch.setitem(benchmark.WISHES, "clip", {"clip_weight": 1.0, "clip_prompt": "a smiling woman"})
    table = benchmark.measure_steering("tiny", batch=2, steps=3, rounds=2)
    assert table.columns.tolist() == ["plain", "classifier", "clip", "classifier_adds", "clip_adds"] and len(table) == 2
    assert table["clip_adds"].tolist() == pytest.approx((table["clip"] / table["plain"] - 1).tolist())
    turn = [("mse", "lpips"), ("mse", "lpips", "classifier"), ("mse", "lpips", "clip")]
    assert ran == [(terms, 2, 3) for terms in turn * 3], "in turns, a warming round first"
