"""What was learnt of each broker, kept over restarts in `STATE_DIR/brokers.json`.

Only a help: without it, or with one that cannot be read, everything is learnt again. Brokers are
named by host and port, never by a URL, which may have a password in it.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Final

import msgspec

from slotcast_device.core.transfer.broker_limits import BrokerLimits
from slotcast_schemas.decode_errors import UNDECODABLE
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.errors import StorageFailed

if TYPE_CHECKING:
    from slotcast_device.config import DeviceConfig
    from slotcast_device.storage.disk import Disk

BOOK_MAX_BYTES: Final = 64 * 1024
"""The most bytes of the file that are read."""
FORGET_AFTER_S: Final = 7 * 86400
"""The seconds after which what was learnt of a broker is forgotten, a week: brokers are upgraded
and set up anew, and then everything is tried again."""
_LOG: Final = logging.getLogger("slotcast.device")

make_decoders(dict[str, BrokerLimits])


class BrokerBook:
    """The limits of the configured brokers, by name.

    Args:
        config: which brokers there are, and where the state is.
        disk: where the book is kept.
        wall_s: Unix time in seconds, to know what is too old.
    """

    def __init__(self, config: DeviceConfig, disk: Disk, wall_s: int) -> None:
        self._path = config.state_dir / "brokers.json"
        self._disk = disk
        self._names = {broker.name for broker in config.values.brokers}
        self._limits = {
            name: limits
            for name, limits in self._read().items()
            if name in self._names and wall_s - limits.learned < FORGET_AFTER_S
        }

    def _read(self) -> dict[str, BrokerLimits]:
        try:
            data = self._disk.read(self._path, BOOK_MAX_BYTES)
            return {} if data is None else msgspec.json.decode(data, type=dict[str, BrokerLimits])
        except (StorageFailed, *UNDECODABLE) as exc:
            _LOG.warning("%s: what was learnt of brokers is learnt again: %s", self._path, exc)
            return {}

    def of(self, broker: str) -> BrokerLimits:
        """Give what is known of a broker."""
        return self._limits.get(broker, BrokerLimits())

    def note(self, broker: str, limits: BrokerLimits, wall_s: int) -> bool:
        """Keep what was learnt; says whether that is anything new.

        A disk that refuses costs only that it is learnt again.

        Args:
            broker: its name.
            limits: what it is known to allow now.
            wall_s: Unix time in seconds, kept with what is new.
        """
        if limits == self.of(broker):
            return False
        since = limits.learned or wall_s
        self._limits[broker] = msgspec.structs.replace(limits, learned=since)
        with contextlib.suppress(StorageFailed):
            self._disk.make_dir(self._path.parent)
            self._disk.write_atomic(self._path, msgspec.json.encode(self._limits))
        return True
