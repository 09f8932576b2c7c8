"""Making models and applying deltas, for the tests of the delta codec."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from slotcast_publisher.delta.compact import write_compact
from slotcast_publisher.delta.encode import DeltaReport, encode_delta
from slotcast_schemas.codecs.delta.decoder import decode_delta
from slotcast_schemas.codecs.source import MemorySource

Tensors = Mapping[str, NDArray[Any] | TensorProto]


def small_weights(seed: int, *shape: int) -> NDArray[np.float32]:
    """Numbers as weights that were trained have them."""
    return (np.random.default_rng(seed).standard_normal(shape) * 0.05).astype(np.float32)


def model_bytes(tensors: Tensors, doc: str = "") -> bytes:
    """An ONNX file with these initializers, each the input of an Identity."""
    protos = [
        tensor
        if isinstance(tensor, TensorProto)
        else numpy_helper.from_array(np.ascontiguousarray(tensor).reshape(np.shape(tensor)), name)
        for name, tensor in tensors.items()
    ]
    nodes = [
        helper.make_node("Identity", [proto.name], [f"{proto.name}/out"], name=f"id/{proto.name}")
        for proto in protos
    ]
    graph = helper.make_graph(nodes, "graph", [], [], initializer=protos)
    model = helper.make_model(graph, doc_string=doc, producer_name="tests")
    data: bytes = model.SerializeToString()
    return data


def write_image(folder: Path, **files: bytes) -> list[tuple[str, Path]]:
    """An image of the files given by name; `__` stands for the dot."""
    folder.mkdir(parents=True, exist_ok=True)
    image = []
    for key, data in files.items():
        name = key.replace("__", ".")
        (folder / name).write_bytes(data)
        image.append((name, folder / name))
    return image


def bytes_of(image: list[tuple[str, Path]]) -> bytes:
    """The image: its files laid end to end."""
    return b"".join(path.read_bytes() for _, path in image)


def apply_delta(
    payload: bytes, base: bytes, image_size_bytes: int, base_sha256: bytes | None = None
) -> bytes:
    """What the decoder makes of a payload, which is never more than the image.

    Args:
        payload: the delta.
        base: the image that it starts from.
        image_size_bytes: the size of the image that it makes.
        base_sha256: the digest that the base is said to have; its own if none is given.
    """
    out = bytearray()

    def sink(data: bytes | memoryview) -> None:
        out.extend(data)
        assert len(out) <= image_size_bytes

    decode_delta(
        MemorySource(payload),
        MemorySource(base),
        image_size_bytes=image_size_bytes,
        base_sha256=hashlib.sha256(base).digest() if base_sha256 is None else base_sha256,
        sink=sink,
    )
    return bytes(out)


def round_trip(
    folder: Path, old: Mapping[str, bytes], new: Mapping[str, bytes], **options: Any
) -> tuple[DeltaReport, bytes]:
    """Encode a delta, apply it, check that the new image came out; the report and the payload.

    Where there is a compact form of it, the same image must come of that.
    """
    base = write_image(folder / "old", **old)
    target = write_image(folder / "new", **new)
    out = folder / "delta"
    report = encode_delta(base, target, out, **options)
    payload = out.read_bytes()
    wanted = bytes_of(target)
    assert report.payload_size_bytes == len(payload)
    assert apply_delta(payload, bytes_of(base), len(wanted)) == wanted
    compact = folder / "compact"
    size_bytes = write_compact(out, base, target, compact)
    if size_bytes is not None:
        assert size_bytes == compact.stat().st_size < len(payload)
        assert apply_delta(compact.read_bytes(), bytes_of(base), len(wanted)) == wanted
        compact.unlink()
    return report, payload


def kinds_of(report: DeltaReport) -> set[str]:
    """Kinds of segments that a delta has, without its description."""
    return {row.kind for row in report.segments} - {"description"}


def load_initializers(data: bytes) -> dict[str, NDArray[Any]]:
    """An ONNX file's initializers by name."""
    model = onnx.load_from_string(data)
    return {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}


def opaque_file(matrices: Sequence[NDArray[Any]]) -> bytes:
    """A header of no known format; names of odd lengths, so that no matrix is aligned."""
    parts = [b"layer.%d.weight\0" % number + m.tobytes() for number, m in enumerate(matrices, 8)]
    return b"OPAQUE\1" + b"".join(parts) + b"end"
