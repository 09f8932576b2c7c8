"""Samples: a release's file of golden inputs and outputs.

The file is an .npz (a zip of .npy arrays). `input:NAME` and `output:NAME` have one run of the
model per row: row *i* of each input is fed whole, batch axis and all, and row *i* of each output
is what the publisher saw come out. `labels` (optional, int64) has one row of labels per run.
What cannot be stacked has a member for each run: `samples_members` says how those are called.

Reading trusts nothing: sizes are compared before memory is taken, and pickles are refused.
Writing is deterministic: the same arrays give the same bytes, so a release can be rebuilt.
What the runs mean (tolerances, accuracy) is the probe's business.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from slotcast_schemas import limits
from slotcast_schemas.errors import MalformedMessage
from slotcast_schemas.plain_files import open_regular
from slotcast_schemas.samples_members import members_of, values_of
from slotcast_schemas.value_types import NUMPY_TYPES, Rows, Value, size_bytes

__all__ = [
    "NUMPY_TYPES",
    "Array",
    "Samples",
    "read_arrays",
    "read_samples",
    "read_samples_from",
    "write_samples",
]

Array = NDArray[Any]
"""An array of any type and shape."""

SAMPLES_MAX_BYTES: Final = 64 * limits.MIB
"""Arrays of one samples file, unpacked: a device holds them, and twice the outputs, in memory."""

_ARRAYS_MAX: Final = 8 * limits.TENSORS_MAX
"""The most arrays of one samples file: inputs, outputs, labels, some of them for each run."""

_KINDS: Final = frozenset("biufU")
"""The kinds of numpy's types that samples may have: truth values, numbers, and text."""

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The time that every member of a samples file bears, so that the same arrays give the same
bytes."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Runs of a model: `inputs[name][i]` goes in, `outputs[name][i]` is expected to come out.

    Each holds as many runs; `labels` too, where there are any.
    """

    inputs: Mapping[str, Rows]
    outputs: Mapping[str, Rows] = field(default_factory=dict)
    labels: Array | None = None

    @property
    def runs(self) -> int:
        """How many runs there are; 1 for a model without inputs."""
        return min((len(rows) for rows in self.inputs.values()), default=1)

    @property
    def size_bytes(self) -> int:
        """Of all arrays, unpacked."""
        rows = (*self.inputs.values(), *self.outputs.values())
        return sum(size_bytes(_value(row)) for one in rows for row in one)

    def feed(self, run: int) -> dict[str, Value]:
        """Give the inputs of one run, as `InferenceSession.run` wants them."""
        return {name: _value(rows[run]) for name, rows in self.inputs.items()}

    def expected(self, run: int) -> dict[str, Value]:
        """Give what is expected to come out of one run."""
        return {name: _value(rows[run]) for name, rows in self.outputs.items()}


def _value(row: Any) -> Value:
    """Give a row as a value: a row of single numbers is of numpy's scalars, which nobody takes."""
    return np.asarray(row) if isinstance(row, np.generic) else row


def read_samples(path: Path, *, max_bytes: int = SAMPLES_MAX_BYTES) -> Samples:
    """Read a samples file.

    Raises:
        MalformedMessage: not a samples file, larger than `max_bytes`, or rows that do not match.
        OSError: the file cannot be read.
    """
    with open_regular(path) as file:
        return read_samples_from(file, path.name, max_bytes=max_bytes)


def read_samples_from(file: BinaryIO, name: str, *, max_bytes: int = SAMPLES_MAX_BYTES) -> Samples:
    """Read a samples file that is open.

    Args:
        file: at its beginning.
        name: of the file, for errors.
        max_bytes: of all arrays together.

    Raises:
        MalformedMessage: not a samples file, larger than `max_bytes`, or rows that do not match.
    """
    arrays = _read_arrays_from(file, name, max_bytes)
    labels = arrays.pop("labels", None)
    try:
        inputs, outputs = values_of(arrays)
        rows = {key: len(one) for key, one in (*inputs.items(), *outputs.items())}
        if labels is not None:
            rows["labels"] = len(labels) if labels.ndim else 0
        if len(set(rows.values())) > 1 or 0 in rows.values():
            raise ValueError(f"expected the same rows everywhere, got {rows!r:.300}")
    except ValueError as exc:
        raise MalformedMessage(f"{name}: {exc}") from exc
    return Samples(inputs=inputs, outputs=outputs, labels=labels)


def read_arrays(path: Path, *, max_bytes: int) -> dict[str, Array]:
    """Read every array of an .npz, by name, without pickles and within `max_bytes` in all.

    Raises:
        MalformedMessage: not an .npz of plain arrays within the bounds.
        OSError: the file cannot be read.
    """
    with open_regular(path) as file:
        return _read_arrays_from(file, path.name, max_bytes)


def _read_arrays_from(file: BinaryIO, name: str, max_bytes: int) -> dict[str, Array]:
    try:
        return _read_archive(file, name, max_bytes)
    except MalformedMessage:
        raise
    except Exception as exc:
        # zipfile, zlib and numpy raise a dozen classes for damaged input, OSError among them.
        raise MalformedMessage(f"{name}: not an .npz of plain arrays ({exc})") from exc


def _read_archive(file: BinaryIO, name: str, max_bytes: int) -> dict[str, Array]:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        total_bytes = sum(member.file_size for member in members)
        if len(members) > _ARRAYS_MAX or total_bytes > max_bytes:
            raise MalformedMessage(
                f"{name}: expected at most {_ARRAYS_MAX} arrays in {max_bytes} bytes,"
                f" got {len(members)} in {total_bytes}"
            )
        return {m.filename.removesuffix(".npy"): _read_member(archive, m) for m in members}


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    """Read one .npy, its header compared with its size before the array is made."""
    with archive.open(member) as stream:
        data = stream.read(member.file_size + 1)
    buffer = io.BytesIO(data)
    version = np.lib.format.read_magic(buffer)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(buffer)
    else:
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(buffer)
    if dtype.kind not in _KINDS:
        raise ValueError(
            f"{member.filename}: expected plain numbers or text, got {dtype}{_what_helps(dtype)}"
        )
    expected_bytes = math.prod(shape) * dtype.itemsize
    if len(data) - buffer.tell() != expected_bytes or any(size < 0 for size in shape):
        raise ValueError(f"{member.filename}: {shape} {dtype} needs {expected_bytes} bytes")
    if not expected_bytes:
        return np.empty(shape, dtype)
    flat = np.frombuffer(data, dtype, offset=buffer.tell())
    array = flat.reshape(shape, order="F" if fortran else "C")
    return np.ascontiguousarray(array).reshape(shape)


def _what_helps(dtype: np.dtype[Any]) -> str:
    """Say how to write down what numpy itself cannot: text as objects, narrow numbers."""
    if dtype.kind == "O":
        return "; texts are written by .astype(str)"
    narrow = "; bfloat16 and 8-bit floats are written by .astype('float32'), 4 and 2 bits as 'int8'"
    return narrow if dtype.kind == "V" else ""


def write_samples(path: Path | IO[bytes], samples: Samples) -> None:
    """Write a samples file, or into one that is open; the same arrays give the same bytes.

    Raises:
        OSError: the file cannot be written.
    """
    arrays = members_of("input", samples.inputs) | members_of("output", samples.outputs)
    if samples.labels is not None:
        arrays["labels"] = samples.labels
    if not isinstance(path, Path):
        path.truncate(0)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            buffer = io.BytesIO()
            array = np.asarray(arrays[name], order="C")
            np.lib.format.write_array(buffer, array, (1, 0), False)  # noqa: FBT003 (numpy's allow_pickle)
            member = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, buffer.getvalue())
