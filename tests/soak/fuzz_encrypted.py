"""Any bytes as sealed chunks, wrapped keys and frames are opened or refused by name, no more."""

from __future__ import annotations

import contextlib
import io
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from slotcast_schemas.codecs.encrypted import (
    EncryptedSource,
    plain_frames,
    plain_size_bytes,
    seal_chunks,
)
from slotcast_schemas.codecs.source import MemorySource
from slotcast_schemas.content_key import (
    build_list,
    commitment_to,
    find_entry,
    public_bytes,
    recipient_id,
    unwrap,
    wrap,
)
from slotcast_schemas.errors import NoContentKey, PayloadCorrupt
from slotcast_schemas.messages.release import Encryption
from tests.support import messages

CHUNK: Final = 1024
KEY: Final = bytes(range(32))
DEVICE: Final = X25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
OWN: Final = recipient_id(public_bytes(DEVICE))
RELEASE: Final = messages.release(encryption=Encryption(key_commitment=commitment_to(KEY)))


def seeds() -> list[bytes]:
    """Give sealed chunks, and a list with an entry for the device."""
    plain = bytes(3000)
    read = io.BytesIO(plain).read
    sealed = seal_chunks(read, KEY, plain_bytes=len(plain), chunk_size_bytes=CHUNK)
    return [b"".join(sealed), build_list({OWN: wrap(KEY, public_bytes(DEVICE), RELEASE)})]


def one_input(data: bytes) -> None:
    """Open it as sealed chunks, look into it as a list, and take it for sizes of frames."""
    with contextlib.suppress(PayloadCorrupt):
        source = MemorySource(data)
        found = EncryptedSource(source, KEY, size_bytes=len(data), chunk_size_bytes=CHUNK)
        assert len(found.read_at(0, found.size_bytes)) == found.size_bytes
    entry = find_entry(data, OWN)
    if entry is not None:
        with contextlib.suppress(NoContentKey):
            assert unwrap(entry, DEVICE, RELEASE) == KEY
    _frames(data)


def _frames(data: bytes) -> None:
    sizes = [int.from_bytes(data[at : at + 2], "big") for at in range(0, min(len(data), 64), 2)]
    if not any(sizes):
        return
    payload = messages.payload(sum(sizes), CHUNK, codec="encrypted+full+zstd", frames=tuple(sizes))
    try:
        whole = plain_size_bytes(payload)
    except PayloadCorrupt:
        return
    found = plain_frames(payload)
    assert min(found) >= 0
    assert sum(found) == whole
