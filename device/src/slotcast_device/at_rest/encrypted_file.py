"""One file of a slot, encrypted as it is written, and proven as it is read, at any place.

The file's key is derived (HKDF-SHA256) from the slots' key, the salt, the cipher, the size and the
digest, so that a header which was changed, or stands before another file's blocks, opens none of
them. Block *i* of *n* is sealed by AES-256-GCM where the processor that wrote it has instructions
for that, else by ChaCha20-Poly1305: the nonce is *i*, the associated data *i* and *n*. An empty
file has one empty block, so that its header is proven too. Blocks that were swapped, left out or
cut off do not open. How the bytes lie is in `file_format`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from slotcast_device.at_rest.file_format import (
    BLOCK_BYTES,
    HEADER_BYTES,
    KEY_BYTES,
    SALT_BYTES,
    SECRET_MAGIC,
    TAG_BYTES,
    Cipher,
    Header,
    count_blocks,
)
from slotcast_device.at_rest.processor import quickest_cipher
from slotcast_schemas.codecs.sealed_blocks import BlockCipher, OpenedBlocks
from slotcast_schemas.errors import SlotDamaged

_BLOCKS_KEPT: Final = 16
"""The number of opened blocks that are kept: a delta reads its base at several places by turns."""
_RUN_BLOCKS: Final = 8
"""The number of blocks that are read at once where all of them are."""
_SEALED_BYTES: Final = BLOCK_BYTES + TAG_BYTES
_WRITE_BYTES: Final = 512 * 1024
"""The bytes that are written at once, from a multiple of them: a file system stores such pieces in
few large parts. Blocks with their tags, written one by one, would lie in many small ones."""
_AEADS: Final[dict[Cipher, tuple[type[ChaCha20Poly1305 | AESGCM], bytes]]] = {
    Cipher.CHACHA20_POLY1305: (ChaCha20Poly1305, b"slotcast slot file 1"),
    Cipher.AES_256_GCM: (AESGCM, b"slotcast slot file 2"),
}
"""The class that seals, and the purpose that the file's key is derived for, by cipher."""
_ID_CONTEXT: Final = b"slotcast slots key id 1"
_SECRET_CONTEXT: Final = b"slotcast secret at rest 1\0"
_NONCE: Final = bytes(12)
"""The nonce of a secret: its key is derived for it alone and seals nothing else."""

ReadInto = Callable[[int, memoryview], int]
"""Fills memory from an offset, and says how many bytes it got; fewer only at the end."""


@dataclass(frozen=True, slots=True)
class SlotsKey:
    """The key that a device's slots are encrypted with.

    Args:
        secret: its 32 bytes.
    """

    secret: bytes

    def __post_init__(self) -> None:
        """Check its size.

        Raises:
            ValueError: it has another one.
        """
        if len(self.secret) != KEY_BYTES:
            raise ValueError(f"expected a key of {KEY_BYTES} bytes, got {len(self.secret)}")

    def __repr__(self) -> str:
        return f"SlotsKey({self.key_id.hex()})"

    @property
    def key_id(self) -> bytes:
        """Eight bytes by which files name the key."""
        return HKDFExpand(SHA256(), 8, _ID_CONTEXT).derive(self.secret)

    def protect(self, purpose: str, data: bytes) -> bytes:
        """Seal a secret of a few bytes, such as another key of the device.

        Args:
            purpose: what it is; it opens as nothing else.
            data: the secret.
        """
        salt = os.urandom(SALT_BYTES)
        sealed = self._for_secret(purpose, salt).encrypt(_NONCE, data, None)
        return SECRET_MAGIC + self.key_id + salt + sealed

    def open_secret(self, purpose: str, sealed: bytes) -> bytes:
        """Undo `protect`.

        Raises:
            SlotDamaged: it was sealed with another key or for another purpose, or was changed.
        """
        at = len(SECRET_MAGIC)
        if sealed[at : at + 8] != self.key_id:
            raise SlotDamaged(f"{purpose} is encrypted with another key than {self.key_id.hex()}")
        salt, at = sealed[at + 8 : at + 8 + SALT_BYTES], at + 8 + SALT_BYTES
        try:
            return self._for_secret(purpose, salt).decrypt(_NONCE, sealed[at:], None)
        except InvalidTag as exc:
            raise SlotDamaged(f"{purpose} was changed on the disk") from exc

    def _for_secret(self, purpose: str, salt: bytes) -> ChaCha20Poly1305:
        info = _SECRET_CONTEXT + purpose.encode()
        return ChaCha20Poly1305(HKDF(SHA256(), KEY_BYTES, salt, info).derive(self.secret))


def _cipher_of(key: SlotsKey, header: Header) -> BlockCipher:
    aead, context = _AEADS[header.cipher]
    info = context + header.size_bytes.to_bytes(8, "big") + header.sha256
    derived = HKDF(SHA256(), KEY_BYTES, header.salt, info).derive(key.secret)
    return BlockCipher(derived, count_blocks(header.size_bytes), aead)


def _offset_of(block: int) -> int:
    return HEADER_BYTES + block * _SEALED_BYTES


class FileEncryptor:
    """Encrypts a file that comes in order.

    Header and sealed blocks gather in memory that is taken once: to take and give back a large
    block for each piece can cost more than to seal it.

    Args:
        key: the slots'.
        size_bytes: of the file.
        sha256: of the file, as its signed release has it.
        write: takes what lies on the disk, in order, and keeps none of it.
        cipher: what this processor is quickest with, unless a test says otherwise.
    """

    def __init__(
        self,
        key: SlotsKey,
        size_bytes: int,
        sha256: bytes,
        write: Callable[[bytes | memoryview], None],
        cipher: Cipher | None = None,
    ) -> None:
        chosen, salt = cipher or quickest_cipher(), os.urandom(SALT_BYTES)
        header = Header(chosen, key.key_id, salt, size_bytes, sha256)
        self._cipher = _cipher_of(key, header)
        self._write = write
        self._waiting = bytearray()
        self._index = 0
        self._sealed = memoryview(bytearray(_WRITE_BYTES + _SEALED_BYTES))
        self._sealed[:HEADER_BYTES] = header.as_bytes()
        self._sealed_bytes = HEADER_BYTES

    def add(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the file."""
        with memoryview(data) as given:
            missing = BLOCK_BYTES - len(self._waiting) if self._waiting else 0
            self._waiting += given[:missing]
            if self._waiting:
                if len(self._waiting) < BLOCK_BYTES:
                    return
                self._seal(bytes(self._waiting))
            whole_end = missing + (len(given) - missing) // BLOCK_BYTES * BLOCK_BYTES
            for start in range(missing, whole_end, BLOCK_BYTES):
                self._seal(given[start : start + BLOCK_BYTES])
            self._waiting = bytearray(given[whole_end:])

    def _seal(self, block: bytes | memoryview) -> None:
        start, end = self._sealed_bytes, self._sealed_bytes + len(block) + TAG_BYTES
        self._cipher.seal_into(self._index, block, self._sealed[start:end])
        self._index += 1
        self._sealed_bytes = end
        if end >= _WRITE_BYTES:
            self._write(self._sealed[:_WRITE_BYTES])
            self._sealed_bytes = end - _WRITE_BYTES
            self._sealed[: self._sealed_bytes] = self._sealed[_WRITE_BYTES:end]

    def finish(self) -> None:
        """Write what is left, after the last byte of the file."""
        if self._index < self._cipher.count:
            self._seal(bytes(self._waiting))
        if self._sealed_bytes:
            self._write(self._sealed[: self._sealed_bytes])


class Run(NamedTuple):
    """Blocks of a file that follow each other: as they lie on the disk, and what they hold.

    Both lie in memory that the next run is read into.
    """

    sealed: memoryview
    plain: memoryview


class EncryptedReader:
    """What an encrypted file holds, read at any place; a few opened blocks are kept.

    Args:
        name: of the file, for errors.
        read_into: gives its bytes as they lie on the disk.
        key: the slots'.

    Raises:
        SlotDamaged: it is no encrypted file, or one by another key.
    """

    def __init__(self, name: str, read_into: ReadInto, key: SlotsKey) -> None:
        start = bytearray(HEADER_BYTES)
        header = Header.read(bytes(start[: read_into(0, memoryview(start))]))
        if header is None:
            raise SlotDamaged(f"{name}: expected an encrypted file, got another one")
        if header.key_id != key.key_id:
            raise SlotDamaged(
                f"{name} is encrypted with the key {header.key_id.hex()}, this device has"
                f" {key.key_id.hex()}"
            )
        self.header = header
        self._name = name
        self._read_into = read_into
        self._cipher = _cipher_of(key, header)
        self._sealed_block = memoryview(bytearray(_SEALED_BYTES))
        self._opened = OpenedBlocks(self._open_block, BLOCK_BYTES, _BLOCKS_KEPT)

    @property
    def size_bytes(self) -> int:
        """Size of the plain file."""
        return self.header.size_bytes

    def expect(self, size_bytes: int, sha256: bytes) -> None:
        """See that it is the file that a signed release names.

        Args:
            size_bytes: of the plain file.
            sha256: of the plain file.

        Raises:
            SlotDamaged: it is another file, that was put in its place.
        """
        if (self.header.size_bytes, self.header.sha256) != (size_bytes, sha256):
            raise SlotDamaged(
                f"{self._name} is another file: expected {size_bytes} bytes with the digest"
                f" {sha256.hex()[:16]}, got {self.size_bytes} with {self.header.sha256.hex()[:16]}"
            )

    def read_at(self, offset: int, size: int) -> bytes:
        """Give up to `size` bytes from `offset` of the plain file, fewer only at its end.

        Raises:
            SlotDamaged: a block is not what was written there.
        """
        end = min(offset + size, self.size_bytes)
        if end <= offset:
            if not self.size_bytes:
                self._opened.open(0)
            return b""
        return self._opened.read_at(offset, end - offset)

    def read_all(self) -> bytes:
        """Give the whole plain file, which is in memory once and no more.

        Raises:
            SlotDamaged: a block is not what was written there.
        """
        whole = io.BytesIO()
        for run in self.runs():
            whole.write(run.plain)
        return whole.getvalue()

    def runs(self) -> Iterator[Run]:
        """Give all blocks in order, each proven, some at once: fewer and larger reads and writes.

        They are read and opened in memory that is taken once; see `FileEncryptor`.

        Raises:
            SlotDamaged: a block is not what was written there.
        """
        most = min(_RUN_BLOCKS, self._cipher.count)
        sealed = memoryview(bytearray(most * _SEALED_BYTES))
        plain = memoryview(bytearray(most * BLOCK_BYTES))
        for first in range(0, self._cipher.count, _RUN_BLOCKS):
            blocks = min(most, self._cipher.count - first)
            got = sealed[: self._read_into(_offset_of(first), sealed[: blocks * _SEALED_BYTES])]
            self._open_run(first, blocks, got, plain)
            yield Run(got, plain[: len(got) - blocks * TAG_BYTES])

    def _open_run(self, first: int, blocks: int, sealed: memoryview, plain: memoryview) -> None:
        """Open blocks that follow each other.

        Args:
            first: number of the first one.
            blocks: how many there are.
            sealed: as they lie on the disk.
            plain: has room for what they hold.
        """
        index = first
        try:
            for index in range(first, first + blocks):
                at = index - first
                block = sealed[at * _SEALED_BYTES : (at + 1) * _SEALED_BYTES]
                start = at * BLOCK_BYTES
                target = plain[start : start + max(0, len(block) - TAG_BYTES)]
                self._cipher.open_into(index, block, target)
        except InvalidTag as exc:
            raise self._say_damaged(index) from exc

    def _open_block(self, index: int) -> bytes:
        got = self._read_into(_offset_of(index), self._sealed_block)
        try:
            return self._cipher.open(index, self._sealed_block[:got])
        except InvalidTag as exc:
            raise self._say_damaged(index) from exc

    def _say_damaged(self, index: int) -> SlotDamaged:
        return SlotDamaged(
            f"{self._name}: block {index} of {self._cipher.count} is not what was written there"
        )
