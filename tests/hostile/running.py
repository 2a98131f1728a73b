"""Cases: code that wants to run, as an object, as a storage, or as a part of one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .assembler import (
    EASY,
    LOAD,
    MACHINE,
    MAGIC,
    ORDERED,
    SYSTEM,
    Build,
    Call,
    Name,
    Pid,
    Raw,
    encode,
    legacy_file,
    pickled,
    storage_file,
    tensor,
    zip_file,
)
from .forge import opcodes, payload, snap

# Code that wants to run --------------------------------------------------------------------------------------

UNKNOWN = "which no weights file needs"
IMPORT, BYTES, MAP = (Name("builtins", name) for name in ("__import__", "bytes", "map"))
PYTHON = "__import__('os').system({!r})"
PAYLOADS: dict[str, Callable[[str], Any]] = {
    "reduce": lambda c: Call(SYSTEM, (c,)),
    "reduce-posix": lambda c: Call(Name("posix", "system"), (c,)),
    "newobj": lambda c: Call(BYTES, (Call(MAP, (SYSTEM, [c]), b"\x81"),), b"\x81"),
    "newobj-ex": lambda c: Raw(encode(BYTES) + encode((Call(MAP, (SYSTEM, [c])),)) + encode({}) + b"\x92"),
    "inst": lambda c: Raw(b"(" + encode(c) + b"ios\nsystem\n"),
    "obj": lambda c: Raw(b"(" + encode(SYSTEM) + encode(c) + b"o"),
    "stack-global": lambda c: Raw(encode("os") + encode("system") + b"\x93" + encode((c,)) + b"R"),
    "stack-global-dotted": lambda c: Raw(encode("torch") + encode("os.system") + b"\x93" + encode((c,)) + b"R"),
    "stack-global-inside": lambda c: Raw(
        encode("torch._utils") + encode("torch.os.system") + b"\x93" + encode((c,)) + b"R"
    ),
    "global-dotted-module": lambda c: Call(Name("torch.storage.os", "system"), (c,)),
    "eval": lambda c: Call(Name("builtins", "eval"), (PYTHON.format(c),)),
    "eval-protocol-2-name": lambda c: Call(Name("__builtin__", "eval"), (PYTHON.format(c),)),
    "exec": lambda c: Call(Name("builtins", "exec"), (PYTHON.format(c),)),
    "getattr": lambda c: Call(Call(Name("builtins", "getattr"), (Call(IMPORT, ("os",)), "system")), (c,)),
    "map-lazily": lambda c: Call(Name("builtins", "list"), (Call(Name("builtins", "map"), (SYSTEM, [c])),)),
    "partial": lambda c: Call(Call(Name("functools", "partial"), (SYSTEM, c)), ()),
    "torch-load": lambda c: Call(Name("torch", "load"), (Call(Name("io", "BytesIO"), (in_pickle(c),)),)),
    "pickle-loads": lambda c: Call(Name("pickle", "loads"), (in_pickle(c),)),
    "numpy-load": lambda c: Call(Name("numpy", "load"), (c,)),
    "imported-module": lambda c: Call(Name("torch_utils.persistence", "_src_to_module"), (PYTHON.format(c),)),
    "persistence-exec": lambda c: Call(Name("torch_utils.persistence", "exec"), (PYTHON.format(c),)),
    "import-hook": lambda c: Call(Name("torch_utils.persistence", "import_hook"), (SYSTEM,)),
}


def in_pickle(command: str) -> bytes:
    return pickled(Call(SYSTEM, (command,)), 2)


for _word, _make in PAYLOADS.items():
    payload(f"code-{_word}", f"({UNKNOWN}|opcode (INST|OBJ|NEWOBJ_EX))", _make)
for _word, _code in {"ext1": b"\x82\x01", "ext2": b"\x83\x01\x00", "ext4": b"\x84\x01\x00\x00\x00"}.items():
    opcodes(f"code-{_word}", f"opcode {_word.upper()}", _code)
snap("code-as-root", "os.system", lambda _, canary: Call(SYSTEM, (f"touch {canary}",)))
snap(
    "code-as-key",
    "os.system",
    lambda root, canary: root.update({"x": Raw(encode({}) + encode(Call(SYSTEM, (f"touch {canary}",))) + b"Ns")}),
)
snap(
    "code-by-setstate",
    "os.system",
    lambda root, canary: root.update(
        x=Build(Call(EASY, (), b"\x81"), {"__setstate__": SYSTEM, "__class__": Call(SYSTEM, (f"touch {canary}",))})
    ),
)
snap(
    "code-by-slots-state",
    "os.system",
    lambda root, canary: root.update(
        x=Build(Call(EASY, (), b"\x81"), (None, {"__reduce__": Call(SYSTEM, (f"touch {canary}",))}))
    ),
)
snap(
    "code-in-ordered-dict",
    "(OrderedDict|os.system)",
    lambda root, canary: root.update(x=Call(ORDERED, ([("a", Call(SYSTEM, (f"touch {canary}",)))],))),
)
snap(
    "code-as-callable-of-reduce",
    "calls",
    lambda root, _: root.update(x=Raw(encode("os.system") + encode(("true",)) + b"R")),
)
snap(
    "code-name-beside-the-list",
    "torch.storage",
    lambda root, _: root.update(x=Call(Name("torch.storage", "UntypedStorage"), (2**40,))),
)
snap("code-name-with-blanks", "which no weights", lambda root, _: root.update(x=Raw(b"ccollections OrderedDict\n\n)R")))
snap(
    "code-name-in-another-case",
    "which no weights",
    lambda root, _: root.update(x=Call(Name("Collections", "OrderedDict"), ())),
)
snap(
    "code-name-of-many-emoji",
    "which no weights",
    lambda root, _: root.update(x=Raw(encode("\U0001f600" * 500) + encode("\U0001f600" * 500) + b"\x93")),
    4,
)
snap(
    "code-name-of-line-breaks",
    "which no weights",
    lambda root, _: root.update(x=Raw(encode("a\n\r\x1b[2Jb") + encode("\u2028\x00c") + b"\x93")),
    4,
)
snap(
    "code-name-that-is-no-text",
    "no text",
    lambda root, _: root.update(x=Raw(encode(1) + encode(b"system") + b"\x93")),
    4,
)


def nested(canary: Path) -> bytes:
    return in_pickle(f"touch {canary}")


def in_storage(name: str, words: str, content: Callable[[Path], Any]) -> None:
    def change(root: dict[str, Any], canary: Path) -> None:
        weight = root["G_ema"].module("mapping.fc1").state["_parameters"]["weight"]
        weight.content = content(canary)

    snap(name, words, change)


ONES = np.ones(25, np.float32)
in_storage("storage-is-a-pickle", "os.system|magic", nested)
in_storage("storage-legacy-root-runs", "os.system", lambda c: legacy_file(Call(SYSTEM, (f"touch {c}",)), {}))
in_storage(
    "storage-legacy-magic-runs",
    "os.system",
    lambda c: legacy_file(Pid(("storage",)), {}, magic=Call(SYSTEM, (f"touch {c}",))),
)
in_storage(
    "storage-legacy-machine-runs", "os.system", lambda c: storage_file(ONES, machine=Call(SYSTEM, (f"touch {c}",)))
)
in_storage("storage-legacy-keys-run", "os.system", lambda c: storage_file(ONES, keys=Call(SYSTEM, (f"touch {c}",))))
in_storage(
    "storage-type-runs",
    "os.system",
    lambda c: storage_file(ONES, pid=("storage", Call(SYSTEM, (f"touch {c}",)), "0", "cpu", 25, None)),
)
in_storage("storage-zip-runs", "os.system", lambda c: zip_file({"data.pkl": nested(c), "version": b"3\n"}))
in_storage(
    "storage-is-a-state-dict", "storage", lambda _: legacy_file({"a": tensor("0", ONES, legacy=True)}, {"0": ONES})
)
in_storage("storage-nested-once-more", "_load_from_bytes", lambda c: legacy_file(Call(LOAD, (nested(c),)), {}))
in_storage("storage-is-empty", "(cut off|damaged|magic)", lambda _: b"")
in_storage("storage-is-text", "storage", lambda _: "text")
in_storage("storage-is-a-number", "storage", lambda _: 7)
in_storage(
    "storage-is-random-bytes", "(cut off|damaged|protocol|pickle)", lambda _: np.random.default_rng(0).bytes(200)
)
in_storage(
    "storage-module-id",
    "module",
    lambda _: storage_file(ONES, pid=("module", Name("torch", "FloatStorage"), "f.py", "exec")),
)
for _word, _pid, _words in (
    ("is-no-tuple", "storage", "persistent id"),
    ("of-another-word", ("blob", Name("torch", "FloatStorage"), "0", "cpu", 25, None), "persistent id"),
    ("of-another-length", ("storage", Name("torch", "FloatStorage")), "persistent id"),
    ("of-an-unknown-type", ("storage", Name("torch", "QInt8Storage"), "0", "cpu", 25, None), "QInt8Storage"),
    ("of-a-type-in-words", ("storage", "FloatStorage", "0", "cpu", 25, None), "type"),
    ("of-another-name", ("storage", ORDERED, "0", "cpu", 25, None), "OrderedDict"),
    ("with-a-key-of-a-list", ("storage", Name("torch", "FloatStorage"), ["0"], "cpu", 25, None), "key"),
    ("with-a-key-of-a-number", ("storage", Name("torch", "FloatStorage"), 0, "cpu", 25, None), "key"),
    ("with-a-place-of-a-list", ("storage", Name("torch", "FloatStorage"), "0", [], 25, None), "place"),
    ("with-minus-one-element", ("storage", Name("torch", "FloatStorage"), "0", "cpu", -1, None), "elements"),
    ("with-half-an-element", ("storage", Name("torch", "FloatStorage"), "0", "cpu", 24.5, None), "elements"),
    ("with-huge-elements", ("storage", Name("torch", "FloatStorage"), "0", "cpu", 2**62, None), "(cut off|length)"),
    ("with-hugest-elements", ("storage", Name("torch", "FloatStorage"), "0", "cpu", 2**100, None), "(cut off|length)"),
    ("with-true-elements", ("storage", Name("torch", "FloatStorage"), "0", "cpu", True, None), "elements"),
    ("that-is-a-view", ("storage", Name("torch", "FloatStorage"), "0", "cpu", 25, ("1", 0, 25)), "view"),
):  # fmt: skip
    in_storage(f"pid-{_word}", _words, lambda _, pid=_pid: storage_file(ONES, pid=pid))
in_storage("legacy-wrong-magic", "magic", lambda _: storage_file(ONES, magic=MAGIC + 1))
in_storage("legacy-wrong-version", "version", lambda _: storage_file(ONES, version=1002))
in_storage(
    "legacy-big-endian", "little-endian", lambda _: storage_file(ONES, machine=MACHINE | {"little_endian": False})
)
in_storage("legacy-no-machine", "little-endian", lambda _: storage_file(ONES, machine=[]))
in_storage("legacy-keys-missing", "storages", lambda _: storage_file(ONES, keys=[]))
in_storage("legacy-keys-of-others", "storages", lambda _: storage_file(ONES, keys=["0", "1"]))
in_storage("legacy-keys-no-list", "storages", lambda _: storage_file(ONES, keys={"0": 1}))
in_storage("legacy-other-length", "length", lambda _: storage_file(ONES, length=24))
in_storage("legacy-negative-length", "length", lambda _: storage_file(ONES, length=-25))
in_storage("legacy-bytes-missing", "cut off", lambda _: storage_file(ONES)[:-1])
snap("persistent-id-in-a-snapshot", "persistent id", lambda root, _: root.update(x=Pid("0")))
snap("persistent-id-in-text", "opcode PERSID", lambda root, _: root.update(x=Raw(b"P0\n")))
