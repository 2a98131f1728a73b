"""Attribute classifiers: wishes are read, logits are calibrated, and files give what was saved."""

import functools
import math
import os
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.data import resolve_data_config
from torchvision.transforms.v2.functional import normalize

from inpaintlib import attributes, weights
from inpaintlib.attributes import CELEBA, AttributeNetwork, Wish, load_classifier, parse_wishes
from inpaintlib.checks import InpaintError
from inpaintlib.images import resize
from inpaintlib.weights import checksum, save_weights

from .tiny import frozen, pictures, seeded, tiny_classifier

ARCHITECTURE = "test_efficientnet"  # timm's smallest, made for tests; its mean and std are not 0.5


@pytest.fixture(autouse=True)
def _nothing_cached():
    attributes._cached.cache_clear()
    yield
    attributes._cached.cache_clear()


# Wishes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+Smiling", [Wish("Smiling", True)]),
        ("-Smiling", [Wish("Smiling", False)]),
        ("Smiling", [Wish("Smiling", True)]),
        ("+Smiling,-Eyeglasses", [Wish("Smiling", True), Wish("Eyeglasses", False)]),
        ("  + Smiling ,-  5_o_Clock_Shadow ", [Wish("Smiling", True), Wish("5_o_Clock_Shadow", False)]),
    ],
)
def test_wishes_are_names_with_signs(text, expected):
    wishes = parse_wishes(text)
    assert wishes == tuple(expected)
    assert parse_wishes(",".join(map(str, wishes))) == wishes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("+Smiling,-Smiling", r"name each attribute once; -Smiling contradicts \+Smiling"),
        ("-Young,+Smiling,young", r"name each attribute once; \+young contradicts -Young"),
        ("+Smiling, Smiling", r"name each attribute once; \+Smiling repeats \+Smiling"),
        ("", r"attributes must be names with signs, as \+Smiling,-Eyeglasses; got ''"),
        (" ", "must be names with signs"),
        ("+", r"must be names with signs, .*; got '\+'"),
        ("+Smiling,", "must be names with signs"),
        ("+Smiling,-,Young", "must be names with signs"),
    ],
)
def test_unclear_wishes_are_refused(text, message):
    with pytest.raises(InpaintError, match=message):
        parse_wishes(text)


def test_index_is_the_place_in_the_official_order():
    network = tiny_classifier()
    assert [network.index(attribute) for attribute in CELEBA] == list(range(40))


@pytest.mark.parametrize(
    ("given", "nearest"),
    [("Smile", "Smiling"), ("smiling", "Smiling"), ("eye glasses", "Eyeglasses"), ("BlondHair", "Blond_Hair")],
)
def test_unknown_attribute_offers_the_nearest_names(given, nearest):
    with pytest.raises(InpaintError, match=f"one that the classifier knows; got '{given}'; nearest: {nearest}"):
        tiny_classifier().index(given)


def test_attribute_without_a_near_name_lists_all():
    with pytest.raises(InpaintError, match="got 'xyzzy'; known: 5_o_Clock_Shadow, .*, Young"):
        tiny_classifier().index("xyzzy")


# Logits -----------------------------------------------------------------------------------------------


def test_logits_are_calibrated():
    network, x = tiny_classifier(), pictures(2, 16)
    raw = network.network(x)  # mean and std are 0.5, so that the network reads [-1, 1] as it is
    torch.testing.assert_close(network.raw(x), raw)
    torch.testing.assert_close(network(x), network.slope * raw + network.offset)
    assert raw.std(dim=0).min() > 1e-3 and not torch.allclose(network(x), raw)


def test_a_fresh_network_is_not_calibrated():
    options = {"img_size": 16, "patch_size": 8, "embed_dim": 8, "depth": 1, "num_heads": 2}
    network = AttributeNetwork("vit_tiny_patch16_224", size=16, attributes=("Smiling", "Young"), options=options).eval()
    x = pictures(2, 16)
    assert torch.equal(network(x), network.raw(x)) and network(x).shape == (2, 2)
    assert torch.equal(network.evidence(network(x)), network(x))


def test_evidence_is_the_log_likelihood_ratio():
    network = tiny_classifier()
    prior, here, absent = 0.2, 0.6, 0.1  # P(attribute), P(image | attribute), P(image | none)
    network.prior.fill_(prior)
    posterior = prior * here / (prior * here + (1 - prior) * absent)
    evidence = network.evidence(torch.full((1, 40), math.log(posterior / (1 - posterior))))
    torch.testing.assert_close(evidence, torch.full((1, 40), math.log(here / absent)))


def test_evidence_is_finite_whatever_the_prior():
    network = tiny_classifier()
    network.prior[:2] = torch.tensor([0.0, 1.0])
    evidence = network.evidence(torch.zeros(1, 40))
    assert evidence.isfinite().all() and evidence[0, 0] > 9.0 and evidence[0, 1] < -9.0


@pytest.mark.parametrize("size", [8, 32])
def test_images_of_another_size_are_resized(size):
    network, x = tiny_classifier(), pictures(2, size).requires_grad_()
    torch.testing.assert_close(network(x), network(resize(x, 16)))
    (gradient,) = torch.autograd.grad(network(x).square().sum(), x)
    assert gradient.isfinite().all() and (gradient != 0).float().mean() > 0.9


def test_building_a_network_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    AttributeNetwork(ARCHITECTURE)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"architecture": "resnet_of_mine"}, "architecture must be one that timm knows; got 'resnet_of_mine'"),
        ({"architecture": ARCHITECTURE, "options": {"img_sise": 64}}, "one that timm knows; .*img_sise"),
        ({"architecture": ARCHITECTURE, "size": 0}, "size must be at least 1; got 0"),
    ],
)
def test_wrong_network_is_refused(arguments, message):
    with pytest.raises(InpaintError, match=message):
        AttributeNetwork(**arguments)


# Files ------------------------------------------------------------------------------------------------


def test_file_gives_the_network_that_was_saved(tmp_path):
    file, network, x = tmp_path / "mine.safetensors", tiny_classifier(), pictures(2, 16)
    save_weights(file, network, dtype=torch.float32)
    loaded = load_classifier(file)
    assert loaded.attributes == CELEBA and loaded.size == 16 and not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    torch.testing.assert_close(loaded(x), network(x))
    for name in ("slope", "offset", "prior"):
        assert torch.equal(getattr(loaded, name), getattr(network, name))


def test_one_file_is_one_network_until_it_is_written_anew(tmp_path):
    file = tmp_path / "mine.safetensors"
    save_weights(file, tiny_classifier(), dtype=torch.float32)
    first = load_classifier(file)
    assert load_classifier(str(file)) is first
    save_weights(file, tiny_classifier(seed=1), dtype=torch.float32)
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 10**9))
    second = load_classifier(file)
    assert second is not first and torch.equal(second.slope, tiny_classifier(seed=1).slope)


@pytest.mark.parametrize("name", attributes.SHIPPED)
def test_shipped_name_is_a_file_of_the_package(name, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / f"{name}.safetensors"
    save_weights(file, tiny_classifier())
    (tmp_path / "checksums.json").write_text(f'{{"{name}": "{checksum(file)}"}}')
    monkeypatch.setattr(weights, "MODELS", tmp_path)
    torch.testing.assert_close(load_classifier(name).slope, tiny_classifier().slope, rtol=1e-3, atol=0)


@functools.cache
def timm_network(architecture: str = ARCHITECTURE, outputs: int = 40) -> torch.nn.Module:
    return frozen(seeded(lambda: timm.create_model(architecture, num_classes=outputs)))


def plain_file(folder: Path, **network) -> str:
    save_file(timm_network(**network).state_dict(), folder / "plain.safetensors")
    return f"{ARCHITECTURE}:{folder / 'plain.safetensors'}"


def test_plain_state_of_a_timm_architecture_is_read_with_its_own_preprocessing(tmp_path):
    network = timm_network()
    facts = resolve_data_config(model=network)
    size, x = facts["input_size"][-1], pictures(2, facts["input_size"][-1])
    loaded = load_classifier(plain_file(tmp_path))
    assert loaded.size == size and loaded.attributes == CELEBA and facts["mean"][0] != 0.5
    expected = network(normalize((x + 1.0) / 2.0, list(facts["mean"]), list(facts["std"])))
    torch.testing.assert_close(loaded(x), expected, rtol=1e-4, atol=1e-5)
    assert expected.std(dim=0).max() > 1e-4 and not any(p.requires_grad for p in loaded.parameters())


def test_plain_state_with_other_outputs_is_refused(tmp_path):
    with pytest.raises(InpaintError, match=f"weights must be those of {ARCHITECTURE} with 40 outputs; .*size mismatch"):
        load_classifier(plain_file(tmp_path, outputs=10))


def test_plain_state_of_another_architecture_is_refused(tmp_path):
    with pytest.raises(InpaintError, match=r"plain.safetensors: weights must be those of .*(Missing|Unexpected) key"):
        load_classifier(plain_file(tmp_path, architecture="test_byobnet"))


def test_network_file_of_another_kind_is_refused(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "bare.safetensors")
    with pytest.raises(InpaintError, match="'config' must hold the arguments of AttributeNetwork"):
        load_classifier(tmp_path / "bare.safetensors")


@pytest.mark.parametrize("prefix", ["", f"{ARCHITECTURE}:"])
def test_missing_file_is_named(tmp_path, prefix):
    with pytest.raises(InpaintError, match=r"missing.safetensors' is neither a shipped model .* nor a file"):
        load_classifier(f"{prefix}{tmp_path / 'missing.safetensors'}")


def test_unknown_architecture_of_a_file_is_named(tmp_path):
    file = plain_file(tmp_path).partition(":")[2]
    with pytest.raises(InpaintError, match="one that timm knows; got 'vit_of_mine'"):
        load_classifier(f"vit_of_mine:{file}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_network_works_in_any_float_type(dtype):
    network, x = tiny_classifier(dtype=dtype), pictures(1, 16, dtype=dtype)
    assert network(x).dtype == dtype
    torch.testing.assert_close(network(x).float(), tiny_classifier()(x.float()), rtol=1e-4, atol=1e-4)
