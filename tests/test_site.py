"""The site in a browser, without network: whole, on a phone and on a desk, by mouse and by keyboard, light and dark."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from urllib.parse import unquote, urlparse

import nbformat
import numpy as np
import pytest
from nbformat import v4
from PIL import Image

from inpaintlib import pages, reference, report

from .notebooks import notebook, write
from .test_claims import RECORD
from .test_report import METHOD, picture

pytestmark = pytest.mark.browser

PAGES = ("index.html", "mse_lpips.html", "clip.html")
WIDE = "| " + " | ".join(f"column{i}" for i in range(12)) + " |\n" + "|---" * 12 + "|\n" + "| 1 " * 12 + "|"
LONG = r"$$ " + " + ".join(f"a_{{{i}}} x^{{{i}}}" for i in range(30)) + " $$"
RGB = "text => text.match(/[\\d.]+/g).map(Number)"
# What is painted behind an element, as red, green and blue.
BEHIND = f"""element => {{
  for (let node = element; node; node = node.parentElement) {{
    const [r, g, b, a = 1] = ({RGB})(getComputedStyle(node).backgroundColor);
    if (a > 0) return [r, g, b];
  }}
  return [255, 255, 255];
}}"""
# The contrast of an element's text to that, by the definition of WCAG 2.
CONTRAST = f"""element => {{
  const luminance = colour => {{
    const [r, g, b] = colour.map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }};
  const [x, y] = [luminance(({RGB})(getComputedStyle(element).color)), luminance(({BEHIND})(element))];
  return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
}}"""
SCROLLS = "e => e.scrollWidth > e.clientWidth"


def executed():
    """A notebook with a figure, a wide table, a wide formula, a claim and a figure on a wall."""
    nb = notebook(v4.new_markdown_cell(METHOD), v4.new_markdown_cell(f"{WIDE}\n\n{LONG}\n"), "figure()", "wall()")
    png = {"image/png": picture()}
    nb.cells[-2].outputs = [v4.new_output("execute_result", png, metadata={"image/png": {"alt": "A red square."}})]
    link = '<a href="mse_lpips.html">mse lpips</a>'
    wall = pages.figure_html(base64.b64decode(picture("blue")), "wall-a", "A blue square", f"Blue ({link})")
    claim = '<div class="claim not-supported"><b>C1: not supported.</b> A <span>(effect 1)</span></div>'
    nb.cells[-1].outputs = [v4.new_output("execute_result", {"text/html": wall + claim})]
    return nb


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Two reports of profile embedded with a claim each, their index, and a reference."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INPAINTLIB_ROOT", str(root))
        for profile in ("full", "embedded"):
            folder = root / "reports" / profile
            for kind in ("tables", "claims"):
                (folder / kind).mkdir(parents=True)
            for stem, id, verdict in (("mse_lpips", "C1", "not supported"), ("clip", "C4", "undecided")):
                provenance = f"part,name,value\nparameter,profile,{profile}\n"
                (folder / f"tables/{stem}-provenance.csv").write_text(provenance)
                (folder / f"tables/{stem}-scores.csv").write_text("item,psnr\n0,1.5\n")
                record = RECORD | {
                    "id": id,
                    "notebook": stem,
                    "verdict": verdict if profile == "embedded" else "supported",
                }
                (folder / f"claims/{stem}-{id}.json").write_text(json.dumps(record))
                (folder / f"{stem}.ipynb").touch()
        (root / "reports/full/tables/mse_lpips-long.csv").write_text("a\n" + "1\n" * 60)
        (root / "reports/full/claims/clip-C4.json").unlink()
        reference.write_reference()
        for path in (root / "reports/full").rglob("*.*"):
            path.unlink()
        for stem in ("mse_lpips", "clip"):
            write(root, stem, notebook())
        for stem in ("mse_lpips", "clip"):
            nbformat.write(executed(), folder / f"{stem}.ipynb")
            report.render(folder / f"{stem}.ipynb")
        report.index("embedded")
        report.check("embedded")
    return folder


@pytest.fixture(scope="module")
def tab(browser):
    """A page without network, and the list of what it asked for in vain and complained of."""
    context = browser.new_context(offline=True)
    page, faults = context.new_page(), []
    page.set_default_timeout(5000)
    page.on("console", lambda message: faults.append(f"{message.type} {message.text}"))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("requestfailed", lambda request: faults.append(f"failed {request.url[:80]}"))
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or faults.append(request.url))
    yield page, faults
    context.close()


@pytest.fixture
def opened(tab, site):
    """A function that opens a page of the site and returns it; after the test nothing may have gone wrong."""
    page, faults = tab
    faults.clear()

    def at(name, *, width=1280, scheme="light"):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme, media="screen")
        page.goto((site / name).as_uri())
        return page

    yield at
    assert faults == []


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere_and_every_picture_is_there(opened, name):
    page = opened(name)
    links = page.evaluate("[...document.links].map(a => a.href)")
    assert len(links) >= 2 and all(link.startswith("file:") for link in links)
    assert [link for link in links if not Path(unquote(urlparse(link).path)).is_file()] == []
    assert page.evaluate("document.images.length > 0 && [...document.images].every(i => i.naturalWidth > 0)")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_the_page_never_scrolls_sideways(opened, name, width):
    page = opened(name, width=width)
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    assert page.evaluate("[...document.images].every(i => i.getBoundingClientRect().right <= innerWidth)")


def test_wide_tables_and_formulas_scroll_in_their_boxes(opened):
    boxes = opened("mse_lpips.html", width=390).locator(".scroll")
    assert boxes.evaluate_all(f"all => all.filter({SCROLLS}).map(e => e.firstElementChild.localName)") == [
        "table",
        "math",
    ]


def test_a_shadow_lies_at_the_edge_that_hides_something(opened):
    box = opened("mse_lpips.html", width=390).locator(".scroll:has(table)", has_text="column11")

    def edges():
        shot = np.asarray(Image.open(io.BytesIO(box.screenshot())).convert("L")).astype(float)
        return np.median(shot[:, 1]), np.median(shot[:, -2])

    left, right = edges()
    assert left > right + 20, "grey levels: the right edge is the darker one"
    box.evaluate("e => e.scrollLeft = 1e6")
    left, right = edges()
    assert right > left + 20


def test_claims_are_a_table_on_a_desk_and_cards_on_a_phone(opened):
    page = opened("index.html")
    table, second = page.locator("table.claims"), page.locator("table.claims tr").nth(1).locator("td")
    places = "all => all.map(e => [e.getBoundingClientRect().top, e.getBoundingClientRect().bottom])"
    for words in ("✓ supported", "this profile: not supported", "full, committed", "? undecided", "n = 32"):
        assert words in table.inner_text()
    assert table.locator("thead").is_visible()
    assert len({top for top, _ in second.evaluate_all(places)}) == 1, "side by side"
    page.set_viewport_size({"width": 390, "height": 900})
    assert not table.locator("thead").is_visible()
    boxes = second.evaluate_all(places)
    assert all(a[1] <= b[0] for a, b in zip(boxes, boxes[1:], strict=False)), "one below the other"
    assert second.nth(1).evaluate("e => getComputedStyle(e, '::before').content") == '"verdict: "'


def test_a_claim_leads_to_its_report_and_reports_lead_to_their_neighbours(opened):
    page = opened("index.html")
    page.locator("table.claims a").first.click()
    assert page.url.endswith("mse_lpips.html")
    page.locator('nav.pager a[rel="next"]').click()
    assert page.url.endswith("clip.html") and page.locator('nav.pager a[rel="next"]').count() == 0
    page.locator('nav.pager a[rel="prev"]').click()
    assert page.url.endswith("mse_lpips.html") and page.locator('nav.pager a[rel="prev"]').count() == 0


def test_the_reference_is_folded_below_the_report_and_shows_its_short_tables(opened):
    page = opened("mse_lpips.html")
    folded = page.locator("details.reference")
    assert folded.locator("summary").inner_text() == "Reference numbers (profile full)"
    assert not folded.locator("table").first.is_visible()
    folded.locator("summary").click()
    assert folded.locator("table").count() == 2 and folded.locator("table").first.is_visible()
    assert folded.locator("a").evaluate_all("all => all.map(a => a.textContent)")[-1] == "long"


@pytest.mark.parametrize("width", [390, 1280])
def test_figures_enlarge_and_shrink_by_mouse(opened, width):
    labels = opened("mse_lpips.html", width=width).locator("figure label")
    assert labels.count() == 2, "a cell's and the wall's"
    for label in (labels.nth(0), labels.nth(1)):
        small = label.bounding_box()["height"]
        label.click()
        assert label.bounding_box() == {"x": 0, "y": 0, "width": width, "height": 900}
        assert label.locator("img").bounding_box()["width"] == 1600
        label.click()
        assert label.bounding_box()["height"] == small


def test_figures_enlarge_and_shrink_by_keyboard(opened):
    page = opened("mse_lpips.html")
    for name in ("zoom-0-cell-4", "zoom-wall-a"):
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == name:
                break
        label = page.locator(f"#{name} + label")
        assert label.locator("img").evaluate("e => getComputedStyle(e).outlineStyle") == "solid", (
            "one sees where one is"
        )
        page.keyboard.press("Space")
        assert label.bounding_box()["height"] == 900
        page.keyboard.press("Space")
        assert label.bounding_box()["height"] < 900


TEXT = ("main p", "table.claims td", "table.claims small", "table.claims a", "span.claim", "div.claim b", "nav a",
        "footer p", "div.claim span", "figcaption", ".facts", "section td", "summary", "pre", "h1", "h3")  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(opened, scheme):
    seen: dict[str, list[float]] = {selector: [] for selector in TEXT}
    for name in ("index.html", "mse_lpips.html"):
        page = opened(name, scheme=scheme)
        assert (page.evaluate(f"({BEHIND})(document.body)") == [255, 255, 255]) == (scheme == "light")
        for selector in TEXT:
            seen[selector] += page.locator(selector).evaluate_all(f"all => all.map({CONTRAST})")
    assert all(seen.values()), "each was found"
    assert {selector: min(ratios) for selector, ratios in seen.items() if min(ratios) < 4.5} == {}


def test_on_paper_there_is_neither_navigation_nor_code(opened):
    page = opened("mse_lpips.html")
    page.emulate_media(media="print")
    for selector in ("nav", "details.code", "details.reference"):
        assert not page.locator(selector).first.is_visible(), selector
    assert page.locator("figure img").first.is_visible()
