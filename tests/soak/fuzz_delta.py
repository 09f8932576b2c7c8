"""Any bytes as a delta give exactly the signed size or a `RefusedRelease`, never more bytes."""

from __future__ import annotations

import functools
import hashlib
import tempfile
from pathlib import Path

import numpy as np

from slotcast_schemas.codecs.delta.compact import COMPACT, HEAD_SIZE, pack_script, read_compact
from slotcast_schemas.codecs.delta.decoder import decode_delta
from slotcast_schemas.codecs.delta.script_packers import PACK_DICTIONARY, pack_with_dictionary
from slotcast_schemas.codecs.source import MemorySource
from slotcast_schemas.errors import RefusedRelease
from tests.support.deltas import bytes_of, model_bytes, write_image


@functools.cache
def _specimen() -> tuple[bytes, bytes, int]:
    """Give a base, a delta from it, and the size of the new image."""
    from slotcast_publisher.delta.encode import encode_delta

    rng = np.random.default_rng(1)
    old = rng.standard_normal((24, 24)).astype(np.float32)
    new = old + rng.standard_normal(old.shape).astype(np.float32) * np.float32(1e-3)
    with tempfile.TemporaryDirectory() as folder:
        a = write_image(Path(folder) / "a", **{"model.onnx": model_bytes({"w": old})})
        b = write_image(
            Path(folder) / "b", **{"model.onnx": model_bytes({"w": new}), "labels.txt": b"x" * 99}
        )
        encode_delta(a, b, Path(folder) / "delta")
        return bytes_of(a), (Path(folder) / "delta").read_bytes(), len(bytes_of(b))


@functools.cache
def _kept_specimen(name: str) -> tuple[bytes, bytes, int]:
    """Give the same of a kept delta: `lines`, whose rows and columns moved, or a `compact` one."""
    folder = Path(__file__).parents[1] / "assets" / "delta"
    base, payload, image = (
        (folder / f"{name}.{part}").read_bytes() for part in ("base", "delta", "image")
    )
    return base, payload, len(image)


def _as_it_lies() -> bytes:
    """Give a compact delta whose script is not packed, so that its numbers are within reach."""
    base, payload, size_bytes = _kept_specimen("compact")
    script = read_compact(
        MemorySource(payload),
        MemorySource(base),
        base_sha256=hashlib.sha256(base).digest(),
        image_size_bytes=size_bytes,
    )
    return bytes([COMPACT]) + payload[1:HEAD_SIZE] + pack_script(script)


def _with_dictionary() -> bytes:
    """Give the same, its script packed with the base."""
    base, payload, _ = _kept_specimen("compact")
    script = _as_it_lies()[HEAD_SIZE:]
    return (
        bytes([COMPACT | PACK_DICTIONARY])
        + payload[1:HEAD_SIZE]
        + pack_with_dictionary(script, base)
    )


def seeds() -> list[bytes]:
    """Give true deltas: of weights that moved a little, of lines that moved away, and compact."""
    return [
        _specimen()[1],
        _kept_specimen("lines")[1],
        _kept_specimen("compact")[1],
        _as_it_lies(),
        _with_dictionary(),
    ]


def one_input(data: bytes) -> None:
    """Decode, from the base whose digest the header begins with, or from the first.

    Of a compact one the base's digest is made to fit, and the packer: there are few that are known.
    """
    base, payload, size_bytes = _kept_specimen("lines")
    if data[:1] >= bytes([COMPACT]):
        base, payload, size_bytes = _kept_specimen("compact")
        data = bytes([COMPACT | data[0] % 4]) + payload[1:HEAD_SIZE] + data[HEAD_SIZE:]
    elif data[32:64] != payload[32:64]:
        base, _, size_bytes = _specimen()
    got = 0

    def sink(part: bytes | memoryview) -> None:
        nonlocal got
        got += len(part)
        assert got <= size_bytes

    try:
        decode_delta(
            MemorySource(data),
            MemorySource(base),
            image_size_bytes=size_bytes,
            base_sha256=hashlib.sha256(base).digest(),
            sink=sink,
        )
    except RefusedRelease:
        return
    assert got == size_bytes
