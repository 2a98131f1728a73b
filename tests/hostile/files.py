"""Cases: files of torch.save, safetensors, and files that are something else."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .assembler import SYSTEM, Call, Name, pickled, tensor, zip_file
from .forge import File, case, community, safetensors_file, safetensors_of, state, states, zipped
from .objects import BEYOND

# Files of torch.save ------------------------------------------------------------------------------------------------

zipped("zip-no-data", "data.pkl", lambda e: e.pop("data.pkl") and None)
zipped("zip-empty-data", "(cut off|damaged|empty|protocol)", lambda e: e.update({"data.pkl": b""}))
zipped("zip-storage-missing", "storage '3'", lambda e: e.pop("data/3") and None)
zipped("zip-storage-short", "storage '3'", lambda e: e.update({"data/3": e["data/3"][:-1]}))
zipped("zip-storage-empty", "storage '3'", lambda e: e.update({"data/3": b""}))
zipped("zip-big-endian", "little-endian", lambda e: e.update(byteorder=b"big"))
zipped("zip-byteorder-unknown", "little-endian", lambda e: e.update(byteorder=b"middle" * 1000))
zipped(
    "zip-two-roots",
    "folders|one",
    lambda e: zip_file({f"{r}/{k}": v for r in ("a", "b") for k, v in e.items()}, root=""),
)
zipped("zip-no-root", "(folders|data.pkl)", lambda e: zip_file(e, root=""))
zipped("zip-compressed", "compress", lambda e: zip_file(e, compression=zipfile.ZIP_DEFLATED))
zipped(
    "zip-deflate-bomb",
    "compress",
    lambda e: zip_file(e | {"data/0": bytes(64 * 2**20)}, compression=zipfile.ZIP_DEFLATED),
)
zipped("zip-runs", "os.system", lambda e: e.update({"data.pkl": pickled(Call(SYSTEM, ("true",)), 2)}))
zipped("zip-protocol-0-data", "protocol", lambda e: e.update({"data.pkl": b"cos\nsystem\n(Vtrue\ntR."}))
zipped("zip-cut-off", "(ZIP|zip)", lambda e: zip_file(e)[:-30])
zipped("zip-half", "(ZIP|zip)", lambda e: zip_file(e)[: len(zip_file(e)) // 2])
zipped("zip-start-only", "(ZIP|zip)", lambda _: b"PK\x03\x04" + b"\x00" * 40)
zipped(
    "zip-storage-damaged", "(ZIP|CRC|damaged)", lambda e: zip_file(e).replace(e["data/0"], bytes(len(e["data/0"])), 1)
)
zipped("zip-storage-unknown-type", "QInt8Storage", lambda _: None, kind=Name("torch", "QInt8Storage"))
zipped("zip-storage-huge", "storage '0'", lambda _: None, numel=2**62)
zipped("zip-storage-negative", "elements", lambda _: None, numel=-1)
zipped("zip-key-with-dots", "storage", lambda _: None, key="../../../../etc/passwd")
zipped("zip-key-of-zero-bytes", "storage", lambda _: None, key="\x00")
zipped("zip-persistent-word", "whole module", lambda _: None, word="module")
zipped("zip-tensor-beyond", BEYOND, lambda _: None, offset=1)
zipped("zip-tensor-stride-zero", BEYOND, lambda _: None, size=(2**20, 2**20), stride=(0, 0))
zipped("zip-two-things-of-one-storage", "two things", lambda _: None, key="1")


def _overlapping(entries: dict[str, bytes]) -> bytes:
    """Every name in the directory points at one and the same large entry."""
    data = bytearray(
        zip_file({"data.pkl": entries["data.pkl"], "data/0": bytes(2**20)} | {f"data/{i}": b"" for i in range(1, 200)})
    )
    end = data.rfind(b"PK\x05\x06")
    at = struct.unpack_from("<I", data, end + 16)[0]
    first: bytes | None = None
    while data[at : at + 4] == b"PK\x01\x02":
        names = struct.unpack_from("<HHH", data, at + 28)
        if b"data/0" in data[at + 46 : at + 46 + names[0]]:
            first = bytes(data[at + 16 : at + 28]), bytes(data[at + 42 : at + 46])
        elif first:
            data[at + 16 : at + 28], data[at + 42 : at + 46] = first
        at += 46 + sum(names)
    return bytes(data)


def _duplicate(entries: dict[str, bytes]) -> bytes:
    return zip_file(entries | {"data/X": entries["data/0"]}).replace(b"archive/data/X", b"archive/data/0")


def _directory(change: Callable[[bytearray, int, int], None]) -> Callable[[dict[str, bytes]], bytes]:
    """Changes a ZIP file at its end record (position) and the first entry of its directory (position)."""

    def make(entries: dict[str, bytes]) -> bytes:
        data = bytearray(zip_file(entries))
        end = data.rfind(b"PK\x05\x06")
        change(data, end, struct.unpack_from("<I", data, end + 16)[0])
        return bytes(data)

    return make


zipped("zip-entries-overlap", "overlap", _overlapping)
zipped("zip-entries-of-one-name", "one name", _duplicate)
zipped(
    "zip-local-name-is-no-text",
    "(ZIP|zip)",
    _directory(lambda d, *_: d.__setitem__(slice(30, 34), b"\xff" * 4) or struct.pack_into("<H", d, 6, 0x800)),
)
zipped("zip-local-name-is-another", "(ZIP|zip)", _directory(lambda d, *_: d.__setitem__(slice(30, 34), b"xxxx")))
zipped("zip-encrypted", "(ZIP|encrypt)", _directory(lambda d, _, first: struct.pack_into("<H", d, first + 8, 1)))
zipped(
    "zip-method-unknown", "(compress|ZIP)", _directory(lambda d, _, first: struct.pack_into("<H", d, first + 10, 97))
)
zipped("zip-directory-outside", "ZIP", _directory(lambda d, end, _: struct.pack_into("<I", d, end + 16, 0xFFFFFF00)))
zipped("zip-directory-huge", "ZIP", _directory(lambda d, end, _: struct.pack_into("<I", d, end + 12, 0xFFFFFF00)))
zipped("zip-entry-outside", "ZIP", _directory(lambda d, _, first: struct.pack_into("<I", d, first + 42, 0x7FFFFFFF)))
zipped(
    "zip-entry-of-4-gib",
    "(overlap|ZIP)",
    _directory(lambda d, _, first: struct.pack_into("<II", d, first + 20, 0xFFFFFFF0, 0xFFFFFFF0)),
)
zipped("zip-version-needed", "(ZIP|version)", _directory(lambda d, _, first: struct.pack_into("<H", d, first + 6, 999)))
states("state-one-missing", "synthesis.b8.conv1.weight", lambda s: s.pop("synthesis.b8.conv1.weight") is None)
states("state-one-too-many", "extra", lambda s: s.update(extra=np.ones(3, np.float32)))
states("state-of-whole-numbers", "int64", lambda s: s.update({"mapping.fc1.bias": np.ones(5, np.int64)}))
states(
    "state-of-complex-numbers",
    "ComplexFloatStorage",
    lambda s: s.update({"mapping.fc1.bias": np.ones(5, np.complex64)}),
)
states("state-of-truth-values", "bool", lambda s: s.update({"mapping.fc1.bias": np.ones(5, np.bool_)}))
states("state-is-nan", "NaN", lambda s: s.update({"mapping.fc1.bias": np.full(5, np.nan, np.float32)}))
states("state-of-another-shape", "mapping.fc1.bias", lambda s: s.update({"mapping.fc1.bias": np.ones(6, np.float32)}))
states("state-of-nothing", "(generator|holds)", lambda _: {"a": {}})
states("state-with-text", "generator|text|tensor", lambda s: {"G_ema": {**{}, "mapping.fc0.weight": "text"}})
states(
    "state-of-another-network",
    "(generator|StyleGAN2|mapping|synthesis)",
    lambda _: {"conv1.weight": np.ones((3, 3), np.float32)},
)
states("state-names-are-paths", "\\.\\.|etc", lambda s: s.update({"../../etc/passwd": np.ones(1, np.float32)}))
states("state-name-is-long", "x|too many|unknown", lambda s: s.update({"x" * 100_000: np.ones(1, np.float32)}))
states(
    "state-resolution-name-is-huge",
    "b1073741824|resolution",
    lambda s: s.update({"synthesis.b1073741824.conv1.weight": np.ones((1, 1, 3, 3), np.float32)}),
)
states(
    "state-resolution-name-is-very-long",
    "b9|resolution",
    lambda s: s.update({"synthesis.b" + "9" * 5_000 + ".conv1.weight": np.ones((1, 1, 3, 3), np.float32)}),
)
states(
    "state-depth-name-is-huge", "fc", lambda s: s.update({"mapping.fc99999999999.weight": np.ones((5, 5), np.float32)})
)
states(
    "state-weight-without-dimensions",
    "const|mapping|shape",
    lambda s: s.update({"synthesis.b4.const": np.ones((), np.float32)}),
)
states("state-weight-empty", "fc0|shape", lambda s: s.update({"mapping.fc0.weight": np.ones((5, 0), np.float32)}))


def _huge(size: tuple[int, ...], stride: tuple[int, ...]) -> Callable[[dict[str, Any]], None]:
    def change(weights: dict[str, Any]) -> None:
        first = next(iter(weights.values()))
        weights["extra"] = tensor("0", first, legacy=True, size=size, stride=stride)

    return change


for _word, _change in {
    "empty-with-a-huge-side": _huge((0, 2**62), (1, 1)),
    "empty-with-the-hugest-side": _huge((0, 2**100), (1, 1)),
    "empty-with-huge-sides": _huge((2**40, 2**40, 0), (1, 1, 1)),
    "of-one-with-a-huge-stride": _huge((1,), (2**62,)),
    "of-one-with-the-hugest-stride": _huge((1,), (2**100,)),
}.items():
    states(f"state-tensor-{_word}", "extra|whole number|tensor", _change)
states(
    "community-one-missing",
    "convs.1.conv.weight|conv1.weight",
    lambda s: s.pop("convs.1.conv.weight") is None,
    base=community,
)
states("community-one-too-many", "extra", lambda s: s.update(extra=np.ones(3, np.float32)), base=community)
states(
    "community-is-nan",
    "NaN",
    lambda s: s.update({"conv1.activate.bias": np.full(8, np.nan, np.float32)}),
    base=community,
)
states(
    "community-of-another-shape",
    "modulated convolution",
    lambda s: s.update({"conv1.conv.weight": np.ones((8, 8, 3, 3), np.float32)}),
    base=community,
)
states("community-with-text", "text|tensor", lambda s: s.update(extra="text"), base=community)
states(
    "community-layer-name-is-huge",
    "convs.9|convs",
    lambda s: s.update({"convs.99999999999.conv.weight": np.ones((1, 8, 8, 3, 3), np.float32)}),
    base=community,
)
states(
    "community-kernel-is-another",
    "kernel|filter",
    lambda s: s.update({"convs.0.conv.blur.kernel": np.ones((4, 4), np.float32)}),
    base=community,
)
states(
    "community-of-two-widths",
    "style|width|shape",
    lambda s: s.update({"style.2.weight": np.ones((7, 5), np.float32)}),
    base=community,
)

# Other files ---------------------------------------------------------------------------------------------------------


def safe(name: str, words: str, change: Callable[[dict[str, np.ndarray]], Any]) -> None:
    def make(_: Path) -> File:
        weights = state()
        changed = change(weights)
        if isinstance(changed, bytes):
            return File(changed, ".safetensors")
        return File(safetensors_of(weights), ".safetensors")

    case(name, words, make)


safe("safetensors-is-nan", "NaN", lambda s: s.update({"mapping.fc1.bias": np.full(5, np.nan, np.float32)}))
safe("safetensors-of-whole-numbers", "int64", lambda s: s.update({"mapping.fc1.bias": np.ones(5, np.int64)}))
safe("safetensors-one-missing", "mapping.fc1.bias", lambda s: s.pop("mapping.fc1.bias") is None)
safe("safetensors-one-too-many", "extra", lambda s: s.update(extra=np.ones(3, np.float32)))
safe("safetensors-header-cut-off", "safetensors", lambda _: safetensors_file({"a": 1})[:-3])
safe("safetensors-header-huge", "safetensors", lambda _: safetensors_file({"a": 1}, length=2**40))
safe(
    "safetensors-data-missing",
    "safetensors",
    lambda _: safetensors_file({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
)
safe("safetensors-no-json", "safetensors", lambda _: safetensors_file(b"{not json"))
safe("safetensors-of-nothing", "(generator|mapping|holds)", lambda _: safetensors_file({}))
safe(
    "safetensors-bfloat16",
    "(safetensors|bfloat16|mapping|holds)",
    lambda _: safetensors_file({"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}, b"\x00\x00"),
)
case("text", "none of them", lambda _: File(b"Dear reader,\nthis is no network.\n"))
case("web-page", "none of them", lambda _: File(b"<!DOCTYPE html>\n<html><head><title>404</title></head></html>\n"))
case(
    "git-lfs-pointer",
    "none of them",
    lambda _: File(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"),
)
case("one-byte", "(none of them|cut off)", lambda _: File(b"\x80"))
case("zero-bytes", "empty", lambda _: File(b""))
case("gzip", "none of them", lambda _: File(b"\x1f\x8b\x08" + bytes(100)))
case("zeros", "none of them", lambda _: File(bytes(100_000)))
case("tar-of-torch-0", "none of them", lambda _: File(b"sys_info" + bytes(1000) + b"ustar", ".pt"))
