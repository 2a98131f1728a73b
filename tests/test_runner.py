"""What is refused before a kernel starts; the runs themselves are in test_makefile.py."""

from __future__ import annotations

import nbformat
import papermill
import pytest
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from inpaintlib import runner
from inpaintlib.__main__ import main
from inpaintlib.checks import InpaintError

from .notebooks import YAML, notebook, write


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("INPAINTLIB_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "tiny", notebook())
    return tmp_path


def run(project):
    runner.run(
        project / "notebooks/tiny.ipynb", project / "params/embedded/tiny.yaml", project / "reports/embedded/tiny.ipynb"
    )


def test_right_parameters_are_those_of_the_file(project):
    values = runner.checked_parameters(
        project / "notebooks/tiny.ipynb", project / "params/embedded/tiny.yaml", {"seed": 9}
    )
    assert values == {"profile": "embedded", "seed": 9, "rate": 0.1, "fail": False}


@pytest.mark.parametrize(
    ("yaml", "sentence"),
    [
        (YAML + "steps: 3\n", "unknown key steps; tiny.ipynb has no such parameter"),
        (YAML.replace("rate: 0.1", "sead: 0.1"), "unknown key sead"),
        (YAML.replace("fail: false  # on purpose\n", ""), "key fail is missing"),
        (YAML.replace("0.1", "1e-1"), "rate must be a valid number, found '1e-1'"),
        (YAML.replace("0.1", ".nan"), "rate must be a finite number, found nan"),
        (YAML.replace("seed: 3", "seed: 3.5"), "seed must be a valid integer"),
    ],
)
def test_wrong_parameters_are_one_sentence_and_touch_nothing(project, capsys, yaml, sentence):
    write(project, "tiny", notebook(), yaml)
    out = project / "reports/embedded/tiny.ipynb"
    out.parent.mkdir(parents=True)
    out.write_text("an earlier result")
    status = main(["run", "notebooks/tiny.ipynb", "--params", "params/embedded/tiny.yaml", "--out", str(out)])
    said = capsys.readouterr().err
    assert status == 1
    assert said.startswith("error: params/embedded/tiny.yaml: ") and said.count("\n") == 1
    assert sentence in said
    assert out.read_text() == "an earlier result"


def test_a_notebook_must_exist_and_have_literal_parameters(project):
    params_file = project / "params/embedded/tiny.yaml"
    with pytest.raises(InpaintError, match="none.ipynb is missing"):
        runner.checked_parameters(project / "notebooks/none.ipynb", params_file, {})
    write(project, "tiny", notebook(parameters="seed = 1 + other"))
    with pytest.raises(InpaintError, match="parameter seed must be a literal value; found 1 \\+ other"):
        runner.checked_parameters(project / "notebooks/tiny.ipynb", params_file, {})
    nb = notebook()
    nb.cells[1].metadata["tags"] = []
    write(project, "tiny", nb)
    with pytest.raises(InpaintError, match="must have a cell tagged 'parameters'"):
        runner.checked_parameters(project / "notebooks/tiny.ipynb", params_file, {})


def replies(monkeypatch, *faults):
    """Makes papermill raise ``faults`` in turn, then write an empty result; returns the list of calls."""
    calls = []

    def execute_notebook(source, target, *args, **kwargs):
        calls.append(source)
        nbformat.write(notebook(), target)
        if len(calls) <= len(faults):
            raise faults[len(calls) - 1]

    monkeypatch.setattr(papermill, "execute_notebook", execute_notebook)
    return calls


def test_a_kernel_that_dies_before_its_first_word_is_tried_once_more(project, monkeypatch):
    early = RuntimeError("Kernel died before replying to kernel_info")
    calls = replies(monkeypatch, early)
    run(project)
    assert len(calls) == 2
    assert (project / "reports/embedded/tiny.ipynb").is_file()
    assert len(replies(monkeypatch, early, early)) == 0
    with pytest.raises(RuntimeError, match="before replying"):
        run(project)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (DeadKernelError("Kernel died"), "its process was killed, often for want of memory"),
        (PapermillExecutionError(2, 7, "", "InpaintError", "mask is bad", []), "failed in cell 7: mask is bad \\(see "),
        (PapermillExecutionError(2, 7, "", "KeyError", "'w'", []), "failed in cell 7: KeyError: 'w' \\(see "),
        (OSError(28, "No space left on device"), "tiny.ipynb cannot be written: No space left on device"),
    ],
)
def test_a_failed_run_is_one_sentence_and_no_result(project, monkeypatch, fault, sentence):
    replies(monkeypatch, fault)
    out = project / "reports/embedded/tiny.ipynb"
    out.parent.mkdir(parents=True)
    out.write_text("an earlier result")
    with pytest.raises(InpaintError, match=sentence):
        run(project)
    assert not out.exists()
    assert (out.parent / "tiny.failed.ipynb").is_file()
