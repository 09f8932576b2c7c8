"""Each bit of a private key's file turned: a key, or a refusal that names the file.

The disk of a device that was off, or a medium that holds a publisher's keys, may give any of these;
what is no refusal would end the agent, at each start again.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from slotcast_device.storage.key_file import KeyAlgorithm, load_private_key
from slotcast_device.storage.os_disk import OsDisk
from slotcast_device.storage.x509_files import load_key
from slotcast_publisher.errors import KeyUnavailable
from slotcast_publisher.private_key_files import read_private_key
from slotcast_schemas.errors import StorageFailed, UsageError

KEYS: dict[KeyAlgorithm, Ed25519PrivateKey | X25519PrivateKey] = {
    "Ed25519": Ed25519PrivateKey.generate(),
    "X25519": X25519PrivateKey.generate(),
}


def turned(algorithm: KeyAlgorithm) -> Iterator[bytes]:
    """Give the key in PEM as often as it has bits, with another of them turned each time."""
    der = KEYS[algorithm].private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    for bit in range(8 * len(der)):
        data = bytearray(der)
        data[bit // 8] ^= 1 << bit % 8
        yield pem_of(bytes(data))


def pem_of(der: bytes) -> bytes:
    """Write DER as PEM."""
    lines = base64.encodebytes(der)
    return b"-----BEGIN PRIVATE KEY-----\n" + lines + b"-----END PRIVATE KEY-----\n"


def refusals(load: Callable[[bytes], object], keys: Iterator[bytes], *how: type[Exception]) -> int:
    """Load each of the keys; gives how many were refused by name."""
    refused = 0
    for pem in keys:
        try:
            load(pem)
        except how:
            refused += 1
    return refused


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_devices_own_key_with_a_bit_turned_is_one_or_is_refused(
    algorithm: KeyAlgorithm, tmp_path: Path
) -> None:
    path = tmp_path / "key"

    def load(pem: bytes) -> None:
        path.write_bytes(pem)
        assert load_private_key(OsDisk(), path, algorithm) is not None

    assert refusals(load, turned(algorithm), StorageFailed) > 100


def test_the_key_of_a_devices_certificate_with_a_bit_turned_is_one_or_is_refused() -> None:
    assert refusals(lambda pem: load_key(pem, "it"), turned("Ed25519"), UsageError) > 100


def test_a_publishers_key_with_a_bit_turned_is_one_or_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"

    def load(pem: bytes) -> None:
        path.write_bytes(pem)
        read_private_key(path, "the key", lambda _: None)

    assert refusals(load, turned("Ed25519"), KeyUnavailable) > 100


def test_a_key_without_the_passphrase_that_it_needs_says_how_it_is_given(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    lock = BestAvailableEncryption(b"four long words")
    path.write_bytes(KEYS["Ed25519"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock))
    with pytest.raises(KeyUnavailable, match=r"is encrypted.*set SLOTCAST_PASSPHRASE"):
        read_private_key(path, "the key", lambda _: None)
    with pytest.raises(KeyUnavailable, match="wrong passphrase"):
        read_private_key(path, "the key", lambda _: "five long words")
