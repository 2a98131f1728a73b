"""The reports' sentences hold the numbers of their tables and say the direction that those have."""

from __future__ import annotations

import pandas as pd
import pytest

from inpaintlib import readings
from inpaintlib.captions import vocabulary
from inpaintlib.clip import MiniClip
from inpaintlib.metrics import Interval

from .tiny import OPEN_CLIP, tiny_percept


def scores(rows: dict[tuple[str, str], tuple[float, float]]) -> pd.DataFrame:
    """(method, region) -> lpips and psnr, of two items around these values."""
    table = [(m, i, region, lpips + d, psnr + d) for (m, region), (lpips, psnr) in rows.items()
             for i, d in enumerate((-0.01, 0.01))]  # fmt: skip
    return pd.DataFrame(table, columns=["method", "item", "region", "lpips", "psnr"])


# Truncation -------------------------------------------------------------------------------------------

DIVERSE = [("0.5", "diversity", 0.1, 0.08, 0.12), ("0.7", "diversity", 0.2, 0.1, 0.4),
           ("1", "diversity", 0.3, 0.25, 0.35)]  # fmt: skip
UNSURE = [("0.5", "diversity", 0.1, 0.0, 0.4), ("1", "diversity", 0.3, 0.2, 0.5)]


def realism(low_psi: tuple[float, float, float], high_psi: tuple[float, float, float]) -> list[tuple]:
    return [("0.5", "realism", *low_psi), ("0.7", "realism", 99.0, 98.0, 100.0), ("1", "realism", *high_psi)]


def truncation(rows: list[tuple]) -> str:
    return readings.truncation(pd.DataFrame(rows, columns=["method", "metric", "mean", "low", "high"]))


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        (((2.0, 1.5, 2.5), (0.25, 0.0, 0.5)), "Truncation costs diversity and buys realism"),
        (((0.25, 0.0, 0.5), (2.0, 1.5, 2.5)), "look *less* real; truncation costs diversity, for nothing"),
        (((1.0, 0.5, 2.0), (0.9, 0.4, 1.9)), "truncation costs diversity and buys no certain realism"),
    ],
)
def test_truncation_says_what_it_costs_and_buys(ends, said):
    text = truncation(DIVERSE + realism(*ends))
    assert said in text
    assert "From truncation 0.5 to 1 the diversity goes from 0.100 to 0.300, and " in text
    assert f"logit from {ends[0][0]:.2f} to {ends[1][0]:.2f}." in text
    assert truncation((DIVERSE + realism(*ends))[::-1]) == text, "whatever the order of the rows"


def test_a_cost_in_diversity_that_the_intervals_do_not_show_is_not_claimed():
    text = truncation(UNSURE + realism((2.0, 1.5, 2.5), (0.25, 0.0, 0.5)))
    assert "Truncation costs no certain diversity and buys realism" in text


# Noise ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("noise", "share", "end"),
    [
        (0.03, "1.0%", "is decided by the code, hardly by the noise."),
        (0.15, "20.0%", "Code and noise both decide, visibly, what a hole shows."),
        (0.6, "80.0%", "More than by its code, a picture is decided by its noise."),
    ],
)
def test_deviation_compares_noise_and_code(noise, share, end):
    text = readings.deviation(pd.DataFrame({"source": ["noise", "code"], "mean deviation": [noise, 0.3]}))
    assert f"Fresh noise moves a pixel by {noise:.3f} on average, another code by 0.300" in text
    assert f"noise makes up {share}." in text
    assert text.endswith(end)


# Naive MSE --------------------------------------------------------------------------------------------

NAIVE = scores({
    ("mean code", "hole"): (0.4, 10.0), ("naive MSE", "hole"): (0.3, 17.0), ("naive MSE", "known"): (0.1, 25.0),
})  # fmt: skip


def photograph(known: float) -> pd.DataFrame:
    return scores({("naive MSE", "known"): (0.2, known), ("naive MSE", "hole"): (0.5, 11.0)})


@pytest.mark.parametrize(
    ("effect", "word", "side"),
    [
        (Interval(0.1, 0.05, 0.15), "better", "the interval lies above 0"),
        (Interval(-0.1, -0.15, -0.05), "worse", "the interval lies below 0"),
        (Interval(0.1, -0.05, 0.25), "better", "the interval contains 0"),
        (Interval(-0.1, -0.25, 0.05), "worse", "the interval contains 0"),
    ],
)
def test_naive_mse_says_the_direction_its_share_and_its_interval(effect, word, side):
    text = readings.naive_mse(effect, NAIVE, photograph(20.0))
    numbers = f"(25% of the baseline; 95 % interval {effect.low:.3f} to {effect.high:.3f}; {side})"
    assert f"the search is {word} in hole LPIPS by 0.100 {numbers}" in text
    assert "reaches 25.0 dB on the known pixels and 17.0 dB in the hole" in text
    assert "On the photograph it reaches 20.0 dB and 11.0 dB:" in text


@pytest.mark.parametrize(("known", "said"), [(20.0, "matched less well there"), (30.0, "matched no worse there")])
def test_naive_mse_compares_the_photograph_with_the_faces(known, said):
    assert said in readings.naive_mse(Interval(0.1, 0.05, 0.15), NAIVE, photograph(known))


# MSE + LPIPS ------------------------------------------------------------------------------------------

NAMES = ("MSE, W+", "MSE, W+, 9 steps", "LPIPS, fill")


def fitted(alone: float = 30.0, long: float = 31.0, main: float = 29.0) -> pd.DataFrame:
    """Scores of the three methods with these values of PSNR on the known pixels."""
    known = {(name, "known"): (0.1, psnr) for name, psnr in zip(NAMES, (alone, long, main), strict=True)}
    hole = {(NAMES[0], "hole"): (0.2, 20.0), (NAMES[1], "hole"): (0.19, 20.5), (NAMES[2], "hole"): (0.15, 19.25)}
    return scores(hole | known)


DIFFERENCES = pd.DataFrame([("MSE, W", -0.02, -0.03, -0.01), ("MSE, W+", 0.05, 0.04, 0.06),
                            ("LPIPS, zero", 0.001, -0.01, 0.01)],
                           columns=["against", "difference", "low", "high"])  # fmt: skip


@pytest.mark.parametrize(
    ("effect", "word", "side"),
    [
        (Interval(0.05, 0.04, 0.06), "lowers", "the interval lies above 0"),
        (Interval(-0.05, -0.06, -0.04), "raises", "the interval lies below 0"),
        (Interval(0.05, -0.01, 0.11), "lowers", "the interval contains 0"),
    ],
)
def test_lpips_says_the_direction_of_both_measures(effect, word, side):
    text = readings.lpips(fitted(), DIFFERENCES, *NAMES, effect)
    assert f"Adding LPIPS {word} hole LPIPS by 0.0500 (25% of what *MSE, W+* leaves;" in text
    assert f"paired difference {effect.low:.4f} to {effect.high:.4f}; {side})" in text
    assert "Hole PSNR changes by -0.75 dB." in text


def test_lpips_lists_every_difference_with_its_sign():
    text = readings.lpips(fitted(), DIFFERENCES, *NAMES, Interval(0.05, 0.04, 0.06))
    assert text.splitlines()[-5:-2] == [
        "* against MSE, W: -0.0200 (-0.0300 to -0.0100), the interval lies below 0.",
        "* against MSE, W+: +0.0500 (0.0400 to 0.0600), the interval lies above 0.",
        "* against LPIPS, zero: +0.0010 (-0.0100 to 0.0100), the interval contains 0.",
    ]
    assert "Hole LPIPS that *LPIPS, fill* saves, positive = better than the other" in text
    assert "The lowest hole LPIPS of all is that of *LPIPS, fill*." in text


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"alone": 30.0, "long": 31.0, "main": 32.0}, "part of the gain is a better conditioned search"),
        ({"alone": 30.0, "long": 32.0, "main": 31.0}, "Given more steps MSE alone fits the known pixels best"),
        ({"alone": 31.0, "long": 32.0, "main": 30.0}, "so the gain is the criterion's"),
    ],
)
def test_lpips_says_where_a_gain_comes_from_and_explains_no_gain_that_is_not_there(known, said):
    text = readings.lpips(fitted(**known), DIFFERENCES, *NAMES, Interval(0.05, 0.04, 0.06))
    assert said in text
    numbers = [f"{value:.1f} dB" for value in known.values()]
    assert all(number in text for number in numbers)
    for effect in (Interval(0.05, -0.01, 0.11), Interval(-0.05, -0.06, -0.04)):
        other = readings.lpips(fitted(**known), DIFFERENCES, *NAMES, effect)
        assert "the gain" not in other and "criterion" not in other and all(number in other for number in numbers)


# Wishes -----------------------------------------------------------------------------------------------


def success(after: dict[str, tuple[float, float]]) -> pd.DataFrame:
    """method -> success after steering in the judge's and in the guide's eyes; both see 0.25 before."""
    rows = [(m, o, 8, 0.25, v, v - 0.25, v - 0.35, v - 0.15)
            for m, pair in after.items() for o, v in zip(("judge", "guide"), pair, strict=True)]  # fmt: skip
    return pd.DataFrame(rows, columns=["method", "observer", "n", "before", "after", "mean", "low", "high"])


COSTS = pd.DataFrame(
    [("a", "wish", 8, 0.3, 0.9, 0.6, 0.5, 0.7), ("b", "wish", 8, 0.4, 0.45, 0.05, 0.0, 0.1),
     ("b", "known_mse", 8, 0.01, 0.03, 0.02, 0.0, 0.02), ("a", "known_mse", 8, 0.01, 0.02, 0.01, 0.0, 0.02),
     ("a", "realism", 8, 1.0, -1.0, -2.0, -3.0, -1.0),
     ("a", "drift", 8, 0.05, 0.125, 0.125, 0.1, 0.2)],
    columns=["method", "metric", "n", "before", "after", "mean", "low", "high"],
)  # fmt: skip
DRIFTS = pd.DataFrame(
    [("a", "Male", -0.5), ("a", "Young", 0.25), ("b", "Bald", 0.9)], columns=["method", "attribute", "change"]
)
NATURAL = pd.DataFrame([("no wish", 8, 0.1, 0.0, 0.2)], columns=["images", "n", "kid", "low", "high"])


@pytest.mark.parametrize(
    ("fooled", "said"),
    [
        ((0.2, 0.1, 0.3), "it was fooled"),
        ((-0.1, -0.2, 0.0), "it was not fooled"),
        ((0.1, -0.1, 0.3), "perhaps fooled"),
    ],
)
def test_steering_tells_gain_fooling_cost_and_drift(fooled, said):
    table = success({"a": (0.75, 0.8), "b": (0.25, 0.3)})
    text = readings.steering(table, COSTS, DRIFTS, NATURAL, Interval(*fooled), ["a"], "b", "guide")
    assert "25% of the faces without the wish, 75% with it, a paired gain of +0.50 (+0.40 to +0.60" in text
    assert "the interval lies above 0" in text and said in text
    assert "probability of the wish goes from 0.30 to 0.90. The climbed network sees 80%." in text
    assert "*b* (the contrast" in text and "the interval contains 0" in text
    assert "from 0.0100 without a wish to 0.0200" in text and "from 1.00 to -1.00" in text
    assert "moves by 0.125 on average" in text and "`Male` by -0.50 with *a*" in text and "Bald" not in text
    assert "no wish 0.100 (0.000 to 0.200)" in text


@pytest.mark.parametrize(
    ("before", "judge", "guide", "said"),
    [(0.8, 0.8, 1.0, "there is little to gain"), (0.6, 0.8, 1.0, "8 faces are too few to tell"),
     (0.25, 0.3, 0.9, "pleased by what the judge does not see"),
     (0.25, 0.3, 0.35, "the wish lost against the known pixels"), (0.25, 0.95, 1.0, "The climbed network sees 100%.")],
)  # fmt: skip
def test_a_wish_without_a_certain_gain_has_a_reason(before, judge, guide, said):
    table = success({"a": (judge, guide)}).assign(before=before, low=judge - before - 0.3).set_index("observer")
    assert said in readings._why_not(table, "guide")


def test_variants_are_told_against_the_plain_search():
    rows = [(m, i, e + i / 1000) for m, e in (("a", 0.01), ("a (soft)", 0.03)) for i in range(8)]
    table = pd.DataFrame(rows, columns=["method", "item", "known_mse_after"])
    text = readings.variants(table, success({"a": (0.5, 1), "a (soft)": (0.75, 1)}), "a", ["a (soft)"], resamples=100)
    assert "* *a*: 50% success." in text and "* *a (soft)*: 75% success; known-pixel error +0.0200" in text


def test_networks_tell_their_means_beside_chance():
    rows = [("j", "Smiling", 500, 250, 250, 0.9, 0.8), ("j", "Young", 500, 100, 100, 0.7, 0.6),
            ("j", "Bald", 500, 2, 2, 0.0, 0.0)]  # fmt: skip
    columns = ["network", "attribute", "faces", "with", "minority", "balanced_accuracy", "average_precision"]
    text = readings.networks(pd.DataFrame(rows, columns=columns))
    assert "`j`: balanced accuracy 0.8 " in text and "(chance 0.350)" in text and "over 2 attributes" in text


@pytest.mark.parametrize("learnt", [True, False])
def test_a_small_clip_leaves_the_claim_undecided_and_says_what_would_decide_it(learnt):
    text = readings.generic(Interval(0.1, -0.1, 0.3), COSTS, ["a"], ["b"], "own/clip.safetensors", learnt=learnt)
    assert "+0.10 (-0.10 to +0.30)" in text and "error is 0.0200 by prompt and 0.0300 by classifier" in text
    assert ("*undecided*" in text and "ViT-B-16/openai" in text) == learnt


def test_the_vocabulary_is_told_word_by_word():
    text = readings.vocabulary(MiniClip(OPEN_CLIP, vocabulary()), "clip-guide")
    assert all(word in text for word in ("smiling", "glasses", "not", "without")) and str(len(vocabulary())) in text
    assert "reads any word" in readings.vocabulary(tiny_percept(), "ViT-B-16/openai")
