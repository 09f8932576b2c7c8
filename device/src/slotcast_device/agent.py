"""The agent: one loop that joins the models' cores, the broker, the disk and the clock.

It decides nothing about updates: it feeds the cores what happens and carries out what they ask,
in order. Jobs (hashing, rebuilding, probing) run in worker threads and wake the loop when done;
everything else happens in the one thread that also reads the socket, so a chunk is on disk before
its receipt goes to the broker.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import random
import selectors
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from slotcast_device import transfer as tx
from slotcast_device.backoff import Backoff
from slotcast_device.core import events as ev
from slotcast_device.core.model import ModelCore
from slotcast_device.disk import OsDisk
from slotcast_device.files import ModelFiles
from slotcast_device.link import Link
from slotcast_device.report import Reporter
from slotcast_device.supervisor import Supervisor
from slotcast_schemas import wire
from slotcast_schemas.errors import (
    BrokerRefused,
    LinkDown,
    SlotcastError,
    StorageFailed,
    TransferFailed,
)
from slotcast_schemas.messages import Presence
from slotcast_schemas.topics import ChunkTopic, MapTopic, NoticeTopic

if TYPE_CHECKING:
    from slotcast_device.config import DeviceConfig
    from slotcast_device.disk import Disk

_LOG: Final = logging.getLogger("slotcast.device")
_TICK_S: Final = 1.0
_WORKERS: Final = 2
_STABLE_S: Final = 30.0
"""A connection that lasted this long, or brought a notice, makes the next wait short again."""


class _Model:
    """A model's core with its files."""

    def __init__(self, core: ModelCore, files: ModelFiles) -> None:
        self.core = core
        self.files = files


class Agent:
    """Runs a device until told to stop.

    Args:
        config: who this device is and where its brokers are.
        rng: jitter; seeded in tests.
        disk: where state is kept; a test may give one that fails.
    """

    def __init__(
        self,
        config: DeviceConfig,
        rng: random.Random | None = None,
        disk: Disk | None = None,
    ) -> None:
        self._config = config
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not secrets
        self._topics = config.topics
        self._disk = disk or OsDisk()
        self._models = {name: self._model(name) for name in config.values.models}
        self._reporter = Reporter(config, self._disk)
        self._link: Link | None = None
        self._is_up = False
        self._up_since_s = 0.0
        self._next_connect_s = 0.0
        timing = config.values.timing
        self._backoff = Backoff(self._rng, timing.reconnect_first_s, timing.reconnect_cap_s)
        self._broker_index = 0
        self._versions: dict[str, str] = {}
        self._stopping = threading.Event()
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._results: queue.SimpleQueue[tuple[_Model, ev.JobDone]] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="job")
        self._supervisor = Supervisor()
        self._report_due = False
        self.last_error: SlotcastError | None = None

    def _model(self, name: str) -> _Model:
        files = ModelFiles(self._config, name, self._disk)
        core = ModelCore(
            name,
            self._config.values.device,
            self._topics,
            self._rng,
            asks_owner=files.owner.is_asked,
        )
        return _Model(core, files)

    # --- from outside ---------------------------------------------------------------------------

    def stop(self) -> None:
        """End the loop soon; safe from signal handlers and other threads."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._wake_sender.send(b"\0")

    @property
    def cores(self) -> list[ModelCore]:
        """The models' cores, for whoever waits for them to settle."""
        return [model.core for model in self._models.values()]

    def run(self, until: Callable[[Agent], bool] | None = None) -> None:
        """Work until `stop` is called, or `until` says that it is enough."""
        self._wake_receiver.settimeout(0)
        try:
            for model in self._models.values():
                self._carry_out(model, model.core.start())
            self._supervisor.ready()
            while not self._stopping.is_set():
                self._step()
                if until is not None and until(self):
                    break
        finally:
            self._shut_down()

    # --- the loop -------------------------------------------------------------------------------

    def _step(self) -> None:
        now_s = time.monotonic()
        if self._link is None and now_s >= self._next_connect_s:
            self._connect()
        self._wait(time.monotonic())
        self._take_results()
        self._check_link()
        now = self._now()
        for model in self._models.values():
            deadline_s = model.core.deadline_s
            if deadline_s is not None and deadline_s <= now.mono_s:
                self._feed(model, ev.Tick(), now)
        self._report()
        self._supervisor.alive(now.mono_s, self._summary())

    def _summary(self) -> str:
        link = "online" if self._is_up else "offline"
        states = (f"{status.model} {status.state}" for status in (c.status() for c in self.cores))
        return f"{link}; {', '.join(states)}"

    def _wait(self, now_s: float) -> None:
        """Sleep until the socket, a job or a deadline has something."""
        link = self._link
        found = None if link is None else link.socket
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_receiver, selectors.EVENT_READ)
            if link is not None and found is not None:
                write = selectors.EVENT_WRITE if link.wants_write else 0
                selector.register(found, selectors.EVENT_READ | write)
            timeout_s = 0.0 if link and link.has_buffered() else self._timeout_s(now_s)
            ready = {key.fileobj: mask for key, mask in selector.select(timeout_s)}
        if self._wake_receiver in ready:
            with contextlib.suppress(BlockingIOError):
                self._wake_receiver.recv(4096)
        if link is not None and found is not None:
            self._serve(link, ready.get(found, 0))

    def _serve(self, link: Link, mask: int) -> None:
        if mask & selectors.EVENT_READ or link.has_buffered():
            link.read()
            if self._is_up:
                now = self._now()
                for model in self._models.values():
                    model.core.handle(ev.BytesHeard(), now)
        if link.socket is not None and link.wants_write:
            link.write()
        if link.socket is not None:
            link.keep_alive()

    def _timeout_s(self, now_s: float) -> float:
        due = [core.deadline_s for core in self.cores]
        if self._link is None:
            due.append(self._next_connect_s)
        known = [d for d in due if d is not None]
        return max(0.0, min([now_s + _TICK_S, *known]) - now_s)

    def _take_results(self) -> None:
        while True:
            try:
                model, done = self._results.get_nowait()
            except queue.Empty:
                return
            self._feed(model, done, self._now())

    @staticmethod
    def _now() -> ev.Now:
        return ev.Now(time.monotonic(), int(time.time()))

    # --- the link -------------------------------------------------------------------------------

    def _connect(self) -> None:
        brokers = self._config.values.brokers
        broker = brokers[self._broker_index % len(brokers)]
        version = self._versions.get(
            broker.url, "5" if broker.protocol == "auto" else broker.protocol
        )
        device = self._config.values.device
        link = None
        try:
            will = (self._topics.device(device, "presence"), self._presence(online=False))
            link = Link(broker, self._config, f"slotcast-{device}", version, will, self._message)
            link.connect()
        except TransferFailed as exc:
            self._lost(exc)
            return
        self._link = link

    def _check_link(self) -> None:
        """Notice that a connection was taken, or is gone."""
        link = self._link
        if link is None:
            return
        if link.error is not None or link.socket is None:
            self._drop_link(link.error or LinkDown(f"{link.broker.name}: connection lost"))
        elif link.accepted is not None and not self._is_up:
            self._came_up(link)
        if self._is_up and time.monotonic() - self._up_since_s > _STABLE_S:
            self._backoff.reset()

    def _came_up(self, link: Link) -> None:
        self._is_up = True
        self._up_since_s = time.monotonic()
        self._versions[link.broker.url] = link.version
        credit = 0 if link.accepted is None else link.accepted.credit_chunks
        _LOG.info("connected to %s (MQTT %s)", link.broker.name, link.version)
        device = self._config.values.device
        link.publish(
            self._topics.device(device, "presence"), self._presence(online=True), retain=True
        )
        names = list(self._models)
        for i in range(0, len(names), tx.FILTERS_PER_PACKET):
            part = names[i : i + tx.FILTERS_PER_PACKET]
            link.subscribe(tuple(self._topics.notice(name) for name in part))
        self._reporter.connected()
        for model in self._models.values():
            self._feed(model, ev.LinkUp(credit), self._now())

    def _drop_link(self, error: TransferFailed) -> None:
        link, self._link = self._link, None
        was_up, self._is_up = self._is_up, False
        if link is not None:
            self._reconsider_version(link)
            link.close()
        if was_up:
            for model in self._models.values():
                self._feed(model, ev.LinkDown(), self._now())
        self._lost(error)

    def _reconsider_version(self, link: Link) -> None:
        """A broker that hung up on MQTT 5 before it answered is asked in 3.1.1 next."""
        if link.accepted is None and link.broker.protocol == "auto":
            self._versions[link.broker.url] = "3.1.1" if link.version == "5" else "5"

    def _lost(self, error: TransferFailed) -> None:
        self.last_error = error
        self._broker_index += 1
        wait_s = self._backoff.next_s()
        self._next_connect_s = time.monotonic() + wait_s
        level = logging.ERROR if isinstance(error, BrokerRefused) else logging.WARNING
        _LOG.log(level, "%s: %s; trying again in %.1f s", error.reason, error, wait_s)

    def _message(self, topic: str, data: bytes) -> None:
        """Hand a message to the core that it is for."""
        now = self._now()
        match self._topics.parse(topic):
            case ChunkTopic(payload, chunk):
                self._feed_all(ev.ChunkArrived(payload, chunk, data), now)
            case MapTopic(payload, part):
                self._feed_all(ev.MapArrived(payload, part, data), now)
            case NoticeTopic(name) if name in self._models:
                self._backoff.reset()
                self._feed(self._models[name], ev.NoticeArrived(data), now)
            case _:
                _LOG.debug("nothing here is waiting for %s", topic)

    def _presence(self, *, online: bool) -> bytes:
        return wire.encode(
            Presence(device=self._config.values.device, online=online, time=int(time.time()))
        )

    # --- events and actions ---------------------------------------------------------------------

    def _feed_all(self, event: ev.Event, now: ev.Now) -> None:
        for model in self._models.values():
            self._feed(model, event, now)

    def _feed(self, model: _Model, event: ev.Event, now: ev.Now) -> None:
        self._carry_out(model, model.core.handle(event, now))

    def _carry_out(self, model: _Model, actions: list[ev.Action]) -> None:
        for number, action in enumerate(actions):
            try:
                self._do(model, action)
            except StorageFailed as exc:
                rest = tuple(actions[number + 1 :])
                self._feed(model, ev.ActionFailed(action, exc, rest), self._now())
                return

    def _do(self, model: _Model, action: ev.Action) -> None:
        if isinstance(action, ev.Job):
            self._pool.submit(self._work, model, action)
        elif isinstance(action, ev.Order):
            self._send(action)
        elif isinstance(action, ev.Report):
            self._report_due = True
        elif isinstance(action, ev.Log):
            _LOG.log(
                logging.getLevelName(action.level.upper()), "%s: %s", model.core.model, action.text
            )
        elif isinstance(action, ev.Notify):
            self._pool.submit(model.files.owner.tell, action.stage, action.release)
        else:
            model.files.carry_out(action)

    def _send(self, order: ev.Order) -> None:
        """Send what a core asks; without a link it will ask again on the next one."""
        if self._link is None:
            return
        match order:
            case tx.Subscribe(filters):
                self._link.subscribe(filters)
            case tx.Unsubscribe(filters):
                self._link.unsubscribe(filters)
            case tx.PublishWant(want):
                self._link.publish(self._topics.want(want.payload), wire.encode(want))

    def _work(self, model: _Model, job: ev.Job) -> None:
        """Run a job in a worker thread and tell the loop."""
        try:
            done = ev.JobDone(job, model.files.run(job))
        except SlotcastError as exc:
            done = ev.JobDone(job, error=exc)
        except Exception as exc:  # noqa: BLE001 - a defect must end in a status, not in silence
            _LOG.exception("%s: %s failed", model.core.model, type(job).__name__)
            done = ev.JobDone(job, error=StorageFailed(f"internal: {exc!r}"))
        self._results.put((model, done))
        with contextlib.suppress(OSError):
            self._wake_sender.send(b"\0")

    def _report(self) -> None:
        if self._report_due and self._is_up and self._link is not None:
            topic, data = self._reporter.status([core.status() for core in self.cores])
            if self._link.publish(topic, data, retain=True):
                self._report_due = False

    def _shut_down(self) -> None:
        self._supervisor.stopping()
        for model in self._models.values():
            model.files.cancel.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._report()
        link = self._link
        if link is not None:
            device = self._config.values.device
            link.close((self._topics.device(device, "presence"), self._presence(online=False)))
        for model in self._models.values():
            model.files.close()
        self._wake_receiver.close()
        self._wake_sender.close()
        _LOG.info("stopped (pid %d)", os.getpid())
