"""Targets, methods side by side, their scores and verdicts, on tiny networks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from inpaintlib import experiments
from inpaintlib.checks import InpaintError
from inpaintlib.experiments import generated_faces
from inpaintlib.images import to_uint8
from inpaintlib.invert import Search, invert, mean_code
from inpaintlib.losses import Objective, Weighted, mse_term
from inpaintlib.metrics import Interval, psnr

from .tiny import frozen, pictures, square_hole, tiny_generator, tiny_percept

MSE = Objective({"mse": Weighted(1.0, mse_term())})
SIZE = 8


@pytest.fixture(scope="module")
def generator():
    return frozen(tiny_generator(SIZE).double())


# Targets ----------------------------------------------------------------------------------------------


def test_a_face_depends_on_its_own_seed_alone(generator):
    alone = torch.cat([generated_faces(generator, 1, seed=7 + i) for i in range(3)])
    assert torch.equal(generated_faces(generator, 3, seed=7), alone)
    assert torch.equal(generated_faces(generator, 70, seed=7)[:3], alone)
    assert not torch.equal(generated_faces(generator, 1, seed=8), alone[:1])


def test_a_search_with_the_seed_of_its_target_does_not_start_at_the_answer(generator):
    search = Search(space="z", steps=1)
    start = invert(generator, generated_faces(generator, 1, seed=5), square_hole(1, SIZE, dtype=torch.float64),
                   objective=MSE, search=search, seeds=5)  # fmt: skip
    assert start.history["objective"][0] > 1e-3


def test_faces_are_what_an_8_bit_file_would_hold(generator):
    faces = generated_faces(generator, 3, seed=0)
    codes = experiments.random_codes(generator, 3, seed=0)
    assert np.array_equal(to_uint8(faces), to_uint8(generator(codes)))
    assert torch.equal(faces, torch.from_numpy(to_uint8(faces)).permute(0, 3, 1, 2).float().div(127.5).sub(1).double())
    with pytest.raises(InpaintError, match="n must be at least 1; got 0"):
        generated_faces(generator, 0, seed=0)


def test_the_photograph_is_a_colour_picture_of_the_size_asked_for():
    photo = experiments.astronaut(32)
    assert photo.shape == (1, 3, 32, 32) and photo.dtype == torch.float32
    assert photo.min() >= -1 and photo.max() <= 1 and photo.std() > 0.3
    assert (photo[:, 0] - photo[:, 2]).abs().mean() > 0.05
    assert torch.allclose(torch.nn.functional.avg_pool2d(experiments.astronaut(64), 2), photo, atol=0.2)


def test_the_baseline_is_the_image_of_the_mean_code(generator):
    images = experiments.at_mean_code(generator, 2)
    expected = generator.synthesis(mean_code(generator).expand(1, generator.num_ws, -1))
    assert torch.equal(images, expected.repeat(2, 1, 1, 1))


@pytest.mark.parametrize(("space", "first"), [("w+", ["MSE, W", "MSE, W+"]), ("w", ["MSE, W"])])
def test_the_methods_of_the_lpips_report(space, first):
    settings = {"mse_weight": 2.0, "lpips_weight": 3.0, "lpips_network": "percept-guide"}
    search = Search(space=space, steps=7)
    methods = experiments.lpips_methods(settings, search, ["zero", "fill+features"], steps_long=9)
    control = f"MSE, {space.upper()}, 9 steps"
    assert list(methods) == [*first, control, "MSE + LPIPS, zero", "MSE + LPIPS, fill+features"]
    assert methods[control] == methods[f"MSE, {space.upper()}"]._replace(search=replace(search, steps=9))
    assert methods["MSE, W"].search == replace(search, space="w")
    assert all(m.search == search for name, m in methods.items() if name not in ("MSE, W", control))
    weights = {name: {t: w.weight for t, w in m.objective.terms.items()} for name, m in methods.items()}
    assert weights["MSE, W"] == weights[control] == {"mse": 2.0}
    assert weights["MSE + LPIPS, zero"] == weights["MSE + LPIPS, fill+features"] == {"mse": 2.0, "lpips": 3.0}
    target, x_hat = pictures(1, 16), pictures(1, 16, seed=1)
    values = [methods[m].objective.bind(target, square_hole(1, 16))(x_hat, torch.empty(0))[1]["lpips"]
              for m in ("MSE + LPIPS, zero", "MSE + LPIPS, fill+features")]  # fmt: skip
    assert values[0] != values[1], "each method has the mode that its name says"


# Scores -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judged():
    target, image = pictures(2, 16), pictures(2, 16, seed=1)
    mask = square_hole(1, 16)
    scores = experiments.score({"a": 1.5 * image, "b": target}, target, mask, judge=tiny_percept())
    return target, (1.5 * image).clamp(-1, 1), mask, scores


def test_the_known_region_judges_the_image_and_the_others_the_composite(judged):
    target, image, mask, scores = judged
    rows = scores[scores["method"] == "a"].set_index(["region", "item"])
    assert np.allclose(rows.loc["known", "psnr"], psnr(image, target, 1 - mask))
    assert np.allclose(rows.loc["hole", "psnr"], psnr(image, target, mask))
    pasted = torch.where(mask == 1, image, target)
    assert np.allclose(rows.loc["whole", "l1"], (pasted - target).abs().mean(dim=(1, 2, 3)))
    assert rows.loc["whole", "l1"].mean() < rows.loc["known", "l1"].mean(), "the composite's known pixels are right"


def test_scores_have_a_row_for_each_method_item_and_region(judged):
    scores = judged[-1]
    assert scores.columns.tolist() == ["method", "item", "region", "psnr", "ssim", "lpips", "l1"]
    keys = list(scores[["method", "item", "region"]].itertuples(index=False, name=None))
    regions = ("band", "hole", "known", "whole")
    assert keys == [(m, i, r) for m in "ab" for i in (0, 1) for r in regions]
    perfect = scores[scores["method"] == "b"]
    assert (perfect["lpips"] == 0).all() and np.isinf(perfect["psnr"]).all()


def table(**methods) -> pd.DataFrame:
    """Scores whose values are ``methods``, one list of items each; all metrics alike, the known region doubled."""
    rows = [(m, i, region, *[factor * value] * 4) for m, values in methods.items() for i, value in enumerate(values)
            for region, factor in (("hole", 1.0), ("known", 2.0))]  # fmt: skip
    return pd.DataFrame(rows, columns=["method", "item", "region", "psnr", "ssim", "lpips", "l1"])


def test_intervals_are_means_by_method_region_and_metric():
    summary = experiments.intervals(table(b=[1.0, 2.0, 4.0], a=[5.0, 5.0, 5.0]), resamples=200)
    assert summary["method"].drop_duplicates().tolist() == ["b", "a"], "in order of appearance"
    assert len(summary) == 2 * 2 * 4 and (summary["n"] == 3).all()
    rows = summary[summary["metric"] == "lpips"].set_index(["method", "region"])
    assert rows.loc[("b", "hole"), "mean"] == pytest.approx(7 / 3)
    assert rows.loc[("b", "known"), "mean"] == pytest.approx(14 / 3)
    assert 1.0 <= rows.loc[("b", "hole"), "low"] < 7 / 3 < rows.loc[("b", "hole"), "high"] <= 4.0
    assert tuple(rows.loc[("a", "hole"), ["mean", "low", "high"]]) == (5.0, 5.0, 5.0)
    again = experiments.intervals(table(b=[1.0, 2.0, 4.0], a=[5.0, 5.0, 5.0]), resamples=200)
    pd.testing.assert_frame_equal(summary, again, check_exact=True)


def test_the_table_by_region_shows_the_same_numbers():
    summary = experiments.intervals(table(b=[1.0, 2.0, 4.0], a=[5.0, 5.0, 5.0]), resamples=200)
    wide = experiments.by_region(summary)
    assert wide.columns.tolist() == ["region", "method", "LPIPS (judge)", "PSNR in dB", "SSIM"]
    assert wide[["region", "method"]].to_numpy().tolist() == [
        ["hole", "b"],
        ["hole", "a"],
        ["known", "b"],
        ["known", "a"],
    ]
    row = summary[(summary["region"] == "known") & (summary["metric"] == "ssim")].iloc[0]
    assert wide["SSIM"].iloc[2] == str(Interval(row["mean"], row["low"], row["high"]))
    assert wide["PSNR in dB"].iloc[1] == "5 [5, 5]"


def test_the_mean_in_the_hole_is_of_one_method_and_region():
    assert experiments.hole_mean(table(b=[1.0, 2.0, 6.0], a=[5.0, 5.0, 5.0]), "b") == pytest.approx(3.0)


def test_a_difference_is_paired_and_signed():
    noise = 10.0 * np.random.default_rng(0).normal(size=12)
    better = noise - 1.0 - 0.1 * np.random.default_rng(1).random(12)
    scores = table(worse=noise, better=better).sample(frac=1.0, random_state=2)  # rows in any order
    effect = experiments.difference(scores, "worse", "better", resamples=500)
    assert effect.value == pytest.approx((noise - better).mean())
    assert 1.0 < effect.low < effect.high < 1.1, "unpaired, the noise would drown the difference"
    other = experiments.difference(scores, "better", "worse", resamples=500)
    assert other.value == pytest.approx(-effect.value)
    known = experiments.difference(scores, "worse", "better", metric="l1", region="known", resamples=500)
    assert known.value == pytest.approx(2.0 * effect.value)


def test_an_unknown_method_is_named():
    with pytest.raises(InpaintError, match="'c' must be one of the methods a, b"):
        experiments.difference(table(a=[1.0, 2.0], b=[1.0, 3.0]), "a", "c", resamples=9)


def test_differences_hold_what_the_main_method_saves():
    scores = table(first=[3.0, 4.0, 6.0], main=[1.0, 2.0, 3.0], last=[1.0, 1.0, 1.0])
    rows = experiments.differences(scores, "main", resamples=100).set_index("against")
    assert rows.index.tolist() == ["first", "last"]
    assert rows.loc["first", "difference"] == pytest.approx(7 / 3)
    assert rows.loc["last", "difference"] == pytest.approx(-1.0)
    assert ((rows["low"] <= rows["difference"]) & (rows["difference"] <= rows["high"])).all()


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.1, 0.3, "supported"),
        (-0.3, -0.1, "not supported"),
        (-0.1, 0.3, "undecided"),
        (0.0, 0.3, "undecided"),
        (-0.3, 0.0, "undecided"),
    ],
)
def test_a_verdict_needs_an_interval_that_excludes_the_least_effect(low, high, said):
    assert experiments.verdict(Interval((low + high) / 2, low, high)) == said
    assert experiments.verdict(Interval(5 + (low + high) / 2, 5 + low, 5 + high), least=5.0) == said


def test_targets_are_not_where_a_search_with_the_same_seed_starts():
    """Else a random start, or a search in z, would begin at the answer."""
    generator = tiny_generator()
    target = experiments.random_codes(generator, 3, seed=5)
    starts = [torch.randn(1, generator.z_dim, generator=torch.Generator().manual_seed(5 + i)) for i in range(3)]
    assert (target - torch.cat(starts).to(target)).abs().amax(dim=1).min() > 0.1
