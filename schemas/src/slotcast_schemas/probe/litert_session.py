"""A model loaded by LiteRT, the runtime of .tflite files: fed and answering by names.

The only module that imports `ai_edge_litert`, which is an extra: the probe's child, a publisher's
samples and an application's `HotModel` all run a model through it, so that they cannot disagree.

Names are those of the model's signature where it has just one, which is what its exporter meant
for callers, else those of its tensors. Types are called as onnxruntime calls them, so that a
release writes both kinds of model in the same words.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from slotcast_schemas.byte_reader import NotThisFormat, Reader
from slotcast_schemas.codecs.source import FileSource, MemorySource, Source
from slotcast_schemas.flatbuffer import Table
from slotcast_schemas.messages.release import Tensor
from slotcast_schemas.probe.runtime import Feed, Outputs
from slotcast_schemas.value_types import NUMPY_TYPES, Array

Details = Mapping[str, Mapping[str, Any]]
"""What LiteRT says of each tensor, by the name that callers use."""

_TYPES: Final = {
    np.float32: "float",
    np.float64: "double",
    np.bytes_: "string",
    np.bool_: "bool",
}
"""numpy's types that onnxruntime calls otherwise than numpy."""

_MODEL_OPERATOR_CODES: Final = 1
_CODE_BUILTIN: Final = 3
_VAR_HANDLE: Final = 142
"""Of LiteRT's schema.fbs: the fields of Model and of OperatorCode, and an operator."""


class LitertSession:
    """One interpreter with the model's weights mapped from its file. For one thread at a time.

    Args:
        path: the file, or what it holds, which stays in memory once for all sessions of it.
        threads: within an operator; 0 is what LiteRT takes by itself, which is one.

    Raises:
        Exception: whatever LiteRT says of a file that it cannot load.
    """

    def __init__(self, path: Path | bytes, threads: int = 0) -> None:
        self._path = path
        self._threads = threads
        self._keeps_state = has_resource_variables(path)
        self._was_run = False
        self._open()
        self.inputs = tuple(_tensor(name, each) for name, each in self._inputs.items())
        self.outputs = tuple(_tensor(name, each) for name, each in self._outputs.items())

    def _open(self) -> None:
        """Load the file, and find what callers call its inputs and outputs."""
        where = "model_content" if isinstance(self._path, bytes) else "model_path"
        given = self._path if isinstance(self._path, bytes) else str(self._path)
        self._interpreter = Interpreter(**{where: given}, num_threads=self._threads or None)
        # Done before a runner is made: with one, LiteRT refuses to allocate, since it takes the
        # runner's references for views of tensors.
        self._allocate()
        signatures = list(self._interpreter.get_signature_list())
        self._runner: Any = None
        if len(signatures) == 1:
            self._runner = self._interpreter.get_signature_runner(signatures[0])
            self._inputs: Details = self._runner.get_input_details()
            self._outputs: Details = self._runner.get_output_details()
        else:
            self._inputs = _by_name(self._interpreter.get_input_details())
            self._outputs = _by_name(self._interpreter.get_output_details())

    def _allocate(self) -> None:
        """Make room for tensors, where the sizes that the file has for them can be run at all.

        Where the caller chooses a size, the file says 1. Some operators, such as a Fourier
        transform, cannot run with that; each run makes room for its own sizes anyhow.
        """
        try:
            self._interpreter.allocate_tensors()
        except RuntimeError:
            if all(None not in _shape(each) for each in self._interpreter.get_input_details()):
                raise

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Processes that work for the model beside this one: none."""
        return ()

    def cannot_be_fed(self) -> str:
        """Say which input no sample can feed, and why; empty if all can be fed."""
        for tensor in self.inputs:
            if tensor.dtype not in NUMPY_TYPES:
                return f"input {tensor.name!r} is of type {tensor.dtype}, which no sample can hold"
        return ""

    def close(self) -> None:
        """Do nothing: the interpreter goes with the last reference to it."""

    def run(self, feed: Feed) -> Outputs:
        """Run it once, from the state that it was loaded with.

        Raises:
            ValueError: inputs of other names, types or ranks than the model takes.
            Exception: whatever LiteRT says of these inputs.
        """
        self._check(feed)
        self._reset()
        if self._runner is not None:
            found = self._runner(**{name: _given(value) for name, value in feed.items()})
        else:
            found = self._run_by_index(feed)
        return {name: _taken(found[name]) for name in self._outputs}

    def _reset(self) -> None:
        """Forget what the run before left.

        LiteRT resets variables that are tensors; resources, in which models that hear a stream keep
        what they heard, are as they were only in a new interpreter.
        """
        if self._keeps_state and self._was_run:
            self._open()
        self._interpreter.reset_all_variables()
        self._was_run = True

    def _check(self, feed: Feed) -> None:
        if feed.keys() != self._inputs.keys():
            raise ValueError(f"expected inputs {sorted(self._inputs)}, got {sorted(feed)}")
        for tensor in self.inputs:
            got = np.asarray(feed[tensor.name]).shape
            wanted = tensor.shape
            fits = len(got) == len(wanted) and all(
                want is None or want == size for want, size in zip(wanted, got, strict=True)
            )
            if not fits:
                raise ValueError(
                    f"input {tensor.name!r}: expected shape {list(wanted)}, got {list(got)}"
                )

    def _run_by_index(self, feed: Feed) -> dict[str, Array]:
        interpreter = self._interpreter
        for name, value in feed.items():
            details = self._inputs[name]
            if None in _shape(details):
                interpreter.resize_tensor_input(details["index"], np.asarray(value).shape)
        interpreter.allocate_tensors()
        for name, value in feed.items():
            interpreter.set_tensor(self._inputs[name]["index"], _given(value))
        interpreter.invoke()
        return {
            name: interpreter.get_tensor(details["index"])
            for name, details in self._outputs.items()
        }


def has_resource_variables(path: Path | bytes) -> bool:
    """Say whether a model keeps variables as resources; False of what is no LiteRT file.

    Args:
        path: the file, or what it holds.

    Raises:
        OSError: the file cannot be read.
    """
    if isinstance(path, bytes):
        return _has_resource_variables(MemorySource(path))
    with FileSource(path) as source:
        return _has_resource_variables(source)


def _has_resource_variables(source: Source) -> bool:
    try:
        codes = Table.root(Reader(source)).tables(_MODEL_OPERATOR_CODES)
        return any(each.unsigned(_CODE_BUILTIN, 4) == _VAR_HANDLE for each in codes)
    except NotThisFormat:
        return False


def _by_name(details: list[dict[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """By name; a name that comes twice is told apart by its place."""
    names = [str(each["name"]) for each in details]
    return {
        name if names.count(name) == 1 else f"{name}#{place}": each
        for place, (name, each) in enumerate(zip(names, details, strict=True))
    }


def _tensor(name: str, details: Mapping[str, Any]) -> Tensor:
    kind = details["dtype"]
    word = _TYPES.get(kind, np.dtype(kind).name)
    return Tensor(name=name, dtype=f"tensor({word})", shape=_shape(details))


def _shape(details: Mapping[str, Any]) -> tuple[int | None, ...]:
    """Sizes, and None for what a caller chooses."""
    signature = details["shape_signature"]
    sizes = signature if len(signature) == len(details["shape"]) else details["shape"]
    return tuple(int(size) if size >= 0 else None for size in sizes)


def _given(value: Any) -> Array:
    array = np.asarray(value)
    return np.char.encode(array, "utf-8") if array.dtype.kind == "U" else array


def _taken(value: Array) -> Array:
    if value.dtype.kind == "S":
        return np.char.decode(value, "utf-8", "replace")
    if value.dtype.kind == "O":
        texts = [str(item, "utf-8", "replace") for item in value.ravel()]
        return np.array(texts).reshape(value.shape)
    return value
