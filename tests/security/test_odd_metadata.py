"""Signed metadata with odd values, damaged or nested without end: refused, whatever reads it says.

A reader of JSON looks at metadata before any signature of it is checked, so anybody who writes to a
broker can have it look. Seeded: a failure prints the bytes.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from slotcast_device.storage.trust_store import verify_notice
from slotcast_schemas import wire
from slotcast_schemas.errors import BadSignature, Inconsistent, MalformedMessage, RefusedRelease
from slotcast_schemas.messages import Notice
from tests.support.damaged_bytes import damaged
from tests.support.fleet import Publisher, model_bytes

PLACES, ODD_EACH, DAMAGED = 30, 4, 40
ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**70, 1e400, "", "x" * 10_000, [], {}, [[]], {"a": 1}),
    *("9999-99-99T00:00:00Z", "\ud800"),
)


@pytest.fixture(scope="module")
def publisher(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    made = Publisher.make(tmp_path_factory.mktemp("odd") / "repo")
    made.release("clf", "1", {"model.onnx": model_bytes(1, 1 << 16)})
    return made


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give the way to each value."""
    yield path
    named = dict(enumerate(value)) if isinstance(value, list) else value
    for key, child in named.items() if isinstance(named, dict) else ():
        yield from places(child, (*path, key))


def with_value(data: bytes, path: tuple[Any, ...], odd: Any) -> bytes:
    """Give metadata with one value exchanged."""
    whole = [json.loads(data)]
    at: Any = whole
    for key in (0, *path)[:-1]:
        at = at[key]
    at[(0, *path)[-1]] = odd
    return json.dumps(whole[0]).encode()


def odd_ones(data: bytes, rng: random.Random) -> Iterator[bytes]:
    """Give what stands in the place of metadata."""
    found = list(places(json.loads(data)))
    for path in rng.sample(found, min(PLACES, len(found))):
        for odd in rng.sample(ODD, ODD_EACH):
            yield with_value(data, path, odd)
    yield from (damaged(data, rng) for _ in range(DAMAGED))
    yield from (b"", b"[" * 20_000, b'{"signed":' * 5_000, b"1" * 9_000, b"\xff")


def test_no_metadata_gets_more_out_of_a_device_than_a_refusal(
    publisher: Publisher, tmp_path: Path
) -> None:
    rng, root = random.Random(1), publisher.repo.roles.root_bytes()
    raw = publisher.repo.offer("clf", "1")
    notice = wire.decode(raw, Notice)
    refused: set[type[RefusedRelease]] = set()
    for number, name in enumerate(sorted(notice.metadata)):
        for data in odd_ones(notice.metadata[name], rng):
            bad = msgspec.structs.replace(notice, metadata={**notice.metadata, name: data})
            try:
                verify_notice(wire.encode(bad), "clf", root, tmp_path / str(number))
            except RefusedRelease as exc:
                refused.add(type(exc))
                is_short = len(str(exc)) < 2_000
            except Exception as exc:
                exc.add_note(f"{name}: {data!r:.2000}")
                raise
            else:
                is_short = True
            assert is_short, name
    assert (
        {BadSignature, MalformedMessage}
        <= refused
        <= {
            BadSignature,
            MalformedMessage,
            Inconsistent,
        }
    )
    assert verify_notice(raw, "clf", root, tmp_path / "0").release.version == "1"
