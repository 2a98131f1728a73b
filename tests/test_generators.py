"""The same notebooks with other generators: faces64, one of 256 px in FFHQ's alignment, one of 32 px with classes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from inpaintlib import experiments, fillings, masks, params, probes, prompting, robustness, runner, spectra
from inpaintlib.alignment import LANDMARKS
from inpaintlib.benchmark import random_generator
from inpaintlib.checks import InpaintError
from inpaintlib.experiments import lpips_name, mse_name
from inpaintlib.features import load_percept
from inpaintlib.invert import Search, invert
from inpaintlib.metrics import REGIONS
from inpaintlib.study import project_root
from inpaintlib.stylegan2 import Discriminator, Generator
from inpaintlib.weights import load_generator, save_weights

from .tiny import frozen, seeded, tiny_generator

ROOT = project_root()
CLASSES = 3


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project, with weights beside it."""
    folder = tmp_path_factory.mktemp("generators")
    for name in ("notebooks", "params"):
        shutil.copytree(ROOT / name, folder / name)
    save_weights(folder / "large.safetensors", tiny_generator(256, channel_base=1024), alignment="ffhq")
    save_weights(folder / "classes.safetensors", tiny_generator(32, c_dim=CLASSES))
    save_weights(folder / "critic.safetensors", conditional_discriminator(32))
    return folder


def conditional_discriminator(size: int) -> Discriminator:
    build = lambda: Discriminator(CLASSES, size, channel_base=256, channel_max=16)  # noqa: E731
    return frozen(seeded(build, 1))


def run(project: Path, stem: str, profile: str, **overrides: object) -> None:
    """Runs a notebook with the smoke parameters and these in their place."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("INPAINTLIB_ROOT", project), ("PYTHONPATH", ROOT), ("OMP_NUM_THREADS", 1),
                            ("INPAINTLIB_CACHE", project / "cache"), ("INPAINTLIB_DEVICE", "cpu")):  # fmt: skip
            patch.setenv(name, str(value))
        out = project / "reports" / profile / f"{stem}.ipynb"
        values = {"profile": profile, **overrides}
        runner.run(project / f"notebooks/{stem}.ipynb", project / f"params/smoke/{stem}.yaml", out, values)


def table(project: Path, profile: str, name: str) -> pd.DataFrame:
    return pd.read_csv(project / "reports" / profile / "tables" / f"{name}.csv")


SMALL = {"faces": 2, "batch_size": 2, "steps": 2, "steps_long": 3, "resamples": 100, "shown": 1}


@pytest.mark.parametrize("name", ["faces64", "large", "classes"])
def test_a_notebook_takes_another_generator_by_its_params_alone(project, name):
    file = name if name == "faces64" else str(project / f"{name}.safetensors")
    run(project, "mse_lpips", name, generator=file, lpips_modes=["fill+features"], **SMALL)
    scores = table(project, name, "mse_lpips-scores")
    alone, long, main = mse_name("w+"), mse_name("w+", 3), lpips_name("fill+features")
    assert scores["method"].drop_duplicates().tolist() == ["mean code", mse_name("w"), alone, long, main]
    assert len(scores) == 5 * 2 * len(REGIONS) and np.isfinite(scores[["psnr", "ssim", "lpips", "l1"]]).all(axis=None)
    known = scores[scores["region"] == "known"].groupby("method")["l1"].mean()
    assert known[long] < known["mean code"], "the search fits the known pixels"
    used = table(project, name, "mse_lpips-provenance").set_index("name")["value"]
    assert used["generator"] == file and used["precision"] == "float32" and used["device"] == "cpu"
    assert used[file].startswith("sha256:")


def test_random_starts_and_spaces_of_a_conditional_generator_run_in_a_notebook(project):
    small = {"faces": 2, "batch_size": 8, "steps": 2, "steps_long": 3, "resamples": 100, "shown": 1}
    run(project, "stochasticity", "classes", generator=str(project / "classes.safetensors"), **small)
    spreads = table(project, "classes", "stochasticity-spreads").set_index("source")["lpips"].groupby(level=0).mean()
    assert {fillings.start(space) for space in ("z", "w", "w+")} <= set(spreads.index)
    assert np.isfinite(spreads).all() and (spreads > 0).all()


def test_a_conditional_discriminator_is_told_the_classes_of_the_samples(project):
    networks = {"generator": "classes.safetensors", "discriminator": "critic.safetensors"}
    small = {"samples": 2, "codes": 4, "mixed": 1, "resamples": 100, "truncations": [0.5]}
    run(project, "generator", "classes", **{k: str(project / v) for k, v in networks.items()}, **small)
    truncation = table(project, "classes", "generator-truncation").set_index("metric")["mean"]
    G, D = load_generator(project / networks["generator"]), conditional_discriminator(32)
    images = probes.samples_at(G, 4, seed=0, truncation=0.5)
    told = torch.cat([D(x[None], c[None], alone=True) for x, c in zip(images, classes(G, 4, seed=0), strict=True)])
    assert truncation["realism"] == pytest.approx(float(told.mean()), rel=2e-2, abs=2e-3)  # its file is float16


# Classes ----------------------------------------------------------------------------------------------


def classes(generator: Generator, n: int, *, seed: int) -> torch.Tensor:
    found = experiments.random_classes(generator, n, seed=seed)
    assert found.shape == (n, CLASSES) and (found.sum(dim=1) == 1).all()
    return found


@pytest.fixture(scope="module")
def conditional() -> Generator:
    return tiny_generator(16, c_dim=CLASSES)


def test_classes_of_generated_faces_are_uniform_and_each_items_own(conditional):
    counts = classes(conditional, 600, seed=3).sum(dim=0)
    assert ((counts - 200).abs() < 60).all()  # five standard deviations
    assert torch.equal(classes(conditional, 5, seed=3)[2:], classes(conditional, 3, seed=5))
    assert experiments.random_classes(tiny_generator(), 2, seed=0) is None


def test_generated_faces_are_of_their_codes_and_classes(conditional):
    z, c = experiments.random_codes(conditional, 6, seed=2), classes(conditional, 6, seed=2)
    ws = experiments.random_ws(conditional, 6, seed=2, truncation=0.5)
    torch.testing.assert_close(ws, conditional.map(z, c, truncation=0.5))
    faces = experiments.generated_faces(conditional, 6, seed=2)
    assert (faces - conditional(z, c)).abs().max() < 1.01 / 127.5 / 2 + (conditional(z, c).abs() - 1).clamp_min(0).max()
    others = conditional(z, c.roll(1, dims=1))
    assert (faces - others).abs().mean() > 10 * (faces - conditional(z, c).clamp(-1, 1)).abs().mean()


def test_probes_and_spectra_take_a_conditional_generator(conditional):
    assert probes.mixing(conditional, 2, cut=2, seed=0).shape == (9, 3, 16, 16)
    assert all(torch.isfinite(x).all() for x in probes.noise_variants(conditional, n=2, seed=0).values())
    w = experiments.random_ws(conditional, 1, seed=0)[:, 0]
    hole = masks.make_mask("center", 16, coverage=0.25, generator=torch.Generator())
    found = spectra.spectra(conditional, w, torch.tensor([0.1]), {0.25: hole}, hole)
    assert np.isfinite(found.table["value"]).all() and found.posterior.isfinite().all()


@pytest.mark.parametrize("told", [None, torch.eye(CLASSES)[:1], torch.eye(4)[:2]])
def test_a_conditional_discriminator_that_is_not_told_the_classes_is_refused(told):
    images = torch.zeros(2, 3, 16, 16)
    with pytest.raises(InpaintError, match=r"a discriminator of 3 classes must be told each image's, one-hot \(2, 3\)"):
        probes.logits(conditional_discriminator(16), images, told)
    plain = frozen(seeded(lambda: Discriminator(0, 16, channel_base=64, channel_max=8)))
    assert torch.equal(probes.logits(plain, images, told), probes.logits(plain, images))


# Large images and other alignments --------------------------------------------------------------------


def part(family: str, alignment: str, size: int = 32) -> torch.Tensor:
    return masks.make_mask(family, size, coverage=0.05, generator=torch.Generator(), alignment=alignment)[0, 0]


@pytest.mark.parametrize("alignment", ["celeba", "ffhq"])
@pytest.mark.parametrize(("family", "landmark"), [("mouth", "mouth"), ("nose", "nose"), ("eyes", "left_eye")])
def test_parts_of_the_face_lie_where_the_alignment_has_them(family, landmark, alignment):
    y, x = part(family, alignment, 128).nonzero().double().add(0.5).div(128).mean(dim=0).tolist()
    assert y == pytest.approx(LANDMARKS[alignment][landmark][1], abs=0.01) and x == pytest.approx(0.5, abs=0.001)


def test_only_the_parts_of_the_face_depend_on_the_alignment():
    for family in masks.FAMILIES:
        drawn = [
            masks.make_mask(family, 32, coverage=0.2, generator=torch.Generator().manual_seed(1), alignment=alignment)
            for alignment in ("none", "celeba", "ffhq")
        ]
        assert torch.equal(*drawn[:2]) and torch.equal(*drawn[1:]) != (family in ("mouth", "eyes", "nose", "hair"))
    holes = prompting.part_masks({"mouth": 0.05}, 32, alignment="ffhq")
    assert torch.equal(holes["mouth"][0, 0], part("mouth", "ffhq"))
    with pytest.raises(InpaintError, match="alignment must be one of none, celeba, ffhq; got 'FFHQ'"):
        part("mouth", "FFHQ")


def test_photographs_of_celeba_are_refused_for_another_alignment():
    assert robustness.photographs(0, 32, alignment="ffhq") is None
    with pytest.raises(InpaintError, match="photos must be 0 for a generator of FFHQ's alignment"):
        robustness.photographs(2, 32, alignment="ffhq")


def test_the_photograph_is_framed_as_the_generators_faces_are():
    """Its eyes, the darkest round spots, lie where the alignment has them: measured on the picture itself."""
    plain, square = experiments.astronaut(128), experiments.astronaut(128, alignment="ffhq")
    assert torch.equal(plain, experiments.astronaut(128, alignment="none")) and not torch.equal(plain, square)
    for image, alignment in ((plain, "celeba"), (square, "ffhq")):
        at = LANDMARKS[alignment]
        for eye in ("left_eye", "right_eye"):
            x, y = (round(128 * v) for v in at[eye])
            spot = image[0].mean(dim=0)[y - 8 : y + 9, x - 8 : x + 9]
            around = image[0].mean(dim=0)[y + 10 : y + 18, x - 8 : x + 9]
            assert spot.min() < around.mean() - 0.5, (alignment, eye)


@pytest.mark.slow
def test_a_generator_of_1024_px_is_searched_in_all_18_codes():
    """In FFHQ's configuration with random weights: a few steps from the mean code, to the end."""
    generator = random_generator(1024)
    assert generator.num_ws == 18 and generator.config["channel_base"] == 32768
    target = experiments.generated_faces(generator, 1, seed=0)
    mask = masks.make_mask("mouth", 1024, coverage=0.05, generator=torch.Generator(), alignment="ffhq")
    record = invert(generator, target, mask, search=Search(steps=4, learning_rate=0.005), seeds=0)
    loss = record.history["objective"]
    assert record.w.shape == (1, 18, 512) and np.isfinite(loss).all() and loss.iloc[-1] < 0.98 * loss.iloc[0]
    assert torch.equal(record.composite[:, :, :100], target[:, :, :100]) and record.image.isfinite().all()
    scores = experiments.score({"search": record.image}, target, mask, judge=load_percept("percept-judge"))
    assert np.isfinite(scores[["psnr", "ssim", "lpips", "l1"]]).all(axis=None)


def test_every_notebook_has_its_parameters_in_the_profile_of_published_models():
    stems = {path.stem for path in (ROOT / "params/ffhq").glob("*.yaml")}
    assert set(params.MODELS) - {"inpaint", "own_photo"} <= stems
    for path in (ROOT / "params/ffhq").glob("*.yaml"):
        p = params.MODELS[path.stem].from_mapping(params.load(path))
        assert getattr(p, "generator", "ffhq-256") == "ffhq-256"
        assert getattr(p, "discriminator", "ffhq-256-discriminator") == "ffhq-256-discriminator"
        assert getattr(p, "lpips_network", "lpips-vgg") == "lpips-vgg"
