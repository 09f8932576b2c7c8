"""One run: a publisher, a broker, a link and a device, on one clock, from one seed.

First faults, of kinds and rates that the seed draws; then none, and the last notice of each
model: within half a simulated day every model must run its release, committed.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from slotcast_device.core import events as ev
from slotcast_device.storage.encryption_key import KEY_FILE
from slotcast_device.storage.key_file import KEY_MODE
from slotcast_schemas.backoff import Backoff
from slotcast_schemas.states import SETTLED
from tests.simulation.broker import Broker
from tests.simulation.catalog import MODELS, Catalog, catalog, encryption_key_pem
from tests.simulation.device import SimDevice
from tests.simulation.faults import KINDS, Faults
from tests.simulation.invariants import Broken, DeltaWaits, Trials, Watch
from tests.simulation.link import Link
from tests.simulation.publisher import Publisher
from tests.simulation.ramdisk import Loss, PowerCut, RamDisk

GLANCE_EVERY_S: Final = 1.0
MENDED_WITHIN_S: Final = 90.0
"""Of a device that is on: a glance, a job under way, one wait after storage that failed."""
MARGIN_BYTES: Final = 8 * 1024 * 1024
PATIENCE_S: Final = 12 * 3600.0
EVENTS_MAX: Final = 200_000


class DidNotEnd(AssertionError):
    """Faults are over, and an update does not end."""


@dataclass(slots=True)
class Counts:
    """What happened in a run."""

    events: int = 0
    cuts: dict[str, int] = field(default_factory=dict)
    kills: int = 0
    stops: int = 0
    trials: int = 0
    delta_waits: int = 0
    links: int = 0
    restarts: int = 0
    wiped: int = 0
    full: int = 0
    errors: int = 0
    spoiled: int = 0
    jumps: int = 0
    wants: int = 0
    dropped: int = 0
    duplicates: int = 0
    notices: int = 0
    lost: int = 0
    simulated_s: float = 0.0


class World:
    """One run. `run` raises what a defect raises; the seed replays it."""

    def __init__(self, seed: int, log: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.counts = Counts()
        self.now_s = 0.0
        self.said: Catalog = catalog()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._sink = log
        self._draw()
        self._watch = Watch(self.said)
        self._trials = Trials(self.said)
        self._delta_waits = DeltaWaits()
        self.has_faults = True
        self.is_full = False
        self.wall_offset_s = 1_790_000_000.0
        self._boot_s = 0.0
        self.link: Link | None = None
        self._tick_at_s: float | None = None
        self._lost_s: dict[str, float] = {}
        disk = RamDisk(self._room_bytes, MARGIN_BYTES)
        disk.make_dir(self.said.config.state_dir)
        disk.sync_dir(self.said.config.state_dir.parent)
        disk.write_atomic(self.said.config.state_dir / KEY_FILE, encryption_key_pem(), KEY_MODE)
        self._seen: dict[str, tuple[int, ...]] = dict.fromkeys(MODELS, ())
        self.device = self._new_device(disk)

    def _draw(self) -> None:
        """Draw what this run is like."""
        rng = self.rng
        self.latency_s = rng.choice((0.05, 0.5, 3.0))
        self.subscribe_s = rng.choice((0.0, 0.0, 0.001, 2.0))  # NATS takes about two seconds
        self.rate_bytes_per_s = rng.choice((500.0, 5_000.0, 1e6))
        self.broker = Broker(inflight=rng.choice((1, 5, 20)), queued=rng.choice((3, 8, 40, 1000)))
        self.publisher = Publisher(self, retains=rng.random() < 0.85)
        self._room_bytes = 8 * self.said.image_max_bytes + 256 * 1024
        self._faults_s = rng.choice((60.0, 400.0, 1500.0))
        kinds = {kind for kind in KINDS if rng.random() < 0.4}
        if rng.random() < 0.5:
            kinds.add("cut")
        self._faults = Faults(self, kinds)
        self._every_s = self._faults_s / rng.choice((4, 12, 40))

    def odds(self, kind: str) -> float:
        """How likely a message is touched by a fault of the link."""
        return 0.1 if self.has_faults and kind in self._faults.kinds else 0.0

    def log(self, text: str) -> None:
        """Take a line of the story."""
        if self._sink is not None:
            self._sink(f"{self.now_s:10.2f}  {text}")

    def _heard(self, text: str) -> None:
        self.log(text)
        self._watch.heard("device", text)

    # --- the clock ------------------------------------------------------------------------------

    def after(self, delay_s: float, do: Callable[[], None]) -> None:
        """Have something happen later."""
        heapq.heappush(self._queue, (self.now_s + delay_s, next(self._numbers), do))

    def _device_now(self) -> ev.Now:
        return ev.Now(self.now_s - self._boot_s, int(self.wall_offset_s + self.now_s))

    def run(self) -> Counts:
        """Run to the end.

        Raises:
            Broken: an invariant does not hold.
            DidNotEnd: faults are over and an update does not end.
        """
        self._schedule()
        self.guard(self.device.start)
        self._connect_later(0.5)
        while self._queue:
            self.now_s, _, do = heapq.heappop(self._queue)
            do()
            self.counts.events += 1
            self._check()
            if not self.has_faults and self._is_done():
                break
            if self.counts.events > EVENTS_MAX or self.now_s > self._faults_s + PATIENCE_S:
                raise DidNotEnd(f"seed {self.seed}: {self._standing()} at {self.now_s:.0f} s")
        if not self._is_done():
            raise DidNotEnd(f"seed {self.seed}: nothing is left to happen; {self._standing()}")
        self.counts.dropped = self.broker.dropped
        self.counts.trials = self._trials.ended
        self.counts.delta_waits = self._delta_waits.count
        self.counts.simulated_s = self.now_s
        return self.counts

    def _check(self) -> None:
        device = self.device
        self._watch.look(device, None if self.link is None else self.link.client)
        self._watch.look_at_disk(device.disk, self.said.config.state_dir)
        if device.is_on:
            self._trials.look(device, self.now_s)
            self._delta_waits.look(device, self.now_s)
            self._arm_tick()

    def _standing(self) -> str:
        return ", ".join(
            f"{m}: {c.status().state} ({c.status().reason}) {c.status().detail}"
            for m, c in self.device.cores.items()
        )

    def _is_done(self) -> bool:
        return self.device.is_on and all(
            core.state.floor == self.said.said[model][-1].trusted.release.sequence
            and core.is_settled
            for model, core in self.device.cores.items()
        )

    # --- the device -----------------------------------------------------------------------------

    def _new_device(self, disk: RamDisk) -> SimDevice:
        disk.watch = lambda what, path: self._watch.step(disk, what, path)
        if not self.is_full:
            disk.set_capacity(self._room_bytes)
        self._boot_s = self.now_s - self.rng.uniform(1.0, 100.0)
        self._backoff = Backoff(self.rng)
        device = SimDevice(
            self.said, disk, self.rng, self._after_guarded, self._device_now, self._heard
        )
        for model, files in device.files.items():
            files.seen = self._seen[model]
            files.rng = self.rng
            files.is_probe_flaky = self.has_faults and "probe" in self._faults.kinds
        self._tick_at_s = None
        return device

    def _after_guarded(self, delay_s: float, do: Callable[[], None]) -> None:
        self.after(delay_s, lambda: self.guard(do))

    def guard(self, do: Callable[[], object]) -> None:
        """Have the device do something; the power may go in the middle of it."""
        if not self.device.is_on:
            return
        try:
            do()
        except PowerCut:
            self.power_lost()

    def _arm_tick(self) -> None:
        due = [d for c in self.device.cores.values() if (d := c.deadline_s) is not None]
        if not due:
            return
        at_s = max(self.now_s, min(due) + self._boot_s) + 1e-6  # past the rounding of the sum
        if self._tick_at_s is None or at_s < self._tick_at_s:
            self._tick_at_s = at_s
            self.after(at_s - self.now_s, functools.partial(self._tick, self.device))

    def _tick(self, device: SimDevice) -> None:
        if device is self.device and device.is_on:
            self._tick_at_s = None
            self.guard(device.tick)

    def power_lost(self, loss: Loss | None = None) -> None:
        """Take the power away, and give it back later."""
        how = loss or self.rng.choice(list(Loss))
        self.counts.cuts[how.name] = self.counts.cuts.get(how.name, 0) + 1
        self.log(f"power cut at step {self.device.disk.ops}: {how.value}")
        self._trials.crashed(self.device, self.now_s)
        self._end(how)

    def stop_in_order(self) -> None:
        """Have the device end as it does when it is told to, and start it again later."""
        device = self.device
        self.guard(device.stop)
        if device.is_on:  # the power may have gone in the middle of it
            self.log("stopped in order")
            self._trials.look(device, self.now_s)
            self._end(Loss.EVERYTHING)

    def _end(self, how: Loss) -> None:
        device = self.device
        device.is_on = False
        self._delta_waits.is_off()
        self._close_link()
        for model, files in device.files.items():
            # TUF's files are renamed without a sync, so a power cut may lose all or some.
            self._seen[model] = () if how is not Loss.EVERYTHING else files.seen
        disk = device.disk.cut_power(how, self.rng)
        self._watch.disk_is_new()
        self._watch.look_at_disk(disk, self.said.config.state_dir)
        self.after(self.rng.uniform(1.0, 30.0), lambda: self._boot(disk))

    def _boot(self, disk: RamDisk) -> None:
        self.log("power is back")
        self.device = self._new_device(disk)
        self._trials.began(self.now_s)
        self.guard(self.device.start)
        self._connect_later(0.2)

    # --- the link -------------------------------------------------------------------------------

    def _connect_later(self, delay_s: float) -> None:
        self.after(delay_s, functools.partial(self._connect, self.device))

    def _connect(self, device: SimDevice) -> None:
        if device is not self.device or not device.is_on or self.link is not None:
            return
        if not self.broker.is_up:
            self._connect_later(self._backoff.next_s())
            return
        link = self.link = Link(self)
        self.broker.attach(link.client)
        self._backoff.reset()
        self.log("connected")
        self.guard(lambda: device.connected(link))

    def _close_link(self) -> None:
        if self.link is not None:
            self.link.is_open = False
            self.broker.detach(self.link.client)
            self.link = None

    def lose_link(self) -> None:
        """Break the connection; the device tries again."""
        if self.link is not None:
            self._close_link()
            self.log("disconnected")
            self.guard(self.device.disconnected)
            self._connect_later(self._backoff.next_s())

    # --- faults ---------------------------------------------------------------------------------

    def _schedule(self) -> None:
        rng = self.rng
        for model in MODELS:
            first = rng.randint(0, 3)
            self.after(rng.uniform(0.0, 5.0), functools.partial(self.publisher.send, model, first))
        for _ in range(rng.randint(0, 8)):
            self.after(rng.uniform(5.0, self._faults_s), self.publisher.send_next)
        at_s = rng.expovariate(1 / self._every_s)
        while at_s < self._faults_s:
            self.after(at_s, self._faults.happen)
            at_s += rng.expovariate(1 / self._every_s)
        self.after(self._faults_s, self._end_faults)
        self.after(300.0, self.publisher.announce_again)

    def _end_faults(self) -> None:
        self.log("faults are over")
        self.has_faults = False
        disk = self.device.disk
        disk.cut_at = disk.fail_at = None
        if self.is_full:  # for a while yet: the device must come back to it by itself
            self.after(self.rng.uniform(60.0, 900.0), self.room_back)
        self.publisher.serve()
        self.publisher.retains = True
        if not self.broker.is_up:
            self.broker.start()
        if self.link is not None and self.link.is_silent:
            self.lose_link()
        for files in self.device.files.values():
            files.is_probe_flaky = False
        for model in MODELS:
            self.publisher.send(model, len(self.said.said[model]) - 1)
        # A full queue may drop this notice in silence too; a new connection, or the service's
        # announcing again, brings it. No more of that from here on: the device must do the rest.
        self.lose_link()
        # A clock that is behind stays so; one that is ahead rightly finds all expired, and is set
        # right once the last notices are there. They do not come again.
        right_s = min(self.wall_offset_s, 1_790_000_000.0)
        self.after(self.rng.uniform(0.0, 900.0), lambda: self.set_clock(right_s))

    def set_clock(self, offset_s: float) -> None:
        """Set the device's clock; a running device notices within a second."""
        self.wall_offset_s = offset_s
        self._delta_waits.clock_set()
        self.after(self.rng.uniform(0.0, 1.0), lambda: self.guard(self.device.look_at_clock))

    def is_mending(self, model: str) -> bool:
        """Whether something of a model was lost and is not put back yet."""
        return self._watch.is_mending(model)

    def lost(self, model: str, what: str) -> None:
        """Something of a model is gone from the disk: a running device must notice."""
        self.log(f"lost of {model}: {what}")
        self._watch.lost(model)
        self._lost_s[model] = self.now_s
        self.after(self.rng.uniform(0.0, GLANCE_EVERY_S), self._glance)
        self._check_later(model)

    def _glance(self) -> None:
        self.guard(self.device.glance)
        if any(map(self.is_mending, MODELS)):
            self.after(GLANCE_EVERY_S, self._glance)

    def _check_later(self, model: str) -> None:
        check = functools.partial(self._must_be_mended, model, self.device, self._lost_s[model])
        self.after(MENDED_WITHIN_S, check)

    def _must_be_mended(self, model: str, device: SimDevice, lost_s: float) -> None:
        """Hold the device to it, if it was on all the time and nothing more was lost."""
        if lost_s != self._lost_s[model]:
            return
        is_same = device is self.device and device.is_on and device.cores[model].is_ready
        if is_same and device.cores[model].status().state not in SETTLED:
            self._check_later(model)  # what was built anew is in its probe, and opened after that
        elif is_same:
            self._watch.must_be_mended(device.disk, self.said.config.model_dir(model))
        elif self.is_mending(model):
            self._check_later(model)

    def room_back(self) -> None:
        """Give the disk its whole size."""
        self.is_full = False
        self.device.disk.set_capacity(self._room_bytes)


__all__ = ["Broken", "Counts", "DidNotEnd", "World"]
