"""The explorer without a browser: its states, its refusals, and what it does when something goes wrong."""

from __future__ import annotations

import io
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inpaintlib.alignment import Face
from inpaintlib.checks import InpaintError
from inpaintlib.explorer import canvas, filling, pictures, previews
from inpaintlib.explorer.controller import Controller
from inpaintlib.explorer.events import Failed, Finished, Note, Preview, StateChanged
from inpaintlib.explorer.session import Session
from inpaintlib.explorer.settings import Settings
from inpaintlib.images import from_uint8, read_image
from inpaintlib.weights import save_weights

from .tiny import tiny_generator

FEW = Settings(samples=2, steps=4, lpips_weight=0.0)
R = 16


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, tiny_generator(R), dtype=torch.float32, alignment="celeba")
    return str(path)


class Watcher:
    """Collects events; holds the worker at the first preview until ``go`` is set."""

    def __init__(self):
        self.events, self.go, self.previewed = [], threading.Event(), threading.Event()
        self.go.set()

    def __call__(self, event):
        self.events.append(event)
        if isinstance(event, Preview):
            self.previewed.set()
            assert self.go.wait(30)

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    def hold(self):
        self.go.clear()
        self.previewed.clear()

    @property
    def states(self):
        return [event.state for event in self.of(StateChanged)]


@pytest.fixture
def watcher():
    return Watcher()


@pytest.fixture
def explorer(tmp_path, weights, watcher):
    controller = Controller(tmp_path, generator=weights, notify=watcher, threads=1)
    controller.editor.rectangle(4, 4, 12, 12)
    yield controller
    watcher.go.set()
    controller.close()


def finished(explorer, settings=FEW):
    explorer.run(settings)
    assert explorer.wait(60)
    return explorer.results[0]


def photo_bytes(height=20, width=30, kind="PNG", **options) -> bytes:
    levels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, kind, **options)
    return buffer.getvalue()


# A run ------------------------------------------------------------------------------------------------


def test_a_run_goes_from_idle_through_previews_to_a_result(explorer, watcher):
    assert explorer.state == "idle" and explorer.results == []
    explorer.run(FEW)
    assert explorer.wait(60)
    assert watcher.states == ["running", "idle"] and explorer.state == "idle"
    kinds = [type(event) for event in watcher.events]
    assert kinds.index(Preview) < kinds.index(Finished) < len(kinds) - 1
    assert not watcher.of(Failed) and not watcher.of(Note)
    (event,) = watcher.of(Finished)
    assert explorer.results == [event.result] and event.result.stopped == "finished" and event.result.steps == 4


def test_previews_show_target_picture_and_composite_and_the_losses_so_far(explorer, watcher, monkeypatch):
    monkeypatch.setattr(previews, "EVERY", 0.0)
    finished(explorer)
    shown = watcher.of(Preview)
    assert [p.step for p in shown] == [1, 2, 3, 4] and {p.steps for p in shown} == {4}
    assert shown[-1].seconds_left == 0 and shown[0].seconds_left > 0
    for p in shown:
        assert p.image.shape == (2, 3, R, R) and p.target.shape == (1, 3, R, R) and p.seeds == [0, 1]
        assert p.image.abs().max() <= 1
        hole = (p.mask == 1).expand_as(p.image)
        assert torch.equal(p.composite[hole], p.image[hole])
        assert torch.equal(p.composite[~hole], p.target.expand_as(p.image)[~hole])
        assert set(p.losses) == {"objective", "mse", "best"} and len(p.losses["mse"]) == p.step
    assert not torch.equal(shown[0].image, shown[-1].image)
    best = shown[-1].losses["best"]
    assert best == sorted(best, reverse=True)


def test_previews_are_not_more_than_a_screen_can_use(explorer, watcher, monkeypatch):
    monkeypatch.setattr(previews, "EVERY", 1000.0)
    finished(explorer, FEW.model_copy(update={"steps": 9}))
    assert [p.step for p in watcher.of(Preview)] == [1, 9], "the first and the last"


def test_samples_of_a_large_generator_are_searched_one_after_another_and_counted_together(
    explorer, watcher, monkeypatch
):
    monkeypatch.setattr(previews, "EVERY", 0.0)
    monkeypatch.setattr(previews, "at_once", lambda size, most: 2)
    monkeypatch.setattr("inpaintlib.own.at_once", lambda size, most: 2)
    result = finished(explorer, FEW.model_copy(update={"samples": 3, "steps": 2}))
    assert [(p.step, p.steps, p.seeds) for p in watcher.of(Preview)] == [
        (1, 4, [0, 1]), (2, 4, [0, 1]), (3, 4, [2]), (4, 4, [2])]  # fmt: skip
    assert sorted(result.scores["seed"]) == [0, 1, 2]


def test_a_second_run_is_refused_while_one_runs_and_the_first_goes_on(explorer, watcher):
    watcher.hold()
    explorer.run(FEW)
    assert watcher.previewed.wait(30)
    with pytest.raises(InpaintError, match="a search is running"):
        explorer.run(FEW)
    assert explorer.state == "running"
    watcher.go.set()
    assert explorer.wait(60) and len(explorer.results) == 1
    finished(explorer)
    assert [r.number for r in explorer.results] == [2, 1]


def test_what_is_changed_while_it_runs_does_not_change_the_run(explorer, watcher):
    mask, photo = explorer.editor.mask, explorer.photo
    watcher.hold()
    explorer.run(FEW)
    assert watcher.previewed.wait(30)
    explorer.editor.clear()
    explorer.choose_generated(7)
    watcher.go.set()
    assert explorer.wait(60)
    result = explorer.results[0]
    assert np.array_equal(result.mask, mask)
    assert torch.equal(from_uint8(result.photo()[None].copy()), photo)
    assert not torch.equal(explorer.photo, photo) and explorer.editor.coverage == 0


# Stop -------------------------------------------------------------------------------------------------


def test_stop_keeps_the_best_so_far(explorer, watcher):
    watcher.hold()
    explorer.run(FEW.model_copy(update={"steps": 1000}))
    assert watcher.previewed.wait(30)
    explorer.stop()
    explorer.stop()
    assert explorer.state == "stopping"
    with pytest.raises(InpaintError, match="a search is running"):
        explorer.run(FEW)
    watcher.go.set()
    assert explorer.wait(60)
    assert watcher.states == ["running", "stopping", "idle"]
    result = explorer.results[0]
    assert result.stopped == "stopped" and result.steps < 1000 and result.samples == 2
    assert f"# Stopped after {result.steps} of 1000 steps" in result.command
    explorer.stop()
    assert explorer.state == "idle", "with nothing running it does nothing"
    assert finished(explorer).stopped == "finished", "an old stop does not end a new run"


def test_stop_leaves_out_samples_that_had_not_begun(explorer, watcher, monkeypatch):
    monkeypatch.setattr("inpaintlib.own.at_once", lambda size, most: 1)
    watcher.hold()
    explorer.run(FEW)
    assert watcher.previewed.wait(30)
    explorer.stop()
    watcher.go.set()
    assert explorer.wait(60)
    assert explorer.results[0].samples == 1 and explorer.results[0].steps <= 2


def test_stop_before_the_first_step_keeps_nothing_and_says_so(explorer, watcher, monkeypatch):
    framed, entered, go = filling.frame, threading.Event(), threading.Event()

    def slow(*args):
        entered.set()
        assert go.wait(30)
        return framed(*args)

    monkeypatch.setattr(filling, "frame", slow)
    explorer.run(FEW)
    assert entered.wait(30)
    explorer.stop()
    go.set()
    assert explorer.wait(60)
    assert watcher.of(Failed) == [Failed("Stopped before the first step, so there is nothing to keep.")]
    assert watcher.states == ["running", "stopping", "idle"] and explorer.results == []
    assert not [p for p in explorer.session.folder.iterdir() if p.name.startswith(".")], "no half folder is left"


def test_close_while_it_runs_keeps_the_best_so_far(explorer, watcher, tmp_path, weights):
    explorer.run(FEW.model_copy(update={"steps": 5000}))
    assert watcher.previewed.wait(30)
    explorer.close(60)
    assert explorer.state == "idle" and explorer.results[0].stopped == "stopped"
    with pytest.raises(InpaintError, match="closed"):
        explorer.run(FEW)
    explorer.close()
    assert [r.number for r in Controller(tmp_path, generator=weights).results] == [1]


# Refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda e: e.editor.clear(), "the mask has no hole"),
        (lambda e: e.editor.replace(np.ones((R, R))), "the mask hides everything"),
    ],
)
def test_a_mask_without_hole_or_known_pixels_is_refused_and_stays(explorer, watcher, change, said):
    change(explorer)
    before = explorer.editor.mask
    with pytest.raises(InpaintError, match=said):
        explorer.run(FEW)
    assert explorer.state == "idle" and watcher.states == [] and explorer.editor.mask is before


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"prompt": "a smiling wombat"}, "wombat"),
        ({"prompt": "!?"}, "prompt must be a sentence with words"),
        ({"attributes": "+Smilling"}, "got 'Smilling'; nearest: Smiling"),
        ({"attributes": "+Smiling,-Smiling"}, "contradicts"),
        ({"attributes": ","}, "attributes must be names with signs"),
        ({"attributes": "+Smiling", "classifier_network": "attributes-judge"}, "attributes-judge"),
        ({"prompt": "a woman", "clip_network": "<script>"}, "<script>"),
        ({"mse_weight": 0.0}, "must not both be 0"),
    ],
)
def test_what_no_network_knows_is_refused_before_anything_runs(explorer, watcher, wish, said):
    with pytest.raises(InpaintError, match=said):
        explorer.run(FEW.model_copy(update=wish))
    assert explorer.state == "idle" and watcher.events == []
    finished(explorer)


@pytest.mark.parametrize("seed", [-1, 2**31, 1.5, True, "1"])
def test_a_seed_that_is_none_is_refused(explorer, seed):
    before = explorer.photo
    with pytest.raises(InpaintError, match="the face's seed"):
        explorer.choose_generated(seed)
    assert explorer.photo is before


def test_a_mask_that_hides_most_is_remarked_on(explorer, watcher):
    explorer.editor.invert()
    finished(explorer)
    assert [note.sentence for note in watcher.of(Note)] == ["The mask hides 75% of the picture. Is it inverted?"]


# What goes wrong while it runs --------------------------------------------------------------------------


def test_a_hole_where_the_generator_draws_nothing_is_a_failure_in_one_sentence(explorer, watcher):
    explorer.upload("wide.png", photo_bytes(20, 40))
    explorer.editor.rectangle(0, 0, 5, 5)
    explorer.run(FEW)
    assert explorer.wait(60)
    (failed,) = watcher.of(Failed)
    assert "beyond the picture's centred square" in failed.sentence and "\n" not in failed.sentence
    assert explorer.state == "idle" and explorer.editor.coverage > 0


def test_several_faces_with_a_hole_are_filled_one_at_a_time(explorer, watcher, monkeypatch):
    faces = [Face((20.0, 20.0), (34.0, 20.0)), Face((90.0, 20.0), (104.0, 20.0))]
    monkeypatch.setattr("inpaintlib.framing.find_faces", lambda photo, hole: faces)
    explorer.upload("two.png", photo_bytes(60, 130))
    explorer.editor.rectangle(30, 22, 38, 32)
    aligned = FEW.model_copy(update={"crop": "aligned"})
    assert finished(explorer, aligned).samples == 2
    explorer.editor.rectangle(30, 92, 38, 102)
    explorer.run(aligned)
    assert explorer.wait(60)
    assert "parts of 2 faces; hide one at a time" in watcher.of(Failed)[0].sentence


def test_a_search_that_breaks_down_keeps_what_was_best_before(explorer, watcher):
    result = finished(explorer, FEW.model_copy(update={"steps": 50, "learning_rate": 1e37, "last_rate": 1.0}))
    (note,) = watcher.of(Note)
    assert "its objective is no number any more" in note.sentence and "lower learning_rate (1e+37)" in note.sentence
    assert result.steps < 50 and np.isfinite(result.scores["objective"]).all()
    assert all(torch.isfinite(p.image).all() for p in watcher.of(Preview))


def test_a_search_that_never_was_a_number_fails_in_one_sentence(explorer, watcher):
    weight = explorer.generator.synthesis.blocks[-1].torgb.weight
    before = weight.clone()
    weight.data.fill_(float("nan"))
    explorer.run(FEW)
    assert explorer.wait(60)
    weight.data.copy_(before)
    (failed,) = watcher.of(Failed)
    assert "was never finite" in failed.sentence and failed.sentence.endswith(".")
    finished(explorer)


def test_an_error_of_ours_is_a_sentence_and_its_traceback_goes_to_a_log(explorer, watcher, monkeypatch):
    def broken(*args, **options):
        raise ZeroDivisionError("line one\nline two")

    with monkeypatch.context() as patch:
        patch.setattr("inpaintlib.own.search", broken)
        explorer.run(FEW)
        assert explorer.wait(60)
    (failed,) = watcher.of(Failed)
    log = explorer.session.folder / "log.txt"
    assert "ZeroDivisionError: line one line two" in failed.sentence and str(log) in failed.sentence
    assert "Traceback" not in failed.sentence and "Traceback" in log.read_text()
    assert watcher.states == ["running", "idle"]
    finished(explorer)


def test_a_fault_of_the_view_ends_no_search(explorer):
    def broken(event):
        raise RuntimeError("no view")

    explorer.notify = broken
    assert finished(explorer).stopped == "finished"
    assert "no view" in (explorer.session.folder / "log.txt").read_text()


def test_a_full_disk_loses_no_result(explorer, watcher, monkeypatch):
    def full(self):
        raise InpaintError("x cannot be written: No space left on device")

    monkeypatch.setattr("inpaintlib.explorer.session.Draft.finish", full)
    result = finished(explorer)
    (note,) = watcher.of(Note)
    assert "could not be saved; download it" in note.sentence and "No space left" in note.sentence
    assert result.folder is None and result.picture(1).shape == (R, R, 3) and result.spread().max() > 0


def test_judges_that_cannot_read_the_wish_cost_no_result(explorer, watcher, monkeypatch):
    def silent(*args):
        raise InpaintError("the judge has lost its glasses")

    monkeypatch.setattr("inpaintlib.own.wish_scores", silent)
    result = finished(explorer)
    assert list(result.scores) == ["sample", "seed", "objective", "known_mse", "known_lpips"]
    assert watcher.of(Note) == [Note("The wishes are not judged: the judge has lost its glasses")]


# Photos -----------------------------------------------------------------------------------------------


def test_a_generated_face_keeps_the_mask_and_its_past(explorer):
    before, edited = explorer.editor.mask, explorer.editor
    explorer.choose_generated(5)
    assert explorer.editor is edited and edited.mask is before
    assert torch.equal(explorer.photo, explorer.generated([5]))
    assert explorer.generated([3, 5]).shape == (2, 3, R, R) and explorer.origin == "generated face, seed 5"


def test_an_upload_is_shown_upright_with_an_empty_mask(explorer):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    explorer.upload("C:\\me\\<b>face</b>.jpg", photo_bytes(20, 30, "JPEG", exif=exif))
    assert explorer.photo.shape == (1, 3, 30, 20) and explorer.editor.mask.shape == (30, 20)
    assert explorer.editor.coverage == 0 and explorer.origin == "b>.jpg"
    explorer.editor.rectangle(12, 5, 18, 15)
    result = finished(explorer)
    known = ~result.mask
    assert result.picture(0).shape == (30, 20, 3)
    assert np.array_equal(result.picture(0)[known], result.photo()[known])
    assert not np.array_equal(result.picture(0)[~known], result.photo()[~known])


def test_an_upload_of_more_than_ten_megabytes_is_taken(explorer):
    content = photo_bytes(1900, 2000)
    assert len(content) > 10_000_000
    explorer.upload("large.png", content)
    assert explorer.photo.shape == (1, 3, 1900, 2000)
    explorer.editor.preset("box", 0.2)
    explorer.editor.undo()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "my face.png must be a picture file; it is empty"),
        (b"GIF89a", "my face.png must be a PNG, JPEG, WebP, BMP or TIFF picture"),
        (photo_bytes()[:200], "my face.png cannot be decoded"),
        (b"<html>", "it is none of them"),
    ],
)
def test_an_upload_that_is_no_picture_is_refused_by_its_name(explorer, content, said):
    before = explorer.photo
    with pytest.raises(InpaintError, match=said) as caught:
        explorer.upload("../my face.png", content)
    assert explorer.photo is before and explorer.editor.coverage > 0
    assert "tmp" not in str(caught.value)


def test_a_huge_upload_is_refused(explorer, monkeypatch):
    buffer = io.BytesIO()
    Image.new("1", (9000, 9000)).save(buffer, "PNG")
    with pytest.raises(InpaintError, match="bomb.png must have at most 64 million pixels"):
        explorer.upload("bomb.png", buffer.getvalue())
    monkeypatch.setattr(pictures, "MOST_BYTES", 10)
    with pytest.raises(InpaintError, match="a.png must have at most 0 MB"):
        explorer.upload("a.png", photo_bytes())


@pytest.mark.parametrize(
    ("name", "shown"), [("", "the file"), ("a\x00\n\u202eb.png", "ab.png"), ("x" * 500, "x" * 80), ("/", "the file")]
)
def test_a_files_name_fits_into_a_sentence(name, shown):
    assert pictures.clean_name(name) == shown


def test_a_completion_is_the_next_start(explorer):
    result = finished(explorer)
    explorer.use_as_start(result, 1)
    assert explorer.origin == "result 1, sample 2" and explorer.editor.coverage == 0
    assert torch.equal(explorer.photo, from_uint8(result.picture(1)[None].copy()))
    explorer.editor.undo()
    assert np.array_equal(explorer.editor.mask, result.mask), "its mask is one step away"
    with pytest.raises(InpaintError, match="sample must be between 0 and 1"):
        explorer.use_as_start(result, 2)


def test_a_preset_lies_where_the_face_is_given(explorer):
    explorer.upload("a.png", photo_bytes(60, 80))
    explorer.preset("mouth", 0.1, settings=Settings(crop="aligned", eyes="30,20,44,20"))
    rows, columns = np.nonzero(explorer.editor.mask)
    assert abs(columns.mean() - 37) < 1 and 30 < rows.mean() < 40
    with pytest.raises(InpaintError, match="no face with two visible eyes"):
        explorer.preset("mouth", 0.1, settings=Settings(crop="aligned"))


# The last state ---------------------------------------------------------------------------------------


def test_reopening_gives_photo_mask_settings_and_results(explorer, tmp_path, weights):
    assert not explorer.restored
    explorer.upload("me.png", photo_bytes())
    explorer.editor.rectangle(5, 10, 12, 20)
    finished(explorer, FEW.model_copy(update={"seed": 9}))
    explorer.editor.rectangle(0, 0, 3, 3)
    explorer.close()
    again = Controller(tmp_path, generator=weights)
    assert again.restored and again.origin == "me.png" and again.settings.seed == 9
    assert torch.equal(again.photo, explorer.photo) and np.array_equal(again.editor.mask, explorer.editor.mask)
    assert [r.number for r in again.results] == [1]
    assert torch.equal(read_image(tmp_path / "reports/explorer/last/photo.png"), explorer.photo)
    again.close()


def test_a_stroke_is_kept_soon_without_a_close(explorer, tmp_path, weights, monkeypatch):
    saved = threading.Event()
    keep = explorer.session.keep_mask
    explorer.canvas.save()
    monkeypatch.setattr(canvas, "SAVE_AFTER", 0.01)
    monkeypatch.setattr(explorer.session, "keep_mask", lambda mask: (keep(mask), saved.set()))
    explorer.editor.rectangle(0, 0, 2, 2)
    assert saved.wait(10)
    again = Controller(tmp_path, generator=weights)
    assert np.array_equal(again.editor.mask, explorer.editor.mask)
    again.close()


def painted(explorer, *box):
    explorer.editor.clear()
    explorer.editor.rectangle(*box)
    return explorer.editor.mask


def test_an_older_page_that_ends_does_not_touch_what_a_newer_one_has_kept(explorer, tmp_path, weights):
    explorer.canvas.save()
    newer = Controller(tmp_path, generator=weights)
    mask = painted(newer, 1, 1, 5, 5)
    newer.canvas.save()
    explorer.close()
    assert np.array_equal(Session(tmp_path).restore().mask, mask)
    painted(explorer, 8, 8, 9, 9)  # not yet saved
    explorer.close()
    assert np.array_equal(Session(tmp_path).restore().mask, mask)
    newer.close()


def test_what_was_just_painted_is_kept_by_close_also_after_a_restart(explorer, tmp_path, weights):
    explorer.close()
    again = Controller(tmp_path, generator=weights)
    mask = painted(again, 1, 1, 5, 5)
    again.close()
    assert np.array_equal(Session(tmp_path).restore().mask, mask)


def test_opening_a_page_changes_nothing_on_the_disk(explorer, tmp_path, weights, monkeypatch):
    explorer.canvas.save()
    monkeypatch.setattr(canvas, "SAVE_AFTER", 0.0)
    again = Controller(tmp_path, generator=weights)
    assert again.canvas._timer is None
    again.close()
    assert explorer.session.owns


def test_two_pages_keep_photo_and_mask_of_one_of_them(explorer, tmp_path, weights):
    other = Controller(tmp_path, generator=weights)
    other.choose_generated(5)
    theirs = painted(other, 1, 1, 5, 5)
    other.canvas.save()
    mine = painted(explorer, 8, 8, 9, 9)
    for page, mask in ((explorer, mine), (other, theirs)):
        page.canvas.save()
        last = Session(tmp_path).restore()
        assert torch.equal(last.photo, page.photo) and last.origin == page.origin and np.array_equal(last.mask, mask)
    other.close()


def test_settings_are_kept_without_a_run_and_soon(explorer, tmp_path, weights):
    settings = Settings(prompt="a smiling woman", samples=2, steps=77, seed=3)
    began = time.perf_counter()
    for samples in range(1, 11):
        explorer.remember(settings.model_copy(update={"samples": samples}))
    assert time.perf_counter() - began < 1
    again = Controller(tmp_path, generator=weights)
    assert again.settings == settings.model_copy(update={"samples": 10, "generator": weights})
    again.close()


def test_a_search_of_another_page_is_told_of(explorer, watcher, tmp_path, weights):
    other = Controller(tmp_path, generator=weights)
    watcher.hold()
    explorer.run(FEW)
    assert watcher.previewed.wait(30)
    assert (explorer.others_running(), other.others_running()) == (0, 1)
    Controller(tmp_path, generator=weights).close()  # it removes nothing that is being written
    watcher.go.set()
    assert explorer.wait(60) and not watcher.of(Failed)
    assert other.others_running() == 0
    other.close()


def test_a_disk_that_takes_nothing_is_remarked_on(explorer, watcher, monkeypatch):
    def full(*args):
        raise InpaintError("mask.png cannot be written: Read-only file system")

    monkeypatch.setattr(explorer.session, "keep_mask", full)
    explorer.choose_generated(3)
    assert "Read-only" in watcher.of(Note)[0].sentence


def test_results_of_another_page_are_found(explorer, tmp_path, weights):
    other = Controller(tmp_path, generator=weights)
    first, second = finished(explorer), finished(explorer)
    other.refresh()
    other.refresh()
    assert [r.number for r in other.results] == [second.number, first.number] == [2, 1]
    other.close()


def test_a_generator_of_ones_own_is_named_by_its_whole_path(tmp_path, weights, monkeypatch):
    monkeypatch.chdir(Path(weights).parent)
    explorer = Controller(tmp_path, generator=Path(weights).name)
    assert explorer.generator_name == explorer.settings.generator == weights
    explorer.close()


def test_warming_up_changes_nothing(explorer, watcher):
    explorer.warm_up().join(60)
    assert watcher.events == [] and explorer.state == "idle"
    assert not (explorer.session.folder / "log.txt").exists()


def test_a_generator_that_is_missing_is_one_sentence(tmp_path):
    with pytest.raises(InpaintError, match="neither a shipped model"):
        Controller(tmp_path, generator="faces65")
