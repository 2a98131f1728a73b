"""Files of published networks: what is in them comes back exactly, and nothing of them is run.

The files are written by :mod:`tests.standin` in the formats that others use.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from inpaintlib import load_discriminator, load_generator
from inpaintlib.__main__ import main
from inpaintlib.errors import InpaintError
from inpaintlib.published import convert as converting
from inpaintlib.published.convert import convert
from inpaintlib.published.networks import read_networks
from inpaintlib.published.pickles import read_pickle
from inpaintlib.published.torchfiles import TORCH_NAMES

from . import standin
from .test_stylegan2 import FILES, assert_same, golden

ARCHITECTURES = pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
PROTOCOLS = pytest.mark.parametrize("protocol", [2, 3, 4, 5])
ERAS = pytest.mark.parametrize("era", standin.ERAS)


@pytest.fixture(autouse=True)
def nothing_foreign_is_imported():
    yield
    assert not [name for name in sys.modules if name.split(".")[0] in ("torch_utils", "dnnlib", "_imported_module")]


@pytest.fixture
def in_process(monkeypatch):
    """Reads in the test's own process, which saves starting one for each file."""

    def read_here(source: Path, targets: list[Path]) -> None:
        from safetensors.numpy import save_file

        from inpaintlib.published.networks import metadata

        found = read_networks(source)
        for key, target in zip("GD", targets, strict=True):
            if key in found:
                save_file(found[key].state, target, metadata=metadata(found[key]))

    monkeypatch.setattr(converting, "_read_apart", read_here)


def assert_state(found: dict[str, np.ndarray], network: torch.nn.Module, *, lacking: tuple[str, ...] = ()) -> None:
    """Every number is the network's, bit for bit; names ending as ``lacking`` says may be absent."""
    expected = {key: x for key, x in network.state_dict().items() if not key.endswith(lacking)}
    assert set(found) - set(expected) <= set(network.state_dict())
    assert set(expected) <= set(found)
    for key, x in expected.items():
        assert found[key].shape == tuple(x.shape), key
        assert found[key].dtype == np.float32
        assert found[key].tobytes() == x.contiguous().numpy().tobytes(), key


def codes(network: torch.nn.Module, n: int = 3) -> tuple[torch.Tensor, torch.Tensor | None]:
    c_dim = network.config["c_dim"]
    z = torch.randn(n, network.config.get("z_dim", 1), generator=torch.Generator().manual_seed(5))
    return z, torch.eye(c_dim)[torch.arange(n) % c_dim] if c_dim else None


# NVIDIA's snapshots ------------------------------------------------------------------------------------


@ERAS
@PROTOCOLS
def test_snapshot_of_any_protocol_and_age_comes_back_exactly(tmp_path, protocol, era):
    g, d = standin.small_networks(8)
    found = read_networks(standin.write_ada(tmp_path / "net.pkl", g, d, protocol=protocol, era=era))
    assert set(found) == {"G", "D"}
    assert_state(found["G"].state, g)
    assert_state(found["D"].state, d)
    assert (found["G"].config, found["D"].config) == (g.config, d.config)


@ARCHITECTURES
@pytest.mark.parametrize("c_dim", [0, 3])
@pytest.mark.parametrize(("fp16", "clamp"), [(0, None), (2, 256)])
def test_snapshot_of_any_architecture_comes_back_exactly(tmp_path, architecture, c_dim, fp16, clamp):
    g, d = standin.small_networks(16, architecture=architecture, c_dim=c_dim, conv_clamp=clamp)
    found = read_networks(standin.write_ada(tmp_path / "net.pkl", g, d, num_fp16_res=fp16))
    assert_state(found["G"].state, g)
    assert_state(found["D"].state, d)
    assert (found["G"].config, found["D"].config) == (g.config, d.config)


@pytest.mark.parametrize("depth", [1, 2, 5, 8, 12])
def test_mapping_network_of_any_depth(tmp_path, depth):
    g, _ = standin.small_networks(8, depth=depth)
    found = read_networks(standin.write_ada(tmp_path / "net.pkl", g))
    assert_state(found["G"].state, g)
    assert found["G"].config["mapping_layers"] == depth


@pytest.mark.parametrize("resolution", [4, 8, 16, 32, 64, 128])
def test_any_resolution(tmp_path, resolution):
    g = standin.seeded(lambda: standin.Generator(6, 0, 5, resolution, channel_base=128, channel_max=4))
    found = read_networks(standin.write_ada(tmp_path / "net.pkl", g))
    assert_state(found["G"].state, g)
    assert found["G"].config["img_resolution"] == resolution


def test_constructor_given_by_position(tmp_path):
    g, d = standin.small_networks(8, c_dim=3)
    found = read_networks(standin.write_ada(tmp_path / "net.pkl", g, d, positional=True))
    assert_state(found["G"].state, g)
    assert found["G"].config == g.config


def test_the_average_is_taken_and_not_the_last_generator(tmp_path):
    g, _ = standin.small_networks(8)
    found = read_networks(standin.write_ada(tmp_path / "net.pkl", g, other=3))
    assert_state(found["G"].state, g)


@pytest.mark.parametrize("change", ["no_augmentation", "no_discriminator", "no_settings", "only_average", "short_dict"])
def test_what_stands_beside_the_networks_may_be_missing(tmp_path, change):
    g, d = standin.small_networks(8)
    root = standin.ada_snapshot(g, d)
    match change:
        case "no_augmentation":
            root["augment_pipe"] = None
        case "no_discriminator":
            root["D"] = None
        case "no_settings":
            root["training_set_kwargs"] = None
        case "only_average":
            root = {"G_ema": root["G_ema"]}
        case "short_dict":
            root["training_set_kwargs"] = standin.ShortEasyDict(resolution=8)
    path = tmp_path / "net.pkl"
    path.write_bytes(standin.dumps(root))
    found = read_networks(path)
    assert_state(found["G"].state, g)
    assert ("D" in found) == (change not in ("no_discriminator", "only_average"))


def test_discriminator_with_frozen_layers_comes_back_exactly(tmp_path):
    g, d = standin.small_networks(8)
    root = standin.ada_snapshot(g) | {"D": standin.ada_discriminator(d, frozen=3)}
    (tmp_path / "net.pkl").write_bytes(standin.dumps(root))
    assert_state(read_networks(tmp_path / "net.pkl")["D"].state, d)


def test_source_text_in_a_file_is_not_run(tmp_path):
    canary = tmp_path / "canary"
    g, d = standin.small_networks(8)
    source = standin.SOURCE.format(canary=str(canary))
    compile(source, "module", "exec")
    path = standin.write_ada(tmp_path / "net.pkl", g, d, source=source)
    assert str(canary).encode() in path.read_bytes()
    convert(path, tmp_path / "net.safetensors")
    assert not canary.exists()


# Conversion --------------------------------------------------------------------------------------------


@ARCHITECTURES
@pytest.mark.parametrize("c_dim", [0, 3])
def test_converted_networks_give_the_same_images_and_logits(tmp_path, in_process, architecture, c_dim):
    g, d = standin.small_networks(16, architecture=architecture, c_dim=c_dim, conv_clamp=256)
    out = tmp_path / "net.safetensors"
    written = convert(standin.write_ada(tmp_path / "net.pkl", g, d, num_fp16_res=1), out)
    assert written == [out, tmp_path / "net-discriminator.safetensors"]
    twin, judge = load_generator(out), load_discriminator(written[1])
    assert (twin.config, judge.config) == (g.config, d.config)
    z, c = codes(g, 4)
    images = g(z, c, truncation=0.7)
    assert_same(twin(z, c, truncation=0.7), images)
    assert_same(judge(images, c), d(images, c))


@FILES
def test_golden_networks_in_the_official_format_give_the_golden_numbers(tmp_path, in_process, path):
    g, d, numbers = golden(path)
    fp16 = 2 if g.config["conv_clamp"] else 0
    source = standin.write_ada(tmp_path / "net.pkl", g, d, num_fp16_res=fp16)
    first, second = convert(source, tmp_path / "net.safetensors")
    twin, judge = load_generator(first), load_discriminator(second)
    z, c = numbers["z"], numbers.get("c")
    assert_same(twin.map(z, c), numbers["w"])
    assert_same(twin.map(z, c, truncation=0.7), numbers["w_trunc_psi0.7"])
    assert_same(twin(z, c), numbers["image_const"])
    assert_same(twin(z, c, noise="none"), numbers["image_none"])
    assert_same(judge(numbers["image_const"], c), numbers["logits"])


def test_converted_file_says_where_it_comes_from(tmp_path, in_process):
    g, d = standin.small_networks(8)
    source = standin.write_ada(tmp_path / "faces.pkl", g, d)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    for path in convert(source, tmp_path / "out.safetensors", alignment="ffhq"):
        with safe_open(path, framework="pt") as f:
            facts = f.metadata()
        assert facts["source"] == "faces.pkl"
        assert facts["source_sha256"] == digest
        assert "ADA" in facts["form"]
        assert json.loads(facts["config"])["img_resolution"] == 8
        assert facts["network"] in ("G_ema", "D")
        assert str(tmp_path) not in str(facts)
    assert load_generator(tmp_path / "out.safetensors").alignment == "ffhq"


def test_converting_twice_gives_the_same_bytes(tmp_path, in_process):
    g, _ = standin.small_networks(8)
    source = standin.write_ada(tmp_path / "net.pkl", g, w_avg=False)
    first, second = (convert(source, tmp_path / f"{i}.safetensors")[0].read_bytes() for i in range(2))
    assert first == second


def test_network_without_average_gets_one_and_says_so(tmp_path, in_process):
    g, _ = standin.small_networks(8)
    (out,) = convert(standin.write_ada(tmp_path / "net.pkl", g, w_avg=False), tmp_path / "net.safetensors")
    twin = load_generator(out)
    z, _ = codes(g)
    assert_same(twin(z), g(z))
    mean = g.map(torch.randn(4000, 6, generator=torch.Generator().manual_seed(1)))[:, 0].mean(dim=0)
    assert (twin.mapping.w_avg - mean).norm() < 0.1 * mean.norm()
    with safe_open(out, framework="pt") as f:
        assert "w_avg" in f.metadata()["added"]


def test_network_without_noise_draws_the_same_image(tmp_path, in_process):
    g, _ = standin.small_networks(8)
    (out,) = convert(standin.write_ada(tmp_path / "net.pkl", g, noise=False), tmp_path / "net.safetensors")
    twin = load_generator(out)
    z, _ = codes(g)
    for noise in ("const", "none"):
        assert_same(twin(z, noise=noise), g(z, noise="none"))
    with safe_open(out, framework="pt") as f:
        assert "noise" in f.metadata()["added"]


def test_command_converts_in_a_child_that_has_no_torch(tmp_path, capsys, monkeypatch):
    g, d = standin.small_networks(8)
    source, out = standin.write_ada(tmp_path / "net.pkl", g, d), tmp_path / "new" / "net.safetensors"
    commands = []
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda command, **kwargs: commands.append(command) or run(command, **kwargs))
    assert main(["convert", str(source), str(out), "--alignment", "celeba"]) == 0
    (command,) = commands
    assert command[:2] == [sys.executable, "-P"]
    assert sorted(p.name for p in out.parent.iterdir()) == ["net-discriminator.safetensors", "net.safetensors"]
    said = capsys.readouterr().out
    assert all(p.name in said for p in out.parent.iterdir())
    assert_state({k: x.numpy() for k, x in load_generator(out).state_dict().items()}, g)
    # The same child once more, which says at its end what it had imported.
    program = command[command.index("-c") + 1].replace("sys.exit(main(", "print(sorted(sys.modules), main(")
    command[command.index("-c") + 1] = program.rstrip() + "\n"
    command[-2:] = [str(tmp_path / "g.safetensors"), str(tmp_path / "d.safetensors")]
    listed = run(command, capture_output=True, text=True, check=True).stdout
    assert (tmp_path / "g.safetensors").exists()
    assert "'torch'" not in listed and "'numpy'" in listed


def test_command_refuses_in_one_sentence(tmp_path, capsys):
    source = tmp_path / "page.pkl"
    source.write_text("<html>404</html>")
    assert main(["convert", str(source), str(tmp_path / "out.safetensors")]) == 1
    said = capsys.readouterr().err
    assert "page.pkl" in said and said.count("\n") == 1 and "Traceback" not in said
    assert [p.name for p in tmp_path.iterdir()] == ["page.pkl"]


# rosinality's checkpoints ------------------------------------------------------------------------------

CHANNELS = {4: 12, 8: 12, 16: 8, 32: 4}


@pytest.mark.parametrize("zip_file", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("size", [8, 32])
def test_community_checkpoint_draws_the_same_image(tmp_path, in_process, zip_file, size):
    g = standin.rosinality_generator(size, 16, 2, CHANNELS)
    d = standin.rosinality_discriminator(size, CHANNELS)
    average = torch.randn(16, generator=torch.Generator().manual_seed(3))
    source = standin.write_rosinality(tmp_path / "net.pt", g, d, zip_file=zip_file, latent_avg=average)
    first, second = convert(source, tmp_path / "net.safetensors")
    twin, judge = load_generator(first), load_discriminator(second)
    z = torch.randn(4, 16, generator=torch.Generator().manual_seed(4))
    w = standin.rosinality_codes(g, z)
    assert_same(twin.map(z)[:, 0], w)
    expected = standin.rosinality_image(g, w)
    assert_same(twin(z), expected)
    noise = twin.synthesis.random_noise([torch.Generator().manual_seed(i) for i in range(4)])
    assert_same(twin(z, noise=noise), standin.rosinality_image(g, w, noise))
    assert_same(twin(z, truncation=0.5), standin.rosinality_image(g, torch.lerp(average, w, 0.5)))
    assert_same(judge(expected), standin.rosinality_logits(d, expected))
    with safe_open(first, framework="pt") as f:
        assert "g_ema" in f.metadata()["form"] + f.metadata()["network"]


@pytest.mark.parametrize("zip_file", [True, False], ids=["zip", "legacy"])
def test_community_checkpoint_of_a_training_is_read_without_its_settings(tmp_path, in_process, zip_file):
    g = standin.rosinality_generator(16, 16, 3, CHANNELS, kernels=False)
    d = standin.rosinality_discriminator(16, CHANNELS)
    source = standin.write_rosinality(tmp_path / "net.pt", g, d, zip_file=zip_file, training=True)
    first, _ = convert(source, tmp_path / "net.safetensors")
    z = torch.randn(2, 16, generator=torch.Generator().manual_seed(4))
    assert_same(load_generator(first)(z), standin.rosinality_image(g, standin.rosinality_codes(g, z)))
    with safe_open(first, framework="pt") as f:
        assert "w_avg" in f.metadata()["added"]


# State dicts -------------------------------------------------------------------------------------------


@ARCHITECTURES
@pytest.mark.parametrize("form", ["zip", "legacy", "wrapped", "pth", "safetensors"])
def test_state_dict_comes_back_exactly(tmp_path, architecture, form):
    g, d = standin.small_networks(16, architecture=architecture, c_dim=2)
    state = g.state_dict()
    path = tmp_path / {"pth": "net.pth", "safetensors": "net.safetensors"}.get(form, "net.pt")
    match form:
        case "safetensors":
            save_file(state, path)
        case "wrapped":
            torch.save({"G_ema": state, "D": d.state_dict()}, path)
        case _:
            torch.save(state, path, _use_new_zipfile_serialization=form != "legacy")
    found = read_networks(path)
    assert_state(found["G"].state, g)
    assert found["G"].config == g.config
    if form == "wrapped":
        assert_state(found["D"].state, d)


def test_state_dict_with_views_of_shared_and_strided_storages_comes_back_exactly(tmp_path):
    g, _ = standin.small_networks(8)
    state = {key: x.clone() for key, x in g.state_dict().items()}
    block = torch.zeros(40, 40)
    for i, key in enumerate(("mapping.fc1.bias", "synthesis.b4.conv1.affine.bias", "mapping.w_avg")):
        view = block[2 : 2 + len(state[key]), 3 * i]  # columns of one matrix
        view.copy_(state[key])
        state[key] = view
    state["mapping.fc1.weight"] = state["mapping.fc1.weight"].t().contiguous().t()
    for zip_file in (True, False):
        torch.save(state, tmp_path / "net.pt", _use_new_zipfile_serialization=zip_file)
        assert_state(read_networks(tmp_path / "net.pt")["G"].state, g)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_state_dict_of_other_float_types_keeps_its_values(tmp_path, dtype):
    g, _ = standin.small_networks(8)
    state = {key: x.to(dtype) for key, x in g.state_dict().items()}
    torch.save(state, tmp_path / "net.pt")
    for key, x in read_networks(tmp_path / "net.pt")["G"].state.items():
        np.testing.assert_array_equal(x.astype(np.float64), state[key].double().numpy())


def test_our_own_file_converts_to_itself(tmp_path, in_process):
    from inpaintlib.weights import save_weights

    g, _ = standin.small_networks(8, conv_clamp=256)
    save_weights(tmp_path / "ours.safetensors", g, dtype=torch.float32)
    (out,) = convert(tmp_path / "ours.safetensors", tmp_path / "again.safetensors")
    twin = load_generator(out)
    z, _ = codes(g)
    assert twin.config == g.config
    assert_same(twin(z), g(z))


# Where to write ----------------------------------------------------------------------------------------


def test_a_target_that_cannot_be_is_refused_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(converting, "_read_apart", lambda *_: pytest.fail("was read"))
    source = standin.write_ada(tmp_path / "net.pkl", standin.small_networks(8)[0])
    before = source.read_bytes()
    same = tmp_path / "same.safetensors"
    same.symlink_to(source)
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "file").write_text("x")
    for out, words in (
        (tmp_path / "net.pkl", "safetensors"),
        (tmp_path / "net.pth", "safetensors"),
        (tmp_path / "net", "safetensors"),
        (same, "source"),
        (tmp_path / "folder.safetensors", "folder"),
        (tmp_path / "file" / "net.safetensors", "cannot be written"),
        (Path("/proc/net.safetensors"), "cannot be written"),
    ):
        with pytest.raises(InpaintError, match=words) as refusal:
            convert(source, out)
        assert out.name in str(refusal.value)
    assert source.read_bytes() == before
    with pytest.raises(InpaintError, match="alignment must be one of"):
        convert(source, tmp_path / "out.safetensors", alignment="passport")


def test_source_is_not_overwritten_as_the_discriminators_file(tmp_path, in_process):
    g, d = standin.small_networks(8)
    source = tmp_path / "net-discriminator.safetensors"
    source.write_bytes(standin.write_ada(tmp_path / "net.pkl", g, d).read_bytes())
    before = source.read_bytes()
    with pytest.raises(InpaintError, match="net-discriminator.safetensors"):
        convert(source, tmp_path / "net.safetensors")
    assert source.read_bytes() == before


def test_a_refused_file_leaves_what_was_there(tmp_path, in_process):
    g, d = standin.small_networks(8)
    d.b4.out.bias.data.fill_(float("nan"))
    out = tmp_path / "net.safetensors"
    out.write_bytes(b"before")
    with pytest.raises(InpaintError, match="NaN"):
        convert(standin.write_ada(tmp_path / "net.pkl", g, d), out)
    assert out.read_bytes() == b"before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.pkl", "net.safetensors"]


def test_a_discriminator_of_an_earlier_conversion_does_not_stay(tmp_path, in_process):
    g, d = standin.small_networks(8)
    both = convert(standin.write_ada(tmp_path / "both.pkl", g, d), tmp_path / "net.safetensors")
    assert len(both) == 2 and both[1].exists()
    assert convert(standin.write_ada(tmp_path / "alone.pkl", g), tmp_path / "net.safetensors") == both[:1]
    assert not both[1].exists()


def test_a_name_with_a_line_break_makes_one_line(tmp_path):
    source = tmp_path / "a\nb.pkl"
    source.write_bytes(b"nothing")
    with pytest.raises(InpaintError) as refusal:
        convert(source, tmp_path / "net.safetensors")
    assert "\n" not in str(refusal.value) and "a b.pkl" in str(refusal.value)


@pytest.mark.parametrize("origin", standin.ORIGINS)
@pytest.mark.parametrize(("c_dim", "class_depth"), [(0, 8), (3, 0)])
@pytest.mark.parametrize("conv_clamp", [None, 256])
def test_networks_of_every_origin_come_back(tmp_path, in_process, origin, c_dim, class_depth, conv_clamp):
    g, d = standin.small_networks(c_dim=c_dim, class_depth=class_depth, conv_clamp=conv_clamp)
    fp16 = 4 if conv_clamp else 0
    source = standin.write_ada(tmp_path / "net.pkl", g, d, origin=origin, num_fp16_res=fp16)
    out, other = convert(source, tmp_path / "net.safetensors")
    for ours, theirs in ((load_generator(out), g), (load_discriminator(other), d)):
        assert ours.config == theirs.config
        state = theirs.state_dict()
        assert all(torch.equal(x, state[key]) for key, x in ours.state_dict().items())


def test_classes_mapped_at_another_rate_are_refused(tmp_path, in_process):
    g, d = standin.small_networks(c_dim=3, class_depth=2)
    with pytest.raises(InpaintError, match="Discriminator whose argument lr_multiplier is 0.1"):
        convert(standin.write_ada(tmp_path / "net.pkl", g, d, origin="tensorflow"), tmp_path / "net.safetensors")


def test_a_foreign_file_is_not_taken_for_an_old_discriminator(tmp_path, in_process):
    g, _ = standin.small_networks()
    mine = tmp_path / "net-discriminator.safetensors"
    mine.write_bytes(b"mine")
    with pytest.raises(InpaintError, match=r"net-discriminator\.safetensors would be taken for the discriminator"):
        convert(standin.write_ada(tmp_path / "net.pkl", g), tmp_path / "net.safetensors")
    assert mine.read_bytes() == b"mine" and not (tmp_path / "net.safetensors").exists()


def test_alignment_stays_when_a_converted_file_is_converted_again(tmp_path, in_process):
    g, _ = standin.small_networks()
    (first,) = convert(standin.write_ada(tmp_path / "net.pkl", g), tmp_path / "a.safetensors", alignment="ffhq")
    (second,) = convert(first, tmp_path / "b.safetensors")
    assert load_generator(second).alignment == "ffhq"


def test_texts_and_dictionaries_of_python_2_are_read():
    # As Python 2 pickled OrderedDict([("a", 5)]): a list of lists, and texts as SHORT_BINSTRING.
    stream = io.BytesIO(b"\x80\x02ccollections\nOrderedDict\n](](U\x01aK\x05ee\x85R.")
    assert read_pickle(stream, TORCH_NAMES) == {"a": 5}
