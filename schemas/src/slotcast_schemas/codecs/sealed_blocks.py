"""Blocks that are sealed each for its place, and read at any offset of what they hold.

Chunks of encrypted payloads and files of encrypted slots are such blocks; how their key is derived
and how they lie is each format's own.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

TAG_BYTES: Final = 16
"""The bytes of the tag that follows each block."""


class BlockCipher:
    """Seals and opens blocks: the nonce is the index, the associated data index and count.

    Args:
        key: for which nothing else is sealed.
        count: how many blocks there are.
        aead: what seals; both have keys of 32 bytes, nonces of 12 and tags of 16.
    """

    def __init__(
        self,
        key: bytes,
        count: int,
        aead: type[ChaCha20Poly1305 | AESGCM] = ChaCha20Poly1305,
    ) -> None:
        self._cipher = aead(key)
        self.count = count

    def seal(self, index: int, plain: bytes | memoryview) -> bytes:
        """Give a block as it travels or lies."""
        return self._cipher.encrypt(_nonce(index), plain, self._bound(index))

    def seal_into(self, index: int, plain: bytes | memoryview, target: memoryview) -> None:
        """Put a block as it travels or lies where the caller has memory for it.

        Args:
            index: of the block.
            plain: what it holds.
            target: just as long as the sealed block.
        """
        if hasattr(self._cipher, "encrypt_into"):  # not in every cryptography that will do
            self._cipher.encrypt_into(_nonce(index), plain, self._bound(index), target)
        else:
            target[:] = self.seal(index, plain)

    def open(self, index: int, sealed: bytes | memoryview) -> bytes:
        """Give what a block holds.

        Raises:
            InvalidTag: it was not sealed with this key, at this place, of so many.
        """
        return self._cipher.decrypt(_nonce(index), sealed, self._bound(index))

    def open_into(self, index: int, sealed: memoryview, target: memoryview) -> None:
        """Put what a block holds where the caller has memory for it.

        Args:
            index: of the block.
            sealed: the block as it travels or lies.
            target: shorter than that by the tag; what is in it counts only if nothing is raised.

        Raises:
            InvalidTag: it was not sealed with this key, at this place, of so many.
        """
        if hasattr(self._cipher, "decrypt_into"):  # not in every cryptography that will do
            self._cipher.decrypt_into(_nonce(index), sealed, self._bound(index), target)
        else:
            target[:] = self.open(index, sealed)

    def _bound(self, index: int) -> bytes:
        return struct.pack(">QQ", index, self.count)


def _nonce(index: int) -> bytes:
    return index.to_bytes(12, "big")


class OpenedBlocks:
    """What blocks hold, laid end to end; the last ones that were opened are kept.

    Args:
        open_block: gives what a block holds.
        block_bytes: what each holds; the last may hold less.
        kept_max: how many opened blocks are kept.
    """

    def __init__(self, open_block: Callable[[int], bytes], block_bytes: int, kept_max: int) -> None:
        self._open_block = open_block
        self._block_bytes = block_bytes
        self._kept_max = kept_max
        self._kept: OrderedDict[int, bytes] = OrderedDict()

    def read_at(self, offset: int, size: int) -> bytes:
        """Give `size` bytes from `offset`, which must be inside; at least one."""
        end = offset + size
        first, last = offset // self._block_bytes, (end - 1) // self._block_bytes
        opened = [self.open(index) for index in range(first, last + 1)]
        start = offset - first * self._block_bytes
        if len(opened) == 1:
            return opened[0][start : start + size]
        opened[0] = opened[0][start:]
        opened[-1] = opened[-1][: end - last * self._block_bytes]
        return b"".join(opened)

    def open(self, index: int) -> bytes:
        """Give what a block holds; it is kept."""
        held = self._kept.get(index)
        if held is not None:
            self._kept.move_to_end(index)
            return held
        self._kept[index] = plain = self._open_block(index)
        if len(self._kept) > self._kept_max:
            self._kept.popitem(last=False)
        return plain
