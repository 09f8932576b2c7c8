"""A model loaded by onnxruntime: fed with samples' values, and answering with such.

The only module of the schemas that imports onnxruntime: the probe's child, an application's
warm-up and a publisher's samples all run a model through it, so that they cannot disagree.

onnxruntime's Python takes numpy arrays, lists of them for sequences, dicts for maps and None for
an optional. Types that numpy has not go in and come out as bytes: an `OrtValue` is made for the
shape and type, and its memory is written or read.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime

from slotcast_schemas.messages.release import Tensor
from slotcast_schemas.narrow_types import NARROW_TYPES, pack, unpack
from slotcast_schemas.probe.runtime import Feed, Outputs
from slotcast_schemas.probe.tensors import signature
from slotcast_schemas.value_types import Array, Value, value_type

_CPU: Final = ("CPUExecutionProvider",)
"""The execution provider that every onnxruntime has."""


class OnnxSession:
    """One session of onnxruntime.

    Args:
        path: the file, or what it holds.
        providers: execution providers; none means the CPU.
        threads: within an operator; 0 is as many as the runtime takes.
        entries: more of the session's settings, by onnxruntime's names.
        is_optimized: whether the runtime may fuse and rearrange operators.
        files: what other files of the model hold, by their paths from its folder; for one of which
            bytes are given.

    Raises:
        CannotLoadFromMemory: this onnxruntime takes no such files.
        Exception: whatever onnxruntime says of a file that it cannot load.
    """

    def __init__(
        self,
        path: Path | bytes,
        providers: Sequence[str] = (),
        threads: int = 0,
        entries: Mapping[str, str] | None = None,
        *,
        is_optimized: bool = True,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        # A thread that spins while it waits uses processor time that is not the model's.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not is_optimized:
            level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.graph_optimization_level = level
        for key, value in (entries or {}).items():
            options.add_session_config_entry(key, value)
        give_files(options, files or {})
        source = path if isinstance(path, bytes) else str(path)
        self._session: Any = onnxruntime.InferenceSession(
            source, options, providers=list(providers or _CPU)
        )
        self.inputs = signature(self._session.get_inputs())
        self.outputs = signature(self._session.get_outputs())
        self._runner = _Runner(self._session, self.inputs, self.outputs)

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Processes that work for the model beside this one: none."""
        return ()

    def cannot_be_fed(self) -> str:
        """Say which input no sample can feed, and why; empty if all can be fed."""
        return cannot_be_fed(self.inputs, self.outputs)

    def close(self) -> None:
        """Do nothing: the session goes with the last reference to it."""

    def run(self, feed: Feed) -> Outputs:
        """Run it once; see `Outputs`.

        Raises:
            Exception: whatever onnxruntime says of these inputs.
        """
        return self._runner.run(feed)


class CannotLoadFromMemory(Exception):
    """The installed onnxruntime cannot load a model of several files from memory."""


def give_files(options: Any, files: Mapping[str, bytes]) -> None:
    """Have a session that is loaded from bytes find its weights in other files' bytes.

    Args:
        options: onnxruntime's `SessionOptions`; one session is made with them.
        files: what they hold, by their paths from the model's folder; to be kept until then.

    Raises:
        CannotLoadFromMemory: this onnxruntime takes no such files.
    """
    if not files:
        return
    if not hasattr(options, "add_external_initializers_from_files_in_memory"):
        raise CannotLoadFromMemory(
            f"onnxruntime {onnxruntime.__version__} loads no weights beside the model from an"
            " encrypted slot: install a newer one, release the model as one file, or take"
            " [at_rest] out of device.toml"
        )
    contents = list(files.values())
    options.add_external_initializers_from_files_in_memory(
        list(files), contents, [len(content) for content in contents]
    )


def run_session(session: Any, feed: Feed) -> Outputs:
    """Run an `InferenceSession` that somebody else opened, on a sample's values."""
    inputs, outputs = signature(session.get_inputs()), signature(session.get_outputs())
    return _Runner(session, inputs, outputs).run(feed)


def cannot_be_fed(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> str:
    """Say why no sample can feed a model; empty if one can.

    Args:
        inputs: what goes in.
        outputs: what comes out.
    """
    types = {tensor.name: value_type(tensor.dtype) for tensor in inputs}
    for tensor in inputs:
        if types[tensor.name] is None:
            return f"input {tensor.name!r} is of type {tensor.dtype}, which no sample can hold"
    is_narrow = any(kind is not None and kind.narrow for kind in types.values())
    if is_narrow or _narrow(outputs) or _unheld(outputs):
        for name, kind in types.items():
            if kind is not None and (kind.form != "tensor" or kind.is_optional):
                return _not_beside_others(name, "no tensor")
            if kind is not None and kind.element == "str":
                return _not_beside_others(name, "text")
    return ""


def _not_beside_others(name: str, what: str) -> str:
    return (
        f"input {name!r} is {what}, and onnxruntime takes no such input beside types that numpy"
        " has not"
    )


def _narrow(tensors: Sequence[Tensor]) -> dict[str, str]:
    """Give the tensors of types that numpy has not, by name."""
    kinds = {tensor.name: value_type(tensor.dtype) for tensor in tensors}
    return {
        name: kind.narrow
        for name, kind in kinds.items()
        if kind is not None and kind.narrow and kind.form == "tensor"
    }


def _unheld(tensors: Sequence[Tensor]) -> frozenset[str]:
    """Name the tensors of types that neither numpy nor a sample has."""
    return frozenset(
        tensor.name
        for tensor in tensors
        if tensor.dtype.startswith("tensor(") and value_type(tensor.dtype) is None
    )


class _Runner:
    """Runs a session on values, converted where numpy lacks a type."""

    def __init__(
        self, session: Any, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]
    ) -> None:
        self._session = session
        self._names = [tensor.name for tensor in outputs]
        self._narrow_in = _narrow(inputs)
        self._narrow_out = _narrow(outputs)
        self._unheld = _unheld(outputs)

    def run(self, feed: Feed) -> Outputs:
        """Run it once."""
        if self._narrow_in or self._narrow_out or self._unheld:
            found = self._run_by_bytes(feed)
        else:
            found = self._session.run(None, feed)
        pairs = zip(self._names, found, strict=True)
        return {name: value for name, raw in pairs if (value := _plain(raw)) is not None}

    def _run_by_bytes(self, feed: Feed) -> list[Any]:
        given = {name: self._given(name, value) for name, value in feed.items()}
        results = self._session.run_with_ort_values(None, given)
        return [
            self._taken(name, result) for name, result in zip(self._names, results, strict=True)
        ]

    def _given(self, name: str, value: Value) -> Any:
        narrow = self._narrow_in.get(name)
        if narrow is None or not isinstance(value, np.ndarray):
            return onnxruntime.OrtValue.ortvalue_from_numpy(np.asarray(value))
        data = pack(narrow, value)
        made = onnxruntime.OrtValue.ortvalue_from_shape_and_type(
            list(value.shape), NARROW_TYPES[narrow].onnx
        )
        ctypes.memmove(made.data_ptr(), data, len(data))
        return made

    def _taken(self, name: str, result: Any) -> Any:
        if name in self._unheld:
            return None
        narrow = self._narrow_out.get(name)
        if narrow is None:
            return result.numpy() if result.is_tensor() else None
        shape = tuple(result.shape())
        size_bytes = -(-int(np.prod(shape, dtype=np.int64)) * NARROW_TYPES[narrow].bits // 8)
        data = ctypes.string_at(result.data_ptr(), size_bytes) if size_bytes else b""
        return unpack(narrow, data, shape)


def _plain(raw: Any) -> Value:
    """Give what the runtime answered as a sample holds it; None for what no sample can hold."""
    if isinstance(raw, list):
        return _plain_list(raw)
    if isinstance(raw, np.generic):
        raw = np.asarray(raw)
    if not isinstance(raw, np.ndarray):
        return None
    if raw.dtype.kind == "O":
        return raw.astype(str)
    return raw if raw.dtype.kind in "biufU" else None


def _plain_list(raw: list[Any]) -> Value:
    """Give a sequence of tensors as such, and one of maps (scikit-learn's ZipMap) as a table."""
    if raw and all(isinstance(item, dict) for item in raw):
        keys = sorted(raw[0])
        if any(sorted(item) != keys for item in raw):
            return None
        return np.asarray([[item[key] for key in keys] for item in raw], dtype=np.float32)
    items = [_plain(item) for item in raw]
    arrays: list[Array] = [item for item in items if isinstance(item, np.ndarray)]
    return arrays if len(arrays) == len(items) else None
