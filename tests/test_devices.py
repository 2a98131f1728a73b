"""Where things are computed, and in what precision. No GPU is needed: fake tensors on one tell a mixture of devices.

A fake tensor has a device and a shape and no values, so that every operation is checked and none is done. Only the
backward pass wants a real device; gradients are zeros here.
"""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from inpaintlib import experiments, machine, probes, study
from inpaintlib.checks import InpaintError
from inpaintlib.clip import MiniClip
from inpaintlib.features import Percept, PlainBackbone, lpips
from inpaintlib.invert import Search, invert
from inpaintlib.losses import Objective, Weighted, lpips_term, mse_term, objective_from
from inpaintlib.params import Params
from inpaintlib.priors import adversarial_term, prior_term
from inpaintlib.problem import Problem
from inpaintlib.record import render
from inpaintlib.sets import agreement
from inpaintlib.steering import classifier_term, clip_term
from inpaintlib.stylegan2 import Discriminator, Generator

from .tiny import (
    OPEN_CLIP,
    WORDS,
    frozen,
    pictures,
    seeded,
    square_hole,
    tiny_classifier,
    tiny_clip,
    tiny_generator,
    tiny_percept,
)

CONFIG = {"z_dim": 16, "w_dim": 16, "channel_base": 256, "channel_max": 32, "mapping_layers": 2}


@pytest.fixture
def gpu(monkeypatch):
    """A device that does not exist, for as long as the test runs."""
    monkeypatch.setattr(torch.autograd, "grad", lambda y, variables: [torch.zeros_like(v) for v in variables])
    with FakeTensorMode():
        yield torch.device("cuda")


def networks(device: torch.device) -> tuple[Generator, Discriminator, Percept]:
    with device:
        generator = frozen(Generator(img_resolution=16, c_dim=3, **CONFIG))
        discriminator = frozen(Discriminator(0, 16, channel_base=64, channel_max=8))
        return generator, discriminator, Percept("fake", frozen(PlainBackbone((4, 6), (1, 1))))


@pytest.mark.parametrize(
    "search",
    [{}, {"space": "z"}, {"start": "best", "candidates": 2}, {"noise": "optimised"}, {"optimiser": "lbfgs"},
     {"stay_weight": 1.0, "fit_steps": 1}, {"patience": 3, "space": "w", "start": "random", "noise": "random"}],
    ids=str,
)  # fmt: skip
def test_a_search_stays_on_the_generators_device(gpu, monkeypatch, search):
    generator, discriminator, percept = networks(gpu)
    target, mask = torch.zeros(2, 3, 16, 16, device=gpu), torch.zeros(2, 1, 16, 16, device=gpu)
    terms = {"mse": mse_term(), "lpips": lpips_term(percept), "adversarial": adversarial_term(discriminator)}
    bound = Objective({name: Weighted(1.0, term) for name, term in terms.items()}).bind(target, mask)
    monkeypatch.setattr(Problem, "_check_found", lambda self: None)  # reads values
    problem = Problem(generator, bound, Search(steps=5, **search), [0, 1], None)
    for step in range(4):
        loss = problem._step(step)
    kept = [loss, *problem.best, *problem.rows, *problem.variables]
    assert {x.device.type for x in kept} == {"cuda"}
    assert render(generator, problem.codes(problem.code), "const").device.type == "cuda"


def test_a_mixture_of_devices_would_be_noticed(gpu):
    generator, _, percept = networks(gpu)
    bound = Objective({"mse": Weighted(1.0, mse_term())}).bind(torch.zeros(1, 3, 16, 16), torch.zeros(1, 1, 16, 16))
    with pytest.raises(RuntimeError, match="on the same device"):
        Problem(generator, bound, Search(steps=2), [0], None).evaluate()


def test_pictures_come_back_to_the_processor_and_go_to_the_networks(gpu):
    generator, discriminator, percept = networks(gpu)
    ws = experiments.random_ws(generator, 2, seed=0)
    images = probes.samples(generator, 2, seed=0)
    found = {
        "samples": images,
        "mixing": probes.mixing(generator, 1, cut=2, seed=0),
        "noise": probes.noise_variants(generator, n=2, seed=0)["fresh noise 1"],
        "mean code": experiments.at_mean_code(generator, 2),
        "codes on the processor": render(generator, ws.cpu(), probes.fresh_noise(generator, 2, 0)),
        "logits": probes.logits(discriminator, images),
        "distances": probes._pair_distances(percept, images),
        "lpips": lpips(percept, images, images, torch.ones(2, 1, 16, 16)),
    }
    assert ws.device.type == "cuda"
    assert {name: x.device.type for name, x in found.items()} == dict.fromkeys(found, "cpu")


def test_judges_of_attributes_look_at_pictures_from_elsewhere(gpu):
    with gpu:
        judge = frozen(torch.nn.Module())
        judge.scale = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
    judge.forward = lambda x: x.mean(dim=(2, 3)) * judge.scale
    judge.evidence = lambda logits: logits
    assert agreement(judge, torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)).device.type == "cpu"


def test_the_fake_clip_reads_sentences_on_its_device(gpu):
    with gpu:
        clip = frozen(MiniClip(OPEN_CLIP, WORDS))
    assert clip.embed_texts(["a smiling woman"]).device.type == "cuda"


# The choice -------------------------------------------------------------------------------------------


def test_the_device_is_the_processor_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("INPAINTLIB_DEVICE", raising=False)
    assert machine.device() == "cpu"
    monkeypatch.setenv("INPAINTLIB_DEVICE", "cuda")
    with pytest.raises(
        InpaintError, match="INPAINTLIB_DEVICE must be a device of this machine; 'cuda' is none, .* 0 GPUs"
    ):
        machine.device()


def test_the_device_is_the_gpu_unless_another_is_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for asked, device in (("", "cuda"), ("cpu", "cpu"), ("cuda", "cuda"), ("cuda:1", "cuda:1")):
        monkeypatch.setenv("INPAINTLIB_DEVICE", asked)
        assert machine.device() == device
    monkeypatch.setenv("INPAINTLIB_DEVICE", "cuda:2")
    with pytest.raises(InpaintError, match="'cuda:2' is none, torch sees 2 GPUs"):
        machine.device()


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "CUDA", "mps", "cpu:0"])
def test_another_word_for_a_device_is_refused(monkeypatch, name):
    monkeypatch.setenv("INPAINTLIB_DEVICE", name)
    with pytest.raises(InpaintError, match=f"INPAINTLIB_DEVICE must be cpu, cuda or cuda:N; got '{name}'"):
        study.begin(Params(profile="smoke", seed=0))


# Precision --------------------------------------------------------------------------------------------


def terms() -> dict[str, Weighted]:
    critic = frozen(seeded(lambda: Discriminator(0, 16, channel_base=64, channel_max=8), 3))
    return {
        "mse": Weighted(1.0, mse_term()),
        "lpips": Weighted(1.0, lpips_term(tiny_percept())),
        "classifier": Weighted(0.1, classifier_term(tiny_classifier(), "+Smiling", views=2)),
        "clip": Weighted(0.1, clip_term(tiny_clip(), "a smiling woman")),
        "adversarial": Weighted(0.1, adversarial_term(critic)),
        "prior": Weighted(0.1, prior_term(tiny_generator())),
    }


def searched(**search):
    return invert(tiny_generator(), pictures(2, 16) * 0.5, square_hole(2, 16), objective=Objective(terms()),
                  search=Search(steps=6, **search))  # fmt: skip


@pytest.mark.parametrize("search", [{}, {"noise": "optimised"}, {"optimiser": "lbfgs"}, {"space": "z"}], ids=str)
def test_a_search_in_autocast_is_near_the_one_in_float32(search):
    if "optimiser" in search:
        objective = Objective({name: w for name, w in terms().items() if name != "classifier"})
        run = lambda p: invert(tiny_generator(), pictures(2, 16) * 0.5, square_hole(2, 16), objective=objective,  # noqa: E731
                               search=Search(steps=6, precision=p, **search))  # fmt: skip
    else:
        run = lambda p: searched(precision=p, **search)  # noqa: E731
    full, half = run("float32"), run("autocast")
    assert half.w.dtype == half.image.dtype == half.loss.dtype == torch.float32
    first = [record.history[record.history["step"] == 0].drop(columns=["item", "step"]) for record in (full, half)]
    assert (first[0] - first[1]).abs().max().max() < 0.05 and (first[0] != first[1]).any(axis=None)
    assert half.loss.isfinite().all() and (half.loss - full.loss).abs().max() < 0.1
    start = half.history[half.history["step"] == 0]["objective"].to_numpy()
    assert (half.loss.numpy() < start).all()


def test_what_autocast_finds_is_rendered_in_float32():
    record = searched(precision="autocast")
    assert torch.equal(record.image, render(record.generator, record.w, record.noise))
    torch.testing.assert_close(record.image, tiny_generator().synthesis(record.w))


def test_the_sums_of_an_objective_do_not_round_to_bfloat16():
    """The prior's distance and the cosine are as in float32, since neither is a convolution of a network's."""
    ws = torch.randn(3, 6, 16, generator=torch.Generator().manual_seed(1))
    image, mask = pictures(3, 16), square_hole(3, 16)
    bound = Objective(
        {"mse": Weighted(1.0, mse_term()), "prior": Weighted(1.0, prior_term(tiny_generator(), "mahalanobis"))}
    )
    bound = bound.bind(image, mask)
    plain = bound(image * 0.9, ws)
    with torch.autocast("cpu", torch.bfloat16):
        cast = bound(image * 0.9, ws)
    assert torch.equal(plain[0], cast[0]) and all(torch.equal(plain[1][k], cast[1][k]) for k in plain[1])


def test_precision_has_its_part_in_the_settings():
    assert Search() == Search(precision="float32") != Search(precision="autocast")
    with pytest.raises(InpaintError, match="precision must be one of float32, autocast; got 'half'"):
        Search(precision="half")
    assert objective_from({"mse_weight": 1.0}).settings == {"mse_weight": 1.0}
