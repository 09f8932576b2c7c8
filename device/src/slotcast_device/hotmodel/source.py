"""What `current` opens: which slot, which release, which file. Reads, decides nothing.

An update can come at any moment, so the link is read once and everything else is reached through
the slot that it named; the release file beside the slot tells a slot's releases apart.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from slotcast_device.at_rest.file_format import read_header
from slotcast_device.at_rest.memory_file import NoMemoryFiles, Write, memory_file
from slotcast_device.at_rest.slots_key import KeyPlace, open_slots_key, read_place
from slotcast_device.runtime.users import this_user
from slotcast_schemas import limits, wire
from slotcast_schemas.errors import ModelUnloadable, RefusedRelease, SlotDamaged, SlotsKeyMissing
from slotcast_schemas.messages.release import File, Release
from slotcast_schemas.model_formats import LITERT, ONNX, SUFFIXES
from slotcast_schemas.plain_files import open_regular
from slotcast_schemas.probe.loading import ModelBytes
from slotcast_schemas.probe.spec import path_of_open_file

if TYPE_CHECKING:
    from io import FileIO

    from slotcast_device.at_rest.encrypted_file import EncryptedReader, SlotsKey


class MayNotRead(ModelUnloadable):
    """This process's user may not read the model: nothing that the model could help."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Tells what `current` opens from what it opened before, in two system calls."""

    target: str
    release_stamp: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Opened:
    """One release, in its slot.

    Attributes:
        folder: the slot's folder, no link in it that an update would change.
        path: the file that the runtime opens.
        release: what was signed; None for a folder that no agent manages.
        key: the slots' key, where the slot is encrypted.
    """

    identity: Identity
    folder: Path
    path: Path
    release: Release | None
    key: SlotsKey | None = None

    @property
    def format(self) -> str:
        """What kind of model it is: as the release says, else by the file's name."""
        if self.release is not None:
            return self.release.runtime.format
        return LITERT if self.path.suffix in SUFFIXES[LITERT] else ONNX

    @property
    def slot(self) -> str:
        """Name of the slot's folder: `a` or `b`."""
        return self.folder.name

    @property
    def sequence(self) -> int:
        """Of the release; 0 if there is none."""
        return 0 if self.release is None else self.release.sequence

    @property
    def size_bytes(self) -> int:
        """Of all files in the slot."""
        return sum(f.stat().st_size for f in self.folder.rglob("*") if f.is_file())

    def read_file(self, name: str) -> bytes:
        """Read a file of the release, as it was released, whether it lies encrypted or not.

        Args:
            name: its path in the release.

        Raises:
            ModelUnloadable: it is not what was written there.
            OSError: there is none, or it cannot be read.
        """
        with self._open_encrypted(name) as reader:
            if reader is not None:
                return reader.read_all()
        with open_regular(self.folder / name) as file:
            return file.read()

    @contextlib.contextmanager
    def _open_encrypted(self, name: str) -> Iterator[EncryptedReader | None]:
        """Open a file that lies encrypted; None for one that does not."""
        file, path = self._find_file(name), self.folder / name
        if self.key is None or file is None or not read_header(path, file.size_bytes):
            yield None
            return
        from slotcast_device.at_rest.encrypted_file import EncryptedReader

        try:
            with path.open("rb", buffering=0) as opened:
                reader = EncryptedReader(str(path), partial(_read_into, opened), self.key)
                reader.expect(file.size_bytes, file.sha256)
                yield reader
        except SlotDamaged as exc:
            raise ModelUnloadable(str(exc)) from exc

    def read_model(self) -> ModelBytes | None:
        """Read what the runtime is given of an encrypted slot; None of one that it reads itself.

        Raises:
            ModelUnloadable: a file is not what was written there.
            OSError: a file is missing, or cannot be read.
        """
        if self.key is None or self.release is None:
            return None
        return ModelBytes.read(self.release.entry, self._model_files, self.read_file)

    @contextlib.contextmanager
    def hold_model(self) -> Iterator[Path | None]:
        """Have an encrypted model in a file in memory, for a runtime that reads by a path.

        Yields:
            Its path in this process, for as long as the block lasts. None if the model is not
            encrypted, has several files, or was prepared for a runtime, which tells such a model
            by its file's name: a path in memory has another. None also if this system has no
            files in memory.

        Raises:
            ModelUnloadable: the file is not what was written there.
            OSError: the file is missing, or memory ended.
        """
        release = self.release
        if release is None or release.runtime.compiled or self._model_files != [release.entry]:
            yield None
            return
        with contextlib.ExitStack() as held:
            number = None
            with self._open_encrypted(release.entry) as reader, contextlib.suppress(NoMemoryFiles):
                if reader is not None:
                    fill = partial(_write_plain, reader)
                    number = held.enter_context(memory_file(reader.size_bytes, fill))
            yield None if number is None else path_of_open_file(number)

    @property
    def _model_files(self) -> list[str]:
        files = () if self.release is None else self.release.files
        return [file.path for file in files if file.role == "model"]

    def _find_file(self, name: str) -> File | None:
        files = () if self.release is None else self.release.files
        return next((file for file in files if file.path == name), None)

    def with_key(self, slots_key: Path | None) -> Opened:
        """Give the same with the slots' key, where the slot is encrypted.

        Args:
            slots_key: a file with the key; None where the agent's word for it counts.

        Raises:
            MayNotRead: the key cannot be had, or is another one.
        """
        entry = None if self.release is None else self._find_file(self.release.entry)
        header = None if entry is None else read_header(self.path, entry.size_bytes)
        if header is None:
            return self
        state_dir = self.folder.parent.parent.parent.parent
        place = read_place(state_dir) if slots_key is None else KeyPlace(key_file=str(slots_key))
        if place is None:
            raise MayNotRead(
                f"{self.path} is encrypted, and nothing here says where its key is: give HotModel"
                " slots_key= (docs/encryption.md)"
            )
        try:
            key = open_slots_key(place)
        except SlotsKeyMissing as exc:
            raise MayNotRead(f"{self.path} is encrypted: {exc}") from exc
        if key.key_id != header.key_id:
            raise MayNotRead(
                f"{self.path} is encrypted with the key {header.key_id.hex()}, and"
                f" {place.key_file} has {key.key_id.hex()}"
            )
        return replace(self, key=key)


def _read_into(file: FileIO, offset: int, target: memoryview) -> int:
    return os.preadv(file.fileno(), [target], offset)


def _write_plain(reader: EncryptedReader, write: Write) -> None:
    for run in reader.runs():
        write(run.plain)


def identify(current: Path) -> Identity | None:
    """Look where `current` leads now; None if it leads nowhere.

    Raises:
        MayNotRead: this user may not look; the message says what to do.
    """
    try:
        target = str(current.readlink())
    except FileNotFoundError:
        return None
    except PermissionError as exc:
        raise _may_not(current) from exc
    except OSError:  # a folder, not a link: a model that no agent manages
        return Identity(".", (0, 0, 0)) if current.is_dir() else None
    try:
        stat = _release_file(current.parent / target).stat()
        stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
    except OSError:
        stamp = (0, 0, 0)
    return Identity(target, stamp)


def open_current(
    current: Path, identity: Identity, entry: str | None, slots_key: Path | None = None
) -> Opened:
    """Read which file to open.

    Args:
        current: the link.
        identity: what `identify` saw.
        entry: name of the file, where the slot has no release beside it; None means its only
            .onnx or .tflite file.
        slots_key: a file with the slots' key, should they be encrypted; None where the agent's
            word for it counts.

    Raises:
        ModelUnloadable: there is no such file, or more than one.
        MayNotRead: it is closed to this user, or its key is.
    """
    folder = current if identity.target == "." else current.parent / identity.target
    try:
        opened = _opened(identity, folder, entry)
        with contextlib.suppress(FileNotFoundError):  # loading it says so
            open_regular(opened.path).close()
        return opened.with_key(slots_key)
    except PermissionError as exc:
        raise _may_not(folder) from exc


def _may_not(path: Path) -> MayNotRead:
    return MayNotRead(
        f"{path} may not be read by {this_user()}: put that user into the group of the folders"
        " above (docs/install.md)"
    )


def _opened(identity: Identity, folder: Path, entry: str | None) -> Opened:
    release = _read_release(_release_file(folder))
    if release is not None:
        return Opened(identity, folder, folder / release.entry, release)
    if entry is not None:
        return Opened(identity, folder, folder / entry, None)
    found = sorted([*folder.glob("*.onnx"), *folder.glob("*.tflite")])
    if len(found) != 1:
        raise ModelUnloadable(
            f"{folder}: expected one .onnx or .tflite file, got {len(found)}; name `entry`"
        )
    return Opened(identity, folder, found[0], None)


def other_releases(opened: Opened) -> list[Release]:
    """Read the releases in the slots beside the one that was opened."""
    files = sorted(opened.folder.parent.glob("*.release"))
    found = (_read_release(path) for path in files if path != _release_file(opened.folder))
    return [release for release in found if release is not None]


def _release_file(folder: Path) -> Path:
    return folder.with_name(folder.name + ".release")


def _read_release(path: Path) -> Release | None:
    try:
        with open_regular(path) as file:
            return wire.decode(file.read(limits.TARGET_MAX_BYTES + 1), Release)
    except (OSError, RefusedRelease):
        return None
