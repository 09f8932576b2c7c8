"""The device's identity key: made here, kept in the state directory, and never sent anywhere.

Where the configuration names a token, the key is there (`token_key`). Else `STATE_DIR/identity.key`
is a PKCS#8 file that only the agent's user may read. It is made once, by whoever holds the lock of
the state directory: the agent at its start, or `slotcast-device enrol`. A file that is there and
cannot be read is not replaced by itself, for the publisher knows the device by its key.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from slotcast_device.storage.key_file import load_private_key, make_private_key, save_private_key
from slotcast_schemas import identity
from slotcast_schemas.enrolment import Enrolment, encryption_key_data

if TYPE_CHECKING:
    from pathlib import Path

    from slotcast_device.config import DeviceConfig
    from slotcast_device.storage.disk import Disk

KEY_FILE: Final = "identity.key"
"""The name of the key's file in the state directory."""


class DeviceIdentity:
    """The key that says that something is of this device.

    Args:
        private: the key. One on a token is of a class of its own, below `identity.PrivateKey`.
    """

    def __init__(self, private: identity.PrivateKey) -> None:
        self._private = private

    @property
    def key_id(self) -> str:
        """The id of the key, which is no secret."""
        return identity.key_id(self._private.public_key())

    def sign(self, context: bytes, data: bytes) -> bytes:
        """Sign data for one purpose; see `slotcast_schemas.identity.sign`."""
        return identity.sign(self._private, context, data)

    def make_request(self, device_id: str, encryption_key: bytes = b"") -> Enrolment:
        """Give the request that asks the publisher to enrol this device under its id.

        Args:
            device_id: the id.
            encryption_key: the public key for which content keys shall be wrapped, if any.
        """
        from slotcast_device.storage import x509_files  # only who enrols needs cryptography.x509

        pem = x509_files.request_pem(self._private, device_id).decode()
        if not encryption_key:
            return Enrolment(device_id=device_id, csr=pem)
        said = encryption_key_data(device_id, encryption_key)
        signature = self.sign(identity.ENCRYPTION_CONTEXT, said)
        return Enrolment(
            device_id=device_id,
            csr=pem,
            encryption_key=base64.b64encode(encryption_key).decode(),
            encryption_signature=base64.b64encode(signature).decode(),
        )


def load_own_identity(config: DeviceConfig, disk: Disk) -> DeviceIdentity | None:
    """Give the key that the configuration names, in a token or the state directory.

    Returns:
        The key; None where none was made yet in the state directory.

    Raises:
        StorageFailed: it cannot be read, or the token cannot be used.
    """
    token = config.values.identity
    if token is None:
        return load_identity(disk, config.state_dir)
    from slotcast_device.storage.token_key import open_token_key  # few devices have one

    return DeviceIdentity(open_token_key(config, token))


def load_identity(disk: Disk, state_dir: Path) -> DeviceIdentity | None:
    """Give the device's key; None where none was made yet.

    Raises:
        StorageFailed: there is a file, and it cannot be read or is no key.
    """
    key = load_private_key(disk, state_dir / KEY_FILE, "Ed25519")
    return None if key is None else DeviceIdentity(key)


def make_identity(disk: Disk, state_dir: Path) -> DeviceIdentity:
    """Make a new key in place of what is there; the caller holds the lock.

    Raises:
        StorageFailed: it cannot be written.
    """
    private = make_private_key("Ed25519")
    save_private_key(disk, state_dir / KEY_FILE, private)
    return DeviceIdentity(private)


def load_or_make_identity(disk: Disk, state_dir: Path) -> DeviceIdentity:
    """Give the device's key, made now where there is none; the caller holds the lock.

    Raises:
        StorageFailed: it cannot be read or written, or is no key.
    """
    return load_identity(disk, state_dir) or make_identity(disk, state_dir)
