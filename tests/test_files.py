"""Files are whole or not there, whatever stops the writing."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from inpaintlib.checks import InpaintError
from inpaintlib.files import check_writable, marked, remove_orphans, write_atomically, writing


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


def test_threads_that_write_the_same_file_do_not_disturb_each_other(tmp_path):
    path, failed = tmp_path / "a.txt", []

    def write(content: bytes) -> None:
        try:
            for _ in range(100):
                write_atomically(path, content)
        except InpaintError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(bytes([i]) * 9,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and len(set(path.read_bytes())) == 1 and os.listdir(tmp_path) == ["a.txt"]


def test_what_a_killed_process_left_is_removed_and_what_others_write_is_not(tmp_path):
    killed = "import os; os.replace = lambda *paths: os._exit(9); from inpaintlib.files import write_atomically as w"
    done = subprocess.run([sys.executable, "-c", f"{killed}; w({str(tmp_path / 'a.txt')!r}, b'1')"])
    (orphan,) = tmp_path.iterdir()
    assert done.returncode == 9
    mine, theirs = marked(tmp_path / "b.txt"), tmp_path / ".c.txt.elsewhere.1.tmp"
    mine.touch()
    theirs.touch()
    remove_orphans(tmp_path)
    assert not orphan.exists() and mine.exists() and theirs.exists()


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
