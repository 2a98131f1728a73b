"""Who is let in to the explorer's page, before any kernel has started."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import nbformat
import pytest

from inpaintlib.explorer import server

NOTEBOOK = nbformat.v4.new_notebook()


class Kernels:
    """Stands for the server's kernels: ``living`` are listed, ``ended`` are asked to end."""

    def __init__(self):
        self.living, self.ended, self.status = [], [], 200
        self.kernel_manager = SimpleNamespace(list_kernels=lambda: list(self.living), shutdown_kernel=self.ended.append)

    def start(self, name: str, *, connections: int = 1, moment: str = "2020-01-01T00:00:00.000000Z") -> None:
        self.living.append({"id": name, "connections": connections, "last_activity": moment})

    def set_status(self, code: int) -> None:
        self.status = code

    def visit(self) -> bool:
        """Returns whether it is let in."""
        with contextlib.suppress(server.tornado.web.Finish):
            return server.admit(self, NOTEBOOK, "") is NOTEBOOK
        return False


@pytest.fixture
def kernels(monkeypatch):
    for name, empty in (("_coming", []), ("_listed", set()), ("_ending", set())):
        monkeypatch.setattr(server, name, empty)
    loop = SimpleNamespace(add_callback=lambda call, *args: call(*args))
    monkeypatch.setattr(server.tornado.ioloop.IOLoop, "current", lambda: loop)
    return Kernels()


def test_visits_at_once_are_counted_before_their_kernels_are_listed(kernels):
    assert [kernels.visit() for _ in range(7)] == [True] * server.MOST + [False] * 3
    for i in range(server.MOST):
        kernels.start(str(i))
        assert not kernels.visit(), "a kernel that has come is not counted twice, nor forgotten"
    kernels.living.pop()
    assert kernels.visit() and not kernels.visit()


def test_who_is_not_let_in_is_told_so_in_place_of_a_kernel(kernels):
    for _ in range(server.MOST):
        kernels.visit()
    with pytest.raises(server.tornado.web.Finish, match="<h1>The explorer is full</h1>"):
        server.admit(kernels, NOTEBOOK, "")
    assert kernels.status == 503


def test_a_visit_whose_kernel_never_came_is_forgotten(kernels, monkeypatch):
    assert all(kernels.visit() for _ in range(server.MOST))
    later = server.time.monotonic() + server.YOUNG
    monkeypatch.setattr(server.time, "monotonic", lambda: later)
    assert kernels.visit()


def test_two_visits_do_not_take_the_place_of_the_same_kernel(kernels):
    kernels.start("left", connections=0)
    for i in range(server.MOST - 1):
        kernels.start(str(i))
    assert kernels.visit() and not kernels.visit()
    assert kernels.ended == ["left"]


@pytest.mark.parametrize("port", ["99999", "-1"])
def test_a_port_that_is_none_is_one_sentence(port, capsys):
    assert server.main([f"--port={port}"]) == 1
    assert capsys.readouterr().err == f"error: --port must be between 0 and 65535; got {port}\n"
