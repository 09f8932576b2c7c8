"""The simulated device: the real cores, jobs and files, in a shell of one thread.

The cores' actions are carried out by the device's own runner; its shell is the simulation's: jobs
end after a while by the simulation's clock, and things may happen in between. What is not the
device's own:

- the probe and the watch give the verdict that the catalog has for a version, after checking
  that the slot's files are what the record says;
- python-tuf works on real files, so it verified every notice when the catalog was made; here a
  notice is refused for the versions this device has seen and for the time, as TUF refuses.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import msgspec
from typing_extensions import override

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.model import ModelCore
from slotcast_device.core.signed_time import ClockWatch
from slotcast_device.core.transfer import transfer_actions
from slotcast_device.jobs import ModelJobs
from slotcast_device.runner import ModelRunner
from slotcast_schemas import wire
from slotcast_schemas.errors import SlotDamaged, StorageFailed
from slotcast_schemas.topics import ChunkTopic, MapTopic, NoticeTopic
from tests.simulation.catalog import (
    DEVICE,
    MODELS,
    UNFIT_IN_PROBE,
    UNFIT_ON_TRIAL,
    Catalog,
    refused,
)

if TYPE_CHECKING:
    from slotcast_device.core.plan import Facts
    from slotcast_device.core.state import SlotName
    from slotcast_schemas.messages import Release
    from tests.simulation.ramdisk import RamDisk

CREDIT_CHUNKS = 128


class SimFiles(ModelJobs):
    """The model's real files and jobs, with verdicts instead of models that run."""

    def __init__(
        self, world: Catalog, model: str, disk: RamDisk, wall_s: Callable[[], int]
    ) -> None:
        super().__init__(world.config, model, disk)
        self._world = world
        self._wall_s = wall_s
        self._by_bytes = {said.data: said for said in world.said[model]}
        self.seen: tuple[int, ...] = ()
        self.rng = random.Random(0)
        self.is_probe_flaky = False

    @override
    def run(self, job: act.Job) -> object:
        """Do a job; see `ModelJobs.run`."""
        match job:
            case act.ProbeSlot(slot, release):
                self._must_hold(slot, release)
                if self._is_busy():
                    return act.Verdict(passed=None, reason="device_busy")
                if release.version == UNFIT_IN_PROBE:
                    return act.Verdict(passed=False, reason="golden_mismatch")
                return act.Verdict(passed=True, reason="fit")
            case act.Watch(slot, _, release, elapsed_s):
                self._must_hold(slot, release)
                if self._is_busy():
                    return act.Verdict(passed=None, reason="device_busy")
                if release.version == UNFIT_ON_TRIAL and elapsed_s > 15:
                    return act.Verdict(passed=False, reason="errors")
                if elapsed_s < release.trial.duration_s:
                    return act.Verdict(passed=None, reason="on_trial")
                return act.Verdict(passed=True, reason="fit")
        return super().run(job)

    def _is_busy(self) -> bool:
        """Whether the device is too busy just now to judge a model."""
        return self.is_probe_flaky and self.rng.random() < 0.3

    def _must_hold(self, slot: SlotName, release: Release) -> None:
        if self.is_probe_flaky and self.rng.random() < 0.2:
            raise StorageFailed("the probe could not be held: out of memory")
        record = self.store.found(slot)
        if record is None or record.version != release.version:
            raise SlotDamaged(f"slot {slot} does not hold {release.version}")
        self.store.verify(slot, record)

    @override
    def _verify_notice(self, job: act.Verify) -> act.NoticeVerified:
        said = self._by_bytes[job.data]
        error = refused(said, self.seen, self._wall_s())
        if error is not None:
            raise error
        is_newer = bool(self.seen) and said.versions[0] > self.seen[0]
        self.seen = said.versions
        trusted = msgspec.structs.replace(said.trusted, is_newer=is_newer)
        facts = self._add_keys(self._gather_facts(), trusted.release)
        return act.NoticeVerified(trusted, facts)

    @override
    def _gather_facts(self) -> Facts:
        return msgspec.structs.replace(
            _constant_facts(super()._gather_facts),
            disk_bytes=self._disk.free_bytes(self._folder),
            spooled_bytes=self._count_spooled_bytes(),
        )


_FACTS: list[object] = []


def _constant_facts(ask: Callable[[], Facts]) -> Facts:
    """Ask the real function once; what it says of this machine costs a millisecond each time."""
    if not _FACTS:
        _FACTS.append(ask())
    return _FACTS[0]  # type: ignore[return-value]  # filled by the line above


class Wire(Protocol):
    """A connection, as the device sees it."""

    def subscribe(self, filters: tuple[str, ...]) -> None:
        """Ask for topics."""

    def unsubscribe(self, filters: tuple[str, ...]) -> None:
        """Let go of topics."""

    def publish(self, topic: str, data: bytes) -> None:
        """Send a message."""


class SimDevice:
    """One run of the device, from power to no power.

    Args:
        after: has a function called later, by the simulation's clock.
        now: the device's own two clocks.
        log: takes a line about what happened.
    """

    def __init__(
        self,
        world: Catalog,
        disk: RamDisk,
        rng: random.Random,
        after: Callable[[float, Callable[[], None]], None],
        now: Callable[[], ev.Now],
        log: Callable[[str], None],
    ) -> None:
        self.disk = disk
        count = len(MODELS)
        topics = world.config.topics
        self.cores = {m: ModelCore(m, DEVICE, topics, rng, models=count) for m in MODELS}
        self.files = {m: SimFiles(world, m, disk, lambda: self.now().wall_s) for m in MODELS}
        self._runners = {m: ModelRunner(self.cores[m], self.files[m], self) for m in MODELS}
        self.wire: Wire | None = None
        self.is_on = True
        self._topics = world.config.topics
        self._published = world.messages
        self._rng = rng
        self._after = after
        self._time = now
        self._log = log
        self._clock = ClockWatch()
        self._clock.moved(now())

    def start(self) -> None:
        """Begin, as the agent does."""
        for runner in self._runners.values():
            runner.start()

    def stop(self) -> None:
        """End in order, as the agent does when it is told to stop."""
        for runner in self._runners.values():
            runner.stop()

    # --- what happens -------------------------------------------------------------------------

    def connected(self, wire_: Wire) -> None:
        """A broker took the connection."""
        self.wire = wire_
        wire_.subscribe(tuple(self._topics.notice(model) for model in MODELS))
        for model in MODELS:
            self._feed(model, ev.ConnectionMade("mqtt://broker", CREDIT_CHUNKS))

    def disconnected(self) -> None:
        """The connection is gone."""
        if self.wire is not None:
            self.wire = None
            for model in MODELS:
                self._feed(model, ev.ConnectionLost())

    def subscribed(self, filters: int, took_s: float) -> None:
        """The broker answered a SUBSCRIBE."""
        for model in MODELS:
            self._feed(model, ev.SubscriptionAnswered(filters, took_s))

    def received(self, topic: str, data: bytes) -> None:
        """A message came."""
        for model in MODELS:
            self._feed(model, ev.BytesArrived())
        match self._topics.parse(topic):
            case ChunkTopic(payload, chunk):
                for model in MODELS:
                    self._feed(model, ev.ChunkArrived(payload, chunk, data))
            case MapTopic(payload, part):
                for model in MODELS:
                    self._feed(model, ev.MapArrived(payload, part, data))
            case NoticeTopic(model):
                self._feed(model, ev.NoticeArrived(data))

    def tick(self) -> float | None:
        """Serve what is due; give when the next is, on the monotonic clock."""
        for runner in self._runners.values():
            runner.tick(self.now())
        return min(
            (d for c in self.cores.values() if (d := c.deadline_s) is not None), default=None
        )

    def look_at_clock(self) -> None:
        """Notice that the clock was set, as the agent does every second."""
        if self._clock.moved(self.now()):
            for model in self.cores:
                self._feed(model, ev.ClockMoved())

    def glance(self) -> None:
        """Look whether what serves is there, as the agent does every second."""
        for runner in self._runners.values():
            runner.glance(self.now())

    def _feed(self, model: str, event: ev.Event) -> None:
        self._runners[model].feed(event, self.now())

    # --- the shell of the runners --------------------------------------------------------------

    def now(self) -> ev.Now:
        """Give the device's own two clocks."""
        return self._time()

    def submit(self, runner: ModelRunner, job: act.Job) -> None:
        """Have a job end after a while, if the device is still on by then."""
        self._after(self._rng.uniform(0.0, 2.0), functools.partial(self._work, runner, job))

    def _work(self, runner: ModelRunner, job: act.Job) -> None:
        if self.is_on:
            runner.feed(runner.work(job), self.now())

    def send(self, runner: ModelRunner, order: act.Order) -> None:
        """Send to the simulated broker, if there is a connection."""
        del runner
        if self.wire is None:
            return
        match order:
            case transfer_actions.Subscribe(filters):
                self.wire.subscribe(filters)
            case transfer_actions.Unsubscribe(filters):
                self.wire.unsubscribe(filters)
            case transfer_actions.PublishWant(want, by_device):
                own = self._topics.device(want.device, "want")
                topic = own if by_device else self._topics.want(want.payload)
                self.wire.publish(topic, wire.encode(want))

    def switching(self, runner: ModelRunner) -> None:
        """No application reports here."""

    def chunk_stored(self, runner: ModelRunner, action: transfer_actions.StoreChunk) -> None:
        """A chunk on disk must be the one that was published."""
        fetch = runner.core.transfer
        if fetch is not None:
            topic = self._topics.chunk(fetch.payload.sha256, action.index)
            if self._published.get(topic) != action.data:
                raise AssertionError(
                    f"{runner.model}: chunk {action.index} is not the published one"
                )

    def map_stored(self, runner: ModelRunner, action: transfer_actions.StoreMap) -> None:
        """The offer pins each part of a map."""

    def report(self, runner: ModelRunner) -> None:
        """Log what the status would say."""
        status = runner.core.status()
        self._log(f"{runner.model}: {status.state} ({status.reason}) {status.detail}")

    def log(self, runner: ModelRunner, action: act.Log) -> None:
        """Log a line."""
        self._log(f"{runner.model}: {action.level}: {action.text}")

    def notify(self, runner: ModelRunner, action: act.Notify) -> None:
        """No owner's hook is here."""
