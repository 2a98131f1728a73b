"""What the README promises: its code runs, its targets, files and modules exist, its questions are the notebooks'."""

from __future__ import annotations

import re
import shlex

import nbformat
import pytest

from inpaintlib import params
from inpaintlib.__main__ import _parser as command_line
from inpaintlib.study import project_root
from inpaintlib.weights import shipped_names

ROOT = project_root()
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.M | re.S)


def commands() -> list[str]:
    """Every command that begins with make, in blocks and in running text."""
    lines = "\n".join(blocks("sh")).splitlines() + re.findall(r"`([^`\n]+)`", README)
    return [line.split("#")[0].strip() for line in lines if line.startswith("make ")]


def test_the_python_blocks_run_one_after_the_other():
    source = "\n".join(blocks("python"))
    assert source.count("import") >= 3
    namespace: dict[str, object] = {}
    exec(compile(source, "README.md", "exec"), namespace)  # the reader's own first steps
    record, target, mask = (namespace[name] for name in ("record", "target", "mask"))
    known = (mask == 0).expand_as(target)
    assert record.composite.shape == target.shape == (4, 3, 64, 64)
    assert record.composite[known].equal(target[known])
    assert record.history.columns.tolist() == ["item", "step", "objective", "mse", "l1", "best"]
    for _, rows in record.history.groupby("item"):
        assert rows["best"].iloc[-1] < rows["best"].iloc[0], "the search with the reader's own loss finds a better code"


@pytest.mark.parametrize("command", commands())
def test_the_targets_of_make_exist(command):
    targets = {name for line in re.findall(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.M) for name in line.split()}
    targets |= {f"report-{stem}" for stem in params.MODELS if stem != "inpaint"}
    words = [word for word in shlex.split(command)[1:] if not word.startswith("-") and "=" not in word]
    assert len(words) == 1 and words[0] in targets
    for variable in re.findall(r"\b([A-Z]+)=", command):
        assert re.search(rf"^{variable} :?=|\$\({variable}\)|\$\$\{{{variable}", MAKEFILE, flags=re.M), variable


def test_the_commands_of_inpaintlib_are_understood():
    lines = [line.split("#")[0] for line in "\n".join(blocks("sh")).splitlines() if "bin/inpaintlib " in line]
    assert lines
    for line in lines:
        assert callable(command_line().parse_args(shlex.split(line)[1:]).verb)


def test_every_file_that_is_linked_exists():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    files = [link for link in links if not link.startswith(("http:", "https:"))]
    assert len(files) >= 4
    assert [name for name in files if not (ROOT / name).is_file()] == []


def test_every_profile_and_params_file_that_is_named_exists():
    for name in re.findall(r"PROFILE=(\w+)", README) + re.findall(r"params/(\w+)/", README):
        assert (ROOT / "params" / name).is_dir(), name
    for name in re.findall(r"params/\w+/\w+\.yaml", README):
        assert (ROOT / name).is_file(), name


def test_the_table_of_reports_asks_the_notebooks_questions():
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|$", README, flags=re.M))
    assert set(rows) >= set(params.MODELS)
    for stem in set(params.MODELS) - {"inpaint"}:
        title = nbformat.read(ROOT / "notebooks" / f"{stem}.ipynb", as_version=4).cells[0].source.splitlines()[0]
        assert rows[stem].startswith(title.removeprefix("# ")), stem


def test_the_module_map_names_every_module_and_no_other():
    text = README[README.index("Data flows one way") : README.index("## What is measured")]
    named = set(re.findall(r"`([a-z0-9_]+)`", text))
    modules = {path.stem for path in (ROOT / "inpaintlib").glob("*.py")} - {"__init__", "__main__"}
    assert named <= modules | {"train"}
    assert {"formulas", "machine"} >= modules - named, "the map of the README is to be kept true"


def test_every_shipped_model_is_in_the_table():
    for name in shipped_names():
        assert f"`{name.removesuffix('-discriminator')}`" in README
