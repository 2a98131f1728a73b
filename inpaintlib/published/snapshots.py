"""Snapshots of NVIDIA's StyleGAN2-ADA for PyTorch: pickles of networks that carry their own source text.

A network is pickled as a call of ``torch_utils.persistence._reconstruct_persistent_obj`` with a dictionary: the class's
name, the source of its module and the attributes of the object. The official reader runs that source. Here it is
dropped unread: an object is a :class:`Node`, its class's name and its attributes, of which only parameters, buffers,
submodules and the arguments of the constructor are looked at.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

from ..errors import InpaintError
from .pickles import Inert, Names, read_pickle, short
from .torchfiles import TENSOR_NAMES, Storage, Stored, storage_of

__all__ = ["Node", "constructor", "read_snapshot", "state_of"]

VERSIONS = range(1, 7)
MAX_MODULES, MAX_DEPTH = 2_000, 8
MAX_STORAGES = 4_000
#: numpy's codes of the numbers that a snapshot may hold -> struct's.
NUMBERS = {"b1": "?", "i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "i8": "q", "u8": "Q",
           "f2": "e", "f4": "f", "f8": "d"}  # fmt: skip
TENSORFLOW = "is a network of the TensorFlow version; convert it with the PyTorch version's legacy.py first"


class Node:
    """A pickled object of one of the official classes, as data."""

    def __init__(self, kind: str, state: dict[str, Any]):
        self.kind, self.state = kind, state


class NumberType(Inert):
    """``numpy.dtype`` of one number."""

    def __init__(self, code: object, *_: object):
        if not isinstance(code, str) or code not in NUMBERS:
            raise InpaintError(f"has a number of the type {short(code)}")
        self.format = "<" + NUMBERS[code]

    def set_state(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "|"):
            raise InpaintError("has a number whose bytes are not in little-endian order")


def _node(meta: object) -> Node:
    if not isinstance(meta, dict):
        raise InpaintError(f"has {short(meta)} where the facts of a network belong")
    if meta.get("type") != "class":
        raise InpaintError(f"has a persistent object of the type {short(meta.get('type'))}; 'class' is known")
    version, kind, state = meta.get("version"), meta.get("class_name"), meta.get("state")
    if isinstance(version, bool) or not isinstance(version, int) or version not in VERSIONS:
        raise InpaintError(f"has a persistent object of version {short(version)}; 1 to 6 are known")
    if not isinstance(kind, str) or not isinstance(state, dict):
        raise InpaintError("has a persistent object without the name of its class or without its attributes")
    return Node(kind, state)


def _number(kind: object, data: object) -> bool | int | float:
    if not isinstance(kind, NumberType) or not isinstance(data, bytes):
        raise InpaintError("has a number without its type or its bytes")
    if len(data) != struct.calcsize(kind.format):
        raise InpaintError(f"has a number of {len(data)} bytes; its type has {struct.calcsize(kind.format)}")
    return struct.unpack(kind.format, data)[0]


def _dictionary() -> dict:
    return {}


def _set(values: object = ()) -> set:
    if not isinstance(values, (list, tuple)) or not all(isinstance(value, (str, int)) for value in values):
        raise InpaintError("has a set of other things than texts and whole numbers")
    return set(values)


def _encoded(text: object, encoding: object) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise InpaintError("has bytes that are not written as latin1 text")
    try:
        return text.encode("latin1")
    except UnicodeEncodeError:
        raise InpaintError("has bytes that are not written as latin1 text") from None


def _no_bytes() -> bytes:
    return b""


def _tensorflow(*_: object) -> None:
    raise InpaintError(TENSORFLOW)


class _Storages:
    """Reads the storages of one snapshot, files within the file: each once, and not more than a limit."""

    def __init__(self) -> None:
        self.calls, self.found = 0, {}

    def __call__(self, data: object) -> Storage:
        self.calls += 1
        if self.calls > MAX_STORAGES:
            raise InpaintError(f"has more than {MAX_STORAGES:,} storages")
        if not isinstance(data, bytes):
            return storage_of(data)
        if data not in self.found:
            self.found[data] = storage_of(data)
        return self.found[data]


LOAD = ("torch.storage", "_load_from_bytes")
NAMES: Names = {
    **TENSOR_NAMES,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _node,
    LOAD: storage_of,
    ("dnnlib.util", "EasyDict"): _dictionary,
    ("dnnlib", "EasyDict"): _dictionary,
    ("numpy.core.multiarray", "scalar"): _number,
    ("numpy._core.multiarray", "scalar"): _number,
    ("numpy", "dtype"): NumberType,
    # Protocols 3 and 2; 2 also writes bytes as text.
    ("builtins", "set"): _set,
    ("__builtin__", "set"): _set,
    ("_codecs", "encode"): _encoded,
    ("__builtin__", "bytes"): _no_bytes,
    ("dnnlib.tflib.network", "Network"): _tensorflow,
}  # fmt: skip


def read_snapshot(stream: BinaryIO) -> dict[str, Any]:
    """Returns the dictionary of a snapshot, its networks as :class:`Node`.

    Raises:
        InpaintError: for anything that no snapshot needs, and for a damaged one.
    """
    found = read_pickle(stream, {**NAMES, LOAD: _Storages()})
    if stream.read(1):
        raise InpaintError("goes on behind the end of its pickle")
    if isinstance(found, (tuple, list)) and len(found) == 3:
        raise InpaintError(TENSORFLOW)
    if not isinstance(found, dict):
        raise InpaintError(f"holds {short(found)}; a snapshot is a dictionary with 'G_ema'")
    return found


def _part(node: Node, name: str) -> dict[str, Any]:
    part = node.state.get(name)
    if not isinstance(part, dict):
        raise InpaintError(f"has a {short(node.kind)} whose {name} is no dictionary")
    for key in part:
        if not isinstance(key, str) or not key or "." in key:  # a dot would reach into another module
            raise InpaintError(f"has a {short(node.kind)} with {short(key)} in its {name}; plain names belong there")
    return part


def _modules(root: Node) -> Iterator[tuple[str, Node]]:
    """Yields (name with a dot behind it, module) of a network and everything in it."""
    waiting: list[tuple[str, Node, tuple[int, ...]]] = [("", root, ())]
    for _ in range(MAX_MODULES):
        if not waiting:
            return
        prefix, node, above = waiting.pop()
        yield prefix, node
        for name, child in _part(node, "_modules").items():
            if child is None:
                continue
            if not isinstance(child, Node):
                raise InpaintError(f"has {short(child)} as the module {short(prefix + name)}")
            if id(child) in (*above, id(node)) or len(above) >= MAX_DEPTH:
                raise InpaintError("has modules that contain themselves, or are nested too deeply")
            waiting.append((f"{prefix}{name}.", child, (*above, id(node))))
    raise InpaintError(f"has more than {MAX_MODULES:,} modules")


def state_of(root: Node) -> dict[str, Stored]:
    """Returns name -> tensor of a network's parameters and buffers, as its ``state_dict()`` would.

    Raises InpaintError for attributes of another form and for modules that contain themselves.
    """
    state: dict[str, Stored] = {}
    for prefix, node in _modules(root):
        passing = node.state.get("_non_persistent_buffers_set")
        passing = passing if isinstance(passing, set) else set()
        buffers = {name: x for name, x in _part(node, "_buffers").items() if name not in passing}
        for name, tensor in {**_part(node, "_parameters"), **buffers}.items():
            if tensor is not None and not isinstance(tensor, Stored):
                raise InpaintError(f"has {short(tensor)} where the tensor {short(prefix + name)} belongs")
            if tensor is not None:
                state[prefix + name] = tensor
    return state


def constructor(node: Node, order: tuple[str, ...]) -> dict[str, Any]:
    """Returns the arguments that a network was made with, by name.

    Args:
        order: names of the positional arguments.

    Raises InpaintError if they are not recorded, or an argument is there twice.
    """
    args, kwargs = node.state.get("_init_args", ()), node.state.get("_init_kwargs")
    if not isinstance(args, tuple) or not isinstance(kwargs, dict) or not all(isinstance(key, str) for key in kwargs):
        raise InpaintError("does not record how its network was made (_init_args and _init_kwargs)")
    named = dict(zip(order, args, strict=False))
    if len(args) > len(order) or named.keys() & kwargs.keys():
        raise InpaintError("records more arguments of its network than the class takes")
    return named | kwargs
