"""The report on regularisers: one change a method, paired differences, and a test that can go either way."""

from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from inpaintlib import losses, params
from inpaintlib.checks import InpaintError
from inpaintlib.experiments import at_mean_code, difference, generated_faces, score
from inpaintlib.grid import Method, compare
from inpaintlib.invert import Search
from inpaintlib.losses import Objective, Weighted, masked_mse, mse_term
from inpaintlib.metrics import relative_difference
from inpaintlib.probes import logits
from inpaintlib.regularisers import (
    BASELINE,
    DEFAULT,
    METRICS,
    decide,
    differences,
    dimensions,
    equivalence,
    face_scores,
    holm,
    methods,
    passes,
    realism,
    regularised,
    tradeoff,
)
from inpaintlib.sets import of_percept
from inpaintlib.study import project_root
from inpaintlib.tradeoffs import (
    baselines,
    compared,
    convergence_figure,
    cost,
    difference_figure,
    equivalent,
    gallery,
    realistic,
    sets_table,
    tradeoff_figure,
)

from .test_priors import tiny_discriminator
from .tiny import square_hole, tiny_generator, tiny_percept

WEIGHTS = {"adversarial": [1.0, 0.1], "l2": [0.5], "mahalanobis": [0.5]}


@pytest.fixture
def tiny(monkeypatch) -> None:
    """Puts tiny networks in place of those that an objective asks for."""
    monkeypatch.setattr(losses, "load_discriminator", lambda name: tiny_discriminator())
    monkeypatch.setattr(losses, "load_generator", lambda name: tiny_generator())
    monkeypatch.setattr(losses, "load_percept", lambda name: tiny_percept())


def grid(search: Search | None = None) -> dict[str, Method]:
    options = {"generator": "g", "discriminator": "d", "lbfgs_step": 2.0, "best_of": 2}
    return methods({"mse_weight": 1.0, "lpips_weight": 0.5}, search or Search(steps=5), WEIGHTS, **options)


# Methods ----------------------------------------------------------------------------------------------


def test_every_method_differs_from_the_default_in_one_thing(tiny):
    found = grid()
    plain = found.pop(DEFAULT)
    assert next(iter(grid())) == DEFAULT and set(plain.objective.terms) == {"mse", "lpips"}
    names = sum(regularised(WEIGHTS).values(), [])
    assert names == ["adversarial 0.1", "adversarial 1", "L2 0.5", "Mahalanobis 0.5"]
    for name, method in found.items():
        changed = {k for k, v in asdict(method.search).items() if v != asdict(plain.search)[k]}
        added = set(method.objective.settings.items()) - set(plain.objective.settings.items())
        assert bool(changed) != bool(added), name
        assert (name in names) == bool(added)
        assert method.search.passes == plain.search.passes, "equal compute"
    assert found["adversarial 0.1"].objective.settings["adversarial_weight"] == 0.1
    assert found["adversarial 0.1"].objective.networks == ("percept-guide", "d")
    assert found["Mahalanobis 0.5"].objective.settings["prior_form"] == "mahalanobis"
    assert found["L2 0.5"].objective.networks == ("percept-guide", "g")


def test_search_is_changed_in_noise_optimiser_start_space_and_schedule(tiny):
    found = {name: method.search for name, method in grid().items()}
    assert (found["drawn noise"].noise, found["optimised noise"].noise) == ("random", "optimised")
    assert (found["L-BFGS"].optimiser, found["L-BFGS"].learning_rate) == ("lbfgs", 2.0)
    assert (found["random start"].start, found["best of 2"].start, found["best of 2"].candidates) == (
        "random",
        "best",
        2,
    )
    assert {name for name in found if name.startswith("space")} == {"space Z", "space W"}
    assert {name for name in found if name.endswith("rate")} == {"constant rate", "ramp rate"}
    other = grid(Search(steps=5, space="w", schedule="ramp"))
    assert {"space Z", "space W+", "exponential rate", "constant rate"} <= set(other)
    assert not {"space W", "ramp rate"} & set(other)


@pytest.mark.parametrize("profile", ["embedded", "smoke", "ffhq"])
def test_the_grid_fits_its_budget(tiny, profile):
    path = project_root() / f"params/{profile}/regularisers.yaml"
    p = params.Regularisers.from_mapping(params.load(path))
    options = {"generator": p.generator, "discriminator": p.discriminator, "lbfgs_step": p.lbfgs_step}
    jobs = methods(p.terms(), p.search(), p.weights(), best_of=p.best_of, **options)
    chunks = -(-p.faces // p.batch_size)  # each is filled up to batch_size, and counts in full
    spent = chunks * p.batch_size * sum(method.search.passes for method in jobs.values())
    assert spent <= p.image_steps and (profile == "smoke" or spent >= 0.8 * p.image_steps)
    assert {method.search.passes for method in jobs.values()} == {p.steps}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"l2_weights": [0.1, 0.1]}, "l2_weights must name nothing twice"),
        ({"adversarial_weights": []}, "adversarial_weights"),
        ({"mahalanobis_weights": [0.0]}, "mahalanobis_weights"),
        ({"near": 0.0}, "near"),
        ({"lbfgs_step": -1.0}, "lbfgs_step"),
    ],
)
def test_wrong_parameters_are_refused(change, message):
    values = params.load(project_root() / "params/smoke/regularisers.yaml")
    with pytest.raises(InpaintError, match=message):
        params.Regularisers.from_mapping(values | change)


def test_own_pictures_do_not_start_among_candidates():
    values = params.load(project_root() / "params/smoke/inpaint.yaml")
    with pytest.raises(InpaintError, match="start"):
        params.Inpaint.from_mapping(values | {"start": "best"})


# Scores of real searches ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def searched():
    """A generator, targets, a mask, methods (one climbed the network "d") and what they found."""
    g = tiny_generator()
    target, mask = generated_faces(g, 4, seed=0), square_hole(1, 16)
    plain = Objective({"mse": Weighted(1.0, mse_term())})
    climbed = Objective({"mse": Weighted(1.0, mse_term(), network="d")})
    tested = {DEFAULT: Method(plain, Search(steps=4)), "L2 1": Method(plain, Search(steps=4, learning_rate=0.01)),
              "adversarial 1": Method(climbed, Search(steps=4, space="w")),
              "space Z": Method(plain, Search(steps=4, space="z"))}  # fmt: skip
    records = compare(g, target, mask, tested, seeds=range(4), batch_size=2)
    return SimpleNamespace(generator=g, target=target, mask=mask, methods=tested, records=records)


@pytest.fixture(scope="module")
def faces(searched) -> pd.DataFrame:
    return face_scores(searched.records, searched.methods, searched.target, searched.mask, judge=tiny_percept(),
                       discriminator=tiny_discriminator(), network="d")  # fmt: skip


@pytest.fixture(scope="module")
def distances(searched) -> pd.DataFrame:
    features = of_percept(tiny_percept())
    return realism(searched.records, searched.target, searched.generator, features, reference=12, seed=50)


def test_face_scores_are_those_of_the_usual_metrics(searched, faces):
    assert faces["method"].drop_duplicates().tolist() == [BASELINE, DEFAULT, "L2 1", "adversarial 1", "space Z"]
    assert len(faces) == 5 * 4 and faces.columns.tolist() == ["method", "item", *METRICS]
    images = {name: record.image for name, record in searched.records.items()}
    images[BASELINE] = at_mean_code(searched.generator, 4)
    usual = score(images, searched.target, searched.mask, judge=tiny_percept())
    for name, image in images.items():
        ours = faces[faces["method"] == name]
        theirs = usual[(usual["method"] == name) & (usual["region"] == "hole")]
        assert np.array_equal(ours[["lpips", "psnr"]], theirs[["lpips", "psnr"]])
        error = masked_mse(image.clamp(-1, 1), searched.target, searched.mask)
        assert ours["known_mse"].to_numpy() == pytest.approx(error.numpy(), rel=1e-6)


def test_pixels_beyond_the_range_are_scored_as_a_file_would_hold_them(searched):
    beyond = replace(searched.records[DEFAULT], image=5.0 * searched.records[DEFAULT].image)
    within = replace(beyond, image=beyond.image.clamp(-1, 1))
    options = {"judge": tiny_percept(), "discriminator": tiny_discriminator(), "network": "d"}
    tables = [face_scores({DEFAULT: record}, searched.methods, searched.target, searched.mask, **options)
              for record in (beyond, within)]  # fmt: skip
    assert (beyond.image.abs() > 1).any()
    pd.testing.assert_frame_equal(*tables)


def test_network_that_was_climbed_does_not_judge(searched, faces):
    for name, record in searched.records.items():
        ours = faces[faces["method"] == name]["logit"]
        if name == "adversarial 1":
            assert ours.isna().all()
        else:
            expected = logits(tiny_discriminator(), record.composite.clamp(-1, 1))
            assert ours.to_numpy() == pytest.approx(expected.numpy(), rel=1e-4, abs=1e-5)


def test_realism_is_that_of_the_composites(searched, distances):
    assert distances["method"].drop_duplicates().tolist() == list(searched.records)
    assert (distances["n"] == 4).all() and set(distances["features"]) == {tiny_percept().name}
    kid = distances[distances["metric"] == "kid"]
    assert kid[["value", "low", "high", "baseline", "baseline_low", "baseline_high"]].notna().all(axis=None)


def test_sets_of_ten_faces_have_every_distance_and_one_readable_table(searched):
    """With 10 faces, as in profile embedded, none is missing."""
    target = generated_faces(searched.generator, 10, seed=0)
    records = {name: SimpleNamespace(composite=scale * target) for name, scale in ((DEFAULT, 0.9), ("L2 1", 0.4))}
    found = realism(records, target, searched.generator, of_percept(tiny_percept()), reference=24, seed=50)
    metrics = ["kid", "frechet", "precision", "recall", "density", "coverage", "u_ids", "p_ids"]
    assert found["metric"].tolist() == metrics * 2 and np.isfinite(found.drop(columns=["method", "features", "metric"])
                                                                   ).all(axis=None)  # fmt: skip
    table = sets_table(found)
    assert table["images"].tolist() == ["other generated faces", DEFAULT, "L2 1"]
    assert table.columns.tolist()[:5] == ["images", "features", "faces", "KID", "Fréchet, 4 dimensions"]
    assert table.columns.tolist()[-2:] == ["U-IDS", "P-IDS"] and set(table["faces"]) == {10}
    base, own = found.iloc[-1][["baseline", "baseline_low", "baseline_high"]], found.iloc[-1][["value", "low", "high"]]
    assert table["P-IDS"].tolist()[::2] == [f"{a:.3g} [{b:.3g}, {c:.3g}]" for a, b, c in (base, own)]


def test_sets_of_few_faces_have_dashes(distances):
    table = sets_table(distances)
    assert set(table["U-IDS"]) == {"–"} and "–" not in set(table["KID"])


def test_a_frechet_distance_has_as_many_dimensions_as_its_images_allow():
    assert [dimensions(n) for n in (2, 5, 10, 48, 129, 1000)] == [2, 2, 4, 23, 64, 64]
    assert all(n > 2 * dimensions(n) for n in range(5, 400))


def test_differences_are_paired_with_the_default(searched, faces):
    table = differences(faces, resamples=100)
    assert len(table) == 3 * len(METRICS) and BASELINE not in set(table["method"])
    images = {name: record.image for name, record in searched.records.items()}
    usual = score(images, searched.target, searched.mask, judge=tiny_percept())
    for row in table[table["metric"] == "lpips"].itertuples():
        expected = difference(usual, row.method, DEFAULT, resamples=100)
        assert (row.difference, row.low, row.high) == pytest.approx(tuple(expected))
        assert row.difference == pytest.approx(row.mean - row.default) and np.sign(row.d_z) == np.sign(row.difference)
        assert row.p <= row.p_holm <= 1.0
    climbed = table[(table["metric"] == "logit") & (table["method"] == "adversarial 1")].iloc[0]
    assert climbed[["difference", "low", "high", "d_z", "p", "p_holm"]].isna().all()
    others = table[(table["metric"] == "logit") & (table["method"] != "adversarial 1")]
    assert others["p_holm"].tolist() == holm(others["p"]).tolist(), "the family does not count what is missing"


def test_figures_and_readings_take_what_the_tables_hold(searched, faces, distances):
    points = tradeoff(faces, distances, resamples=100)
    assert len(points) == 4 * 3 and (points["known_low"] <= points["known_high"]).all()
    families = {"l2": ["L2 1"], "adversarial": ["adversarial 1"]}
    fig = tradeoff_figure(points, families, baselines(faces, distances))
    assert [len(ax.containers) for ax in fig.axes] == [4, 4, 3], "a marker a method, none for a missing logit"
    assert fig.axes[0].get_ylabel() == "hole LPIPS, lower is better"
    assert fig.axes[2].get_ylabel() == "discriminator's logit, higher is better"
    fig = difference_figure(differences(faces, resamples=100))
    assert len(fig.axes) == 3 and [t.get_text() for t in fig.axes[0].get_yticklabels()][0] == "L2 1"
    fig = gallery(searched.records, ["L2 1"], searched.target, searched.mask, 2)
    assert len(fig.axes) == 4 * 2 and [ax.get_ylabel() for ax in fig.axes[::2]][-1] == "L2 1"
    text = realistic(points, distances)
    kid = points[(points["panel"] == "kid") & (points["method"] == DEFAULT)]["value"].iloc[0]
    assert f"{kid:.3g}" in text and "have no logit" in text
    assert "no adjusted p can be below 0.25: too few faces" in compared(differences(faces, resamples=100))


def test_too_few_faces_for_a_distance_are_said(faces, distances):
    few = distances.assign(value=np.nan, low=np.nan, high=np.nan)
    points = tradeoff(faces, few, resamples=100)
    assert "KID needs more faces" in realistic(points, few)
    fig = tradeoff_figure(points, {"l2": ["L2 1"]}, baselines(faces, few))
    assert [t.get_text() for t in fig.axes[1].texts] == ["too few faces"]


def test_convergence_is_of_the_objective_alone(searched):
    objective = searched.methods[DEFAULT].objective
    fig = convergence_figure(searched.records, list(searched.records), objective)
    (ax,) = fig.axes
    assert ax.get_ylabel() == "lowest objective so far (mse), median"
    line = ax.get_lines()[0]
    history = searched.records[DEFAULT].history
    lowest = history["mse"].groupby(history["item"]).cummin().groupby(history["step"]).median()
    assert line.get_xdata().tolist() == [1, 2, 3, 4, 5] and line.get_ydata() == pytest.approx(lowest.to_numpy())


def test_table_without_methods_is_refused(faces):
    with pytest.raises(InpaintError, match="table must hold methods beside the default"):
        differences(faces[faces["method"].isin([BASELINE, DEFAULT])], resamples=100)


# Numbers with known answers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "expected"),
    [([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]), ([0.5, 0.9], [1.0, 1.0]), ([0.2], [0.2]), ([], []),
     ([0.04, 0.01, 0.03, 0.005], [0.06, 0.03, 0.06, 0.02])],
)  # fmt: skip
def test_holm_adjusts_as_in_the_textbook(p, expected):
    assert holm(p).tolist() == pytest.approx(expected)


def record(*errors: list[float]) -> SimpleNamespace:
    """Returns a record with these errors of each face at every step, the closing evaluation the last."""
    rows = [(item, step, mse) for item, curve in enumerate(errors) for step, mse in enumerate(curve)]
    history = pd.DataFrame(rows, columns=["item", "step", "mse"])
    return SimpleNamespace(history=history, search=Search(steps=len(errors[0]) - 1))


def test_passes_count_until_the_error_is_near_its_last_value():
    records = {
        "slow": record([8.0, 7.0, 6.0, 5.0], [8.0, 7.0, 6.0, 5.0]),
        DEFAULT: record([8.0, 4.1, 4.0, 4.0], [8.0, 6.0, 2.0, 9.0]),  # what rises again does not count
        "fast": record([4.0, 3.0, 3.0, 3.0], [2.0, 2.0, 2.0, 1.0]),
    }
    table = passes(records, near=0.05, resamples=100).set_index("method")
    assert table.index.tolist() == [DEFAULT, "slow", "fast"]
    assert table["mean"].tolist() == [2.5, 3.0, 2.5], "the closing evaluation is no pass of its own"
    assert table["error"].tolist() == [3.0, 5.0, 2.0]
    assert table["reached"].tolist() == [1.0, 0.0, 1.0]
    assert table["until_default"][[DEFAULT, "fast"]].tolist() == [2.5, 1.0] and np.isnan(table["until_default"]["slow"])
    text = cost(table.reset_index(), 0.05)
    assert "*fast* (1.0)" in text and "never reached by *slow*" in text


def lpips_table(left: float = 1.0, **gains: list[float]) -> pd.DataFrame:
    """Returns a table of faces whose default leaves ``left`` and whose methods gain such fractions of it."""
    n = len(next(iter(gains.values())))
    methods = {DEFAULT: [left] * n} | {name: [left * (1.0 - x) for x in values] for name, values in gains.items()}
    rows = [(name, i, value) for name, values in methods.items() for i, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["method", "item", "lpips"])


NONE, LITTLE, MUCH = [0.001, -0.002, 0.0, 0.003], [0.03, 0.05, 0.04, 0.02], [0.3, 0.25, 0.4, 0.35]
WIDE = [0.9, -0.5, 0.4, -0.3]


@pytest.mark.parametrize(
    ("gains", "verdict", "decides"),
    [
        ({"a": NONE, "b": LITTLE}, "supported", "b"),
        ({"a": MUCH, "b": NONE}, "not supported", "a"),
        ({"a": WIDE, "b": NONE}, "undecided", "a"),
        ({"a": WIDE, "b": MUCH}, "not supported", "b"),
        ({"a": [-0.5, -0.4, -0.6, -0.5], "b": NONE}, "supported", "b"),  # what harms does not improve
    ],
)
def test_c7_is_supported_only_if_every_gain_is_shown_to_be_small(gains, verdict, decides):
    table = equivalence(lpips_table(0.2, **gains), list(gains), noticeable=0.1, resamples=500)
    method, effect, decided = decide(table)
    assert (decided, method) == (verdict, decides)
    assert effect.value == pytest.approx(np.mean(gains[decides])) and effect.low <= effect.value <= effect.high
    rows = table.set_index("method")
    assert rows["least"].tolist() == [0.1] * 2
    for name, row in rows.iterrows():
        assert (row["improves"] == "undecided") == (not np.isnan(row["needed"])), name
    text = equivalent(table)
    assert f"*{decides}*: gain {effect.value:+.1%}" in text and "noticeable is 10%" in text
    assert ("faces would decide it" in text) == ("undecided" in set(table["improves"]))


def test_gains_are_ratios_whose_divisor_varies_with_the_faces():
    table = lpips_table(a=LITTLE)
    wide = {DEFAULT: [1.0, 2.0, 3.0, 4.0], "a": [0.9, 1.9, 2.6, 3.9]}
    table["lpips"] = wide[DEFAULT] + wide["a"]
    (row,) = equivalence(table, ["a"], noticeable=0.1, resamples=500).to_dict("records")
    expected = relative_difference(wide[DEFAULT], wide["a"], wide[DEFAULT], resamples=500)
    assert (row["gain"], row["low"], row["high"]) == tuple(expected) and row["gain"] == pytest.approx(0.7 / 10)
    table["lpips"] = np.array(wide[DEFAULT] + [0.9 * x for x in wide[DEFAULT]])
    (row,) = equivalence(table, ["a"], noticeable=0.05, resamples=500).to_dict("records")
    assert row["low"] == pytest.approx(row["high"]) == pytest.approx(0.1), "one fraction of every face is certain"


def test_more_faces_decide_what_fewer_leave_open():
    few = equivalence(lpips_table(a=WIDE), ["a"], noticeable=0.3, resamples=500).iloc[0]
    many = equivalence(lpips_table(a=WIDE * 60), ["a"], noticeable=0.3, resamples=500).iloc[0]
    assert few["improves"] == "undecided" and many["improves"] == "no" and 4 < few["needed"] < 240


def test_certain_differences_are_named():
    n = 12
    draws = np.random.default_rng(0).normal(1.0, 0.1, n)
    base = {"psnr": draws, "known_mse": draws, "logit": draws}
    rows = [{"method": DEFAULT, "item": i, "lpips": draws[i]} | {k: v[i] for k, v in base.items()} for i in range(n)]
    better = np.random.default_rng(1).normal(0.5, 0.05, n)
    rows += [{"method": "good", "item": i, "lpips": draws[i] - better[i], "psnr": draws[i], "known_mse": draws[i],
              "logit": draws[i]} for i in range(n)]  # fmt: skip
    text = compared(differences(pd.DataFrame(rows), resamples=200))
    assert "The best mean of the others is that of *good*" in text, "the default is not among them"
    assert "hole LPIPS: better by the intervals *good*; worse none" in text
    assert "p < 0.05 holds for *good* (hole LPIPS)." in text and "too few" not in text
