"""The explorer in a real browser: in JupyterLab and as a page of its own server."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from inpaintlib.study import project_root

from .test_site import CONTRAST

pytestmark = pytest.mark.browser
expect = pytest.importorskip("playwright.sync_api").expect

NOTEBOOK = project_root() / "notebooks" / "explorer.ipynb"
PATIENCE = 120_000  # milliseconds: other tests run beside these
FROM, TO, SIZE = (15, 20), (45, 24), 9  # a stroke, in pixels of the photo


@contextlib.contextmanager
def served(command: list[str], root: Path, address: str):
    """Starts a server and gives its address, a regular expression found in what it says; ends it and its kernels."""
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    places = {name: str(root / "jupyter" / name) for name in names}
    environment = os.environ | places | {"INPAINTLIB_ROOT": str(root), "INPAINTLIB_THREADS": "1"}
    log = root / "server.log"
    with log.open("w") as file:
        server = subprocess.Popen([sys.executable, *command], cwd=root, env=environment, stdout=file, stderr=file)
    try:
        for _ in range(PATIENCE // 100):
            if found := re.search(address, log.read_text()):
                break
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
        assert found, log.read_text()
        yield found[0]
    finally:
        processes = psutil.Process(server.pid).children(recursive=True)
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(15)
        for process in [*psutil.wait_procs(processes, timeout=5)[1], server]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture
def root(tmp_path):
    """A project with the explorer's notebook."""
    (tmp_path / "notebooks").mkdir()
    shutil.copy(NOTEBOOK, tmp_path / "notebooks")
    return tmp_path


@pytest.fixture
def tab(browser):
    """An empty page of a browser without other machines, and what went wrong in it."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page, faults = context.new_page(), []
    page.set_default_timeout(PATIENCE)
    page.route(lambda url: "127.0.0.1" not in url, lambda route: route.abort())
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: answer(dialog, faults))
    yield page, faults
    context.close()
    assert faults == []


def answer(dialog, faults) -> None:
    """Leaves a page that has unsaved changes; any other dialog is a fault."""
    if dialog.type != "beforeunload":
        faults.append(dialog.message)
    dialog.accept()


def lab(root: Path) -> list[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return ["-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
            "--ServerApp.port_retries=0", "--IdentityProvider.token=secret",
            f"--ServerApp.root_dir={root / 'notebooks'}",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]  # fmt: skip


def open_in_lab(page, address: str) -> None:
    page.goto(f"{address}/tree/explorer.ipynb?token=secret")
    expect(page.locator(".jp-Notebook")).to_be_visible(timeout=PATIENCE)
    expect(page.locator(".jp-NotebookPanel-toolbar")).to_contain_text("Python 3", timeout=PATIENCE)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.locator(".ex-brush canvas").wait_for()


def open_page(page, address: str) -> None:
    page.goto(address)
    page.locator(".ex-brush canvas").wait_for()


def press(page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def says(page, text: str) -> None:
    expect(page.locator(".ex-status [role=status]")).to_contain_text(re.compile(text), timeout=PATIENCE)


def covers(page, mask: np.ndarray) -> None:
    """The kernel tells the coverage of just this mask."""
    expect(page.locator(".ex-app")).to_contain_text(f"The mask hides {100 * mask.mean():.1f} %", timeout=PATIENCE)


def stroke(page) -> np.ndarray:
    """Draws a stroke with the mouse, and returns the pixels that it covers: centres at most a radius from its line."""
    canvas = page.locator(".ex-brush canvas")
    canvas.scroll_into_view_if_needed()
    box, scale = canvas.bounding_box(), 64 / canvas.bounding_box()["width"]
    ends = [(round(box["x"] + x / scale), round(box["y"] + y / scale)) for x, y in (FROM, TO)]
    page.mouse.move(*ends[0])
    page.mouse.down()
    page.mouse.move(*ends[1], steps=7)
    page.mouse.up()
    a, b = (np.array([x - box["x"], y - box["y"]]) * scale for x, y in ends)
    centres = np.stack(np.meshgrid(np.arange(64) + 0.5, np.arange(64) + 0.5), axis=-1)
    t = ((centres - a) @ (b - a) / ((b - a) @ (b - a))).clip(0, 1)
    return np.hypot(*np.moveaxis(centres - a - t[..., None] * (b - a), -1, 0)) <= SIZE / 2


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def saved(root: Path, mask: np.ndarray) -> bool:
    """Whether the mask is kept as it is, within a few seconds."""
    folder = root / "reports" / "explorer" / "last"
    for _ in range(100):
        if any(np.array_equal(pixels(path.read_bytes()) > 0, mask) for path in folder.glob("mask-*.png")):
            return True
        time.sleep(0.1)
    return False


def fill_in_by_hand(page, root: Path) -> np.ndarray:
    """What a user does, from the stroke to the download; returns the mask that is left."""
    press(page, "Clear")
    covers(page, np.zeros((64, 64)))
    page.get_by_label("Brush size").fill(str(SIZE))
    mask = stroke(page)
    covers(page, mask)
    assert saved(root, mask)
    page.keyboard.press("Control+z")
    covers(page, np.zeros((64, 64)))
    press(page, "Redo")
    covers(page, mask)

    page.get_by_label("Prompt", exact=True).fill("a smiling woman")
    page.get_by_label("Samples", exact=True).fill("2")
    page.get_by_label("Steps", exact=True).fill("5000")
    page.get_by_label("Steps", exact=True).press("Tab")
    press(page, "Run")
    progress, drawn = page.locator(".ex-progress progress"), page.locator(".ex-tile:visible img[alt='Seed 0']").nth(1)
    progress.wait_for()
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_focused()
    step, source = float(progress.get_attribute("value")), drawn.get_attribute("src")
    expect(drawn).not_to_have_attribute("src", source, timeout=PATIENCE)
    expect(progress).not_to_have_attribute("value", f"{step:.0f}", timeout=PATIENCE)
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_disabled()
    page.get_by_label("Eraser", exact=True).check()
    left = mask & ~stroke(page)  # the kernel listens while it searches
    covers(page, left)
    press(page, "Stop")
    says(page, r"Result 1 is stopped after \d+ steps")
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_focused()

    for text in ("Sample 1", "Sample 2", "prompt: ", "Spread"):
        expect(page.locator(".ex-results")).to_contain_text(text)
    press(page, "Show how to reproduce it")
    expect(page.locator(".ex-results pre").first).to_contain_text("make inpaint IMAGE=reports/explorer/0001/photo")
    with page.expect_download() as found:
        press(page, "Download ZIP")
    with zipfile.ZipFile(found.value.path()) as archive:
        assert archive.testzip() is None
        files = {Path(name).name: archive.read(name) for name in archive.namelist()}
    assert {"photo-0001.png", "mask.png", "result-1.png", "result-2.png", "latents.safetensors", "params.yaml"} <= set(
        files
    )
    assert np.array_equal(pixels(files["mask.png"]) > 0, mask)
    changed = (pixels(files["result-1.png"]) != pixels(files["photo-0001.png"])).any(axis=2)
    assert changed.any() and not (changed & ~mask).any()
    assert saved(root, left)
    return left


def is_as_it_was(page, mask: np.ndarray) -> None:
    covers(page, mask)
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a smiling woman")
    expect(page.get_by_label("Steps", exact=True)).to_have_value("5000")
    expect(page.get_by_label("Result", exact=True)).to_contain_text("1: a smiling woman (2 samples")
    expect(page.locator(".ex-results")).to_contain_text("Sample 2")


def test_a_mask_is_painted_and_filled_in_jupyterlab(tab, root):
    page, _ = tab
    with served(lab(root), root, r"http://127\.0\.0\.1:\d+/lab") as address:
        open_in_lab(page, address)
        mask = fill_in_by_hand(page, root)
        open_in_lab(page, address)
        is_as_it_was(page, mask)
        cells = page.locator(".jp-Cell").count()
        page.locator(".ex-brush canvas").focus()
        page.keyboard.press("b")  # would insert a cell
        page.keyboard.press("Space")  # paints
        expect(page.get_by_role("button", name="Redo", exact=True)).to_be_disabled()
        expect(page.locator(".ex-app")).not_to_contain_text(f"The mask hides {100 * mask.mean():.1f} %")
        assert page.locator(".jp-Cell").count() == cells


def test_the_page_fills_and_survives_bad_input_and_a_reload(tab, root):
    page, _ = tab
    with served(["-m", "inpaintlib.explorer.server"], root, r"http://127\.0\.0\.1:\d+/\?token=\S+") as address:
        assert page.request.get(address.partition("?")[0]).url.partition("?")[0].endswith("/login"), "no token, no page"
        open_page(page, address)
        mask = fill_in_by_hand(page, root)
        page.reload()
        page.locator(".ex-brush canvas").wait_for()
        is_as_it_was(page, mask)
        looks_right(page)
        refuses_and_takes_files(page)
        keeps_what_is_typed(page, root)
        says_that_python_is_gone(page)
    assert "Traceback" not in (root / "server.log").read_text()


def refuses_and_takes_files(page) -> None:
    upload, name = page.get_by_label("Upload a photo", exact=True), "<img src=x onerror=alert(1)>.png"
    upload.set_input_files({"name": name, "mimeType": "image/png", "buffer": b"no picture"})
    says(page, re.escape(name))
    picture = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (2100, 2000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(picture, format="PNG", compress_level=0)
    assert len(picture.getvalue()) > 12_000_000
    upload.set_input_files({"name": name, "mimeType": "image/png", "buffer": picture.getvalue()})
    expect(page.locator(".ex-app")).to_contain_text(f"{name}, 2000 × 2100 pixels", timeout=PATIENCE)
    press(page, "Run")
    says(page, "The mask has no hole")


def keeps_what_is_typed(page, root: Path) -> None:
    page.get_by_label("Prompt", exact=True).fill("an old man")
    expect(page.locator(".ex-status [role=status]")).to_be_empty(timeout=PATIENCE)  # the fault before is past
    kept = root / "reports" / "explorer" / "last" / "settings.yaml"
    for _ in range(100):
        if "an old man" in kept.read_text():
            break
        time.sleep(0.1)
    page.reload()
    page.locator(".ex-brush canvas").wait_for()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("an old man")


def says_that_python_is_gone(page) -> None:
    kernels = [p for p in psutil.Process().children(recursive=True) if any("ipykernel" in arg for arg in p.cmdline())]
    assert kernels
    for kernel in kernels:
        kernel.kill()
    expect(page.get_by_role("alert")).to_contain_text("reports/explorer/", timeout=PATIENCE)
    icons = """all => all.map((e) => getComputedStyle(e, "::before").content).filter((text) => text !== "none")"""
    assert page.locator(".ex-app, .ex-app *").evaluate_all(icons) == []


# Inputs and buttons that are seen, but that nobody can name.
UNNAMED = """() => [...document.querySelectorAll(".ex-app input, .ex-app select, .ex-app button, .ex-app canvas")]
  .filter((e) => e.checkVisibility())
  .filter((e) => !(e.textContent.trim() || e.getAttribute("aria-label")))
  .filter((e) => ![...(e.labels ?? [])].some((label) => label.textContent.trim()))
  .map((e) => e.outerHTML)"""


def looks_right(page) -> None:
    """Nothing sticks out at any width, everything has a name, can be read, and shows that it has the focus."""
    press(page, "Show advanced settings")
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 1000})
        assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
        sides = page.locator(".ex-app :is(button, input, select, canvas, img, pre)").evaluate_all(
            "all => all.filter((e) => e.checkVisibility()).map((e) => e.getBoundingClientRect().right)"
        )
        assert max(sides) <= width and len(sides) > 60
    assert page.evaluate(UNNAMED) == []
    readable = ".ex-app :is(button:enabled:not([hidden]), label, p, h2, span, b):not(:empty)"
    faint = page.locator(readable).evaluate_all(
        f"all => all.filter((e) => e.checkVisibility() && ({CONTRAST})(e) < 4.5).map((e) => e.outerHTML)"
    )
    assert faint == []
    focused = set()
    page.get_by_label("Prompt", exact=True).focus()
    for _ in range(20):
        page.keyboard.press("Tab")
        name, style = page.evaluate(
            "[document.activeElement].map((e) => [e.textContent || e.type, getComputedStyle(e).outlineStyle])[0]"
        )
        assert style == "solid", name
        focused.add(name)
    assert {"Smiling", "More attributes", "Hide advanced settings"} <= focused
    page.get_by_role("button", name="Smiling: does not matter", exact=True).press("Enter")
    expect(page.get_by_role("button", name="Smiling: wanted", exact=True)).to_be_visible()
