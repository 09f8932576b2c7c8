"""docs/wire.md is true: its example computed anew, its tables as the types are."""

from __future__ import annotations

import hashlib
import re

import msgpack

from slotcast_schemas.messages import MapPart, Presence, Want
from slotcast_schemas.states import State
from slotcast_schemas.topics import ChunkTopic, Topics
from slotcast_schemas.wire import decode
from tools import wire_tables

PAGE = wire_tables.PAGE.read_text()
PAYLOAD = bytes(i % 251 for i in range(2_500))
CHUNKS = [PAYLOAD[at : at + 1_024] for at in range(0, len(PAYLOAD), 1_024)]


def block(name: str) -> str:
    """Give a fenced block of the page, its lines joined."""
    found = re.search(rf"```\w+ {name}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None, name
    return "".join(found.group(1).split())


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def test_the_field_tables_are_in_step_with_the_types() -> None:
    assert wire_tables.page_with_tables(PAGE) == PAGE, "run `python tools/wire_tables.py`"


def test_the_worked_example_is_what_msgpack_and_sha256_alone_give() -> None:
    digest = sha256(PAYLOAD)
    assert block("payload-sha256") == digest.hex()
    envelope = {"format": 1, "requires": []}
    part = msgpack.packb(
        {
            "kind": "map",
            **envelope,
            "payload": digest,
            "part": 0,
            "digests": b"".join(map(sha256, CHUNKS)),
        }
    )
    assert block("map-part") == part.hex()
    assert block("map-part-sha256") == sha256(part).hex()
    want = {"kind": "want", **envelope, "device": "cam-1", "payload": digest, "map_parts": []}
    want["blocks"] = [{"block": 0, "missing": 0b110}]
    assert block("want") == msgpack.packb(want).hex()
    presence = {"kind": "presence", **envelope, "device": "cam-1"}
    presence |= {"online": True, "time": 1_790_000_000}
    assert block("presence") == msgpack.packb(presence).hex()


def test_our_own_side_reads_the_worked_example() -> None:
    digest = sha256(PAYLOAD)
    assert Topics().parse(block("topic-of-last-chunk")) == ChunkTopic(digest, 2)
    part = decode(bytes.fromhex(block("map-part")), MapPart)
    assert part.digests[64:] == sha256(CHUNKS[2])
    assert decode(bytes.fromhex(block("want")), Want).blocks[0].missing == 0b110
    assert decode(bytes.fromhex(block("presence")), Presence).online


def test_the_glossary_has_every_state_once() -> None:
    text = (wire_tables.PAGE.parent / "glossary.md").read_text()
    named = re.findall(r"^\| `([A-Z_]+)` \|", text, re.MULTILINE)
    assert named == [state.value for state in State]
