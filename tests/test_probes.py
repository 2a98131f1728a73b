"""What codes, truncation and noise do to images: every probe against its literal definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from inpaintlib import probes
from inpaintlib.checks import InpaintError
from inpaintlib.experiments import random_codes
from inpaintlib.features import lpips
from inpaintlib.stylegan2 import Discriminator

from .tiny import frozen, pictures, seeded, tiny_generator, tiny_percept

SIZE = 8


@pytest.fixture(scope="module")
def generator():
    g = tiny_generator(SIZE)
    g.mapping.w_avg.normal_(generator=torch.Generator().manual_seed(5))
    return frozen(g.double())


@pytest.fixture(scope="module")
def discriminator():
    build = lambda: Discriminator(img_resolution=SIZE, channel_base=64, channel_max=8, mbstd_group_size=4)  # noqa: E731
    return frozen(seeded(build, 1)).double()


def codes(generator, n, seed):
    return generator.map(random_codes(generator, n, seed=seed))


def close(a, b) -> bool:
    return torch.allclose(a, b, rtol=1e-9, atol=1e-11)


def test_samples_are_the_images_of_their_seeds_whatever_their_number(generator):
    images = probes.samples(generator, 70, seed=4)  # more than one batch
    assert close(images, generator(random_codes(generator, 70, seed=4)))
    assert close(images[66:67], probes.samples(generator, 1, seed=70))
    assert torch.equal(images, probes.samples(generator, 70, seed=4))


def test_truncation_runs_from_the_mean_face_to_the_face_itself(generator):
    rows = probes.truncated(generator, [0.0, 0.5, 1.0], n=4, seed=2).unflatten(0, (4, 3))
    mean = generator.synthesis(generator.mapping.w_avg.expand(1, generator.num_ws, -1))
    assert close(rows[:, 0], mean.expand(4, -1, -1, -1)), "at psi = 0 all rows are alike"
    assert close(rows[:, 2], probes.samples(generator, 4, seed=2))
    w, mean_w = codes(generator, 4, seed=2), generator.mapping.w_avg
    assert close(rows[:, 1], generator.synthesis(mean_w + 0.5 * (w - mean_w)))


def test_the_mixing_table_is_its_literal_definition(generator):
    n, cut = 3, 2
    table = probes.mixing(generator, n, cut=cut, seed=6).unflatten(0, (n + 1, n + 1))
    ws = codes(generator, 2 * n, seed=6)
    assert (table[0, 0] == 1).all(), "the corner is white"
    for i in range(n):
        assert close(table[i + 1, 0], generator.synthesis(ws[i : i + 1])[0])
        assert close(table[0, i + 1], generator.synthesis(ws[n + i : n + i + 1])[0])
        for j in range(n):
            mixed = torch.cat([ws[i, :cut], ws[n + j, cut:]])[None]
            assert close(table[i + 1, j + 1], generator.synthesis(mixed)[0])


@pytest.mark.parametrize("cut", [0, 4, -1])
def test_a_cut_must_leave_both_sides_a_layer(generator, cut):
    with pytest.raises(InpaintError, match=f"cut must be between 1 and 3; got {cut}"):
        probes.mixing(generator, 2, cut=cut, seed=0)


def test_noise_variants_differ_by_their_noise_alone(generator):
    variants = probes.noise_variants(generator, n=3, seed=1)
    ws = codes(generator, 3, seed=1)
    assert list(variants) == ["stored noise", "no noise", "fresh noise 1", "fresh noise 2"]
    assert close(variants["stored noise"], generator.synthesis(ws, "const"))
    assert close(variants["no noise"], generator.synthesis(ws, "none"))
    fresh = [variants["fresh noise 1"], variants["fresh noise 2"]]
    differences = [
        (a - b).abs().amax(dim=(1, 2, 3)) for a in variants.values() for b in variants.values() if a is not b
    ]
    assert (torch.stack(differences) > 1e-3).all()
    apart = fresh[0] - variants["no noise"]
    assert not close(apart[0], apart[1]), "every item has noise of its own"
    again = probes.noise_variants(generator, n=66, seed=1)  # more than one batch
    assert close(again["fresh noise 2"][:3], fresh[1])


def test_deviation_maps_are_standard_deviations_over_images(generator):
    maps = probes.deviation_maps(generator, n=5, seed=3)
    faces = probes.samples(generator, 5, seed=3).numpy()
    over_noise, over_codes = maps.values()
    assert list(maps) == ["over noise, one code", "over codes, one noise"]
    assert np.allclose(over_codes, faces.std(axis=0, ddof=1).mean(axis=0))
    ws, noise = codes(generator, 1, seed=3), probes.fresh_noise(generator, 5, seed=3)
    drawn = torch.cat([generator.synthesis(ws, [m[i : i + 1] for m in noise]) for i in range(5)]).numpy()
    assert np.allclose(over_noise, drawn.std(axis=0, ddof=1).mean(axis=0))


def test_without_noise_strength_noise_moves_nothing():
    silent = tiny_generator(SIZE)
    for layer in silent.synthesis.layers:
        layer.noise_strength.zero_()
    over_noise, over_codes = probes.deviation_maps(silent, n=4, seed=0).values()
    assert over_noise.max() < 1e-6 < over_codes.min()


def test_the_deviation_table_sums_up_its_maps():
    table = probes.deviation_table({"a": torch.tensor([[1.0, 3.0]]), "b": torch.tensor([[0.0, 0.5]])})
    assert table.to_numpy().tolist() == [["a", 2.0, 3.0], ["b", 0.25, 0.5]]


# Realism and diversity --------------------------------------------------------------------------------


def test_a_logit_does_not_depend_on_its_neighbours(discriminator):
    images = pictures(5, SIZE, dtype=torch.float64)
    logits = probes.logits(discriminator, images)
    alone = torch.cat([discriminator(one[None])[:, 0] for one in images])
    assert torch.allclose(logits, alone, rtol=1e-9)
    assert not torch.allclose(logits[:4], discriminator(images[:4])[:, 0], rtol=1e-3), "as a group they would"


def test_the_group_size_is_put_back_even_after_a_failure(discriminator):
    probes.logits(discriminator, pictures(2, SIZE, dtype=torch.float64))
    with pytest.raises(RuntimeError):
        probes.logits(discriminator, torch.zeros(1, 5, SIZE, SIZE, dtype=torch.float64))
    assert discriminator.b4.group_size == 4


def test_the_truncation_table_holds_pair_distances_and_logits(generator, discriminator):
    judge, n = tiny_percept(dtype=torch.float64), 7
    table = probes.truncation_table(generator, discriminator, judge, [0.0, 1.0], n=n, seed=5, resamples=100)
    assert table[["method", "metric", "n"]].to_numpy().tolist() == [
        ["0", "diversity", 3], ["0", "realism", 7], ["1", "diversity", 3], ["1", "realism", 7]
    ]  # fmt: skip
    rows = table.set_index(["method", "metric"])["mean"]
    images = probes.samples(generator, n, seed=5).clamp(-1, 1)
    pairs = [float(lpips(judge, images[i : i + 1], images[i + 1 : i + 2])) for i in (0, 2, 4)]
    assert rows["1", "diversity"] == pytest.approx(np.mean(pairs))
    assert rows["0", "diversity"] == pytest.approx(0.0, abs=1e-9)
    assert rows["1", "realism"] == pytest.approx(float(probes.logits(discriminator, images).mean()))
    assert ((table["low"] <= table["mean"]) & (table["mean"] <= table["high"])).all()


def test_diversity_needs_a_pair(generator, discriminator):
    with pytest.raises(InpaintError, match="n must be at least 2"):
        probes.truncation_table(generator, discriminator, tiny_percept(), [1.0], n=1, seed=0, resamples=9)
