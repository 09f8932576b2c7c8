"""A simulation: makes the devices of one repository, runs them, and says what happened."""

from __future__ import annotations

import functools
import json
import logging
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from slotcast_device.config import DeviceConfig, MetricsConfig, Timing
from slotcast_device.reporting.metrics_collector import METRICS_FILE
from slotcast_device.reporting.metrics_ring import MetricsRing
from slotcast_device.reporting.status_counter import COUNTER_FILE, Counter
from slotcast_publisher.fleet.simulate.device import SimulatedDevice
from slotcast_publisher.fleet.simulate.loop import DeviceLoop
from slotcast_publisher.fleet.simulate.memory_disk import MemoryDisk, SharedBlocks
from slotcast_publisher.fleet.simulate.population import TagShares, Traits, draw_population
from slotcast_publisher.fleet.simulate.run_record import (
    INVENTED,
    DeviceRecorder,
    FleetCourse,
    Point,
    Result,
    look_at,
    sum_up,
    version_of,
)
from slotcast_publisher.fleet.simulate.script import Script
from slotcast_publisher.provision import provision
from slotcast_schemas.errors import UsageError
from slotcast_schemas.states import State

if TYPE_CHECKING:
    from slotcast_publisher.repository import Repository

WORKERS: Final = 4
"""The threads that do the jobs of all devices: verifying, hashing, rebuilding."""
FILES_SPARE: Final = 256
"""The open files that are left for all but the devices' connections."""
CALM_DEVICES: Final = 200
"""Up to so many devices are looked at every second, as a device's own process does it; of more,
each is looked at less often, so that looking takes the same time."""
TICK_MAX_S: Final = 10.0
"""The longest time in seconds between two looks at a device."""
LOOK_S: Final = 1.0
"""The seconds between two points of the fleet's course."""
GOODBYES_S: Final = 20.0
"""The seconds within which devices say goodbye at the end; those that are left just hang up."""
_MEMORY_FOLDER: Final = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it


@dataclass(frozen=True, slots=True)
class SimulationWanted:
    """What to simulate.

    Attributes:
        count: how many devices.
        prefix: what their ids begin with.
        tags: what tags they have.
        models: which models they run; those of the repository where none is named.
        brokers: where they connect to; as the repository says where none is named.
        script: what happens.
        seed: chooses who is what, and all chance.
        folder: where the little that is on a real disk is kept; a temporary one, in memory where
            there is such, unless given.
    """

    count: int
    prefix: str = "sim"
    tags: tuple[TagShares, ...] = ()
    models: tuple[str, ...] = ()
    brokers: tuple[str, ...] = ()
    script: Script = field(default_factory=Script)
    seed: int = 1
    folder: Path | None = None


class Simulation:
    """Runs devices in the thread that calls `run`; the rest may be called from others.

    Args:
        repo: the repository that they are provisioned from.
        wanted: what to simulate.

    Attributes:
        began_s: the start, on the monotonic clock; seconds of a result count from it.

    Raises:
        UsageError: what is wanted cannot be.
    """

    def __init__(self, repo: Repository, wanted: SimulationWanted) -> None:
        self._repo = repo
        self._wanted = wanted
        self._models = wanted.models or tuple(repo.store.models())
        if not self._models:
            raise UsageError("no model: give --model, or release one first (`slotcast release`)")
        self._traits = draw_population(
            wanted.count, wanted.prefix, wanted.tags, wanted.script, wanted.seed
        )
        self._stopping = threading.Event()
        self._course = FleetCourse()
        self.began_s = time.monotonic()
        self._began = int(time.time())
        self._ended_s: float | None = None
        self._look_s = 0.0
        self._records = [DeviceRecorder(traits, self.began_s) for traits in self._traits]
        self._devices: list[SimulatedDevice] = []

    @property
    def ids(self) -> tuple[str, ...]:
        """The devices' ids."""
        return tuple(traits.device for traits in self._traits)

    @property
    def present(self) -> Point | None:
        """The fleet as it was seen last; None before the first look."""
        points = self._course.points
        return points[-1] if points else None

    def stop(self) -> None:
        """Have `run` end soon."""
        self._stopping.set()

    def run(
        self,
        until: Callable[[Simulation], bool] | None = None,
        *,
        for_s: float | None = None,
    ) -> None:
        """Run until `stop` is called, `until` says that it is enough, or the time is over.

        Args:
            until: asked about every second.
            for_s: the longest time in seconds.

        Raises:
            UsageError: this process may not open so many files.
            StorageFailed: what is provisioned cannot be written.
        """
        allow_files(self._wanted.count + FILES_SPARE)
        folder = self._wanted.folder or _make_folder()
        quiet = logging.getLogger("slotcast.device")
        level = quiet.level
        quiet.setLevel(logging.CRITICAL)  # a line of a thousand devices that names none helps none
        try:
            self._run_in(folder, until, for_s)
        finally:
            quiet.setLevel(level)
            if self._wanted.folder is None:
                shutil.rmtree(folder, ignore_errors=True)

    def _run_in(
        self, folder: Path, until: Callable[[Simulation], bool] | None, for_s: float | None
    ) -> None:
        loop = DeviceLoop()
        workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="job")
        try:
            self._devices = self._make_devices(folder, loop, workers)
            end_s = float("inf") if for_s is None else time.monotonic() + for_s
            loop.run(self._devices, lambda now_s: self._is_enough(now_s, end_s, until))
        finally:
            for device in self._devices:
                device.prepare_stop()
            workers.shutdown(wait=True, cancel_futures=True)
            goodbye_s = time.monotonic() + GOODBYES_S
            for device in self._devices:
                device.stop(says_goodbye=time.monotonic() < goodbye_s)
            self._ended_s = time.monotonic()
            loop.close()

    def _is_enough(
        self, now_s: float, end_s: float, until: Callable[[Simulation], bool] | None
    ) -> bool:
        if self._stopping.is_set() or now_s >= end_s:
            self._look(now_s)
            return True
        if now_s < self._look_s:
            return False
        self._look_s = now_s + LOOK_S
        self._look(now_s)
        return until is not None and until(self)

    def _look(self, now_s: float) -> None:
        for device in self._devices:
            device.note_traffic()
        online = sum(device.is_up for device in self._devices)
        self._course.note(look_at(self._records, online, now_s - self.began_s))

    # --- what the devices say -----------------------------------------------------------------

    def all_run(self, model: str, version: str) -> bool:
        """Whether every device runs this version, committed."""
        statuses = [record.status.get(model) for record in self._records]
        return all(
            status is not None
            and version_of(status) == version
            and status.state in {State.COMMITTED, State.IDLE}
            for status in statuses
        )

    def result(self) -> Result:
        """Give what happened; while it runs, what has happened so far."""
        devices = tuple(record.result() for record in self._records)
        ended_s = time.monotonic() if self._ended_s is None else self._ended_s
        return Result(
            began=self._began,
            duration_s=round(ended_s - self.began_s, 3),
            seed=self._wanted.seed,
            count=self._wanted.count,
            invented=INVENTED,
            totals=sum_up(devices),
            course=self._course.points,
            devices=devices,
        )

    # --- making devices -----------------------------------------------------------------------

    def _make_devices(
        self, folder: Path, loop: DeviceLoop, workers: ThreadPoolExecutor
    ) -> list[SimulatedDevice]:
        shared = SharedBlocks()
        script = self._wanted.script
        tick_s = min(TICK_MAX_S, max(1.0, self._wanted.count / CALM_DEVICES))
        devices = []
        for number, (traits, record) in enumerate(zip(self._traits, self._records, strict=True)):
            config = self._configure(traits, folder / traits.device)
            disk = MemoryDisk(script.device.disk_bytes, shared)
            _count_on(disk, config.state_dir, self._began)
            wake = functools.partial(loop.wake, number)
            devices.append(
                SimulatedDevice(config, traits, script, disk, workers, wake, record, tick_s=tick_s)
            )
        return devices

    def _configure(self, traits: Traits, folder: Path) -> DeviceConfig:
        """Provision a device, as `slotcast provision` does, with the script's settings."""
        made = provision(
            self._repo,
            traits.device,
            folder,
            models=self._models,
            brokers=self._wanted.brokers,
            tags=traits.tags,
        )
        config = DeviceConfig(made.config)
        for model in self._models:
            config.model_dir(model).mkdir(parents=True, exist_ok=True)
        wanted = self._wanted.script.device
        values = config.values
        config.values = msgspec.structs.replace(
            values,
            metrics=MetricsConfig(interval_s=wanted.metrics_interval_s, openmetrics=None),
            timing=Timing(
                keepalive_s=wanted.keepalive_s,
                reconnect_first_s=wanted.reconnect_first_s,
                reconnect_cap_s=wanted.reconnect_cap_s,
            ),
            policy=msgspec.structs.replace(
                values.policy, credit_max_chunks=wanted.credit_max_chunks
            ),
        )
        return config


def _count_on(disk: MemoryDisk, state_dir: Path, began: int) -> None:
    """Have messages counted from the time of the start: whoever saw an earlier simulation under
    these ids takes the highest counter of each device for its newest word.
    """
    disk.make_dir(state_dir)
    counter = msgspec.json.encode(Counter(reserved=began))
    disk.write_atomic(state_dir / COUNTER_FILE, counter)
    disk.write_atomic(state_dir / METRICS_FILE, MetricsRing(counter=began).to_bytes())


def _make_folder() -> Path:
    """Make a folder that is in memory where this machine has such."""
    base = _MEMORY_FOLDER if _MEMORY_FOLDER.is_dir() else None
    try:
        return Path(tempfile.mkdtemp(prefix="slotcast-simulate-", dir=base))
    except OSError:
        return Path(tempfile.mkdtemp(prefix="slotcast-simulate-"))


def allow_files(count: int) -> None:
    """Have the system let this process open so many files.

    Raises:
        UsageError: it may not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            raise UsageError(
                f"so many devices need {count} open files, and this process may have {hard}: raise"
                " it (`ulimit -n`), or take fewer devices"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def to_json(result: Result) -> bytes:
    """Write a result as JSON, a line for each device."""
    fields = msgspec.to_builtins(result)
    devices = fields.pop("devices")
    head = json.dumps(fields)[:-1]
    lines = ",\n".join(json.dumps(device) for device in devices)
    return f'{head}, "devices": [\n{lines}\n]}}\n'.encode()


def describe(point: Point, count: int) -> str:
    """Say in a line how so many devices stand.

    Connected is what a device itself knows; on the page it is online until the broker misses it.
    """
    parts = [f"{point.online}/{count} connected"]
    for model, versions in point.versions.items():
        told = ", ".join(f"{name or 'nothing'}: {n}" for name, n in versions.items())
        parts.append(f"{model} {told}")
    return f"{point.at_s:.0f} s: {'; '.join(parts)}; {point.received_bytes / 1e6:.1f} MB received"
