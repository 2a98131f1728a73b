"""Reads what ``torch.save`` writes, without torch: containers, numbers, and tensors as views of the file's bytes.

Two forms exist. Since torch 1.6 a file is a ZIP archive, uncompressed, with a pickle ``data.pkl`` and a file a storage
beside it. Before, and still inside pickled storages, it is a row of pickles (a magic number, a version, facts of the
machine, the object, the keys of its storages) followed by the storages' bytes.

A tensor is checked before any view of it is made: its storage, its offset, sizes and strides must not be negative, its
last element must lie inside the storage, and it must not have more elements than the storage (a stride of 0 would make
a small file fill the memory).
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..errors import InpaintError
from .pickles import Inert, Name, Names, read_pickle, short

__all__ = ["TENSOR_NAMES", "Storage", "Stored", "is_torch", "opened", "read_torch", "storage_of"]

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
ZIP_START, LEGACY_START = b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
# What zipfile raises on archives that are damaged, or of a kind that it does not know.
ZIP_DAMAGE = (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError, struct.error)
MAX_DIMENSIONS = 8
MAX_SIDES = 2**40
FEW = 200  # opcodes that a number or the facts of a machine may take
#: Storage type -> numpy's name of its elements; bfloat16 has none and is widened to float32.
DTYPES = {"DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "bfloat16",
          "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1",
          "BoolStorage": "bool"}  # fmt: skip
WIDTHS = {"bfloat16": 2, "bool": 1}


class Storage:
    """A row of numbers in the file, read when it is asked for.

    Attributes:
        dtype: one of the values of :data:`DTYPES`.
        numel: how many elements the file says that it has.
        read: returns its bytes, ``numel`` elements of them; None until it is known where they are.
    """

    def __init__(self, dtype: str, numel: int):
        self.dtype, self.numel = dtype, numel
        self.read: Callable[[], bytes | memoryview] | None = None

    @property
    def nbytes(self) -> int:
        return self.numel * (WIDTHS.get(self.dtype) or np.dtype(self.dtype).itemsize)

    @cached_property
    def elements(self) -> np.ndarray:
        """All elements, (numel,); read-only."""
        if self.read is None:
            raise InpaintError("has a tensor without its numbers")
        data = self.read()
        if len(data) != self.nbytes:
            raise InpaintError("is cut off: a tensor's numbers are missing")
        if self.dtype == "bfloat16":
            return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
        if self.dtype == "bool":
            return np.frombuffer(data, "<u1") != 0
        return np.frombuffer(data, self.dtype)


class Stored(NamedTuple):
    """A tensor of a file: a checked view of a storage."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def array(self) -> np.ndarray:
        """Returns the tensor's numbers, a read-only view of shape ``size``."""
        elements = self.storage.elements
        strides = tuple(s * elements.itemsize for s in self.stride)
        return np.lib.stride_tricks.as_strided(elements[self.offset :], self.size, strides, writeable=False)


class Namespace(Inert):
    """``argparse.Namespace``, the settings that some trainings store beside their weights; dropped."""

    def set_state(self, state: object) -> None:
        if not isinstance(state, dict):
            raise InpaintError("has an argparse.Namespace whose state is no dictionary")


def _rebuild_tensor(storage: object, offset: object, size: object, stride: object, requires_grad: object = False,
                    hooks: object = None, metadata: object = None) -> Stored:  # fmt: skip
    if not isinstance(storage, Storage):
        raise InpaintError(f"has a tensor whose storage is {short(storage)}")
    if not isinstance(size, tuple) or not isinstance(stride, tuple) or len(size) != len(stride):
        raise InpaintError("has a tensor whose sizes and strides do not fit each other")
    numbers = (offset, *size, *stride)
    if len(size) > MAX_DIMENSIONS or any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in numbers):
        raise InpaintError("has a tensor whose offset, sizes and strides are no whole numbers of at least 0")
    stride = tuple(s if n > 1 else 0 for n, s in zip(size, stride, strict=True))  # of one element none is taken
    numel = math.prod(size)
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) if numel else offset - 1
    if numel > storage.numel or last >= storage.numel or offset > storage.numel:
        raise InpaintError(f"has a tensor that reaches beyond its storage of {storage.numel} elements")
    if math.prod(n for n in size if n) > MAX_SIDES:  # of a tensor without elements, which numpy would not make
        raise InpaintError("has an empty tensor with sides that no file holds")
    return Stored(storage, offset, size, stride)


def _rebuild_parameter(tensor: object, requires_grad: object, hooks: object) -> Stored:
    if not isinstance(tensor, Stored):
        raise InpaintError(f"has a parameter that is {short(tensor)}")
    return tensor


def _ordered_dict(pairs: object = ()) -> dict:
    """A dictionary; Python 2 gave its items as pairs."""
    if not isinstance(pairs, (tuple, list)):
        raise InpaintError("has an OrderedDict of an unknown form")
    found = {}
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not isinstance(pair[0], str):
            raise InpaintError("has an OrderedDict of an unknown form")
        found[pair[0]] = pair[1]
    return found


def _storage_type(*_: object) -> None:
    raise InpaintError("calls the type of a storage")


#: What tensors and the dictionaries around them are written with.
TENSOR_NAMES: Names = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,  # before torch 0.4, as torchvision's VGG-16
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}
TORCH_NAMES: Names = {
    **TENSOR_NAMES,
    **{("torch", name): _storage_type for name in DTYPES},
    ("argparse", "Namespace"): Namespace,
}


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Gives a regular file to read. Raises InpaintError if it is none, is empty or cannot be read."""
    try:
        if not path.is_file():  # follows links; a pipe would wait for ever
            raise InpaintError(
                "must be a file; " + ("it is a folder or a device" if path.exists() else "there is none")
            )
        if not path.stat().st_size:
            raise InpaintError("must hold weights; it is empty")
        with open(path, "rb") as f:
            yield f
    except OSError as error:
        raise InpaintError(f"cannot be read: {error.strerror or error}") from None


def is_torch(stream: BinaryIO) -> bool:
    """Tells whether ``torch.save`` wrote what begins at the stream's position."""
    at = stream.tell()
    start = stream.read(len(LEGACY_START))
    stream.seek(at)
    return start.startswith(ZIP_START) or start == LEGACY_START


def read_torch(stream: BinaryIO) -> Any:
    """Returns the object of a file of ``torch.save``, its tensors as :class:`Stored`.

    Args:
        stream: binary and seekable, at the file's start; storages are read from it later, so it must stay open.

    Raises:
        InpaintError: for anything that no weights file needs, and for a damaged one.
    """
    start = stream.read(4)
    stream.seek(0)
    return _read_zip(stream) if start == ZIP_START else _read_legacy(stream)


def storage_of(data: object) -> Storage:
    """Returns the storage that ``torch.storage._load_from_bytes`` would make of a file within the file."""
    if not isinstance(data, bytes):
        raise InpaintError(f"has a storage that is {short(data)}")
    found = read_torch(io.BytesIO(data))
    if not isinstance(found, Storage):
        raise InpaintError(f"has {short(found)} where a storage belongs")
    return found


def _declared(pid: object, length: int) -> tuple[str, str, int]:
    """Returns the key, the dtype and the number of elements of a persistent id, ``length`` values long."""
    if isinstance(pid, tuple) and pid[:1] == ("module",):
        raise InpaintError("holds a whole module with its source; save its state_dict() instead")
    if not isinstance(pid, tuple) or len(pid) != length or pid[0] != "storage":
        raise InpaintError("has a persistent id that is no storage's")
    _, kind, key, location, numel = pid[:5]
    if not isinstance(kind, Name) or kind.module != "torch" or kind.name not in DTYPES:
        raise InpaintError(f"has a storage of the type {short(kind)}")
    if not isinstance(key, str) or not isinstance(location, str):
        raise InpaintError("has a storage whose key or place is no text")
    if isinstance(numel, bool) or not isinstance(numel, int) or numel < 0:
        raise InpaintError(f"has a storage of {short(numel)} elements")
    return key, DTYPES[kind.name], numel


class _Storages:
    """The storages of one file by their keys; equal keys are one storage."""

    def __init__(self, length: int):
        self.length, self.found = length, {}

    def __call__(self, pid: object) -> Storage:
        key, dtype, numel = _declared(pid, self.length)
        storage = self.found.setdefault(key, Storage(dtype, numel))
        if (storage.dtype, storage.numel) != (dtype, numel):
            raise InpaintError(f"says two things of its storage {short(key)}")
        return storage


def _read_legacy(stream: BinaryIO) -> Any:
    storages = _Storages(6)

    def persistent(pid: object) -> Storage:
        if isinstance(pid, tuple) and len(pid) == 6 and pid[5] is not None:
            raise InpaintError("has a storage that is a view of another, as torch before 0.4 wrote it")
        return storages(pid)

    if read_pickle(stream, {}, most=FEW) != MAGIC:
        raise InpaintError("has not the magic number of torch.save")
    if (version := read_pickle(stream, {}, most=FEW)) != VERSION:
        raise InpaintError(f"has version {short(version)} of torch.save; {VERSION} is known")
    machine = read_pickle(stream, {}, most=FEW)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise InpaintError("was not written on a little-endian machine")
    found = read_pickle(stream, TORCH_NAMES, persistent)
    keys = read_pickle(stream, {})
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or set(keys) != set(storages.found):
        raise InpaintError("lists other storages than it uses")
    for key in dict.fromkeys(keys):
        _find_bytes(stream, storages.found[key])
    return found


def _find_bytes(stream: BinaryIO, storage: Storage) -> None:
    """Notes where the bytes of a storage are, and moves the stream behind them."""
    head = stream.read(8)
    if len(head) < 8 or struct.unpack("<q", head)[0] != storage.numel:
        raise InpaintError("is cut off, or a storage has another length than it should")
    start = stream.tell()
    if start + storage.nbytes > stream.seek(0, io.SEEK_END):
        raise InpaintError("is cut off: its last numbers are missing")
    stream.seek(start + storage.nbytes)

    def read() -> bytes:
        stream.seek(start)
        return stream.read(storage.nbytes)

    storage.read = read


def _read_zip(stream: BinaryIO) -> Any:
    try:
        archive = zipfile.ZipFile(stream)
        entries = archive.infolist()
    except ZIP_DAMAGE as error:
        raise _damaged(error) from None
    files = _files(entries, stream.seek(0, io.SEEK_END))
    if "data.pkl" not in files:
        raise InpaintError("is a ZIP archive without data.pkl, so torch.save did not write it")
    if "byteorder" in files and _entry(archive, files["byteorder"]).strip() != b"little":
        raise InpaintError("was not written on a little-endian machine")
    storages = _Storages(5)
    found = read_pickle(io.BytesIO(_entry(archive, files["data.pkl"])), TORCH_NAMES, storages)
    for key, storage in storages.found.items():
        entry = files.get(f"data/{key}")
        if entry is None:
            raise InpaintError(f"lacks its storage {short(key)}")
        if entry.file_size < storage.nbytes:
            raise InpaintError(f"has a storage {short(key)} of {entry.file_size} bytes where {storage.nbytes} belong")
        storage.read = lambda entry=entry, n=storage.nbytes: memoryview(_entry(archive, entry))[:n]
    return found


def _damaged(error: Exception) -> InpaintError:
    return InpaintError(f"is a damaged ZIP archive ({' '.join(str(error).split())[:80]})")


def _files(entries: list[zipfile.ZipInfo], size: int) -> dict[str, zipfile.ZipInfo]:
    """Returns the archive's files by their names below its one folder."""
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size for entry in entries):
        raise InpaintError("is a compressed ZIP archive; torch.save compresses nothing")
    if sum(entry.file_size for entry in entries) > size:
        raise InpaintError("is a ZIP archive whose files overlap")
    roots = {entry.filename.partition("/")[0] for entry in entries}
    if len(roots) != 1:
        raise InpaintError(f"is a ZIP archive of {len(roots)} folders; torch.save writes one")
    files = {entry.filename.partition("/")[2]: entry for entry in entries}
    if len(files) != len(entries):
        raise InpaintError("is a ZIP archive with two files of one name")
    return files


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    try:
        return archive.read(entry)  # its checksum is compared
    except ZIP_DAMAGE as error:
        raise _damaged(error) from None
