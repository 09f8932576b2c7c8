"""One device: joins its models' cores, its connection, its disk and its clock.

It decides nothing about updates: it tells the models' runners what happens, and gives them what
they need to carry out what the cores ask. It has no loop, no thread and no socket of its own to
wait on: whoever drives it (`agent`, for a process of its own) waits on the connection, calls
`take_turn` whenever something happened or `due_s` has come, and lends threads for the jobs.
Everything but jobs happens in the driver's one thread, which also reads the socket, so a chunk is
on disk before its receipt goes to the broker.
"""

from __future__ import annotations

import logging
import os
import queue
import secrets
import time
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from slotcast_device.certificate_renewal import CertificateRenewal
from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.model import ModelCore
from slotcast_device.core.signed_time import ClockWatch
from slotcast_device.core.transfer import transfer_actions
from slotcast_device.core.transfer.broker_limits import BrokerLimits, Refusal
from slotcast_device.core.transfer.slow_link import SlowLimit
from slotcast_device.core.waits import USUAL, Waits
from slotcast_device.jobs import ModelJobs
from slotcast_device.link.connection import Connection
from slotcast_device.link.notice_subscriptions import NoticeSubscriptions
from slotcast_device.notice_times import NoticeTimes
from slotcast_device.operator_requests import Control
from slotcast_device.reporting.agent_reports import AgentReports
from slotcast_device.reporting.log_format import FACTS
from slotcast_device.runner import ModelRunner, unforeseen_error
from slotcast_device.runtime.importing import has_hpke
from slotcast_device.storage.broker_book import BrokerBook
from slotcast_device.storage.client_certificates import ClientCertificates
from slotcast_device.storage.encryption_key import (
    load_encryption_key,
    make_encryption_key,
    protect_encryption_key,
)
from slotcast_device.storage.identity import load_own_identity, make_identity
from slotcast_device.storage.slot_files import SlotsKeyring, tell_place
from slotcast_schemas import wire
from slotcast_schemas.errors import BrokerRefused, StorageFailed
from slotcast_schemas.topics import ChunkTopic, DeviceTopic, MapTopic, NoticeTopic

if TYPE_CHECKING:
    import random

    from slotcast_device.config import DeviceConfig
    from slotcast_device.link.link import Link
    from slotcast_device.storage.disk import Disk
    from slotcast_device.storage.identity import DeviceIdentity
    from slotcast_schemas.topics import Topic

_LOG: Final = logging.getLogger("slotcast.device")
TICK_S: Final = 1.0
"""The usual time in seconds between two turns at the longest, and between two looks at the disk
and at what a person asks."""
_ENDED: Final = frozenset({"after_commit", "after_rollback"})
"""The stages of an update at which a release was on trial and no longer is."""


class DeviceShell:
    """Runs a device, turn by turn.

    Args:
        config: who this device is and where its brokers are.
        rng: jitter.
        disk: where state is kept.
        workers: threads that do the jobs.
        wake: called from them when a job is done: the next turn is due.
        is_offline: connect to no broker; for requests from the command line.
        wall_clock: the time of day, in seconds since 1970.
        waits: how long to wait where nothing is configured.
    """

    def __init__(
        self,
        config: DeviceConfig,
        rng: random.Random,
        disk: Disk,
        workers: Executor,
        wake: Callable[[], None],
        *,
        is_offline: bool = False,
        wall_clock: Callable[[], float] = time.time,
        waits: Waits = USUAL,
    ) -> None:
        self._is_offline = is_offline
        self._config = config
        self._rng = rng
        self._topics = config.topics
        self._disk = disk
        self._workers = workers
        self._wake = wake
        self._wall_clock = wall_clock
        self._keyring = SlotsKeyring.of(config)
        self._waits = waits
        self._notice_times = NoticeTimes(config, disk)
        self._runners = {name: self._make_runner(name) for name in config.values.models}
        book = BrokerBook(config, self._disk, int(wall_clock()))
        session = secrets.token_hex(4)
        self._certificates = ClientCertificates(config, disk)
        self.connection = Connection(
            config, self._rng, self, book, session, wall_clock, self._certificates, waits
        )
        self._renewal = CertificateRenewal(config, self._certificates, self.connection)
        self.reports = AgentReports(
            config,
            self._disk,
            self.connection,
            self.cores,
            int(wall_clock()),
            None if is_offline else self._take_identity(),
        )
        again_s = config.values.timing.notices_again_s
        self._notices = NoticeSubscriptions(self._topics, tuple(self._runners), self._rng, again_s)
        self._wildcards_bring: int | None = None
        self._results: queue.SimpleQueue[tuple[ModelRunner, ev.JobDone]] = queue.SimpleQueue()
        self._control = Control(self._disk, config.state_dir)
        self._answer_s = 0.0
        self._look_s = 0.0
        self._glance_s = 0.0
        self._clock = ClockWatch()
        self._counted = b""  # the message that was counted last as wanted

    def _take_identity(self) -> DeviceIdentity | None:
        """Give the device's own key, made at its first start; without one it reports unsigned.

        The key that releases are encrypted for is made with it, for `enrol` names both, and makes
        none while an agent runs.
        """
        state_dir = self._config.state_dir
        try:
            if has_hpke() and load_encryption_key(self._disk, state_dir, self._keyring) is None:
                make_encryption_key(self._disk, state_dir, self._keyring)
            protect_encryption_key(self._disk, state_dir, self._keyring)
        except StorageFailed as exc:
            _LOG.warning("no release can be encrypted for this device: %s", exc)
        try:
            return load_own_identity(self._config, self._disk) or make_identity(
                self._disk, state_dir
            )
        except StorageFailed as exc:
            _LOG.warning("what this device reports is not signed: %s", exc)
            return None

    def _make_runner(self, name: str) -> ModelRunner:
        files = self._make_jobs(name)
        core = ModelCore(
            name,
            self._config.values.device,
            self._topics,
            self._rng,
            asks_owner=files.owner.is_asked,
            slow=SlowLimit(
                self._config.values.policy.slow_bytes_per_s,
                self._config.values.timing.slow_window_s,
            ),
            models=len(self._config.values.models),
            keeps_provisioned=self._config.values.policy.keep_provisioned,
            waits=self._waits,
            elsewhere_s=lambda now: self._notice_times.elsewhere_s(name, now),
        )
        self._notice_times.add(core)
        return ModelRunner(core, files, self)

    def _make_jobs(self, model: str) -> ModelJobs:
        """Make what does one model's jobs."""
        return ModelJobs(
            self._config,
            model,
            self._disk,
            decodes_ahead=True,
            keyring=self._keyring,
            waits=self._waits,
        )

    # --- for the driver -------------------------------------------------------------------------

    @property
    def cores(self) -> list[ModelCore]:
        """The models' cores, for whoever waits for them to settle."""
        return [runner.core for runner in self._runners.values()]

    @property
    def is_idle(self) -> bool:
        """Whether requests were looked at, or cannot be, and no job runs."""
        looked = self._look_s > 0 or any(core.is_unreadable for core in self.cores)
        return looked and all(core.is_at_rest for core in self.cores)

    def due_s(self, at_most_s: float) -> float:
        """Say when the next turn is due, on the monotonic clock; at the latest at `at_most_s`."""
        due = [runner.core.deadline_s for runner in self._runners.values()]
        due += [self.connection.deadline_s, self.reports.deadline_s]
        return min([at_most_s, *(d for d in due if d is not None)])

    def start(self) -> None:
        """Begin: the cores look at what the last run left."""
        self._prepare()
        for runner in self._runners.values():
            runner.start()

    def _prepare(self) -> None:
        """Make what applications need; a device whose storage fails works on without."""
        for runner in self._runners.values():
            try:
                runner.files.prepare()
            except StorageFailed as exc:
                _LOG.warning("%s: applications cannot report: %s", runner.model, exc)
        try:
            tell_place(self._disk, self._config.state_dir, self._keyring.place)
        except StorageFailed as exc:
            _LOG.warning("applications are not told where the slots' key is: %s", exc)

    def connect_due(self) -> None:
        """Try the next broker, if it is time to."""
        if not self._is_offline:
            self.connection.connect_due()

    def take_turn(self) -> None:
        """Deal with all that has happened since the last turn, and with what is due by now."""
        self._take_results()
        self.connection.check()
        now = self.now()
        self._note_link(now)
        if self.connection.link is not None:
            self._notices.ask_again_if_due(self.connection.link, now.mono_s)
        for runner in self._runners.values():
            runner.tick(now)
        self._renewal.look(now)
        self._take_requests(now)
        self._glance_at_slots(now)
        self._watch_clock(now)
        self.reports.collect_due(now)
        self.reports.send(now)
        self._show_view(now)

    def stop_orderly(self) -> None:
        """Have the cores record that this end is no crash: first of all that is done at an end."""
        for runner in self._runners.values():
            runner.stop()

    def cancel_jobs(self) -> None:
        """Have jobs under way end soon."""
        for runner in self._runners.values():
            runner.files.cancel.set()

    def close(self) -> None:
        """Say goodbye to the broker, and let go of files, once no job runs any more."""
        self.reports.save()
        self.reports.send(self.now())
        self.connection.close()
        self._show_view(self.now())
        for runner in self._runners.values():
            runner.files.close()
        _LOG.info("stopped (pid %d)", os.getpid())

    # --- parts of a turn ------------------------------------------------------------------------

    def _take_results(self) -> None:
        while True:
            try:
                runner, done = self._results.get_nowait()
            except queue.Empty:
                return
            now = self.now()
            runner.feed(done, now)
            if self.reports.is_due:  # an ending is told, though the next result be there already
                self.reports.send(now)

    def _take_requests(self, now: ev.Now) -> None:
        """Look now and then what a person asks."""
        if now.mono_s >= self._answer_s:
            self._answer_s = now.mono_s + TICK_S
            self._control.answer_pings()
        if now.mono_s < self._look_s or not all(core.is_ready for core in self.cores):
            return
        self._look_s = now.mono_s + TICK_S
        for request in self._control.take():
            if request.model in self._runners:
                self._runners[request.model].feed(request.event(), now)

    def _glance_at_slots(self, now: ev.Now) -> None:
        """Look now and then whether what serves is still there."""
        if now.mono_s < self._glance_s:
            return
        self._glance_s = now.mono_s + TICK_S
        for runner in self._runners.values():
            runner.glance(now)

    def _watch_clock(self, now: ev.Now) -> None:
        """Have everything judged again by the new time, once somebody has set the clock."""
        if self._clock.moved(now):
            _LOG.info("the clock was set; it says %s", datetime.fromtimestamp(now.wall_s, UTC))
            self._feed_all(ev.ClockMoved(), now)
            self.reports.is_due = True
        elif self._notice_times.fell(now):
            self._feed_all(ev.ClockMoved(), now)

    def now(self) -> ev.Now:
        """Give the time, by both clocks."""
        return ev.Now(time.monotonic(), int(self._wall_clock()))

    # --- the connection tells -------------------------------------------------------------------

    def connection_made(self, link: Link, credit_chunks: int, limits: BrokerLimits) -> None:
        """Ask for the notices; the status is due, since it may have changed meanwhile.

        Args:
            link: the connection.
            credit_chunks: how many chunks may be under way on it.
            limits: what its broker is known to allow.
        """
        self._notices.connection_made(link, limits, time.monotonic())
        self.reports.is_due = True
        self._feed_all(ev.ConnectionMade(link.broker.url, credit_chunks, limits), self.now())

    def connection_lost(self) -> None:
        """Tell the cores; what was under way to the broker is sent again."""
        self._notices.connection_lost()
        self.reports.connection_lost()
        self._feed_all(ev.ConnectionLost(), self.now())

    def subscription_answered(self, filters: int, took_s: float) -> None:
        """Tell the cores how fast this broker takes subscriptions."""
        self._feed_all(ev.SubscriptionAnswered(filters, took_s), self.now())

    def limits_changed(self, limits: BrokerLimits) -> None:
        """Tell the cores what this broker allows."""
        self._notices.limits_changed(limits)
        self._feed_all(ev.LimitsChanged(limits), self.now())

    def subscription_refused(self, refusal: Refusal, *, is_final: bool) -> None:
        """Tell the cores, or ask for the notices again after a wait that grows."""
        self.reports.is_due = True
        if isinstance(self._topics.parse(refusal.filter), NoticeTopic):
            self._notices.refused(time.monotonic())
        else:
            event = ev.SubscriptionRefused(refusal.filter, refusal.text, is_final)
            self._feed_all(event, self.now())

    def subscription_unanswered(self, filters: tuple[str, ...]) -> None:
        """Tell the cores, or say it where it is a notice that does not come."""
        if any(isinstance(self._topics.parse(name), NoticeTopic) for name in filters):
            self.reports.is_due = True
            self.connection.trouble(BrokerRefused(f"no answer to SUBSCRIBE {', '.join(filters)}"))
        self._feed_all(ev.SubscriptionUnanswered(filters), self.now())

    def bytes_arrived(self) -> None:
        """Tell the cores that the link carries bytes."""
        self._feed_all(ev.BytesArrived(), self.now())

    def message(self, topic: str, data: bytes) -> None:
        """Hand a message to the core that it is for; an empty one only ends what was retained."""
        if not data:
            return
        now, about = self.now(), self._topics.parse(topic)
        if isinstance(about, ChunkTopic):  # first, since most are
            self._feed_all(ev.ChunkArrived(about.payload, about.chunk, data), now)
        else:
            self._take_message(about, topic, data, now)

    def _take_message(self, about: Topic | None, topic: str, data: bytes, now: ev.Now) -> None:
        """Take a message that is no chunk.

        Args:
            about: what its topic says.
            topic: where it was published.
            data: the message.
            now: the time.
        """
        match about:
            case MapTopic(payload, part):
                self._feed_all(ev.MapArrived(payload, part, data), now)
            case NoticeTopic(name) if name in self._runners:
                is_asked = self._notices.notice_came(name)
                self.connection.notice_came(len(data), is_asked=is_asked)
                self.connection.state.works(now.wall_s)
                self._runners[name].feed(ev.NoticeArrived(data), now)
            case DeviceTopic(device, "presence") if device == self._config.values.device:
                self.connection.presence_came(data)
            case DeviceTopic(device, "certificate") if device == self._config.values.device:
                self._renewal.answered(data, now)
            case _:
                _LOG.debug("nothing here is waiting for %s", topic)

    # --- the shell of the runners ---------------------------------------------------------------

    def _feed_all(self, event: ev.Event, now: ev.Now) -> None:
        for runner in self._runners.values():
            runner.feed(event, now)

    def submit(self, runner: ModelRunner, job: act.Job) -> None:
        """Have a worker thread do a job."""
        self._workers.submit(self._do_job, runner, job)

    def switching(self, runner: ModelRunner) -> None:
        """Collect the figures of the slot's last release: its reports go with the switch."""
        self.reports.collect(runner.core.state, self.now())

    def chunk_stored(self, runner: ModelRunner, action: transfer_actions.StoreChunk) -> None:
        """Remember that this connection brought something."""
        del runner
        self.connection.progressed(self._count_once(action.data))

    def map_stored(self, runner: ModelRunner, action: transfer_actions.StoreMap) -> None:
        """Remember that these bytes were wanted."""
        del runner
        self.connection.wanted_came(self._count_once(action.data))

    def _count_once(self, data: bytes) -> int:
        """Give the bytes of a message, and none the second time: models of one image share it."""
        size_bytes = 0 if data is self._counted else len(data)
        self._counted = data
        return size_bytes

    def report(self, runner: ModelRunner) -> None:
        """Publish the status at the end of this step, and log what is new."""
        self.reports.is_due = True
        self.reports.log_changes(runner.core)

    def log(self, runner: ModelRunner, action: act.Log) -> None:
        """Write a line for people, with what it is about for machines."""
        level = logging.getLevelName(action.level.upper())
        facts = {"model": runner.model, "event": "note"}
        _LOG.log(level, "%s: %s", runner.model, action.text, extra={FACTS: facts})

    def notify(self, runner: ModelRunner, action: act.Notify) -> None:
        """Something ended: the hook may know, and figures of the trial go out at once."""
        self._workers.submit(runner.files.owner.tell, action.stage, action.release)
        if action.stage in _ENDED:
            self.reports.collect(runner.core.state, self.now())

    def send(self, runner: ModelRunner, order: act.Order) -> None:
        """Send what a core asks; without a link it will ask again on the next one."""
        del runner
        link = self.connection.link
        if link is None or not self.connection.is_up:
            return
        match order:
            case transfer_actions.Subscribe(filters):
                self._notices.lend(link)
                link.subscribe(filters)
            case transfer_actions.Unsubscribe(filters):
                link.unsubscribe(filters)
            case transfer_actions.PublishWant(want, by_device):
                own = self._topics.device(want.device, "want")
                is_taken = by_device and own not in link.publish_refusals
                topic = own if is_taken else self._topics.want(want.payload)
                link.publish(topic, wire.encode(want))
            case transfer_actions.LearnWildcards(messages_max):
                self._wildcards_bring = messages_max
            case act.LeaveBroker(error):
                self.connection.leave(error)

    def _do_job(self, runner: ModelRunner, job: act.Job) -> None:
        """Run a job in a worker thread and tell the loop."""
        try:
            done = runner.work(job)
        except Exception as exc:  # noqa: BLE001 - a defect must end in a status, not in silence
            _LOG.exception("%s: %s failed", runner.model, type(job).__name__)
            done = ev.JobDone(job, error=unforeseen_error(exc))
        self._results.put((runner, done))
        self._wake()

    def _show_view(self, now: ev.Now) -> None:
        """Leave what only this process knows where `slotcast-device status` finds it."""
        if not self._is_offline:
            self.reports.show(now)

    def _note_link(self, now: ev.Now) -> None:
        """Keep what is to be said of the link; share its subscriptions where they are few."""
        if self._is_offline:
            return
        if self.connection.state.look(now.mono_s):
            self.reports.is_due = True
        if self._wildcards_bring is not None:
            self.connection.learn_wildcards(self._wildcards_bring)
            self._wildcards_bring = None
        link = self.connection.link
        if link is None or not self.connection.is_up:
            return
        is_fetching = any(core.is_fetching for core in self.cores)
        self._notices.take_back(link, now.mono_s, is_fetching=is_fetching)
        if self._notices.is_silence_due(now.mono_s):
            self.reports.log_missing_notices()
