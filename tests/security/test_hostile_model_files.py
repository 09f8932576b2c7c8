"""Files of models that a trainer hands over, made to end or to hang the publisher that reads them.

A delta's encoder looks for tensors in every file of a release, also in those that no runtime has
loaded before. Each file here is tried in a process of its own with a bound of processor time: one
that is read without end is ended there, and so is one that takes the process with it.
"""

from __future__ import annotations

import io
import json
import resource
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

PROCESSOR_S = 20
READ = """
import resource, sys
from pathlib import Path
from slotcast_publisher.delta.layout import find_tensors
print(len(find_tensors([(path.name, path) for path in map(Path, sys.argv[1:])])))
"""


def looked_at(*files: Path) -> subprocess.CompletedProcess[str]:
    """Have tensors looked for in a release of these files."""

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_S, PROCESSOR_S + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    command = [sys.executable, "-c", READ, *map(str, files)]
    return subprocess.run(command, preexec_fn=bound, capture_output=True, text=True, check=False)


def safetensors(shape: str, offsets: str = "[0, 4]") -> bytes:
    header = f'{{"a": {{"dtype": "F32", "shape": {shape}, "data_offsets": {offsets}}}}}'.encode()
    return struct.pack("<Q", len(header)) + header + bytes(1000)


# --- archives -------------------------------------------------------------------------------------


def archive(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        out.writestr(name, content)
    return file.getvalue()


def archives_in_archives(depth: int) -> bytes:
    content = bytes(100)
    for _ in range(depth):
        content = archive("a.zip", content)
    return content


def archives_of_one_member(depth: int, names: int) -> bytes:
    """Archives within each other, each with many names for the same bytes."""
    content = bytes(100)
    for _ in range(depth):
        one = archive("a", content)
        end = one.rindex(b"PK\x05\x06")
        start = struct.unpack("<I", one[end + 16 : end + 20])[0]
        entry = bytearray(one[start:end])
        entry[28:30] = struct.pack("<H", 5)
        listed = b"".join(bytes(entry[:46]) + b"%05d" % number for number in range(names))
        last = struct.pack("<HHIIH", names, names, len(listed), start, 0)
        content = one[:start] + listed + b"PK\x05\x06" + bytes(4) + last
    return content


# --- pickles of PyTorch ---------------------------------------------------------------------------

STORAGE = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x01tQ"
LARGEST = b"\x8a\x08" + b"\xff" * 7 + b"\x7f"


def torch_file(steps: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        out.writestr("m/data.pkl", b"\x80\x02" + steps + b".")
        out.writestr("m/data/0", bytes(4))
    return file.getvalue()


def key_of_shared_parts() -> bytes:
    """A map whose key is a pair of the same pair of the same pair…"""
    return torch_file(b"})" + b"".join(b"q%ch%c\x86" % (at, at) for at in range(64)) + b"Ns")


def deeply_nested_key() -> bytes:
    return torch_file(b"})" + b"\x85" * 1_000_000 + b"Ns")


def shape_without_end() -> bytes:
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n"
    return torch_file(rebuild + b"(" + STORAGE + b"K\0(" + LARGEST * 200_000 + b"tK\0tR")


# --- FlatBuffers ----------------------------------------------------------------------------------


def litert_of_one_tensor(names: int, dims: int) -> bytes:
    """A model whose one tensor, of as many dimensions, stands in its subgraph again and again."""
    data = bytearray(struct.pack("<I", 0) + b"TFL3")

    def add(content: bytes) -> int:
        data.extend(content)
        return len(data) - len(content)

    def point(place: int) -> None:
        struct.pack_into("<I", data, place, len(data) - place)

    def table(*fields: int) -> int:
        """A table whose fields of these numbers point somewhere later."""
        places = [0] * (max(fields, default=-1) + 1)
        for at, number in enumerate(fields):
            places[number] = 4 + 4 * at
        list_bytes = 4 + 2 * len(places)
        packed = struct.pack("<HH", list_bytes, 4 + 4 * len(fields))
        listed = add(packed + struct.pack(f"<{len(places)}H", *places) + bytes(-list_bytes % 4))
        return add(struct.pack("<i", len(data) - listed) + bytes(4 * len(fields)))

    point(0)  # right below, once it is known where the table begins
    model = table(2, 4)
    struct.pack_into("<I", data, 0, model)
    point(model + 4)
    subgraphs = add(struct.pack("<II", 1, 0))
    point(model + 8)
    buffers = add(struct.pack("<II", 1, 0))
    struct.pack_into("<I", data, buffers + 4, table() - (buffers + 4))
    subgraph = table(0)
    struct.pack_into("<I", data, subgraphs + 4, subgraph - (subgraphs + 4))
    point(subgraph + 4)
    tensors = add(struct.pack("<I", names) + bytes(4 * names))
    tensor = table(0)
    for place in range(tensors + 4, tensors + 4 + 4 * names, 4):
        struct.pack_into("<I", data, place, tensor - place)
    point(tensor + 4)
    add(struct.pack("<I", dims) + b"\1\0\0\0" * dims)
    return bytes(data)


# --- ONNX -----------------------------------------------------------------------------------------


def field(number: int, content: bytes) -> bytes:
    size, length = len(content), b""
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def onnx_outside(dims: bytes = b"", **entries: bytes) -> bytes:
    """A model with one tensor of float32, whose data lie in another file."""
    told = {"location": b"w.bin", **entries}
    external = [field(13, field(1, key.encode()) + field(2, value)) for key, value in told.items()]
    return field(7, field(5, field(1, dims) + b"\x10\x01" + b"".join(external)))


CASES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a size without end": ("m.safetensors", lambda: safetensors("[1e999]")),
    "an offset without end": ("m.safetensors", lambda: safetensors("[1]", "[0, 1e999]")),
    "archives in archives": ("m.zip", lambda: archives_in_archives(1200)),
    "many names of one archive": ("m.zip", lambda: archives_of_one_member(4, 300)),
    "a key of shared parts": ("m.pt", key_of_shared_parts),
    "a deeply nested key": ("m.pt", deeply_nested_key),
    "a shape of many numbers": ("m.pt", shape_without_end),
    "one tensor many times": ("m.tflite", lambda: litert_of_one_tensor(10_000, 100_000)),
    "an offset of many digits": ("m.onnx", lambda: onnx_outside(offset=b"9" * 5000, length=b"4")),
    "dimensions without end": (
        "m.onnx",
        lambda: onnx_outside((b"\xff" * 8 + b"\x7f") * 300_000, offset=b"0"),
    ),
}


@pytest.mark.parametrize("name", list(CASES))
def test_no_file_of_a_model_ends_or_hangs_who_looks_for_its_tensors(
    name: str, tmp_path: Path
) -> None:
    called, make = CASES[name]
    (tmp_path / called).write_bytes(make())
    (tmp_path / "w.bin").write_bytes(bytes(4))
    done = looked_at(tmp_path / called, tmp_path / "w.bin")
    assert done.returncode == 0, done.stderr[-500:]
    assert int(done.stdout) == 0


def test_each_of_these_files_is_read_as_what_it_seems(tmp_path: Path) -> None:
    """Harmless ones, made in the same way, have the tensor that is looked for."""
    header = json.dumps({"a": {"dtype": "F32", "shape": [32], "data_offsets": [0, 128]}}).encode()
    harmless = {
        "m.safetensors": struct.pack("<Q", len(header)) + header + bytes(128),
        "m.zip": archive("a.safetensors", struct.pack("<Q", len(header)) + header + bytes(128)),
        "m.onnx": onnx_outside(b"\x20", offset=b"0", length=b"128"),
    }
    (tmp_path / "w.bin").write_bytes(bytes(128))
    for called, content in harmless.items():
        (tmp_path / called).write_bytes(content)
        done = looked_at(tmp_path / called, tmp_path / "w.bin")
        assert (done.returncode, done.stdout) == (0, "1\n"), (called, done.stderr)
