from __future__ import annotations

import base64
import io
import json
import re

import nbformat
import pytest
from nbformat import v4
from PIL import Image

from inpaintlib import report
from inpaintlib.__main__ import main
from inpaintlib.checks import InpaintError
from inpaintlib.study import PROGRESS_MARK

from .notebooks import notebook, write
from .test_claims import RECORD

METHOD = r"""## Method
$$ \hat w = \arg\min_w \frac{\sum_p K_p \lVert x_p - G(w)_p \rVert^2}{3 \sum_p K_p} $$

with $\gamma = 0.1^{1/T}$.

| name | formula |
|---|---|
| naive | $\mathrm{MSE}_K$ |
"""


def picture(colour: str = "red") -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (1600, 900), colour).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def executed():
    """A notebook with the outputs that a run leaves: progress, a figure, a table, text."""
    nb = notebook(v4.new_markdown_cell(METHOD), "search()", "figure()", "table()")
    injected = v4.new_code_cell("# Parameters\nseed = 3", metadata={"tags": ["injected-parameters"]}, id="injected")
    nb.cells.insert(2, injected)
    progress = v4.new_output("display_data", {"text/plain": "Adam: 9 of 9"}, metadata={PROGRESS_MARK: True})
    figure = v4.new_output(
        "execute_result", {"image/png": picture()}, metadata={"image/png": {"alt": 'A "red" square.'}}
    )
    table = v4.new_output("execute_result", {"text/html": '<table class="data"><tr><td>0.5</td></tr></table>'})
    nb.cells[-3].outputs = [progress, v4.new_output("stream", text="read <9> files")]
    nb.cells[-2].outputs = [figure]
    nb.cells[-1].outputs = [table]
    nb.metadata["papermill"] = {"duration": 75.2}
    return nb


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A project with two executed notebooks, its folder reports/embedded."""
    monkeypatch.setenv("INPAINTLIB_ROOT", str(tmp_path))
    folder = tmp_path / "reports" / "embedded"
    for kind, name, text in (("tables", "generator-a.csv", "a,b\n1,2\n"), ("claims", "generator-C1.json", "")):
        (folder / kind).mkdir(parents=True)
        (folder / kind / name).write_text(text)
    claim = RECORD | {"notebook": "generator", "verdict": "not supported"}
    (folder / "claims" / "generator-C1.json").write_text(json.dumps(claim))
    for stem in ("generator", "another_one"):
        write(tmp_path, stem, notebook())
        nbformat.write(executed(), folder / f"{stem}.ipynb")
    write(tmp_path, "inpaint", notebook())
    return folder


@pytest.fixture
def whole(site):
    for stem in ("generator", "another_one"):
        report.render(site / f"{stem}.ipynb")
    report.index("embedded")
    return site


def test_a_page_needs_no_script_and_no_network(whole):
    for page in whole.glob("*.html"):
        text = page.read_text()
        assert "<script" not in text and "<link" not in text
        assert not re.search(r"src=\"?https?:|url\(", text)


def test_a_page_shows_results_and_folds_code(whole):
    text = (whole / "generator.html").read_text()
    assert "<title>Does" in text
    assert "Adam: 9 of 9" not in text, "progress is no result"
    assert "read &lt;9&gt; files" in text
    assert "alt='A \"red\" square.'" in text
    assert "rate = 0.5" not in re.sub("<[^>]+>", "", text), "defaults are not what ran"
    assert text.count("<details") == 4
    assert 'href="tables/generator-a.csv"' in text
    assert "Wall time 1 min 15 s" in text


def test_formulas_become_mathml_also_in_tables(whole):
    text = (whole / "generator.html").read_text()
    assert "$" not in re.sub("<style>.*?</style>", "", text, flags=re.S)
    assert text.count("<math") == 5  # title, summary, display, inline, table
    assert len(re.findall('<math[^>]*display="block"', text)) == 1
    assert "<mfrac>" in text


def test_pages_and_index_are_in_reading_order_without_tools(whole):
    assert report.stems("embedded") == ["generator", "another_one"]
    listed = re.findall(r'<a href="(\w+).html">\s*<img', (whole / "index.html").read_text())
    assert listed == ["generator", "another_one"]
    text = (whole / "another_one.html").read_text()
    assert 'href="generator.html">generator</a>' in text
    assert re.search('<a [^>]*aria-current="page"[^>]*>another one</a>', text)


def test_the_index_shows_summary_verdict_time_and_a_small_picture(whole):
    text = (whole / "index.html").read_text()
    assert "for the <em>known</em> pixels." in text
    assert '<span class="claim not-supported">C1: not supported</span>' in text
    assert "Wall time 1 min 15 s" in text
    small = Image.open(io.BytesIO(base64.b64decode(re.search('image/jpeg;base64,([^"]+)', text)[1])))
    assert small.size == (640, 360)


def test_a_whole_site_passes_and_the_command_line_says_so(whole, capsys):
    assert main(["check", "embedded"]) == 0
    assert "the reports of profile embedded are whole" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "old", "new", "sentence"),
    [
        ("generator.html", "</html>", "", "generator.html is missing or cut off"),
        ("generator.html", "<main>", "<main><script>1</script>", "generator.html loads 'a script', no picture"),
        ("generator.html", "<main>", '<main><img src="https://x.org/a.png">', "loads 'https://x.org/a.png'"),
        (
            "generator.html",
            "<main>",
            '<main><img src="data:image/png;base64,AAAA">',
            "loads 'data:image/png;base64,AAAA'",
        ),
        (
            "another_one.html",
            "<main>",
            '<main><a href="gone.csv">x</a>',
            "another_one.html links to gone.csv, not there",
        ),
        ("index.html", 'href="generator.html"', 'href="index.html"', "index.html does not list generator.html"),
        ("tables/generator-a.csv", "1,2\n", "", "generator-a.csv has no rows"),
    ],
)
def test_a_broken_site_is_found_out(whole, capsys, name, old, new, sentence):
    path = whole / name
    path.write_text(path.read_text().replace(old, new))
    assert main(["check", "embedded"]) == 1
    assert sentence in capsys.readouterr().err


def test_missing_pages_and_failed_runs_are_found_out(whole):
    (whole / "another_one.html").unlink()
    (whole / "generator.failed.ipynb").touch()
    with pytest.raises(
        InpaintError, match="generator.failed.ipynb was left by .* another_one.html is missing or cut off"
    ):
        report.check("embedded")
    with pytest.raises(InpaintError, match="the profile has no notebook|index.html is missing"):
        report.check("nowhere")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("no heading", "must begin with a markdown cell '# question'"),
        ("# Question\nrunning on", "must begin with a markdown cell '# question'"),
        ("# Question\n\n$\\frobnicate x$", "found '\\\\\\\\frobnicate'"),
        ("# Question\n\n$x_{$", "formula must be LaTeX"),
    ],
)
def test_a_notebook_that_cannot_be_shown_right_is_refused(site, text, sentence):
    nb = executed()
    nb.cells[0].source = text
    nbformat.write(nb, site / "generator.ipynb")
    with pytest.raises(InpaintError, match=sentence):
        report.render(site / "generator.ipynb")
    assert not (site / "generator.html").exists()


def test_what_is_no_notebook_is_refused(site):
    (site / "generator.ipynb").write_text("{")
    with pytest.raises(InpaintError, match="generator.ipynb must be a notebook"):
        report.render(site / "generator.ipynb")
    with pytest.raises(InpaintError, match="it holds none"):
        report.index("nowhere")


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1200])
def test_pages_look_whole_in_a_browser(whole, browser, width):
    page = browser.new_page(viewport={"width": width, "height": 900})
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    for name in ("generator.html", "index.html"):
        page.goto((whole / name).as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "no sideways scrolling"
        assert page.evaluate("[...document.images].every(i => i.naturalWidth > 0 && i.clientWidth > 100)")
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    page.goto((whole / "generator.html").as_uri())
    fraction = page.locator("math mfrac").bounding_box()
    assert fraction["height"] > 25, "set as a formula, not as a line of text"
    page.locator("figure label").click()
    assert page.locator("figure label").bounding_box()["height"] == 900, "a click enlarges the figure"
    page.close()
