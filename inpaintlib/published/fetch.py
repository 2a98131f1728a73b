"""Fetches published weights when asked to (``python -m inpaintlib fetch NAME``), and makes safetensors of them."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from ..errors import InpaintError
from ..files import check_writable, write_atomically
from ..weights import MODELS, checksum, shipped_names
from ..zoo import ZOO, Entry, folder, path_of
from .convert import convert, convert_state

__all__ = ["fetch", "listing"]

RECORD = "checksums.json"  # of what was fetched or found, in the folder


def listing() -> str:
    """Returns every name as text: its size, whether it is here, what it is and its terms, a line each; ours first."""
    sizes = {name: (MODELS / f"{name}.safetensors").stat().st_size for name in shipped_names()}
    rows = [f"{name:22} {n / 1e6:>4.0f} MB  here  shipped, see inpaintlib/models/*.md" for name, n in sizes.items()]
    for name, entry in ZOO.items():
        here = "here" if path_of(name).is_file() else "-"
        rows.append(f"{name:22} {entry.megabytes:>4} MB  {here:4}  {entry.about}. {entry.licence}. {entry.url}")
    return "\n".join(rows)


def fetch(name: str) -> Path:
    """Returns the file of a name of the zoo, ready for use; fetches and converts it if it is not there yet.

    A file of the original name that lies in the folder already, put there by hand, is taken instead of the net's, and
    stays; a downloaded one goes when it is converted. Its SHA-256 must be the known one; where none is known it is
    recorded when it has been converted, and must be the same if it is fetched again.

    Raises:
        InpaintError: for an unknown name, no network, a file of another SHA-256, or one that cannot be converted.
    """
    if name not in ZOO:
        raise InpaintError(f"a name of the zoo must be one of {', '.join(ZOO)}; got {name!r}")
    entry = ZOO[name]
    done = path_of(name)
    if done.is_file():
        return done
    check_writable(done)
    by_hand = (done.parent / entry.file).is_file()
    download = _download(name, entry, done.parent)
    try:
        digest = _checked(name, entry, download)
        facts = {"url": entry.url, "licence": entry.licence}
        if entry.kind == "generator":
            convert(download, done, alignment=entry.alignment, **facts)
        else:
            convert_state(download, done, entry.prefix, **facts)
    finally:
        if not by_hand:  # a bad one would be found again, a good one is not needed any more
            download.unlink(missing_ok=True)
    _remember(name, digest)
    print(f"{name}: SHA-256 {digest}, {_standing(entry)}")
    return done


def _download(name: str, entry: Entry, place: Path) -> Path:
    import pooch  # imports requests: only on request
    import requests

    pooch.get_logger().setLevel(logging.WARNING)
    file = place / entry.file
    try:
        if not file.is_file():
            print(f"{name}: {entry.about}, about {entry.megabytes} MB. {entry.licence}")
        return Path(pooch.retrieve(entry.url, known_hash=None, fname=file.name, path=place, progressbar=True))
    except (requests.RequestException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InpaintError(
            f"{name} cannot be fetched from {entry.url} ({reason}); without a network put {entry.file} into {place} and"
            " run this again"
        ) from None


def _checked(name: str, entry: Entry, download: Path) -> str:
    """Returns the SHA-256 of a file; raises InpaintError if it is not the known or recorded one."""
    digest = checksum(download)
    expected = entry.sha256 or _record().get(name, "")
    if not digest.startswith(expected):
        start = "a SHA-256 that begins with" if len(expected) < 64 else "the SHA-256"
        raise InpaintError(f"{download} must have {start} {expected} ({_standing(entry)}); got {digest}")
    return digest


def _remember(name: str, digest: str) -> None:
    """Records the SHA-256 of a file that has proved good."""
    write_atomically(folder() / RECORD, json.dumps(_record() | {name: digest}, indent=2).encode())


def _standing(entry: Entry) -> str:
    return entry.source or "recorded on first use, since no source gives one"


def _record() -> dict[str, str]:
    path = folder() / RECORD
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise InpaintError(f"{path} must hold the checksums of what was fetched; it cannot be read: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(x, str) for x in found.values()):
        raise InpaintError(f"{path} must map names of the zoo to checksums; found {str(found)[:60]}")
    return found
