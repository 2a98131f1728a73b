"""Fixtures for the image files and the browser, and the rule that a complete machine skips nothing.

With ``INPAINTLIB_NO_SKIP=1`` a skipped test that is marked ``data`` or ``browser`` is a failure.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

# The tests' tensors are tiny: a second thread only waits, and on a busy machine for long.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder that INPAINTLIB_DATA names; the test is skipped without it."""
    value = os.environ.get("INPAINTLIB_DATA")
    if not value:
        pytest.skip("INPAINTLIB_DATA names no folder of images")
    return Path(value)


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium, driven by playwright; the test is skipped where there is none."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no Chromium on the PATH")
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]  # fmt: skip
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=executable, args=flags)
        yield chromium
        chromium.close()


LONGEST = ("test_notebooks.py", "test_generators.py", "test_explorer_browser.py", "test_resume.py", "test_makefile.py",
           "test_site.py")  # fmt: skip


def pytest_collection_modifyitems(items):
    """Puts the files first that take longest, so that no worker is left alone with one at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    needed = [mark for mark in ("data", "browser") if item.get_closest_marker(mark)]
    if report.skipped and needed and os.environ.get("INPAINTLIB_NO_SKIP") == "1":
        report.outcome = "failed"
        report.longrepr = f"skipped, though this machine must run every {needed[0]} test: {report.longrepr}"
    return report
