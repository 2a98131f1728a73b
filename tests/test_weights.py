"""Weights on disk: what is written comes back, and what is wrong gives one sentence and no file."""

import errno
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from inpaintlib import weights
from inpaintlib.checks import InpaintError
from inpaintlib.stylegan2 import Discriminator, Generator
from inpaintlib.weights import checksum, checksums, load_discriminator, load_generator, load_weights, save_weights

from .tiny import seeded

CONFIG = {"z_dim": 6, "w_dim": 5, "img_resolution": 8, "channel_base": 32, "mapping_layers": 2}


def small_generator() -> Generator:
    return seeded(lambda: Generator(**CONFIG))


def z(n: int = 2) -> torch.Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(0))


def assert_same_state(one: torch.nn.Module, other: torch.nn.Module) -> None:
    a, b = one.state_dict(), other.state_dict()
    assert a.keys() == b.keys()
    for key in a:
        assert a[key].dtype == b[key].dtype == torch.float32 and torch.equal(a[key], b[key]), key


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "g.safetensors"
    save_weights(path, small_generator(), images_seen="1234")
    return path


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped models with one generator, ``tiny``; returns its file."""
    folder = tmp_path / "models"
    monkeypatch.setattr(weights, "MODELS", folder)
    path = folder / "tiny.safetensors"
    save_weights(path, small_generator())
    (folder / "checksums.json").write_text(json.dumps({"tiny": checksum(path)}))
    return path


def rewrite(path: Path, change) -> None:
    """Writes the file again after ``change(tensors, metadata)``."""
    with safe_open(path, framework="pt") as f:
        metadata, tensors = f.metadata(), {key: f.get_tensor(key) for key in f.keys()}  # noqa: SIM118
    change(tensors, metadata)
    save_file(tensors, path, metadata=metadata)


# What is written comes back --------------------------------------------------------------------------


def test_float32_round_trip_is_exact(tmp_path):
    g, path = small_generator(), tmp_path / "g.safetensors"
    save_weights(path, g, dtype=torch.float32)
    loaded = load_generator(path)
    assert_same_state(loaded, g)
    torch.testing.assert_close(loaded(z()), g(z()))  # to rounding: its weights are stored channels-last


def test_default_storage_is_float16_and_use_is_float32(file):
    with safe_open(file, framework="pt") as f:
        assert {f.get_slice(key).get_dtype() for key in f.keys()} == {"F16"}  # noqa: SIM118
    assert_same_state(load_generator(file), small_generator().half().float())


def test_file_carries_config_and_facts(file):
    _, metadata = load_weights(file)
    assert json.loads(metadata["config"]) == small_generator().config
    assert metadata["images_seen"] == "1234"


def test_loaded_network_is_frozen_and_loading_draws_no_random_number(file):
    before = torch.get_rng_state()
    g = load_generator(file)
    assert torch.equal(torch.get_rng_state(), before)
    assert not g.training and not any(p.requires_grad for p in g.parameters())


def test_discriminator_round_trip(tmp_path):
    d = Discriminator(0, 8, channel_base=32)
    save_weights(tmp_path / "d.safetensors", d, dtype=torch.float32)
    loaded = load_discriminator(tmp_path / "d.safetensors")
    assert_same_state(loaded, d)
    image = torch.linspace(-1, 1, 4 * 3 * 8 * 8).view(4, 3, 8, 8)
    torch.testing.assert_close(loaded(image), d(image))


def test_shipped_name_loads_like_its_file(shipped):
    assert weights.shipped_names() == {"tiny": checksum(shipped)}
    assert torch.equal(load_generator("tiny")(z()), load_generator(shipped)(z()))


def test_checksums_name_files_and_foreign_networks(shipped):
    expected = f"sha256:{checksum(shipped)}"
    found = checksums("tiny", str(shipped), "ViT-B-16/openai")
    assert found == {"tiny": expected, str(shipped): expected, "ViT-B-16/openai": "weights of another package"}


def test_package_ships_what_its_checksums_name():
    for name, expected in weights.shipped_names().items():
        path, found = weights.resolve(name)
        assert found == expected == checksum(path)


# What is wrong ---------------------------------------------------------------------------------------


def test_unknown_name_lists_the_known_ones(shipped):
    known = r"\(tiny\), nor of the zoo \(ffhq-1024, .*\), nor a file"
    with pytest.raises(InpaintError, match=f"'faces' is neither a shipped model {known}"):
        load_generator("faces")


def test_folder_is_no_file(tmp_path):
    with pytest.raises(InpaintError, match="nor a file"):
        load_generator(tmp_path)


def test_name_that_no_file_system_takes_is_no_file(shipped):
    for name in ("x" * 5000, "x\0"):
        with pytest.raises(InpaintError, match="is neither a shipped model"):
            load_generator(name)
    assert checksums("x" * 5000) == {"x" * 5000: "weights of another package"}


@pytest.mark.parametrize(
    ("text", "fault"),
    [(None, "No such file"), ("{", "cannot be read"), ("[]", "must map each"), ('{"tiny": 1}', "must map each")],
)
def test_missing_or_damaged_list_of_models_is_named(shipped, text, fault):
    path = shipped.with_name("checksums.json")
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(InpaintError, match=f"checksums.json .*{fault}"):
        load_generator("tiny")


def test_wrong_checksum_is_refused(shipped):
    content = bytearray(shipped.read_bytes())
    content[-1] ^= 1
    shipped.write_bytes(content)
    with pytest.raises(InpaintError, match="tiny.safetensors must have SHA-256 .*; got .* damaged"):
        load_generator("tiny")


def test_missing_shipped_file_is_named(shipped):
    shipped.unlink()
    with pytest.raises(InpaintError, match="tiny.safetensors is missing"):
        load_generator("tiny")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:6],
        lambda content: b"",
        lambda content: b"\x80\x04N." * 9,  # a pickle
        lambda content: b"\xff" * 64,
    ],
    ids=["truncated", "truncated_header", "empty", "pickle", "noise"],
)
def test_file_that_is_no_safetensors_is_refused(file, damage):
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InpaintError, match="g.safetensors must be a safetensors file; it cannot be read"):
        load_generator(file)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(file, value):
    rewrite(file, lambda tensors, _: tensors["synthesis.b8.conv0.bias"].fill_(value))
    with pytest.raises(InpaintError, match="tensor synthesis.b8.conv0.bias must be finite"):
        load_generator(file)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, _: tensors.update({"mapping.w_avg": torch.zeros(7)}),
        lambda tensors, _: tensors.pop("mapping.w_avg"),
        lambda tensors, _: tensors.update({"mapping.w_average": torch.zeros(5)}),
        lambda _, metadata: metadata.update(config=json.dumps(CONFIG | {"w_dim": 9})),
    ],
    ids=["shape", "missing", "unknown", "other_config"],
)
def test_weights_that_do_not_fit_are_refused(file, change):
    rewrite(file, change)
    with pytest.raises(InpaintError, match="weights must fit Generator") as caught:
        load_generator(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "config",
    [None, "{", "[1]", '{"colour": 1}', '{"img_resolution": 12}', '{"img_resolution": "64"}', '{"w_dim": -1}'],
)
def test_config_that_builds_no_network_is_refused(file, config):
    rewrite(file, lambda _, metadata: metadata.pop("config") if config is None else metadata.update(config=config))
    with pytest.raises(InpaintError, match="metadata 'config' must hold the arguments of Generator; got"):
        load_generator(file)


def test_discriminator_is_no_generator(tmp_path):
    save_weights(tmp_path / "d.safetensors", Discriminator(0, 8, channel_base=32))
    with pytest.raises(InpaintError, match="must hold the arguments of Generator"):
        load_generator(tmp_path / "d.safetensors")


# Nothing half-written --------------------------------------------------------------------------------


def test_value_beyond_float16_is_refused_before_writing(tmp_path):
    g = small_generator()
    g.mapping.w_avg.fill_(1e6)
    with pytest.raises(InpaintError, match="mapping.w_avg as torch.float16 must be finite"):
        save_weights(tmp_path / "g.safetensors", g)
    assert list(tmp_path.iterdir()) == []


def test_file_in_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "folder").write_text("not a folder")
    for path in (tmp_path / "folder" / "g.safetensors", tmp_path / "folder" / "deep" / "g.safetensors"):
        with pytest.raises(InpaintError, match="g.safetensors cannot be written"):
            save_weights(path, small_generator())
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_folder_in_place_of_the_file_leaves_no_temporary(tmp_path):
    (tmp_path / "g.safetensors").mkdir()
    with pytest.raises(InpaintError, match="g.safetensors cannot be written"):
        save_weights(tmp_path / "g.safetensors", small_generator())
    assert [p.name for p in tmp_path.iterdir()] == ["g.safetensors"]


def test_full_disk_keeps_the_old_file_whole(file, monkeypatch):
    before, write = file.read_bytes(), Path.write_bytes

    def write_half(path: Path, content: bytes) -> int:
        write(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(InpaintError, match="g.safetensors cannot be written: No space left on device"):
        save_weights(file, small_generator())
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == ["g.safetensors"]
