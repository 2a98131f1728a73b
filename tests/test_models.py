"""The shipped files: whole, small, half precision, with cards, and of the right kinds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from inpaintlib import load_discriminator, load_generator
from inpaintlib.features import load_percept
from inpaintlib.images import read_image
from inpaintlib.weights import MODELS, checksum, shipped_names

NAMES = sorted(shipped_names())
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


def test_guide_and_judge_are_different_networks():
    guide, judge = (load_percept(name).taps for name in ("percept-guide", "percept-judge"))
    assert type(guide) is not type(judge)
    assert shipped_names()["percept-guide"] != shipped_names()["percept-judge"]
    kinds = [{type(m).__name__ for m in network.modules()} for network in (guide, judge)]
    assert "ResidualBlock" in kinds[1] - kinds[0]


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
