"""The committed numbers: what is kept, what is refused, and what a page shows of them."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from inpaintlib import reference
from inpaintlib.__main__ import main
from inpaintlib.checks import InpaintError
from inpaintlib.claims import reference_profile

from .test_claims import RECORD


@pytest.fixture
def reports(tmp_path, monkeypatch):
    """A project whose profile full ran one notebook to its end and another not."""
    monkeypatch.setenv("INPAINTLIB_ROOT", str(tmp_path))
    folder = tmp_path / "reports"
    fill(folder, "full", "mse_lpips", scores="item,psnr\n0,1.5\n", timing="a,b\n1,2\n", jobs="a\n1\n")
    fill(folder, "full", "clip", half="a\n1\n")
    (folder / "full/clip.ipynb").unlink()  # its tables are of an earlier run
    return folder


def fill(reports, profile, stem, **tables):
    for kind in ("tables", "claims"):
        (reports / profile / kind).mkdir(parents=True, exist_ok=True)
    tables["provenance"] = f"part,name,value\nparameter,profile,{profile}\nweights,net,sha256:ab\n"
    for name, text in tables.items():
        (reports / profile / "tables" / f"{stem}-{name}.csv").write_text(text)
    row = RECORD | {"notebook": stem, "id": {"mse_lpips": "C1", "clip": "C4"}[stem], "n": None}
    (reports / profile / "claims" / f"{stem}-{row['id']}.json").write_text(json.dumps(row))
    (reports / profile / f"{stem}.ipynb").touch()


def names(reports):
    return sorted(path.name for path in (reports / "reference").iterdir())


def test_tables_and_claims_of_finished_reports_are_kept_without_what_is_local(reports, capsys):
    assert main(["reference"]) == 0
    assert names(reports) == ["claims.csv", "mse_lpips-provenance.csv", "mse_lpips-scores.csv"]
    assert str(reports / "reference" / "claims.csv") in capsys.readouterr().out
    rows = pd.read_csv(reports / "reference/claims.csv")
    assert rows.columns.tolist() == ["id", "notebook", "statement", "effect", "low", "high", "verdict", "n", "least"]
    assert rows.drop(columns="n").to_dict("records") == [{k: v for k, v in RECORD.items() if k != "n"}]
    assert reference_profile("mse_lpips") == "full" and reference_profile("clip") == ""


def test_a_later_run_replaces_its_own_notebooks_and_keeps_the_others(reports):
    reference.write_reference()
    (reports / "reference/mse_lpips-stale.csv").write_text("a\n1\n")
    (reports / "full/mse_lpips.ipynb").unlink()
    fill(reports, "full", "clip", costs="a\n2\n")
    reference.write_reference()
    assert "mse_lpips-stale.csv" in names(reports), "that report did not run to its end this time"
    fill(reports, "full", "mse_lpips", scores="item,psnr\n0,2.5\n")
    reference.write_reference()
    assert "mse_lpips-stale.csv" not in names(reports)
    assert (reports / "reference/mse_lpips-scores.csv").read_text() == "item,psnr\n0,2.5\n"
    assert pd.read_csv(reports / "reference/claims.csv")["id"].tolist() == ["C1", "C4"]


@pytest.mark.parametrize("cell", ["x" * 501, '"two\nlines"', "\x00"])
def test_a_table_of_anything_else_is_refused_and_nothing_is_written(reports, capsys, cell):
    (reports / "full/tables/mse_lpips-scores.csv").write_text(f"a\n1\n{cell}\n")
    assert main(["reference", "full"]) == 1
    assert "mse_lpips-scores.csv, row 3: a reference table must hold numbers and text" in capsys.readouterr().err
    assert not (reports / "reference").exists()


def test_a_profile_without_finished_reports_is_refused(reports):
    (reports / "full/mse_lpips.ipynb").unlink()
    with pytest.raises(InpaintError, match="must hold tables of finished reports; run `make all PROFILE=full` first"):
        reference.write_reference()


def test_another_profile_than_full_is_no_reference(reports, capsys):
    fill(reports, "embedded", "mse_lpips")
    assert main(["reference", "embedded"]) == 1
    assert "a reference must come from profile 'full', whose verdicts outrank all; got 'embedded'" in (
        capsys.readouterr().err
    )
    assert not (reports / "reference").exists()


def test_a_page_shows_short_tables_and_links_long_ones(reports):
    fill(reports, "full", "mse_lpips", long="a\n" + "1\n" * 41, short="a\n" + "1\n" * 40)
    reference.write_reference()
    found = {table.name: table for table in reference.tables("mse_lpips")}
    assert list(found)[-1] == "long" and found["long"].rows is None
    assert len(found["short"].rows) == 40
    assert (reports / "embedded" / found["long"].href).resolve() == reports / "reference" / "mse_lpips-long.csv"
    assert reference.tables("clip") == []
