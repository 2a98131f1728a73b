"""The summary: what it asks for, what it gathers, its notebook on fabricated reports."""

from __future__ import annotations

import io
import json
import re
import shutil

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from inpaintlib import claims, params, study, summary
from inpaintlib.checks import InpaintError
from inpaintlib.study import project_root

ROOT = project_root()
STEMS = list(dict.fromkeys(shown.report for shown in summary.WALL))


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 4), "red").save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Reports of profile smoke as their notebooks leave them, of one pixel and one number."""
    monkeypatch.setenv("INPAINTLIB_ROOT", str(tmp_path))
    folder = tmp_path / "reports" / "smoke"
    for kind in ("figures", "tables", "claims"):
        (folder / kind).mkdir(parents=True)
    for stem in STEMS:
        (folder / f"{stem}.ipynb").touch()
    for shown in summary.WALL:
        (folder / f"figures/{shown.report}-{shown.name}.png").write_bytes(png())
    for stem in STEMS:
        stated = ("parameter,profile,smoke", "parameter,faces,4", "parameter,near,0.05",
                  f"weights,net-{stem},sha256:ab", "weights,faces64,sha256:cd")  # fmt: skip
        (folder / f"tables/{stem}-provenance.csv").write_text("\n".join(("part,name,value", *stated, "")))
        (folder / f"tables/{stem}-timing.csv").write_text("what,value,unit\nsearch,10,s\npeak memory,1,GB\n")
    for id, report in claims.REPORTS.items():
        if report != "summary":
            record = {"id": id, "notebook": report, "statement": f"{id} (tested: so)", "effect": 1.0, "low": 0.5,
                      "high": 1.5, "verdict": "supported", "least": 0.25, "n": 4}  # fmt: skip
            (folder / f"claims/{report}-{id}.json").write_text(json.dumps(record))
    passes(folder)
    return folder


def passes(folder, text="method,n,mean,low,high\ndefault,4,60,50,70\nL-BFGS,4,40,30,50\nAdam in Z,4,80,70,90\n"):
    (folder / "tables" / f"{'-'.join(summary.COST)}.csv").write_text(text)


def change(folder, id, **values):
    (path,) = folder.glob(f"claims/*-{id}.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_what_lacks_is_named_with_the_command_that_makes_it(folder):
    summary.check_complete(folder)
    (folder / "tables/clip-provenance.csv").unlink()
    (folder / "figures/mask_robustness-coverage.png").unlink()
    (folder / "tables/regularisers-passes.csv").unlink()
    (folder / "claims/stochasticity-C2.json").unlink()
    (folder / "mse_lpips.ipynb").unlink()  # a run of it failed; all that it once wrote is still there
    with pytest.raises(InpaintError) as caught:
        summary.check_complete(folder)
    lacking = ("mse_lpips", "clip", "mask_robustness", "stochasticity", "regularisers")
    command = f"make {' '.join(f'report-{stem}' for stem in lacking)} PROFILE=smoke"
    assert str(caught.value).endswith(f"run `{command}` first") and "\n" not in str(caught.value)
    shutil.rmtree(folder)
    with pytest.raises(InpaintError, match="needs the results of generator, naive_mse, .*regularisers in"):
        summary.check_complete(folder)


@pytest.mark.parametrize("shown", summary.WALL, ids=lambda shown: f"{shown.report}-{shown.name}")
def test_every_figure_on_the_wall_is_one_that_its_notebook_makes(shown):
    cells = nbformat.read(ROOT / "notebooks" / f"{shown.report}.ipynb", as_version=4).cells
    source = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert re.search(rf'run\.save_figure\([^;]*?"{shown.name}",', source)


def test_every_claim_of_the_slides_has_its_row_even_if_its_cost_is_unknown(folder):
    table = summary.claims_table(folder)
    assert table["id"].tolist() == list(claims.SLIDES)
    assert table["claim"].tolist() == list(claims.SLIDES.values())
    assert table.set_index("id")["where"]["C6"] == "mask_robustness.html"
    last = table.iloc[-1]
    assert (last["verdict"], last["decides"]) == ("undecided", claims.LACKING["C8"]) and np.isnan(last["effect"])
    html = summary.claims_box(table).data
    assert set(re.findall(r'href="(\w+)\.html"', html)) == set(claims.REPORTS.values())


def test_the_wall_holds_the_files_in_the_slides_order_and_links_their_reports(folder):
    html = summary.wall(folder).data
    assert re.findall(r'<input type="checkbox" id="zoom-wall-([^"]+)"', html) == [
        f"{shown.report}-{shown.name}" for shown in summary.WALL
    ]
    assert re.findall(r'<a href="(\w+)\.html">', html) == [shown.report for shown in summary.WALL]
    assert html.count("data:image/png;base64,iVBORw0KGgo") == len(summary.WALL)


def test_the_forest_puts_each_claim_on_the_side_of_its_threshold(folder):
    change(folder, "C1", effect=0.1, low=0.05, high=0.15, verdict="not supported")  # below 0.25
    change(folder, "C4", effect=0.3, low=0.1, high=0.5, verdict="undecided")
    change(folder, "C5", least=None)
    shape = json.loads((folder / "claims/mask_robustness-C6.json").read_text())
    shape |= {"id": "C6-shape", "effect": -1.0, "low": -1.5, "high": -0.5}
    (folder / "claims/mask_robustness-C6-shape.json").write_text(json.dumps(shape))
    (ax,) = summary.forest(summary.claims_table(folder)).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == [*claims.SLIDES][:6] + ["C6-shape", "C7", "C8"]
    spans = {bars.lines[0].get_ydata()[0]: bars for bars in ax.containers if len(bars.lines[0].get_ydata())}
    centres = {y: float(bars.lines[0].get_xdata()[0]) for y, bars in spans.items()}
    assert centres[0] < 0 < centres[1] and 0 < centres[3] < 0.5
    assert centres[6] == centres[5], "a claim of either direction, so -1 counts as 1"
    assert set(centres) == {0, 1, 2, 3, 5, 6, 7}, "C5 and C8 have no threshold"
    ends = spans[3].lines[2][0].get_segments()[0][:, 0]
    assert ends[0] < 0 < ends[1], "an undecided interval holds its threshold"
    looks = {bars.lines[0].get_marker() for bars in spans.values()}
    assert len(looks) == 3, "verdicts differ by more than colour"
    said = [text.get_text() for text in ax.texts]
    assert said[4].startswith("1 [0.5, 1.5], no threshold; smoke") and said[8].startswith("nothing measured")


def test_the_reading_counts_and_says_where_verdicts_come_from(folder):
    change(folder, "C1", verdict="not supported")
    full = folder.with_name("full")
    (full / "claims").mkdir(parents=True)
    (full / "clip.ipynb").touch()
    shutil.copy(folder / "claims/clip-C4.json", full / "claims")
    change(folder, "C4", verdict="undecided")
    text = summary.reading(summary.claims_table(folder))
    assert "Of the slides' 8 claims 6 are supported (C2, C3, C4, C5, C6, C7), 1 is not supported (C1), " in text
    assert "1 is undecided (C8). " in text
    assert "C4 from full" in text and "In this profile itself C4 is undecided." in text


def test_the_cost_is_the_passes_of_the_first_method(folder):
    run = study.Study("summary", {"profile": "smoke", "seed": 0})
    table = summary.passes(folder)
    claim = summary.cost_claim(run, table)
    assert (claim.effect, claim.low, claim.high, claim.verdict, claim.n) == (60, 50, 70, "undecided", 4)
    text = summary.cost_reading(table)
    assert "takes 60 [50, 70] passes of the generator (method default)" in text and "within 5% of" in text
    assert "from 40 (L-BFGS) to 80 (Adam in Z)" in text
    row = summary.claims_table(folder).set_index("id").loc["C8"]
    assert (row["effect"], row["decides"]) == (60, claims.LACKING["C8"])
    for text in ("method,mean\nAdam,3\n", "method,mean,low,high,n\n"):
        passes(folder, text)
        with pytest.raises(InpaintError, match="regularisers-passes.csv must have rows and the columns method, mean"):
            summary.passes(folder)


def test_seconds_are_those_of_the_timing_tables(folder):
    (folder / "tables/generator-timing.csv").write_text("what,value,unit\nwhole notebook,3,s\n")
    table = summary.seconds(folder).set_index("report")
    assert "generator" not in table.index and set(table["s a face"]) == {2.5}
    more = "what,value,unit\nsearch,10,s\nstability,6,s\ncorruption,4,s\nphotographs,8,s\nwhole notebook,30,s\n"
    (folder / "tables/mask_robustness-timing.csv").write_text(more)
    row = summary.seconds(folder).set_index("report").loc["mask robustness"]
    assert (row["search in s"], row["s a face"]) == (20.0, 5.0), "every search of the generated faces, and no other"
    for path in folder.glob("tables/*-timing.csv"):
        path.write_text("what,value,unit\nwhole notebook,3,s\n")
    assert summary.seconds(folder)["report"].tolist() == ["none"]


def test_every_clock_of_the_notebooks_is_counted_or_known_to_be_none_of_the_searches():
    sources = [(ROOT / "notebooks" / f"{stem}.ipynb").read_text() for stem in STEMS]
    clocks = {name for source in sources for name in re.findall(r'run\.clock\(\\"([^"\\]+)', source)}
    assert clocks == {*summary.SEARCHES, "photographs", "Jacobians"}


@pytest.fixture
def deterministic():
    before = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(before[0])
    torch.set_num_threads(before[1])
    torch.utils.deterministic.fill_uninitialized_memory = fill


def execute() -> dict[str, object]:
    """Runs the cells of the notebook in this process with the parameters of profile smoke."""
    names: dict[str, object] = {}
    for cell in nbformat.read(ROOT / "notebooks/summary.ipynb", as_version=4).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, cell.id, "exec"), names)
            if "parameters" in cell.metadata.get("tags", []):
                names |= params.load(ROOT / "params/smoke/summary.yaml")
    return names


@pytest.mark.usefixtures("deterministic")
def test_the_notebook_writes_the_same_tables_twice_and_no_time_but_in_its_place(folder):
    assert isinstance(execute()["claims"], pd.DataFrame)
    made = {path.name: path.read_bytes() for path in folder.glob("*/summary-*")}
    assert set(made) == {
        "summary-C8.json", "summary-claims.csv", "summary-cost-timing.csv", "summary-forest.png",
        "summary-provenance.csv", "summary-timing.csv",
    }  # fmt: skip
    for path in folder.glob("tables/*-timing.csv"):
        path.write_text("what,value,unit\nsearch,99,s\n")
    execute()
    for path in folder.glob("*/summary-*"):
        assert path.read_bytes() == made[path.name] or path.name.endswith("timing.csv"), path.name
    networks = pd.read_csv(folder / "tables/summary-provenance.csv").query("part == 'weights'")["name"].tolist()
    assert "faces64" in networks and {f"net-{stem}" for stem in STEMS} <= set(networks)


@pytest.mark.usefixtures("deterministic")
def test_the_notebook_stops_before_anything_is_written_if_a_report_lacks(folder):
    (folder / "claims/stochasticity-C2.json").unlink()
    with pytest.raises(InpaintError, match="run `make report-stochasticity PROFILE=smoke` first"):
        execute()
    assert list(folder.glob("*/summary-*")) == []
