"""Encrypted payloads: each chunk sealed by itself, read back as the payload that was sealed.

What travels and is hashed are the sealed chunks; of each the last 16 bytes are its tag
(docs/encryption.md). A codec reads the plain payload through `EncryptedSource`, which opens the
chunks that it touches, so the plain payload need lie nowhere.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from slotcast_schemas.codecs.sealed_blocks import TAG_BYTES, BlockCipher, OpenedBlocks
from slotcast_schemas.codecs.source import check_range
from slotcast_schemas.errors import PayloadCorrupt

if TYPE_CHECKING:
    from slotcast_schemas.codecs.source import Source
    from slotcast_schemas.messages import Release
    from slotcast_schemas.messages.offer import Payload

PREFIX: Final = "encrypted+"
"""What the codec's name of an encrypted payload begins with."""

_CHUNKS_KEPT: Final = 8
"""The number of opened chunks that are kept: a delta is read at several places by turns."""

_CONTEXT: Final = b"slotcast encrypted payload 1"


def is_encrypted(payload: Payload) -> bool:
    """Say whether a payload's chunks are sealed."""
    return payload.codec.startswith(PREFIX)


def plain_codec(payload: Payload) -> str:
    """Name the codec of what a payload holds, encrypted or not."""
    return payload.codec.removeprefix(PREFIX)


def plain_size_bytes(payload: Payload) -> int:
    """Give the size of what a payload holds, without tags.

    Raises:
        PayloadCorrupt: an encrypted one whose last chunk has no room for a tag and a byte.
    """
    if not is_encrypted(payload):
        return payload.size_bytes
    return _plain_size(payload.size_bytes, payload.chunk_size_bytes)


def _plain_size(sealed_bytes: int, chunk_size_bytes: int) -> int:
    count = -(-sealed_bytes // chunk_size_bytes)
    last_bytes = sealed_bytes - (count - 1) * chunk_size_bytes
    if last_bytes <= TAG_BYTES:
        raise PayloadCorrupt(
            f"expected a last chunk of more than {TAG_BYTES} bytes, got {last_bytes}"
        )
    return sealed_bytes - TAG_BYTES * count


def sealed_size_bytes(plain_bytes: int, chunk_size_bytes: int) -> int:
    """Give the size of an encrypted payload, by that of what it holds."""
    return plain_bytes + TAG_BYTES * -(-plain_bytes // (chunk_size_bytes - TAG_BYTES))


def sealed_frames(frames: tuple[int, ...], chunk_size_bytes: int) -> tuple[int, ...]:
    """Give what of the sealed chunks each frame takes: a frame begins in the chunk it is in.

    Args:
        frames: sizes in the plain payload, one after the other.
        chunk_size_bytes: of a sealed chunk.
    """
    held, total = chunk_size_bytes - TAG_BYTES, sum(frames)

    def place(end: int) -> int:
        if end == total:
            return sealed_size_bytes(total, chunk_size_bytes)
        return end // held * chunk_size_bytes + end % held

    return _sizes(place(end) for end in _ends(frames))


def plain_frames(payload: Payload) -> tuple[int, ...]:
    """Give the sizes of a payload's frames in what it holds; undoes `sealed_frames`."""
    if not is_encrypted(payload) or not payload.frames:
        return payload.frames
    chunk_bytes, total = payload.chunk_size_bytes, plain_size_bytes(payload)
    held = chunk_bytes - TAG_BYTES

    def place(end: int) -> int:
        if end == payload.size_bytes:
            return total
        return min(end // chunk_bytes * held + min(end % chunk_bytes, held), total)

    return _sizes(place(end) for end in _ends(payload.frames))


def _ends(sizes: tuple[int, ...]) -> Iterator[int]:
    end = 0
    for size in sizes:
        end += size
        yield end


def _sizes(ends: Iterator[int]) -> tuple[int, ...]:
    sizes, start = [], 0
    for end in ends:
        sizes.append(end - start)
        start = end
    return tuple(sizes)


def payload_key(
    content_key: bytes,
    release: Release,
    *,
    codec: str,
    base_sha256: bytes,
    plain_sha256: bytes,
    plain_bytes: int,
    chunk_size_bytes: int,
) -> bytes:
    """Derive the key of one payload (RFC 5869): another one for each that can be told apart.

    Args:
        content_key: the release's.
        release: what the payload gives.
        codec: of the payload, as the offer has it.
        base_sha256: of the image that a delta starts from; empty for a whole image.
        plain_sha256: of what the payload holds.
        plain_bytes: the size of that.
        chunk_size_bytes: of a sealed chunk.
    """
    parts = (
        _CONTEXT,
        release.model.encode(),
        release.version.encode(),
        release.image_sha256,
        codec.encode(),
        base_sha256,
        plain_sha256,
        struct.pack(">QQQ", release.sequence, plain_bytes, chunk_size_bytes),
    )
    context = hashlib.sha256(b"".join(struct.pack(">H", len(part)) + part for part in parts))
    return HKDFExpand(SHA256(), 32, context.digest()).derive(content_key)


class ChunkCipher:
    """Seals and opens the chunks of one payload.

    Args:
        key: the payload's, for which no other payload is sealed.
        chunk_count: how many chunks there are.
    """

    def __init__(self, key: bytes, chunk_count: int) -> None:
        self._blocks = BlockCipher(key, chunk_count)

    def seal(self, index: int, plain: bytes) -> bytes:
        """Give a chunk as it travels."""
        return self._blocks.seal(index, plain)

    def open(self, index: int, sealed: bytes) -> bytes:
        """Give what a chunk holds.

        Raises:
            PayloadCorrupt: it was not sealed with this key, at this place, of so many.
        """
        try:
            return self._blocks.open(index, sealed)
        except InvalidTag as exc:
            raise PayloadCorrupt(
                f"chunk {index} was not sealed with this release's content key, for this place"
            ) from exc


class EncryptedSource:
    """What an encrypted payload holds, as a source; a few opened chunks are kept.

    Args:
        source: the sealed chunks, one after the other; may end before the last, if nobody reads it.
        key: of the payload (`payload_key`).
        size_bytes: of all sealed chunks together.
        chunk_size_bytes: of one; the last may be shorter.

    Raises:
        PayloadCorrupt: a size that cannot be.
    """

    def __init__(
        self, source: Source, key: bytes, *, size_bytes: int, chunk_size_bytes: int
    ) -> None:
        self._source = source
        self._sealed_bytes = size_bytes
        self._chunk_bytes = chunk_size_bytes
        self._size_bytes = _plain_size(size_bytes, chunk_size_bytes)
        self._cipher = ChunkCipher(key, -(-size_bytes // chunk_size_bytes))
        self._opened = OpenedBlocks(self._open, chunk_size_bytes - TAG_BYTES, _CHUNKS_KEPT)

    @property
    def size_bytes(self) -> int:
        """Size of the plain payload."""
        return self._size_bytes

    def read_at(self, offset: int, size: int) -> bytes:
        """Give exactly `size` bytes from `offset` of the plain payload.

        Raises:
            ValueError: the range is not wholly inside.
            PayloadCorrupt: a chunk does not open.
        """
        check_range(offset, size, self._size_bytes)
        return self._opened.read_at(offset, size) if size else b""

    def _open(self, index: int) -> bytes:
        start = index * self._chunk_bytes
        sealed = self._source.read_at(start, min(self._chunk_bytes, self._sealed_bytes - start))
        return self._cipher.open(index, sealed)


def opened(source: Source, payload: Payload, release: Release, content_key: bytes) -> Source:
    """Give what an encrypted payload holds, as a source.

    Args:
        source: the payload's bytes, as they came.
        payload: what the offer says of it.
        release: what it gives.
        content_key: the release's.

    Raises:
        PayloadCorrupt: a size that cannot be, or no digest of what it holds.
    """
    if payload.plain_sha256 is None:
        raise PayloadCorrupt("an encrypted payload without the digest of what it holds")
    key = payload_key(
        content_key,
        release,
        codec=payload.codec,
        base_sha256=b"" if payload.base is None else payload.base.image_sha256,
        plain_sha256=payload.plain_sha256,
        plain_bytes=plain_size_bytes(payload),
        chunk_size_bytes=payload.chunk_size_bytes,
    )
    return EncryptedSource(
        source, key, size_bytes=payload.size_bytes, chunk_size_bytes=payload.chunk_size_bytes
    )


def seal_chunks(
    read: Callable[[int], bytes], key: bytes, *, plain_bytes: int, chunk_size_bytes: int
) -> Iterator[bytes]:
    """Give the sealed chunks of what is read.

    Args:
        read: gives as many bytes as asked, fewer only at the end, as a file does.
        key: of the payload (`payload_key`).
        plain_bytes: how many bytes it gives in all.
        chunk_size_bytes: of a sealed chunk; the last may be shorter.
    """
    held_bytes = chunk_size_bytes - TAG_BYTES
    count = -(-plain_bytes // held_bytes)
    cipher = ChunkCipher(key, count)
    for index in range(count):
        yield cipher.seal(index, read(held_bytes))
