"""How files of releases lie on the disk: as they are, or encrypted with the slots' key.

Slots, images that are decoded while they come, and the provisioned release are written and read
through this, so that above it a file has the bytes that its release says, whichever way it lies.
What is written is encrypted where the owner says so; what is read tells by its beginning what it
is, so slots of before are read until they are replaced.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from slotcast_device.at_rest.file_format import (
    BLOCK_BYTES,
    HEADER_BYTES,
    Header,
    encrypted_size_bytes,
)
from slotcast_device.at_rest.slots_key import (
    DESCRIPTION_MAX_BYTES,
    FILE_NAME,
    open_slots_key,
    place_of,
)
from slotcast_schemas.codecs.source import read_across
from slotcast_schemas.errors import PayloadCorrupt, SlotsKeyMissing, StorageFailed

if TYPE_CHECKING:
    from pathlib import Path

    from slotcast_device.at_rest.encrypted_file import EncryptedReader, FileEncryptor, SlotsKey
    from slotcast_device.at_rest.slots_key import KeyPlace
    from slotcast_device.config import DeviceConfig
    from slotcast_device.storage.disk import Disk, Image, RandomFile, Writer

_COPY_BYTES: Final = BLOCK_BYTES
"""The bytes that are read and written at once: just a block, so that none is put together from two
reads."""


class HeldFile(Protocol):
    """A file of a release, as the release or the record has it."""

    @property
    def path(self) -> str:
        """Where it is in the slot."""

    @property
    def size_bytes(self) -> int:
        """What it holds."""

    @property
    def sha256(self) -> bytes:
        """Digest of what it holds."""


class SlotsKeyring:
    """The slots' key, had from its place when it is first needed.

    Args:
        place: where it is; None for a device whose slots are not encrypted.
        encrypts: whether what is written from now on is encrypted.
    """

    def __init__(self, place: KeyPlace | None = None, *, encrypts: bool = False) -> None:
        self._place = place
        self.encrypts = encrypts and place is not None
        self._key: SlotsKey | None = None
        self._lock = threading.Lock()

    @classmethod
    def of(cls, config: DeviceConfig) -> SlotsKeyring:
        """Give that of a device."""
        return cls(place_of(config), encrypts=config.encrypts_slots)

    @property
    def place(self) -> KeyPlace | None:
        """Where the key is."""
        return self._place

    def key(self) -> SlotsKey:
        """Give the key.

        Raises:
            SlotsKeyMissing: it cannot be had, or the configuration names none.
        """
        if self._place is None:
            raise SlotsKeyMissing(
                "there is an encrypted slot, and device.toml names no key for it: [at_rest]"
                " (docs/encryption.md); or remove the slot, and it is fetched anew"
            )
        with self._lock:
            if self._key is None:
                self._key = open_slots_key(self._place)
            return self._key


def tell_place(disk: Disk, state_dir: Path, place: KeyPlace | None) -> None:
    """Leave word for applications where the slots' key is; where there is none, leave none.

    Args:
        disk: the durable layer.
        state_dir: where they look.
        place: where the key is; no part of it is a secret.

    Raises:
        StorageFailed: it cannot be written.
    """
    path = state_dir / FILE_NAME
    if place is None:
        if disk.size_bytes(path) is not None:
            disk.unlink(path)
        return
    data = msgspec.json.encode(place)
    if disk.read(path, DESCRIPTION_MAX_BYTES) != data:
        disk.make_dir(state_dir)
        disk.write_atomic(path, data)


class _EncryptingWriter:
    """A new file that is encrypted as it is written."""

    def __init__(self, writer: Writer, encryptor: FileEncryptor) -> None:
        self._writer = writer
        self._encryptor = encryptor

    def write(self, data: bytes | memoryview) -> None:
        self._encryptor.add(data)

    def close_synced(self) -> None:
        self._encryptor.finish()
        self._writer.close_synced()

    def close(self) -> None:
        self._writer.close()


class OpenedFile:
    """An encrypted file, read as what it holds.

    Args:
        file: as it lies; it is closed with this.
        reader: opens it.
    """

    def __init__(self, file: RandomFile, reader: EncryptedReader) -> None:
        self._file = file
        self._reader = reader

    @property
    def size_bytes(self) -> int:
        """Size of what it holds."""
        return self._reader.size_bytes

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        """Give up to so many bytes from `offset` of what it holds, fewer only at its end."""
        return self._reader.read_at(offset, size_bytes)

    @property
    def header(self) -> Header:
        """What it begins with."""
        return self._reader.header

    def parts(self) -> Iterator[memoryview]:
        """Give all that the file holds, in order, each part until the next one is asked for."""
        for run in self._reader.runs():
            yield run.plain

    def copy_to(self, writer: Writer) -> Iterator[memoryview]:
        """Write the file as it lies, and give what it holds, each part before it is written.

        The copy keeps the salt, and so the key, of its source. Both hold the same bytes, so no
        nonce of that key seals two different things.
        """
        writer.write(self.header.as_bytes())
        for run in self._reader.runs():
            yield run.plain
            writer.write(run.sealed)

    def close(self) -> None:
        """Release the file."""
        self._file.close()


class _OpenedImage:
    """Files laid end to end, of which some are encrypted: what `Disk.open_image` gives of others.

    Args:
        parts: each file's image, and the size of what it holds.
    """

    def __init__(self, parts: Sequence[tuple[Image | OpenedFile, int]]) -> None:
        self._parts = [part for part, _ in parts]
        self._ends = list(accumulate(size for _, size in parts))

    @property
    def size_bytes(self) -> int:
        """Sum of the files' sizes."""
        return self._ends[-1] if self._ends else 0

    def read_at(self, offset: int, size: int) -> bytes:
        """Give exactly `size` bytes from `offset`; see `Image`."""
        return read_across(self._ends, offset, size, self._read)

    def _read(self, index: int, offset: int, size: int) -> bytes:
        return self._parts[index].read_at(offset, size)

    def close(self) -> None:
        """Release the files."""
        for part in self._parts:
            part.close()


class SlotFiles:
    """Files of releases on the disk, written and read as what they hold.

    Args:
        disk: the durable layer.
        keyring: gives the slots' key; one that has none writes in the clear.
    """

    def __init__(self, disk: Disk, keyring: SlotsKeyring | None = None) -> None:
        self._disk = disk
        self.keyring = keyring or SlotsKeyring()

    def create(self, path: Path, file: HeldFile) -> Writer:
        """Begin a new file of a release in place of an old one.

        Args:
            path: where.
            file: what will be written, as the release has it.

        Raises:
            SlotsKeyMissing: it is to be encrypted, and the key cannot be had.
            StorageFailed: the disk does not take it.
        """
        if not self.keyring.encrypts:
            return self._disk.create(path)
        from slotcast_device.at_rest.encrypted_file import FileEncryptor  # brings cryptography

        key = self.keyring.key()
        writer = self._disk.create(path)
        encryptor = FileEncryptor(key, file.size_bytes, file.sha256, writer.write)
        return _EncryptingWriter(writer, encryptor)

    def is_encrypted(self, path: Path, file: HeldFile) -> bool:
        """Say whether a file lies encrypted: by its length, and by how it begins.

        Args:
            path: where it is.
            file: what it is to hold.

        Raises:
            StorageFailed: it cannot be read.
        """
        return self.key_id(path, file) is not None

    def key_id(self, path: Path, file: HeldFile) -> bytes | None:
        """Say by which key a file is encrypted; None of one in the clear, or of none.

        Args:
            path: where it is.
            file: what it is to hold.

        Raises:
            StorageFailed: it cannot be read.
        """
        if self._disk.size_bytes(path) != encrypted_size_bytes(file.size_bytes):
            return None
        with contextlib.closing(self._disk.open_read(path)) as opened:
            header = Header.read(opened.read_at(0, HEADER_BYTES))
        return None if header is None else header.key_id

    def may_hold(self, path: Path, size_bytes: int) -> bool:
        """Say whether a file is as long as one that holds so many bytes; it is not opened."""
        return self._disk.size_bytes(path) in {size_bytes, encrypted_size_bytes(size_bytes)}

    def open_read(self, path: Path, file: HeldFile) -> RandomFile | OpenedFile:
        """Open a file to be read as what it holds.

        Args:
            path: where it is.
            file: what it is to hold.

        Raises:
            SlotDamaged: it was encrypted with another key, or is another file.
            SlotsKeyMissing: it is encrypted, and the key cannot be had.
            StorageFailed: it cannot be read.
        """
        if not self.is_encrypted(path, file):
            return self._disk.open_read(path)
        return self._open_encrypted(path, file)

    def _open_encrypted(self, path: Path, file: HeldFile) -> OpenedFile:
        from slotcast_device.at_rest.encrypted_file import EncryptedReader

        opened = self._disk.open_read(path)
        try:
            reader = EncryptedReader(str(path), opened.read_into, self.keyring.key())
            reader.expect(file.size_bytes, file.sha256)
            return OpenedFile(opened, reader)
        except BaseException:
            opened.close()
            raise

    def open_image(self, files: Sequence[tuple[Path, HeldFile]]) -> Image:
        """Open files laid end to end.

        Args:
            files: where each is, and what it is to hold.

        Raises:
            SlotDamaged: one is missing, unreadable, of another size, or another file.
            SlotsKeyMissing: one is encrypted, and the key cannot be had.
        """
        if not any(self.is_encrypted(path, file) for path, file in files):
            return self._disk.open_image([(path, file.size_bytes) for path, file in files])
        with ExitStack() as stack:
            parts: list[tuple[Image | OpenedFile, int]] = []
            for path, file in files:
                part = self.open_part(path, file)
                stack.callback(part.close)
                parts.append((part, file.size_bytes))
            stack.pop_all()
        return _OpenedImage(parts)

    def open_part(self, path: Path, file: HeldFile) -> Image | OpenedFile:
        """Open a file as a part of an image; see `open_image`.

        Args:
            path: where it is.
            file: what it is to hold.

        Raises:
            SlotDamaged: it is missing, unreadable, of another size, or another file.
            SlotsKeyMissing: it is encrypted, and the key cannot be had.
        """
        if self.is_encrypted(path, file):
            return self._open_encrypted(path, file)
        return self._disk.open_image([(path, file.size_bytes)])

    def copy(self, source: Path, target: Path, file: HeldFile) -> None:
        """Copy a file, hashed as it is written; one that lies encrypted is not encrypted anew.

        Args:
            source: where it is.
            target: where the copy goes.
            file: what it holds, as the release has it.

        Raises:
            PayloadCorrupt: it is not the signed one; the copy is not whole.
            SlotDamaged: it is missing, or not what was written.
            SlotsKeyMissing: it is or is to be encrypted, and the key cannot be had.
            StorageFailed: the disk does not take it.
        """
        digest = hashlib.sha256()
        with contextlib.closing(self.open_part(source, file)) as opened:
            if self.keyring.encrypts and isinstance(opened, OpenedFile):
                writer = self._disk.create(target)
                parts: Iterator[bytes | memoryview] = opened.copy_to(writer)
            else:
                writer = self.create(target, file)
                parts = _copy_parts(opened, file.size_bytes, writer)
            with contextlib.closing(writer):
                for part in parts:
                    digest.update(part)
                if digest.digest() != file.sha256:
                    raise PayloadCorrupt(f"{file.path}: the copied bytes are not the signed ones")
                writer.close_synced()

    def encrypt_in_place(self, path: Path, file: HeldFile) -> bool:
        """Encrypt a file that lies in the clear; the name changes from one to the other in a step.

        A power cut leaves either, and what was written beside goes when the slot is emptied.

        Args:
            path: where it is.
            file: what it holds, as the release has it.

        Returns:
            Whether there was anything to do.

        Raises:
            StorageFailed: the disk does not take it; the file is as it was.
        """
        if self.is_encrypted(path, file):
            return False
        temporary = path.with_name(f"{path.name}.encrypted")
        source, writer = self._disk.open_read(path), self.create(temporary, file)
        try:
            for offset in range(0, file.size_bytes, _COPY_BYTES):
                writer.write(source.read_at(offset, min(_COPY_BYTES, file.size_bytes - offset)))
            writer.close_synced()
        except StorageFailed:
            with contextlib.suppress(StorageFailed):
                self._disk.unlink(temporary)
            raise
        finally:
            writer.close()
            source.close()
        self._disk.make_read_only(temporary)
        self._disk.rename(temporary, path)
        self._disk.sync_dir(path.parent)
        return True


def parts_of(file: Image | OpenedFile, size_bytes: int) -> Iterator[bytes | memoryview]:
    """Give what a file holds, in order, each part until the next one is asked for.

    Args:
        file: opened.
        size_bytes: of what it holds.
    """
    if isinstance(file, OpenedFile):
        yield from file.parts()
        return
    for offset in range(0, size_bytes, _COPY_BYTES):
        yield file.read_at(offset, min(_COPY_BYTES, size_bytes - offset))


def _copy_parts(
    file: Image | OpenedFile, size_bytes: int, writer: Writer
) -> Iterator[bytes | memoryview]:
    """Write what a file holds, and give it, each part before it is written."""
    for part in parts_of(file, size_bytes):
        yield part
        writer.write(part)
