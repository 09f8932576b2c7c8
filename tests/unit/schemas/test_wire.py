"""What `decode` lets in, what it refuses, and by which name."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgpack
import pytest

from slotcast_schemas.errors import MalformedMessage, OversizedMessage, UnsupportedFeature
from slotcast_schemas.messages import ALL, MapPart, Notice, Offer, Presence, Release, Status
from slotcast_schemas.wire import Message, decode, encode
from tests.support.messages import EXAMPLES, model_status, presence, release, status

KINDS = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.KIND)


def fields_of(kind: type[Message]) -> dict[str, Any]:
    fields: dict[str, Any] = msgpack.unpackb(encode(EXAMPLES[kind]), raw=False)
    return fields


def pack(fields: object) -> bytes:
    raw: bytes = msgpack.packb(fields, use_bin_type=True)
    return raw


@KINDS
def test_an_example_of_every_message_survives(kind: type[Message]) -> None:
    assert decode(encode(EXAMPLES[kind]), kind) == EXAMPLES[kind]


@KINDS
def test_fields_of_a_newer_version_are_ignored(kind: type[Message]) -> None:
    newer = {**fields_of(kind), "colour": "red", "nested": {"deep": [1, 2, {"er": b"x"}]}}
    assert decode(pack(newer), kind) == EXAMPLES[kind]


@KINDS
def test_a_key_that_is_there_twice_is_refused_at_any_depth(kind: type[Message]) -> None:
    raw = encode(EXAMPLES[kind])
    assert raw[0] & 0xF0 == 0x80 or raw[0] == 0xDE, "a map"
    count = int.from_bytes(raw[1:3], "big") if raw[0] == 0xDE else raw[0] & 0x0F
    rest = raw[3:] if raw[0] == 0xDE else raw[1:]
    for more in (pack("format") + pack(1), pack("new") + b"\x82" + 2 * (pack("a") + pack(1))):
        twice = b"\xde" + (count + 1).to_bytes(2, "big") + rest + more
        with pytest.raises(MalformedMessage, match="is there twice"):
            decode(twice, kind)


def test_fields_of_a_newer_version_are_ignored_in_parts_of_a_message_too() -> None:
    fields = fields_of(Release)
    fields["files"][0]["compression"] = "zstd"
    assert decode(pack(fields), Release) == release()


@KINDS
def test_a_required_feature_that_is_unknown_here_is_refused_by_name(kind: type[Message]) -> None:
    newer = {**fields_of(kind), "requires": ["time-travel"]}
    with pytest.raises(UnsupportedFeature, match="time-travel"):
        decode(pack(newer), kind)


def test_a_required_feature_is_named_even_where_the_rest_cannot_be_understood() -> None:
    newer = {"kind": "release", "format": 9, "requires": ["time-travel"], "files": "elsewhere"}
    with pytest.raises(UnsupportedFeature, match="time-travel"):
        decode(pack(newer), Release)


def test_a_required_feature_that_is_known_is_accepted() -> None:
    assert decode(encode(release(requires=("rebased",))), Release).requires == ("rebased",)


@KINDS
@pytest.mark.parametrize("format_", [0, 2, "1", None, 1.5])
def test_another_major_format_is_refused_as_such(kind: type[Message], format_: object) -> None:
    with pytest.raises(UnsupportedFeature, match="expected format 1"):
        decode(pack({**fields_of(kind), "format": format_}), kind)


@KINDS
def test_one_byte_too_many_is_refused_before_it_is_parsed(kind: type[Message]) -> None:
    noise = b"\xc1" * (kind.MAX_BYTES + 1)  # 0xc1 is no msgpack: parsing it would say so
    with pytest.raises(OversizedMessage, match=f"at most {kind.MAX_BYTES} bytes"):
        decode(noise, kind)
    with pytest.raises(MalformedMessage, match="msgpack"):
        decode(noise[:-1], kind)


@KINDS
def test_every_truncation_is_malformed(kind: type[Message]) -> None:
    raw = encode(EXAMPLES[kind])
    for end in range(len(raw)):
        with pytest.raises(MalformedMessage):
            decode(raw[:end], kind)


@KINDS
def test_bytes_after_the_message_are_malformed(kind: type[Message]) -> None:
    with pytest.raises(MalformedMessage):
        decode(encode(EXAMPLES[kind]) + b"\x00", kind)


@KINDS
def test_each_message_without_one_of_its_needed_fields_is_malformed(kind: type[Message]) -> None:
    optional = {name for name, default in _defaults(kind).items() if default}
    for name in set(fields_of(kind)) - optional:
        fields = fields_of(kind)
        del fields[name]
        with pytest.raises((MalformedMessage, UnsupportedFeature)):
            decode(pack(fields), kind)


def _defaults(kind: type[Message]) -> dict[str, bool]:
    import msgspec

    return {field.name: not field.required for field in msgspec.structs.fields(kind)}


@pytest.mark.parametrize("other", [kind for kind in ALL if kind is not Notice])
def test_a_message_of_another_kind_is_malformed(other: type[Message]) -> None:
    with pytest.raises(MalformedMessage, match="expected a notice"):
        decode(encode(EXAMPLES[other]), Notice)


@pytest.mark.parametrize("value", [None, 7, b"x", "x", [], [[]], True, 1.5], ids=repr)
def test_what_is_no_map_is_malformed(value: object) -> None:
    with pytest.raises(MalformedMessage, match="expected a map"):
        decode(pack(value), Presence)


@pytest.mark.parametrize("key", [1, None, b"device", 1.5, True])
def test_keys_that_are_no_text_are_malformed(key: object) -> None:
    fields: dict[Any, Any] = {**fields_of(Presence), key: 1}
    with pytest.raises(MalformedMessage):
        decode(pack(fields), Presence)


@pytest.mark.parametrize("open_one", [b"\x91", b"\x81\xa1a"], ids=["lists", "maps"])
@pytest.mark.parametrize("depth", [13, 100, 500, 30_000])
def test_deep_nesting_is_malformed(open_one: bytes, depth: int) -> None:
    deep = pack({**fields_of(Notice)})[1:]  # the map's header is replaced by one with a field more
    raw = (
        bytes([0x80 | (len(fields_of(Notice)) + 1)]) + deep + b"\xa1z" + open_one * depth + b"\xc0"
    )
    with pytest.raises(MalformedMessage):
        decode(raw[: Notice.MAX_BYTES], Notice)


def test_nesting_within_the_bound_is_left_to_newer_versions() -> None:
    nested: object = 1
    for _ in range(11):
        nested = [nested]
    assert decode(pack({**fields_of(Presence), "newer": nested}), Presence) == presence()


def test_headers_that_claim_much_cost_little_memory() -> None:
    # Nested list headers that each claim 120,000 entries made the parser reserve 70 MB once.
    code = (
        "import resource, sys\n"
        "from slotcast_schemas.errors import MalformedMessage\n"
        "from slotcast_schemas.messages import Notice\n"
        "from slotcast_schemas.wire import decode\n"
        "bombs = [b'\\xdd' + n.to_bytes(4, 'big') for n in (120_000, 4096, 1024, 64)]\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for bomb in bombs:\n"
        "    try: decode(bomb * (Notice.MAX_BYTES // 5), Notice)\n"
        "    except MalformedMessage: pass\n"
        "    else: sys.exit('not refused')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    grown = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert int(grown.stdout) < 12 * 1024, "KiB"


def test_extension_types_are_malformed() -> None:
    stamp = msgpack.packb({**fields_of(Presence), "newer": msgpack.Timestamp(1, 2)})
    with pytest.raises(MalformedMessage):
        decode(stamp, Presence)


@pytest.mark.parametrize("digest", ["A" * 43 + "=", bytes(31), bytes(33), b"", 7, None])
def test_a_digest_is_32_bytes_and_never_text(digest: object) -> None:
    with pytest.raises(MalformedMessage, match="payload"):
        decode(pack({**fields_of(MapPart), "payload": digest}), MapPart)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_is_finite_wherever_it_stands(value: float) -> None:
    fields = fields_of(Status)
    fields["models"][0]["evidence"]["checks"][0]["value"] = value
    with pytest.raises(MalformedMessage, match="value"):
        decode(pack(fields), Status)


def test_an_error_names_the_field_and_both_sides() -> None:
    fields = fields_of(Offer)
    fields["payloads"][1]["chunk_size_bytes"] = 128_000
    with pytest.raises(MalformedMessage) as caught:
        decode(pack(fields), Offer)
    assert str(caught.value) == (
        "offer: payloads[1].chunk_size_bytes: expected a whole number of at most 127000, got 128000"
    )


@pytest.mark.parametrize(
    "message",
    [
        presence(time=-1),
        presence(time=2**70),
        presence(device="a/b"),
        status(models=(model_status(detail="\udcff"),)),
        status(models=(model_status(detail="x" * 501),)),
        status(models=(model_status(),) * 33),
    ],
)
def test_what_breaks_its_own_bounds_cannot_be_written(message: Message) -> None:
    with pytest.raises(MalformedMessage):
        encode(message)


def test_a_message_too_large_cannot_be_written() -> None:
    blob = bytes(64 * 1024)
    with pytest.raises(OversizedMessage):
        encode(Notice(model="m", metadata={"a.json": blob, "b.json": blob}, targets={"t": b"x"}))
