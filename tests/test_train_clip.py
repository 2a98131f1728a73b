"""Training of the small CLIP models on a toy budget: the loss over all pairs, zero-shot scores, and the one command."""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from inpaintlib.captions import opposites, vocabulary
from inpaintlib.clip import SHIPPED, MiniClip, load_clip
from inpaintlib.data import Labelled
from inpaintlib.train import clip
from inpaintlib.train.attributes import scores
from inpaintlib.train.clip import Settings, evaluate, main, pair_loss, train
from inpaintlib.weights import load_weights

from .test_data import encoded_pictures, write_parquet
from .tiny import pictures, seeded

TOY = ["--steps", "2", "--batch", "4", "--captions", "6", "--device", "cpu"]
TEXT = {"context_length": 32, "width": 16, "heads": 2, "layers": 1, "no_causal_mask": True}
VISION = {
    "clip-guide": {"image_size": 16, "patch_size": 8, "width": 16, "layers": 1, "head_width": 8, "pool_type": "avg"},
    "clip-judge": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8},
}
TINY = {name: {"embed_dim": 8, "vision_cfg": vision, "text_cfg": TEXT} for name, vision in VISION.items()}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder with 12 noise faces to train on and 8 to score: half bald, one in four smiling, none young or male."""
    folder = tmp_path_factory.mktemp("data")
    for split, n in (("train", 12), ("val", 8)):
        nobody, i = np.zeros(n, dtype=bool), np.arange(n)
        labels = {"Bald": i % 2 == 0, "Male": nobody, "Pale_Skin": i < 2, "Smiling": i % 4 == 1, "Young": nobody}
        write_parquet(folder / f"celeba_{split}.parquet", encoded_pictures(n, 64, 64), labels)
    return folder


@pytest.fixture
def tiny(tmp_path_factory, monkeypatch):
    """Model configs and a bootstrap that take a moment."""
    folder = tmp_path_factory.mktemp("models")
    for name, config in TINY.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    monkeypatch.setattr(clip, "MODELS", folder)
    monkeypatch.setattr(clip, "scores", functools.partial(scores, resamples=10))


def coloured(n: int, *, size: int = 16, seed: int = 0) -> Labelled:
    """Returns noise whose red says who smiles, and whose blue who wears eyeglasses; "Unsaid" has no caption.

    All are bald and nobody is young: a caption states up to four of the attributes that it can say.
    """
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(80, (n, 3, size, size), generator=rng, dtype=torch.uint8)
    smiles, glasses = torch.arange(n) % 2 == 0, torch.arange(n) % 3 == 0
    images[smiles, 0] += 160
    images[glasses, 2] += 160
    everybody = torch.ones(n, dtype=torch.bool)
    labels = torch.stack([everybody, glasses, torch.arange(n) % 5 == 0, smiles, ~everybody], dim=1)
    return Labelled(images, labels, ("Bald", "Eyeglasses", "Unsaid", "Smiling", "Young"))


def network(name: str = "clip-guide", seed: int = 0) -> MiniClip:
    return seeded(lambda: MiniClip({**TINY[name], "init_logit_bias": 0.0}, vocabulary()), seed)


def pairs(images: int, captions: int, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns logits and truths, some captions true of all images and some of none."""
    rng = torch.Generator().manual_seed(seed)
    logits = 3.0 * torch.randn(images, captions, generator=rng, dtype=torch.float64)
    true = torch.rand(images, captions, generator=rng) < torch.rand(captions, generator=rng)
    true[:, 0], true[:, -1] = True, False
    return logits, true


# The loss ---------------------------------------------------------------------------------------------


def test_the_loss_is_its_literal_definition():
    logits, true = pairs(7, 9)
    softplus = lambda v: math.log1p(math.exp(v))  # noqa: E731
    each = []
    for j in range(9):
        sides = []
        for side, sign in ((True, -1.0), (False, 1.0)):
            rows = [i for i in range(7) if bool(true[i, j]) is side]
            if rows:
                sides.append(sum(softplus(sign * float(logits[i, j])) for i in rows) / len(rows))
        each.append(sum(sides) / len(sides))
    assert float(pair_loss(logits, true)) == pytest.approx(sum(each) / 9, rel=1e-6)


@pytest.mark.parametrize("value", [True, False])
def test_more_faces_of_one_side_do_not_outweigh_the_other(value):
    # Of one caption: repeating all of a side's faces leaves its mean, and so the loss, as it was.
    logits, true = pairs(8, 3)
    logits, true = logits[:, 1:2], true[:, 1:2]
    assert 0 < true.sum() < 8
    side = (true == value).flatten()
    longer = torch.cat([logits, *[logits[side]] * 5]), torch.cat([true, *[true[side]] * 5])
    torch.testing.assert_close(pair_loss(*longer), pair_loss(logits, true))


def test_both_sides_of_a_rare_caption_pull_equally():
    # At logits of 0 every pair is as wrong as another; the one true face must pull as the 19 others together.
    true = torch.zeros(20, 1, dtype=torch.bool)
    true[4] = True
    logits = torch.zeros(20, 1, requires_grad=True)
    pair_loss(logits, true).backward()
    assert float(logits.grad[4]) == pytest.approx(-0.25) and float(logits.grad[~true].sum()) == pytest.approx(0.25)


def test_the_loss_falls_to_nothing_where_every_pair_is_decided_rightly():
    _, true = pairs(6, 5)
    assert pair_loss(torch.where(true, 40.0, -40.0), true) < 1e-15
    assert float(pair_loss(torch.where(true, -40.0, 40.0), true)) == pytest.approx(40.0)


def test_the_gradient_of_the_loss_is_that_of_finite_differences():
    logits, true = pairs(4, 5)
    assert torch.autograd.gradcheck(lambda v: pair_loss(v, true), logits.requires_grad_())


# Training ---------------------------------------------------------------------------------------------


def test_every_caption_of_a_batch_is_true_of_a_face_in_it():
    faces = coloured(12)
    texts = clip._captions(faces.labels.numpy(), faces.names, 40, np.random.default_rng(0))
    assert len({c.text for c in texts}) > 15
    assert all(c.true_of(faces.labels.numpy(), faces.names).any() for c in texts)


def test_training_learns_what_can_be_learnt():
    lines, settings = [], Settings(steps=150, batch=16, captions=24, learning_rate=0.01)
    model = train(network(), coloured(60), settings, report=lines.append)
    assert not model.training and [line.split()[1] for line in lines] == ["0", "149"]
    found = {r["attribute"]: r for r in evaluate(model, coloured(60, seed=2))["attributes"]}
    assert sorted(found) == ["Bald", "Eyeglasses", "Smiling", "Young"]
    assert all(found[name]["balanced_accuracy"] > 0.9 for name in ("Eyeglasses", "Smiling"))


@pytest.mark.parametrize("name", SHIPPED)
def test_training_depends_on_its_seed_alone(name):
    def weights(seed: int) -> torch.Tensor:
        settings = Settings(steps=2, batch=4, captions=6, seed=seed)
        model = train(network(name), coloured(8), settings, report=lambda line: torch.rand(1))
        return torch.cat([p.detach().flatten() for p in model.state_dict().values()])

    with torch.random.fork_rng(devices=[]):  # which the reports of training disturb
        one, same, other = weights(0), weights(0), weights(1)
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_the_first_weights_depend_on_the_seed_alone(tiny):
    state = torch.get_rng_state()
    one, same, other = (clip._network("clip-guide", seed).model.visual.conv1.weight for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state), "the global generator is left alone"


# Zero-shot scores -------------------------------------------------------------------------------------


def test_evaluation_asks_which_opposite_captions_a_face_is_nearer_to(tiny):
    model, faces = network().eval().requires_grad_(False), coloured(40)
    rows = {r["attribute"]: r for r in evaluate(model, faces)["attributes"]}
    assert list(rows) == ["Bald", "Eyeglasses", "Smiling", "Young"]
    for row in (rows["Eyeglasses"], rows["Smiling"]):
        y = faces.labels[:, faces.names.index(row["attribute"])]
        ends = []
        for texts in opposites(row["attribute"]):
            mean = sum(model.embed_texts([text])[0] for text in texts) / len(texts)
            ends.append(mean / mean.norm())
        right = []
        for image, has in zip(faces.images, y, strict=True):
            vector = model.embed_images(image[None].float() / 127.5 - 1)[0]
            right.append(bool(vector @ ends[0] > vector @ ends[1]) == bool(has))
        right = np.array(right)
        assert row["balanced_accuracy"] == pytest.approx((right[y].mean() + right[~y].mean()) / 2)
        assert row["accuracy"] == pytest.approx(right.mean())
        assert row["balanced_accuracy_low"] <= row["balanced_accuracy"] <= row["balanced_accuracy_high"]


# The command ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_one_command_writes_a_file_that_loads(tiny, data, tmp_path, capsys, name):
    out = tmp_path / "new"
    assert main([name, "--data", str(data), "--out", str(out), *TOY]) == 0
    assert [p.name for p in out.iterdir()] == [f"{name}.safetensors"]
    path = out / f"{name}.safetensors"
    model, (_, metadata) = load_clip(path), load_weights(path)
    for vectors in (model.embed_images(pictures(2, 64)), model.embed_texts(["a smiling person", "a bald man"])):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
    config = json.loads(metadata["config"])
    assert config == {"open_clip": {**TINY[name], "init_logit_bias": 0.0}, "vocabulary": list(vocabulary())}
    assert json.loads(metadata["settings"]) == {"steps": 2, "batch": 4, "captions": 6, "learning_rate": 0.002,
                                                "weight_decay": 0.05, "seed": 0}  # fmt: skip
    rows = json.loads(metadata["scores"])["attributes"]
    assert [(r["attribute"], r["faces"], r["with"]) for r in rows] == [
        ("Bald", 8, 4), ("Male", 8, 0), ("Pale_Skin", 8, 2), ("Smiling", 8, 2), ("Young", 8, 0)
    ]  # fmt: skip
    said = capsys.readouterr().out.splitlines()
    assert said[-5] == f"Bald: balanced accuracy {rows[0]['balanced_accuracy']:.3f}" and "Young" in said[-1]


# What is wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--steps", "0", "steps must be at least 1; got 0"),
        ("--batch", "-4", "batch must be at least 1; got -4"),
        ("--captions", "0", "captions must be at least 1; got 0"),
        ("--learning-rate", "inf", "learning_rate must be above 0; got inf"),
        ("--weight-decay", "-1", "weight_decay must be at least 0; got -1"),
        ("--seed", "-1", "seed must be at least 0; got -1"),
    ],
)
def test_a_wrong_setting_gives_one_sentence_and_no_file(tiny, data, tmp_path, capsys, option, value, message):
    assert main(["clip-judge", "--data", str(data), "--out", str(tmp_path), *TOY, f"{option}={value}"]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"error: {message}") and said.err.count("\n") == 1 and not said.out
    assert not list(tmp_path.iterdir())


def test_a_folder_without_data_gives_one_sentence_and_no_file(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["clip-guide", "--data", str(tmp_path), "--out", str(out), *TOY]) == 1
    assert "must hold celeba_train.parquet or img_align_celeba/" in capsys.readouterr().err and not out.exists()


def test_a_training_goes_on_from_earlier_weights(tiny, data, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["clip-guide", "--data", str(data), "--out", str(first), *TOY]) == 0
    earlier = first / "clip-guide.safetensors"
    resumed = [*TOY, "--start", str(earlier), "--learning-rate", "1e-9", "--weight-decay", "0"]
    assert main(["clip-guide", "--data", str(data), "--out", str(second), *resumed]) == 0
    weights, (after, metadata) = load_weights(earlier)[0], load_weights(second / "clip-guide.safetensors")
    assert all(torch.allclose(after[k], v, atol=2e-3) for k, v in weights.items() if "running" not in k)
    assert metadata["start"].startswith("an earlier training with {")


def test_a_training_does_not_go_on_from_another_network(tiny, data, tmp_path, capsys):
    assert main(["clip-judge", "--data", str(data), "--out", str(tmp_path / "a"), *TOY]) == 0
    other = tmp_path / "a" / "clip-judge.safetensors"
    assert main(["clip-guide", "--data", str(data), "--out", str(tmp_path / "b"), *TOY, "--start", str(other)]) == 1
    assert "--start must be weights of clip-guide's own config" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
