"""Tiny notebooks and projects for the tests of the machinery."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbformat import NotebookNode, v4

TITLE = "# Does $G(w)$ fill the hole?\n\nA search of $\\mathcal{W}$ for the *known* pixels."
PARAMETERS = 'profile = "embedded"  # folder\nseed = 0\nrate = 0.5\nfail = False'
YAML = "profile: embedded  # folder\nseed: 3  # root\nrate: 0.1  # step\nfail: false  # on purpose\n"


def notebook(*cells: NotebookNode | str, parameters: str = PARAMETERS) -> NotebookNode:
    """Returns a notebook: title, parameters cell, then ``cells`` (text is code)."""
    first = [v4.new_markdown_cell(TITLE), v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    rest = [v4.new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    nb = v4.new_notebook(cells=first + rest)
    nb.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for i, cell in enumerate(nb.cells):
        cell.id = f"cell-{i}"
    return nb


def write(root: Path, stem: str, nb: NotebookNode, yaml: str = YAML) -> None:
    """Puts a notebook and its params of profile ``embedded`` into the project ``root``."""
    for folder in ("notebooks", "params/embedded"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    nbformat.write(nb, root / "notebooks" / f"{stem}.ipynb")
    (root / "params" / "embedded" / f"{stem}.yaml").write_text(yaml)
