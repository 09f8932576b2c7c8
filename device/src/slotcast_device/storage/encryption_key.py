"""The device's encryption key, and the content key of the release that is under way.

`STATE_DIR/encryption.key` is an X25519 key in PKCS#8 that only the agent's user may read. It is
made once, by whoever holds the lock of the state directory, and never leaves the device; the
publisher gets the public key with the enrolment request. `content.key` in a model's folder is what
was unwrapped with it; it is removed with the chunks that it opens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from slotcast_device.storage.key_file import (
    KEY_MAX_BYTES,
    KEY_MODE,
    load_private_key,
    save_private_key,
)
from slotcast_schemas.content_key import (
    CONTENT_KEY_BYTES,
    commitment_to,
    find_entry,
    public_bytes,
    recipient_id,
    require_hpke,
    unwrap,
)
from slotcast_schemas.errors import NoContentKey

if TYPE_CHECKING:
    from pathlib import Path

    from slotcast_device.storage.disk import Disk
    from slotcast_schemas.messages import Release

KEY_FILE: Final = "encryption.key"
"""The name of the device's key in the state directory."""


def load_encryption_key(disk: Disk, state_dir: Path) -> X25519PrivateKey | None:
    """Give the device's encryption key; None where none was made yet.

    Raises:
        StorageFailed: there is a file, and it cannot be read or is no key.
    """
    return load_private_key(disk, state_dir / KEY_FILE, "X25519")


def describe_encryption_key(disk: Disk, state_dir: Path) -> str | None:
    """Say by which id lists of wrapped keys have this device; None where it has no key.

    Raises:
        StorageFailed: the key cannot be read, or is none.
        SoftwareBroken: nothing could be unwrapped with it: the library has no HPKE.
    """
    private = load_encryption_key(disk, state_dir)
    if private is None:
        return None
    require_hpke()
    return f"encrypted releases are read with key {recipient_id(public_bytes(private)).hex()[:16]}"


def make_encryption_key(disk: Disk, state_dir: Path) -> X25519PrivateKey:
    """Make a new key in place of what is there; the caller holds the lock.

    Raises:
        StorageFailed: it cannot be written.
    """
    private = X25519PrivateKey.generate()
    save_private_key(disk, state_dir / KEY_FILE, private)
    return private


class ContentKeyFile:
    """The content key of the release under way, in a model's folder.

    Args:
        disk: the durable layer.
        state_dir: where the device's own key is.
        model_folder: the model's folder in it.
    """

    def __init__(self, disk: Disk, state_dir: Path, model_folder: Path) -> None:
        self._disk = disk
        self._state_dir = state_dir
        self._path = model_folder / "content.key"

    def recipient(self) -> bytes:
        """Give the id under which lists hold this device's entry; empty where it has no key.

        Raises:
            StorageFailed: the device's key cannot be read.
        """
        private = load_encryption_key(self._disk, self._state_dir)
        return b"" if private is None else recipient_id(public_bytes(private))

    def load(self, release: Release) -> bytes | None:
        """Give the content key of a release; None where it is not the one that is here.

        Raises:
            StorageFailed: it cannot be read.
        """
        if release.encryption is None:
            return None
        key = self._disk.read(self._path, KEY_MAX_BYTES)
        if key is None or len(key) != CONTENT_KEY_BYTES:
            return None
        return key if commitment_to(key) == release.encryption.key_commitment else None

    def take(self, chunk: bytes, release: Release) -> None:
        """Unwrap a release's key from the chunk of a list that holds this device's entry; keep it.

        Args:
            chunk: of the list.
            release: whose key it is.

        Raises:
            NoContentKey: there is no entry for this device, or it gives no key of this release.
            StorageFailed: the key cannot be kept.
        """
        private = load_encryption_key(self._disk, self._state_dir)
        if private is None:
            raise NoContentKey("this device has no encryption key any more; enrol it anew")
        wrapped = find_entry(chunk, recipient_id(public_bytes(private)))
        if wrapped is None:
            raise NoContentKey("this device is not among those that the release is encrypted for")
        self._disk.write_atomic(self._path, unwrap(wrapped, private, release), KEY_MODE)

    def drop(self) -> None:
        """Forget the key."""
        self._disk.unlink(self._path)
