"""The gathered claims: whose verdict counts, what would decide an open one, and how they are shown."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from inpaintlib import claims, pages
from inpaintlib.checks import InpaintError

RECORD = {
    "id": "C1", "notebook": "mse_lpips", "statement": "LPIPS helps (tested: by at least 10% of <it>)", "effect": 0.5,
    "low": 0.2, "high": 0.8, "verdict": "supported", "least": 0.1, "n": 32,
}  # fmt: skip


@pytest.fixture
def reports(tmp_path, monkeypatch):
    monkeypatch.setenv("INPAINTLIB_ROOT", str(tmp_path))
    return tmp_path / "reports"


def record(reports, profile, **change):
    """Writes one claim of a profile as a run does that came to its end."""
    row = RECORD | change
    folder = reports / profile / "claims"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{row['notebook']}-{row['id']}.json").write_text(json.dumps(row))
    (reports / profile / f"{row['notebook']}.ipynb").touch()


def commit(reports, profile="full", **change):
    """Writes a reference that holds one claim, made by a profile."""
    folder = reports / "reference"
    folder.mkdir(parents=True, exist_ok=True)
    row = RECORD | change
    pd.DataFrame([row]).to_csv(folder / "claims.csv", index=False)
    (folder / f"{row['notebook']}-provenance.csv").write_text(f"part,name,value\nparameter,profile,{profile}\n")


def test_without_a_full_run_the_verdict_is_the_profiles_own(reports):
    record(reports, "embedded")
    (row,) = claims.gather("embedded").to_dict("records")
    assert (row["verdict"], row["profile"], row["here"]) == ("supported", "embedded", "supported")
    assert row["claim"] == claims.SLIDES["C1"] and row["tested"] == "by at least 10% of <it>"
    assert (row["effect"], row["low"], row["high"], row["least"], row["n"]) == (0.5, 0.2, 0.8, 0.1, 32)


def test_the_committed_verdict_outranks_the_profiles_and_a_full_run_outranks_both(reports):
    record(reports, "embedded", verdict="undecided")
    commit(reports, verdict="not supported", effect=-1.0)
    (row,) = claims.gather("embedded").to_dict("records")
    assert (row["verdict"], row["profile"], row["here"], row["effect"]) == (
        "not supported", "full, committed", "undecided", -1.0,
    )  # fmt: skip
    record(reports, "full")
    (row,) = claims.gather("embedded").to_dict("records")
    assert (row["verdict"], row["profile"], row["here"]) == ("supported", "full", "undecided")


@pytest.mark.parametrize("profile", ["smoke", "embedded"])
def test_a_reference_of_another_profile_than_full_outranks_nothing(reports, profile):
    record(reports, "embedded", verdict="undecided")
    commit(reports, profile, verdict="not supported")
    (row,) = claims.gather("embedded").to_dict("records")
    assert (row["verdict"], row["profile"]) == ("undecided", "embedded")


def test_claims_of_a_report_that_did_not_end_do_not_count_unless_it_is_running(reports):
    record(reports, "embedded")
    record(reports, "full", verdict="not supported")
    assert claims.gather("embedded")["verdict"].tolist() == ["not supported"]
    (reports / "full/mse_lpips.ipynb").unlink()
    assert claims.gather("embedded")["verdict"].tolist() == ["supported"]
    (reports / "embedded/mse_lpips.ipynb").unlink()
    assert claims.gather("embedded").empty and claims.recorded("embedded") == []
    assert claims.gather("embedded", running="mse_lpips")["verdict"].tolist() == ["supported"]
    assert claims.gather("full", running="mse_lpips")["verdict"].tolist() == ["not supported"]


def test_a_claim_of_the_reference_alone_has_no_verdict_here(reports):
    commit(reports)
    assert claims.gather("embedded")["here"].tolist() == [""]


def test_claims_come_in_the_order_of_the_slides_with_their_parts(reports):
    for id in ("own", "C10", "C2", "C3-soft", "C3", "C3-margin"):
        record(reports, "embedded", id=id, statement=f"{id} is so (tested: so)")
    table = claims.gather("embedded")
    assert table["id"].tolist() == ["C2", "C3", "C3-margin", "C3-soft", "C10", "own"]
    assert table["claim"].tolist()[2:] == ["C3-margin is so", "C3-soft is so", "C10 is so", "own is so"]


def test_an_open_claim_has_a_row_without_numbers(reports):
    table = claims.gather("embedded", open_claims=("C8",))
    (row,) = table.to_dict("records")
    assert (row["verdict"], row["notebook"], row["here"], row["profile"]) == ("undecided", "summary", "", "embedded")
    assert math.isnan(row["effect"]) and row["decides"] == claims.LACKING["C8"]
    assert table["effect"].dtype == float


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", "3", '{"id": 5, "verdict": "x"}', *(json.dumps(RECORD | change) for change in (
        {"id": 5}, {"notebook": None}, {"statement": ["x"]}, {"verdict": "maybe"}, {"verdict": ["supported"]},
        {"effect": None}, {"low": "0.1"}, {"high": math.nan}, {"least": "much"}, {"n": True}, {"n": math.inf})),
     *(json.dumps({k: v for k, v in RECORD.items() if k != key}) for key in ("effect", "low", "high", "verdict"))],
)  # fmt: skip
def test_a_damaged_claim_is_one_sentence(reports, text):
    record(reports, "embedded")
    (reports / "embedded/claims/mse_lpips-C1.json").write_text(text)
    with pytest.raises(InpaintError, match="mse_lpips-C1.json must hold a claim's words, numbers and verdict; remove"):
        claims.gather("embedded")


def test_a_claim_needs_neither_threshold_nor_number(reports):
    record(reports, "embedded")
    few = {k: v for k, v in RECORD.items() if k not in ("least", "n")}
    (reports / "embedded/claims/mse_lpips-C1.json").write_text(json.dumps(few))
    (found,) = claims.recorded("embedded")
    assert found == RECORD | {"least": None, "n": None}


def test_the_number_that_decides_is_the_one_at_which_the_interval_touches_the_threshold():
    """Four times as many halve the interval: 0.5 +- 0.4 touches 0.3 from 4 n on."""
    assert claims.needed(10, 0.5, 0.1, 0.9, 0.3) == 40
    assert claims.needed(10, 0.5, 0.1, 0.7, 0.9) == 3, "the side of the threshold counts"
    assert claims.needed(10, 0.5, 0.5, 0.5, 0.3) == 0
    assert claims.needed(10, 0.5, 0.1, 0.9, 0.5) is None
    with pytest.raises(InpaintError, match="n must be at least 1"):
        claims.needed(0, 0.5, 0.1, 0.9, 0.3)


def test_that_many_items_do_decide():
    """Simulated: an effect of 0.2 that is undecided at n is decided at the number that was said."""
    draws = np.random.default_rng(0).standard_normal(20_000)
    draws = 0.2 + (draws - draws.mean()) / draws.std()
    half = lambda n: 1.96 / math.sqrt(n)  # noqa: E731
    n = 30
    assert draws.mean() - half(n) < 0
    items = claims.needed(n, float(draws.mean()), draws.mean() - half(n), draws.mean() + half(n), 0.0)
    assert draws.mean() - half(items + 1) > 0 > draws.mean() - half(items - 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"least": 0.4}, "about 290 images would decide it"),
        ({"least": 0.5}, "no number of images would decide it"),
        ({"least": 0.2}, "about 33 images would decide it"),
        (
            {"id": "C6-shape", "effect": -0.5, "low": -0.8, "high": -0.2, "least": 0.4},
            "about 290 images would decide it",
        ),
        ({"least": None}, "its report records no threshold"),
        ({"least": None, "n": None}, "its report records no threshold and no number of images"),
        ({"least": 0.0}, "its interval is clear of the threshold; another condition of the test is not"),
        ({"id": "C4", "least": 0.0}, claims.LACKING["C4"]),
        ({"id": "C4", "least": 0.4}, claims.LACKING["C4"]),
        ({"verdict": "supported"}, ""),
    ],
)
def test_what_an_undecided_claim_lacks_is_said(reports, change, said):
    record(reports, "embedded", **{"verdict": "undecided"} | change)
    assert claims.gather("embedded")["decides"].tolist() == [said]


def test_the_table_is_told_by_words_and_marks_and_escapes(reports):
    record(reports, "embedded", verdict="undecided", least=0.4)
    commit(reports)
    record(reports, "embedded", id="C7", notebook="gone", verdict="not supported")
    html = pages.claims_html(claims.gather("embedded"), {"mse_lpips": "mse_lpips.html"})
    assert "✓ supported" in html and "✗ not supported" in html
    assert "this profile: undecided" in html and "full, committed" in html
    assert "by at least 10% of &lt;it&gt;" in html
    assert "0.5 <small>[0.2, 0.8]</small> <small>threshold 0.1</small> <small>n = 32</small>" in html
    assert html.count("href=") == 1 and '<a href="mse_lpips.html">mse lpips</a>' in html


def test_a_figure_holds_its_picture_and_escapes_its_words():
    html = pages.figure_html(b"\x89PNG", "a-1", 'a "b" < c', "<b>caption</b>")
    assert 'src="data:image/png;base64,iVBORw=="' in html
    assert html.count('"zoom-a-1"') == 2 and "a &quot;b&quot; &lt; c" in html
    assert "<figcaption><b>caption</b></figcaption>" in html
    assert "figcaption" not in pages.figure_html("iVBO\nRw==\n", "a", "b") and "iVBORw==" in pages.figure_html(
        "iVBO\nRw==\n", "a", "b"
    )
