"""What the explorer keeps: whole results or none, and the state in which it was left."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load

from inpaintlib import params
from inpaintlib.checks import InpaintError
from inpaintlib.explorer import filling
from inpaintlib.explorer.controller import Controller
from inpaintlib.explorer.results import Result, read_result, zip_of
from inpaintlib.explorer.session import Session
from inpaintlib.explorer.settings import Settings
from inpaintlib.files import marked
from inpaintlib.images import read_image
from inpaintlib.weights import load_generator, save_weights

from .tiny import pictures, tiny_generator

R = 16
FILES = ["command.txt", "latents.safetensors", "mask.png", "params.yaml", "photo-0001.png", "result-1.png",
         "result-2.png", "scores.csv"]  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, tiny_generator(R), dtype=torch.float32, alignment="celeba")
    return str(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory, weights) -> tuple[Session, Result]:
    """A session with one result of a photo of 40 x 60 pixels."""
    explorer = Controller(tmp_path_factory.mktemp("root"), generator=weights, threads=1)
    explorer.upload("me.png", photo_png())
    explorer.editor.rectangle(10, 20, 30, 40)
    explorer.run(Settings(samples=2, steps=3, lpips_weight=0.0, attributes="+Smiling", space="z"))
    assert explorer.wait(60)
    explorer.close()
    return explorer.session, explorer.results[0]


def photo_png() -> bytes:
    levels = ((pictures(1, 60)[0, :, :40].permute(1, 2, 0).numpy() + 1) * 127.5).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG")
    return buffer.getvalue()


def turned_png() -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(photo_png())).rotate(180).save(buffer, "PNG")
    return buffer.getvalue()


# A result's folder ------------------------------------------------------------------------------------


def test_a_result_is_a_folder_with_everything(made):
    session, result = made
    assert sorted(path.name for path in (session.folder / "0001").iterdir()) == FILES == sorted(result.names)
    assert {path.name for path in session.folder.iterdir()} == {"0001", "last"}, "no hidden folder is left"
    assert result.number == 1 and result.folder == session.folder / "0001"
    assert not result.held, "what is on the disk is not kept in memory"


def test_its_pictures_are_the_photos_outside_of_the_hole(made):
    _, result = made
    known, photo = ~result.mask, result.photo()
    assert result.mask.sum() == 400 and photo.shape == (40, 60, 3)
    for i in range(2):
        assert np.array_equal(result.picture(i)[known], photo[known])
        assert (result.picture(i)[~known] != photo[~known]).mean() > 0.9
    assert result.picture(0, longest=30).shape == (20, 30, 3)


def test_its_latents_draw_its_pictures(made, weights):
    _, result = made
    tensors, generator = load(result.read("latents.safetensors")), load_generator(weights)
    assert tensors["w"].shape == (2, generator.num_ws, 16) and tensors["z"].shape == (2, 16)
    assert torch.allclose(generator.map(tensors["z"]), tensors["w"], atol=1e-6)


def test_its_table_has_a_row_a_sample_and_a_column_a_wish(made):
    _, result = made
    assert list(result.scores) == ["sample", "seed", "objective", "known_mse", "known_lpips", "+Smiling"]
    assert result.scores["sample"].tolist() == [1, 2] and set(result.scores["seed"]) == {0, 1}
    assert result.scores["objective"].is_monotonic_increasing
    assert result.scores["+Smiling"].between(0, 1).all()


def test_its_spread_is_zero_where_the_samples_agree(made):
    _, result = made
    spread = result.spread(None)
    a, b = (result.picture(i).astype(float) / 255 for i in range(2))
    assert spread.shape == (40, 60) and spread.dtype == np.float32
    assert (spread[~result.mask] == 0).all() and spread.max() <= 0.5
    assert np.allclose(spread, (abs(a - b) / 2).mean(axis=2), atol=1e-6)
    assert result.spread(30).shape == (20, 30)


def test_its_params_are_those_of_make_inpaint(made):
    _, result = made
    values = params.load(result.folder / "params.yaml")
    p = params.Inpaint.from_mapping(values)
    assert (p.profile, p.steps, p.attributes) == ("0001", 3, "+Smiling")
    assert p.image == "reports/explorer/0001/photo-0001.png"
    assert result.yaml == (result.folder / "params.yaml").read_text() and yaml.safe_load(result.yaml) == values


def test_the_zip_holds_every_file_and_is_the_same_each_time(made, tmp_path):
    _, result = made
    content = zip_of(result)
    assert content == zip_of(result)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == [f"explorer-0001/{name}" for name in FILES]
        said = b"# The paths are those of reports/explorer/0001, where these files are from.\n"
        for name in FILES:
            content = (result.folder / name).read_bytes()
            assert archive.read(f"explorer-0001/{name}") == (said if name == "command.txt" else b"") + content
        assert all(stat.S_IMODE(entry.external_attr >> 16) == 0o644 for entry in archive.infolist())


def test_a_file_that_is_gone_is_one_sentence(made, tmp_path):
    _, result = made
    folder = tmp_path / "0001"
    shutil.copytree(result.folder, folder)
    copy = read_result(folder)
    (folder / "result-2.png").unlink()
    for look in (lambda: copy.png(1), lambda: zip_of(copy), copy.spread):
        with pytest.raises(InpaintError, match=r"result-2.png cannot be read: No such file"):
            look()
    for sample in (-1, 2, 0.0):
        with pytest.raises(InpaintError, match="sample must be"):
            copy.png(sample)


# Found again ------------------------------------------------------------------------------------------


def test_a_result_is_found_again_as_it_was(made):
    session, result = made
    (again,) = Session(session.root).results()
    assert np.allclose(again.scores, result.scores, rtol=1e-5)
    assert list(again.scores) == list(result.scores)
    assert (again.number, again.stopped, again.steps) == (1, "finished", 3)
    assert again.settings.params() == result.settings.params() and again.command == result.command
    assert np.array_equal(again.picture(1), result.picture(1)) and np.array_equal(again.mask, result.mask)


@pytest.mark.parametrize("missing", FILES)
@pytest.mark.parametrize("how", ["missing", "empty", "cut off"])
def test_a_folder_that_is_not_whole_is_left_out(made, tmp_path, missing, how):
    session = Session(tmp_path)
    for number in ("0001", "0002"):
        shutil.copytree(made[1].folder, session.folder / number)
        os.rename(session.folder / number / "photo-0001.png", session.folder / number / f"photo-{number}.png")
    path = session.folder / "0002" / missing.replace("0001", "0002")
    if how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif path.suffix in (".safetensors", ".png"):
        path.write_bytes(path.read_bytes()[:7])
    else:
        path.write_bytes(b"\xff{")
    if how == "cut off" and missing == "command.txt":
        return  # any text will do
    assert [result.number for result in session.results()] == [1]
    with session.begin() as draft:
        assert draft.number == 3


def test_what_a_kill_leaves_is_no_result_and_its_number_is_not_used_again(made, tmp_path):
    session = Session(tmp_path)
    shutil.copytree(made[1].folder, session.folder / ".0001")
    assert session.results() == []
    with session.begin() as draft:
        draft.write("a", b"1")
        assert draft.number == 2 and session.results() == []
    assert not (session.folder / ".0002").exists(), "what is not finished is removed"


def test_what_was_killed_is_removed_at_the_next_start_and_what_runs_stays(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    session, own = Session(tmp_path), marked(Path("x")).name
    node = own.removeprefix(".x.").removesuffix(f".{os.getpid()}.tmp")
    with session.begin() as running:
        for name in (".0002", ".0003", ".0004"):
            (session.folder / name).mkdir()
        (session.folder / f".0002.0123abcd.{node}.{dead.pid}.tmp").touch()
        (session.folder / ".0003.0123abcd.elsewhere.1.tmp").touch()
        (session.folder / "last").mkdir()
        (session.folder / f"last/.mask.png.7.{node}.{dead.pid}.tmp").touch()
        session.tidy()
        names = {path.name for path in session.folder.iterdir()}
        assert names == {".0001", ".0003", "last", running.claim.name, ".0003.0123abcd.elsewhere.1.tmp"}
        assert not os.listdir(session.folder / "last")
        running.write("a", b"1")
        assert running.finish().name == "0001"


def test_searches_of_other_explorers_are_counted(tmp_path):
    one, two = Session(tmp_path), Session(tmp_path)
    assert one.others_running() == 0
    with one.begin():
        assert (one.others_running(), two.others_running()) == (0, 1)
        with two.begin(), two.begin():
            assert (one.others_running(), two.others_running()) == (2, 1)
    assert (one.others_running(), two.others_running()) == (0, 0)
    assert not os.listdir(one.folder)


def test_two_explorers_take_different_numbers(tmp_path):
    with Session(tmp_path).begin() as one, Session(tmp_path).begin() as two:
        assert (one.number, two.number) == (1, 2)
        assert two.finish() == tmp_path / "reports" / "explorer" / "0002"


def test_other_files_in_the_folder_do_no_harm(tmp_path):
    session = Session(tmp_path)
    (session.folder / "notes").mkdir(parents=True)
    (session.folder / "0009").write_text("no folder")
    (session.folder / "٣").mkdir()
    assert session.results() == [] and session.restore() is None
    with session.begin() as draft:
        assert draft.number == 10


def test_only_the_newest_results_are_offered(made, tmp_path):
    session = Session(tmp_path)
    for number in range(1, 5):
        shutil.copytree(made[1].folder, session.folder / f"{number:04d}")
        os.rename(
            session.folder / f"{number:04d}/photo-0001.png", session.folder / f"{number:04d}/photo-{number:04d}.png"
        )
    assert [result.number for result in session.results(2)] == [4, 3]


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "reports").write_text("a file")
    with pytest.raises(InpaintError, match="explorer cannot be written"):
        Session(tmp_path).begin()


# The last state ---------------------------------------------------------------------------------------


@pytest.fixture
def left(tmp_path) -> Session:
    session = Session(tmp_path)
    session.keep_photo(photo_png(), "me.png")
    session.keep_mask(np.eye(40, 60, dtype=bool))
    session.keep_settings(Settings(prompt="no", samples=3))
    return session


def test_the_last_state_comes_back(left):
    last = left.restore()
    assert torch.equal(last.photo, read_image(left.folder / "last" / "photo.png")) and last.origin == "me.png"
    assert np.array_equal(last.mask, np.eye(40, 60)) and last.mask.dtype == bool
    assert last.settings == Settings(prompt="no", samples=3)


@pytest.mark.parametrize("content", [None, b"", b"\x89PNG"])
@pytest.mark.parametrize("name", ["photo.png", "mask-*.png", "settings.yaml", "origin.txt", "owner.txt"])
def test_what_of_it_is_damaged_is_as_at_the_beginning(left, name, content):
    (path,) = (left.folder / "last").glob(name)
    path.unlink() if content is None else path.write_bytes(content)
    last = left.restore()
    assert (last is None) == (name == "photo.png")
    if last is not None:
        assert last.mask.any() == (name != "mask-*.png") and last.mask.shape == (40, 60)
        assert last.settings.samples == (4 if name == "settings.yaml" else 3)


def test_another_photo_does_not_get_the_old_ones_mask(left):
    left.keep_photo(turned_png(), "another")
    assert not left.restore().mask.any()
    left.keep_mask(np.ones((3, 3), bool))
    assert not left.restore().mask.any()
    left.keep_photo(photo_png(), "me.png")
    assert not left.restore().mask.any()
    assert not list((left.folder / "last").glob("mask-*.png")), "nor are old masks collected"


def test_a_kill_between_photo_and_mask_leaves_no_mask_of_another_photo(left, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Session, "keep_mask", lambda *_: pytest.fail("not so far"))
        patch.setattr("inpaintlib.explorer.session._remove", lambda path: None)
        left.keep_photo(turned_png(), "another")
    assert not left.restore().mask.any() and left.restore().origin == "another"


def test_photo_and_mask_are_of_the_session_that_kept_them_last(left, tmp_path):
    assert left.owns and not left.overtaken
    other = Session(tmp_path)
    assert other.restore().mask.any() and not other.owns and not other.overtaken
    other.keep_photo(turned_png(), "another")
    assert other.owns and left.overtaken and not left.owns
    left.keep_mask(np.ones((40, 60), bool))
    assert other.restore().origin == "another" and not other.restore().mask.any(), "as of a race"


def test_settings_of_an_older_version_are_the_defaults(left):
    (left.folder / "last" / "settings.yaml").write_text("colour: red\n")
    assert left.restore().settings == Settings()


# Threads ---------------------------------------------------------------------------------------------


def test_threads_are_those_that_the_environment_gives_or_all(monkeypatch):
    monkeypatch.setenv("INPAINTLIB_THREADS", "3")
    assert filling.default_threads() == 3
    for other in ("", "no", "0"):
        monkeypatch.setenv("INPAINTLIB_THREADS", other)
        assert filling.default_threads() >= 1
