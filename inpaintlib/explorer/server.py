"""Serves the explorer as a page (``make explore``): on this machine alone, to whoever has the address with its token.

Each visit has a kernel of its own with a copy of the networks. A kernel whose page is gone ends after ``IDLE``
seconds; at most ``MOST`` live at a time: a visit more ends one whose page is gone, or is asked to wait.

A page that is left ends its kernel no sooner: the server refuses Voila's request for it (403), which lacks the token
against forged requests, and that is as it should be. A search outlives a reload of its page so, and its result is kept.
"""

from __future__ import annotations

import argparse
import secrets
import socket
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import nbformat
import tornado.ioloop
import tornado.web
from traitlets.config import Config
from voila.app import Voila

from ..checks import InpaintError, check_integer
from ..study import project_root

__all__ = ["main"]

HOST, PORT, TRIED = "127.0.0.1", 8866, 50
IDLE, LOOK = 600, 60  # seconds without a page until a kernel ends, and between two looks
MOST = 4  # kernels
YOUNG = 60.0  # seconds in which a kernel's page may still be on its way
# Voila loads every extension of JupyterLab that is installed unless it is told which: these show widgets.
EXTENSIONS = ["@voila-dashboards/widgets-manager8", "@jupyter-widgets/jupyterlab-manager", "anywidget"]
FULL = (
    "<!DOCTYPE html><html lang='en'><meta charset='utf-8'><title>The explorer is full</title>"
    "<body style='font-family: sans-serif; margin: 2em'><h1>The explorer is full</h1>"
    f"<p>{MOST} pages of it are open, and each holds a copy of the networks. Close one of them, wait a minute, then "
    "load this page again.</p></body></html>"
)


# Visits whose kernels are not listed yet: when they were admitted. Kernels start while other visits are admitted.
_coming: list[float] = []
_listed: set[str] = set()  # kernels of the latest visit
_ending: set[str] = set()  # kernels that are being ended, and still listed


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until it is interrupted; ``python -m inpaintlib.explorer.server --help`` lists the options."""
    parser = argparse.ArgumentParser(prog="inpaintlib.explorer.server", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help=f"default: the first free one from {PORT}")
    parser.add_argument("--browser", action="store_true", help="open the page")
    options = parser.parse_args(arguments)
    try:
        check_integer("--port", options.port, low=0, high=65535)
        port, notebook = _free_port(options.port), project_root() / "notebooks" / "explorer.ipynb"
        if not notebook.is_file():
            raise InpaintError(f"{notebook} is missing")
    except InpaintError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    token = secrets.token_urlsafe(24)
    server = Voila(config=configuration(port, token, options.browser))
    server.initialize([str(notebook)])
    print(f"The explorer: http://{HOST}:{port}/?token={token}\nCtrl+C ends it.", flush=True)
    server.start()
    return 0


def configuration(port: int, token: str, browser: bool = False) -> Config:
    """Returns the settings of the server."""
    # The page asks nothing of other machines (Voila's own template would, for fonts).
    policy = f"default-src 'self' ws://{HOST}:{port} data: blob: 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'self'"
    return Config({
        "Voila": {"ip": HOST, "port": port, "port_retries": 0, "token": token, "open_browser": browser,
                  "log_level": "ERROR", "tornado_settings": {"headers": {"Content-Security-Policy": policy}}},
        "VoilaConfiguration": {"extension_allowlist": EXTENSIONS, "preheat_kernel": False, "show_tracebacks": False,
                               "allow_template_override": "NO", "allow_theme_override": "NO", "prelaunch_hook": admit},
        "MappingKernelManager": {"cull_idle_timeout": IDLE, "cull_interval": LOOK, "cull_connected": False},
    })  # fmt: skip


def admit(request: Any, notebook: nbformat.NotebookNode, cwd: str) -> nbformat.NotebookNode:
    """Returns the notebook that a visit is shown. Voila calls it before it starts a kernel for the visit.

    Raises tornado's Finish, with a page that says so, if all kernels are taken: no kernel is started then.
    """
    kernels = request.kernel_manager
    living = _take_stock(kernels.list_kernels())
    if len(living) + len(_coming) >= MOST:
        gone = [k for k in living if not k["connections"] and age(k["last_activity"]) > YOUNG]
        if not gone:
            request.set_status(503)
            raise tornado.web.Finish(FULL)
        oldest = min(gone, key=lambda k: k["last_activity"])["id"]
        _ending.add(oldest)
        tornado.ioloop.IOLoop.current().add_callback(kernels.shutdown_kernel, oldest)
    _coming.append(time.monotonic())
    return notebook


def _take_stock(kernels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the kernels that stay; each that is new has come for the visit that has waited longest."""
    ids = {k["id"] for k in kernels}
    waiting = [moment for moment in _coming if time.monotonic() - moment < YOUNG]  # others have failed
    _coming[:] = waiting[len(ids - _listed) :]
    _listed.clear()
    _listed.update(ids)
    _ending.intersection_update(ids)
    return [k for k in kernels if k["id"] not in _ending]


def age(moment: str) -> float:
    """Returns the seconds since a time in ISO 8601, as Jupyter writes it."""
    return time.time() - datetime.fromisoformat(moment.replace("Z", "+00:00")).astimezone(UTC).timestamp()


def _free_port(wanted: int) -> int:
    for port in [wanted] if wanted else range(PORT, PORT + TRIED):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    where = f"port {wanted} is" if wanted else f"all ports from {PORT} to {PORT + TRIED - 1} are"
    raise InpaintError(f"{where} taken; name a free one by --port")


if __name__ == "__main__":
    raise SystemExit(main())
