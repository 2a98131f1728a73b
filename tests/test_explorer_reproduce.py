"""The line that a result of the explorer comes with makes it again, bit for bit."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys

import torch

from inpaintlib.explorer.controller import Controller
from inpaintlib.explorer.results import read_result
from inpaintlib.explorer.settings import Settings
from inpaintlib.study import project_root

ROOT = project_root()


def test_make_inpaint_takes_a_params_file_and_a_number_of_threads(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    python = tmp_path / "python"
    python.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$INPAINTLIB_THREADS" "$@"\n')
    python.chmod(0o755)

    def told(*arguments: str) -> list[str]:
        command = ["make", "inpaint", "IMAGE=a.png", "MASK=b.png", f"PYTHON={python}", *arguments]
        kept = {
            k: v for k, v in os.environ.items() if k not in ("PARAMS", "THREADS", "INPAINTLIB_THREADS", "MAKEFLAGS")
        }
        done = subprocess.run(command, cwd=tmp_path, env=kept, capture_output=True, text=True, check=True)
        said = done.stdout.splitlines()
        return said[said.index("-m") - 1 :]  # before it, make asks whether the packages are there

    cores = subprocess.run(["getconf", "_NPROCESSORS_ONLN"], capture_output=True, text=True).stdout.strip()
    plain, own = told(), told("PARAMS=my $$x.yaml", "THREADS=3", "OUT=c.png")
    assert plain[0] == cores and plain[plain.index("--params") + 1] == "params/embedded/inpaint.yaml"
    assert own[0] == "3" and own[own.index("--params") + 1] == "my $x.yaml"


def test_the_line_of_a_result_makes_the_same_png_bit_for_bit(tmp_path):
    """By ``make inpaint`` itself, in a project of its own, with the shipped models and another number of threads."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for folder in ("notebooks", "params"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    explorer = Controller(tmp_path, threads=2)
    explorer.editor.preset("mouth", 0.15)
    try:
        explorer.run(Settings(samples=2, steps=4, prompt="a smiling woman", blend="poisson"))
        assert explorer.wait(120)
    finally:
        explorer.close()
        torch.set_num_threads(1)  # as the other tests have it
    (result,) = explorer.results
    assert result.command.startswith("# in the project's folder\nmake inpaint ")
    line = shlex.split(result.command, comments=True)
    assert line[-2:] == [f"PYTHON={sys.executable}", "THREADS=2"], "which this project has no .venv for"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("INPAINTLIB_", "MAKE"))}
    done = subprocess.run(line, cwd=tmp_path, env=kept, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (result.folder / "again.png").read_bytes() == result.png(0)
    assert read_result(result.folder) is not None
    table = (tmp_path / "reports/inpaint-photo-0001/tables/inpaint-scores.csv").read_text().splitlines()
    ours = result.read("scores.csv").decode().splitlines()
    assert [row.split(",")[1:] for row in table] == [row.split(",")[1:] for row in ours], "the same scores, too"
