"""Puts pickles together opcode by opcode, because no pickler would write these, and files of torch.save around them."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

# An assembler of pickles -------------------------------------------------------------------------------


class Name(NamedTuple):
    """What GLOBAL looks up."""

    module: str
    name: str


@dataclass
class Raw:
    """Opcodes as they are; they must leave one value on the stack."""

    code: bytes


@dataclass
class Call:
    what: Any
    args: Any
    opcode: bytes = b"R"


@dataclass
class Build:
    what: Any
    state: Any


@dataclass
class Pid:
    """A persistent id."""

    value: Any


@dataclass
class Node:
    """A persistent object: ``meta`` is what ``_reconstruct_persistent_obj`` is called with."""

    meta: dict

    @property
    def state(self) -> dict:
        return self.meta["state"]

    def module(self, path: str) -> Node:
        node = self
        for name in path.split("."):
            node = node.state["_modules"][name]
        return node


@dataclass
class Weight:
    """A tensor in the way that a snapshot holds it; every field can be forged."""

    array: np.ndarray
    kind: str = "FloatStorage"
    offset: Any = 0
    size: Any = None
    stride: Any = None
    content: Any = None  # what _load_from_bytes gets
    parameter: bool = True

    def call(self) -> Call:
        content = storage_file(self.array, self.kind) if self.content is None else self.content
        size = self.array.shape if self.size is None else self.size
        stride = tuple(s // 4 for s in self.array.strides) if self.stride is None else self.stride
        tensor = Call(REBUILD, (Call(LOAD, (content,)), self.offset, size, stride, False, Call(ORDERED, ())))
        return Call(PARAMETER, (tensor, False, Call(ORDERED, ()))) if self.parameter else tensor


RECONSTRUCT = Name("torch_utils.persistence", "_reconstruct_persistent_obj")
EASY = Name("dnnlib.util", "EasyDict")
ORDERED = Name("collections", "OrderedDict")
REBUILD = Name("torch._utils", "_rebuild_tensor_v2")
PARAMETER = Name("torch._utils", "_rebuild_parameter")
LOAD = Name("torch.storage", "_load_from_bytes")
SCALAR = Name("numpy.core.multiarray", "scalar")
DTYPE = Name("numpy", "dtype")
SYSTEM = Name("os", "system")


def encode(thing: Any) -> bytes:
    """Returns the opcodes that leave ``thing`` on the stack."""
    match thing:
        case None:
            return b"N"
        case bool():
            return b"\x88" if thing else b"\x89"
        case int():
            size = thing.bit_length() // 8 + 1
            number = thing.to_bytes(size, "little", signed=True)
            return b"\x8a" + bytes([size]) + number if size < 256 else b"\x8b" + struct.pack("<i", size) + number
        case float():
            return b"G" + struct.pack(">d", thing)
        case str():
            text = thing.encode("utf-8", "surrogatepass")
            return b"X" + struct.pack("<I", len(text)) + text
        case bytes():
            return b"B" + struct.pack("<I", len(thing)) + thing
        case Name():
            return b"c" + f"{thing.module}\n{thing.name}\n".encode()
        case Raw():
            return thing.code
        case Call():
            return encode(thing.what) + encode(thing.args) + thing.opcode
        case Build():
            return encode(thing.what) + encode(thing.state) + b"b"
        case Pid():
            return encode(thing.value) + b"Q"
        case Node():
            return encode(Call(RECONSTRUCT, (thing.meta,)))
        case Weight():
            return encode(thing.call())
        case tuple():
            return b"(" + b"".join(map(encode, thing)) + b"t"
        case list():
            return b"](" + b"".join(map(encode, thing)) + b"e"
        case dict():
            return b"}(" + b"".join(encode(key) + encode(value) for key, value in thing.items()) + b"u"
    raise TypeError(type(thing))


def pickled(thing: Any, protocol: int = 3) -> bytes:
    return b"\x80" + bytes([protocol]) + encode(thing) + b"."


# Files of torch.save -------------------------------------------------------------------------------------

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
MACHINE = {"protocol_version": VERSION, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def legacy_file(root: Any, storages: Mapping[str, np.ndarray], *, magic: Any = MAGIC, version: Any = VERSION,
                machine: Any = MACHINE, keys: Any = None, length: int | None = None) -> bytes:  # fmt: skip
    """Returns a file as torch wrote it before 1.6."""
    head = b"".join(pickled(part, 2) for part in (magic, version, machine, root))
    head += pickled(list(storages) if keys is None else keys, 2)
    for array in storages.values():
        head += struct.pack("<q", array.size if length is None else length) + array.tobytes()
    return head


def storage_file(array: np.ndarray, kind: str = "FloatStorage", *, pid: Any = None, **forged: Any) -> bytes:
    """Returns the file of a storage alone, which a snapshot holds for each of its tensors."""
    pid = ("storage", Name("torch", kind), "0", "cpu", array.size, None) if pid is None else pid
    return legacy_file(Pid(pid), {"0": array.ravel()}, **forged)


def zip_file(entries: Mapping[str, bytes], *, root: str = "archive/", compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(root + name, content)
    return file.getvalue()


def tensor(key: str, array: np.ndarray, /, *, legacy: bool = False, **forged: Any) -> Call:
    """Returns a tensor of a file of torch.save; ``forged`` replaces parts of it."""
    pid = {"word": "storage", "kind": Name("torch", "FloatStorage"), "key": key, "location": "cpu", "numel": array.size}
    offset, size = forged.pop("offset", 0), forged.pop("size", array.shape)
    stride = forged.pop("stride", tuple(s // array.itemsize for s in array.strides))
    values = (*(pid | forged).values(), *([None] if legacy else []))
    return Call(REBUILD, (Pid(values), offset, size, stride, False, Call(ORDERED, ())))
