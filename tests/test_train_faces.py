"""What the trainings on faces share: the halves that keep guides and judges apart, views of faces, averaged weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from inpaintlib.checks import InpaintError
from inpaintlib.data import Labelled, load_celeba
from inpaintlib.train import attributes, clip, percept
from inpaintlib.train.faces import augmented, finished, half, one_cycle, role, split

from .test_data import encoded_pictures, write_celeba_parquet, write_parquet
from .tiny import seeded

TRAININGS = {"attributes": attributes, "clip": clip, "percept": percept}
KEPT = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder with 17 noise faces to train on, 4 to score, and as many objects."""
    folder = tmp_path_factory.mktemp("data")
    for subset, n in (("train", 17), ("val", 4)):
        write_celeba_parquet(folder, encoded_pictures(n, 64, 64), np.arange(3 * n).reshape(n, 3) % 2 == 0, subset)
    for subset in ("train", "test"):
        write_parquet(folder / f"cifar10_{subset}.parquet", encoded_pictures(5, 32, 32), {"label": np.arange(5)})
    return folder


def numbered(n: int) -> Labelled:
    """Images and labels that carry their own number."""
    return Labelled(torch.arange(n).view(n, 1, 1, 1), torch.arange(n) + 100, ("a", "b"))


def numbers(images: torch.Tensor, whole: torch.Tensor) -> list[int]:
    """Returns the places of images in the whole."""
    places = {image.numpy().tobytes(): i for i, image in enumerate(whole)}
    return [places[image.numpy().tobytes()] for image in images]


# The two halves ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TRAININGS)
@pytest.mark.parametrize("n", [10, 11])
def test_halves_are_disjoint_together_everything_and_the_same_for_all_of_a_role(kind, n):
    whole = numbered(n)
    guide, judge = half(whole, f"{kind}-guide"), half(whole, f"{kind}-judge")
    assert guide.images.flatten().tolist() == list(range(0, n, 2))
    assert judge.images.flatten().tolist() == list(range(1, n, 2))
    for part in (guide, judge):
        assert torch.equal(part.labels, part.images.flatten() + 100) and part.names == whole.names


@pytest.mark.parametrize("name", ["faces64", "attributes", "guide-attributes", "clip-guides", ""])
def test_a_name_without_a_role_has_no_half(name):
    with pytest.raises(InpaintError, match="name must end in -guide or -judge"):
        half(numbered(4), name)
    with pytest.raises(InpaintError, match="name must end in -guide or -judge"):
        role(name)


def test_what_is_kept_for_calibration_is_the_end_and_is_not_trained_on():
    training, kept = split(numbered(10), 3)
    assert training.images.flatten().tolist() == list(range(7)) and kept.images.flatten().tolist() == [7, 8, 9]
    for part in (training, kept):
        assert torch.equal(part.labels, part.images.flatten() + 100) and part.names == ("a", "b")


@pytest.mark.parametrize("kept", [0, -1, 10, 11])
def test_calibration_leaves_faces_to_train_on(kept):
    with pytest.raises(InpaintError, match=f"calibration must be between 1 and 9 faces; got {kept}"):
        split(numbered(10), kept)


class Watched(InpaintError):
    """Ends a command once it was seen what it trains on."""


def trained_on(data: Path, out: Path, monkeypatch) -> dict[str, list[int]]:
    """Returns the numbers of the faces that every network's command hands to its training."""
    whole, seen = load_celeba(data).images, {}

    def watch(*arguments, **options):
        faces = next(a for a in reversed(arguments) if isinstance(a, Labelled))
        seen[name] = numbers(faces.images, whole)
        raise Watched("seen")

    for kind, training in TRAININGS.items():
        monkeypatch.setattr(training, "train", watch)
        if kind != "percept":
            monkeypatch.setattr(training, "_network", lambda *arguments: None)
        for end in ("guide", "judge"):
            name = f"{kind}-{end}"
            more = ["--calibration", str(KEPT)] if kind == "attributes" else []
            assert training.main([name, "--data", str(data), "--out", str(out), "--device", "cpu", *more]) == 1
    return seen


def test_no_judge_is_trained_on_a_face_of_a_guide(data, tmp_path, monkeypatch):
    seen = trained_on(data, tmp_path, monkeypatch)
    assert sorted(seen) == sorted(f"{kind}-{end}" for kind in TRAININGS for end in ("guide", "judge"))
    even, odd = list(range(0, 17, 2)), list(range(1, 17, 2))
    for kind in TRAININGS:
        less = KEPT if kind == "attributes" else 0
        assert seen[f"{kind}-guide"] == even[: len(even) - less], kind
        assert seen[f"{kind}-judge"] == odd[: len(odd) - less], kind


@pytest.mark.parametrize("end", ["guide", "judge"])
def test_faces_of_the_calibration_are_of_the_own_half_and_not_trained_on(data, tmp_path, monkeypatch, end):
    whole, seen = load_celeba(data).images, {}

    def train(model, faces, settings, **options):
        seen["trained"] = numbers(faces.images, whole)

    def calibrate(model, kept, prior, **options):
        seen["calibrated"], seen["prior"] = numbers(kept.images, whole), prior
        raise Watched("seen")

    monkeypatch.setattr(attributes, "_network", lambda *arguments: None)
    monkeypatch.setattr(attributes, "train", train)
    monkeypatch.setattr(attributes, "calibrate", calibrate)
    arguments = [f"attributes-{end}", "--data", str(data), "--out", str(tmp_path), "--calibration", str(KEPT)]
    assert attributes.main(arguments) == 1
    own = list(range(end == "judge", 17, 2))
    assert seen["trained"] + seen["calibrated"] == own and len(seen["calibrated"]) == KEPT
    assert torch.equal(seen["prior"], load_celeba(data).labels[own].float().mean(0)), "shares are of the half"


# Views of faces ---------------------------------------------------------------------------------------


def levels(n: int, height: int, width: int) -> torch.Tensor:
    return torch.randint(256, (n, 3, height, width), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


def views(images: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return augmented(images, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(16, 16), (12, 20)])
def test_views_keep_shape_and_range(shape):
    x = views(levels(40, *shape))
    assert x.shape == (40, 3, *shape) and x.dtype == torch.float32
    assert x.min() >= -1.0 and x.max() <= 1.0 and x.std() > 0.2


def test_views_depend_on_their_generator_alone():
    images, state = levels(8, 16, 16), torch.get_rng_state()
    one, same, other = views(images), views(images), views(images, 1)
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state), "the global generator is left alone"
    assert images.dtype == torch.uint8 and torch.equal(images, levels(8, 16, 16)), "the images too"


def test_views_of_one_face_differ_and_still_resemble_it():
    # A bright upper and a dark lower half: no turn, shift or change of light of the views hides which is which.
    face = torch.full((1, 3, 16, 16), 40, dtype=torch.uint8)
    face[:, :, :8] = 215
    x = views(face.repeat(64, 1, 1, 1))
    assert (x[:, :, :6].mean(dim=(1, 2, 3)) > x[:, :, 10:].mean(dim=(1, 2, 3)) + 0.2).all()
    assert len({view.numpy().tobytes() for view in x}) == 64


def test_about_a_quarter_of_the_views_has_a_grey_rectangle():
    white = torch.full((400, 3, 32, 32), 255, dtype=torch.uint8)
    # Brightness and contrast leave white above 0.3; only a rectangle is exactly 0.
    hidden = (views(white) == 0).any(dim=1)
    share = hidden.flatten(1).any(dim=1).float().mean()
    assert 0.18 < share < 0.32
    for mask in hidden[hidden.flatten(1).any(dim=1)]:
        rows, columns = mask.any(dim=1).nonzero().flatten(), mask.any(dim=0).nonzero().flatten()
        assert mask.sum() == len(rows) * len(columns), "one whole rectangle"
        assert len(rows) <= 0.4 * 32 + 1 and len(columns) <= 0.4 * 32 + 1


# Averaged weights -------------------------------------------------------------------------------------


def stepped(steps: int) -> tuple[list[dict], nn.Module, object, object]:
    """Takes the steps of a cycle on a small network; returns its states after each and what one_cycle gave."""
    model = seeded(lambda: nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)))
    optimiser, schedule, average = one_cycle(model, learning_rate=0.1, weight_decay=0.5, steps=steps)
    states, rates = [], []
    x = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    for _ in range(steps):
        model(x).square().sum().backward()
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step(), optimiser.zero_grad(), schedule.step()
        average.update_parameters(model)
        states.append({k: v.clone() for k, v in model.state_dict().items()})
    return states, average.module, rates, optimiser


def test_the_average_is_its_literal_definition():
    steps = 40  # so the decay is 1 - 20 / 40
    states, average, _, _ = stepped(steps)
    for key in ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"):
        expected = states[0][key]
        for state in states[1:]:
            expected = 0.5 * expected + 0.5 * state[key]
        torch.testing.assert_close(average.state_dict()[key], expected, rtol=1e-5, atol=1e-6)
    assert not torch.equal(average.state_dict()["0.weight"], states[-1]["0.weight"])


def test_a_short_training_averages_nothing():
    states, average, _, _ = stepped(5)
    assert torch.equal(average.state_dict()["0.weight"], states[-1]["0.weight"])


def test_the_rate_rises_to_its_peak_and_falls_to_nothing():
    _, _, rates, _ = stepped(40)
    peak = int(np.argmax(rates))
    assert 4 <= peak <= 7 and rates[peak] == pytest.approx(0.1, rel=1e-3)
    assert rates == sorted(rates[: peak + 1]) + sorted(rates[peak + 1 :], reverse=True)
    assert rates[0] < 0.01 and rates[-1] < 1e-4


def test_biases_and_norms_do_not_decay():
    _, _, _, optimiser = stepped(1)
    shapes = {group["weight_decay"]: [tuple(p.shape) for p in group["params"]] for group in optimiser.param_groups}
    assert shapes == {0.5: [(3, 2)], 0.0: [(3,), (3,), (3,)]}


def test_a_finished_network_evaluates_and_its_counters_fit_in_half_precision():
    model = seeded(lambda: nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)))
    _, _, average = one_cycle(model, learning_rate=0.1, weight_decay=0.0, steps=5)
    model(torch.ones(4, 2))
    average.update_parameters(model)
    assert int(average.module[1].num_batches_tracked) == 1 and average.module.training
    # Float16 ends at 65,504: the number of steps, which batch normalisation counts, may be larger.
    done = finished(average)
    assert int(done[1].num_batches_tracked) == 0 and not done.training
    assert torch.equal(done[1].running_mean, model[1].running_mean) and torch.equal(done[0].weight, model[0].weight)
