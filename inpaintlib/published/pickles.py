"""Reads a pickle as data: what it names is looked up in a table of ours, and nothing else is called or imported.

The standard library's own decoder of opcodes (``pickletools.genops``, which only decodes) is followed by a small stack
machine that knows the opcodes that tensors, containers and numbers are written with. No class or function of the file's
choice ever exists here: a name stands for a function of this package, found in an exact table of (module, name), or
the file is refused. Sizes, numbers of opcodes and types of keys are limited, so that a file cannot ask for more than
it holds.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

from ..errors import InpaintError

__all__ = ["Inert", "Name", "Names", "read_pickle", "short"]

MAX_OPCODES = 400_000  # the largest published generator with its discriminator takes about 40,000
MAX_INT_BITS = 128
PROTOCOLS = range(2, 6)
# What the decoder raises on a damaged file.
DAMAGE = (ValueError, IndexError, OverflowError, EOFError)


class Inert:
    """Base of the objects that a file's state may be put into: it is kept as data."""

    def set_state(self, state: object) -> None:
        """Takes what the file says of the object. Raises InpaintError if it is not of the expected form."""
        raise InpaintError(f"gives a state to a {type(self).__name__.lower()}, which has none")


#: (module, name) -> what stands for it.
Names = Mapping[tuple[str, str], Callable[..., Any]]


class Name(NamedTuple):
    """A name that the file mentions and the table knows."""

    module: str
    name: str
    call: Callable[..., Any]


def short(value: object) -> str:
    """Returns a value of a file for a message: one line, never long, and nothing nested is looked into."""
    if value is None or isinstance(value, (bool, float)):
        return repr(value)
    if isinstance(value, int):
        return repr(value) if value.bit_length() <= 64 else "a huge number"
    if isinstance(value, Name):
        value = f"{value.module}.{value.name}"
    if isinstance(value, str):
        text = ascii(value[:60])  # names may hold anything
        return text if len(text) <= 80 else f"{text[:77]}..."
    kind = {"Stored": "tensor"}.get(type(value).__name__, type(value).__name__.lower())
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def read_pickle(stream: BinaryIO, names: Names, persistent: Callable[[object], Any] | None = None, *,
                most: int = MAX_OPCODES) -> Any:  # fmt: skip
    """Returns the object of the pickle that begins at the stream's position, which is then behind it.

    Args:
        stream: binary and seekable.
        names: (module, name) -> function of ours; asked for by the exact pair.
        persistent: what a persistent id stands for; None = there may be none.
        most: how many opcodes there may be.

    Raises:
        InpaintError: for an opcode, a name, a size or a structure that no weights file needs, and for a damaged one;
            the sentence tells the byte.
    """
    machine, at = _Machine(names, persistent), stream.tell()
    try:
        for count, (opcode, arg, pos) in enumerate(pickletools.genops(_Bounded(stream))):
            at = pos
            if count >= most:
                raise InpaintError(f"holds more than {most:,} opcodes")
            if count == 0 and (opcode.name != "PROTO" or arg not in PROTOCOLS):
                raise InpaintError("is no binary pickle of protocol 2 to 5")
            machine.step(opcode.name, arg)
    except InpaintError as error:
        inner = str(error).startswith("byte ")  # of a file within the file
        raise InpaintError(str(error) if inner else f"byte {at}: the file {error}") from None
    except DAMAGE as error:
        raise InpaintError(
            f"byte {at}: the file is cut off or damaged ({' '.join(str(error).split())[:120]})"
        ) from None
    return machine.result


class _Bounded:
    """A stream that is never asked for more than is left: memory for a declared size would be taken at once."""

    def __init__(self, stream: BinaryIO):
        self.stream, self.tell, self.readline = stream, stream.tell, stream.readline
        at = stream.tell()
        self.end = stream.seek(0, io.SEEK_END)
        stream.seek(at)

    def read(self, n: int) -> bytes:
        return self.stream.read(n if n < 2**16 else min(n, self.end - self.tell()))


class _Machine:
    """The stack, the marks and the memo of one pickle."""

    def __init__(self, names: Names, persistent: Callable[[object], Any] | None):
        self.names, self.persistent = names, persistent
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under the marks
        self.memo: dict[int, Any] = {}
        self.result: Any = None

    def step(self, opcode: str, arg: Any) -> None:
        if opcode in _LITERALS:
            self.stack.append(arg)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode])
        elif opcode in _EMPTY:
            self.stack.append(_EMPTY[opcode]())
        elif opcode in _ACTIONS:
            action = getattr(self, f"_{opcode.lower()}")
            action() if arg is None else action(arg)
        else:
            raise InpaintError(f"uses the opcode {opcode}, which no weights file needs")

    # Stack -------------------------------------------------------------------------------------------------

    def _pop(self) -> Any:
        if not self.stack:
            raise InpaintError("takes a value from an empty stack")
        return self.stack.pop()

    def _marked(self) -> list[Any]:
        """The values since the last mark, which is removed."""
        if not self.below:
            raise InpaintError("looks for a mark where there is none")
        values, self.stack = self.stack, self.below.pop()
        return values

    def _mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def _proto(self, version: int) -> None:
        if version not in PROTOCOLS:
            raise InpaintError(f"is a pickle of protocol {version}; 2 to 5 are known")

    def _frame(self, size: int) -> None:
        pass  # where its pieces begin and end means nothing to a reader of opcodes

    def _stop(self) -> None:
        self.result = self._pop()
        if self.stack or self.below:
            raise InpaintError("ends with values left over")

    # Numbers and names ---------------------------------------------------------------------------------------

    def _long1(self, number: int) -> None:
        if number.bit_length() > MAX_INT_BITS:
            raise InpaintError("holds a whole number that no weights file needs")
        self.stack.append(number)

    def _global(self, text: str) -> None:
        module, _, name = text.partition(" ")
        self._find(module, name)

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        if not (isinstance(module, str) and isinstance(name, str)):
            raise InpaintError("names something by what is no text")
        self._find(module, name)

    def _find(self, module: str, name: str) -> None:
        if (module, name) not in self.names:
            raise InpaintError(f"names {short(f'{module}.{name}')}, which no weights file needs")
        self.stack.append(Name(module, name, self.names[module, name]))

    def _call(self, what: Any, args: Any) -> None:
        if not isinstance(what, Name) or not isinstance(args, tuple):
            raise InpaintError(f"calls {short(what)}, which is no name of the list")
        try:
            self.stack.append(what.call(*args))
        except TypeError:
            raise InpaintError(f"gives {short(what)} other arguments than it takes") from None

    def _reduce(self) -> None:
        args, what = self._pop(), self._pop()
        self._call(what, args)

    _newobj = _reduce

    def _build(self) -> None:
        state, what = self._pop(), self._pop()
        if isinstance(what, Inert):
            what.set_state(state)
        elif not (isinstance(what, dict) and isinstance(state, dict)):  # a state dict's _metadata means nothing here
            raise InpaintError(f"gives a state to {short(what)}, which has none")
        self.stack.append(what)

    def _binpersid(self) -> None:
        if self.persistent is None:
            raise InpaintError("holds a persistent id, which belongs into files of torch.save")
        self.stack.append(self.persistent(self._pop()))

    # Containers ----------------------------------------------------------------------------------------------

    def _tuple(self) -> None:
        values = self._marked()
        self.stack.append(tuple(values))

    def _tuple1(self) -> None:
        self.stack.append((self._pop(),))

    def _tuple2(self) -> None:
        b, a = self._pop(), self._pop()
        self.stack.append((a, b))

    def _tuple3(self) -> None:
        c, b, a = self._pop(), self._pop(), self._pop()
        self.stack.append((a, b, c))

    def _top(self, kind: type) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            found = short(self.stack[-1]) if self.stack else "nothing"
            raise InpaintError(f"fills {found} as if it were a {kind.__name__}")
        return self.stack[-1]

    def _append(self) -> None:
        value = self._pop()
        self._top(list).append(value)

    def _appends(self) -> None:
        values = self._marked()
        self._top(list).extend(values)

    def _setitem(self) -> None:
        value, key = self._pop(), self._pop()
        self._fill([key, value])

    def _setitems(self) -> None:
        self._fill(self._marked())

    def _fill(self, pairs: list[Any]) -> None:
        if len(pairs) % 2:
            raise InpaintError("gives a dictionary a key without a value")
        target = self._top(dict)
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            _check_key(key)
            target[key] = value

    def _additems(self) -> None:
        values = self._marked()
        for value in values:
            _check_key(value)
        self._top(set).update(values)

    # Memo ----------------------------------------------------------------------------------------------------

    def _memoize(self) -> None:
        self._put(len(self.memo))

    def _put(self, index: int) -> None:
        self.memo[index] = self._top(object)

    _binput = _long_binput = _put

    def _get(self, index: int) -> None:
        if index not in self.memo:
            raise InpaintError(f"asks for value {index}, which it has not kept")
        self.stack.append(self.memo[index])

    _binget = _long_binget = _get


def _check_key(key: object) -> None:
    # The hash of a deeply nested tuple would overflow the interpreter's stack.
    if key is not None and not isinstance(key, (str, int)):
        raise InpaintError(f"has {short(key)} as a key")


# Python 2 wrote its texts as SHORT_BINSTRING and BINSTRING.
_LITERALS = {"BININT", "BININT1", "BININT2", "BINFLOAT", "SHORT_BINSTRING", "BINSTRING", "BINUNICODE",
             "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}
_ACTIONS = {"PROTO", "FRAME", "STOP", "MARK", "LONG1", "GLOBAL", "STACK_GLOBAL", "REDUCE", "NEWOBJ", "BUILD",
            "BINPERSID", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS",
            "MEMOIZE", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"}  # fmt: skip
