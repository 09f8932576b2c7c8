"""Models that the scan would read otherwise than the runtime are refused before it sees them.

Each hostile file wants the weights of `/etc/passwd`, and hides that from a reader that is not
strict. Whatever passes the scan is read alike by protobuf's own library, which the last test tries
on files that were changed at random; and what real exporters write passes.
"""

from __future__ import annotations

import random
import struct
from pathlib import Path

import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper

from slotcast_device.runtime.importing import STRICT_RUNTIME, is_lenient
from slotcast_schemas.probe.scan import UnsafeModel, scan
from slotcast_schemas.probe.spec import SlotModel
from slotcast_schemas.probe.strict_protobuf import NotCanonical, read_fields

OUTSIDE = b"/etc/passwd"
VARINT, FIXED64, BYTES, GROUP, GROUP_END, FIXED32 = 0, 1, 2, 3, 4, 5


def varint(value: int, padding: int = 0) -> bytes:
    """Write a number, with bytes that say nothing at its end if asked for."""
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    for _ in range(padding):
        data[-1] |= 0x80
        data.append(0)
    return bytes(data)


def field(number: int, content: bytes | str, *, tag: bytes = b"", length: bytes = b"") -> bytes:
    data = content.encode() if isinstance(content, str) else content
    return (tag or varint(number << 3 | BYTES)) + (length or varint(len(data))) + data


def entry(location: bytes, key: str = "location") -> bytes:
    return field(1, key) + field(2, location)


def tensor(external: bytes) -> bytes:
    """A tensor of four floats that lie in another file."""
    head = varint(1 << 3) + varint(4) + varint(2 << 3) + varint(1) + field(8, "w")
    return head + external + varint(14 << 3) + varint(1)


def model(inside: bytes) -> bytes:
    """A model whose graph has this initializer."""
    opset = field(8, varint(2 << 3) + varint(13))
    return varint(1 << 3) + varint(8) + opset + field(7, field(2, "g") + field(5, inside))


PLAIN = field(13, entry(OUTSIDE))
GOOD = field(13, entry(b"w.bin"))
TAG = 13 << 3 | BYTES
LONG = b"./" * 509 + b"/w.bin" + b"/../../../../../../.." + OUTSIDE  # 1,024 bytes, then the rest
LONG_DOMAIN = "d" * 1024
DEEP = b""
for _ in range(70):
    DEEP = field(1, field(5, field(6, DEEP)))

HOSTILE: dict[str, bytes] = {
    "plain": model(tensor(PLAIN)),
    "a tag above 32 bits": model(tensor(field(13, entry(OUTSIDE), tag=varint(1 << 35 | TAG)))),
    "a tag above 32 bits, of the graph": (
        field(7, field(5, tensor(PLAIN)), tag=varint(1 << 34 | 7 << 3 | BYTES))
    ),
    "a padded tag": model(tensor(field(13, entry(b"w.bin"), tag=varint(TAG, padding=2)))),
    "a padded length": model(tensor(field(13, entry(b"w.bin"), length=varint(17, padding=1)))),
    "a length above 31 bits": model(tensor(field(13, entry(OUTSIDE), length=varint(1 << 32 | 23)))),
    "a number of eleven bytes": model(tensor(varint(99 << 3) + b"\xff" * 10 + b"\1" + GOOD)),
    "a number above 64 bits": model(tensor(varint(99 << 3) + b"\xff" * 9 + b"\x7f" + GOOD)),
    "a location that is cut": model(tensor(field(13, entry(LONG)))),
    "a location with a zero byte": model(tensor(field(13, entry(b"w.bin\0" + OUTSIDE)))),
    "a group around it": model(
        tensor(varint(99 << 3 | GROUP) + GOOD + varint(99 << 3 | GROUP_END))
    ),
    "wire type 7": model(tensor(varint(99 << 3 | 7) + GOOD)),
    "two keys in one entry": model(tensor(field(13, entry(OUTSIDE) + field(1, "checksum")))),
    "two locations in one entry": model(tensor(field(13, entry(OUTSIDE) + field(2, "w.bin")))),
    "two graphs": model(b"") + field(7, field(5, tensor(GOOD))),
    "entries as numbers": model(tensor(varint(13 << 3) + varint(7) + GOOD)),
    "field zero": model(tensor(varint(BYTES) + varint(0) + GOOD)),
    "a length past the end": model(tensor(GOOD)) + varint(99 << 3 | BYTES) + varint(9),
    "eight bytes past the end": model(tensor(GOOD)) + varint(99 << 3 | FIXED64) + b"1234567",
    "four bytes past the end": model(tensor(GOOD)) + varint(99 << 3 | FIXED32) + b"123",
    "too deep": field(7, DEEP),
    "a training graph": field(20, field(1, field(5, tensor(PLAIN)))),
    "a long domain": (
        field(25, field(1, "F") + field(10, LONG_DOMAIN + "a"))
        + field(7, field(1, field(4, "F") + field(7, LONG_DOMAIN + "b")))
    ),
}


def slot(folder: Path, content: bytes) -> SlotModel:
    folder.mkdir(exist_ok=True)
    (folder / "w.bin").write_bytes(bytes(16))
    (folder / "model.onnx").write_bytes(content)
    return SlotModel(str(folder), "model.onnx")


@pytest.mark.parametrize("name", HOSTILE)
def test_what_readers_do_not_read_alike_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises((UnsafeModel, ValueError)):
        scan(slot(tmp_path / "slot", HOSTILE[name]))


@pytest.mark.parametrize(
    "external",
    [
        PLAIN,
        field(13, entry(OUTSIDE), tag=varint(TAG, padding=2)),
        field(13, entry(OUTSIDE), length=varint(len(entry(OUTSIDE)), padding=1)),
    ],
)
def test_another_reader_does_find_what_is_hidden(external: bytes) -> None:
    """Else nothing would be proved: protobuf's own library finds the location in these."""
    assert locations(model(tensor(external))) == {OUTSIDE.decode()}


def test_the_same_without_a_trick_passes(tmp_path: Path) -> None:
    scan(slot(tmp_path / "slot", model(tensor(GOOD))))


def test_fields_that_are_not_known_yet_pass(tmp_path: Path) -> None:
    """Exporters are newer than this; and negative numbers have ten bytes."""
    newer = (
        field(1000, b"anything") * 2
        + varint(1001 << 3 | FIXED32)
        + struct.pack("<f", 1.0)
        + varint(1002 << 3 | FIXED64)
        + struct.pack("<d", 1.0)
        + varint(1003 << 3)
        + varint(2**64 - 1)
        + varint(2**29 - 1 << 3)
        + varint(0)
    )
    inside = tensor(field(13, entry(b"w.bin") + newer) + newer)
    scan(slot(tmp_path / "slot", model(inside + newer) + newer))


def test_models_of_real_exporters_pass(tmp_path: Path) -> None:
    """Those that `onnx` and `onnxruntime` ship; `make zoo` takes those of many packages."""
    packages = (onnx, onnxruntime)
    folders = [Path(each.__file__ or "").parent for each in packages]
    found = sorted(path for folder in folders for path in folder.rglob("*.onnx"))
    assert len(found) > 10
    for path in found[:: max(1, len(found) // 40)]:
        scan(slot(tmp_path / "slot", path.read_bytes()))


def locations(data: bytes) -> set[str] | None:
    """Give what protobuf's own library finds: every location in an initializer; None: no model."""
    try:
        read = ModelProto.FromString(data)
    except Exception as exc:
        if type(exc).__name__ != "DecodeError":  # its module has no types
            raise
        return None
    entries = [e for t in read.graph.initializer for e in t.external_data]
    return {e.value for e in entries if e.key == "location"}


def test_what_passes_is_read_alike_by_protobuf_itself(tmp_path: Path) -> None:
    """Changed at random: whatever the scan lets through has no other location than the slot's."""
    weights = TensorProto(name="w", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    weights.external_data.add(key="location", value="w.bin")
    graph = helper.make_graph([helper.make_node("Add", ["w", "w"], ["y"])], "g", [], [], [weights])
    good = helper.make_model(graph).SerializeToString()
    where, passed = slot(tmp_path / "slot", good), 0
    for seed in range(500):
        rng, data = random.Random(seed), bytearray(good)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(data))
            data[at : at + rng.randint(0, 2)] = rng.randbytes(rng.randint(0, 2))
        if not data:
            continue
        (Path(where.slot) / "model.onnx").write_bytes(data)
        try:
            scan(where)
        except (UnsafeModel, ValueError):
            continue
        found = locations(bytes(data))
        if found is not None:
            assert found <= {"w.bin", "./w.bin"}, seed
            passed += 1
    assert passed > 30, "hardly anything passed: the test says nothing"


@pytest.mark.parametrize("data", [b"\x80", b"\x08\x80\x00", b"\x00\x00", b"\x0b\x0c", b"\x0a\x05a"])
def test_a_message_that_is_not_canonical_says_where(data: bytes) -> None:
    with pytest.raises(NotCanonical, match=r"at \d"):
        list(read_fields(memoryview(data)))


def test_the_runtime_that_stops_it_by_itself_is_named() -> None:
    assert is_lenient("1.18.0")
    assert is_lenient("1.23.2")
    assert not is_lenient(f"{STRICT_RUNTIME}.0")
    assert not is_lenient("unknown")
