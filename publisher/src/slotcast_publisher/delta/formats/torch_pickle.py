"""What PyTorch's `data.pkl` says of each storage, read without running anything that it names.

A pickle is a program that may call any function. Here every name that it asks for is an inert
stand-in of this module, so that all it can do is build these; what a storage holds is read from
PyTorch's persistent ids, `("storage", FloatStorage, key, device, elements)`.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

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


@dataclass(slots=True)
class Storage:
    """What one storage holds; `dims` is the shape of a tensor that fills it, else its length."""

    kind: ElementKind
    parts: int
    dims: tuple[int, ...]


def read_storages(data: bytes) -> dict[str, Storage]:
    """Give the storages that a `data.pkl` names, by their key; none where it is no such pickle."""
    unpickler = _Unpickler(io.BytesIO(data))
    try:
        if any(number > len(data) for number in _memo_numbers(data)):
            return {}
        unpickler.load()
    except Exception:  # noqa: BLE001  (a pickle may be wrong in any way, and is then no help)
        return {}
    return unpickler.storages


def _memo_numbers(data: bytes) -> Iterator[int]:
    """By which numbers objects are remembered; the highest is the length of a table."""
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT"):
            yield int(argument or 0)


class _StandIn:
    """Stands for whatever a pickle names: takes anything, does nothing."""

    def __init__(self, *_args: object, **_options: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        """Take an item of a list."""

    def extend(self, items: object) -> None:
        """Take items of a list."""

    def __call__(self, *_args: object) -> _StandIn:
        return _StandIn()


class _NamedStorage:
    """A storage that a pickle refers to."""

    def __init__(self, key: str, storage: Storage | None) -> None:
        self.key = key
        self.storage = storage


class _StorageType:
    """Stands for a storage's class, whose name says the type."""

    def __init__(self, name: str) -> None:
        self.name = name


def _rebuild(storage: object, offset: object, size: object, *_more: object) -> _StandIn:
    """Stand for PyTorch's function: a tensor that fills its storage tells the shape."""
    known = storage.storage if isinstance(storage, _NamedStorage) else None
    if known is not None and offset == 0 and isinstance(size, tuple):
        dims = tuple(dim for dim in size if isinstance(dim, int))
        if len(dims) == len(size) > 1 and math.prod(dims) == math.prod(known.dims):
            known.dims = dims
    return _StandIn()


class _Unpickler(pickle.Unpickler):
    """Unpickles with stand-ins for all names."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.storages: dict[str, Storage] = {}

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if global_name.endswith("Storage") and module_name.startswith("torch"):
            return _StorageType(global_name)
        if global_name in ("_rebuild_tensor_v2", "_rebuild_qtensor"):
            return _rebuild
        return _StandIn

    def persistent_load(self, pid: Any, /) -> _NamedStorage:
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage"):
            return _NamedStorage("", None)
        storage_type, key, count = pid[1], str(pid[2]), pid[4]
        name = storage_type.name if isinstance(storage_type, _StorageType) else ""
        known = _KINDS.get(name)
        if known is None or not isinstance(count, int) or count < 1:
            return _NamedStorage(key, None)
        storage = self.storages.setdefault(key, Storage(known[0], known[1], (count,)))
        return _NamedStorage(key, storage)
