"""Files that would be read, to change one thing in each, and the table of the cases that do so."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import standin
from .assembler import Name, Node, Weight, legacy_file, pickled, tensor, zip_file

# What is forged --------------------------------------------------------------------------------------------


@cache
def _networks():
    return standin.small_networks(8)


def _node(recorded: standin.Recorded) -> Node:
    state = {key: value for key, value in recorded.__dict__.items() if not key.endswith("_hooks")}
    state = {key: value for key, value in state.items() if isinstance(value, (bool, int, str, tuple, dict, type(None)))}
    for part, parameter in (("_parameters", True), ("_buffers", False)):
        state[part] = {name: Weight(x.numpy(), parameter=parameter) for name, x in getattr(recorded, part).items()}
    state["_modules"] = {name: _node(module) for name, module in recorded._modules.items()}
    return Node(dict(type="class", version=6, module_src="", class_name=type(recorded).__name__, state=state))


def snapshot() -> dict[str, Any]:
    """Returns a snapshot that would be read, to change one thing in it."""
    g, d = _networks()
    return {"training_set_kwargs": {"resolution": 8}, "G_ema": _node(standin.ada_generator(g)),
            "D": _node(standin.ada_discriminator(d)), "augment_pipe": None}  # fmt: skip


@cache
def _both() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    g, _ = _networks()
    community = standin.rosinality_generator(8, 5, 2, {4: 8, 8: 8})
    return {k: x.numpy() for k, x in g.state_dict().items()}, {k: x.numpy() for k, x in community.items()}


def state() -> dict[str, np.ndarray]:
    """Returns the small generator's state dict."""
    return dict(_both()[0])


def community() -> dict[str, np.ndarray]:
    """Returns a small generator's state dict under rosinality's names."""
    return dict(_both()[1])


class File(NamedTuple):
    content: bytes
    suffix: str = ".pkl"


Maker = Callable[[Path], File]


class Case(NamedTuple):
    make: Maker
    words: str  # a pattern in the refusal


CASES: dict[str, Case] = {}


def case(name: str, words: str, make: Maker) -> None:
    assert name not in CASES, name
    CASES[name] = Case(make, words)


def snap(name: str, words: str, change: Callable[[dict[str, Any], Path], Any], protocol: int = 3) -> None:
    """A snapshot that ``change`` works on; it returns another object to pickle, or None."""

    def make(canary: Path) -> File:
        root = snapshot()
        other = change(root, canary)
        return File(pickled(root if other is None else other, protocol))

    case(name, words, make)


def payload(name: str, words: str, payload: Callable[[str], Any]) -> None:
    """A snapshot with an object that runs a command, beside good networks."""

    def change(root: dict[str, Any], canary: Path) -> None:
        root["augment_pipe"] = payload(f"touch {canary}")

    snap(name, words, change, 4)


def weight(name: str, words: str, forge: Callable[[Weight], Weight | Any]) -> None:
    """A snapshot in which one weight (5, 5) is forged."""

    def change(root: dict[str, Any], _: Path) -> None:
        fc1 = root["G_ema"].module("mapping.fc1").state["_parameters"]
        fc1["weight"] = forge(fc1["weight"])

    snap(name, words, change)


def meta(name: str, words: str, **facts: Any) -> None:
    """A snapshot whose averaged generator says other facts of itself."""
    snap(name, words, lambda root, _: root["G_ema"].meta.update(facts))


def config(name: str, words: str, network: str = "G_ema", **kwargs: Any) -> None:
    """A snapshot whose network says that it was made with other arguments."""

    def change(root: dict[str, Any], _: Path) -> None:
        known = root[network].state["_init_kwargs"]
        for key, value in kwargs.items():
            if isinstance(value, dict) and isinstance(known.get(key), dict):
                known[key].update(value)
            else:
                known[key] = value

    snap(name, words, change)


def number(name: str, words: str, number: Any) -> None:
    """A snapshot with a number of NumPy's in an attribute."""
    snap(name, words, lambda root, _: root["G_ema"].state.update(weight_gain=number))


def opcodes(name: str, words: str, code: bytes | Callable[[], bytes], protocol: int = 4) -> None:
    """A pickle of these opcodes (without PROTO and STOP)."""
    case(name, words, lambda _: File(b"\x80" + bytes([protocol]) + (code() if callable(code) else code) + b"."))


def zip_entries(weights: Mapping[str, np.ndarray], **forged: Any) -> dict[str, bytes]:
    """Returns the files of a ZIP file of torch.save that holds a state dict; ``forged`` is its first tensor's."""
    root = {key: tensor(str(i), x, **(forged if i == 0 else {})) for i, (key, x) in enumerate(weights.items())}
    entries = {"data.pkl": pickled(root, 2), "byteorder": b"little", "version": b"3\n"}
    return entries | {f"data/{i}": x.tobytes() for i, x in enumerate(weights.values())}


def zip_of(weights: Mapping[str, np.ndarray]) -> bytes:
    return zip_file(zip_entries(weights))


def legacy_of(weights: Mapping[str, Any], wrapped: str | None = None) -> bytes:
    """Returns an old file of torch.save that holds a state dict, which may hold other things than arrays too."""
    kinds = {"f": "FloatStorage", "i": "LongStorage", "c": "ComplexFloatStorage", "b": "BoolStorage"}
    storages = {str(i): x for i, x in enumerate(weights.values()) if isinstance(x, np.ndarray)}
    root = {key: tensor(str(i), x, legacy=True, kind=Name("torch", kinds[x.dtype.kind]))
            if isinstance(x, np.ndarray) else x for i, (key, x) in enumerate(weights.items())}  # fmt: skip
    return legacy_file(root if wrapped is None else {wrapped: root}, storages)


def safetensors_file(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def safetensors_of(weights: Mapping[str, np.ndarray]) -> bytes:
    header, data = {}, b""
    kinds = {"float32": "F32", "int64": "I64"}
    for key, x in weights.items():
        place = [len(data), len(data) + x.nbytes]
        header[key] = {"dtype": kinds[x.dtype.name], "shape": x.shape, "data_offsets": place}
        data += x.tobytes()
    return safetensors_file(header, data)


def zipped(name: str, words: str, change: Callable[[dict[str, bytes]], dict[str, bytes] | bytes | None], **forged: Any):
    """A state dict in a ZIP file of torch.save, whose entries ``change`` works on; ``forged`` is its first tensor's."""

    def make(_: Path) -> File:
        entries = zip_entries(state(), **forged)
        changed = change(entries)
        return File(changed if isinstance(changed, bytes) else zip_file(changed or entries), ".pt")

    case(name, words, make)


def states(name: str, words: str, change: Callable[[dict[str, Any]], Any], *, base=state, suffix: str = ".pt"):
    """A state dict in an old file of torch.save; ``change`` works on name -> array and may add other things."""

    def make(_: Path) -> File:
        weights: dict[str, Any] = base()
        weights = change(weights) or weights
        return File(legacy_of(weights, "g_ema" if base is community else None), suffix)

    case(name, words, make)


#: Odd files whose networks are whole all the same: they may be refused, and if they are read, then exactly.
HARMLESS: dict[str, Maker] = {}


def odd(name: str, change: Callable[[dict[str, Any], Path], Any]) -> None:
    def make(canary: Path) -> File:
        root = snapshot()
        change(root, canary)
        return File(pickled(root))

    HARMLESS[name] = make
