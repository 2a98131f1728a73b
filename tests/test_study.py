from __future__ import annotations

import json
import os
import resource
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from inpaintlib import study
from inpaintlib.checks import InpaintError


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("INPAINTLIB_ROOT", str(tmp_path))
    return study.Study("probe", {"profile": "smoke", "seed": 7, "rate": 0.1})


def line(values) -> Figure:
    fig = Figure(figsize=(2, 1))
    fig.subplots().plot(values)
    return fig


def test_the_root_is_the_environment_variable_or_the_project(tmp_path, monkeypatch):
    monkeypatch.setenv("INPAINTLIB_ROOT", str(tmp_path))
    assert study.project_root() == tmp_path
    monkeypatch.setenv("INPAINTLIB_ROOT", str(tmp_path / "none"))
    with pytest.raises(InpaintError, match="INPAINTLIB_ROOT must name a folder"):
        study.project_root()
    monkeypatch.delenv("INPAINTLIB_ROOT")
    assert (study.project_root() / "Makefile").is_file()


def test_parameters_name_paths_from_the_root(run, tmp_path):
    assert run.path("shared/a.png") == tmp_path / "shared/a.png"
    assert str(run.path("/elsewhere/a.png")) == "/elsewhere/a.png"


def test_equal_figures_are_equal_files_and_what_is_shown_is_what_is_saved(run):
    shown = run.save_figure(line([1, 2]), "a", "A rising line.")
    path = run.folder / "figures" / "probe-a.png"
    assert shown.data == path.read_bytes()
    assert shown.alt == "A rising line."
    run.save_figure(line([1, 2]), "a", "A rising line.")
    assert path.read_bytes() == shown.data


def test_tables_have_six_digits_and_no_index(run):
    table = pd.DataFrame({"name": ["x", "<y>"], "value": [1 / 3, np.nan], "n": [1, 2]})
    shown = run.save_table(table, "a").data
    assert (run.folder / "tables" / "probe-a.csv").read_text() == "name,value,n\nx,0.333333,1\n<y>,,2\n"
    assert '<td class="number">0.3333</td>' in shown
    assert '<td>&lt;y&gt;</td><td class="number">–</td>' in shown


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (pd.DataFrame({"a": []}), "must have rows"),
        (pd.DataFrame({"a": [1], "b": [2]}).set_index("a"), "must keep its keys in columns"),
    ],
)
def test_a_table_that_would_lose_something_is_refused(run, table, sentence):
    with pytest.raises(InpaintError, match=sentence):
        run.save_table(table, "a")


@pytest.mark.parametrize("name", ["../a", "a/b", "", "a b", "-a"])
def test_file_names_stay_in_their_folder(run, name):
    with pytest.raises(InpaintError, match="a file's name must be"):
        run.save_table(pd.DataFrame({"a": [1]}), name)


def test_a_claim_is_recorded_and_shown(run):
    claim = run.claim("C1", "A < B", 1 / 3, (0.25, 0.5), "not supported")
    stored = json.loads((run.folder / "claims" / "probe-C1.json").read_text())
    assert stored == claim._asdict() == {
        "id": "C1", "notebook": "probe", "statement": "A < B", "effect": 0.333333, "low": 0.25, "high": 0.5,
        "verdict": "not supported", "least": None, "n": None,
    }  # fmt: skip
    assert 'class="claim not-supported"' in claim._repr_html_()
    assert "A &lt; B" in claim._repr_html_() and "threshold" not in claim._repr_html_()


def test_a_claim_may_record_its_threshold_and_number_of_images(run):
    claim = run.claim("C1", "A", 0.5, (0.25, 0.75), "undecided", least=1 / 3, n=np.int64(32))
    stored = json.loads((run.folder / "claims" / "probe-C1.json").read_text())
    assert (stored["least"], stored["n"]) == (0.333333, 32) and "threshold 0.333, n = 32" in claim._repr_html_()
    for wrong in ({"least": float("inf")}, {"n": 0}, {"n": 2.5}):
        with pytest.raises(InpaintError, match=f"claim C2: {next(iter(wrong))} must be"):
            run.claim("C2", "A", 0.5, (0.25, 0.75), "undecided", **wrong)


@pytest.mark.parametrize(
    ("effect", "interval", "verdict", "sentence"),
    [
        (0.1, (0.0, 0.2), "maybe", "verdict must be one of supported, not supported, undecided"),
        (float("nan"), (0.0, 0.2), "supported", "claim C1: effect must be finite"),
        (0.1, (0.2, 0.0), "supported", "interval must be low end first"),
    ],
)
def test_a_claim_without_sound_numbers_is_refused(run, effect, interval, verdict, sentence):
    with pytest.raises(InpaintError, match=sentence):
        run.claim("C1", "A", effect, interval, verdict)
    assert not run.folder.exists()


def test_draws_belong_to_the_seed_and_the_item():
    draws = [
        torch.randn(2, generator=study.generator(seed, index)).tolist() for seed, index in ((1, 0), (1, 1), (1, 0))
    ]
    assert draws[0] == draws[2] != draws[1]


def test_provenance_is_the_same_twice_and_timings_stand_apart(run):
    with run.clock("search"):
        pass
    run.provenance({"net": "sha256:ab12", "lpips-alex": "weights of another package"})
    path = run.folder / "tables" / "probe-provenance.csv"
    first = path.read_bytes()
    run.provenance({"net": "sha256:ab12", "lpips-alex": "weights of another package"})
    assert path.read_bytes() == first
    rows = pd.read_csv(path).set_index("name")["value"]
    assert (rows["seed"], rows["net"], rows["torch"]) == ("7", "sha256:ab12", torch.__version__)
    assert rows["lpips-alex"] == "weights of another package"
    timing = pd.read_csv(run.folder / "tables" / "probe-timing.csv")
    assert timing["what"].tolist() == ["search", "whole notebook", "peak memory"]
    assert 0.01 < timing["value"].iloc[-1] < 1000


def test_a_full_disk_leaves_the_old_file_and_nothing_else(run):
    run.save_table(pd.DataFrame({"a": [1]}), "a")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(InpaintError, match="probe-a.csv cannot be written"):
            run.save_table(pd.DataFrame({"a": range(5000)}), "a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(run.folder / "tables") == ["probe-a.csv"]
    assert (run.folder / "tables" / "probe-a.csv").read_text() == "a\n1\n"


def test_an_unwritable_folder_is_one_sentence(run, tmp_path):
    (tmp_path / "reports").write_text("a file where the folder should be")
    with pytest.raises(InpaintError, match="cannot be written"):
        run.save_figure(line([1, 2]), "a", "A line.")


def test_begin_takes_settings_and_makes_torch_deterministic(tmp_path, monkeypatch):
    monkeypatch.setenv("INPAINTLIB_ROOT", str(tmp_path))
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    before = torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    try:
        p = SimpleNamespace(notebook="naive_mse", model_dump=lambda: {"profile": "smoke", "seed": 1})
        run = study.begin(p)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = fill
    assert run.folder == tmp_path / "reports" / "smoke"
    assert run.notebook == "naive_mse"


def test_progress_outside_a_notebook_prints_the_last_state(capsys):
    progress = study.Progress("Adam", every=60.0)
    for step in range(1, 4):
        progress(step, 3, torch.tensor([1.0, step]))
    assert capsys.readouterr().err == "Adam: 3 of 3, 0 s, mean loss 2\n"
