"""Sets of images: tables beside their baselines, agreement of a judge."""

import itertools

import numpy as np
import pytest
import torch

from inpaintlib.attributes import AttributeNetwork
from inpaintlib.checks import InpaintError
from inpaintlib.distances import frechet, kernel_distance, prdc, uids
from inpaintlib.extractors import Features, of_percept
from inpaintlib.sets import agreement, agreement_chance, kid, set_scores

from .tiny import pictures, tiny_classifier, tiny_percept

#: Eight numbers an image: its first pixels, scaled to a deviation of about 1.
PIXELS = Features("pixels", lambda x: 1.7 * x.flatten(1)[:, :8])
PAIRED = ["kid", "frechet", "precision", "recall", "density", "coverage", "u_ids", "p_ids"]


# KID --------------------------------------------------------------------------------------------------


def test_kid_tells_two_sets_from_two_halves_of_one():
    noise, other, judge = pictures(120, 16), 0.3 * pictures(60, 16, seed=1) + 0.5, tiny_percept()
    same, different = kid(noise[:60], noise[60:], judge=judge), kid(noise[:60], other, judge=judge)
    assert same.low < 0 < same.high and different.low > 0
    assert different.value > 20 * abs(same.value) and different.low <= different.value <= different.high


def test_kid_is_the_kernel_distance_of_the_judge_s_features():
    a, b, judge = pictures(6, 16), 0.5 * pictures(9, 16, seed=1), tiny_percept()
    extract = of_percept(judge)
    assert kid(a, b, judge=judge) == kernel_distance(extract(a), extract(b))
    assert kid(a, b, judge=judge, seed=1) == kernel_distance(extract(a), extract(b), seed=1)


def test_kid_depends_on_its_seed_alone_and_leaves_the_global_generator():
    a, b, judge = pictures(50, 16), pictures(50, 16, seed=1), tiny_percept()
    before = torch.get_rng_state()
    first = kid(a, b, judge=judge)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert kid(a, b, judge=judge) == first != kid(a, b, judge=judge, seed=1)
    assert kid(a, b, judge=judge, batch=7).value == pytest.approx(first.value, rel=1e-3, abs=1e-7)


def test_kid_asks_the_shipped_judge_unless_told():
    a, b = pictures(4, 16), pictures(4, 16, seed=1)
    assert kid(a, b) == kid(a, b) != kid(a, b, judge=tiny_percept())


@pytest.mark.parametrize(("n", "m", "name"), [(1, 30, "images"), (30, 1, "reference")])
def test_kid_of_a_single_image_is_refused(n, m, name):
    with pytest.raises(InpaintError, match=f"{name} must hold at least 2 images; got 1"):
        kid(pictures(n, 16), pictures(m, 16), judge=tiny_percept())


# Tables -----------------------------------------------------------------------------------------------


def test_table_holds_every_metric_of_every_set_beside_its_baseline():
    reference, targets = pictures(80, 4), pictures(40, 4, seed=1)
    table = set_scores({"target": targets, "dark": 0.5 * targets - 0.5}, reference, features=PIXELS, targets=targets)
    of_base = ["baseline", "baseline_low", "baseline_high"]
    assert list(table.columns) == ["images", "features", "metric", "n", "value", "low", "high", *of_base]
    assert table["metric"].tolist() == 2 * PAIRED and table["images"].tolist() == ["target"] * 8 + ["dark"] * 8
    assert set(table["features"]) == {"pixels"} and set(table["n"]) == {40}
    assert np.isfinite(table[["value", "low", "high", *of_base]]).all(axis=None)
    for low, value, high in (("low", "value", "high"), ("baseline_low", "baseline", "baseline_high")):
        assert ((table[low] <= table[value]) & (table[value] <= table[high])).all()
    wide = table.pivot(index="metric", columns="images", values="value")
    wide["baseline"] = table.groupby("metric")["baseline"].first()
    for metric, sign in (("kid", 1), ("frechet", 1), ("recall", -1), ("coverage", -1), ("u_ids", -1), ("p_ids", -1)):
        near, far = (abs(wide.loc[metric, name] - wide.loc[metric, "baseline"]) for name in ("target", "dark"))
        assert far > 2 * near and sign * (wide.loc[metric, "dark"] - wide.loc[metric, "baseline"]) > 0, metric


def test_table_s_numbers_are_those_of_the_metrics():
    reference, targets, images = pictures(80, 4), pictures(30, 4, seed=1), 0.8 * pictures(30, 4, seed=2)
    table = set_scores({"a": images}, reference, features=PIXELS, targets=targets, dims=3, k=2, folds=3, seed=5)
    found = PIXELS(reference)[np.random.default_rng(5).permutation(80)]
    real, other, fake, pair = found[:40], found[40:70], PIXELS(images), PIXELS(targets)
    columns = {("value", "low", "high"): (fake, pair),
               ("baseline", "baseline_low", "baseline_high"): (other, real[:30])}  # fmt: skip
    for names, (x, y) in columns.items():
        decided = uids(y, x, folds=3, seed=5)
        expected = [kernel_distance(x, real, seed=5), frechet(x, real, dims=3, seed=5), *prdc(real[:30], x, k=2),
                    decided.u_ids, decided.p_ids]  # fmt: skip
        assert table[[*names]].to_numpy().tolist() == [[*interval] for interval in expected]


def test_metric_of_too_few_images_is_nan_and_pairs_need_targets():
    of_base = ["baseline", "baseline_low", "baseline_high"]
    sizes = {"3": 3, "4": 4, "6": 6, "12": 12, "20": 20}
    table = set_scores({k: pictures(n, 4) for k, n in sizes.items()}, pictures(60, 4, seed=1), features=PIXELS)
    wide = table.pivot(index="images", columns="metric", values=["value", "low", "high", *of_base]).notna()
    known = {k: set(wide.loc[k, "value"][wide.loc[k, "value"]].index) for k in sizes}
    near = {"precision", "recall", "density", "coverage"}
    assert known == {
        "3": set(),
        "4": {"kid"},
        "6": {"kid", *near},
        "12": {"kid", *near},
        "20": {"kid", "frechet", *near},
    }
    for column in ("low", "high", *of_base):
        assert (wide[column] == wide["value"]).all(axis=None)
    pairs = set_scores({"9": pictures(9, 4)}, pictures(60, 4, seed=1), features=PIXELS, targets=pictures(9, 4, seed=2))
    assert pairs["metric"].tolist() == PAIRED and pairs.set_index("metric")["value"][["u_ids", "p_ids"]].isna().all()


def test_of_a_set_larger_than_half_the_reference_as_many_count():
    images, reference, targets = pictures(30, 4), pictures(41, 4, seed=1), pictures(30, 4, seed=2)
    options = {"features": PIXELS, "dims": 3}
    table = set_scores({"a": images}, reference, targets=targets, **options)
    assert set(table["n"]) == {20}
    assert table.equals(set_scores({"a": images[:20]}, reference, targets=targets[:20], **options))


def test_table_depends_on_its_seed_alone():
    images, reference = pictures(20, 4), pictures(40, 4, seed=1)
    table = set_scores({"a": images}, reference, features=PIXELS, dims=3)
    assert table.equals(set_scores({"a": images}, reference, features=PIXELS, dims=3))
    assert not table.equals(set_scores({"a": images}, reference, features=PIXELS, dims=3, seed=1))


@pytest.mark.parametrize(
    ("sets", "reference", "targets", "message"),
    [
        ({}, 8, None, "sets must hold at least one set of images; it is empty"),
        ({"a": pictures(4, 4)}, 3, None, "reference must hold at least 4 images; got 3"),
        ({"a": pictures(4, 4)}, 8, pictures(5, 4), "targets must be as many as the images of 'a', 4; got 5"),
    ],
)
def test_wrong_sets_are_refused(sets, reference, targets, message):
    with pytest.raises(InpaintError, match=message):
        set_scores(sets, pictures(reference, 4), features=PIXELS, targets=targets)


# Agreement --------------------------------------------------------------------------------------------


def divided_judge(images: torch.Tensor) -> AttributeNetwork:
    """A classifier that finds each attribute in about half of the images."""
    judge = tiny_classifier()
    judge.offset -= judge.evidence(judge(images)).mean(dim=0)
    return judge


def test_judge_agrees_with_itself_and_counts_the_attributes_that_it_sees_alike():
    x, y = pictures(6, 16), pictures(6, 16, seed=1)
    judge = divided_judge(torch.cat([x, y]))
    assert agreement(judge, x, x).tolist() == [1.0] * 6
    has = [judge.evidence(judge(images)) > 0 for images in (x, y)]
    expected = [np.mean([bool(a) == bool(b) for a, b in zip(*pair, strict=True)]) for pair in zip(*has, strict=True)]
    assert agreement(judge, x, y).tolist() == pytest.approx(expected)
    assert min(expected) < max(expected) < 1


def test_chance_agreement_is_that_of_different_targets():
    x = pictures(5, 16)
    judge = divided_judge(x)
    pairs = [agreement(judge, x[[i]], x[[j]]).item() for i, j in itertools.permutations(range(5), 2)]
    assert agreement_chance(judge, x) == pytest.approx(np.mean(pairs)) and np.mean(pairs) < 0.95
    assert agreement_chance(judge, x[[0, 0]]) == 1.0


def test_agreement_of_nothing_to_compare_is_refused():
    with pytest.raises(InpaintError, match=r"images must fit the target's \(2, 3, 16, 16\); got \(1, 3, 16, 16\)"):
        agreement(tiny_classifier(), pictures(1, 16), pictures(2, 16))
    with pytest.raises(InpaintError, match="target must hold at least 2 images to compare with each other; got 1"):
        agreement_chance(tiny_classifier(), pictures(1, 16))
