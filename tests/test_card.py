"""Shipping weights into a folder of models of the test's own, and the cards that go with them."""

from __future__ import annotations

import json
import re

import pytest
import torch

from inpaintlib import weights
from inpaintlib.checks import InpaintError
from inpaintlib.data import Labelled
from inpaintlib.features import PlainBackbone, ResidualBackbone
from inpaintlib.images import read_image
from inpaintlib.stylegan2 import Discriminator
from inpaintlib.train import card
from inpaintlib.weights import checksum, load_generator, save_weights

from .tiny import pictures, seeded, tiny_generator

FACTS = {"images_seen": "1234", "seconds": "120", "hardware": "one core"}
SETTINGS = {"settings": json.dumps({"ada_target": 1.0})}
SCORES = {"scores": json.dumps({"cifar10_accuracy": 0.5, "cifar10_majority": 0.1, "attribute_accuracy": 0.75,
                                "attribute_majority": 0.7})}  # fmt: skip


@pytest.fixture
def models(tmp_path, monkeypatch):
    """An empty folder of shipped models."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "checksums.json").write_text("{}\n")
    monkeypatch.setattr(weights, "MODELS", folder)
    monkeypatch.setattr(card, "MODELS", folder)
    return folder


@pytest.fixture
def trained(tmp_path):
    """The files that trainings of tiny networks would have written."""
    runs = tmp_path / "runs"
    discriminator = seeded(lambda: Discriminator(img_resolution=8, channel_base=32, channel_max=4))
    save_weights(runs / "toy.safetensors", tiny_generator(8), **FACTS, **SETTINGS)
    save_weights(runs / "toy-discriminator.safetensors", discriminator, **FACTS, **SETTINGS)
    for name, build in (("guide", lambda: PlainBackbone((4, 6), (1, 1))), ("judge", lambda: ResidualBackbone((4, 6)))):
        save_weights(runs / f"percept-{name}.safetensors", seeded(build), **FACTS, **SCORES, settings='{"steps": 9}')
    return runs


@pytest.fixture
def faces(monkeypatch):
    """Noise in place of CelebA: 210 faces to train on and 200 held out."""
    levels = lambda n, seed: ((pictures(n, 8, seed=seed) + 1) * 127.5).round().to(torch.uint8)  # noqa: E731
    splits = {"train": levels(210, 1), "val": levels(200, 2)}
    monkeypatch.setattr(card, "load_celeba", lambda folder, split="train": Labelled(splits[split], torch.empty(0), ()))
    monkeypatch.setattr(card, "SAMPLES", 200)
    return splits


# Shipping ---------------------------------------------------------------------------------------------


def test_a_shipped_file_is_copied_recorded_and_loads_by_its_name(models, trained):
    assert card.ship(trained / "toy.safetensors") == "toy"
    assert (models / "toy.safetensors").read_bytes() == (trained / "toy.safetensors").read_bytes()
    assert weights.shipped_names() == {"toy": checksum(trained / "toy.safetensors")}
    assert load_generator("toy").img_resolution == 8


def test_a_newer_model_replaces_its_elder_and_leaves_the_others(models, trained):
    card.ship(trained / "percept-guide.safetensors")
    card.ship(trained / "toy.safetensors")
    before = weights.shipped_names()
    save_weights(trained / "toy.safetensors", tiny_generator(8, seed=1), **FACTS)
    card.ship(trained / "toy.safetensors")
    after = weights.shipped_names()
    assert after["percept-guide"] == before["percept-guide"] and after["toy"] != before["toy"]
    assert sorted(path.name for path in models.iterdir()) == [
        "checksums.json", "percept-guide.safetensors", "toy.safetensors"
    ]  # fmt: skip


def test_a_file_that_is_shipped_already_is_only_recorded_again(models, trained):
    card.ship(trained / "toy.safetensors")
    (models / "checksums.json").write_text("{}\n")
    card.ship(models / "toy.safetensors")
    assert weights.shipped_names() == {"toy": checksum(trained / "toy.safetensors")}


@pytest.mark.parametrize("content", [None, b"", b"not weights"])
def test_what_is_no_weights_file_is_not_shipped(models, tmp_path, content):
    path = tmp_path / "bad.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InpaintError, match="bad.safetensors"):
        card.ship(path)
    assert weights.shipped_names() == {} and [path.name for path in models.iterdir()] == ["checksums.json"]


# Copies of training images ----------------------------------------------------------------------------


def test_the_nearest_distance_is_its_literal_definition():
    training = ((pictures(23, 6, seed=1) + 1) * 127.5).round().to(torch.uint8)
    samples = pictures(4, 6)
    expected = []
    for sample in samples:
        rows = [x.float() / 127.5 - 1 for x in training]
        expected.append(min(float((sample - y).square().mean().sqrt()) for x in rows for y in (x, x.flip(2))))
    assert card.nearest(samples, training, batch=5).tolist() == pytest.approx(expected, rel=1e-4)


def test_a_copy_and_a_mirrored_copy_are_found():
    training = ((pictures(30, 6, seed=1) + 1) * 127.5).round().to(torch.uint8)
    as_float = training.float() / 127.5 - 1
    samples = torch.stack([as_float[3], as_float[29].flip(2), as_float[3].flip(1)])
    copy, mirrored, upside_down = card.nearest(samples, training, batch=7).tolist()
    # Distances of many images are differences of large numbers: a copy's is small, not exactly 0.
    assert copy < 2e-3 and mirrored < 2e-3 < 0.2 < upside_down


# Cards ------------------------------------------------------------------------------------------------


def test_a_generators_card_holds_its_facts_and_numbers(models, trained, faces, tmp_path, capsys):
    files = [trained / f"{name}.safetensors" for name in ("percept-judge", "toy", "toy-discriminator")]
    assert card.main([*map(str, files), "--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == ["shipped percept-judge", "shipped toy"]
    text = (models / "toy.md").read_text()
    for name in ("toy", "toy-discriminator"):
        assert weights.shipped_names()[name] in text
    for fact in ("**preview**: 1,234 images seen", "one core, 2 minutes", '"img_resolution": 8', "non-commercial",
                 "of the 210 training faces", "seen only 6 times"):  # fmt: skip
        assert fact in text, fact
    scores = [[float(v) for v in row] for row in re.findall(r"\| (-?[\d.]+) \[(-?[\d.]+), (-?[\d.]+)\] \|", text)]
    assert len(scores) == 3 and all(low <= value <= high for value, low, high in scores)
    generated, training, grey = (value for value, *_ in scores)
    assert abs(training) < generated and abs(training) < grey, "noise is nearest to noise"
    sheet = read_image(models / "toy-samples.png")
    assert sheet.shape == (1, 3, 64, 64)
    assert not re.search(r"[ \t]$", text, flags=re.M)


def test_a_final_generator_is_no_preview(models, trained, faces, tmp_path):
    save_weights(trained / "toy.safetensors", tiny_generator(8), **FACTS | {"images_seen": "2000000"}, **SETTINGS)
    files = [str(trained / f"{name}.safetensors") for name in ("percept-judge", "toy-discriminator", "toy")]
    assert card.main([*files, "--data", str(tmp_path)]) == 0
    text = (models / "toy.md").read_text()
    assert "| status | final |" in text and "preview" not in text
    assert "Some samples are\ndistorted." in text


def test_the_cards_of_the_feature_networks_say_their_roles(models, trained):
    files = [str(trained / f"percept-{name}.safetensors") for name in ("guide", "judge")]
    assert card.main(files) == 0
    for name, role, half in (("guide", "for objectives, never for tables", "even"),
                             ("judge", "for tables, never for objectives", "odd")):  # fmt: skip
        text = (models / f"percept-{name}.md").read_text()
        assert role in text and f"{half}-numbered" in text
        assert weights.shipped_names()[f"percept-{name}"] in text
        assert "0.500 (majority 0.100)" in text and "0.750 (majority 0.700)" in text
        assert "not calibrated on human judgements" in text and "non-commercial" in text


def test_a_generator_needs_its_data_before_anything_is_shipped(models, trained, capsys):
    assert card.main([str(trained / "percept-guide.safetensors"), str(trained / "toy.safetensors")]) == 1
    assert capsys.readouterr().err.startswith("error: --data must name the folder with CelebA")
    assert weights.shipped_names() == {}
