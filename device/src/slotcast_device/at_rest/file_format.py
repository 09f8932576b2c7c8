"""How an encrypted file of a slot is laid out; told without a key, and without cryptography.

    magic              8 bytes: tells the cipher
    key id             8 bytes: tells by which key, and says nothing of it
    salt              32 bytes: random, so that no files that differ share a key
    plain size         8 bytes, big-endian
    plain SHA-256     32 bytes: which file of which release it is
    blocks            each 64 KiB of the file, and a tag of 16 bytes; the last may be shorter

The format is for good; docs/encryption.md has it, `encrypted_file` seals and opens.
"""

from __future__ import annotations

import os
import struct
from enum import Enum
from typing import TYPE_CHECKING, Final, Self

import msgspec

from slotcast_schemas.plain_files import open_regular

if TYPE_CHECKING:
    from pathlib import Path


class Cipher(Enum):
    """What seals the blocks of a file, by what such a file begins with."""

    CHACHA20_POLY1305 = b"\x89SCrest1"
    AES_256_GCM = b"\x89SCrest2"


SECRET_MAGIC: Final = b"\x89SCkey_1"
"""What another key of the device begins with, where it is encrypted with the slots' key."""
BLOCK_BYTES: Final = 64 * 1024
"""The bytes of the plain file in a block."""
TAG_BYTES: Final = 16
"""The bytes of the tag that follows each block."""
KEY_BYTES: Final = 32
"""The size of the slots' key."""
SALT_BYTES: Final = 32
"""The size of a file's salt."""
_HEADER: Final = struct.Struct(f">8s8s{SALT_BYTES}sQ32s")
HEADER_BYTES: Final = _HEADER.size
"""The bytes before the first block."""


def is_protected(data: bytes) -> bool:
    """Say whether bytes are what `SlotsKey.protect` makes."""
    return data.startswith(SECRET_MAGIC)


class Header(msgspec.Struct, frozen=True):
    """What stands before the blocks. It is proven once a block has opened."""

    cipher: Cipher
    key_id: bytes
    salt: bytes
    size_bytes: int
    sha256: bytes

    @classmethod
    def read(cls, data: bytes) -> Self | None:
        """Read it from a file's beginning; None where that is no encrypted file."""
        if len(data) < HEADER_BYTES:
            return None
        magic, *rest = _HEADER.unpack_from(data)
        try:
            return cls(Cipher(magic), *rest)
        except ValueError:
            return None

    def as_bytes(self) -> bytes:
        """Give it as it is written."""
        magic = self.cipher.value
        return _HEADER.pack(magic, self.key_id, self.salt, self.size_bytes, self.sha256)


def encrypted_size_bytes(plain_bytes: int) -> int:
    """Give the size of an encrypted file, by that of what it holds."""
    return HEADER_BYTES + plain_bytes + TAG_BYTES * count_blocks(plain_bytes)


def count_blocks(plain_bytes: int) -> int:
    """Say in how many blocks a file lies; an empty one has one, which proves its header."""
    return max(1, -(-plain_bytes // BLOCK_BYTES))


def read_header(path: Path, plain_bytes: int) -> Header | None:
    """Read what an encrypted file says of itself; None of one in the clear, or of none.

    A file in the clear may begin as an encrypted one does, but is then of another length.

    Args:
        path: where it is.
        plain_bytes: the size of what it is to hold.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size != encrypted_size_bytes(plain_bytes):
                return None
            return Header.read(file.read(HEADER_BYTES))
    except FileNotFoundError:
        return None
