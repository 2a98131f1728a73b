"""How a search is set up: rates, budgets, and what does not go together."""

import dataclasses
import json
import math

import pytest

from inpaintlib.checks import InpaintError
from inpaintlib.search import SCHEDULES, Search


def rates(**settings) -> list[float]:
    search = Search(**settings)
    return [search.rate(update) for update in range(search.updates)]


def test_exponential_rate_falls_by_equal_factors_to_its_last_value():
    assert rates(steps=5, learning_rate=0.2, last_rate=0.1) == pytest.approx([0.2 * 0.1 ** (i / 4) for i in range(5)])


def test_constant_rate_is_constant():
    assert rates(schedule="constant", steps=7, learning_rate=0.3) == [0.3] * 7


def test_ramp_rises_at_once_stays_and_falls_as_a_cosine():
    found = rates(schedule="ramp", steps=100, learning_rate=0.1)
    assert found[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    assert found[5:76] == pytest.approx([0.1] * 71)
    assert found[75:] == pytest.approx([0.1 * (0.5 - 0.5 * math.cos(math.pi * (100 - t) / 25)) for t in range(75, 100)])
    assert found[75:] == sorted(found[75:], reverse=True)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 40, 333])
def test_no_rate_is_zero_or_above_the_first(schedule, steps):
    found = rates(schedule=schedule, steps=steps, learning_rate=0.1)
    assert all(0.0 < rate <= 0.1 + 1e-12 for rate in found)


def test_rates_run_over_what_candidates_leave():
    search = Search(start="best", candidates=6, steps=10, learning_rate=0.2)
    assert search.updates == 4
    assert rates(start="best", candidates=6, steps=10, learning_rate=0.2) == pytest.approx(
        rates(steps=4, learning_rate=0.2)
    )


@pytest.mark.parametrize(
    "variant",
    [{}, {"optimiser": "lbfgs"}, {"start": "best", "candidates": 7}, {"noise": "optimised"}, {"fit_steps": 3}],
)
def test_passes_are_the_steps_whatever_the_variant(variant):
    assert Search(steps=12, **variant).passes == 12


def test_settings_are_plain_values():
    settings = dataclasses.asdict(Search(start="best", candidates=3, frozen_layers=[1], fit_steps=5))
    assert Search(**json.loads(json.dumps(settings))) == Search(**settings)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"optimiser": "sgd"}, "optimiser must be one of adam, lbfgs; got 'sgd'"),
        ({"schedule": "cosine"}, "schedule must be one of exponential, constant, ramp; got 'cosine'"),
        ({"noise_weight": -1.0}, "noise_weight must be at least 0; got -1"),
        ({"noise_weight": math.nan}, "noise_weight must be at least 0; got nan"),
        ({"start": "best"}, "candidates of the start 'best' must be between 1 and 199; got 0"),
        ({"start": "best", "candidates": 200}, "candidates of the start 'best' must be between 1 and 199; got 200"),
        ({"start": "best", "candidates": 1.5}, "candidates of the start 'best' must be a whole number"),
        ({"candidates": 4}, "candidates need the start 'best'; got 4 and start 'w_avg'"),
        ({"start": "random", "candidates": 4}, "candidates need the start 'best'; got 4 and start 'random'"),
        ({"start": "best", "candidates": 4, "fit_steps": 4}, "fit_steps must be above the 4 candidates; got 4"),
        ({"optimiser": "lbfgs", "fit_steps": 4}, "two phases need the optimiser 'adam'; got 'lbfgs' and fit_steps 4"),
        ({"optimiser": "lbfgs", "noise": "optimised"}, "optimised noise needs the optimiser 'adam'.*; got 'lbfgs'"),
    ],
)
def test_wrong_settings_are_refused(setting, message):
    with pytest.raises(InpaintError, match=message):
        Search(**setting)
