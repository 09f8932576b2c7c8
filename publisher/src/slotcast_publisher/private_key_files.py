"""Opens the files of private keys, asking for a passphrase only where one is encrypted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from slotcast_publisher.errors import KeyUnavailable
from slotcast_schemas.key_errors import NO_KEY
from slotcast_schemas.plain_files import read_regular


def read_private_key(
    path: Path, what: str, passphrase: Callable[[str], str | bytes | None]
) -> PrivateKeyTypes:
    """Read and open a private key of this repository.

    Args:
        path: its file, in PEM.
        what: what a person calls the key.
        passphrase: asked, told `what`, if the file is encrypted.

    Raises:
        KeyUnavailable: the file is not here, or does not open.
    """
    try:
        pem = read_regular(path)
    except OSError as exc:
        raise KeyUnavailable(
            f"{what}: expected its file at {path} ({exc.strerror}); bring the medium that holds it"
        ) from exc
    return open_private_key(pem, path, what, passphrase)


def open_private_key(
    pem: bytes, path: Path, what: str, passphrase: Callable[[str], str | bytes | None]
) -> PrivateKeyTypes:
    """Open a private key that was read.

    Args:
        pem: what is in its file.
        path: the file, for messages.
        what: what a person calls the key.
        passphrase: asked, told `what`, if the file is encrypted.

    Raises:
        KeyUnavailable: it does not open.
    """
    is_encrypted = b"ENCRYPTED" in pem
    secret = passphrase(what) if is_encrypted else None
    if is_encrypted and not secret:
        raise KeyUnavailable(
            f"{what}: {path} is encrypted, and no passphrase was given: set SLOTCAST_PASSPHRASE"
        )
    try:
        return load_pem_private_key(pem, secret.encode() if isinstance(secret, str) else secret)
    except NO_KEY as exc:
        raise KeyUnavailable(
            f"{what}: {path} does not open (no private key, wrong passphrase, or damaged): {exc}"
        ) from exc
