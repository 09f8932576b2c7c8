"""Valid messages, damaged: the edge gives a message or a refusal, never anything else.

Random bytes rarely get past the first check; a valid message with a few bytes changed, or one
value swapped for another, gets much deeper. Seeded: a failure prints the bytes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

from slotcast_schemas.errors import RefusedRelease
from slotcast_schemas.messages import ALL
from slotcast_schemas.wire import Message, decode, encode
from tests.support.damaged_bytes import damaged
from tests.support.messages import EXAMPLES

KINDS = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.KIND)
ROUNDS = 1_500
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**32, 2**53, 2**63, 2**64 - 1, -(2**63), 0.5, 1e308,
    float("nan"), float("inf"), "", "a", "../x", "\x00", "x" * 1000, b"", b"x" * 32, b"x" * 70_000,
    [], [[]], [None] * 600, {}, {"kind": "notice"},
    msgpack.Timestamp(0, 0), msgpack.ExtType(5, b"x"),
)  # fmt: skip


def check(raw: bytes, kind: type[Message]) -> bool:
    """Decode; give whether it was a message. Anything but a refusal fails the test, with a note."""
    try:
        message = decode(raw, kind)
    except RefusedRelease as exc:
        is_short = len(str(exc)) < 2_000
    except Exception as exc:
        exc.add_note(f"{kind.KIND}: {raw.hex()}")
        raise
    else:
        assert decode(encode(message), kind) == message, raw.hex()
        return True
    assert is_short, raw.hex()
    return False


@KINDS
def test_damaged_bytes_give_a_message_or_a_refusal(kind: type[Message]) -> None:
    rng = random.Random(f"bytes {kind.KIND}")
    raw = encode(EXAMPLES[kind])
    accepted = sum(check(damaged(raw, rng), kind) for _ in range(ROUNDS))
    assert 0 < accepted < ROUNDS  # else the damage is too great, or nothing is looked at


def places(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give the path of every value inside a message."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))


def swapped(fields: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Give a copy with one value replaced."""
    if not path:
        return value
    copy = dict(fields) if isinstance(fields, dict) else list(fields)
    copy[path[0]] = swapped(copy[path[0]], path[1:], value)
    return copy


@KINDS
def test_any_value_swapped_for_an_odd_one_gives_a_message_or_a_refusal(
    kind: type[Message],
) -> None:
    fields = msgpack.unpackb(encode(EXAMPLES[kind]), raw=False)
    outcomes = [
        check(msgpack.packb(swapped(fields, path, odd), use_bin_type=True), kind)
        for path in places(fields)
        for odd in ODD_VALUES
    ]
    assert {True, False} == set(outcomes)


@KINDS
def test_bytes_of_one_kind_of_message_are_refused_as_any_other(kind: type[Message]) -> None:
    for other in ALL:
        assert check(encode(EXAMPLES[other]), kind) is (other is kind)
