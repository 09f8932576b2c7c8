"""Looks into a model's file before the runtime does: where does it want to read, what to load?

Of ONNX, refuses external data outside the slot and operators that would need a library of the
model's own. Walks the protobuf wire format itself (field numbers from onnx.proto3, IR version 10),
because a device has no `onnx` package, and because the weights can be stepped over unread.
Of LiteRT, refuses tensors that lie in other files. The runtime checks the rest of the file.

What a runtime prepared or compiled for itself cannot be looked into, and may be native code: it is
refused unless the release says with its signature that it is meant.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from slotcast_schemas.byte_reader import NotThisFormat, Reader
from slotcast_schemas.codecs.source import FileSource
from slotcast_schemas.flatbuffer import Table
from slotcast_schemas.model_formats import LITERT, ONNX
from slotcast_schemas.probe.spec import SlotModel

KNOWN_DOMAINS: Final = frozenset(
    {
        "",
        "ai.onnx",
        "ai.onnx.ml",
        "ai.onnx.training",
        "ai.onnx.preview",
        "ai.onnx.preview.training",
        "com.microsoft",
        "com.microsoft.nchwc",
        "com.microsoft.experimental",
        "com.ms.internal.nhwc",
    }
)
"""Domains whose operators are in onnxruntime itself."""

_DEPTH_MAX: Final = 64
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# Message -> field number -> message; only what leads to a tensor or a node.
_TREE: Final[dict[str, dict[int, str]]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external"},
    "external": {},
}


class UnsafeModel(Exception):
    """The model would have the runtime read or load what the release does not hold."""


_ORT_IDENTIFIER: Final = b"ORTM"
"""What onnxruntime's own files have at their fifth byte."""

_EXTERNAL_BUFFER_GROUPS: Final = 8
"""The field of LiteRT's Model (schema.fbs) that names other files."""

COMPILED_HINT: Final = "the release must permit it (slotcast release --allow-compiled)"


def scan(model: SlotModel) -> None:
    """Refuse a model that reaches outside its slot, or that cannot be looked into.

    Raises:
        UnsafeModel: with what it wants.
        ValueError: not an ONNX protobuf; the runtime will say more.
        OSError: the file cannot be read.
    """
    path = model.path
    slot = Path(model.slot).resolve()
    if not path.resolve().is_relative_to(slot):
        raise UnsafeModel(f"entry {model.entry!r} leads out of the slot")
    if path.stat().st_size == 0:
        return  # the runtime says so
    if model.format == LITERT:
        _scan_litert(path)
    elif model.format == ONNX:
        _scan_onnx(path, slot, is_compiled=model.is_compiled)


def is_prepared(path: Path) -> bool:
    """Say whether a file is one that onnxruntime prepared for itself, whatever it is called.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return file.read(8)[4:] == _ORT_IDENTIFIER or path.suffix == ".ort"


def _scan_onnx(path: Path, slot: Path, *, is_compiled: bool) -> None:
    if is_prepared(path):
        if not is_compiled:
            raise UnsafeModel(f"is a file that onnxruntime prepared for itself; {COMPILED_HINT}")
        return
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    # Not closed here: the frames of an error still hold views of it. Its last view closes it.
    _Scanner(path.resolve().parent, slot, is_compiled=is_compiled).scan(memoryview(data))


def _scan_litert(path: Path) -> None:
    with FileSource(path) as source:
        try:
            groups = Table.root(Reader(source)).vector(_EXTERNAL_BUFFER_GROUPS, 4)
        except NotThisFormat as exc:
            raise ValueError(f"not a LiteRT file: {exc}") from exc
    if groups.count:
        raise UnsafeModel("keeps tensors in other files, which LiteRT would read from anywhere")


class _Scanner:
    def __init__(self, folder: Path, slot: Path, *, is_compiled: bool) -> None:
        self._is_compiled = is_compiled
        self._folder = folder
        self._slot = slot
        self._domains: set[str] = set()
        self._own_domains: set[str] = set()

    def scan(self, data: memoryview) -> None:
        self._walk(data, "model", 0)
        strange = sorted(self._domains - self._own_domains - KNOWN_DOMAINS)
        if strange:
            raise UnsafeModel(
                f"needs operators of domain {strange[0]!r}; libraries of custom operators"
                " are not loaded from a release"
            )

    def _walk(self, data: memoryview, kind: str, depth: int) -> None:
        if depth > _DEPTH_MAX:
            raise ValueError(f"nested deeper than {_DEPTH_MAX} levels")
        for number, value in _fields(data):
            child = _TREE[kind].get(number)
            if child == "external":
                self._external(value)
            elif child is not None:
                self._walk(value, child, depth + 1)
            elif kind == "node":
                self._node(number, value)
            elif kind == "function" and number == 10:
                self._own_domains.add(_text(value))

    def _node(self, number: int, value: memoryview) -> None:
        if number == 7:
            self._domains.add(_text(value))
        elif number == 4 and _text(value) == "EPContext" and not self._is_compiled:
            raise UnsafeModel(
                f"holds an EPContext node, which loads a compiled binary; {COMPILED_HINT}"
            )

    def _external(self, entry: memoryview) -> None:
        fields = {number: _text(value) for number, value in _fields(entry)}
        if fields.get(1) != "location":
            return
        location = fields.get(2, "")
        target = (self._folder / location).resolve()
        if not location or not target.is_relative_to(self._slot) or not target.is_file():
            raise UnsafeModel(f"external data {location!r:.200} is not a file of the release")


def _text(value: memoryview) -> str:
    return bytes(value[:1024]).decode("utf-8", "replace")


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The length-delimited fields of one message; the others are stepped over.

    Raises:
        ValueError: not protobuf, or a length past the end.
    """
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == _BYTES:
            size, at = _varint(data, at)
            if size > len(data) - at:
                raise ValueError("a field reaches past the end of the file")
            yield tag >> 3, data[at : at + size]
            at += size
        elif wire == _VARINT:
            _, at = _varint(data, at)
        elif wire in {_FIXED64, _FIXED32}:
            at += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire} is not protobuf's")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number that does not end")
