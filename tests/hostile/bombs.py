"""Cases: cycles, depth, declared sizes, repetition; structures that are no snapshot; odd files that are whole."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from .. import standin
from .assembler import (
    LOAD,
    MACHINE,
    RECONSTRUCT,
    SCALAR,
    Build,
    Call,
    Name,
    Node,
    Raw,
    Weight,
    encode,
    pickled,
    storage_file,
)
from .forge import HARMLESS, File, case, config, odd, opcodes, snap, snapshot
from .objects import stride_of_one
from .running import ONES, nested
from .values import number_type

# Cycles, depth and bombs -----------------------------------------------------------------------------------------


def _facts(name: str, modules: bytes) -> bytes:
    """The opcodes of a persistent object whose ``_modules`` are what these opcodes make."""
    facts = encode("type") + encode("class") + encode("version") + encode(6) + encode("class_name") + encode(name)
    parts = encode("_parameters") + b"}" + encode("_buffers") + b"}" + encode("_modules") + modules
    return encode(RECONSTRUCT) + b"}(" + facts + encode("state") + b"}(" + parts + b"uu\x85R"


def _cycle_of_modules(root: dict[str, Any], _: Path) -> None:
    # The object's own modules are kept in the memo, and get the object as one of them afterwards.
    root["G_ema"] = Raw(_facts("Generator", b"}q\xf0") + b"q\xf1")
    root["later"] = Raw(b"h\xf0" + encode("mapping") + b"h\xf1s")


snap("cycle-of-modules", "contain themselves", _cycle_of_modules)
opcodes("cycle-of-a-list", "list", b"]q\x00h\x00a")
opcodes("cycle-of-a-dict", "G_ema", b"}q\x00" + encode("G_ema") + b"h\x00s")
config(
    "cycle-in-synthesis-arguments",
    "synthesis_kwargs|channel|argument",
    synthesis_kwargs=Raw(b"}q\x00" + encode("channel_base") + b"h\x00s"),
)
opcodes("deep-lists", ".", b"]" * 100_000 + b"a" * 99_999)
opcodes("deep-lists-of-a-million", "opcodes", lambda: b"]" * 1_000_000 + b"a" * 999_999)
opcodes("deep-tuples", ".", b")" + b"\x85" * 100_000)
opcodes("deep-marks", ".", b"(" * 150_000 + b"t" * 150_000)
opcodes("deep-dicts", ".", b"}" + b"X\x01\x00\x00\x00a}" * 50_000 + b"s" * 50_000)
opcodes("deep-sets", "key", b"\x8f" + b"(\x8f" * 30_000 + b"\x90" * 30_000)


def _deep_modules(root: dict[str, Any], _: Path) -> None:
    root.pop("G_ema")  # it comes last
    root["innermost"] = Raw(_facts("Generator", b"}") + b"q\xf0")
    wrapped = _facts("Generator", b"}" + encode("a") + b"h\xf0s") + b"q\xf0"
    root["others"] = Raw(b"](" + wrapped * 12_000 + b"e")
    root["G_ema"] = Raw(b"h\xf0")


snap("deep-modules", "nested too deeply", _deep_modules)
snap(
    "wide-modules",
    "modules",
    lambda root, _: (
        root["G_ema"]
        .state["_modules"]
        .update(
            {
                f"m{i}": Node(
                    dict(
                        type="class",
                        version=6,
                        class_name="x",
                        state={"_parameters": {}, "_buffers": {}, "_modules": {}},
                    )
                )
                for i in range(4_000)
            }
        )
    ),
)
opcodes("bomb-bytes8-of-8-gib", "(cut off|damaged)", b"\x8e" + struct.pack("<Q", 8 * 2**30) + b"abc")
opcodes("bomb-bytes8-of-an-exbibyte", "(cut off|damaged|memory)", b"\x8e" + struct.pack("<Q", 2**60) + b"abc")
opcodes("bomb-bytes8-of-everything", "(cut off|damaged)", b"\x8e" + b"\xff" * 8 + b"abc")
opcodes("bomb-bytes-of-4-gib", "(cut off|damaged)", b"B\xff\xff\xff\xffabc")
opcodes("bomb-text8-of-8-gib", "(cut off|damaged)", b"\x8d" + struct.pack("<Q", 8 * 2**30) + b"abc")
opcodes("bomb-text8-of-an-exbibyte", "(cut off|damaged|memory)", b"\x8d" + struct.pack("<Q", 2**60) + b"abc")
opcodes("bomb-text-of-4-gib", "(cut off|damaged)", b"X\xff\xff\xff\xffabc")
opcodes("bomb-bytearray8-of-8-gib", "(cut off|damaged|BYTEARRAY8)", b"\x96" + struct.pack("<Q", 8 * 2**30) + b"abc", 5)
opcodes("bomb-bytearray8-small", "BYTEARRAY8", b"\x96" + struct.pack("<Q", 3) + b"abc", 5)
opcodes("bomb-next-buffer", "opcode NEXT_BUFFER", b"\x97", 5)
opcodes("bomb-readonly-buffer", "opcode READONLY_BUFFER", b"N\x98", 5)
opcodes("bomb-long4-of-2-gib", "(cut off|damaged)", b"\x8b\xff\xff\xff\x7fabc")
opcodes("bomb-long4-negative", "(cut off|damaged)", b"\x8b\xff\xff\xff\xffabc")
opcodes(
    "bomb-long4-of-a-megabyte", "(LONG4|whole number)", lambda: b"\x8b" + struct.pack("<i", 2**20) + b"\x7f" * 2**20
)
opcodes("bomb-long1-of-255-bytes", "whole number", b"\x8a\xff" + b"\x7f" * 255)
opcodes("bomb-long-in-text", "(LONG|damaged)", lambda: b"L" + b"9" * 1_000_000 + b"L\n")
opcodes("bomb-int-in-text", "(INT|damaged)", lambda: b"I" + b"9" * 1_000_000 + b"\n")
opcodes("bomb-frame-of-everything", ".", b"\x95" + b"\xff" * 8 + b"N")
opcodes("bomb-memo-index", ".", b"Nr\xff\xff\xff\x7f")
opcodes("bomb-memo-text-index", "(opcode PUT|cut off|damaged)", b"Np99999999999999999999\n")
opcodes("bomb-memo-get-unknown", "not kept", b"h\x07")
opcodes("bomb-memo-of-nothing", "nothing", b"q\x00N")
opcodes("bomb-duplicates", "opcode DUP", b"N" + b"2" * 1000)
opcodes(
    "bomb-laughs-as-a-key",
    "key",
    b"}(" + b")q\x00" + b"".join(b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(1)) + b"Nu",
)
opcodes("bomb-many-opcodes", "opcodes", lambda: b"(" + b"N" * 900_000 + b"t")


def _read_again_and_again(_: Path) -> File:
    """A file of 300 kB whose one storage, slow to read, is read anew by each of 60,000 calls."""
    slow = storage_file(ONES, machine=MACHINE | {"x": Raw(b"(" + b"N" * 200_000 + b"t")})
    call = encode(LOAD) + b"h\x00\x85R"
    return File(b"\x80\x04](" + encode(slow) + b"q\x00" + call * 60_000 + b"e.")


case("bomb-storage-read-60000-times", "opcodes", _read_again_and_again)

# Structure ---------------------------------------------------------------------------------------------------------

opcodes("structure-nothing", "empty stack", b"")
opcodes("structure-two-values", "left over", b"NN")
opcodes("structure-open-mark", "left over|empty", b"(N")
opcodes("structure-no-mark", "mark", b"Nt")
opcodes("structure-append-to-a-dict", "list", b"}Na")
opcodes("structure-setitem-of-a-list", "dict", b"]NNs")
opcodes("structure-pop", "opcode POP", b"NN0")
opcodes("structure-reduce-of-nothing", "empty stack", b"R")
opcodes("structure-protocol-changes", "protocol 9", b"\x80\x09N")
opcodes("structure-protocol-255", "protocol", b"N", 255)
opcodes("structure-protocol-1", "protocol", b"N", 1)
opcodes("structure-unknown-opcode", "(cut off|damaged)", b"\xff")
opcodes("structure-half-a-letter", "(cut off|damaged)", b"X\x01\x00\x00\x00\xe2")
opcodes("structure-lone-surrogate", ".", encode("\ud800"))
case("structure-protocol-0", "(must be a|none of them)", lambda _: File(b"(dp0\nVG_ema\np1\nNs."))
case(
    "structure-protocol-0-runs",
    "(must be a|none of them)",
    lambda c: File(b"cos\nsystem\n(Vtouch " + str(c).encode() + b"\ntR."),
)
case("structure-no-stop", "(cut off|damaged)", lambda _: File(pickled(snapshot())[:-1]))
case("structure-root-is-a-list", "dictionary", lambda _: File(pickled([snapshot()])))
case("structure-root-is-none", "dictionary", lambda _: File(pickled(None)))
snap("structure-no-average", "G_ema", lambda root, _: root.pop("G_ema") and None)
snap("structure-average-is-none", "G_ema", lambda root, _: root.update(G_ema=None))
snap("structure-average-is-a-number", "G_ema", lambda root, _: root.update(G_ema=7))
snap("structure-average-is-a-state-dict", "G_ema", lambda root, _: root.update(G_ema={"a": 1}))
snap("structure-is-empty", "G_ema", lambda *_: {})
_TF = Name("dnnlib.tflib.network", "Network")
case(
    "tensorflow-pickle",
    "TensorFlow",
    lambda _: File(
        pickled(
            tuple(
                Build(
                    Call(_TF, (), b"\x81"), {"version": 4, "name": n, "build_module_src": "import os", "variables": []}
                )
                for n in "GDg"
            )
        )
    ),
)
case("tensorflow-pickle-of-none", "TensorFlow", lambda _: File(pickled((None, None, None))))


def _stylegan3(root: dict[str, Any], _: Path) -> None:
    g = root["G_ema"]
    layer = g.module("synthesis.b8.conv1").state
    layer["_buffers"] |= {
        "up_filter": Weight(np.ones(12, np.float32)),
        "magnitude_ema": Weight(np.ones((), np.float32)),
    }
    g.module("synthesis").state["_modules"] = {
        "input": g.module("synthesis.b4"),
        "L0_36_512": g.module("synthesis.b8.conv1"),
    }


snap("stylegan3-pickle", "StyleGAN3|blocks of", _stylegan3)

_LAUGHS = b"".join(b"](" + (b"h" + bytes([i])) * 10 + b"eq" + bytes([i + 1]) for i in range(60))
_PAIRS = b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(200))
odd("laughs-in-lists", lambda root, _: root.update(augment_pipe=Raw(b"](]q\x00" + _LAUGHS + b"e")))
odd("laughs-in-tuples", lambda root, _: root.update(augment_pipe=Raw(b"]()q\x00" + _PAIRS + b"e")))
odd("cycle-in-an-attribute", lambda root, _: root["G_ema"].state.update(x=Raw(b"}q\x00" + encode("a") + b"h\x00s")))
odd("cycle-in-the-settings", lambda root, _: root.update(training_set_kwargs=Raw(b"]q\x00h\x00a")))
odd("deep-attribute", lambda root, _: root["G_ema"].state.update(x=Raw(b")" + b"\x85" * 100_000)))
odd("memo-index-huge", lambda root, _: root["G_ema"].state.update(x=Raw(b"Nr\xff\xff\xff\x7f")))
odd("frame-of-everything", lambda root, _: root["G_ema"].state.update(x=Raw(b"N\x95" + b"\xff" * 8)))
odd(
    "number-type-with-fields",
    lambda root, _: root["G_ema"].state.update(
        x=Call(SCALAR, (number_type("f8", state=(3, "|", ("a",), {"a": 1}, None, 8, 1, 63)), b"\x00" * 8))
    ),
)
odd("source-that-is-no-text", lambda root, _: root["G_ema"].meta.update(module_src=Raw(b"]q\x00h\x00a")))
odd("source-that-writes", lambda root, c: root["G_ema"].meta.update(module_src=standin.SOURCE.format(canary=str(c))))
odd("hooks-of-text", lambda root, _: root["G_ema"].state.update(_forward_hooks="os.system", __reduce__="os.system"))
odd(
    "class-beside-the-networks",
    lambda root, _: root.update(
        augment_pipe=Node(dict(type="class", version=6, class_name="os.system", module_src="", state={}))
    ),
)
odd("stride-of-a-side-of-one-large", lambda root, _: stride_of_one(root, 2**61))
odd("stride-of-a-side-of-one-huge", lambda root, _: stride_of_one(root, 2**100))
HARMLESS["bytes-behind"] = lambda canary: File(pickled(snapshot()) + nested(canary))
