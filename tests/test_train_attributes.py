"""Training of the attribute classifiers on a toy budget: learning, calibration, scores, and the one command."""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from sklearn.metrics import average_precision_score, balanced_accuracy_score, log_loss
from torch import nn

from inpaintlib.attributes import SHIPPED, AttributeNetwork, load_classifier
from inpaintlib.data import Labelled
from inpaintlib.train import attributes
from inpaintlib.train.attributes import Settings, calibrate, evaluate, main, means, scores, train
from inpaintlib.weights import load_weights

from .test_data import NAMES, encoded_pictures, write_celeba_parquet
from .tiny import pictures, seeded

TOY = ["--steps", "2", "--batch", "4", "--calibration", "3", "--device", "cpu"]
TINY = {
    "attributes-guide": ("vit_tiny_patch16_224",
                         {"img_size": 64, "patch_size": 32, "embed_dim": 8, "depth": 1, "num_heads": 2}),
    "attributes-judge": ("resnet10t", {"stem_width": 4, "channels": [4, 4, 8, 8]}),
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder with 14 noise faces to train on and 8 to score: half bald, one in four smiling, none young."""
    folder = tmp_path_factory.mktemp("data")
    for split, n in (("train", 14), ("val", 8)):
        labels = np.stack([np.arange(n) % 2 == 0, np.arange(n) % 4 == 1, np.zeros(n, dtype=bool)], axis=1)
        write_celeba_parquet(folder, encoded_pictures(n, 64, 64), labels, split)
    return folder


@pytest.fixture
def tiny(monkeypatch):
    """Architectures and a bootstrap that take a moment."""
    monkeypatch.setattr(attributes, "ARCHITECTURES", TINY)
    monkeypatch.setattr(attributes, "scores", functools.partial(scores, resamples=10))


def network(size: int = 16) -> AttributeNetwork:
    options = {"img_size": size, "patch_size": size // 2, "embed_dim": 16, "depth": 1, "num_heads": 2}
    names = ("Red", "Blue", "Not_Red")
    return seeded(lambda: AttributeNetwork("vit_tiny_patch16_224", options=options, attributes=names, size=size))


def coloured(n: int, *, size: int = 16, seed: int = 0) -> Labelled:
    """Returns noise that is bright in red in every second image and in blue in every third."""
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(80, (n, 3, size, size), generator=rng, dtype=torch.uint8)
    red, blue = torch.arange(n) % 2 == 0, torch.arange(n) % 3 == 0
    images[red, 0] += 160
    images[blue, 2] += 160
    return Labelled(images, torch.stack([red, blue, ~red], dim=1), ("Red", "Blue", "Not_Red"))


class Told(nn.Module):
    """A classifier whose raw logits are in the images: ``scale * (level of channel a) + shift``, one per channel."""

    def __init__(self, scale: float = 1.0, shift: float = 0.0, outputs: int = 3):
        super().__init__()
        self.scale, self.shift, self.outputs = scale, shift, outputs
        for name, start in (("slope", 1.0), ("offset", 0.0), ("prior", 0.5)):
            self.register_buffer(name, torch.full((outputs,), start))

    def raw(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * x[:, : self.outputs, 0, 0] + self.shift

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.slope * self.raw(x) + self.offset

    evidence = AttributeNetwork.evidence


def told(labels: torch.Tensor | None = None, *, n: int = 6000, steep: float = 2.0) -> tuple[Labelled, torch.Tensor]:
    """Returns images of one pixel, and log odds ``steep * x`` by which labels are drawn if none are given."""
    rng = torch.Generator().manual_seed(3)
    images = torch.randint(256, (n, 3, 1, 1), generator=rng).to(torch.uint8)
    odds = steep * (images[:, :, 0, 0].double() / 127.5 - 1.0)
    drawn = torch.rand(n, 3, generator=rng, dtype=torch.float64) < torch.sigmoid(odds)
    return Labelled(images, drawn if labels is None else labels, ("A", "B", "C")), odds


# Training ---------------------------------------------------------------------------------------------


def test_guide_and_judge_have_different_architectures():
    (guide, _), (judge, _) = (attributes.ARCHITECTURES[name] for name in SHIPPED)
    assert guide != judge


def test_training_learns_what_can_be_learnt(tiny):
    lines, settings = [], Settings(steps=60, batch=16, learning_rate=0.02, mixup=0.2)
    model = train(network(), coloured(60), settings, report=lines.append)
    assert not model.training and [line.split()[1] for line in lines] == ["0", "59"]
    found = evaluate(calibrate(model, coloured(60, seed=1), torch.tensor([1 / 2, 1 / 3, 1 / 2])), coloured(60, seed=2))
    assert [r["attribute"] for r in found["attributes"]] == ["Red", "Blue", "Not_Red"]
    for r in found["attributes"]:
        assert r["balanced_accuracy"] > 0.9 and r["average_precision"] > 0.9
    # Counted are only the two attributes with 25 faces on either side.
    assert found["means"]["attributes_counted"] == 2 and found["means"]["balanced_accuracy"] > 0.9


@pytest.mark.parametrize("name", SHIPPED)
def test_training_depends_on_its_seed_alone(tiny, name):
    architecture, options = TINY[name]
    options = options | {"drop_rate": 0.5}  # whose draws are of the global generator

    def weights(seed: int) -> torch.Tensor:
        torch.rand(1)
        faces, settings = coloured(8, size=64), Settings(steps=2, batch=4, seed=seed)
        build = lambda: AttributeNetwork(architecture, options=options, attributes=faces.names)  # noqa: E731
        model = train(seeded(build), faces, settings, report=lambda line: torch.rand(1))
        return torch.cat([p.detach().flatten() for p in model.state_dict().values()])

    with torch.random.fork_rng(devices=[]):  # which the reports of training disturb
        one, same, other = weights(0), weights(0), weights(1)
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_training_without_mixing_uses_the_labels_as_they_are(monkeypatch):
    targets = []
    monkeypatch.setattr(attributes.F, "binary_cross_entropy_with_logits",
                        lambda logits, y: targets.append(y) or (logits - y).square().mean())  # fmt: skip
    train(network(), coloured(8), Settings(steps=2, batch=6, mixup=0.0), report=lambda line: None)
    assert all(set(y.unique().tolist()) <= {0.0, 1.0} for y in targets)
    targets.clear()
    train(network(), coloured(8), Settings(steps=2, batch=6, mixup=1.0), report=lambda line: None)
    assert all(((y >= 0) & (y <= 1)).all() and ((y > 0) & (y < 1)).any() for y in targets)


# Calibration ------------------------------------------------------------------------------------------


def test_calibration_finds_the_slope_and_offset_that_undo_a_known_distortion():
    kept, odds = told()
    # The network says 3 t + 1 where t are the log odds: so t = raw / 3 - 1 / 3.
    model = calibrate(Told(scale=6.0, shift=1.0), kept, kept.labels.float().mean(0))
    assert model.slope.tolist() == pytest.approx([1 / 3] * 3, abs=0.02)
    assert model.offset.tolist() == pytest.approx([-1 / 3] * 3, abs=0.08)
    x = kept.images.float() / 127.5 - 1
    assert (torch.sigmoid(model(x)) - torch.sigmoid(odds)).abs().max() < 0.03
    assert torch.equal(model.prior, kept.labels.float().mean(0))


def test_calibration_is_where_the_gradient_of_platts_loss_is_zero():
    kept, _ = told(n=200)
    model = calibrate(Told(scale=3.0, shift=-0.5), kept, torch.full((3,), 0.5))
    raw, y = model.raw(kept.images.double() / 127.5 - 1), kept.labels
    for a in range(3):
        yes, n = int(y[:, a].sum()), len(y)
        target = np.where(y[:, a], (yes + 1) / (yes + 2), 1 / (n - yes + 2))
        slope, offset = float(model.slope[a]), float(model.offset[a])
        residual = 1 / (1 + np.exp(-(slope * raw[:, a].numpy() + offset))) - target
        assert abs(residual.mean()) < 1e-5
        assert abs((residual * raw[:, a].numpy()).mean() + 2e-3 * (slope - 1)) < 1e-5


def test_calibration_lowers_the_log_loss_of_other_faces():
    kept, _ = told()
    other = Labelled(kept.images[3000:], kept.labels[3000:], kept.names)
    x, model = other.images.float() / 127.5 - 1, Told(scale=6.0, shift=1.0)
    before = torch.sigmoid(model(x))
    after = torch.sigmoid(calibrate(model, Labelled(kept.images[:3000], kept.labels[:3000], kept.names),
                                    torch.full((3,), 0.5))(x))  # fmt: skip
    for a in range(3):
        assert log_loss(other.labels[:, a], after[:, a]) < log_loss(other.labels[:, a], before[:, a]) - 0.05


def test_an_attribute_that_nobody_or_everybody_has_stays_finite_and_likely_as_seen():
    n = 98
    labels = torch.stack([torch.zeros(n), torch.ones(n), torch.arange(n) % 2], dim=1).bool()
    kept, _ = told(labels, n=n)
    model = calibrate(Told(scale=4.0), kept, labels.float().mean(0))
    p = torch.sigmoid(model(kept.images.float() / 127.5 - 1))
    # Platt's targets: 1 / (n + 2) of a face has what none of n had.
    assert p.isfinite().all() and 0.002 < p[:, 0].mean() < 0.02 and 0.98 < p[:, 1].mean() < 0.998
    assert p[:, 0].max() < 0.05 and p[:, 1].min() > 0.95
    assert (model.slope > 0).all(), "a higher logit is never a lower probability"
    assert model.prior.tolist() == pytest.approx([0.002, 0.998, 0.5]), "finite log odds of the shares"
    assert model.evidence(model(kept.images.float() / 127.5 - 1)).isfinite().all()


def test_a_network_that_is_wrong_keeps_a_positive_slope():
    kept, _ = told()
    model = calibrate(Told(scale=-2.0), kept, torch.full((3,), 0.5))
    assert (model.slope > 0).all() and model.slope.max() < 0.1


# Scores -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judged():
    """Labels of 120 faces and logits that know something of them; of the last attribute there are 3 faces."""
    rng = np.random.default_rng(0)
    labels = rng.random((120, 3)) < [0.5, 0.35, 0.0]
    labels[:3, 2] = True
    logits = torch.from_numpy(rng.normal(size=(120, 3)) + labels).float()
    evidence = logits - torch.tensor([0.5, 1.0, 0.2])
    names = ("A", "B", "C")
    return logits, evidence, labels, scores(logits, evidence, torch.from_numpy(labels), names, resamples=100)


def literal_average_precision(rank: np.ndarray, y: np.ndarray) -> float:
    """The mean, over the faces that have it, of the share that has it among those ranked no lower."""
    return float(np.mean([y[rank >= rank[i]].mean() for i in np.flatnonzero(y)]))


def test_scores_are_their_literal_definitions_and_scikit_learns(judged):
    logits, evidence, labels, rows = judged
    for a, row in enumerate(rows):
        y, decided, rank = labels[:, a], evidence[:, a].numpy() > 0, logits[:, a].numpy()
        found = sum(d and t for d, t in zip(decided, y, strict=True)) / y.sum()
        spared = sum(not d and not t for d, t in zip(decided, y, strict=True)) / (~y).sum()
        assert row["balanced_accuracy"] == pytest.approx((found + spared) / 2)
        assert row["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y, decided))
        assert row["average_precision"] == pytest.approx(literal_average_precision(rank, y))
        assert row["average_precision"] == pytest.approx(average_precision_score(y, rank))
        assert row["accuracy"] == pytest.approx(np.mean(decided == y))
        assert row["majority_accuracy"] == pytest.approx(max(y.mean(), 1 - y.mean()))
        counts = [row[key] for key in ("attribute", "faces", "with", "minority")]
        assert counts == ["ABC"[a], 120, y.sum(), min(y.sum(), (~y).sum())]


def test_intervals_contain_their_value_and_are_wider_for_fewer_faces(judged):
    rows = judged[3]
    for row in rows:
        for key in ("balanced_accuracy", "average_precision"):
            assert 0 <= row[f"{key}_low"] <= row[key] <= row[f"{key}_high"] <= 1
    widths = [row["balanced_accuracy_high"] - row["balanced_accuracy_low"] for row in rows]
    assert 0.05 < widths[0] < widths[1] < widths[2]


def test_a_perfect_and_a_blind_classifier_score_as_they_must():
    y = torch.arange(60).view(60, 1) % 3 == 0
    sure = torch.where(y, 1.0, -1.0)
    (perfect,) = scores(sure, sure, y, ("A",), resamples=20)
    assert all(perfect[f"balanced_accuracy{end}"] == perfect[f"average_precision{end}"] == 1.0
               for end in ("", "_low", "_high"))  # fmt: skip
    same = torch.ones(60, 1)
    (blind,) = scores(same, same, y, ("A",), resamples=20)
    assert blind["balanced_accuracy"] == blind["balanced_accuracy_low"] == 0.5
    assert blind["average_precision"] == pytest.approx(1 / 3), "chance is the share"


@pytest.mark.parametrize("count", [0, 1, 11, 12])
def test_an_attribute_without_two_sides_has_no_score_that_needs_them(count):
    y = torch.arange(12).view(12, 1) < count
    (row,) = scores(torch.zeros(12, 1), torch.zeros(12, 1), y, ("A",), resamples=5)
    assert row["with"] == count and row["minority"] == min(count, 12 - count)
    assert "balanced_accuracy" not in row and "average_precision" not in row
    assert row["majority_accuracy"] >= 11 / 12


def test_means_leave_out_attributes_with_few_faces_on_a_side(judged):
    rows = [dict(row) for row in judged[3]]
    assert [row["minority"] >= 25 for row in rows] == [True, True, False]
    found = means(rows)
    assert found["attributes_counted"] == 2
    for key in ("balanced_accuracy", "average_precision"):
        assert found[key] == pytest.approx((rows[0][key] + rows[1][key]) / 2)
        assert found[f"{key}_low"] <= found[key] <= found[f"{key}_high"]
    assert found["average_precision_chance"] == pytest.approx((rows[0]["with"] + rows[1]["with"]) / 240)
    # Accuracy needs no minority, so it is of all.
    for key in ("accuracy", "majority_accuracy"):
        assert found[key] == pytest.approx(sum(row[key] for row in rows) / 3)
    rows[2] |= {"balanced_accuracy": 0.0, "average_precision": 0.0}
    assert means(rows) == found


def test_the_limit_of_counting_is_25_faces():
    row = {"with": 25, "faces": 100, "accuracy": 0.5, "majority_accuracy": 0.75, "balanced_accuracy": 0.5,
           "average_precision": 0.5}  # fmt: skip
    assert means([row | {"minority": 24}]) == {"attributes_counted": 0}
    assert means([row | {"minority": 25}])["attributes_counted"] == 1


def test_evaluation_decides_at_the_prior_and_measures_the_gap_of_probabilities(tiny):
    # Two groups of faces that the network gives 1 : 4 and 4 : 1; 30 % and 60 % of them have the attribute.
    level = torch.tensor([0] * 50 + [255] * 50, dtype=torch.uint8)
    labels = torch.tensor([True] * 15 + [False] * 35 + [True] * 30 + [False] * 20)
    faces = Labelled(level.view(100, 1, 1, 1).repeat(1, 3, 1, 1), labels.view(100, 1), ("A",))
    model = Told(scale=math.log(4.0), outputs=1)
    found = evaluate(model, faces)
    assert found["calibration_error"] == pytest.approx(0.5 * (0.3 - 0.2) + 0.5 * (0.8 - 0.6), abs=1e-6)
    (row,) = found["attributes"]
    assert row["balanced_accuracy"] == pytest.approx((30 / 45 + 35 / 55) / 2)
    model.prior.fill_(0.9)  # then not even 4 : 1 is evidence for it
    assert evaluate(model, faces)["attributes"][0]["balanced_accuracy"] == 0.5


# The command ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_one_command_writes_a_file_that_loads(tiny, data, tmp_path, capsys, name):
    out = tmp_path / "new"
    assert main([name, "--data", str(data), "--out", str(out), *TOY]) == 0
    assert [p.name for p in out.iterdir()] == [f"{name}.safetensors"]
    path = out / f"{name}.safetensors"
    classifier, (_, metadata) = load_classifier(path), load_weights(path)
    assert classifier(pictures(2, 64)).isfinite().all() and classifier.attributes == NAMES
    assert classifier.config["architecture"] == TINY[name][0] and classifier.config["size"] == 64
    assert json.loads(metadata["settings"]) == {"steps": 2, "batch": 4, "learning_rate": 0.002, "weight_decay": 0.05,
                                                "mixup": 0.3, "calibration": 3, "seed": 0}  # fmt: skip
    assert metadata["start"] == "random weights" and int(metadata["seconds"]) >= 0 and metadata["hardware"]
    found = json.loads(metadata["scores"])
    assert [(r["attribute"], r["faces"], r["with"]) for r in found["attributes"]] == [
        ("Bald", 8, 4), ("Smiling", 8, 2), ("Young", 8, 0)
    ]  # fmt: skip
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == found["means"] == {"attributes_counted": 0}


def test_the_command_takes_another_architecture_of_timm(tiny, data, tmp_path):
    arguments = ["attributes-guide", "--data", str(data), "--out", str(tmp_path), *TOY, "--architecture", "test_vit"]
    assert main(arguments) == 0
    classifier = load_classifier(tmp_path / "attributes-guide.safetensors")
    facts = timm.get_pretrained_cfg("test_vit")
    assert classifier.config["architecture"] == "test_vit" and classifier.size == facts.input_size[-1]
    assert classifier.config["mean"] == list(facts.mean) and classifier.config["std"] == list(facts.std)
    assert classifier(pictures(1, 64)).shape == (1, 3)


def test_pretrained_starts_from_timms_weights(tiny, data, tmp_path, monkeypatch):
    create, asked = timm.create_model, []

    def fetched(architecture, *, pretrained=False, **options):
        asked.append((architecture, pretrained))
        model = create(architecture, pretrained=False, **options)
        if pretrained:
            for p in model.parameters():
                p.data.fill_(0.25)
        return model

    monkeypatch.setattr(timm, "create_model", fetched)
    arguments = ["attributes-guide", "--data", str(data), "--out", str(tmp_path), *TOY, "--architecture", "test_vit",
                 "--pretrained", "--learning-rate", "1e-9"]  # fmt: skip
    assert main(arguments) == 0
    assert ("test_vit", True) in asked
    tensors, metadata = load_weights(tmp_path / "attributes-guide.safetensors")
    assert metadata["start"] == "timm's weights"
    assert all(torch.allclose(t, torch.tensor(0.25)) for k, t in tensors.items() if k.endswith("weight"))


# What is wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--steps", "0", "steps must be at least 1; got 0"),
        ("--batch", "-4", "batch must be at least 1; got -4"),
        ("--learning-rate", "0", "learning_rate must be above 0; got 0"),
        ("--weight-decay", "nan", "weight_decay must be at least 0; got nan"),
        ("--mixup", "-1", "mixup must be at least 0; got -1"),
        ("--calibration", "0", "calibration must be at least 1; got 0"),
        ("--calibration", "7", "calibration must be between 1 and 6 faces; got 7"),
        ("--seed", "-1", "seed must be at least 0; got -1"),
        ("--architecture", "resnet_of_dreams", "--architecture must be one that timm knows; got 'resnet_of_dreams'"),
    ],
)
def test_a_wrong_setting_gives_one_sentence_and_no_file(tiny, data, tmp_path, capsys, option, value, message):
    arguments = ["attributes-guide", "--data", str(data), "--out", str(tmp_path), *TOY, f"{option}={value}"]
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"error: {message}") and said.err.count("\n") == 1 and not said.out
    assert not list(tmp_path.iterdir())


def test_pretrained_weights_belong_to_an_architecture_that_is_named(tmp_path, capsys):
    arguments = ["attributes-judge", "--data", str(tmp_path), "--out", str(tmp_path), *TOY, "--pretrained"]
    assert main(arguments) == 1
    assert capsys.readouterr().err.startswith("error: --pretrained needs --architecture")


def test_pretrained_weights_that_cannot_be_had_give_one_sentence_and_no_file(
    tiny, data, tmp_path, monkeypatch, capsys
):  # fmt: skip
    import huggingface_hub.constants as hub

    # What the variables HF_HUB_OFFLINE and HF_HUB_CACHE set, which were read when the package was imported.
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "out"
    arguments = ["attributes-judge", "--data", str(data), "--out", str(out), *TOY, "--architecture", "test_vit"]
    assert main([*arguments, "--pretrained"]) == 1
    assert "--pretrained needs a --learning-rate such as 5e-5; 0.002 undoes" in capsys.readouterr().err
    assert main([*arguments, "--pretrained", "--learning-rate", "5e-5"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: --pretrained needs timm's weights of test_vit in the Hub's cache or a network")
    assert said.count("\n") == 1 and not out.exists()


def test_a_folder_without_data_gives_one_sentence_and_no_file(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["attributes-judge", "--data", str(tmp_path), "--out", str(out), *TOY]) == 1
    assert "must hold celeba_train.parquet or img_align_celeba/" in capsys.readouterr().err and not out.exists()
