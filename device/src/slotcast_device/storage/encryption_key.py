"""The device's encryption key, and the content key of the release that is under way.

`STATE_DIR/encryption.key` is an X25519 key that only the agent's user may read: in PKCS#8, or
encrypted with the slots' key where slots are. It is made once, by whoever holds the lock of the
state directory, and never leaves the device; the publisher gets the public key with the enrolment
request. `content.key` in a model's folder is what was unwrapped with it; it is removed with the
chunks that it opens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from slotcast_device.at_rest.file_format import is_protected
from slotcast_device.storage.key_file import (
    KEY_MAX_BYTES,
    KEY_MODE,
    load_private_key,
    make_private_key,
    save_private_key,
)
from slotcast_device.storage.slot_files import SlotsKeyring
from slotcast_schemas.content_key import (
    CONTENT_KEY_BYTES,
    commitment_to,
    find_entry,
    public_bytes,
    recipient_id,
    require_hpke,
    unwrap,
)
from slotcast_schemas.errors import NoContentKey, SlotDamaged

if TYPE_CHECKING:
    from pathlib import Path

    from slotcast_device.storage.disk import Disk
    from slotcast_schemas.messages import Release

KEY_FILE: Final = "encryption.key"
"""The name of the device's key in the state directory."""


def load_encryption_key(
    disk: Disk, state_dir: Path, keyring: SlotsKeyring | None = None
) -> X25519PrivateKey | None:
    """Give the device's encryption key; None where none was made yet.

    Args:
        disk: the durable layer.
        state_dir: where it is.
        keyring: gives the slots' key, with which it may be encrypted too.

    Raises:
        StorageFailed: there is a file, and it cannot be read or is no key.
    """
    path = state_dir / KEY_FILE
    data = disk.read(path, KEY_MAX_BYTES)
    if data is None or not is_protected(data):
        return load_private_key(disk, path, "X25519")
    secret = (keyring or SlotsKeyring()).key().open_secret(KEY_FILE, data)
    return X25519PrivateKey.from_private_bytes(secret)


def protect_encryption_key(disk: Disk, state_dir: Path, keyring: SlotsKeyring) -> None:
    """Encrypt the device's encryption key with the slots' key, where slots are encrypted.

    Without that, who has the disk reads with it every encrypted release that the broker still has.
    The caller holds the lock.

    Args:
        disk: the durable layer.
        state_dir: where it is.
        keyring: gives the slots' key.

    Raises:
        StorageFailed: it cannot be read or written, or the slots' key cannot be had.
    """
    data = disk.read(state_dir / KEY_FILE, KEY_MAX_BYTES) if keyring.encrypts else None
    if data is None or is_protected(data):
        return
    private = load_encryption_key(disk, state_dir)
    if private is not None:
        _save(disk, state_dir, private, keyring)


def _save(
    disk: Disk, state_dir: Path, private: X25519PrivateKey, keyring: SlotsKeyring | None
) -> None:
    path = state_dir / KEY_FILE
    if keyring is None or not keyring.encrypts:
        save_private_key(disk, path, private)
        return
    sealed = keyring.key().protect(KEY_FILE, private.private_bytes_raw())
    disk.make_dir(path.parent)
    disk.write_atomic(path, sealed, KEY_MODE)


def describe_encryption_key(
    disk: Disk, state_dir: Path, keyring: SlotsKeyring | None = None
) -> str | None:
    """Say by which id lists of wrapped keys have this device; None where it has no key.

    Args:
        disk: the durable layer.
        state_dir: where it is.
        keyring: gives the slots' key, with which it may be encrypted too.

    Raises:
        StorageFailed: the key cannot be read, or is none.
        SoftwareBroken: nothing could be unwrapped with it: the library has no HPKE.
    """
    private = load_encryption_key(disk, state_dir, keyring)
    if private is None:
        return None
    require_hpke()
    return f"encrypted releases are read with key {recipient_id(public_bytes(private)).hex()[:16]}"


def make_encryption_key(
    disk: Disk, state_dir: Path, keyring: SlotsKeyring | None = None
) -> X25519PrivateKey:
    """Make a new key in place of what is there; the caller holds the lock.

    Args:
        disk: the durable layer.
        state_dir: where it is put.
        keyring: gives the slots' key, with which it is encrypted where slots are.

    Raises:
        StorageFailed: it cannot be written.
    """
    private = make_private_key("X25519")
    _save(disk, state_dir, private, keyring)
    return private


class ContentKeyFile:
    """The content key of the release under way, in a model's folder.

    Args:
        disk: the durable layer.
        state_dir: where the device's own key is.
        model_folder: the model's folder in it.
        keyring: gives the slots' key, with which both are encrypted where slots are.
    """

    def __init__(
        self,
        disk: Disk,
        state_dir: Path,
        model_folder: Path,
        keyring: SlotsKeyring | None = None,
    ) -> None:
        self._disk = disk
        self._keyring = keyring or SlotsKeyring()
        self._state_dir = state_dir
        self._path = model_folder / "content.key"

    def recipient(self) -> bytes:
        """Give the id under which lists hold this device's entry; empty where it has no key.

        Raises:
            StorageFailed: the device's key cannot be read.
        """
        private = load_encryption_key(self._disk, self._state_dir, self._keyring)
        return b"" if private is None else recipient_id(public_bytes(private))

    def load(self, release: Release) -> bytes | None:
        """Give the content key of a release; None where it is not the one that is here.

        Raises:
            StorageFailed: it cannot be read.
        """
        if release.encryption is None:
            return None
        key = self._disk.read(self._path, KEY_MAX_BYTES)
        if key is not None and is_protected(key):
            key = self._opened(key)
        if key is None or len(key) != CONTENT_KEY_BYTES:
            return None
        return key if commitment_to(key) == release.encryption.key_commitment else None

    def _opened(self, sealed: bytes) -> bytes | None:
        """Undo what `take` did; None if another key did it, so that it is fetched again."""
        key = self._keyring.key()
        try:
            return key.open_secret(self._path.name, sealed)
        except SlotDamaged:
            return None

    def take(self, chunk: bytes, release: Release) -> None:
        """Unwrap a release's key from the chunk of a list that holds this device's entry; keep it.

        Args:
            chunk: of the list.
            release: whose key it is.

        Raises:
            NoContentKey: there is no entry for this device, or it gives no key of this release.
            StorageFailed: the key cannot be kept.
        """
        private = load_encryption_key(self._disk, self._state_dir, self._keyring)
        if private is None:
            raise NoContentKey("this device has no encryption key any more; enrol it anew")
        wrapped = find_entry(chunk, recipient_id(public_bytes(private)))
        if wrapped is None:
            raise NoContentKey("this device is not among those that the release is encrypted for")
        key = unwrap(wrapped, private, release)
        if self._keyring.encrypts:
            key = self._keyring.key().protect(self._path.name, key)
        self._disk.write_atomic(self._path, key, KEY_MODE)

    def drop(self) -> None:
        """Forget the key."""
        self._disk.unlink(self._path)
