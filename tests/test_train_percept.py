"""Training of the feature networks on a toy budget: halves, folding, and the one command that does it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from inpaintlib.data import Labelled, load_celeba, load_cifar10
from inpaintlib.features import SHIPPED, PlainBackbone, ResidualBackbone
from inpaintlib.train import percept
from inpaintlib.train.percept import Settings, evaluate, fold, half, main, train
from inpaintlib.weights import build, load_weights

from .test_data import encoded_pictures, write_celeba_parquet, write_parquet
from .tiny import pictures, seeded

TOY = ["--steps", "2", "--cifar-batch", "4", "--faces-batch", "2", "--device", "cpu"]
NAMES = pytest.mark.parametrize("name", sorted(SHIPPED))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder with a few noise pictures in the layout of the real files."""
    folder = tmp_path_factory.mktemp("data")
    for split, n in (("train", 11), ("test", 5)):
        labels = {"label": np.arange(n, dtype=np.int64) % 10}
        write_parquet(folder / f"cifar10_{split}.parquet", encoded_pictures(n, 32, 32), labels)
    for split, n in (("train", 6), ("val", 4)):
        write_celeba_parquet(folder, encoded_pictures(n, 70, 64), np.arange(3 * n).reshape(n, 3) % 2 == 0, split)
    return folder


# The two halves ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [10, 11])
def test_halves_are_disjoint_and_together_everything(n):
    data = Labelled(torch.arange(n).view(n, 1, 1, 1), torch.arange(n) + 100, ("a", "b"))
    guide, judge = half(data, "percept-guide"), half(data, "percept-judge")
    seen, others = set(guide.images.flatten().tolist()), set(judge.images.flatten().tolist())
    assert not seen & others and seen | others == set(range(n)) and abs(len(seen) - len(others)) <= 1
    for part in (guide, judge):
        assert torch.equal(part.labels, part.images.flatten() + 100) and part.names == data.names


def test_command_trains_each_network_on_its_own_half(data, tmp_path, monkeypatch):
    trained = {}

    def watch(name, objects, faces, settings, **options):
        trained[name] = [{image.numpy().tobytes() for image in part.images} for part in (objects, faces)]
        return train(name, objects, faces, settings, **options)

    monkeypatch.setattr(percept, "train", watch)
    for name in SHIPPED:
        assert main([name, "--data", str(data), "--out", str(tmp_path), *TOY]) == 0
    guide, judge = trained["percept-guide"], trained["percept-judge"]
    for ours, theirs, whole in zip(guide, judge, (load_cifar10(data), load_celeba(data)), strict=True):
        assert not ours & theirs and ours | theirs == {image.numpy().tobytes() for image in whole.images}


def test_guide_and_judge_have_different_architectures():
    assert SHIPPED["percept-guide"] is not SHIPPED["percept-judge"]
    kinds = [{type(m) for m in network().modules()} for network in SHIPPED.values()]
    shapes = [{tuple(p.shape) for p in network().parameters()} for network in SHIPPED.values()]
    assert kinds[0] != kinds[1] and shapes[0] != shapes[1]


# Folding ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [lambda: PlainBackbone((4, 6), (1, 2)), lambda: ResidualBackbone((4, 6))])
def test_folding_keeps_the_function_and_leaves_plain_convolutions(network):
    def trained() -> nn.Module:
        body = percept._swap(network(), nn.Conv2d, percept._Normalised)
        for norm in (m for m in body.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.weight.data.uniform_(0.5, 2.0), norm.bias.data.normal_()
            norm.running_mean.normal_(), norm.running_var.uniform_(0.2, 3.0)
        return body

    body, x = seeded(trained), pictures(2, 16)
    folded = fold(body)
    assert body.training and any(isinstance(m, nn.BatchNorm2d) for m in body.modules())
    assert set(folded.state_dict()) == set(network().state_dict()) and folded.config == network().config
    for ours, expected in zip(folded(x), body.eval()(x), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


# Training ---------------------------------------------------------------------------------------------


@NAMES
def test_one_command_ships_a_file_that_loads(data, tmp_path, capsys, name):
    out = tmp_path / "new"
    assert main([name, "--data", str(data), "--out", str(out), *TOY]) == 0
    assert [p.name for p in out.iterdir()] == [f"{name}.safetensors"]
    path = out / f"{name}.safetensors"
    network, (_, metadata) = build(SHIPPED[name], path), load_weights(path)
    assert all(f.isfinite().all() and f.std() > 0 for f in network(pictures(1, 64)))
    assert json.loads(metadata["settings"])["steps"] == 2 and json.loads(metadata["config"]) == network.config
    scores = json.loads(metadata["scores"])
    assert set(scores) == {"cifar10_accuracy", "cifar10_majority", "attribute_accuracy", "attribute_majority"}
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == scores


def coloured(n: int, size: int, labels) -> Labelled:
    """Returns noise whose red channel is bright in odd images and dark in even ones."""
    images = torch.randint(100, (n, 3, size, size), generator=torch.Generator().manual_seed(size), dtype=torch.uint8)
    odd = torch.arange(n) % 2
    images[:, 0] += (150 * odd).to(torch.uint8).view(n, 1, 1)
    return Labelled(images, labels(odd), ())


@pytest.fixture
def toy(monkeypatch) -> tuple[Labelled, Labelled, Settings]:
    """Classes and attributes that a small network learns in a moment."""
    monkeypatch.setitem(SHIPPED, "percept-guide", lambda: PlainBackbone((6, 8), (1, 1)))
    objects = coloured(40, 16, lambda odd: 7 * odd)
    faces = coloured(40, 16, lambda odd: torch.stack([odd == 1, odd == 0], dim=1))
    return objects, faces, Settings(steps=60, cifar_batch=16, faces_batch=8, learning_rate=0.02)


def test_training_learns_what_can_be_learnt(toy):
    objects, faces, settings = toy
    lines = []
    model = train("percept-guide", objects, faces, settings, report=lines.append)
    scores = evaluate(model, objects, faces)
    assert scores["cifar10_majority"] == scores["attribute_majority"] == 0.5
    assert scores["cifar10_accuracy"] > 0.9 and scores["attribute_accuracy"] > 0.9
    assert [line.split()[1] for line in lines] == ["0", "59"] and not model.training


def test_training_depends_on_its_seed_alone(toy):
    objects, faces, settings = toy

    def weights(seed: int) -> torch.Tensor:
        run = Settings(steps=2, cifar_batch=4, faces_batch=4, seed=seed)
        model = train("percept-guide", objects, faces, run, report=lambda line: torch.rand(1))
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    with torch.random.fork_rng(devices=[]):  # which the reports of training disturb
        one, same, other = weights(0), weights(0), weights(1)
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_evaluation_counts_right_answers():
    class Constant(nn.Module):
        def forward(self, x, head):
            row = [0.0, 1.0, 0.0] if head == "objects" else [1.0, -1.0]
            return torch.tensor(row).expand(len(x), -1)

    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    attributes = torch.tensor([[True, True], [True, False], [False, False], [True, False]])
    objects, faces = Labelled(images, torch.tensor([1, 2, 1, 1]), ()), Labelled(images, attributes, ())
    assert evaluate(Constant(), objects, faces) == {
        "cifar10_accuracy": 0.75, "cifar10_majority": 0.75, "attribute_accuracy": 0.75, "attribute_majority": 0.75,
    }  # fmt: skip


# What is wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--steps", "0", "steps must be at least 1; got 0"),
        ("--cifar-batch", "-4", "cifar_batch must be at least 1; got -4"),
        ("--faces-batch", "0", "faces_batch must be at least 1; got 0"),
        ("--learning-rate", "nan", "learning_rate must be above 0; got nan"),
        ("--weight-decay", "-1", "weight_decay must be at least 0; got -1"),
        ("--seed", "-1", "seed must be at least 0; got -1"),
    ],
)
def test_wrong_setting_gives_one_sentence_and_no_file(data, tmp_path, capsys, option, value, message):
    arguments = ["percept-guide", "--data", str(data), "--out", str(tmp_path), *TOY, f"{option}={value}"]
    assert main(arguments) == 1
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_folder_without_data_gives_one_sentence_and_no_file(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["percept-judge", "--data", str(tmp_path), "--out", str(out), *TOY]) == 1
    assert "must hold cifar10_train.parquet or cifar-10-batches-py/" in capsys.readouterr().err and not out.exists()
