"""GAN training on a toy budget: it runs by one command, learns, and resumes exactly."""

import copy
import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from inpaintlib.checks import InpaintError
from inpaintlib.data import load_celeba
from inpaintlib.images import read_image
from inpaintlib.train.faces64 import main
from inpaintlib.train.gan import GanTraining, Settings
from inpaintlib.weights import load_discriminator, load_generator, load_weights

from .test_data import encoded_pictures, write_celeba_parquet

# p moves after 3 iterations by 12 / 40, so that 4 iterations see both images as they are and augmented ones.
TOY = Settings(resolution=8, z_dim=8, w_dim=8, mapping_layers=2, channel_base=64, channel_max=16, batch=4,
               r1_every=3, ada_every=3, ada_images=40, ada_target=-2.0)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Toy tensors gain nothing from threads, and threads that wait for each other cost much on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def toy_images(n: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (n, 3, 8, 8), generator=generator, dtype=torch.uint8)


def steps(run: GanTraining, n: int) -> GanTraining:
    for _ in range(n):
        run.step()
    return run


def leaves(state: object, name: str = "") -> dict[str, object]:
    """Returns a nested state as one flat dictionary."""
    if isinstance(state, dict):
        items = state.items()
    elif isinstance(state, (list, tuple)):
        items = enumerate(state)
    else:
        return {name: state}
    return {k: v for key, value in items for k, v in leaves(value, f"{name}/{key}").items()}


def differing(one: GanTraining, other: GanTraining) -> list[str]:
    """Returns the names of the parts of two runs' states that are not equal bit for bit."""
    a, b = leaves(one.state()), leaves(other.state())
    assert a.keys() == b.keys()
    equal = {k: torch.equal(v, b[k]) if isinstance(v, torch.Tensor) else v == b[k] for k, v in a.items()}
    return [k for k, same in equal.items() if not same]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    write_celeba_parquet(folder, encoded_pictures(12, 10, 8), np.ones((12, 3), dtype=bool))
    return folder


def command(data: Path, out: Path, /, *, max_images: int = 16, **changes: object) -> list[str]:
    options = dataclasses.asdict(TOY) | {"data": data, "out": out, "minutes": 5, "max_images": max_images, "every": 8}
    options |= {"device": "cpu"} | changes
    return [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]


# One command -----------------------------------------------------------------------------------------


def test_one_command_trains_logs_draws_and_exports(data, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(command(data, out, export="toy")) == 0
    assert sorted(p.name for p in out.iterdir()) == [
        "checkpoint.pt", "log.csv", "samples-00000008.png", "samples-00000016.png", "toy-discriminator.safetensors",
        "toy.safetensors",
    ]  # fmt: skip
    with (out / "log.csv").open() as f:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(f)]
    assert [row["images"] for row in rows] == [8, 16]
    assert all(np.isfinite(list(row.values())).all() and row["loss_d"] > 0 and row["r1"] >= 0 for row in rows)
    assert "images 16" in capsys.readouterr().out


def test_exported_networks_load_and_are_the_runs(data, tmp_path):
    out = tmp_path / "run"
    assert main(command(data, out, export="toy")) == 0
    run = GanTraining(TOY, toy_images())
    run.resume(out / "checkpoint.pt")
    g, d = load_generator(out / "toy.safetensors"), load_discriminator(out / "toy-discriminator.safetensors")
    z = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(g(z), run.g_ema(z), rtol=0, atol=0.02)  # stored as float16
    image = toy_images(4) / 127.5 - 1
    torch.testing.assert_close(d(image), run.d(image), rtol=0, atol=0.02)
    facts = load_weights(out / "toy.safetensors")[1]
    assert facts["images_seen"] == "16" and '"resolution": 8' in facts["settings"]


def test_sample_sheet_shows_the_averaged_generator(data, tmp_path):
    out = tmp_path / "run"
    assert main(command(data, out)) == 0
    run = GanTraining(TOY, toy_images())
    run.resume(out / "checkpoint.pt")
    picture = read_image(out / "samples-00000016.png")
    corner = run.samples(64)[0]
    found = picture.unfold(2, 8, 1).unfold(3, 8, 1).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    assert (found - corner).abs().amax(dim=(1, 2, 3)).min() < 1 / 127


def test_the_same_command_continues_where_it_stopped(data, tmp_path):
    out, straight = tmp_path / "run", tmp_path / "straight"
    for arguments in (command(data, out, max_images=8), command(data, out), command(data, straight)):
        assert main(arguments) == 0
    runs = []
    for folder in (out, straight):
        runs.append(GanTraining(TOY, toy_images()))
        runs[-1].resume(folder / "checkpoint.pt")
    assert runs[0].images_seen == 16
    assert differing(*runs) == ["/seconds"]
    assert len((out / "log.csv").read_text().splitlines()) == 3


def test_no_time_still_leaves_a_whole_checkpoint(data, tmp_path):
    assert main(command(data, tmp_path / "run", minutes=0)) == 0
    run = GanTraining(TOY, toy_images())
    run.resume(tmp_path / "run" / "checkpoint.pt")
    assert run.iteration == 0


def test_real_images_are_those_given_or_their_mirror_images():
    run = GanTraining(TOY, toy_images(1))
    pixel = toy_images(1) / 127.5 - 1
    for real in run._reals():
        assert torch.equal(real, pixel[0]) or torch.equal(real, pixel[0].flip(2))


def test_limit_uses_the_first_images_only(data, tmp_path):
    assert main(command(data, tmp_path / "run", limit=1, max_images=4)) == 0
    run = GanTraining(TOY, load_celeba(data, size=8).images[:1])
    steps(run, 1)
    resumed = GanTraining(TOY, toy_images())
    resumed.resume(tmp_path / "run" / "checkpoint.pt")
    assert differing(run, resumed) == ["/seconds"]


# What is wrong ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 12}, "img_resolution must be a power of two"),
        ({"batch": 6}, "multiple of the minibatch-std group 4; got 6"),
        ({"batch": 0}, "batch must be at least 1; got 0"),
        ({"learning_rate": "nan"}, "learning_rate must be above 0; got nan"),
        ({"learning_rate": "-0.1"}, "learning_rate must be above 0; got -0.1"),
        ({"r1_every": 0}, "r1_every must be at least 1; got 0"),
        ({"data": "nowhere"}, "nowhere must hold celeba_train.parquet"),
        ({"start": "nothing.safetensors"}, "expected 2 arguments"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_arguments_give_one_sentence_and_no_run(data, tmp_path, capsys, changes, message):
    try:
        code = main(command(data, tmp_path / "run", **changes))
    except SystemExit as stop:  # argparse's own complaint
        code = stop.code
    assert code != 0
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_folder_that_cannot_be_made_gives_one_sentence(data, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert main(command(data, tmp_path / "file" / "run")) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_resuming_with_other_settings_is_refused(data, tmp_path, capsys):
    assert main(command(data, tmp_path / "run", minutes=0)) == 0
    before = (tmp_path / "run" / "checkpoint.pt").read_bytes()
    assert main(command(data, tmp_path / "run", learning_rate=0.5)) == 1
    assert "was made with the settings" in capsys.readouterr().err
    assert (tmp_path / "run" / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "other_content"])
def test_damaged_checkpoint_is_refused(tmp_path, damage):
    run, path = GanTraining(TOY, toy_images()), tmp_path / "checkpoint.pt"
    run.save(path)
    if damage == "other_content":
        torch.save({"weights": torch.zeros(3)}, path)
    else:
        content = path.read_bytes()
        path.write_bytes({"truncated": content[: len(content) // 2], "empty": b"", "text": b"text"}[damage])
    with pytest.raises(InpaintError, match="checkpoint.pt must be a checkpoint of this training; it cannot be read"):
        run.resume(path)


# Resuming --------------------------------------------------------------------------------------------


def test_two_and_two_iterations_are_four_bit_for_bit(tmp_path):
    straight = steps(GanTraining(TOY, toy_images()), 4)
    steps(GanTraining(TOY, toy_images()), 2).save(tmp_path / "checkpoint.pt")
    resumed = GanTraining(TOY, toy_images())
    resumed.resume(tmp_path / "checkpoint.pt")
    steps(resumed, 2)
    assert straight.ada.p == pytest.approx(12 / 40) and straight.images_seen == 16
    assert differing(straight, resumed) == []


def test_training_depends_on_its_seed_alone():
    before = torch.get_rng_state()
    one = steps(GanTraining(TOY, toy_images()), 1)
    torch.rand(7)
    same = steps(GanTraining(TOY, toy_images()), 1)
    torch.set_rng_state(before)
    other = steps(GanTraining(dataclasses.replace(TOY, seed=1), toy_images()), 1)
    assert differing(one, same) == []
    assert "/g/synthesis.b4.const" in differing(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_training_continues_from_weights_alone(data, tmp_path):
    out = tmp_path / "first"
    assert main(command(data, out, export="toy")) == 0
    start = [str(out / "toy.safetensors"), str(out / "toy-discriminator.safetensors")]
    assert main([*command(data, tmp_path / "second", minutes=0), "--start", *start]) == 0
    run = GanTraining(TOY, toy_images())
    run.resume(tmp_path / "second" / "checkpoint.pt")
    for network, file in ((run.g, start[0]), (run.g_ema, start[0]), (run.d, start[1])):
        expected = load_weights(file)[0]
        assert all(torch.equal(value, expected[key]) for key, value in network.state_dict().items())
    before = {key: value.clone() for key, value in run.g.named_parameters()}
    steps(run, 1)
    moved = [key for key, value in run.g.named_parameters() if not torch.equal(value, before[key])]
    assert "synthesis.b4.const" in moved and "mapping.fc0.weight" in moved


def test_kid_curve_is_written_while_training(tmp_path, data):
    write_celeba_parquet(data, encoded_pictures(200, 10, 8), np.ones((200, 3), dtype=bool), "val")
    out = tmp_path / "run"
    assert main([*command(data, out, max_images=8), "--kid"]) == 0
    with (out / "kid.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert [row["images"] for row in rows] == ["8"]
    assert all(float(r["low"]) <= float(r["kid"]) <= float(r["high"]) and float(r["kid"]) > 0 for r in rows)
    assert (out / "kid.png").read_bytes().startswith(b"\x89PNG")


def test_weights_of_another_network_cannot_start_a_run(tmp_path):
    GanTraining(TOY, toy_images()).export(tmp_path, "toy")
    run = GanTraining(dataclasses.replace(TOY, channel_max=8), toy_images())
    with pytest.raises(InpaintError, match="toy.safetensors must be a network .* by the settings; got"):
        run.start_from(tmp_path / "toy.safetensors", tmp_path / "toy-discriminator.safetensors")


# One iteration ---------------------------------------------------------------------------------------


def test_average_follows_the_generator_by_its_half_life():
    run = steps(GanTraining(TOY, toy_images()), 2)
    before = {key: value.clone() for key, value in run.g_ema.named_parameters()}
    run.step()
    half_life = max(8 * TOY.ema_rampup, 1.0)  # after 8 images
    share = 1 - 0.5 ** (TOY.batch / half_life)
    current = dict(run.g.named_parameters())
    for key, value in run.g_ema.named_parameters():
        torch.testing.assert_close(value, torch.lerp(before[key], current[key], share))
    assert not torch.equal(before["synthesis.b4.const"], dict(run.g_ema.named_parameters())["synthesis.b4.const"])


def test_average_code_follows_the_mapped_codes():
    run = GanTraining(TOY, toy_images())
    assert run.g.mapping.w_avg.abs().max() == 0
    mapped = copy.deepcopy(run.g.mapping)
    steps(run, 1)
    w = mapped(torch.randn(4096, 8, generator=torch.Generator().manual_seed(0))).detach()
    # After one step of rate 0.005 with a batch of 8 codes it lies within the codes' spread, scaled by 0.005.
    distance = run.g.mapping.w_avg / 0.005 - w.mean(dim=0)
    assert (distance.abs() < 4 * w.std(dim=0) / 8**0.5).all() and run.g.mapping.w_avg.abs().max() > 0
    assert torch.equal(run.g.mapping.w_avg, run.g_ema.mapping.w_avg)


def test_generator_learns_the_colour_of_the_images():
    red = torch.tensor([230, 20, 20], dtype=torch.uint8).view(1, 3, 1, 1).expand(4, 3, 8, 8)
    settings = dataclasses.replace(TOY, learning_rate=0.01, ada_target=0.6, ada_images=500_000)
    run = GanTraining(settings, red)
    target = red[:1] / 127.5 - 1

    def error() -> float:
        return (run.samples(16) - target).abs().mean().item()

    before = error()
    steps(run, 80)
    assert error() < before / 2
