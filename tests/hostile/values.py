"""Cases: forged numbers, sets, bytes and dictionaries, one for each name that is allowed."""

from __future__ import annotations

from typing import Any

from .assembler import DTYPE, EASY, ORDERED, SCALAR, SYSTEM, Build, Call, Name, Raw, encode
from .forge import number

# Numbers, types and containers of the list -------------------------------------------------------------------


def number_type(*args: Any, state: Any = (3, "<", None, None, None, -1, -1, 0)) -> Build:
    return Build(Call(DTYPE, args), state)


number("number-of-object-type", "type 'O8'", Call(SCALAR, (Call(DTYPE, ("O8", False, True)), b"\x00" * 8)))
number("number-of-object-type-with-state", "type 'O'", Call(SCALAR, (number_type("O"), b"\x01" * 8)))
number("number-of-void-type", "type 'V8'", Call(SCALAR, (number_type("V8"), b"\x00" * 8)))
number("number-of-text-type", "type 'U2'", Call(SCALAR, (number_type("U2"), b"\x00" * 8)))
number("number-of-long-double-type", "type 'f16'", Call(SCALAR, (number_type("f16"), b"\x00" * 16)))
number("number-of-a-structured-type", "type", Call(SCALAR, (number_type([("a", "O")]), b"\x00" * 8)))
number("number-of-a-type-of-types", "type", Call(SCALAR, (Call(DTYPE, (Call(DTYPE, ("f8",)),)), b"\x00" * 8)))
number(
    "number-of-big-endian",
    "little-endian",
    Call(SCALAR, (number_type("f8", state=(3, ">", None, None, None, -1, -1, 0)), b"\x00" * 8)),
)
number("number-type-with-state-of-text", "number", Call(SCALAR, (number_type("f8", state="<<"), b"\x00" * 8)))
number("number-type-with-state-of-nothing", "number", Call(SCALAR, (number_type("f8", state=()), b"\x00" * 8)))
number("number-type-of-no-arguments", "argument", Call(DTYPE, ()))
number("number-too-short", "bytes", Call(SCALAR, (number_type("f8"), b"\x00" * 7)))
number("number-too-long", "bytes", Call(SCALAR, (number_type("f8"), b"\x00" * 9)))
number("number-of-text", "bytes", Call(SCALAR, (number_type("f8"), "12345678")))
number("number-without-a-type", "type", Call(SCALAR, ("f8", b"\x00" * 8)))
number("number-of-no-arguments", "argument", Call(SCALAR, ()))
number(
    "array-of-objects",
    "_reconstruct|ndarray",
    Build(
        Call(Name("numpy.core.multiarray", "_reconstruct"), (Name("numpy", "ndarray"), (0,), b"b")),
        (1, (1,), number_type("O8"), False, [Call(SYSTEM, ("true",))]),
    ),
)
number("array-of-a-terabyte", "ndarray", Call(Name("numpy", "ndarray"), ((2**40,),)))
number("set-of-lists", "set", Call(Name("builtins", "set"), ([[[]]],)))
number("set-of-a-number", "set", Call(Name("builtins", "set"), (2**60,)))
number("set-of-sets-of-text", "set", Call(Name("__builtin__", "set"), ("abc",)))
number("set-filled-with-a-list", "key", Raw(b"\x8f(" + encode([]) + b"\x90"))
number("frozen-set", "opcode FROZENSET", Raw(b"(K\x01\x91"))
number("bytes-of-a-huge-number", "argument|bytes", Call(Name("__builtin__", "bytes"), (2**62,)))
number("bytes-of-builtins", "builtins.bytes", Call(Name("builtins", "bytes"), (2**62,)))
number("bytearray-of-builtins", "builtins.bytearray", Call(Name("builtins", "bytearray"), (2**62,)))
number("encoding-is-another", "latin1", Call(Name("_codecs", "encode"), ("text", "zip")))
number("encoding-of-bytes", "latin1", Call(Name("_codecs", "encode"), (b"text", "latin1")))
number("encoding-of-other-letters", "latin1", Call(Name("_codecs", "encode"), ("\u20ac", "latin1")))
number(
    "encoding-with-an-error-handler", "argument|latin1", Call(Name("_codecs", "encode"), ("text", "latin1", "ignore"))
)
number("decoding", "_codecs.decode", Call(Name("_codecs", "decode"), (b"text", "zip")))
number("easy-dict-of-arguments", "argument|EasyDict", Call(EASY, ({"a": 1},)))
number("easy-dict-with-another-state", "state|EasyDict|dict", Build(Call(EASY, (), b"\x81"), [1]))
number("ordered-dict-of-a-number", "OrderedDict", Call(ORDERED, (2**60,)))
number("ordered-dict-of-pairs-without-end", "OrderedDict", Raw(encode(ORDERED) + b"]q\x01h\x01a\x85R"))
number("dict-with-a-list-as-key", "key", Raw(b"}" + encode([]) + b"Ns"))
number("dict-with-a-deep-tuple-as-key", "key", Raw(b"}" + b")" + b"\x85" * 50_000 + b"Ns"))
number("dict-with-a-key-without-value", "key", Raw(b"}(" + encode("a") + b"u"))
number("settings-in-a-snapshot", "argparse.Namespace", Call(Name("argparse", "Namespace"), (), b"\x81"))
