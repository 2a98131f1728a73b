from __future__ import annotations

import os
import shutil
import subprocess
import sys

import nbformat
import pytest
from nbformat import v4

from inpaintlib.study import project_root

from .notebooks import YAML, notebook, write

ROOT = project_root()
GOOD = """import time
from IPython.display import display
mark = {"inpaintlib-progress": True}
line = display({"text/plain": "Adam: 0 of 2"}, raw=True, metadata=mark, display_id=True)
line.update({"text/plain": "Adam: 2 of 2"}, raw=True, metadata=mark)
print("rate", rate)"""


def make(folder, *arguments):
    """Runs make in ``folder`` with this Python; returns the finished process."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("INPAINTLIB", "MAKE", "CONDA"))}
    environment["PYTHONPATH"] = str(ROOT)
    command = ["make", f"PYTHON={sys.executable}", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def jobs(folder, *arguments):
    """Returns the notebooks that make would execute."""
    planned = make(folder, "-n", *arguments, "all").stdout.splitlines()
    return [line.split("notebooks/")[1].split(".ipynb")[0] for line in planned if " inpaintlib run " in line]


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A project of two notebooks, of which `bad` fails, and what `make -j2 -k all` said in it."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "Makefile", folder)
    write(folder, "good", notebook(v4.new_markdown_cell("## Result"), GOOD))
    write(folder, "bad", notebook("assert not fail, 'asked to fail'"), YAML.replace("false", "true"))
    return folder, make(folder, "-j2", "-k", "all")


def test_a_failing_notebook_leaves_itself_to_read_and_no_target(first):
    folder, done = first
    assert done.returncode != 0
    assert "error: bad.ipynb failed in cell 3: AssertionError: asked to fail (see " in done.stderr
    assert "Traceback" not in done.stderr
    left = {path.name for path in (folder / "reports/embedded").iterdir() if not path.name.endswith(".lock")}
    assert left == {"good.ipynb", "good.html", "bad.failed.ipynb"}


def test_progress_shows_in_the_terminal_and_parameters_reach_the_notebook(first):
    folder, done = first
    assert "[good] 4/4 Result" in done.stderr or "[good] 3/3 Result" in done.stderr
    assert "[good]     Adam: " in done.stderr
    assert "WARNING" not in done.stderr
    outputs = nbformat.read(folder / "reports/embedded/good.ipynb", as_version=4).cells[-1].outputs
    assert outputs[-1].text == "rate 0.1\n"


def test_only_what_changed_runs_again(first):
    folder, _ = first
    assert jobs(folder) == ["bad"]
    (folder / "params/embedded/bad.yaml").write_text(YAML)
    done = make(folder, "all")
    assert done.returncode == 0, done.stderr
    assert "[good]" not in done.stderr
    assert not (folder / "reports/embedded/bad.failed.ipynb").exists()
    assert "Nothing to be done" in make(folder, "all").stdout
    assert jobs(folder, "-W", "params/embedded/good.yaml") == ["good"]
    assert jobs(folder, "-W", "notebooks/bad.ipynb") == ["bad"]
    (folder / "inpaintlib").mkdir()
    (folder / "inpaintlib" / "losses.py").touch()
    assert jobs(folder) == ["bad", "good"]


def test_results_do_not_wait_for_pages_pictures_and_training(first):
    folder, _ = first
    for name in (
        "__main__.py",
        "inpaint.py",
        "report.py",
        "benchmark.py",
        "train/faces64.py",
        "models/a.md",
        "models/a.png",
    ):
        (folder / "inpaintlib" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "inpaintlib" / name).touch()
    (folder / "inpaintlib" / "losses.py").unlink(missing_ok=True)
    assert jobs(folder) == []
    rendered = [line for line in make(folder, "-n", "all").stdout.splitlines() if " inpaintlib render " in line]
    assert len(rendered) == 2, "the page's code is newer than both pages"
    (folder / "inpaintlib/models/a.safetensors").touch()
    assert jobs(folder) == ["bad", "good"]


def test_the_summary_runs_after_all_others_and_again_after_each_of_them(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    for stem in ("bad", "summary", "zebra"):
        write(tmp_path, stem, notebook())
    planned = make(tmp_path, "-n", "-j1", "report-summary").stdout
    runs = [planned.index(f"inpaintlib run notebooks/{stem}.ipynb") for stem in ("bad", "zebra", "summary")]
    assert runs == sorted(runs) and planned.count("inpaintlib render") == 3, "its page links to theirs"
    (tmp_path / "reports/embedded").mkdir(parents=True)
    for stem in ("bad", "zebra", "summary"):
        (tmp_path / f"reports/embedded/{stem}.ipynb").touch()
        (tmp_path / f"reports/embedded/{stem}.html").touch()
    assert jobs(tmp_path) == []
    assert jobs(tmp_path, "-W", "notebooks/zebra.ipynb") == ["zebra", "summary"]
    assert jobs(tmp_path, "-W", "notebooks/summary.ipynb") == ["summary"]
    for name in ("reports/reference/a.csv", "reports/full/claims/a-C1.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
        assert jobs(tmp_path) == ["summary"]
        (tmp_path / name).unlink()


def test_the_reference_is_of_the_profile_that_is_asked_for(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    assert make(tmp_path, "-n", "reference").stdout.endswith("-m inpaintlib reference \n")
    assert make(tmp_path, "-n", "reference", "PROFILE=large").stdout.endswith("-m inpaintlib reference large\n")
    write(tmp_path, "good", notebook())
    assert "must hold tables of finished reports" in make(tmp_path, "reference").stderr


def bare(folder):
    """Returns a Python that has none of the project's packages."""
    script = folder / "bare-python"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "$@"\n')
    script.chmod(0o755)
    return script


TRAININGS = ["train-attributes", "train-clip", "train-faces64", "train-percept"]


WORKING = ["all", "test", "check", "explore", "lab", "inpaint", "env", "reference", *TRAININGS]


@pytest.mark.parametrize("target", WORKING)
def test_a_python_without_the_packages_is_one_sentence(tmp_path, target):
    shutil.copy(ROOT / "Makefile", tmp_path)
    write(tmp_path, "good", notebook())
    for python in (bare(tmp_path), tmp_path / "none"):
        done = make(tmp_path, f"PYTHON={python}", target, "IMAGE=a", "MASK=b", "DATA=c")
        assert done.returncode != 0
        assert f"error: {python} lacks the project's packages; " in done.stderr
        assert "Error" not in done.stderr.replace("Error 1", "")


@pytest.mark.parametrize("target", TRAININGS)
def test_training_asks_for_its_data(tmp_path, target):
    shutil.copy(ROOT / "Makefile", tmp_path)
    done = make(tmp_path, target)
    assert done.returncode != 0
    assert f"error: make {target} needs DATA=folder (or INPAINTLIB_DATA)" in done.stderr


def test_training_of_faces_is_scored_exported_and_takes_more_options(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    planned = make(tmp_path, "-n", "train-faces64", "DATA=d", "MINUTES=2", "ARGS=--batch 8").stdout
    assert '-m inpaintlib.train.faces64 --data "d" --out runs/faces64 --minutes "2"' in planned
    assert "--kid --export faces64 --batch 8\n" in planned


@pytest.mark.parametrize("kind", ["attributes", "clip"])
def test_training_of_the_steering_networks_makes_both_and_takes_more_options(tmp_path, kind):
    shutil.copy(ROOT / "Makefile", tmp_path)
    planned = make(tmp_path, "-n", f"train-{kind}", "DATA=d", "ARGS=--steps 9").stdout
    for role in ("guide", "judge"):
        assert f'-m inpaintlib.train.{kind} {kind}-{role} --data "d" --out runs/steer --steps 9\n' in planned


def test_inpaint_passes_its_switches_on(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    files = ("IMAGE=a.jpg", "MASK=b.png")
    on = make(tmp_path, "-n", "inpaint", *files, "RESIZE=1", "THRESHOLD=1").stdout
    off = make(tmp_path, "-n", "inpaint", *files, "RESIZE=0").stdout
    assert "--resize-mask --threshold" in on
    assert "--resize-mask" not in off and "--threshold" not in off
    assert "--align" in make(tmp_path, "-n", "inpaint", *files, "ALIGN=1").stdout
    assert "--align" not in make(tmp_path, "-n", "inpaint", *files, "ALIGN=0").stdout


def test_wishes_reach_inpaint_as_they_were_written(tmp_path):
    """By way of the environment, so that no quote or dollar in a prompt is read by a shell."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    seen = "#!/usr/bin/env bash\nprintf '%s\\n' \"$@\"\n"
    (tmp_path / "python").write_text(seen)
    (tmp_path / "python").chmod(0o755)
    prompt = "a 'smiling' woman; $HOME"
    files = ("IMAGE=a.jpg", "MASK=b.png", f"PYTHON={tmp_path}/python")
    told = make(tmp_path, "inpaint", *files, f"PROMPT={prompt.replace('$', '$$')}", "ATTRIBUTES=-Eyeglasses").stdout
    assert f"--prompt={prompt}\n" in told and "--attributes=-Eyeglasses\n" in told
    assert "--prompt" not in make(tmp_path, "inpaint", *files).stdout
    told = make(tmp_path, "inpaint", *files, "EYES=-3,4,5,6", "FACE=2", "BLEND=poisson").stdout
    assert "--eyes=-3,4,5,6\n--face=2\n--blend=poisson\n" in told


def test_clean_removes_the_profiles_and_nothing_else(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    write(tmp_path, "good", notebook())
    for name in ("embedded/tables/a.csv", "inpaint-me/result.png", "readme/a.png", "README.md"):
        (tmp_path / "reports" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "reports" / name).touch()
    assert make(tmp_path, "clean").returncode == 0
    assert {path.name for path in (tmp_path / "reports").iterdir()} == {"inpaint-me", "readme", "README.md"}


def test_the_real_project_uses_no_undefined_variable():
    done = make(ROOT, "--warn-undefined-variables", "-n", *WORKING[:6], "lint", "lock", "clean")
    assert done.returncode == 0
    assert "warning" not in done.stdout + done.stderr


def test_help_is_the_default_and_lists_the_targets():
    said = make(ROOT).stdout
    for target in (*WORKING, "clean", "lint", "lock", "report-NAME"):
        assert f"  {target} " in said


def test_without_python_given_the_environment_is_made_first(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    write(tmp_path, "good", notebook())
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    planned = make(tmp_path, "-n", "PYTHON=", "all").stdout
    steps = ["python3 -m venv .venv", "install", "touch .venv/stamp", ".venv/bin/python -m inpaintlib run"]
    places = [planned.index(step) for step in steps]
    assert places == sorted(places)


def test_a_conda_environment_is_used_as_it_is_unless_it_is_the_base_one(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    write(tmp_path, "good", notebook())
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    for name, interpreter in (("x", "/opt/conda/envs/x/bin/python"), ("base", ".venv/bin/python")):
        conda = {"CONDA_PREFIX": "/opt/conda/envs/x", "CONDA_DEFAULT_ENV": name, "PATH": os.environ["PATH"]}
        command = ["make", "-n", "all"]
        planned = subprocess.run(command, cwd=tmp_path, env=conda, capture_output=True, text=True).stdout
        assert f"{interpreter} -m inpaintlib run" in planned


def test_inpaint_asks_for_its_two_files(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    done = make(tmp_path, "inpaint", "IMAGE=photo.jpg")
    assert done.returncode != 0
    assert "error: make inpaint needs IMAGE=... MASK=..." in done.stderr
    done = make(tmp_path, "inpaint", "IMAGE=my photo.jpg", "MASK=mask.png")
    assert "error: my photo.jpg must be a picture file; there is no such file" in done.stderr
