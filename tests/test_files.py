"""Files are whole or not there, whatever stops the writing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from inpaintlib.checks import InpaintError
from inpaintlib.files import check_writable, write_atomically, writing


def test_a_file_is_replaced_and_its_folder_made(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_atomically(path, b"one")
    write_atomically(str(path), b"two")
    assert path.read_bytes() == b"two" and os.listdir(path.parent) == ["a.txt"]


def test_ctrl_c_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_atomically(path, b"one")
    monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"two")
    assert path.read_bytes() == b"one" and os.listdir(tmp_path) == ["a.txt"]


def test_a_read_only_disk_is_one_sentence(tmp_path, monkeypatch):
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(InpaintError, match="a.txt cannot be written: Read-only file system"):
        write_atomically(tmp_path / "a.txt", b"one")


def test_a_place_is_tried_before_work_begins(tmp_path):
    check_writable(tmp_path / "new" / "a.png")
    assert os.listdir(tmp_path) == ["new"] and os.listdir(tmp_path / "new") == []
    with pytest.raises(InpaintError, match="new must name a file to write; it is a folder"):
        check_writable(tmp_path / "new")
    (tmp_path / "file").touch()
    with pytest.raises(InpaintError, match="file/a.png cannot be written: "):
        check_writable(tmp_path / "file" / "a.png")


def test_an_error_that_is_not_of_the_disk_passes(tmp_path):
    with pytest.raises(KeyError), writing(tmp_path / "a.txt"):
        raise KeyError("a")
