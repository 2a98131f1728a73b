"""The explorer's widgets without a browser: what they send and show, and that no fault reaches the user as one."""

from __future__ import annotations

import io
import json
import socket
import time
import tomllib
import zipfile
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image
from traitlets import TraitError

from inpaintlib.checks import InpaintError
from inpaintlib.explorer import app as module
from inpaintlib.explorer import parts, server
from inpaintlib.explorer.app import App, explore
from inpaintlib.explorer.brush import SHOWN, STATIC, Brush
from inpaintlib.explorer.controller import Controller
from inpaintlib.explorer.events import Failed, Note, Preview
from inpaintlib.explorer.forms import COMMON, NUMBERS, Form
from inpaintlib.explorer.live import curve, time_left
from inpaintlib.explorer.results import Result
from inpaintlib.explorer.settings import Settings
from inpaintlib.study import project_root
from inpaintlib.weights import save_weights

from .tiny import tiny_generator

R = 16
EVIL = "<img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, tiny_generator(R), dtype=torch.float32, alignment="celeba")
    return str(path)


@pytest.fixture
def app(tmp_path, weights):
    app = App(tmp_path, generator=weights)
    app.controller.threads = 1
    for name, value in {"samples": 2, "steps": 3, "lpips_weight": 0.0}.items():
        app.form.fields[name].value = value
    yield app
    app.close(30)


def tell(widget, content, *buffers):
    """What a message from the browser does."""
    widget._handle_custom_msg(content, [memoryview(b) for b in buffers])


def draw(brush, top, left, height, width, *, erase=False, id="a", cells=None, shape=None):
    content = {"kind": "stroke", "id": id, "erase": erase, "shape": shape or [brush.height, brush.width],
               "top": top, "left": left, "height": height, "width": width}  # fmt: skip
    tell(brush, content, bytes([1] * height * width) if cells is None else cells)


def finish(app):
    assert app.controller.wait(60)
    app.drain()


def picture(height=20, width=24, **options) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, format="PNG", **options)
    return buffer.getvalue()


def send_file(widget, name, content, piece=100):
    for at in range(0, len(content), piece):
        tell(
            widget,
            {"kind": "piece", "id": "f", "name": name, "at": at, "total": len(content)},
            content[at : at + piece],
        )


def sent_files(widget, monkeypatch):
    """Presses a download, and returns name -> content of what it sends."""
    found = {}
    monkeypatch.setattr(widget, "send", lambda content, buffers: found.update({content["name"]: bytes(buffers[0])}))
    tell(widget, {"kind": "wanted", "id": "1"})
    return found


# The page ---------------------------------------------------------------------------------------------


def test_run_alone_makes_a_result_and_the_gallery_shows_it(app, monkeypatch):
    assert "The mask hides" in app.coverage.value and app.run.disabled is False and app.stop.disabled is True
    app.run.click()
    assert app.run.disabled and not app.stop.disabled
    finish(app)
    assert app.status.text == "Result 1 is ready." and app.status.kind == "info"
    assert not app.run.disabled and app.stop.disabled
    assert [tile["title"] for tile in app.gallery.tiles.tiles] == ["Sample 1", "Sample 2"]
    assert app.gallery.tiles.tiles[0]["lines"][0].startswith("seed ") and app.gallery.spread.tiles
    assert app.gallery.which.options == (("1: no wish (2 samples, 3 steps)", 0),)
    assert app.live.drawn.tiles and app.live.filled.tiles and "<svg" in app.live.plot.value
    assert "make inpaint IMAGE=" in app.gallery.command.value
    tell(app.gallery.tiles, {"kind": "chosen", "place": 1})
    assert app.gallery.tiles.chosen == 1 and app.gallery.compare.title == "Photo and sample 2 of result 1"
    files = sent_files(app.gallery.png, monkeypatch) | sent_files(app.gallery.zip, monkeypatch)
    assert files["explorer-0001-2.png"] == app.controller.results[0].png(1)
    assert zipfile.ZipFile(io.BytesIO(files["explorer-0001.zip"])).testzip() is None
    app.gallery.reuse.click()
    assert "result 1, sample 2" in app.origin.value and app.controller.editor.coverage == 0


def test_the_page_goes_on_where_it_was_left(app, weights):
    app.form.fields["prompt"].value = "a smiling woman"
    app.form.chips.set_state({"wishes": "+Smiling,-Bald"})
    draw(app.brush, 0, 0, 3, 4)
    app.run.click()
    finish(app)
    app.close()
    later = App(app.controller.session.root, generator=weights)
    assert later.controller.restored and later.status.text == "Go on where you left off."
    assert np.array_equal(later.controller.editor.mask, app.controller.editor.mask)
    assert later.form.settings().prompt == "a smiling woman" and later.form.chips.wishes == "+Smiling,-Bald"
    titles = [line for tile in later.gallery.tiles.tiles for line in tile["lines"]]
    for start in ("+Smiling: ", "nearness to the prompt: "):
        assert any(line.startswith(start) for line in titles)
    later.close()


def test_a_second_run_is_refused_and_a_stop_keeps_the_best(app):
    app.form.fields["steps"].value = 5000
    app.run.click()
    app.desk.safe(app._run)()  # as from a page that has not heard yet; the button itself is off
    assert app.status.text == "A search is running; wait for its end, or stop it first." and app.status.kind == "error"
    while app._events.empty():  # until the first preview
        time.sleep(0.01)
    app.stop.click()
    finish(app)
    assert app.status.text.startswith("Result 1 is stopped after ")


@pytest.mark.parametrize(
    ("press", "sentence"), [("clear", "The mask has no hole"), ("invert", "The mask hides everything")]
)
def test_a_mask_without_hole_or_known_pixels_is_refused(app, press, sentence):
    app.clear.click()
    getattr(app, press).click()
    app.run.click()
    assert app.status.text.startswith(sentence) and app.status.kind == "error" and not app.run.disabled


def test_a_fault_is_shown_until_something_works(app, monkeypatch):
    app.clear.click()
    for act in (lambda: draw(app.brush, 2, 3, 4, 5), app.preset.click, lambda: app.gallery.choose(0)):
        app.clear.click()
        app.run.click()
        assert app.status.kind == "error"
        app.run.click()
        assert app.status.text.startswith("The mask has no hole"), "said again"
        tell(app.status, {"kind": "seen"})
        assert app.status.kind == "error", "to look is no act"
        app.desk.safe(act)()
        assert (app.status.text, app.status.kind) == ("", "info")


def test_wishes_that_were_not_run_are_kept_and_what_is_half_typed_is_not(app, weights):
    waiting, prompt = [], app.form.fields["prompt"]

    def call_later(seconds, call):
        waiting.append(call)
        return SimpleNamespace(cancel=lambda: waiting.remove(call))

    app._loop = SimpleNamespace(call_later=call_later)
    prompt.value = "a smi"
    prompt.value = "a smiling woman"
    app.form.chips.set_state({"wishes": "+Young"})
    assert len(waiting) == 1 and app.controller.settings.prompt == "", "not at each letter"
    waiting.pop()()
    assert app.controller.settings.prompt == "a smiling woman"
    app._saving = None
    prompt.value = "a" * 1001
    waiting.pop()()
    assert app.status.kind == "info"
    later = App(app.controller.session.root, generator=weights)
    assert later.form.fields["prompt"].value == "a smiling woman" and later.form.chips.wishes == "+Young"
    later.form.fields["prompt"].value = "a man"
    later.close()
    assert App(app.controller.session.root, generator=weights).form.fields["prompt"].value == "a man"


def test_a_search_of_an_earlier_page_is_told_and_its_result_is_shown(app, weights, monkeypatch):
    running = [1]
    monkeypatch.setattr(Controller, "others_running", lambda self: running[0], raising=False)
    later = App(app.controller.session.root, generator=weights)
    assert later.status.text.startswith("A search of an earlier page still runs")
    app.run.click()
    finish(app)
    running[0] = 0
    later._poll()
    assert later.status.text == "Result 1 of an earlier page is here." and len(later.gallery.tiles.tiles) == 2
    later._polling = True
    later._poll()
    assert later.status.text == "The search of an earlier page has ended." and not later._polling
    later.close()


def test_each_picture_of_a_result_is_read_once(app, monkeypatch):
    app.run.click()
    finish(app)
    read, picture = [], Result.picture
    monkeypatch.setattr(Result, "picture", lambda self, i, longest: read.append(i) or picture(self, i, longest))
    app.gallery.result = None
    app.gallery.show(app.controller.results)
    app.gallery.choose(1)
    assert read == [0, 1] and app.gallery.spread.tiles[0]["lines"][1].startswith("at most 0.")


def test_what_nobody_foresaw_is_one_sentence_and_a_log(app, monkeypatch):
    def fails(*args, **options):
        raise RuntimeError("secret <b>detail</b>")

    monkeypatch.setattr(Controller, "choose_generated", fails)
    app.random.click()
    assert app.status.kind == "error" and "Traceback" not in app.status.text and "log.txt" in app.status.text
    assert "RuntimeError" in (app.controller.session.folder / "log.txt").read_text()
    monkeypatch.setattr(Controller, "choose_generated", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    app.random.click()
    assert app.status.text == "Interrupted; nothing was lost."


def test_notes_stay_beside_what_follows_and_old_previews_are_dropped(app, monkeypatch):
    shown = []
    monkeypatch.setattr(app.live, "show", lambda event: shown.append(event.step))
    blank = [None] * 4
    for step in (1, 2, 3):
        app._told(Preview(step, 3, 1.0, *blank, {}, []))
    app._told(Note("Is it inverted?"))
    app._told(Failed("The search diverged."))
    app.drain()
    assert shown == [3] and app.status.text == "The search diverged. Is it inverted?"
    monkeypatch.setattr(app.live, "show", lambda event: 1 / 0)
    app._told(Preview(1, 3, 1.0, *blank, {}, []))
    app.drain()
    assert "ZeroDivisionError" in app.status.text


def test_running_the_cell_again_closes_the_earlier_explorer(tmp_path, weights):
    first = explore(tmp_path, generator=weights)
    second = explore(tmp_path, generator=weights)
    assert module._open == [second]
    with pytest.raises(InpaintError, match="the explorer is closed"):
        first.controller.run()
    module._open.remove(second)
    second.close()


def test_the_networks_of_runs_are_loaded_once_and_when_the_page_is_seen(app, monkeypatch):
    calls = []
    monkeypatch.setattr(Controller, "warm_up", lambda self: calls.append(1))
    tell(app.status, {"kind": "seen"})
    tell(app.status, {"kind": "seen"})
    assert calls == [1]


# The mask ---------------------------------------------------------------------------------------------


def shown_mask(brush) -> np.ndarray:
    bits = np.unpackbits(np.frombuffer(brush.mask, np.uint8), count=brush.height * brush.width)
    return bits.reshape(brush.height, brush.width).astype(bool)


def test_strokes_add_and_erase_and_can_be_undone(app):
    app.clear.click()
    draw(app.brush, 2, 3, 4, 5, id="1", cells=bytes([1, 0, 1, 0, 1] * 4))
    expected = np.zeros((R, R), bool)
    expected[2:6, [3, 5, 7]] = True
    assert np.array_equal(app.controller.editor.mask, expected) and np.array_equal(shown_mask(app.brush), expected)
    assert app.brush.done == "1" and f"{100 * expected.mean():.1f} %" in app.coverage.value
    draw(app.brush, 0, 0, R, 4, erase=True, id="2")
    assert app.controller.editor.mask.sum() == 8
    tell(app.brush, {"kind": "undo"})
    assert np.array_equal(shown_mask(app.brush), expected) and not app.redo.disabled
    app.redo.click()
    assert app.controller.editor.mask.sum() == 8 and app.redo.disabled
    app.invert.click()
    assert shown_mask(app.brush).sum() == R * R - 8


def test_a_stroke_on_another_photo_or_of_wrong_size_changes_nothing_and_is_answered(app):
    before = app.controller.editor.mask
    draw(app.brush, 0, 0, 2, 2, id="other photo", shape=[64, 64])
    assert app.brush.done == "other photo" and app.status.kind == "info"
    for k, (box, cells) in enumerate([((0, 0, 2, 2), b"123"), ((R - 1, 0, 2, 2), None), ((-1, 0, 2, 2), None)]):
        draw(app.brush, *box, id=str(k), cells=cells)
        assert app.brush.done == str(k) and app.status.kind == "error"
    assert app.controller.editor.mask is before


def test_a_large_photo_is_shown_smaller_and_its_mask_keeps_what_no_stroke_touches():
    strokes = []
    brush = Brush(lambda painted, erase: strokes.append(painted), lambda: None, lambda: None)
    height, width = 2 * SHOWN, SHOWN
    mask = np.zeros((height, width), bool)
    mask[101, 100] = mask[0, 0] = mask[1000:1200, 300:400] = True
    brush.show(np.zeros((height, width, 3), np.uint8), mask, "a photo")
    assert (brush.height, brush.width) == (SHOWN, SHOWN // 2) and len(brush.mask) == SHOWN * SHOWN // 16
    assert np.array_equal(shown_mask(brush), mask[1::2, 1::2])
    draw(brush, 10, 20, 3, 4)
    expected = np.zeros_like(mask)
    expected[20:26, 40:48] = True
    assert np.array_equal(strokes[0], expected)


def test_presets_and_files_of_masks(app, monkeypatch):
    app.family.value, app.percent.value = "left", 50
    app.preset.click()
    left = np.zeros((R, R), bool)
    left[:, : R // 2] = True
    assert np.array_equal(app.controller.editor.mask, left)
    saved = sent_files(app.save, monkeypatch)["mask.png"]
    app.clear.click()
    send_file(app.load, "mask.png", saved, piece=20)
    assert np.array_equal(app.controller.editor.mask, left) and app.status.text == "The mask of “mask.png” is here."
    send_file(app.load, "mask.png", picture())
    assert "must be 16 x 16 pixels" in app.status.text and app.status.kind == "error"


# Photos and files -------------------------------------------------------------------------------------


def test_faces_are_chosen_and_drawn_anew(app):
    assert [tile["title"] for tile in app.faces.tiles] == [f"Seed {i}" for i in range(6)] and app.faces.chosen == 0
    app.other.click()
    tell(app.faces, {"kind": "chosen", "place": 2})
    assert app.controller.origin == "generated face, seed 8" and "seed 8" in app.origin.value and app.faces.chosen == 2
    tell(app.faces, {"kind": "chosen", "place": 6})
    assert app.controller.origin == "generated face, seed 8"
    app.other.click()
    assert app.faces.chosen == -1
    app.random.click()
    assert app.controller.origin != "generated face, seed 8" and app.faces.chosen == -1


def test_an_upload_comes_in_pieces_and_its_name_is_text(app):
    send_file(app.upload, EVIL, picture())
    assert EVIL in app.status.text and "&lt;img src=x" in app.origin.value and "<img" not in app.origin.value
    assert (app.brush.height, app.brush.width) == (20, 24) and app.brush.title == EVIL
    send_file(app.upload, EVIL, b"no picture")
    assert app.status.kind == "error" and EVIL in app.status.text and app.controller.photo.shape[2:] == (20, 24)
    send_file(app.upload, "bomb.png", b"no picture")
    assert app.status.text.startswith("“bomb.png” must be a PNG")
    tell(app.upload, {"kind": "piece", "id": "1", "name": "a.png", "at": 0, "total": "a lot"}, b"")
    assert "by an error that nobody foresaw" in app.status.text


def test_uploads_that_are_empty_huge_lost_or_overtaken():
    got, refused = {}, []
    upload = parts.Upload("Upload", "", lambda name, content: got.update({name: content}), refused.append)
    about = {"kind": "piece", "id": "1", "name": "a.png", "at": 0}
    tell(upload, about | {"total": 0}, b"")
    tell(upload, about | {"total": upload.most + 1}, b"")
    tell(upload, {"kind": "lost", "id": "1", "name": "../b.png"})
    assert [text.split()[0] for text in refused] == ["“a.png”", "“a.png”", "“b.png”"] and got == {}
    tell(upload, about | {"total": 4}, b"12")
    tell(upload, about | {"total": 4, "id": "2", "name": "c.png"}, b"56")
    tell(upload, about | {"total": 4, "at": 2}, b"34")
    tell(upload, about | {"total": 4, "id": "2", "name": "c.png", "at": 2}, b"78")
    assert got == {"c.png": b"5678"}


def test_a_prompt_is_text_wherever_it_is_shown(app):
    app.form.fields["prompt"].value = "a <smiling> woman"
    app.run.click()
    finish(app)
    assert app.status.text == "Result 1 is ready."
    assert "<smiling>" not in app.gallery.command.value and "a &lt;smiling&gt; woman" in app.gallery.command.value


# The form and the panels ------------------------------------------------------------------------------


def test_the_form_keeps_the_defaults_and_what_it_does_not_show():
    form = Form()
    form.show(Settings())
    assert form.settings() == Settings()
    form.show(Settings(clip_form="cosine", profile="x", samples=3))
    assert form.settings().samples == 3 and form.settings().profile == "x"
    assert set(COMMON) <= set(form.chips.names) and len(form.chips.names) == 40


def test_every_number_of_the_form_can_be_used():
    form = Form()
    form.show(Settings())
    for end in ("min", "max"):
        for name in NUMBERS:
            form.fields[name].value = getattr(form.fields[name], end)
        form.settings()


def test_the_form_names_what_cannot_be_used(app):
    app.form.fields["prompt"].value = "a" * 1001
    app.run.click()
    assert app.status.text.startswith("Prompt must have at most 1000 characters")
    app.form.fields["prompt"].value = ""
    app.form.chips.wishes = "+Smilling"
    app.run.click()
    assert app.status.kind == "error" and "Smilling" in app.status.text


def test_a_curve_is_drawn_of_whatever_the_losses_are():
    svg = curve({"objective": [3.0, float("nan"), 1.0], "mse": [1.0, 1.0, 0.5], "best": [3.0, 3.0, 1.0]})
    assert svg.count("<polyline") == 2 and "nan" not in svg and "mse 0.5" in svg
    assert curve({"objective": [2.0], "best": [2.0]}).count("0.0,0.0") == 2
    assert "wishes begin" not in svg and "mse" in svg
    late = {"objective": [3.0, 2.0, 4.0], "mse": [3.0, 2.0, 2.0], "clip": [float("nan")] * 2 + [1.0], "best": [3.0] * 3}
    assert '<line class="ex-begin" x1="320.0"' in curve(late) and "clip 1<" in curve(late)
    early = curve({name: values[:2] for name, values in late.items()})
    assert "wishes begin" not in early and "clip" not in early
    assert len(curve({"objective": [1.0] * 5000, "best": [1.0] * 5000})) < 10_000
    assert [time_left(x) for x in (0.2, 8.4, 200)] == ["nearly done", "about 8 s left", "about 3 min left"]


def test_folded_content_is_shown_and_hidden():
    inner = parts.text()
    folded = parts.fold("more", "", inner)
    toggle = folded.children[0].children[0]
    assert inner.layout.display == "none" and toggle.description == "Show more"
    toggle.value = True
    assert inner.layout.display == "" and toggle.description == "Hide more"


def test_every_button_says_what_it_does(app):
    found, todo = [], [app.page]
    while todo:
        widget = todo.pop()
        todo += getattr(widget, "children", ())
        if hasattr(widget, "on_click") or isinstance(widget, (parts.Upload, parts.Download)):
            found.append(widget)
            assert getattr(widget, "description", "") or widget.label
            assert getattr(widget, "hint", "") or widget.tooltip
    assert len(found) == 15


def test_bytes_from_a_browser_need_no_trait():
    """A Bytes trait refuses the memoryview that a browser's bytes are, so none is set from there."""
    for name in ("brush", "tiles", "compare", "download", "upload", "status"):
        assert "save_changes" not in (STATIC / f"{name}.js").read_text()
    with pytest.raises(TraitError):
        Brush(None, None, None).set_state({"mask": memoryview(b"1")})


def test_the_screenshot_of_the_readme_is_small():
    assert (project_root() / "reports" / "readme" / "explorer.png").stat().st_size < 300_000


def test_the_scripts_are_part_of_the_package():
    data = tomllib.loads((project_root() / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert "explorer/static/*" in data["inpaintlib"]
    assert {path.name for path in STATIC.iterdir()} >= {"brush.js", "explorer.css"}


# The server -------------------------------------------------------------------------------------------


def kernels(*living, ended):
    manager = SimpleNamespace(list_kernels=lambda: list(living), shutdown_kernel=ended.append)
    return SimpleNamespace(kernel_manager=manager, set_status=lambda code: None)


def kernel(id, connections, moment="2020-01-01T00:00:00.000000Z"):
    return {"id": id, "connections": connections, "last_activity": moment}


def test_a_visit_too_many_ends_a_kernel_without_a_page_or_is_asked_to_wait(monkeypatch):
    ended, notebook = (
        [],
        nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}}),
    )
    loop = SimpleNamespace(add_callback=lambda call, *args: call(*args))
    monkeypatch.setattr(server.tornado.ioloop.IOLoop, "current", lambda: loop)
    three = [kernel(str(i), 1) for i in range(server.MOST - 1)]
    assert server.admit(kernels(*three, ended=ended), notebook, "") is notebook
    young = kernel("young", 0, "2999-01-01T00:00:00Z")
    with pytest.raises(server.tornado.web.Finish, match="<h1>The explorer is full</h1>"):
        server.admit(kernels(*three, young, ended=ended), notebook, "")
    assert server.admit(kernels(*three, kernel("old", 0), ended=ended), notebook, "") is notebook
    assert ended == ["old"]


def test_the_server_listens_on_this_machine_alone_and_culls():
    settings = server.configuration(1234, "secret")
    assert settings["Voila"]["ip"] == "127.0.0.1" and settings["Voila"]["token"] == "secret"
    assert settings["MappingKernelManager"] == {"cull_idle_timeout": 600, "cull_interval": 60, "cull_connected": False}
    assert settings["VoilaConfiguration"]["preheat_kernel"] is False
    assert json.dumps(settings["VoilaConfiguration"]["extension_allowlist"]).count("@") == 2


def test_a_port_that_is_taken_is_one_sentence(capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert server.main(["--port", str(port)]) == 1
    assert capsys.readouterr().err == f"error: port {port} is taken; name a free one by --port\n"


def test_a_project_without_the_notebook_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("INPAINTLIB_ROOT", str(tmp_path))
    assert server.main([]) == 1
    assert "explorer.ipynb is missing" in capsys.readouterr().err
