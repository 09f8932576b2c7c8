"""The status message: built from the cores, counted durably, the same for topic and command."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import time
from typing import TYPE_CHECKING, Final

import msgspec
import psutil

from slotcast_device.runtime.importing import RUNTIME, runtime_version
from slotcast_schemas import wire
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.errors import StorageFailed
from slotcast_schemas.messages import Status
from slotcast_schemas.messages.status import Inventory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slotcast_device.config import DeviceConfig
    from slotcast_device.storage.disk import Disk
    from slotcast_schemas.messages.status import ModelStatus

RESERVE: Final = 1000
"""Counters are reserved in runs, so that one durable write serves a thousand messages."""


class Counter(msgspec.Struct, frozen=True, kw_only=True):
    """`device.json`: every counter below `reserved` may have been used."""

    reserved: int = 0


make_decoders(Counter)


class Reporter:
    """Builds status messages with a counter that grows across restarts."""

    def __init__(self, config: DeviceConfig, disk: Disk) -> None:
        self._config = config
        self._disk = disk
        self._next = 0
        self._reserved = 0

    def status(self, models: Sequence[ModelStatus], clock: str = "ok") -> tuple[str, bytes]:
        """Give topic and bytes of the present status; `clock` as `clock_word` judges it."""
        device = self._config.values.device
        message = build_status(self._config, models, self._count(), clock)
        return self._config.topics.device(device, "status"), wire.encode(message)

    def _count(self) -> int:
        if self._next >= self._reserved:
            self._reserve()
        self._next += 1
        return self._next

    def _reserve(self) -> None:
        path = self._config.state_dir / "device.json"
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
        data = disk.read(config.state_dir / "device.json", 4096)
        return 0 if data is None else msgspec.json.decode(data, type=Counter).reserved
    except (StorageFailed, msgspec.DecodeError, UnicodeDecodeError):
        return 0


def build_status(
    config: DeviceConfig, models: Sequence[ModelStatus], counter: int, clock: str = "ok"
) -> Status:
    """Build the status of the device with its inventory.

    Args:
        config: who the device is.
        models: where each model stands.
        counter: of this message.
        clock: as `clock_word` judges it.
    """
    return Status(
        device=config.values.device,
        counter=counter,
        time=int(time.time()),
        clock=clock,
        inventory=_inventory(config),
        models=tuple(models),
    )


@functools.cache  # read from files; what a running process has loaded does not change
def _software() -> str:
    return f"slotcast-device {importlib.metadata.version('slotcast-device')}"


@functools.cache
def _runtime() -> str:
    return f"{RUNTIME} {runtime_version() or 'missing'}"


def _inventory(config: DeviceConfig) -> Inventory:
    try:
        free = psutil.disk_usage(str(config.state_dir)).free
    except OSError:
        free = 0
    return Inventory(
        software=_software(),
        runtime=_runtime(),
        machine=platform.machine(),
        memory_bytes=psutil.virtual_memory().total,
        disk_free_bytes=free,
        tags=config.values.tags,
    )
