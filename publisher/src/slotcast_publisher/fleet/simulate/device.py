"""A simulated device: the real one, turn by turn, with a disk in memory and faults of the script.

It lives on over deaths of its process: what is on its disk stays, everything else begins anew.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from slotcast_device.jobs import ModelJobs
from slotcast_device.shell import TICK_S, DeviceShell
from slotcast_device.storage.slots import SlotStore
from slotcast_publisher.fleet.simulate.application import InventedApplication
from slotcast_publisher.fleet.simulate.slow_reading import SlowReading
from slotcast_schemas.probe import ProbeRequest, ProbeResult
from slotcast_schemas.reasons import Reason
from slotcast_schemas.topics import ChunkTopic, MapTopic, NoticeTopic

if TYPE_CHECKING:
    from slotcast_device.config import DeviceConfig
    from slotcast_device.core.state import SlotName
    from slotcast_device.link.link import Link
    from slotcast_device.runner import ModelRunner
    from slotcast_publisher.fleet.simulate.memory_disk import MemoryDisk
    from slotcast_publisher.fleet.simulate.population import Traits
    from slotcast_publisher.fleet.simulate.run_record import DeviceRecorder
    from slotcast_publisher.fleet.simulate.script import Script

INVENTED: Final = "invented by the script of a simulation: no model was run"
"""What the verdict of every probe says here."""
_SLOW_BUFFER_BYTES: Final = 8 * 1024
"""What a slow device's socket holds before it is read: a larger one would hide how slow it is."""


class _Jobs(ModelJobs):
    """The device's own jobs, but for the probe's verdict."""

    def __init__(self, config: DeviceConfig, model: str, disk: MemoryDisk, traits: Traits) -> None:
        super().__init__(config, model, disk, prober=self._invent_verdict)
        self._traits = traits

    def _invent_verdict(self, request: ProbeRequest, *, cancel: threading.Event) -> ProbeResult:
        """Give the verdict that the script has for the release in a slot."""
        del cancel
        slot: SlotName = "a" if Path(request.candidate.slot).name == "a" else "b"
        release = self.store.release(slot)
        version = "" if release is None else release.version
        failures = [
            rule.fails_probe
            for rule in self._traits.releases
            if rule.fails_probe and rule.is_about(self._model, version)
        ]
        if failures:
            return ProbeResult(passed=False, reason=failures[-1], detail=INVENTED, checks=())
        return ProbeResult(passed=True, reason=Reason.PASSED, detail=INVENTED, checks=())


class _Process(DeviceShell):
    """One run of a device, from power to no power."""

    def __init__(
        self,
        config: DeviceConfig,
        traits: Traits,
        disk: MemoryDisk,
        workers: Executor,
        wake: Callable[[], None],
        record: DeviceRecorder,
        rng: random.Random,
    ) -> None:
        self._memory = disk
        self._traits = traits
        self._record = record
        clock = traits.fault("wrong_clock")
        self._clock_off_s = 0.0 if clock is None else clock.off_s
        super().__init__(config, rng, disk, workers, wake, wall_clock=self._tell_time_s)

    def _tell_time_s(self) -> float:
        return time.time() + self._clock_off_s

    @override
    def _make_jobs(self, model: str) -> ModelJobs:
        return _Jobs(self._config, model, self._memory, self._traits)

    @override
    def message(self, topic: str, data: bytes) -> None:
        match self._topics.parse(topic):
            case ChunkTopic():
                self._record.received("chunk", len(data))
            case MapTopic():
                self._record.received("map", len(data))
            case NoticeTopic():
                self._record.received("notice", len(data))
            case _:
                self._record.received("other", len(data))
        super().message(topic, data)

    @override
    def report(self, runner: ModelRunner) -> None:
        super().report(runner)
        self._record.note_status(runner.core.status(), time.monotonic())


class SimulatedDevice:
    """One device of the fleet, with its application, over all of its runs.

    Args:
        config: who it is; its folder is on a real disk, for what TUF keeps and what applications
            report.
        traits: what it is like.
        script: of the simulation.
        disk: all else that it keeps.
        workers: threads that do jobs.
        wake: called from them when a job is done.
        record: takes what happens.
        tick_s: the longest time between two turns.
    """

    def __init__(
        self,
        config: DeviceConfig,
        traits: Traits,
        script: Script,
        disk: MemoryDisk,
        workers: Executor,
        wake: Callable[[], None],
        record: DeviceRecorder,
        tick_s: float = TICK_S,
    ) -> None:
        self._config = config
        self._traits = traits
        self._script = script
        self._disk = disk
        self._workers = workers
        self._wake = wake
        self.record = record
        self._tick_s = tick_s
        self._rng = random.Random(traits.seed)  # noqa: S311 - a simulation, not secrets
        self._process: _Process | None = None
        self._applications: list[InventedApplication] = []
        self._is_gone = False
        self._next_s: dict[str, float] = {}  # when a fault happens, or is over
        self._power_s = 0.0
        self._link_s = 0.0
        slow = traits.fault("slow_link")
        self._slow_reading = None if slow is None else SlowReading(slow.bytes_per_s)
        self._seen_link: Link | None = None

    # --- for the loop -------------------------------------------------------------------------

    @property
    def link(self) -> Link | None:
        """The connection to wait on."""
        return None if self._process is None else self._process.connection.link

    @property
    def may_read(self) -> bool:
        """Whether the socket is to be read now; a slow link waits."""
        return self._slow_reading is None or self._slow_reading.is_due(time.monotonic())

    @property
    def is_up(self) -> bool:
        """Whether a broker has taken its connection."""
        return self._process is not None and self._process.connection.is_up

    @property
    def deadline_s(self) -> float:
        """When the next turn is due at the latest, on the monotonic clock; never, once gone."""
        if self._is_gone:
            return float("inf")
        if self._process is None:
            return self._power_s
        now_s = time.monotonic()
        due = [*self._next_s.values(), *(app.due_s for app in self._applications)]
        if self._slow_reading is not None and not self._slow_reading.is_due(now_s):
            due.append(self._slow_reading.due_s)
        link = self.link
        if link is not None and link.has_buffered() and self.may_read:
            return now_s
        asked_s = self._process.due_s(now_s + self._tick_s)
        if link is None:  # cut off: it may try again later than it would
            asked_s = max(asked_s, min(self._link_s, now_s + self._tick_s))
        return min([asked_s, *due])

    def take_turn(self, *, readable: bool) -> None:
        """Live on: faults, the connection, the device's own turn, the applications."""
        now_s = time.monotonic()
        if self._is_gone or (self._process is None and now_s < self._power_s):
            return
        if self._process is None:
            self._power_on(now_s)
        if self._suffer(now_s):
            return
        process = self._process
        if process is None:
            return
        if now_s >= self._link_s:
            process.connect_due()
        self._note_link(process)
        process.connection.serve(readable=readable and self.may_read)
        process.take_turn()
        self._count_slow_reading(process, now_s)
        for application in self._applications:
            if now_s >= application.due_s:
                application.live_on(now_s)

    def stop(self, *, says_goodbye: bool) -> None:
        """End, once no job of this device runs any more.

        Args:
            says_goodbye: whether there is time for that; else the broker publishes the last will.
        """
        if self._process is not None and not says_goodbye:
            self._power_off()
        if self._process is not None:
            self._process.close()
            self._note_traffic(self._process)
            self._process = None
        self._is_gone = True

    def prepare_stop(self) -> None:
        """Have jobs end soon."""
        if self._process is not None:
            self._process.stop_orderly()
            self._process.cancel_jobs()

    def note_traffic(self) -> None:
        """Have the record say what went over the connections up to now."""
        if self._process is not None:
            self._note_traffic(self._process)

    # --- power ----------------------------------------------------------------------------------

    def _power_on(self, now_s: float) -> None:
        self.record.starts += 1
        self._process = process = _Process(
            self._config,
            self._traits,
            self._disk,
            self._workers,
            self._wake,
            self.record,
            random.Random(self._rng.getrandbits(48)),  # noqa: S311 - a simulation, not secrets
        )
        process.start()
        self._applications = [self._start_application(m) for m in self._config.values.models]
        if not self._next_s:
            for rule in self._traits.faults:
                if rule.kind in {"dies", "vanishes", "bad_link"}:
                    wait_s = 0.0 if rule.kind == "vanishes" else self._draw_s(rule.every_s)
                    self._next_s[rule.kind] = now_s + rule.after_s + wait_s

    def _start_application(self, model: str) -> InventedApplication:
        folder = self._config.model_dir(model)
        return InventedApplication(
            model,
            SlotStore(self._disk, folder),
            folder / "app",
            self._script.application,
            self._traits.releases,
            random.Random(self._rng.getrandbits(48)),  # noqa: S311 - a simulation, not secrets
        )

    def _power_off(self) -> None:
        """Vanish without a word, as for a lost power: the broker publishes the last will."""
        process = self._process
        if process is None:
            return
        process.cancel_jobs()
        self._note_traffic(process)
        if process.connection.link is not None:
            process.connection.link.abandon()
        self.record.earlier_received_bytes = self.record.received_bytes
        self.record.earlier_sent_bytes = self.record.sent_bytes
        self._disk = self._disk.reopen()
        self._process, self._applications, self._seen_link = None, [], None

    # --- faults ---------------------------------------------------------------------------------

    def _suffer(self, now_s: float) -> bool:
        """Let happen what is due; says whether the device is without power now."""
        for kind in [kind for kind, due_s in self._next_s.items() if due_s <= now_s]:
            rule = self._traits.fault(kind)
            del self._next_s[kind]
            if rule is None:
                continue
            self.record.faults[kind] += 1
            down_s = self._draw_s(rule.down_s) if rule.down_s else 0.0
            if kind == "vanishes":
                self._power_off()
                self._is_gone = True
                return True
            self._next_s[kind] = now_s + down_s + self._draw_s(rule.every_s)
            if kind == "dies":
                self._power_off()
                self._power_s = now_s + max(1.0, down_s)
                return True
            self._cut_link(now_s + down_s)
        return False

    def _draw_s(self, mean_s: float) -> float:
        return self._rng.expovariate(1.0 / mean_s)

    def _cut_link(self, until_s: float) -> None:
        self._link_s = until_s
        link = self.link
        if link is not None and link.socket is not None:
            try:
                link.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it has ended by itself

    def _note_link(self, process: _Process) -> None:
        """Count a new connection, and make a slow one small."""
        link = process.connection.link
        if link is self._seen_link:
            return
        self._seen_link = link
        if link is None:
            return
        self.record.connections += 1
        if self._slow_reading is None:
            return
        self._slow_reading.begin_connection()
        if link.socket is not None:
            link.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SLOW_BUFFER_BYTES)

    def _count_slow_reading(self, process: _Process, now_s: float) -> None:
        link = process.connection.link
        if self._slow_reading is not None and link is not None:
            self._slow_reading.count(link.received_bytes, now_s)

    def _note_traffic(self, process: _Process) -> None:
        traffic = process.connection.traffic
        self.record.received_bytes = self.record.earlier_received_bytes + traffic.received_bytes
        self.record.sent_bytes = self.record.earlier_sent_bytes + traffic.sent_bytes
