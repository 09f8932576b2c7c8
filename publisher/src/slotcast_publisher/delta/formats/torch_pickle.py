"""What PyTorch's `data.pkl` says of each storage, read without running anything that it names.

A pickle is a program. Python's own unpickler, even with stand-ins for all names, hashes what a
pickle makes a key: a tuple of tuples that share their parts takes for ever, a deeply nested one
ends the process. So the few steps that PyTorch writes are taken here, and of lists, maps and
objects nothing is kept: what a storage holds is read from PyTorch's persistent ids,
`("storage", FloatStorage, key, device, elements)`.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from slotcast_publisher.delta.place import DIMS_MAX
from slotcast_schemas.codecs.delta.elements import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    INT8,
    INT16,
    INT32,
    ElementKind,
)

_KINDS: Final[dict[str, tuple[ElementKind, int]]] = {
    "FloatStorage": (FLOAT32, 1),
    "HalfStorage": (FLOAT16, 1),
    "BFloat16Storage": (BFLOAT16, 1),
    "DoubleStorage": (INT32, 2),
    "LongStorage": (INT32, 2),
    "IntStorage": (INT32, 1),
    "ShortStorage": (INT16, 1),
    "CharStorage": (INT8, 1),
    "ByteStorage": (INT8, 1),
    "BoolStorage": (INT8, 1),
    "QInt8Storage": (INT8, 1),
    "QUInt8Storage": (INT8, 1),
    "QInt32Storage": (INT32, 1),
}
_REBUILD: Final = ("_rebuild_tensor_v2", "_rebuild_qtensor")
"""PyTorch's functions that make a tensor of a storage, an offset and a shape."""
_ELEMENTS_MAX: Final = 1 << 63
"""More elements than any storage has."""


@dataclass(slots=True)
class Storage:
    """What one storage holds; `dims` is the shape of a tensor that fills it, else its length."""

    kind: ElementKind
    parts: int
    dims: tuple[int, ...]


def read_storages(data: bytes) -> dict[str, Storage]:
    """Give the storages that a `data.pkl` names, by their key; none where it is no such pickle."""
    reading = _Reading()
    try:
        for opcode, argument, _ in pickletools.genops(data):
            reading.step(opcode.name, argument)
    except Exception:  # noqa: BLE001  (a pickle may be wrong in any way, and is then no help)
        return {}
    return reading.storages


@dataclass(frozen=True, slots=True)
class _Name:
    """A class or a function that a pickle names."""

    module: str
    name: str


_THING: Final = object()
"""Stands for all that is made and not looked at."""


class _Reading:
    """A pickle's stack, its marks and what it remembers.

    Attributes:
        storages: those that were named so far, by their key.
    """

    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._kept: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Take one step.

        Raises:
            KeyError: PyTorch writes no such step.
            IndexError: nothing is there that it could be taken with.
        """
        if name in _VALUES:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _DROPS:
            del self._stack[len(self._stack) - _DROPS[name] :]
        else:
            _STEPS[name](self, argument)

    def mark(self, _argument: Any) -> None:
        """Note where a group of values begins."""
        self._marks.append(len(self._stack))

    def take_group(self, _argument: Any = None) -> tuple[Any, ...]:
        """Take the values since the last mark."""
        start = self._marks.pop()
        group = tuple(self._stack[start:])
        del self._stack[start:]
        return group

    def make_tuple(self, _argument: Any) -> None:
        """Put the values since the last mark together."""
        self._stack.append(self.take_group())

    def make_short(self, count: int) -> None:
        """Put the last few values together."""
        self._stack.append(tuple(self._stack.pop() for _ in range(count))[::-1])

    def keep(self, number: Any) -> None:
        """Remember the last value, by a number or by the next one."""
        self._kept[len(self._kept) if number is None else number] = self._stack[-1]

    def recall(self, number: Any) -> None:
        """Have a value again that was remembered."""
        self._stack.append(self._kept[number])

    def name(self, argument: Any) -> None:
        """Have what a name stands for: the name itself."""
        module, name = argument.split(" ", 1) if argument else self._two()
        self._stack.append(_Name(module, name))

    def make_new(self, _argument: Any) -> None:
        """Have a new object of a class."""
        self._two()
        self._stack.append(_THING)

    def call(self, _argument: Any) -> None:
        """Have what a function gives: a tensor that fills its storage tells the shape."""
        called, given = self._two()
        if isinstance(called, _Name) and called.name in _REBUILD and len(given) >= 3:
            _note_shape(*given[:3])
        self._stack.append(_THING)

    def refer(self, _argument: Any) -> None:
        """Have a storage that is referred to by a persistent id."""
        self._stack.append(self._find_storage(self._stack.pop()))

    def _two(self) -> tuple[Any, Any]:
        last = self._stack.pop()
        return self._stack.pop(), last

    def _find_storage(self, pid: Any) -> Any:
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage"):
            return _THING
        named, key, count = pid[1], pid[2], pid[4]
        is_torch = isinstance(named, _Name) and named.module.startswith("torch")
        known = _KINDS.get(named.name) if is_torch else None
        if known is None or not isinstance(key, str) or not isinstance(count, int):
            return _THING
        if not 1 <= count < _ELEMENTS_MAX:
            return _THING
        return self.storages.setdefault(key, Storage(known[0], known[1], (count,)))


def _note_shape(storage: Any, offset: Any, size: Any) -> None:
    if not isinstance(storage, Storage) or offset != 0 or not isinstance(size, tuple):
        return
    if not 1 < len(size) <= DIMS_MAX:
        return
    if not all(isinstance(dim, int) and 0 <= dim < _ELEMENTS_MAX for dim in size):
        return
    if math.prod(size) == math.prod(storage.dims):
        storage.dims = size


_VALUES: Final = frozenset(
    {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
    | {"BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING"}
    | {"BINBYTES", "SHORT_BINBYTES"}
)
"""Steps whose argument is the value."""
_CONSTANTS: Final[dict[str, Any]] = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
    "EMPTY_LIST": _THING,
    "EMPTY_DICT": _THING,
    "EMPTY_SET": _THING,
}
_DROPS: Final = {"PROTO": 0, "FRAME": 0, "STOP": 0, "POP": 1, "APPEND": 1, "BUILD": 1, "SETITEM": 2}
"""How many values go into what lies before them, which is not looked at."""
_STEPS: Final[dict[str, Callable[[_Reading, Any], object]]] = {
    "MARK": _Reading.mark,
    "TUPLE": _Reading.make_tuple,
    "TUPLE1": lambda reading, _: reading.make_short(1),
    "TUPLE2": lambda reading, _: reading.make_short(2),
    "TUPLE3": lambda reading, _: reading.make_short(3),
    "APPENDS": _Reading.take_group,
    "SETITEMS": _Reading.take_group,
    "ADDITEMS": _Reading.take_group,
    "POP_MARK": _Reading.take_group,
    "BINPUT": _Reading.keep,
    "LONG_BINPUT": _Reading.keep,
    "MEMOIZE": _Reading.keep,
    "BINGET": _Reading.recall,
    "LONG_BINGET": _Reading.recall,
    "GLOBAL": _Reading.name,
    "STACK_GLOBAL": _Reading.name,
    "REDUCE": _Reading.call,
    "NEWOBJ": _Reading.make_new,
    "BINPERSID": _Reading.refer,
}
