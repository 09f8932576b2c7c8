"""Every message survives encode and decode; bytes that are no message are called malformed."""

from __future__ import annotations

from contextlib import suppress

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slotcast_schemas.errors import RefusedRelease
from slotcast_schemas.messages import ALL
from slotcast_schemas.wire import Message, decode, encode
from tests.support.messages import instances

KINDS = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.KIND)
SLOW_TO_BUILD = settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@KINDS
@SLOW_TO_BUILD
@given(data=st.data())
def test_every_message_survives_encode_and_decode(kind: type[Message], data: st.DataObject) -> None:
    message = data.draw(instances(kind))
    raw = encode(message)
    assert decode(raw, kind) == message
    assert encode(decode(raw, kind)) == raw


@KINDS
@settings(max_examples=100)
@given(raw=st.binary(max_size=400))
def test_random_bytes_are_a_message_or_malformed(kind: type[Message], raw: bytes) -> None:
    with suppress(RefusedRelease):
        assert isinstance(decode(raw, kind), kind)


WORDS = st.sampled_from(
    ["kind", "format", "requires", "model", "files", "payloads", "digests", *(k.KIND for k in ALL)]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | WORDS
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=20,
)


@KINDS
@settings(max_examples=70)
@given(fields=st.dictionaries(WORDS, VALUES, max_size=6))
def test_random_maps_are_a_message_or_malformed(
    kind: type[Message], fields: dict[str, object]
) -> None:
    raw = msgpack.packb({**fields, "kind": kind.KIND, "format": 1}, use_bin_type=True)
    with suppress(RefusedRelease):
        assert isinstance(decode(raw, kind), kind)
