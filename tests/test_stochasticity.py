"""The report ``stochasticity``: tables by known answers, tested effects, readings and figures."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from inpaintlib import fillingfigures, fillingreadings, stochasticity
from inpaintlib.fillings import BOTH, CROSSED, FACES, KEPT, LONG, MASK, NOISE, RATE, SPACE, Fillings, start
from inpaintlib.search import SPACES
from inpaintlib.spectra import Spectra
from inpaintlib.spread import chance

from .tiny import pictures, square_hole, tiny_percept

F, S, R = 3, 4, 16
SEEDS = (*map(start, SPACES), NOISE, BOTH, LONG, KEPT, FACES)


def noise(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def target():
    return 0.2 * pictures(F, R)


@pytest.fixture(scope="module")
def hole():
    return square_hole(1, R)


@pytest.fixture(scope="module")
def found(target):
    """Fillings scattered around the truth: FACES by 0.2, other seeds by 0.1, NOISE and the rest by 0.01."""
    levels = dict.fromkeys(SEEDS, S) | {RATE: 2, SPACE: 2, MASK: 3, CROSSED: 6}
    out = {}
    for i, (name, n) in enumerate(levels.items()):
        scale = {FACES: 0.2, **dict.fromkeys((NOISE, KEPT, RATE, SPACE, MASK), 0.01)}.get(name, 0.1)
        image = (target[:, None] + scale * noise(F, n, 3, R, R, seed=i)).clamp(-1, 1)
        known = 0.1 + torch.rand(F, n, generator=torch.Generator().manual_seed(i))
        out[name] = Fillings(image, known, noise(F, n, 4, 5, seed=100 + i))
    return out


@pytest.fixture(scope="module")
def apart(found, target, hole):
    return stochasticity.distances(found, target, hole, tiny_percept())


@pytest.fixture(scope="module")
def spreads(found, apart, hole):
    return stochasticity.spreads(found, apart, hole)


@pytest.fixture(scope="module")
def summary(spreads):
    return stochasticity.summary(spreads, resamples=100)


def test_distances_begin_with_the_truth_and_see_the_hole_alone(found, apart, target, hole):
    assert apart[NOISE].shape == (F, 1 + S, 1 + S)
    outside = {NOISE: found[NOISE]._replace(image=torch.where(hole > 0.5, found[NOISE].image, 0.0))}
    again = stochasticity.distances(outside, target, hole, tiny_percept())
    assert np.array_equal(again[NOISE], apart[NOISE])
    exact = {"truth": Fillings(target[:, None].expand(-1, 2, -1, -1, -1), torch.ones(F, 2), torch.ones(F, 2, 1, 1))}
    assert not stochasticity.distances(exact, target, hole, tiny_percept())["truth"].any()


def test_spreads_have_a_row_a_source_and_face(spreads, found, apart):
    assert len(spreads) == F * len(found) and spreads["levels"].isin([2, 3, S, 6]).all()
    variances = spreads.groupby("source")["variance"].mean()
    assert variances[FACES] == pytest.approx(0.04, rel=0.1) and variances[NOISE] == pytest.approx(1e-4, rel=0.1)
    row = spreads[(spreads["source"] == BOTH) & (spreads["face"] == 1)].iloc[0]
    assert row["lpips"] == pytest.approx(apart[BOTH][1, 1:, 1:][np.triu_indices(S, 1)].mean())
    assert row["known"] == pytest.approx(float(found[BOTH].known[1].mean()))


def test_distinct_fillings_differ_by_more_than_noise_inputs_cause(spreads):
    counts = spreads.groupby("source")["distinct"].mean()
    assert counts[NOISE] == 1 and counts[start("w+")] == S == counts[FACES]


def test_fractions_are_of_different_faces(spreads, summary):
    assert (stochasticity.fractions(spreads, "variance")[FACES] == 1).all()
    rows = summary[summary["method"] == FACES].set_index("metric")
    assert rows.loc["lpips", ["mean", "low", "high"]].tolist() == [1, 1, 1]
    variance = summary[(summary["metric"] == "variance") & (summary["method"] == start("w"))].iloc[0]
    assert variance["mean"] == pytest.approx(0.25, rel=0.1) and variance["low"] <= variance["mean"] <= variance["high"]
    table = stochasticity.by_source(summary)
    assert table["source"].tolist() == list(dict.fromkeys(spreads["source"])) and table.shape[1] == 5


def test_c2_is_what_starts_do_beyond_noise_inputs(spreads):
    effect = stochasticity.beyond_noise(spreads, "w+", resamples=100)
    wide = spreads.pivot(index="face", columns="source", values="lpips")
    assert effect.value == pytest.approx(((wide[start("w+")] - wide[NOISE]) / wide[FACES]).mean())
    assert effect.low > 0


def test_c5_counts_only_fillings_that_fit(found, apart):
    def effect(known: torch.Tensor) -> float:
        random = 2.0 * torch.arange(S).expand(F, S) / (S - 1)  # 1 on average
        changed = found | {LONG: found[LONG]._replace(known=known.expand(F, S)),
                           FACES: found[FACES]._replace(known=random)}  # fmt: skip
        return stochasticity.diverse(changed, apart, fits=2.0, resamples=100).value

    pair = lambda name, i, j: apart[name][:, i, j]  # noqa: E731
    faces = np.array([m[1:, 1:][np.triu_indices(S, 1)].mean() for m in apart[FACES]])
    ours = np.array([m[1:, 1:][np.triu_indices(S, 1)].mean() for m in apart[LONG]])
    assert effect(torch.full((S,), 0.5)) == pytest.approx((ours / faces).mean())
    assert effect(torch.ones(S)) == 0.0, "without a search all fillings err alike, as random faces do"
    assert effect(torch.tensor([0.4, 0.5, 0.6, 0.7])) == pytest.approx((pair(LONG, 1, 2) / faces).mean())
    assert effect(torch.tensor([0.1, 0.2, 0.3, 0.4])) == pytest.approx((pair(LONG, 1, 2) / faces).mean())
    assert effect(torch.tensor([0.1, 0.3, 0.3, 0.3])) == 0.0


def test_solutions_and_their_rank_correlation(found, apart):
    table = stochasticity.solutions(found, apart)
    assert len(table) == len(SPACES) * F * S
    row = table[(table["space"] == "z") & (table["face"] == 2) & (table["sample"] == 1)].iloc[0]
    assert row["truth"] == apart[start("z")][2, 0, 2]
    assert row["apart"] == pytest.approx(apart[start("z")][2, 2, [1, 3, 4]].mean())
    table["known"] = table["apart"] ** 3
    ranks = stochasticity.rank_correlations(table, resamples=100)
    assert ranks["space"].tolist() == list(SPACES) and ranks["mean"].tolist() == pytest.approx([1, 1, 1])


def test_the_truth_is_inside_where_it_is_a_filling_and_not_where_all_are_aside(found, apart, target, hole):
    images = torch.cat([target[:, None], found[start("z")].image[:, 1:]], dim=1)
    aside = found[NOISE]._replace(image=target[:, None] + 0.5 + 0.01 * noise(F, S, 3, R, R, seed=9))
    changed = found | {start("z"): found[start("z")]._replace(image=images), NOISE: aside}
    again = stochasticity.distances(changed, target, hole, tiny_percept())
    table = stochasticity.truths(changed, again, target, hole, resamples=100)
    rows = table.set_index(["source", "measure"])["mean"]
    assert rows[start("z"), "inside"] == 1.0 and rows[NOISE, "inside"] == 0.0
    assert rows[NOISE, "outlying"] == 1.0
    assert set(table[table["measure"] == "inside"]["expected"]) == {0.6}


def test_the_decomposition_finds_the_factor_that_was_put_in(found, target, hole):
    of_start = 0.1 * noise(F, S, 3, R, R, seed=3)
    changed = {start(space): found[start(space)]._replace(image=of_start + 0.3 * i) for i, space in enumerate(SPACES)}
    crossed = (0.1 * noise(F, 2, 3, R, R, seed=4)).repeat_interleave(3, dim=1)
    changed[CROSSED] = found[CROSSED]._replace(image=crossed)
    table = stochasticity.decomposition(changed, hole, crossed=2, resamples=100)
    shares = table.set_index(["design", "part"])["mean"]
    assert shares["start × space", "interaction"] == pytest.approx(0.0, abs=1e-9)
    assert shares["start × space", "space"] > 0.5
    assert shares["start × hole", "start"] == pytest.approx(1.0)
    assert table["chance"].tolist() == [*chance(S, 3), *chance(2, 3)]
    assert table.groupby("design")["mean"].sum().tolist() == pytest.approx([1, 1])


def test_the_best_filling_has_the_least_error_on_the_known_pixels(found):
    codes, sigma = stochasticity.best(found[LONG])
    i = int(found[LONG].known[1].argmin())
    assert torch.equal(codes[1], found[LONG].code[1, i, 0]) and sigma[1] == found[LONG].known[1].min()
    easy = found | {FACES: found[FACES]._replace(known=torch.full((F, S), 9.0))}
    assert stochasticity.fitting(easy, 1.0).sum(axis=1).tolist() == [1] * F


def a_theory(sd: torch.Tensor) -> Spectra:
    table = pd.DataFrame({"face": np.repeat(range(F), 4), "hidden": [0.25, 0.25, 0.5, 0.5] * F,
                          "index": [1, 2] * 2 * F, "value": [3.0, 0.5, 1.5, 0.1] * F, "sigma": 1.0})  # fmt: skip
    return Spectra(table, 2.0 * sd.flip(-1), sd)


def test_pinned_directions_are_those_above_the_noise():
    table = a_theory(torch.ones(F, R, R))
    table.table.loc[0, "sigma"] = 5.0
    found = stochasticity.pinned(table, resamples=100)
    assert found["mean"].tolist() == pytest.approx([2 / 3, 1]) and found["of"].tolist() == [2, 2]


def test_a_map_that_made_the_fillings_explains_them(hole):
    sd = 0.1 + torch.rand(F, R, R, generator=torch.Generator().manual_seed(0))
    images = sd[:, None, None] * noise(F, 200, 3, R, R, seed=1)
    rows = stochasticity.explained(images, a_theory(sd), hole, resamples=100).set_index("map")
    seen = rows.loc[stochasticity.SEEN]
    assert seen["mean"] > 0.95 and seen["size"] == pytest.approx(1.0, abs=0.05)
    assert abs(rows.loc[stochasticity.UNSEEN, "mean"]) < 0.4
    assert rows.loc[stochasticity.UNSEEN, "size"] == pytest.approx(2.0, abs=0.3)
    assert seen["mean"] <= rows.loc[stochasticity.CEILING, "mean"] + 0.02 <= 1.02
    few = stochasticity.explained(images[:, :4], a_theory(sd), hole, resamples=100).set_index("map")
    ceiling = few.loc[stochasticity.CEILING, "mean"]
    assert few.loc[stochasticity.SEEN, "mean"] == pytest.approx(ceiling, abs=0.1) and ceiling < 0.95
    assert np.isnan(few.loc[stochasticity.EDGE, "size"])


def test_the_readings_say_what_the_tables_hold(found, apart, spreads, summary, target, hole):
    shares = stochasticity.decomposition(found, hole, crossed=2, resamples=100)
    text = fillingreadings.sources(spreads, summary, shares, "w+", resamples=100)
    mean = summary[(summary["method"] == start("w+")) & (summary["metric"] == "lpips")].iloc[0]["mean"]
    assert f"in W+ differ in hole LPIPS by {mean:.2f}" in text
    assert "not mainly to divert" in text, "noise under a kept code does as much"
    ranks = stochasticity.rank_correlations(stochasticity.solutions(found, apart), resamples=100)
    for count, end in ((1, "below; the others err more."), (S, "below.")):
        good = np.arange(S) < np.full((F, 1), count)
        said = fillingreadings.convergence(spreads, ranks, good, resamples=100)
        assert f"{count:.1f} on average fit" in said and said.endswith(end)
    truths = stochasticity.truths(found, apart, target, hole, resamples=100)
    assert "60% were it one of them" in fillingreadings.truth(truths, spreads, "w+")


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ([0.3, 0.4, 0.45], "most of what they do, they do by diverting"),
        ([0.6, 0.7, 0.9], "not mainly to divert"),
        ([0.2, 0.5, 0.9], "this does not tell"),
    ],
)
def test_the_reading_of_noise_inputs_follows_the_interval(found, spreads, summary, hole, kept, said):
    changed, wide = spreads.copy(), spreads.pivot(index="face", columns="source", values="lpips")
    changed.loc[changed["source"] == KEPT, "lpips"] = (np.array(kept) * wide[NOISE]).to_numpy()
    shares = stochasticity.decomposition(found, hole, crossed=2, resamples=100)
    assert said in fillingreadings.sources(changed, summary, shares, "w+", resamples=100)


@pytest.mark.parametrize(("steps", "said"), [(-0.1, "not finished"), (0.1, "move further apart")])
def test_the_reading_of_more_steps_follows_the_interval(spreads, found, steps, said):
    changed = spreads.copy()
    wide = spreads.pivot(index="face", columns="source", values="lpips")
    changed.loc[changed["source"] == LONG, "lpips"] = ((1 + steps) * wide[start("w")]).to_numpy()
    ranks = pd.DataFrame([("w", 0.5, 0.2, 0.8)], columns=["space", "mean", "low", "high"])
    text = fillingreadings.convergence(changed, ranks, np.ones((F, S), bool), resamples=100)
    assert said in text and "in W the odd ones fit worse" in text


@pytest.mark.parametrize(("scale", "said"), [(0.1, "far too little"), (1.0, "about right"), (5.0, "too much")])
def test_the_reading_of_the_theory_follows_its_size(hole, scale, said):
    sd = 0.1 + torch.rand(F, R, R, generator=torch.Generator().manual_seed(0))
    images, theory = sd[:, None, None] * noise(F, 50, 3, R, R, seed=1), a_theory(scale * sd)
    explained = stochasticity.explained(images, theory, hole, resamples=100)
    fits = np.arange(S) < np.full((F, 1), 1)
    text = fillingreadings.theory(stochasticity.pinned(theory, resamples=100), explained, fits)
    assert "of all longer searches, 25% of which fit" in text
    assert said in text and "*where* fillings differ. It" in text and "pins down 1 (1 to 1) with 25% hidden" in text


def test_the_reading_of_the_theory_claims_no_more_than_its_baselines_allow():
    pinned = stochasticity.pinned(a_theory(torch.ones(F, R, R)), resamples=100)
    columns = ["map", "mean", "low", "high", "size", "size_low", "size_high"]

    def said(mean: float, low: float) -> str:
        names = (stochasticity.UNSEEN, stochasticity.EDGE, stochasticity.CEILING)
        rows = [
            (stochasticity.SEEN, mean, low, 0.9, 1.0, 0.3, 3.0),
            *((n, 0.2, 0.1, 0.3, 1.0, 1.0, 1.0) for n in names),
        ]
        return fillingreadings.theory(pinned, pd.DataFrame(rows, columns=columns), np.ones((F, S), bool))

    assert "does not tell *where*" in said(0.3, -0.1) and "too wide to tell" in said(0.3, -0.1)
    assert "not certainly more" in said(0.3, 0.15) and "not certainly more" not in said(0.3, 0.25)


def test_the_figures_have_a_panel_for_each_thing_they_show(found, apart, target, hole):
    theory = a_theory(torch.rand(F, R, R, generator=torch.Generator().manual_seed(0)))
    shares = stochasticity.decomposition(found, hole, crossed=2, resamples=100)
    columns = fillingfigures.gallery(target, hole, found, "w+", 2)
    assert len(columns) == 9 and {len(x) for x in columns.values()} == {2}
    assert torch.equal(torch.where(hole > 0.5, 0.0, columns["start 3"]), torch.where(hole > 0.5, 0.0, target[:2]))
    figures = {
        fillingfigures.shares(shares): 2,
        fillingfigures.trade(stochasticity.solutions(found, apart)): 1,
        fillingfigures.maps(target, found[LONG].image, hole, 2): 2 * 4 + 2,
        fillingfigures.theory_maps(target, found[LONG].image, theory, hole, 5): F * 4 + 3,
        fillingfigures.spectrum(theory.table): 1,
    }
    for figure, axes in figures.items():
        assert isinstance(figure, Figure) and len(figure.axes) == axes
