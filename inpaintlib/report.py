"""HTML reports from executed notebooks, their index, and the check that they are whole.

A page is one file that needs nothing else: pictures are inside it, formulas are MathML, there is no
script. Only its links to tables and to other reports name files: beside it, or in ``reports/reference/``.
"""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nbformat
from jinja2 import Environment, FileSystemLoader, pass_context
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from PIL import Image

from . import claims, reference
from .checks import InpaintError
from .files import write_atomically
from .formulas import markdown
from .pages import claims_html, figure_html, report_name, table_html
from .params import MODELS
from .study import PROGRESS_MARK, project_root

__all__ = ["check", "index", "render", "stems"]

TEMPLATES = Path(__file__).parent / "templates"
THUMBNAIL_PX = 640
FILTERS = {"figure_html": figure_html}
TOOLS = ("inpaint",)  # notebooks that work on the reader's own files: no reports of the study


def stems(profile: str) -> list[str]:
    """Returns the notebooks of a profile, in the order to read them."""
    found = {p.stem for p in (project_root() / "params" / profile).glob("*.yaml")} - set(TOOLS)
    return sorted(found, key=_reading_order)


def render(executed: Path) -> Path:
    """Writes the HTML page of an executed notebook beside it and returns its path.

    Raises InpaintError if the notebook cannot be read, has no H1, holds a formula that cannot be
    converted, or the page cannot be written.
    """
    nb = _results_only(_read(executed))
    others = stems(executed.parent.name)
    page = {
        "stem": executed.stem,
        "title": re.sub("<[^>]+>", "", _opening(nb, executed)[0]),
        "css": _css(),
        "others": [(stem, report_name(stem)) for stem in others],
        "neighbours": _neighbours(executed.stem, others),
        "reference": _reference(executed),
        "tables": sorted(p.name for p in (executed.parent / "tables").glob(f"{executed.stem}-*.csv")),
        "note": _note(nb),
    }
    exporter = _Exporter(extra_template_basedirs=[str(TEMPLATES)], template_name="report", filters=FILTERS)
    html, _ = exporter.from_notebook_node(nb, resources={"page": page})
    target = executed.with_suffix(".html")
    write_atomically(target, html.encode())
    return target


def index(profile: str) -> Path:
    """Writes ``reports/<profile>/index.html``, the claims and a card for each report there is, and returns its path.

    Raises InpaintError if there is no report, a claim's file is damaged, or the page cannot be written.
    """
    folder = project_root() / "reports" / profile
    pages = sorted(folder.glob("*.ipynb"), key=lambda path: _reading_order(path.stem))
    cards = [_card(path) for path in pages if path.with_suffix(".html").is_file()]
    if not cards:
        raise InpaintError(f"{folder} must hold reports before they can be listed; it holds none")
    template = Environment(loader=FileSystemLoader(TEMPLATES)).get_template("index.html.j2")
    target = folder / "index.html"
    text = template.render(profile=profile, cards=cards, css=_css(), claims=_claims(profile, cards))
    write_atomically(target, text.encode())
    return target


def check(profile: str) -> None:
    """Raises InpaintError, listing every fault, unless the reports of a profile are there and whole.

    Each page must exist, hold only pictures that decode, ask nothing from a network, and link only to
    files that exist; the index must list it; no table may be empty; no failed notebook may be left.
    """
    folder = project_root() / "reports" / profile
    pages = [folder / f"{stem}.html" for stem in stems(profile)]
    faults = [f"{path.name} was left by a failed run" for path in sorted(folder.glob("*.failed.ipynb"))]
    for path in [folder / "index.html", *pages]:
        faults += _page_faults(path)
    for path in sorted(folder.glob("tables/*.csv")):
        if len(path.read_text().splitlines()) < 2:
            faults.append(f"{path.name} has no rows")
    listed = (folder / "index.html").read_text() if (folder / "index.html").is_file() else ""
    faults += [f"index.html does not list {path.name}" for path in pages if f'href="{path.name}"' not in listed]
    if faults or not pages:
        raise InpaintError(f"{folder} must hold whole reports: " + ("; ".join(faults) or "the profile has no notebook"))


def _claims(profile: str, cards: list[dict[str, Any]]) -> str:
    """Returns the table of claims as HTML, '' for a profile whose reports test none."""
    if not claims.recorded(profile):
        return ""
    return claims_html(claims.gather(profile), {card["stem"]: f"{card['stem']}.html" for card in cards})


def _neighbours(stem: str, others: list[str]) -> list[tuple[str, str, str]]:
    """Returns (relation, stem, name) of the report before and of the one after, in reading order."""
    if stem not in others:
        return []
    place = others.index(stem)
    near = {"prev": others[:place][-1:], "next": others[place + 1 : place + 2]}
    return [(relation, other, report_name(other)) for relation, found in near.items() for other in found]


def _reference(executed: Path) -> dict[str, Any]:
    """Returns what a page shows of the committed numbers: nothing where they are its own."""
    profile = claims.reference_profile(executed.stem)
    if profile in ("", executed.parent.name):
        return {}
    tables = [(table.name, table.href, "" if table.rows is None else table_html(table.rows))
              for table in reference.tables(executed.stem)]  # fmt: skip
    return {"profile": profile, "tables": tables}


class _Exporter(HTMLExporter):
    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        return markdown(source)


def _reading_order(stem: str) -> tuple[int, str]:
    order = list(MODELS)
    return (order.index(stem) if stem in order else len(order), stem)


def _read(path: Path) -> NotebookNode:
    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError) as error:
        raise InpaintError(f"{path} must be a notebook; it cannot be read: {' '.join(str(error).split())}") from None


def _results_only(nb: NotebookNode) -> NotebookNode:
    """Removes progress lines, and the default parameters if others were injected after them."""
    tags = [cell.metadata.get("tags", []) for cell in nb.cells]
    injected = any("injected-parameters" in t for t in tags)
    nb.cells = [cell for cell, t in zip(nb.cells, tags, strict=True) if not (injected and "parameters" in t)]
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if not out.get("metadata", {}).get(PROGRESS_MARK)]
    return nb


def _opening(nb: NotebookNode, path: Path) -> tuple[str, str]:
    """Returns the H1, the question, and the paragraph below it ('' if none), both as HTML without a block."""
    source = nb.cells[0].source if nb.cells and nb.cells[0].cell_type == "markdown" else ""
    heading, *paragraphs = [part.strip() for part in re.split(r"\n\s*\n", source.strip(), maxsplit=2)]
    if not re.match(r"# \S", heading) or "\n" in heading:
        raise InpaintError(f"{path} must begin with a markdown cell '# question', then a blank line; it does not")
    return _inline(heading[2:]), _inline(paragraphs[0]) if paragraphs else ""


def _inline(text: str) -> str:
    return re.sub(r"^<p>|</p>$", "", markdown(text).strip())


def _note(nb: NotebookNode) -> str:
    seconds = nb.metadata.get("papermill", {}).get("duration") or 0.0
    minutes, rest = divmod(round(seconds), 60)
    return f"Wall time {minutes} min {rest} s" if minutes else f"Wall time {rest} s"


def _card(executed: Path) -> dict[str, Any]:
    nb = _results_only(_read(executed))
    title, summary = _opening(nb, executed)
    found = [claims.read_claim(path) for path in (executed.parent / "claims").glob(f"{executed.stem}-*.json")]
    return {
        "stem": executed.stem,
        "title": title,
        "summary": summary,
        "thumbnail": _thumbnail(nb),
        "claims": sorted(found, key=lambda claim: claims.reading_order(claim["id"])),
        "note": _note(nb),
    }


def _thumbnail(nb: NotebookNode) -> str:
    """Returns a figure, made small, as base64 of a JPEG; '' if the notebook shows none.

    It is the figure of the cell tagged ``thumbnail``, else the first one.
    """
    tagged = [cell for cell in nb.cells if "thumbnail" in cell.metadata.get("tags", [])]
    for cell in tagged + nb.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))).convert("RGB")
                picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
                buffer = io.BytesIO()
                picture.save(buffer, format="JPEG", quality=85)
                return base64.b64encode(buffer.getvalue()).decode()
    return ""


def _css() -> str:
    return (TEMPLATES / "style.css").read_text()


class _Links(HTMLParser):
    """Collects what a page loads (pictures, scripts, styles) and where it links to."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        if tag == "a":
            self.links.append(given.get("href", ""))
        else:
            self.loads += [given[key] for key in ("src", "href", "data") if key in given]
        if tag == "script":
            self.loads.append("a script")


def _page_faults(path: Path) -> list[str]:
    text = path.read_text() if path.is_file() else ""
    if "</html>" not in text:
        return [f"{path.name} is missing or cut off"]
    page = _Links()
    page.feed(text)
    faults = [f"{path.name} loads {load[:60]!r}, no picture" for load in page.loads if not _is_picture(load)]
    local = {unquote(link.partition("#")[0]) for link in page.links if not re.match(r"https?:|mailto:", link)}
    faults += [f"{path.name} links to {name}, not there" for name in sorted(local) if not (path.parent / name).exists()]
    return faults


def _is_picture(source: str) -> bool:
    kind, _, data = source.partition(";base64,")
    if not kind.startswith("data:image/"):
        return False
    try:
        Image.open(io.BytesIO(base64.b64decode(data))).load()
    except (OSError, ValueError):
        return False
    return True
