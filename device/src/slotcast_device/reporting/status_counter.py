"""The counter of status messages, which grows over restarts: who reads them takes the highest."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from slotcast_schemas.decode_errors import UNDECODABLE
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.errors import StorageFailed

if TYPE_CHECKING:
    from slotcast_device.config import DeviceConfig
    from slotcast_device.storage.disk import Disk

COUNTER_FILE: Final = "device.json"
"""The name of the file, in the state directory, that keeps the counter."""
RESERVE: Final = 1000
"""The number of counters that one durable write reserves, so that it serves as many messages."""


class Counter(msgspec.Struct, frozen=True, kw_only=True):
    """`device.json`: every counter below `reserved` may have been used."""

    reserved: int = 0


make_decoders(Counter)


class StatusCounter:
    """Gives numbers that grow, with one durable write for each `RESERVE` of them."""

    def __init__(self, config: DeviceConfig, disk: Disk) -> None:
        self._config = config
        self._disk = disk
        self._next = 0
        self._reserved = 0

    def next(self) -> int:
        """Give the next number; none is given twice, also after a power cut."""
        if self._next >= self._reserved:
            self._reserve()
        self._next += 1
        return self._next

    def _reserve(self) -> None:
        path = self._config.state_dir / COUNTER_FILE
        used = max(self._next, read_counter(self._config, self._disk))
        self._next, self._reserved = used, used + RESERVE
        try:
            self._disk.make_dir(path.parent)
            self._disk.write_atomic(path, msgspec.json.encode(Counter(reserved=self._reserved)))
        except StorageFailed:
            # A device that cannot write must still be able to say so. The clock keeps the
            # counter growing until the disk is back.
            self._next = max(self._next, int(time.time()) * 1000)
            self._reserved = self._next + RESERVE


def read_counter(config: DeviceConfig, disk: Disk) -> int:
    """Give the highest counter that may have been used."""
    try:
        data = disk.read(config.state_dir / COUNTER_FILE, 4096)
        return 0 if data is None else msgspec.json.decode(data, type=Counter).reserved
    except (StorageFailed, *UNDECODABLE):
        return 0
