"""The samples file: read within bounds whatever is in it, written the same each time."""

from __future__ import annotations

import contextlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slotcast_schemas.errors import MalformedMessage
from slotcast_schemas.messages.release import Tensor
from slotcast_schemas.samples import (
    NUMPY_TYPES,
    Samples,
    read_samples,
    write_samples,
)
from slotcast_schemas.seeded_inputs import seeded_inputs


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _zip(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    samples = Samples(
        inputs={"x": np.arange(6, dtype=np.float32).reshape(2, 3), "t": np.array(["a", "bc"])},
        outputs={"y": np.asfortranarray(np.ones((2, 3, 4)))},
        labels=np.array([3, 4]),
    )
    write_samples(path, samples)
    got = read_samples(path)
    assert got.runs == 2
    assert got.labels is not None
    assert got.labels.tolist() == [3, 4]
    assert np.asarray(got.feed(1)["x"]).tolist() == [3.0, 4.0, 5.0]
    assert got.feed(1)["t"] == "bc"
    assert np.asarray(got.outputs["y"]).shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"input:x.npy": _npy(np.zeros((2, 3))), "output:y.npy": _npy(np.zeros((3, 3)))}, "rows"),
        ({"weights.npy": _npy(np.zeros(3))}, "weights"),
        ({"input:x.npy": _npy(np.zeros(3))[:-1]}, "needs 24 bytes"),
        ({"input:x.npy": b"\x93NUMPY\x01\x00"}, "npz"),
        ({"input:x.npy": b"not numpy"}, "npz"),
        ({"input:x.npy": _npy(np.zeros(())[()])}, "rows"),
        ({"input:x.npy": _npy(np.zeros((0, 3)))}, "rows"),
        ({f"input:{i}.npy": b"" for i in range(5000)}, "at most"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    with pytest.raises(MalformedMessage, match=message):
        read_samples(_zip(tmp_path / "s.npz", **members))


def test_an_array_that_claims_more_than_it_has_takes_no_memory(tmp_path: Path) -> None:
    header = _npy(np.zeros(3)).replace(b"(3,)", b"(9999999999999,)")
    with pytest.raises(MalformedMessage, match="needs"):
        read_samples(_zip(tmp_path / "s.npz", **{"input:x.npy": header}))


def test_a_file_larger_than_its_bound_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("input:x.npy", bytes(1 << 20))
    assert path.stat().st_size < 10_000
    with pytest.raises(MalformedMessage, match="at most"):
        read_samples(path, max_bytes=1 << 19)


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"any": "thing"}], dtype=object))
    with pytest.raises(MalformedMessage, match="plain"):
        read_samples(_zip(tmp_path / "s.npz", **{"input:x.npy": buffer.getvalue()}))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=400), where=st.integers(0, 2000))
def test_no_damage_gives_anything_but_samples_or_malformed(
    tmp_path: Path, data: bytes, where: int
) -> None:
    path = tmp_path / "s.npz"
    write_samples(path, Samples({"x": np.ones((2, 40), np.float32)}, {"y": np.ones((2, 3))}))
    raw = bytearray(path.read_bytes())
    at = min(where, len(raw))
    raw[at : at + len(data)] = data
    path.write_bytes(raw)
    with contextlib.suppress(MalformedMessage):
        read_samples(path)


def test_seeded_inputs_fit_every_type_and_are_the_same_each_time() -> None:
    tensors = [
        Tensor(name=f"t{i}", dtype=dtype, shape=("batch", 3, None))
        for i, dtype in enumerate(NUMPY_TYPES)
    ]
    one, two = (seeded_inputs(tensors, runs=4, seed=9) for _ in range(2))
    for tensor in tensors:
        array = np.asarray(one[tensor.name])
        assert array.shape == (4, 1, 3, 1)
        assert NUMPY_TYPES[tensor.dtype] in {str(array.dtype), "str"}
        assert array.tolist() == np.asarray(two[tensor.name]).tolist()


def test_large_inputs_get_fewer_runs_and_such_as_fill_a_device_none() -> None:
    image = Tensor(name="x", dtype="tensor(float)", shape=(1, 3, 640, 640))
    assert len(seeded_inputs([image], runs=16, seed=1)["x"]) == 6
    larger = Tensor(name="x", dtype="tensor(float)", shape=(10**6, 100))
    with pytest.raises(ValueError, match="one set of inputs takes 400000000 bytes"):
        seeded_inputs([larger], runs=1, seed=1)
