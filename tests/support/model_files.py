"""Model files of other kinds than ONNX, written byte by byte as their own tools write them."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Mapping
from typing import Any, Final

import flatbuffers
import numpy as np
from numpy.typing import NDArray

IDENTIFIER: Final = b"TFL3"
"""What a LiteRT file has at its fifth byte."""

Weights = Mapping[str, NDArray[Any]]

_GGML_TYPES: Final = {"float32": 0, "float16": 1, "int8": 24}
_TORCH_STORAGES: Final = {
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "int8": "CharStorage",
}
_SAFETENSORS_TYPES: Final = {"float32": "F32", "float16": "F16", "int8": "I8"}
_TFLITE_TYPES: Final = {"float32": 0, "float16": 1, "int8": 9}
_Q8_0 = 8


def gguf_bytes(
    weights: Weights, quantised: Mapping[str, NDArray[np.float32]] | None = None
) -> bytes:
    """A GGUF file, version 3, with metadata of several types; `quantised` go in as Q8_0."""
    entries = [
        _text("general.architecture") + struct.pack("<I", 8) + _text("llama"),
        _text("general.alignment") + struct.pack("<II", 4, 64),
        _text("tokenizer.tokens") + struct.pack("<IIQ", 9, 8, 2) + _text("a") + _text("bc"),
        _text("tokenizer.scores") + struct.pack("<IIQ", 9, 6, 2) + struct.pack("<2f", 0.5, 1.0),
    ]
    blobs = [(name, _GGML_TYPES[str(w.dtype)], w.shape, w.tobytes()) for name, w in weights.items()]
    blobs += [(name, _Q8_0, w.shape, q8_0_bytes(w)) for name, w in (quantised or {}).items()]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(blobs), len(entries)) + b"".join(entries)
    data = b""
    for name, kind, shape, blob in blobs:
        head += _text(name) + struct.pack("<I", len(shape))
        head += struct.pack(f"<{len(shape)}QIQ", *shape[::-1], kind, len(data))
        data += blob + bytes(-len(blob) % 64)
    return head + bytes(-len(head) % 64) + data


def q8_0_bytes(weights: NDArray[np.float32]) -> bytes:
    """Blocks of 32 weights as ggml quantises them: a float16 scale, then 32 int8."""
    blocks = weights.reshape(-1, 32)
    scales = np.abs(blocks).max(axis=1) / 127
    quants = np.rint(blocks / np.maximum(scales, 1e-12)[:, None]).astype(np.int8)
    records = np.empty((len(blocks), 34), dtype=np.uint8)
    records[:, :2] = scales.astype(np.float16)[:, None].view(np.uint8)
    records[:, 2:] = quants.view(np.uint8)
    return records.tobytes()


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def safetensors_bytes(weights: Weights) -> bytes:
    """A safetensors file: the header's size, the header in JSON, the data."""
    header: dict[str, Any] = {}
    data = b""
    for name, each in weights.items():
        span = [len(data), len(data) + each.nbytes]
        dtype = _SAFETENSORS_TYPES[str(each.dtype)]
        header[name] = {"dtype": dtype, "shape": each.shape, "data_offsets": span}
        data += each.tobytes()
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def torchscript_bytes(weights: Weights) -> bytes:
    """An archive as `torch.jit.save` writes it: stored members, a pickle of what lies in them."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("net/data.pkl", _torch_pickle(weights))
        archive.writestr("net/code/__torch__/net.py", "class Net(Module):\n  pass\n" * 40)
        for number, each in enumerate(weights.values()):
            archive.writestr(f"net/data/{number}", each.tobytes())
    return out.getvalue()


def _torch_pickle(weights: Weights) -> bytes:
    """The opcodes by hand: making them with `pickle` would need PyTorch's classes."""
    parts = [b"\x80\x02c__torch__\nNet\n)\x81}("]
    for number, (name, each) in enumerate(weights.items()):
        size = b"".join(b"J" + struct.pack("<i", dim) for dim in each.shape)
        parts += [
            _unicode(name),
            b"ctorch._utils\n_rebuild_tensor_v2\n((",
            _unicode("storage"),
            b"ctorch\n" + _TORCH_STORAGES[str(each.dtype)].encode() + b"\n",
            _unicode(str(number)) + _unicode("cpu") + b"J" + struct.pack("<i", each.size),
            b"tQK\x00(" + size + b"t(K\x01t\x89ccollections\nOrderedDict\n)RtR",
        ]
    return b"".join([*parts, b"ub."])


def _unicode(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def tflite_bytes(weights: Weights) -> bytes:
    """A LiteRT file with these constants and no operators."""
    builder = flatbuffers.Builder(1024)
    buffers = [make_table(builder, {})]
    tensors = []
    for number, (name, each) in enumerate(weights.items(), start=1):
        buffers.append(make_table(builder, {0: make_vector(builder, each)}))
        shape = builder.CreateNumpyVector(np.array(each.shape, dtype=np.int32))
        text = builder.CreateString(name)
        tensors.append(_tensor(builder, shape, _TFLITE_TYPES[str(each.dtype)], number, text))
    subgraph = make_table(builder, {0: make_offsets(builder, tensors)})
    fields = {2: make_offsets(builder, [subgraph]), 4: make_offsets(builder, buffers)}
    builder.StartObject(8)
    builder.PrependUint32Slot(0, 3, 0)
    for number, offset in fields.items():
        builder.PrependUOffsetTRelativeSlot(number, offset, 0)
    builder.Finish(builder.EndObject(), IDENTIFIER)
    return bytes(builder.Output())


def _tensor(builder: Any, shape: int, kind: int, buffer: int, name: int) -> int:
    builder.StartObject(8)
    builder.PrependUOffsetTRelativeSlot(0, shape, 0)
    builder.PrependInt8Slot(1, kind, 0)
    builder.PrependUint32Slot(2, buffer, 0)
    builder.PrependUOffsetTRelativeSlot(3, name, 0)
    return int(builder.EndObject())


def make_vector(builder: Any, array: NDArray[Any]) -> int:
    """An array's bytes as a vector, aligned as weights are."""
    builder.StartVector(1, array.nbytes, 16)
    builder.head -= array.nbytes
    builder.Bytes[builder.head : builder.head + array.nbytes] = array.tobytes()
    return int(builder.EndVector())


def make_table(builder: Any, fields: dict[int, int]) -> int:
    """A table of offsets by field number."""
    builder.StartObject(8)
    for number, offset in fields.items():
        builder.PrependUOffsetTRelativeSlot(number, offset, 0)
    return int(builder.EndObject())


def make_offsets(builder: Any, offsets: list[int]) -> int:
    """A vector of tables."""
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())
