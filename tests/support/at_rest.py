"""Devices whose slots are encrypted at rest, and all that lies on their disks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from slotcast_device.at_rest.encrypted_file import SlotsKey
from slotcast_device.at_rest.slots_key import KeyPlace
from slotcast_device.storage.os_disk import OsDisk
from slotcast_device.storage.slot_files import SlotFiles, SlotsKeyring
from tests.support.fleet import Device

KEY: Final = SlotsKey(bytes(range(32)))
"""The slots' key of a test."""


def key_file(path: Path, secret: bytes = KEY.secret) -> Path:
    """Write a slots' key that nobody else may read."""
    path.write_bytes(secret)
    path.chmod(0o600)
    return path


def turn_on(device: Device, key: Path, *, encrypt: bool = True) -> None:
    """Have a device encrypt its slots from now on, with the key in a file."""
    with device.config_path.open("a") as file:
        file.write(f'\n[at_rest]\nkey_file = "{key}"\nencrypt = {str(encrypt).lower()}\n')


def slot_files(key: Path) -> SlotFiles:
    """Give what writes and reads encrypted files on this disk."""
    return SlotFiles(OsDisk(), SlotsKeyring(KeyPlace(key_file=str(key)), encrypts=True))


def contents(folder: Path) -> list[bytes]:
    """Give what each file below a folder holds, as whoever takes the disk reads it."""
    found = (Path(where, name) for where, _, names in os.walk(folder) for name in names)
    return [data for path in sorted(found) if path.is_file() and (data := path.read_bytes())]
