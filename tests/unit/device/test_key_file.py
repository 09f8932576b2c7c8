"""Keys that a device makes for itself."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from slotcast_device.storage.key_file import (
    KeyAlgorithm,
    load_private_key,
    make_private_key,
    save_private_key,
)
from slotcast_device.storage.os_disk import OsDisk


def test_keys_are_of_the_algorithm_asked_for_and_work() -> None:
    signing, other = make_private_key("Ed25519"), make_private_key("X25519")
    assert isinstance(signing, Ed25519PrivateKey)
    signing.public_key().verify(signing.sign(b"said"), b"said")
    theirs = X25519PrivateKey.generate()
    assert other.exchange(theirs.public_key()) == theirs.exchange(other.public_key())


@pytest.mark.parametrize("algorithm", get_args(KeyAlgorithm))
def test_every_key_is_another_and_is_made_of_bytes_that_all_vary(algorithm: KeyAlgorithm) -> None:
    made = [make_private_key(algorithm).private_bytes_raw() for _ in range(64)]
    assert len(set(made)) == len(made)
    assert all(len(set(column)) > 32 for column in zip(*made, strict=True))


@pytest.mark.parametrize("algorithm", get_args(KeyAlgorithm))
def test_a_key_comes_back_from_its_file(algorithm: KeyAlgorithm, tmp_path: Path) -> None:
    private = make_private_key(algorithm)
    save_private_key(OsDisk(), tmp_path / "a.key", private)
    found = load_private_key(OsDisk(), tmp_path / "a.key", algorithm)
    assert found is not None
    assert found.private_bytes_raw() == private.private_bytes_raw()
