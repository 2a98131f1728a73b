"""The shipped files: whole, small, half precision, with cards, and of the right kinds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from inpaintlib import load_discriminator, load_generator
from inpaintlib.attributes import CELEBA, load_classifier
from inpaintlib.captions import vocabulary
from inpaintlib.clip import SHIPPED as CLIPS
from inpaintlib.clip import load_clip
from inpaintlib.features import load_percept
from inpaintlib.images import read_image
from inpaintlib.weights import MODELS, checksum, shipped_names

NAMES = sorted(shipped_names())
PAIRS = [kind for kind in ("attributes", "clip", "percept") if {f"{kind}-guide", f"{kind}-judge"} <= set(NAMES)]
every_model = pytest.mark.parametrize("name", NAMES)


def card(name: str) -> Path:
    """The card of a model; a discriminator stands in its generator's."""
    return MODELS / f"{name.removesuffix('-discriminator')}.md"


def test_files_and_checksums_are_the_same_set():
    assert sorted(path.stem for path in MODELS.glob("*.safetensors")) == NAMES
    assert {"faces64", "faces64-discriminator", "percept-guide", "percept-judge"} <= set(NAMES)


@every_model
def test_a_file_is_what_its_checksum_says(name):
    assert checksum(MODELS / f"{name}.safetensors") == shipped_names()[name]


@every_model
def test_weights_are_half_precision_and_below_16_mib(name):
    path = MODELS / f"{name}.safetensors"
    assert path.stat().st_size < 16 * 2**20
    with safe_open(path, framework="pt") as f:
        assert {f.get_slice(key).get_dtype() for key in f.keys()} == {"F16"}  # noqa: SIM118 (not a mapping)
        assert "config" in f.metadata()


@every_model
def test_a_model_loads_by_its_name(name):
    if name.startswith("percept-"):
        taps = load_percept(name).taps(torch.zeros(1, 3, 64, 64))
        assert all(t.isfinite().all() for t in taps)
    elif name.startswith("attributes-"):
        classifier = load_classifier(name)
        grey, black = classifier(torch.zeros(1, 3, 64, 64)), classifier(-torch.ones(1, 3, 64, 64))
        assert classifier.attributes == CELEBA and grey.shape == (1, 40) and grey.isfinite().all()
        assert (grey - black).abs().max() > 0.1, "different images have different logits"
        assert (classifier.slope > 0).all() and ((classifier.prior > 0) & (classifier.prior < 1)).all()
    elif name.startswith("clip-"):
        clip = load_clip(name)
        image, texts = clip.embed_images(torch.zeros(1, 3, 64, 64)), clip.embed_texts(["a smiling woman", "a man"])
        torch.testing.assert_close(torch.cat([image, texts]).norm(dim=1), torch.ones(3))
        assert texts[0] @ texts[1] < 0.9, "different captions have different vectors"
    elif name.endswith("-discriminator"):
        assert load_discriminator(name)(torch.zeros(1, 3, 64, 64)).isfinite().all()
    else:
        generator = load_generator(name)
        z = torch.randn(4, generator.z_dim, generator=torch.Generator().manual_seed(0))
        faces = generator(z)
        assert faces.shape == (4, 3, 64, 64) and faces.isfinite().all()
        assert (faces[0] - faces[1]).abs().mean() > 0.05, "different codes are different faces"


@every_model
def test_a_card_names_the_checksum_the_data_and_the_terms(name):
    text = card(name).read_text()
    assert shipped_names()[name] in text
    assert "CelebA" in text
    assert "non-commercial" in text
    assert not re.search(r"\{\w|\bnan\b|[^`]\binf\b|None", text), "an unfilled or empty value"


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.md")), ids=lambda path: path.stem)
def test_files_that_a_card_names_exist(path):
    for name in re.findall(r"`([\w.-]+\.(?:safetensors|png|md))`", path.read_text()):
        assert (MODELS / name).is_file(), name


def image_network(name: str) -> nn.Module:
    """The part of a shipped model that sees."""
    if name.startswith("attributes-"):
        return load_classifier(name).network
    return load_clip(name).model.visual if name.startswith("clip-") else load_percept(name).taps.body


@pytest.mark.parametrize("kind", PAIRS)
def test_guide_and_judge_are_different_networks(kind):
    guide, judge = (image_network(f"{kind}-{role}") for role in ("guide", "judge"))
    assert type(guide) is not type(judge)
    assert shipped_names()[f"{kind}-guide"] != shipped_names()[f"{kind}-judge"]
    kinds = [{type(m).__name__ for m in network.modules()} for network in (guide, judge)]
    assert kinds[0] != kinds[1]
    shapes = [sorted(tuple(p.shape) for p in network.parameters()) for network in (guide, judge)]
    assert shapes[0] != shapes[1]


def test_no_guide_is_shipped_without_its_judge():
    assert {name.rpartition("-")[0] for name in NAMES if name.endswith(("-guide", "-judge"))} == set(PAIRS)


def test_the_judge_of_features_has_residual_blocks():
    kinds = [{type(m).__name__ for m in image_network(f"percept-{role}").modules()} for role in ("guide", "judge")]
    assert "ResidualBlock" in kinds[1] - kinds[0]


def config(name: str) -> dict:
    """The open_clip config that a CLIP model of ours is trained from."""
    return json.loads((MODELS / f"{name}.json").read_text(encoding="utf-8"))


def test_every_clip_model_has_a_config_and_no_other_has():
    assert sorted(path.stem for path in MODELS.glob("*.json")) == ["checksums", *sorted(CLIPS)]


@pytest.mark.parametrize("name", CLIPS)
def test_open_clip_accepts_a_config(name):
    import open_clip

    facts = config(name)
    text = {**facts["text_cfg"], "vocab_size": 20}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model = open_clip.CLIP(**{**facts, "text_cfg": text}).eval()
        seen = model.encode_image(torch.zeros(1, 3, 64, 64))
        read = model.encode_text(torch.ones(1, text["context_length"], dtype=torch.int64))
    assert seen.shape == read.shape == (1, facts["embed_dim"])


def test_the_clip_configs_differ_in_the_image_tower_alone():
    guide, judge = (config(name) for name in CLIPS)
    vision = guide.pop("vision_cfg"), judge.pop("vision_cfg")
    assert guide == judge and vision[0]["image_size"] == vision[1]["image_size"] == 64
    assert vision[0] != vision[1]


def test_a_shipped_clip_model_is_of_its_config_and_knows_the_words_of_the_captions():
    for name in set(CLIPS) & set(NAMES):
        with safe_open(MODELS / f"{name}.safetensors", framework="pt") as f:
            stored = json.loads(f.metadata()["config"])
        assert stored["open_clip"] == {**config(name), "init_logit_bias": 0.0}, name
        assert stored["vocabulary"] == list(vocabulary()), name


def test_there_is_no_other_binary_file():
    files = [path for path in MODELS.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".safetensors", ".png", ".md", ".json"}
    for path in files:
        if path.suffix in (".md", ".json"):
            path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(MODELS.rglob("*.png")), ids=lambda path: path.name)
def test_pictures_are_small_and_readable(path):
    assert path.stat().st_size < 2 * 2**20
    assert read_image(path).std() > 0.05
