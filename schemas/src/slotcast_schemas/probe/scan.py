"""Looks into a model's file before the runtime does: where does it want to read, what to load?

Of ONNX, refuses external data outside the slot and operators that would need a library of the
model's own. Walks the protobuf wire format itself (field numbers from onnx.proto3, IR version 13),
because a device has no `onnx` package, and because the weights can be stepped over unread. What
the runtime might read otherwise than this does is refused (ADR 0146).
Of LiteRT, refuses tensors that lie in other files. The runtime checks the rest of the file.

What a runtime prepared or compiled for itself cannot be looked into, and may be native code: it is
refused unless the release says with its signature that it is meant.
"""

from __future__ import annotations

import mmap
import os
import posixpath
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from slotcast_schemas.byte_reader import NotThisFormat, Reader
from slotcast_schemas.codecs.source import MemorySource
from slotcast_schemas.flatbuffer import Table
from slotcast_schemas.model_formats import LITERT, ONNX
from slotcast_schemas.probe.spec import SlotModel
from slotcast_schemas.probe.strict_protobuf import BYTES, Field, read_fields

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
"""The most messages within messages."""

_TEXT_MAX_BYTES: Final = 1024
"""The most bytes of a text that is judged here: a path in a release has 200 characters at most."""

# Message -> field number -> message; only what leads to a tensor or a node.
_TREE: Final[dict[str, dict[int, str]]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external"},
    "external": {},
}

# Message -> fields that it has once: of two values, readers take the first, the last, or both.
_ONCE: Final[dict[str, frozenset[int]]] = {
    "model": frozenset({1, 2, 3, 4, 5, 6, 7}),
    "training": frozenset({1, 2}),
    "graph": frozenset({2, 10}),
    "function": frozenset({1, 8, 10, 13}),
    "node": frozenset({3, 4, 6, 7, 8}),
    "attribute": frozenset({1, 2, 3, 4, 5, 6, 13, 14, 20, 21, 22}),
    "sparse": frozenset({1, 2}),
    "tensor": frozenset({2, 3, 8, 9, 12, 14}),
    "external": frozenset({1, 2}),
}

# Message -> field number -> what it names; texts that are judged here.
_TEXTS: Final[dict[str, dict[int, str]]] = {
    "node": {4: "operator", 7: "domain"},
    "function": {10: "domain"},
    "external": {1: "key", 2: "value"},
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
    if not model.memory and not model.path.resolve().is_relative_to(Path(model.slot).resolve()):
        raise UnsafeModel(f"entry {model.entry!r} leads out of the slot")
    with model.open_file(model.entry) as file:
        if not os.fstat(file.fileno()).st_size:
            return  # the runtime says so
        if model.format == LITERT:
            _scan_litert(file)
        elif model.format == ONNX:
            _scan_onnx(file, model)


def is_prepared(path: Path) -> bool:
    """Say whether a file is one that onnxruntime prepared for itself, whatever it is called.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return _is_prepared(file, path.name)


def _is_prepared(file: BinaryIO, name: str) -> bool:
    return file.read(8)[4:] == _ORT_IDENTIFIER or name.endswith(".ort")


def _scan_onnx(file: BinaryIO, model: SlotModel) -> None:
    if _is_prepared(file, model.entry):
        if not model.is_compiled:
            raise UnsafeModel(f"is a file that onnxruntime prepared for itself; {COMPILED_HINT}")
        return
    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    # Not closed here: the frames of an error still hold views of it. Its last view closes it.
    holds = _held_in_memory(model) if model.memory else _held_on_disk(model)
    _Scanner(holds, is_compiled=model.is_compiled).scan(memoryview(data))


def _held_on_disk(model: SlotModel) -> Callable[[str], bool]:
    """Give what says whether a path from the model's folder is a file of the slot."""
    slot, folder = Path(model.slot).resolve(), model.path.resolve().parent

    def holds(location: str) -> bool:
        target = (folder / location).resolve()
        return target.is_relative_to(slot) and target.is_file()

    return holds


def _held_in_memory(model: SlotModel) -> Callable[[str], bool]:
    folder = posixpath.dirname(model.entry)

    def holds(location: str) -> bool:
        return posixpath.normpath(posixpath.join(folder, location)) in model.memory

    return holds


def _scan_litert(file: BinaryIO) -> None:
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            groups = Table.root(Reader(MemorySource(data))).vector(_EXTERNAL_BUFFER_GROUPS, 4)
        except NotThisFormat as exc:
            raise ValueError(f"not a LiteRT file: {exc}") from exc
    if groups.count:
        raise UnsafeModel("keeps tensors in other files, which LiteRT would read from anywhere")


class _Scanner:
    """Walks one ONNX file.

    Args:
        holds: says whether a path from the model's folder is a file of the release.
        is_compiled: what a runtime compiled may be loaded.
    """

    def __init__(self, holds: Callable[[str], bool], *, is_compiled: bool) -> None:
        self._is_compiled = is_compiled
        self._holds = holds
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
        for field in _fields_of(data, kind):
            child = _TREE[kind].get(field.number)
            if child == "external":
                self._external(field.content)
            elif child is not None:
                self._walk(field.content, child, depth + 1)
            elif kind == "node":
                self._node(field)
            elif kind == "function" and field.number == 10:
                self._own_domains.add(_text(field, "domain"))

    def _node(self, field: Field) -> None:
        name = _TEXTS["node"].get(field.number)
        if name == "domain":
            self._domains.add(_text(field, name))
        elif name and _text(field, name) == "EPContext" and not self._is_compiled:
            raise UnsafeModel(
                f"holds an EPContext node, which loads a compiled binary; {COMPILED_HINT}"
            )

    def _external(self, entry: memoryview) -> None:
        names = _TEXTS["external"]
        texts = {names[f.number]: f for f in _fields_of(entry, "external") if f.number in names}
        if "key" not in texts or _text(texts["key"], "key") != "location":
            return
        location = _text(texts["value"], "location") if "value" in texts else ""
        if "\0" in location:
            raise UnsafeModel("external data has a location with a zero byte, which ends it early")
        if not location or not self._holds(location):
            raise UnsafeModel(f"external data {location!r:.200} is not a file of the release")


def _fields_of(data: memoryview, kind: str) -> Iterator[Field]:
    """Give the fields of one message; those that are judged are there once, and of their type.

    Raises:
        ValueError: it is no such message.
    """
    seen: set[int] = set()
    followed = _TREE[kind].keys() | _TEXTS.get(kind, {}).keys()
    for field in read_fields(data):
        if field.number in _ONCE[kind]:
            if field.number in seen:
                raise ValueError(f"field {field.number} of a {kind} is there twice")
            seen.add(field.number)
        if field.number in followed and field.wire_type != BYTES:
            raise ValueError(
                f"expected field {field.number} of a {kind} to have wire type {BYTES}, got"
                f" {field.wire_type}"
            )
        yield field


def _text(field: Field, what: str) -> str:
    if len(field.content) > _TEXT_MAX_BYTES:
        raise UnsafeModel(
            f"has a {what} of {len(field.content)} bytes; expected at most {_TEXT_MAX_BYTES}"
        )
    return bytes(field.content).decode("utf-8", "replace")
