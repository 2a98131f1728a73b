"""Judging of steered searches: independence of the judges, paired rates, costs, drift, verdicts."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from inpaintlib import judging, losses, scoreboard
from inpaintlib.attributes import Wish
from inpaintlib.captions import vocabulary
from inpaintlib.checks import InpaintError
from inpaintlib.clip import MiniClip
from inpaintlib.grid import Method
from inpaintlib.invert import Search, invert
from inpaintlib.judging import Judges
from inpaintlib.losses import Objective, Weighted, mse_term, objective_from
from inpaintlib.prompting import Job, parse_case
from inpaintlib.steering import classifier_term
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


def test_judges_are_not_loaded_for_an_objective_that_reads_one(monkeypatch):
    for name in ("load_classifier", "load_clip", "load_percept", "load_discriminator"):
        monkeypatch.setattr(judging, name, lambda name, device: name)
    monkeypatch.setattr(judging, "checksums", lambda *names: {name: name for name in names})
    assert judging.load_judges([objective("attributes-guide")], "d") == (*judging.JUDGES, "d", None)
    for name in (*judging.JUDGES, "d"):
        with pytest.raises(InpaintError, match="nothing may be judged by what it optimised"):
            judging.load_judges([objective("attributes-guide"), objective(name)], "d")


def test_a_term_made_by_hand_is_known_by_the_network_that_it_reads():
    network = tiny_classifier()
    network.source = "attributes-judge"
    by_hand = Objective({"wish": Weighted(1.0, classifier_term(network, "+Smiling"))})
    assert by_hand.networks == ("attributes-judge",) and by_hand.terms["wish"].rests
    with pytest.raises(InpaintError, match="attributes-judge steers"):
        judging.check_apart([by_hand], judging.JUDGES)


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


def test_a_discriminator_with_classes_is_told_those_of_the_targets(steered):
    records, jobs, judges, target, mask, table = steered
    critic = frozen(seeded(lambda: Discriminator(3, 16, channel_base=256, channel_max=32)))
    classes = torch.eye(3)[torch.arange(len(target)) % 3]
    told = judging.judge(records, jobs, target, {"mouth": mask}, judges._replace(discriminator=critic, classes=classes))
    composite = records["mouth: +Smiling"].composite[1:2].clamp(-1, 1)
    found = told[told["method"] == "mouth: +Smiling"]["realism_after"].iloc[1]
    assert found == pytest.approx(float(critic(composite, classes[1:2], alone=True)), abs=1e-5)
    with pytest.raises(InpaintError, match="a discriminator of 3 classes must be told each image's"):
        judging.judge(records, jobs, target, {"mouth": mask}, judges._replace(discriminator=critic))


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
    assert effect[["mean", "low", "high"]].to_numpy().ravel().tolist() == [0.0, -1.0, 1.0], "3 faces show little"


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
    assert costs.groupby("method")["metric"].agg(list).tolist() == [["wish", "known_mse", "realism", "drift"]] * 2
    paired = costs
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


def test_naturalness_scores_sets_one_by_one_so_that_copies_change_nothing():
    generator, percept = tiny_generator(), tiny_percept()
    faces, grey = judging.generated_faces(generator, 12, seed=50), torch.zeros(12, 3, 16, 16)
    groups = {"once": [faces], "copies": [faces, faces, faces], "mixed": [faces, grey], "grey": [grey]}
    table = judging.naturalness(groups, generator, percept, reference=12, seed=0).set_index("images")
    assert (table["n"] == 12).all() and table["sets"].tolist() == [1, 3, 2, 1]
    assert table.loc["copies", ["kid", "low", "high"]].tolist() == pytest.approx(
        table.loc["once", ["kid", "low", "high"]].tolist()
    )
    assert table.loc["once", "kid"] < table.loc["mixed", "kid"] < table.loc["grey", "kid"]
    middle = (table.loc["once", "kid"] + table.loc["grey", "kid"]) / 2
    assert table.loc["mixed", "kid"] == pytest.approx(middle)


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
    monkeypatch.setattr(scoreboard, "shipped_names", lambda: {"a": "", "b": ""})
    monkeypatch.setattr(scoreboard, "load_weights", lambda name: ({}, {"scores": json.dumps(record)}))
    scores = scoreboard.network_scores(["a", "b", "own.safetensors"])
    assert scores["network"].tolist() == ["a"] * 3 + ["b"] * 3
    assert scoreboard.mean_score(scores, "a", "balanced_accuracy").value == pytest.approx(0.8)
    wide = scoreboard.by_attribute(scores)
    assert wide["attribute"].tolist() == ["Smiling", "Young", "Bald"]
    assert wide["balanced accuracy, chance or majority"].tolist() == ["0.50"] * 3
    assert wide["average precision, chance or majority"].tolist() == ["0.40", "0.20", "0.01"]
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
    [(([1], 0.1), "undecided"), (([1], 0.9), "not supported"), (([0, 1], 0.1), "not supported"),
     (([1] * 19 + [0], 0.1), "undecided")],
)  # fmt: skip
def test_a_form_improves_by_less_error_without_losing_success(margin, expected):
    table = faces(methods={"": ([1], 0.5), "mouth: +Smiling (margin)": margin, "mouth: +Smiling (soft)": ([1], 0.5)})
    found = judging.form_verdicts(table, parse_case("mouth|+Smiling"), equal=0.1, resamples=200)
    assert found["margin"].verdict == expected and found["soft"].verdict == "undecided"
    saves = margin[1] < 0.5
    assert found["margin"].what == ("the gain of success" if saves else "the error saved")
    assert found["margin"].effect.value == pytest.approx(np.mean(margin[0]) - 1 if saves else 0.5 - margin[1])
    assert found["margin"].least == (-0.1 if saves else 0.0)


def test_no_loss_is_shown_only_by_enough_faces():
    """Of 20 faces none lost says less than 3 / 20, which is above a tenth and below a fifth (the rule of three)."""
    table = faces(
        methods={"": ([1], 0.5), "mouth: +Smiling (margin)": ([1], 0.1), "mouth: +Smiling (soft)": ([1], 0.1)}
    )
    for equal, expected in ((0.1, "undecided"), (0.2, "supported")):
        found = judging.form_verdicts(table, parse_case("mouth|+Smiling"), equal=equal, resamples=200)
        assert found["margin"].verdict == found["soft"].verdict == expected


@pytest.mark.parametrize("n", [12, 100])
def test_rates_that_all_faces_agree_on_keep_an_interval(n):
    found = judging._rate(np.ones(n), resamples=100)
    assert [*found] == pytest.approx([1.0, 1 - 3 / n, 1 + 3 / n])
    few = judging._rate(np.array([1.0, *np.zeros(n - 1)]), resamples=500)
    assert few.value == pytest.approx(1 / n) and few.low < few.value < few.high


def test_the_guide_was_fooled_where_its_gain_is_larger():
    table = pd.DataFrame({"method": "a", "item": range(20), "judge_before": 0, "guide_before": 0,
                          "judge_after": [0, 1] * 10, "guide_after": 1})  # fmt: skip
    found = judging.fooling(table, ["a"], "guide", resamples=200)
    assert found.value == pytest.approx(0.5) and found.low > 0
    same = judging.fooling(table.assign(guide_after=table["judge_after"]), ["a"], "guide", resamples=200)
    assert same.low < 0 < same.high


@pytest.mark.parametrize(
    ("prompt", "learnt", "expected"),
    [([1], False, "supported"), ([0], False, "not supported"), ([1], True, "undecided"), ([0], True, "undecided")],
)
def test_a_clip_that_learnt_from_the_attributes_decides_nothing(prompt, learnt, expected):
    table = faces(methods={"by prompt": (prompt, 0.1), "by classifier": ([0, 1, 1, 1], 0.1)})
    effect, decided = judging.generic_verdict(
        table, ["by prompt"], ["by classifier"], equal=0.1, learnt=learnt, resamples=200
    )
    assert decided == expected and effect.value == pytest.approx(np.mean(prompt) - 0.75)


def test_the_gain_is_averaged_over_cases_before_it_is_resampled_over_faces():
    before, after = [0, 0, 0, 1, 0, 0, 0, 0], [1, 1, 0, 1, 1, 0, 0, 1]
    table = pd.DataFrame({"method": ["a"] * 4 + ["b"] * 4, "item": [0, 1, 2, 3] * 2})
    table = table.assign(judge_before=before, judge_after=after)
    effect = judging.gain(table, ["a", "b"], "judge", resamples=200)
    assert effect.value == pytest.approx(np.mean([1.0, 0.5, 0.0, 0.5])) and effect.low <= effect.value <= effect.high


def test_readable_prompts_are_told_from_others():
    table = scoreboard.readable(judge_clip(), ["a smiling woman", "purple lipstick", "a smiling woman"])
    assert table["readable"].tolist() == [True, False] and table["unknown words"].tolist() == ["–", "purple"]
