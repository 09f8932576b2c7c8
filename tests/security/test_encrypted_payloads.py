"""Who tampers with encrypted releases, their keys or recipients, gets nothing and is noticed."""

from __future__ import annotations

import hashlib
import io
import random
from typing import Any

import msgspec
import pytest

from slotcast_schemas.codecs.encrypted import opened, payload_key, seal_chunks, sealed_size_bytes
from slotcast_schemas.codecs.source import MemorySource
from slotcast_schemas.content_key import (
    commitment_to,
)
from slotcast_schemas.errors import (
    PayloadCorrupt,
)
from slotcast_schemas.messages import Release
from slotcast_schemas.messages.offer import Base, Payload
from slotcast_schemas.messages.release import Encryption
from tests.support import messages

pytest.importorskip("cryptography.hazmat.primitives.hpke")
CHUNK = 1024
CONTENT_KEY = bytes(range(32))
PLAIN = random.Random(1).randbytes(3000)
RELEASE = messages.release(encryption=Encryption(key_commitment=commitment_to(CONTENT_KEY)))
BASE = Base(sequence=6, version="1.1.0", image_sha256=messages.sha("old"), size_bytes=1000)


def payload(**changes: Any) -> Payload:
    given: dict[str, Any] = {
        "codec": "encrypted+delta+v1",
        "base": BASE,
        "plain_sha256": hashlib.sha256(PLAIN).digest(),
    }
    size_bytes = sealed_size_bytes(len(PLAIN), CHUNK)
    return messages.payload(size_bytes, CHUNK, **{**given, **changes})


def sealed() -> bytes:
    key = payload_key(
        CONTENT_KEY,
        RELEASE,
        codec=payload().codec,
        base_sha256=BASE.image_sha256,
        plain_sha256=hashlib.sha256(PLAIN).digest(),
        plain_bytes=len(PLAIN),
        chunk_size_bytes=CHUNK,
    )
    read = io.BytesIO(PLAIN).read
    return b"".join(seal_chunks(read, key, plain_bytes=len(PLAIN), chunk_size_bytes=CHUNK))


def open_as(release: Release, offered: Payload, key: bytes = CONTENT_KEY) -> bytes:
    return opened(MemorySource(sealed()), offered, release, key).read_at(0, 10)


# --- the payload ----------------------------------------------------------------------------------


def test_what_was_sealed_opens_as_what_it_was_sealed_as() -> None:
    assert open_as(RELEASE, payload()) == PLAIN[:10]


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "other"},
        {"version": "1.2.1"},
        {"sequence": 8},
        {"image_sha256": messages.sha("other image")},
    ],
    ids=["model", "version", "sequence", "image"],
)
def test_a_payload_of_one_release_does_not_open_as_one_of_another(changes: dict[str, Any]) -> None:
    with pytest.raises(PayloadCorrupt, match="was not sealed"):
        open_as(msgspec.structs.replace(RELEASE, **changes), payload())


@pytest.mark.parametrize(
    "changes",
    [
        {"codec": "encrypted+delta+v2"},
        {"base": None},
        {"base": msgspec.structs.replace(BASE, image_sha256=messages.sha("other base"))},
        {"plain_sha256": messages.sha("other")},
        {"size_bytes": sealed_size_bytes(len(PLAIN), CHUNK) - 1},
    ],
    ids=["codec", "no base", "other base", "digest", "size"],
)
def test_a_payload_does_not_open_as_another(changes: dict[str, Any]) -> None:
    with pytest.raises(PayloadCorrupt, match="was not sealed"):
        open_as(RELEASE, msgspec.structs.replace(payload(), **changes))


def test_an_encrypted_payload_that_does_not_say_what_it_holds_is_refused() -> None:
    with pytest.raises(PayloadCorrupt, match="without the digest"):
        open_as(RELEASE, payload(plain_sha256=None))


def test_another_content_key_opens_nothing() -> None:
    with pytest.raises(PayloadCorrupt, match="was not sealed"):
        open_as(RELEASE, payload(), bytes(32))
