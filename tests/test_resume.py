"""A study that is killed, at any moment, and started again gives the tables that it gives undisturbed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from inpaintlib.study import project_root

ROOT = project_root()
SMOKE = ROOT / "params" / "smoke"


def make_project(folder: Path, stems: list[str]) -> Path:
    """A copy of the project with some of its notebooks."""
    (folder / "notebooks").mkdir(parents=True)
    (folder / "params/smoke").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    for stem in stems:
        shutil.copy(ROOT / f"notebooks/{stem}.ipynb", folder / "notebooks")
        shutil.copy(SMOKE / f"{stem}.yaml", folder / "params/smoke")
    return folder


def start(folder: Path) -> subprocess.Popen:
    """Starts `make all` in a process group of its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("INPAINTLIB", "MAKE", "CONDA"))}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with open(folder / "log", "ab") as log:
        return subprocess.Popen(["make", f"PYTHON={sys.executable}", "PROFILE=smoke", "all"], cwd=folder,
                                env=environment, stdout=log, stderr=log, start_new_session=True)  # fmt: skip


def finish(folder: Path) -> None:
    assert start(folder).wait(timeout=900) == 0, (folder / "log").read_text()[-2000:]


def processes(folder: Path) -> list[str]:
    """The processes that work in a project, kernels among them."""
    mark, found = f"INPAINTLIB_ROOT={folder}\0".encode(), []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (path / "environ").read_bytes() and (path / "cmdline").read_bytes():
                found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it has ended meanwhile, or is another user's
            continue
    return found


def kill(folder: Path, after: float) -> bool:
    """Starts `make all`, kills make and what it runs after some seconds, and waits for the kernels to notice.

    Returns whether there was anything left to kill.
    """
    process = start(folder)
    alive = True
    try:
        process.wait(timeout=after)
        alive = False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    deadline = time.monotonic() + 30
    while left := processes(folder):
        assert time.monotonic() < deadline, f"these outlive make: {left}"
        time.sleep(0.2)
    return alive


def results(folder: Path) -> dict[str, bytes]:
    """What a run must give again, bit for bit: all tables but timings, and all claims."""
    reports = folder / "reports" / "smoke"
    paths = [*reports.glob("tables/*.csv"), *reports.glob("claims/*.json")]
    return {path.name: path.read_bytes() for path in paths if not path.stem.endswith("-timing")}


def finished(folder: Path) -> dict[Path, int]:
    """What counts as finished -> the file's number, which changes when it is written again."""
    paths = [*folder.glob("cache/*/*.safetensors"), *folder.glob("reports/smoke/*.ipynb")]
    return {path: path.stat().st_ino for path in paths if ".failed." not in path.name}


def disturbed(folder: Path, kills: int, seconds: float, seed: int) -> int:
    """Kills a study at random moments of what takes ``seconds`` undisturbed, and completes it.

    Nothing that was finished may be written again. Returns how often there was something to kill.
    """
    moments, before, hits = random.Random(seed), {}, 0
    for _ in range(kills):
        hits += kill(folder, moments.uniform(0.1, 0.6) * seconds)
        now = finished(folder)
        assert before.items() <= now.items(), "finished work was lost or repeated"
        before = now
    finish(folder)
    assert before.items() <= finished(folder).items(), "finished work was lost or repeated"
    return hits


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes by /proc")
@pytest.mark.parametrize(("stems", "kills", "longest"), [
    pytest.param(["naive_mse"], 3, 60.0, id="three"),
    pytest.param(sorted(p.stem for p in SMOKE.glob("*.yaml")), 10, 45.0, id="ten", marks=pytest.mark.slow),
])  # fmt: skip
def test_a_study_killed_at_random_moments_gives_the_same_tables(tmp_path, stems, kills, longest):
    undisturbed, folder = make_project(tmp_path / "a", stems), make_project(tmp_path / "b", stems)
    begun = time.monotonic()
    finish(undisturbed)
    assert disturbed(folder, kills, min(time.monotonic() - begun, longest), seed=len(stems)) >= 1
    assert len(results(folder)) >= 5 and results(folder) == results(undisturbed)
    assert set(finished(folder)) == {folder / path.relative_to(undisturbed) for path in finished(undisturbed)}
    left = [path.name for path in folder.rglob("*") if ".failed." in path.name or path.name.endswith(".tmp")]
    assert left == []
