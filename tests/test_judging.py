"""Judging of steered searches: independence of the judges, paired rates, costs, drift, verdicts."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from inpaintlib import judging, losses
from inpaintlib.attributes import Wish
from inpaintlib.captions import vocabulary
from inpaintlib.checks import InpaintError
from inpaintlib.clip import MiniClip
from inpaintlib.experiments import Method
from inpaintlib.invert import Search, invert
from inpaintlib.judging import Judges
from inpaintlib.losses import Objective, Weighted, mse_term, objective_from
from inpaintlib.prompting import Job, parse_case
from inpaintlib.stylegan2 import Discriminator
from inpaintlib.weights import save_weights

from .tiny import (
    OPEN_CLIP,
    frozen,
    pictures,
    seeded,
    square_hole,
    tiny_classifier,
    tiny_generator,
    tiny_percept,
)

SMILE = (Wish("Smiling", True),)


def objective(network: str) -> Objective:
    return Objective({"mse": Weighted(1.0, mse_term(), network=network)})


# Nothing is judged by what it optimised ---------------------------------------------------------------


def test_a_judge_that_steers_is_refused():
    judging.check_apart([objective("percept-guide")], ["percept-judge"])
    with pytest.raises(InpaintError, match="percept-judge steers and percept-judge judges"):
        judging.check_apart([objective("percept-guide"), objective("percept-judge")], ["percept-judge"])


def test_a_judge_under_another_name_is_found_by_its_checksum(tmp_path):
    for name in ("one", "two"):
        save_weights(tmp_path / f"{name}.safetensors", tiny_classifier(), dtype=torch.float32)
    save_weights(tmp_path / "other.safetensors", tiny_classifier(seed=1), dtype=torch.float32)
    one, two, other = (str(tmp_path / f"{n}.safetensors") for n in ("one", "two", "other"))
    judging.check_apart([objective(one)], [other])
    with pytest.raises(InpaintError, match="nothing may be judged by what it optimised"):
        judging.check_apart([objective(one)], [two])
    with pytest.raises(InpaintError, match="nothing may be judged by what it optimised"):
        judging.check_apart([objective(f"vit_base_patch16_224:{one}")], [two])


def test_objectives_name_the_networks_that_they_read(monkeypatch):
    monkeypatch.setattr(losses, "load_classifier", lambda name: tiny_classifier())
    settings = {"mse_weight": 1.0, "lpips_weight": 1.0, "classifier_weight": 1.0, "classifier_wishes": "+Smiling",
                "classifier_network": "attributes-judge"}  # fmt: skip
    found = objective_from(settings)
    assert found.networks == ("percept-guide", "attributes-judge")
    with pytest.raises(InpaintError, match="attributes-judge steers and attributes-judge judges"):
        judging.check_apart([found], judging.JUDGES)


# Tables -----------------------------------------------------------------------------------------------


def judge_clip() -> MiniClip:
    config = {**OPEN_CLIP, "text_cfg": {**OPEN_CLIP["text_cfg"], "context_length": 16}}
    return frozen(seeded(lambda: MiniClip(config, vocabulary())))


@pytest.fixture(scope="module")
def steered():
    """Records of a baseline and of two wishes on tiny networks, and the table that judges make of them."""
    generator, target, mask = tiny_generator(), pictures(3, 16), square_hole(1, 16)
    smiles = lambda x, m: lambda image, ws: -image.mean(dim=(1, 2, 3))  # noqa: E731
    plain = Objective({"mse": Weighted(1.0, mse_term())})
    bright = Objective({"mse": Weighted(1.0, mse_term()), "bright": Weighted(5.0, smiles, steers=True)})
    search = Search(steps=3)
    jobs = {"mouth: no wish": Job("mouth", (), Method(plain, search)),
            "mouth: +Smiling": Job("mouth", SMILE, Method(bright, search)),
            "same": Job("mouth", SMILE, Method(plain, search))}  # fmt: skip
    records = {n: invert(generator, target, mask, objective=j.method.objective, search=search)
               for n, j in jobs.items()}  # fmt: skip
    discriminator = frozen(seeded(lambda: Discriminator(img_resolution=16, channel_base=256, channel_max=32)))
    judges = Judges(tiny_classifier(seed=3), judge_clip(), tiny_percept(seed=1), discriminator)
    table = judging.judge(records, jobs, target, {"mouth": mask}, judges, guide=tiny_classifier(seed=4))
    return records, jobs, judges, target, mask, table


def test_success_is_what_the_judge_sees_in_each_composite_by_itself(steered):
    records, _, judges, *_, table = steered
    rows = table[table["method"] == "mouth: +Smiling"]
    for i, row in enumerate(rows.itertuples()):
        for name, found in (("mouth: no wish", row.judge_before), ("mouth: +Smiling", row.judge_after)):
            logit = judges.attributes(records[name].composite[i : i + 1].clamp(-1, 1))[0, 31]
            assert found == int(torch.sigmoid(logit) > judges.attributes.prior[31])


def test_a_search_without_a_wish_is_paired_with_itself_without_any_change(steered):
    rows = steered[-1].query("method == 'same'")
    for name in ("judge", "clip_judge", "guide", "known_mse", "realism"):
        assert (rows[f"{name}_before"] == rows[f"{name}_after"]).all()
    assert (rows["drift"] == 0).all() and (rows["drift_before"] > 0).all()
    effect = judging.success(steered[-1], resamples=100).query("method == 'same' and observer == 'judge'")
    assert effect[["mean", "low", "high"]].to_numpy().ravel().tolist() == [0.0, 0.0, 0.0]


def test_known_error_and_drift_against_a_literal_computation(steered):
    records, _, judges, target, mask, table = steered
    record, row = records["mouth: +Smiling"], table[table["method"] == "mouth: +Smiling"].iloc[1]
    known = (mask[0, 0] == 0).numpy()
    difference = (record.image[1].clamp(-1, 1) - target[1]).numpy()[:, known]
    assert row["known_mse_after"] == pytest.approx(float((difference**2).mean()), rel=1e-4)
    before, after = (torch.sigmoid(judges.attributes(records[n].composite[1:2].clamp(-1, 1)))[0].numpy()
                     for n in ("mouth: no wish", "mouth: +Smiling"))  # fmt: skip
    others = np.delete(np.abs(after - before), 31)
    assert row["drift"] == pytest.approx(others.mean(), rel=1e-4)


def test_costs_and_drifts_have_a_row_for_every_wish(steered):
    records, jobs, judges, *_, table = steered
    costs = judging.costs(table, resamples=100)
    assert costs.groupby("method")["metric"].agg(list).tolist() == [["known_mse", "realism", "drift"]] * 2
    paired = costs[costs["metric"] != "drift"]
    assert (paired["mean"] - (paired["after"] - paired["before"])).abs().max() < 1e-6
    drifts = judging.drift(records, jobs, judges.attributes, most=3)
    assert len(drifts) == 6 and "Smiling" not in set(drifts["attribute"])
    moved = drifts[drifts["method"] == "mouth: +Smiling"]["change"].abs()
    assert moved.is_monotonic_decreasing


def test_unwanted_attributes_succeed_where_the_judge_does_not_see_them():
    network = tiny_classifier()
    evidence = torch.tensor([[1.0], [-1.0]]).expand(2, 40)
    for wanted, expected in ((True, [True, False]), (False, [False, True])):
        found = judging._fulfilled(network, evidence, [Wish("Smiling", wanted), Wish("Young", wanted)])
        assert found.tolist() == expected
    assert judging._fulfilled(network, evidence, [Wish("Smiling", True), Wish("Young", False)]).tolist() == [False] * 2


def test_naturalness_pools_groups_and_compares_with_other_faces(monkeypatch):
    generator, percept = tiny_generator(), tiny_percept()
    faces = judging.generated_faces(generator, 12, seed=50)
    groups = {"alike": [faces[:6], faces[6:]], "grey": [torch.zeros_like(faces)]}
    table = judging.naturalness(groups, generator, percept, reference=12, seed=0).set_index("images")
    assert table["n"].tolist() == [12, 12] and table.loc["grey", "kid"] > table.loc["alike", "kid"]


def test_a_sweep_has_a_point_for_every_weight_and_line():
    rows = [(m, i, s, s, 0.1, 0.2) for m, s in (("a", 0), ("b", 1)) for i in range(3)]
    table = pd.DataFrame(rows, columns=["method", "item", "judge_after", "guide_after", "known_mse_after", "drift"])
    lines = judging.weight_sweep(
        table, {0.1: "a", 5.0: "b"}, observers={"judge": "judge", "guide": "guide"}, resamples=100
    )
    assert len(lines) == 2 * 4
    assert lines.query("panel == 'success' and weight == 5.0")["mean"].tolist() == [1.0, 1.0]


# Scores of networks -----------------------------------------------------------------------------------


def test_network_scores_come_from_the_files_and_rare_attributes_do_not_count(monkeypatch):
    def row(attribute, minority, value):
        return {"attribute": attribute, "faces": 500, "with": minority, "minority": minority, "majority_accuracy": 0.9,
                "accuracy": 0.8, "balanced_accuracy": value, "balanced_accuracy_low": value - 0.1,
                "balanced_accuracy_high": value + 0.1, "average_precision": 0.5, "average_precision_low": 0.4,
                "average_precision_high": 0.6}  # fmt: skip

    record = {"attributes": [row("Smiling", 200, 0.9), row("Young", 100, 0.7), row("Bald", 3, 0.2)]}
    monkeypatch.setattr(judging, "shipped_names", lambda: {"a": "", "b": ""})
    monkeypatch.setattr(judging, "load_weights", lambda name: ({}, {"scores": json.dumps(record)}))
    scores = judging.network_scores(["a", "b", "own.safetensors"])
    assert scores["network"].tolist() == ["a"] * 3 + ["b"] * 3
    assert judging.mean_score(scores, "a", "balanced_accuracy").value == pytest.approx(0.8)
    wide = judging.by_attribute(scores)
    assert wide["attribute"].tolist() == ["Smiling", "Young", "Bald"]
    assert wide["balanced accuracy, a"].tolist() == ["0.90 [0.80, 1.00]", "0.70 [0.60, 0.80]", "(3 faces)"]


# Verdicts ---------------------------------------------------------------------------------------------


def faces(**columns) -> pd.DataFrame:
    """A table of judge() with methods' judged success and known error given as {method: (success, error)}."""
    case = parse_case("mouth|+Smiling")
    rows = [(name if name else case.name, i, s[i % len(s)], e + 0.001 * i)
            for name, (s, e) in columns["methods"].items() for i in range(20)]  # fmt: skip
    return pd.DataFrame(rows, columns=["method", "item", "judge_after", "known_mse_after"])


@pytest.mark.parametrize(
    ("margin", "expected"),
    [(([1], 0.1), "supported"), (([1], 0.9), "not supported"), (([0, 1], 0.1), "not supported")],
)
def test_a_form_improves_by_less_error_without_losing_success(margin, expected):
    table = faces(methods={"": ([1], 0.5), "mouth: +Smiling (margin)": margin, "mouth: +Smiling (soft)": ([1], 0.5)})
    found = judging.form_verdicts(table, parse_case("mouth|+Smiling"), resamples=200)
    assert found["margin"][1] == expected and found["soft"][1] == "undecided"
    assert found["margin"][0].value == pytest.approx(0.5 - margin[1])


@pytest.mark.parametrize(
    ("prompt", "shipped", "expected"),
    [([1], False, "supported"), ([0], False, "not supported"), ([1], True, "undecided"), ([0], True, "undecided")],
)
def test_a_clip_that_learnt_from_the_attributes_decides_nothing(prompt, shipped, expected):
    table = faces(methods={"by prompt": (prompt, 0.1), "by classifier": ([0, 1, 1, 1], 0.1)})
    effect, decided = judging.generic_verdict(
        table, ["by prompt"], ["by classifier"], equal=0.1, shipped=shipped, resamples=200
    )
    assert decided == expected and effect.value == pytest.approx(np.mean(prompt) - 0.75)


def test_the_gain_is_averaged_over_cases_before_it_is_resampled_over_faces():
    before, after = [0, 0, 0, 1, 0, 0, 0, 0], [1, 1, 0, 1, 1, 0, 0, 1]
    table = pd.DataFrame({"method": ["a"] * 4 + ["b"] * 4, "item": [0, 1, 2, 3] * 2})
    table = table.assign(judge_before=before, judge_after=after)
    effect = judging.gain(table, ["a", "b"], "judge", resamples=200)
    assert effect.value == pytest.approx(np.mean([1.0, 0.5, 0.0, 0.5])) and effect.low <= effect.value <= effect.high


def test_readable_prompts_are_told_from_others():
    table = judging.readable(judge_clip(), ["a smiling woman", "purple lipstick", "a smiling woman"])
    assert table["readable"].tolist() == [True, False] and table["unknown words"].tolist() == ["–", "purple"]
