"""Samples: a release's file of golden inputs and outputs, and inputs made from a seed.

The file is an .npz (a zip of .npy arrays). `input:NAME` and `output:NAME` have one run of the
model per row: row *i* of each input is fed whole, batch axis and all, and row *i* of each output
is what the publisher saw come out. `labels` (optional, int64) has one row of labels per run.

Reading trusts nothing: sizes are compared before memory is taken, and pickles are refused.
Writing is deterministic: the same arrays give the same bytes, so a release can be rebuilt.
What the runs mean (tolerances, accuracy) is the probe's business.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from slotcast_schemas import limits
from slotcast_schemas.errors import MalformedMessage
from slotcast_schemas.messages.release import Tensor

Array = NDArray[Any]
"""An array of any type and shape."""

SAMPLES_MAX_BYTES: Final = 64 * limits.MIB
"""Arrays of one samples file, unpacked: a device holds them, and twice the outputs, in memory."""

FREE_DIMENSION: Final = 1
"""Size that seeded inputs give to a free dimension: a batch of one, as most devices run."""

_SEEDED_MAX_BYTES: Final = 16 * limits.MIB
"""The most bytes of one seeded input, counted as 8 for each element."""

_ARRAYS_MAX: Final = 2 * limits.TENSORS_MAX + 1
"""The most arrays of one samples file: inputs, outputs, and labels."""

_KINDS: Final = frozenset("biufU")
"""The kinds of numpy's types that samples may have: truth values, numbers, and text."""

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The time that every member of a samples file bears, so that the same arrays give the same
bytes."""

NUMPY_TYPES: Final[Mapping[str, str]] = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
    "tensor(string)": "str",
}
"""onnxruntime's type names to numpy's; a type that is not here cannot be sampled."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Runs of a model: `inputs[name][i]` goes in, `outputs[name][i]` is expected to come out.

    Every array has the same first axis, the runs; `labels` too, where there are any.
    """

    inputs: dict[str, Array]
    outputs: dict[str, Array] = field(default_factory=dict)
    labels: Array | None = None

    @property
    def runs(self) -> int:
        """How many runs there are; 1 for a model without inputs."""
        return min((len(array) for array in self.inputs.values()), default=1)

    @property
    def size_bytes(self) -> int:
        """Of all arrays, unpacked."""
        return sum(a.nbytes for a in (*self.inputs.values(), *self.outputs.values()))

    def feed(self, run: int) -> dict[str, Array]:
        """Give the inputs of one run, as `InferenceSession.run` wants them."""
        return {name: array[run] for name, array in self.inputs.items()}


def read_samples(path: Path, *, max_bytes: int = SAMPLES_MAX_BYTES) -> Samples:
    """Read a samples file.

    Raises:
        MalformedMessage: not a samples file, larger than `max_bytes`, or rows that do not match.
        OSError: the file cannot be read.
    """
    arrays = read_arrays(path, max_bytes=max_bytes)
    samples = Samples(
        inputs={n.partition(":")[2]: a for n, a in arrays.items() if n.startswith("input:")},
        outputs={n.partition(":")[2]: a for n, a in arrays.items() if n.startswith("output:")},
        labels=arrays.get("labels"),
    )
    strange = [n for n in arrays if n != "labels" and not n.startswith(("input:", "output:"))]
    if strange:
        raise MalformedMessage(
            f"{path.name}: expected input:NAME, output:NAME and labels, got {strange[0]!r:.80}"
        )
    rows = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(rows.values())) > 1 or 0 in rows.values():
        raise MalformedMessage(f"{path.name}: expected the same rows everywhere, got {rows!r:.300}")
    return samples


def read_arrays(path: Path, *, max_bytes: int) -> dict[str, Array]:
    """Read every array of an .npz, by name, without pickles and within `max_bytes` in all.

    Raises:
        MalformedMessage: not an .npz of plain arrays within the bounds.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            return _read_archive(file, path.name, max_bytes)
        except MalformedMessage:
            raise
        except Exception as exc:
            # zipfile, zlib and numpy raise a dozen classes for damaged input, OSError among them.
            raise MalformedMessage(f"{path.name}: not an .npz of plain arrays ({exc})") from exc


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
        raise ValueError(f"{member.filename}: expected plain numbers or text, got {dtype}")
    expected_bytes = math.prod(shape) * dtype.itemsize
    if len(data) - buffer.tell() != expected_bytes or any(size < 0 for size in shape):
        raise ValueError(f"{member.filename}: {shape} {dtype} needs {expected_bytes} bytes")
    flat = np.frombuffer(data, dtype, offset=buffer.tell())
    array = flat.reshape(shape, order="F" if fortran else "C")
    return np.ascontiguousarray(array).reshape(shape)


def write_samples(path: Path, samples: Samples) -> None:
    """Write a samples file; the same arrays give the same bytes.

    Raises:
        OSError: the file cannot be written.
    """
    arrays = {f"input:{name}": array for name, array in samples.inputs.items()}
    arrays |= {f"output:{name}": array for name, array in samples.outputs.items()}
    if samples.labels is not None:
        arrays["labels"] = samples.labels
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(arrays[name]), (1, 0), False)  # noqa: FBT003 (numpy's allow_pickle)
            member = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, buffer.getvalue())


def seeded_inputs(tensors: Sequence[Tensor], *, runs: int, seed: int) -> dict[str, Array]:
    """Make inputs that fit a signature: the same tensors, runs and seed give the same arrays.

    Floats are normal with deviation 1, as normalised data are; integers are 0 or 1, which is in
    range for tokens and indices alike; free dimensions are 1.

    Args:
        tensors: the inputs' names, types and shapes.
        runs: how many sets of inputs to make: each array's first axis.
        seed: of the random numbers.

    Raises:
        ValueError: an input's type cannot be made, or its fixed shape is too large for this.
    """
    rng = np.random.default_rng(seed)
    return {tensor.name: _seeded(tensor, runs, rng) for tensor in tensors}


def _seeded(tensor: Tensor, runs: int, rng: np.random.Generator) -> Array:
    name = NUMPY_TYPES.get(tensor.dtype)
    if name is None:
        raise ValueError(f"input {tensor.name!r}: cannot make values of type {tensor.dtype}")
    shape = (runs, *(d if isinstance(d, int) else FREE_DIMENSION for d in tensor.shape))
    if math.prod(shape) * 8 > _SEEDED_MAX_BYTES:
        raise ValueError(f"input {tensor.name!r}: shape {shape} is too large for seeded inputs")
    if name == "str":
        return rng.choice(np.array(["a", "b"]), shape)
    if name.startswith("float"):
        return rng.standard_normal(shape).astype(name)
    return rng.integers(0, 2, shape).astype(name)
