"""The status message: built from the cores, counted durably, the same for topic and command."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import time
from typing import TYPE_CHECKING, Final

import msgspec

from slotcast_device import __version__
from slotcast_device.core.payload_codecs import DELTA_CODECS, FULL_CODECS
from slotcast_device.link.link_state import CONNECTED, STARTING, STOPPED
from slotcast_device.reporting.status_counter import StatusCounter
from slotcast_device.runtime.importing import RUNTIME, has_hpke, runnable_formats, runtime_version
from slotcast_schemas import codec_names, wire
from slotcast_schemas.messages import Release, Status
from slotcast_schemas.messages.status import Inventory
from slotcast_schemas.model_formats import ONNX
from slotcast_schemas.reasons import Reason
from slotcast_schemas.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slotcast_device.config import DeviceConfig
    from slotcast_device.storage.disk import Disk
    from slotcast_schemas.messages.status import LinkStatus, ModelStatus, SlotStatus

_HEADER_BYTES: Final = 32
"""What a PUBLISH has beside topic and message, in bytes, with room to spare."""
_WAITING: Final = frozenset({Reason.NO_NOTICE, Reason.DOWNLOADING, Reason.SLOW, Reason.STALLED})
"""The reasons of a model that waits for something to come over the link."""


class StatusPublisher:
    """Builds status messages with a counter that grows across restarts.

    Args:
        config: who the device is.
        disk: where the counter is kept.
        encode: gives the bytes of a status, signed where the device has a key.
    """

    def __init__(
        self,
        config: DeviceConfig,
        disk: Disk,
        encode: Callable[[Status], bytes] = wire.encode,
    ) -> None:
        self._config = config
        self._counter = StatusCounter(config, disk)
        self._encode = encode

    def status(
        self,
        models: Sequence[ModelStatus],
        link: LinkStatus,
        clock: str = "ok",
        *,
        packet_max_bytes: int,
        wall_s: int,
    ) -> tuple[str, bytes]:
        """Give topic and bytes of the present status.

        Args:
            models: where each model stands.
            link: how the device stands with its broker.
            clock: as `clock_word` judges it.
            packet_max_bytes: what the broker takes; where the whole does not fit, evidence, files
                and the inventory are left out, in this order.
            wall_s: the time of day, Unix.
        """
        topic = self._config.topics.device(self._config.values.device, "status")
        message = build_status(
            self._config, models, self._counter.next(), clock, link, wall_s=wall_s
        )
        room = packet_max_bytes - len(topic) - _HEADER_BYTES
        for shorten in (_without_evidence, _without_files, _without_inventory):
            if len(data := self._encode(message)) <= room:
                return topic, data
            message = shorten(message)
        return topic, self._encode(message)


def build_status(
    config: DeviceConfig,
    models: Sequence[ModelStatus],
    counter: int,
    clock: str = "ok",
    link: LinkStatus | None = None,
    *,
    with_inventory: bool = True,
    wall_s: int | None = None,
) -> Status:
    """Build the status of the device.

    Args:
        config: who the device is.
        models: where each model stands.
        counter: of this message.
        clock: as `clock_word` judges it.
        link: how the device stands with its broker, if that is known.
        with_inventory: whether to say what hardware and software there is.
        wall_s: the time of day, Unix; what the system says unless given.
    """
    return Status(
        device=config.values.device,
        counter=counter,
        time=int(time.time()) if wall_s is None else wall_s,
        clock=clock,
        inventory=_take_inventory(config) if with_inventory else Inventory(),
        models=tuple(with_link(model, link) for model in models),
        link=link,
    )


def _without_evidence(status: Status) -> Status:
    models = (msgspec.structs.replace(m, evidence=None, benched=()) for m in status.models)
    return msgspec.structs.replace(status, models=tuple(models))


def _without_files(status: Status) -> Status:
    models = (
        msgspec.structs.replace(model, active=_bare(model.active), standby=_bare(model.standby))
        for model in status.models
    )
    return msgspec.structs.replace(status, models=tuple(models))


def _bare(slot: SlotStatus | None) -> SlotStatus | None:
    return None if slot is None else msgspec.structs.replace(slot, files=())


def _without_inventory(status: Status) -> Status:
    return msgspec.structs.replace(status, inventory=Inventory())


@functools.cache  # read from files; what a running process has loaded does not change
def _describe_runtime() -> str:
    return f"{RUNTIME} {runtime_version() or 'missing'}"


@functools.cache
def _find_codecs() -> tuple[str, ...]:
    """Name what is decoded here; with lists of wrapped keys, the others also encrypted."""
    keys = (codec_names.KEYS,) if has_hpke() else ()
    return tuple(sorted({*FULL_CODECS, *DELTA_CODECS, *keys}))


@functools.cache
def _find_formats(commands: frozenset[str]) -> tuple[str, ...]:
    onnx = (ONNX,) if runtime_version() else ()
    return tuple(sorted({*onnx, *runnable_formats(commands)}))


def _take_inventory(config: DeviceConfig) -> Inventory:
    try:
        free = shutil.disk_usage(config.state_dir).free
    except OSError:
        free = 0
    return Inventory(
        software=f"slotcast-device {__version__}",
        runtime=_describe_runtime(),
        machine=platform.machine(),
        memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        disk_free_bytes=free,
        tags=config.values.tags,
        codecs=_find_codecs(),
        formats=_find_formats(frozenset(config.values.formats)),
        features=tuple(sorted(Release.FEATURES)),
        image_max_bytes=config.values.policy.image_max_bytes,
    )


def no_notice(link: LinkStatus) -> str:
    """Say what it means that a broker has no notice for a model, and what may keep it back."""
    known = f"; known of this broker: {'; '.join(link.limits)}" if link.limits else ""
    return (
        f"{link.broker} has no notice for it: publish to this broker; if it keeps no retained"
        " messages, `slotcast serve` must run for it; a limit for packets below 8 KB keeps it back,"
        f" too{known}"
    )


def with_link(status: ModelStatus, link: LinkStatus | None) -> ModelStatus:
    """Give a model's status, with what is wrong with the link where the model waits for that."""
    if link is not None and link.reason == CONNECTED and status.reason == Reason.NO_NOTICE:
        return msgspec.structs.replace(status, detail=no_notice(link))
    is_waiting = status.state in {State.IDLE, State.DOWNLOADING} and status.reason in _WAITING
    if link is None or not is_waiting or link.reason in {CONNECTED, STOPPED, STARTING}:
        return status
    return msgspec.structs.replace(status, reason=link.reason, detail=link.detail)
