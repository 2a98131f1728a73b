"""What is done to targets and masks before a search, and how the changes are measured."""

import io

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from inpaintlib import corruptions, params, robustness
from inpaintlib.checks import InpaintError
from inpaintlib.grid import Method, invert_all
from inpaintlib.images import from_uint8, to_uint8
from inpaintlib.losses import Objective, Weighted, mse_term
from inpaintlib.robustness import hole_scores
from inpaintlib.search import Search
from inpaintlib.store import Store
from inpaintlib.study import project_root

from .tiny import pictures, square_hole, tiny_generator, tiny_percept

METHOD = Method(Objective({"mse": Weighted(1.0, mse_term())}), Search(steps=2))


def faces(n: int) -> torch.Tensor:
    return from_uint8(to_uint8(pictures(n, 16) * 0.5))


# Noise and JPEG ---------------------------------------------------------------------------------------


def test_noise_has_its_deviation_and_is_what_a_file_holds():
    grey = torch.zeros(2, 3, 64, 64)
    noisy = corruptions.noisy(grey, 0.2, seed=0)
    assert noisy.std(dim=(1, 2, 3)) == pytest.approx([0.2, 0.2], rel=0.03)
    assert noisy.mean(dim=(1, 2, 3)) == pytest.approx([0.0, 0.0], abs=0.01)
    assert torch.equal(from_uint8(to_uint8(noisy)), noisy)
    assert corruptions.noisy(grey, 5.0, seed=0).abs().max() == 1.0


def test_noise_is_an_items_own_and_scales_with_sigma():
    grey = torch.zeros(3, 3, 32, 32)
    both, alone = corruptions.noisy(grey, 0.1, seed=4), corruptions.noisy(grey[:1], 0.1, seed=6)
    assert torch.equal(both[2:], alone) and not torch.equal(both[0], both[1])
    torch.testing.assert_close(corruptions.noisy(grey, 0.2, seed=4), 2 * both, atol=0.02, rtol=0)


def test_global_random_state_is_not_moved_by_noise():
    state = torch.random.get_rng_state()
    corruptions.noisy(faces(1), 0.1, seed=0)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_jpeg_is_what_pillow_reads_back_and_worse_with_less_quality():
    target = faces(2)
    coded = corruptions.jpeg(target, 30)
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(target)[1]).save(buffer, format="JPEG", quality=30)
    assert np.array_equal(to_uint8(coded)[1], np.asarray(Image.open(buffer)))
    errors = [float((corruptions.jpeg(target, q) - target).abs().mean()) for q in (5, 30, 95)]
    assert errors == sorted(errors, reverse=True) and errors[2] > 0


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan")])
def test_sigma_must_be_above_0(sigma):
    with pytest.raises(InpaintError, match="sigma must be above 0"):
        corruptions.noisy(faces(1), sigma, seed=0)


@pytest.mark.parametrize("quality", [0, 96, 50.0])
def test_quality_must_be_one_of_jpegs(quality):
    with pytest.raises(InpaintError, match="quality must be"):
        corruptions.jpeg(faces(1), quality)


# Stability --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def changes() -> pd.DataFrame:
    return corruptions.stability(tiny_generator(), faces(2), square_hole(1, 16), METHOD, shifts=[1, 2], starts=3,
                                 seed=5, judge=tiny_percept(), batch_size=4)  # fmt: skip


def test_stability_has_a_row_a_face_and_change(changes):
    assert sorted(map(tuple, changes[["image", "change"]].to_numpy())) == sorted(
        (i, change) for i in range(2) for change in ("1 px", "2 px", "other start")
    )
    assert (changes[["lpips", "filling"]] >= 0).all(axis=None) and (changes["filling"] > 0).all()


def test_stability_compares_searches_that_differ_in_one_thing(changes):
    """The same numbers by hand: the second face, its base, its two shifts by 1 px, its other starts."""
    generator, target, judge = tiny_generator(), faces(2)[1:], tiny_percept()
    mask = square_hole(1, 16)
    moved = [mask.roll(step, dims=(2, 3)) for step in ((1, 0), (0, 1))]
    core = square_hole(1, 16)
    core[..., :6, :], core[..., :6] = 0.0, 0.0  # shifted by 2 px both ways: rows and columns 6 to 11 are always hidden
    random = Method(METHOD.objective, Search(steps=2, start="random"))

    def filling(m: torch.Tensor, seed: int) -> tuple[torch.Tensor, float]:
        record = invert_all(generator, target, m, random, seeds=[seed], batch_size=1)
        found = record.composite.clamp(-1, 1)
        return found, hole_scores(target, found, m, judge=judge)["lpips"][0]

    base, base_lpips = filling(mask, 6)
    for change, others in {
        "1 px": [filling(m, 6) for m in moved],
        "other start": [filling(mask, s) for s in (8, 10)],
    }.items():
        apart = [float(((x - base).abs().mean(dim=1) * core[:, 0]).sum() / core.sum()) for x, _ in others]
        lpips = [abs(value - base_lpips) for _, value in others]
        row = changes[(changes["image"] == 1) & (changes["change"] == change)].iloc[0]
        assert row["filling"] == pytest.approx(np.mean(apart), rel=1e-3)
        assert row["lpips"] == pytest.approx(np.mean(lpips), rel=1e-2, abs=1e-5)


def test_the_summary_is_a_ratio_to_another_start():
    moved, started = [0.4, 0.5, 0.6, 0.9], [1.0, 1.0, 2.0, 2.0]
    rows = [(i, change, value, 2 * value) for change, values in (("1 px", moved), ("other start", started))
            for i, value in enumerate(values)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["image", "change", "lpips", "filling"])
    found = corruptions.stability_summary(table, resamples=500).set_index(["change", "metric"])
    assert found.loc[("1 px", "lpips"), "mean"] == pytest.approx(0.6)
    for metric in ("lpips", "filling"):
        ratio, low, high = found.loc[("1 px", metric), ["ratio", "ratio_low", "ratio_high"]]
        assert ratio == pytest.approx(0.4) and min(0.4, 0.5, 0.3, 0.45) <= low < 0.4 < high <= 0.5
    assert found.loc[("other start", "lpips"), ["ratio", "ratio_low", "ratio_high"]].tolist() == [1.0, 1.0, 1.0]


def test_stability_needs_another_start():
    with pytest.raises(InpaintError, match="starts must be at least 2"):
        corruptions.stability(tiny_generator(), faces(1), square_hole(1, 16), METHOD, shifts=[1], starts=1, seed=0,
                              judge=tiny_percept(), batch_size=1)  # fmt: skip


@pytest.mark.parametrize(
    ("shifts", "message"),
    [([1, 5], "mask must keep its hole inside"), ([4], "shifts must leave a pixel that all masks")],
)
def test_shifts_that_leave_nothing_to_compare_are_refused(shifts, message):
    with pytest.raises(InpaintError, match=message):
        corruptions.stability(tiny_generator(), faces(1), square_hole(1, 16, side=8 if 5 in shifts else 4), METHOD,
                              shifts=shifts, starts=2, seed=0, judge=tiny_percept(), batch_size=1)  # fmt: skip


# Corrupted known pixels -------------------------------------------------------------------------------


def test_corrupted_searches_are_scored_against_the_clean_target():
    generator, target, mask, judge = tiny_generator(), faces(2), square_hole(1, 16), tiny_percept()
    table = corruptions.corruption_scores(generator, target, mask, METHOD, noise_levels=[0.4], jpeg_qualities=[20],
                                          seed=3, judge=judge, batch_size=3)  # fmt: skip
    assert table[["method", "kind"]].drop_duplicates().to_numpy().tolist() == [
        [method, kind] for method in ("search", "mean code") for kind in ("clean", "noise", "JPEG")
    ]
    assert len(table) == 12 and table["level"].isna().sum() == 4 and set(table["level"].dropna()) == {0.4, 20}
    seen = corruptions.noisy(target, 0.4, seed=3)
    record = invert_all(generator, seen, mask, METHOD, seeds=[3, 3], batch_size=2)
    clean = torch.where(mask == 1, record.image, target)
    by_hand = hole_scores(target, clean, mask.expand(2, -1, -1, -1), judge=judge)
    rows = table[(table["method"] == "search") & (table["kind"] == "noise")]
    np.testing.assert_allclose(rows[["lpips", "psnr", "ssim"]], by_hand, rtol=1e-3, atol=1e-5)
    base = table[table["method"] == "mean code"].pivot(index="image", columns="kind", values="lpips")
    assert base.nunique(axis=1).tolist() == [1, 1], "the mean code sees nothing"


# The plan ---------------------------------------------------------------------------------------------


def planned(**change):
    """The smoke profile's parameters, its masks at 16 px, and its probe."""
    settings = params.load(project_root() / "params/smoke/mask_robustness.yaml")
    p = params.MaskRobustness.from_mapping(settings | change)
    freeze = lambda families: robustness.freeze(families, p.coverages, 16, part_limit=p.part_limit, seed=p.seed)  # noqa: E731
    probe = robustness.one_mask(p.probe_family, p.probe_coverage, 16, seed=p.seed)
    return p, freeze(p.families()), probe, freeze(p.photo_families)


def test_the_plan_counts_what_the_searches_ask_for(tmp_path):
    p, frozen, probe, few = planned(batch_size=5, noise_levels=[0.2, 0.3], photos=3)
    store, generator = Store(tmp_path), tiny_generator()
    options = {"seed": p.seed, "batch_size": p.batch_size, "store": store}
    method = Method(METHOD.objective, p.search())
    robustness.fill(generator, faces(2), frozen, method, **options)
    options["judge"] = tiny_percept()
    corruptions.stability(generator, faces(2), probe, method, shifts=p.shifts, starts=p.random_starts, **options)
    corruptions.corruption_scores(generator, faces(2), probe, method, **p.corruptions(), **options)
    assert store.asked == corruptions.planned_passes(p, len(frozen.masks))
    options.pop("judge")
    robustness.fill(generator, faces(3), few, method, **options)
    assert store.asked == corruptions.planned_passes(p, len(frozen.masks), 3 * len(few.masks))


def test_a_plan_that_fits_its_budget_exactly_passes_and_photographs_count():
    passes = corruptions.planned_passes(*planned()[:1], len(planned()[1].masks))
    p, frozen, probe, few = planned(image_steps=passes)
    corruptions.check_plan(p, frozen, probe, None, few)
    more = passes + 2 * p.batch_size  # one chunk of two steps
    with pytest.raises(InpaintError, match=f"image_steps must be at least {more}, .* it is {passes}"):
        corruptions.check_plan(p, frozen, probe, faces(2), few)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probe_family": "bottom"}, "mask must keep its hole inside the image"),
        ({"least_hidden": 99}, r"least_hidden must be at most \d+, the most masks on a pixel; got 99"),
        ({"faces": 20}, "image_steps must be at least"),
    ],
)
def test_what_would_fail_late_is_refused_early(change, message):
    p, frozen, probe, few = planned(**change)
    with pytest.raises(InpaintError, match=message):
        corruptions.check_plan(p, frozen, probe, None, few)
