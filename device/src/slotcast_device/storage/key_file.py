"""A private key of the device in a file of the state directory, for the agent's user alone."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final, Literal, cast, overload

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
)

from slotcast_schemas.errors import StorageFailed
from slotcast_schemas.key_errors import NO_KEY

if TYPE_CHECKING:
    from pathlib import Path

    from slotcast_device.storage.disk import Disk

KEY_MODE: Final = 0o600
"""The mode of key files."""
KEY_MAX_BYTES: Final = 4096
"""The most bytes of a key file that are read; it has some 120."""

KeyAlgorithm = Literal["Ed25519", "X25519"]
"""What a key is for: to sign, or to have secrets wrapped for it."""
_CLASSES: Final = {"Ed25519": Ed25519PrivateKey, "X25519": X25519PrivateKey}
_KEY_BYTES: Final = 32
_BEFORE_KEY: Final = {
    "Ed25519": bytes.fromhex("302e020100300506032b657004220420"),
    "X25519": bytes.fromhex("302e020100300506032b656e04220420"),
}
"""What comes before the bytes of a key in PKCS#8 (RFC 8410, 7)."""


@overload
def make_private_key(algorithm: Literal["Ed25519"]) -> Ed25519PrivateKey: ...
@overload
def make_private_key(algorithm: Literal["X25519"]) -> X25519PrivateKey: ...
def make_private_key(algorithm: KeyAlgorithm) -> Ed25519PrivateKey | X25519PrivateKey:
    """Make a key: 32 random bytes (RFC 8032, 5.1.5; RFC 7748, 6.1).

    As `generate` of the classes does, which first loads OpenSSL's whole table of functions, 1 MB.
    """
    der = _BEFORE_KEY[algorithm] + secrets.token_bytes(_KEY_BYTES)
    return cast("Ed25519PrivateKey | X25519PrivateKey", load_der_private_key(der, None))


def load_private_key(disk: Disk, path: Path, algorithm: KeyAlgorithm) -> Any | None:
    """Give the key of a file; None where there is none.

    Args:
        disk: the durable layer.
        path: the file, in PKCS#8 and PEM.
        algorithm: that the key must be of.

    Raises:
        StorageFailed: there is a file, and it cannot be read or is no such key.
    """
    pem = disk.read(path, KEY_MAX_BYTES)
    if pem is None:
        return None
    try:
        private = load_pem_private_key(pem, None)
    except NO_KEY as exc:
        raise _damaged(path, algorithm) from exc
    if not isinstance(private, _CLASSES[algorithm]):
        raise _damaged(path, algorithm)
    return private


def save_private_key(disk: Disk, path: Path, private: Ed25519PrivateKey | X25519PrivateKey) -> None:
    """Write a key's file, in place of what is there; the caller holds the lock.

    Args:
        disk: the durable layer.
        path: the file; its folder is made.
        private: the key.

    Raises:
        StorageFailed: it cannot be written.
    """
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    disk.make_dir(path.parent)
    disk.write_atomic(path, pem, KEY_MODE)


def _damaged(path: Path, algorithm: KeyAlgorithm) -> StorageFailed:
    return StorageFailed(
        f"{path}: expected an {algorithm} key in PEM, got something else; `slotcast-device enrol"
        " --new-key` makes a new one, which the publisher must enrol again"
    )
