"""Shipping weights into a folder of models of the test's own, and the cards that go with them."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch

from inpaintlib import weights
from inpaintlib.attributes import AttributeNetwork
from inpaintlib.checks import InpaintError
from inpaintlib.clip import MiniClip
from inpaintlib.data import Labelled
from inpaintlib.features import PlainBackbone, ResidualBackbone
from inpaintlib.images import read_image
from inpaintlib.stylegan2 import Discriminator
from inpaintlib.train import card, cards
from inpaintlib.train.attributes import means
from inpaintlib.weights import checksum, load_generator, save_weights

from .tiny import pictures, seeded, tiny_generator

FACTS = {"images_seen": "1234", "seconds": "120", "hardware": "one core"}
SETTINGS = {"settings": json.dumps({"ada_target": 1.0})}
SCORES = {"scores": json.dumps({"cifar10_accuracy": 0.5, "cifar10_majority": 0.1, "attribute_accuracy": 0.75,
                                "attribute_majority": 0.7})}  # fmt: skip


FOUR = ("Smiling", "Male", "Eyeglasses", "Blond_Hair")
WORDS = ("a", "bald", "face", "not", "of", "person", "smiling")


def row(attribute: str, share: float, balanced: float, precision: float, *, faces: int = 500) -> dict:
    """An attribute's scores as a training stores them, with intervals of 0.02 up and 0.03 down."""
    count = round(share * faces)
    ends = {f"{key}{end}": round(value + more, 6) for key, value in
            (("balanced_accuracy", balanced), ("average_precision", precision))
            for end, more in (("", 0.0), ("_low", -0.03), ("_high", 0.02))}  # fmt: skip
    return {"attribute": attribute, "faces": faces, "with": count, "minority": min(count, faces - count),
            "majority_accuracy": max(share, 1 - share), "accuracy": 0.625, **ends}  # fmt: skip


ROWS = [row("Smiling", 0.48, 0.9, 0.93), row("Bald", 0.048, 0.95, 0.41), row("Young", 0.75, 0.75, 0.89)]
NOBODY = {"attribute": "Blurry", "faces": 500, "with": 1, "minority": 1, "majority_accuracy": 0.998, "accuracy": 1.0}


@pytest.fixture
def models(tmp_path, monkeypatch):
    """An empty folder of shipped models."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "checksums.json").write_text("{}\n")
    monkeypatch.setattr(weights, "MODELS", folder)
    monkeypatch.setattr(card, "MODELS", folder)
    monkeypatch.setattr(cards, "MODELS", folder)
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
    rows = [*ROWS, NOBODY]
    found = {"attributes": rows, "means": means(rows), "calibration_error": 0.0123}
    for role in ("guide", "judge"):
        facts = FACTS | {"settings": '{"steps": 9, "calibration": 450}'}
        save_weights(runs / f"attributes-{role}.safetensors", seeded(classifier), scores=json.dumps(found), **facts)
        zero_shot = json.dumps({"attributes": rows})
        save_weights(runs / f"clip-{role}.safetensors", seeded(small_clip), scores=zero_shot, **facts)
    return runs


def classifier() -> AttributeNetwork:
    options = {"img_size": 16, "patch_size": 8, "embed_dim": 8, "depth": 1, "num_heads": 2}
    names = [r["attribute"] for r in (*ROWS, NOBODY)]
    return AttributeNetwork("vit_tiny_patch16_224", options=options, attributes=names, size=16)


def small_clip() -> MiniClip:
    vision = {"image_size": 16, "patch_size": 8, "width": 16, "layers": 1, "head_width": 8}
    text = {"context_length": 8, "width": 16, "heads": 2, "layers": 1}
    return MiniClip({"embed_dim": 8, "vision_cfg": vision, "text_cfg": text}, WORDS)


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


STEERING = [f"{kind}-{role}" for kind in ("attributes", "clip") for role in ("guide", "judge")]


@pytest.fixture
def texts(models, trained) -> dict[str, str]:
    """The cards of the networks that steer and judge, which need no data."""
    assert card.main([str(trained / f"{name}.safetensors") for name in STEERING]) == 0
    return {name: (models / f"{name}.md").read_text() for name in STEERING}


def table(text: str) -> dict[str, list[str]]:
    """Returns the rows of a card's tables, by their first cells."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {first: rest for first, *rest in rows}


@pytest.mark.parametrize("name", STEERING)
def test_a_card_says_the_role_the_half_the_network_and_the_terms(models, texts, name):
    text, kind, role = texts[name], *name.split("-")
    rows = table(text)
    assert text.startswith(f"# {name}\n") and f"inpaintlib.train.{kind}" in text
    assert rows["role"] == [
        "for objectives, never for tables" if role == "guide" else "for tables, never for objectives"
    ]
    assert rows["SHA-256"] == [f"`{weights.shipped_names()[name]}`; float16"]
    assert rows["training"] == ['`{"steps": 9, "calibration": 450}`'] and rows["hardware, time"] == [
        "one core, 2 minutes"
    ]
    assert f"Trained on the {'even' if role == 'guide' else 'odd'}-numbered of 9,000 CelebA faces" in text
    assert "share no training image" in text and "non-commercial" in text and "`LICENSE-WEIGHTS.md`" in text
    assert "what it says of a face is no fact about a person" in text
    assert not re.search(r"\{\w|\bnan\b|[^`]\binf\b|None|[ \t]$", text, flags=re.M)
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 120


@pytest.mark.parametrize("name", STEERING)
def test_a_card_has_a_row_an_attribute_with_intervals_beside_baselines(texts, name):
    rows = table(texts[name])
    assert rows["Smiling"] == ["240", "0.900 [0.870, 0.920]", "0.930 [0.900, 0.950]", "0.480", "0.520"]
    assert rows["Young"] == ["375", "0.750 [0.720, 0.770]", "0.890 [0.860, 0.910]", "0.750", "0.750"]
    # Fewer than 25 faces have it: it is listed, marked, and not in the means.
    assert rows["Bald (not counted)"] == ["24", "0.950 [0.920, 0.970]", "0.410 [0.380, 0.430]", "0.048", "0.952"]
    assert rows["Blurry (not counted)"] == ["1", "–", "–", "0.002", "0.998"]
    assert "On 500 held-out faces" in texts[name]
    assert "fewer than 25 faces on either side" in " ".join(texts[name].split())
    assert rows["attributes counted"] == ["2 of 4"]
    mean = re.fullmatch(r"0\.825 \[(0\.\d{3}), (0\.\d{3})\] \(chance 0\.5\)", rows["mean balanced accuracy"][0])
    assert mean and float(mean[1]) <= 0.825 <= float(mean[2])
    assert rows["mean average precision"][0].startswith("0.910 [")
    assert rows["mean average precision"][0].endswith("(chance 0.615)")
    majority = (0.52 + 0.952 + 0.75 + 0.998) / 4
    assert rows["accuracy of these decisions, mean of all 4"] == [
        f"{(3 * 0.625 + 1) / 4:.3f} (majority {majority:.3f})"
    ]


def test_the_card_of_a_classifier_says_its_aim_its_calibration_and_its_start(models, trained, texts):
    for name in STEERING[:2]:
        text, sentences = texts[name], " ".join(texts[name].split())
        assert "The aim of 80 % mean balanced accuracy is reached: 82.5 %." in text
        assert table(text)["calibration error"][0].startswith("0.012 ")
        assert "of which the last 450 served the calibration alone" in text
        assert "CelebA's 4 attributes" in sentences and "trained from random weights" in sentences
        network = json.loads(table(text)["network"][0].strip("`"))
        assert network["architecture"] == "vit_tiny_patch16_224" and "attributes" not in network
    path = trained / "attributes-guide.safetensors"
    _, facts = weights.load_weights(path)
    facts = {k: v for k, v in facts.items() if k != "config"}
    save_weights(path, seeded(classifier), **facts, start="timm's weights")
    assert card.main([str(path)]) == 0
    assert "trained from timm's weights" in " ".join((models / "attributes-guide.md").read_text().split())


def test_the_card_of_a_clip_model_lists_its_words_and_the_limit_of_its_knowledge(texts):
    for name in STEERING[2:]:
        text = texts[name]
        assert "it knows nothing beyond them" in text and "the same 4 attributes" in text
        assert f"## The 7 words that it knows\n\n{', '.join(WORDS)}\n" in text
        network = json.loads(table(text)["network"][0].strip("`"))
        assert network["embed_dim"] == 8 and "vocabulary" not in text
        sentences = " ".join(text.split())
        assert "85 % zero-shot balanced accuracy for each of Smiling, Male, Eyeglasses, Blond_Hair." in sentences
        assert "Reached: Smiling (90.0 %). Missed: Male (not measured), " in sentences


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.8, "is reached: 80.0 %."),
        (0.8321, "is reached: 83.2 %."),
        (0.783, "is missed: 78.3 % is 1.7 percentage points short."),
        (0.79996, "is missed: 79.9 % is 0.1 percentage points short."),  # and not rounded up to the aim
    ],
)
def test_the_aim_of_a_classifier_is_reached_or_missed_by_so_much(value, said):
    assert cards.mean_aim({"balanced_accuracy": value}) == f"The aim of 80 % mean balanced accuracy {said}"


def test_the_aim_of_a_classifier_cannot_be_judged_without_counted_attributes():
    assert "cannot be judged: no attribute has 25 faces" in cards.mean_aim(means([NOBODY]))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((0.9, 0.951, 0.85, 0.97), "Reached: Smiling (90.0 %), Male (95.1 %), Eyeglasses (85.0 %), Blond_Hair (97.0 %)."
                                   " Missed: none."),
        ((0.9, 0.95, 0.84, 0.81), "Reached: Smiling (90.0 %), Male (95.0 %). Missed: Eyeglasses (84.0 %, 1.0 percentage"
                                  " points short), Blond_Hair (81.0 %, 4.0 percentage points short)."),
        ((0.5, 0.5, None, 0.5), "Reached: none. Missed: Smiling (50.0 %, 35.0 percentage points short), Male (50.0 %,"
                                " 35.0 percentage points short), Eyeglasses (not measured), Blond_Hair (50.0 %, 35.0"
                                " percentage points short)."),
    ],
)  # fmt: skip
def test_the_aim_of_a_clip_model_is_reached_or_missed_attribute_by_attribute(values, said):
    rows = [
        row(n, 0.5, v, 0.5) if v is not None else NOBODY | {"attribute": n} for n, v in zip(FOUR, values, strict=True)
    ]
    assert cards.zero_shot_aim(rows).endswith(f". {said}")


def test_an_interval_that_a_single_value_does_not_give_is_left_out():
    single = means([ROWS[0]])
    assert np.isinf(single["balanced_accuracy_low"]), "the mean of one attribute has no interval"
    assert cards._mean_rows(single, 3)["mean balanced accuracy"] == "0.900 (chance 0.5)"
    assert cards._mean_rows(means([NOBODY]), 3) == {"attributes counted": "0 of 3"}


@pytest.mark.parametrize(
    ("name", "without", "message"),
    [
        ("clip-mine", (), "name must end in -guide or -judge"),
        ("attributes-judge", ("scores",), "metadata lack scores"),
        ("percept-guide", ("scores", "settings"), "metadata lack scores, settings"),
        ("toy", ("images_seen",), "metadata lack images_seen"),
    ],
)
def test_a_file_that_can_have_no_card_is_not_shipped(models, trained, tmp_path, capsys, name, without, message):
    facts = FACTS | SCORES | {"settings": "{}"}
    save_weights(
        tmp_path / f"{name}.safetensors", tiny_generator(8), **{k: facts[k] for k in facts if k not in without}
    )
    files = [trained / "percept-judge.safetensors", tmp_path / f"{name}.safetensors"]
    assert card.main([*map(str, files), "--data", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said and said.count("\n") == 1
    assert weights.shipped_names() == {} and [path.name for path in models.iterdir()] == ["checksums.json"]


def test_a_generator_needs_its_data_before_anything_is_shipped(models, trained, capsys):
    assert card.main([str(trained / "percept-guide.safetensors"), str(trained / "toy.safetensors")]) == 1
    assert capsys.readouterr().err.startswith("error: --data must name the folder with CelebA")
    assert weights.shipped_names() == {}
