"""One broker, for as long as `serve` runs: connects, listens, and carries out what is decided.

`Answers` and `Notices` decide; this module hands them what comes, and sends what they give, never
more at once than the broker takes. When the connection is lost it waits (exponential, jittered,
capped) and begins again; what waited to be sent still waits.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from slotcast_publisher.delivery.arrived_room import ArrivedRoom
from slotcast_publisher.delivery.broker_connect import open_link
from slotcast_publisher.delivery.broker_link import BrokerLink
from slotcast_publisher.delivery.link_events import Acked, Arrived, Event, Lost, Subscribed
from slotcast_publisher.serve.broker_health import BrokerHealth
from slotcast_publisher.serve.budgets import Budgets
from slotcast_publisher.serve.catalog import Catalog
from slotcast_publisher.serve.heard_wants import HeardWants
from slotcast_publisher.serve.log import Say
from slotcast_publisher.serve.notices import (
    Announce,
    AnnounceTimes,
    LookAgain,
    NoticeKind,
    Notices,
    WatchDevices,
)
from slotcast_publisher.serve.wants import Answers, WantBounds
from slotcast_publisher.serve_settings import ServeSettings
from slotcast_publisher.settings import Broker
from slotcast_schemas import wire
from slotcast_schemas.backoff import Backoff
from slotcast_schemas.errors import BrokerRefused, LinkDown, RefusedRelease, StorageFailed
from slotcast_schemas.messages import Presence
from slotcast_schemas.topics import DeviceTopic, NoticeTopic, Topics

_STEP_S: Final = 0.5
"""The longest time in seconds that a session waits for an event, so that it stops soon when
told."""

_EVENTS_MAX: Final = 200
"""The most events that are handled before answers are sent."""

_SAY_EVERY_S: Final = 1.0
"""The least seconds between two lines about what was answered."""

_RECONNECT_FIRST_S: Final = 0.5
"""The bound in seconds of the first wait between two connections."""

_RECONNECT_CAP_S: Final = 30.0
"""The bound in seconds of every wait between two connections."""

_SILENCE_MAX_S: Final = 60.0
"""The seconds to wait for an acknowledgement until the connection is given up."""

_FILTERS_MAX: Final = 8
"""The most filters in one SUBSCRIBE: as many as AWS IoT Core takes."""

Judge = Callable[[str, bytes, bytes], NoticeKind]
"""Says what a broker's notice of a model is, beside ours."""


class Session:
    """Serves one broker until told to stop.

    Args:
        broker: where.
        base: folder that the paths of certificates are relative to.
        topics: below the repository's prefix.
        catalog: what is offered at first; `renew` hands over a newer look.
        judge: tells notices apart.
        say: the log.
        rng: jitter; seeded in tests.
        bounds: how much is answered at once; the usual unless given.
        settings: where wants are heard, and how much is answered in a day; the usual unless given.
        times: when notices are announced; the usual unless given.
        health: who is told how the broker stands; nobody unless given.
    """

    def __init__(
        self,
        broker: Broker,
        base: Path,
        topics: Topics,
        catalog: Catalog,
        judge: Judge,
        say: Say,
        rng: random.Random,
        *,
        bounds: WantBounds | None = None,
        settings: ServeSettings | None = None,
        times: AnnounceTimes | None = None,
        health: BrokerHealth | None = None,
    ) -> None:
        self.name = broker.address.name
        self._health = health or BrokerHealth()
        self._broker = broker
        self._base = base
        self._topics = topics
        self._catalog = catalog
        self._judge = judge
        self._log = say
        self._rng = rng
        self._settings = settings or ServeSettings()
        self._answers = Answers(bounds or WantBounds(), rng, Budgets(self._settings))
        self._wants = HeardWants(topics, self._answers, self._settings.want_topics)
        self._notices = Notices(times or AnnounceTimes(), rng, catalog.announcements)
        self._renewed: queue.SimpleQueue[Catalog] = queue.SimpleQueue()
        self._in_flight: set[int] = set()
        self._asked: dict[int, tuple[str, ...]] = {}
        self._held: set[str] = set()
        self._is_exact = False  # the broker serves no wildcard subscriptions
        self._waits = Backoff(rng, _RECONNECT_FIRST_S, _RECONNECT_CAP_S)
        self._said_s = 0.0
        self._said_sent = self._said_refused = self._said_dropped = 0
        self._heard_s = 0.0

    def renew(self, catalog: Catalog) -> None:
        """Hand over a newer look at the repository; from any thread."""
        self._renewed.put(catalog)

    def wanted_unoffered(self) -> dict[bytes, float]:
        """Say when devices last asked for payloads that no offer names; from any thread."""
        return self._wants.unoffered()

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set; returns soon after."""
        while not stop.is_set():
            try:
                room = ArrivedRoom(self._wants.lane_of)
                with open_link(self._broker, self._base, needs_retained=False, room=room) as link:
                    self._serve(link, stop)
            except (LinkDown, BrokerRefused) as exc:
                self._notices.lost()
                self._health.failed(self.name, exc.reason, str(exc))
                wait_s = self._waits.next_s()
                self._say(
                    "disconnected", reason=exc.reason, detail=str(exc), again_in_s=round(wait_s, 2)
                )
                stop.wait(wait_s)

    # --- a connection ---------------------------------------------------------------------------

    def _serve(self, link: BrokerLink, stop: threading.Event) -> None:
        self._in_flight.clear()
        self._heard_s = time.monotonic()
        self._notices.connected(retains=None if link.retains else False)
        self._wants.connected(self._heard_s)
        self._say("connected", protocol=link.protocol, retains=link.retains)
        self._asked.clear()
        self._held.clear()
        self._is_exact = self._is_exact or not link.wildcards
        self._subscribe_all(link)
        if not link.retains:
            self._watch_devices(link)
        while not stop.is_set():
            if self._take_renewed() and self._is_exact:
                self._subscribe_exactly(link)
            self._hear(link)
            self._act(link)
            self._say_progress(link)

    def _hear(self, link: BrokerLink) -> None:
        """Wait for something, and take what has come; a flood must not keep us from answering."""
        event = link.next_event(self._wait_s())
        for _ in range(_EVENTS_MAX):
            if event is None:
                return
            self._handle_event(event, link)
            event = link.next_event(0)
        if event is not None:
            self._handle_event(event, link)

    def _subscribe_all(self, link: BrokerLink) -> None:
        if self._is_exact:
            self._subscribe_exactly(link)
        else:
            self._subscribe(link, self._topics.notice("+"))
            self._subscribe_to_wants(link)

    def _subscribe_to_wants(self, link: BrokerLink) -> None:
        """Ask for wants; on a connection that has them already, for those that are kept."""
        for name in self._wants.filters():
            self._asked[link.subscribe(name, shows_retained=True)] = (name,)

    def _subscribe_exactly(self, link: BrokerLink) -> None:
        """Ask for each model's notice and each payload's wants, where no wildcard is served."""
        self._be_deaf_to_devices("no wildcard subscriptions are served here")
        names = [self._topics.notice(model) for model in self._catalog.announcements]
        names += self._wants.exact_topics(self._catalog.payloads)
        if over := self._held - set(names):
            link.unsubscribe(*over)
        self._held = set(names)
        for at in range(0, len(names), _FILTERS_MAX):
            self._subscribe(link, *names[at : at + _FILTERS_MAX])

    def _be_deaf_to_devices(self, detail: str) -> None:
        """Say, once, that what devices ask for below their own names is not heard here."""
        if self._wants.hears_devices:
            self._wants.hears_devices = False
            self._say("deaf_to_devices", detail=detail)

    def _subscribe(self, link: BrokerLink, *filters: str) -> None:
        self._asked[link.subscribe(*filters)] = filters

    def _look_again(self, link: BrokerLink) -> None:
        """Ask for each notice by its name: some brokers give nothing retained for a wildcard."""
        for model in self._catalog.announcements:
            self._subscribe(link, self._topics.notice(model))

    def _watch_devices(self, link: BrokerLink) -> None:
        if not self._is_exact:
            self._subscribe(link, self._topics.device("+", "presence"))

    def _subscribed(self, answer: Subscribed, link: BrokerLink, now_s: float) -> None:
        """Take an answer; wildcards that are refused are asked for one by one from then on.

        Raises:
            BrokerRefused: an exact topic is refused.
        """
        filters = self._asked.pop(answer.mid, ())
        if answer.refused is None:
            self._waits.reset()
            self._health.answered(self.name)
            if not all(self._topics.is_like_want(name) for name in filters):
                self._notices.subscribed(now_s)
        elif filters == (self._topics.device_wants(),):
            self._be_deaf_to_devices(answer.refused)
        elif not any("+" in name for name in filters):
            raise BrokerRefused(
                f"{link.name}: may not subscribe: {answer.refused}; check its access rules"
            )
        elif not self._is_exact:
            self._is_exact = True
            self._say("no_wildcards", detail=answer.refused)
            self._subscribe_exactly(link)

    def _wait_s(self) -> float:
        now_s = time.monotonic()
        dues = [
            d for d in (self._answers.deadline_s(), self._notices.deadline_s()) if d is not None
        ]
        return max(0.0, min([now_s + _STEP_S, *dues]) - now_s)

    def _handle_event(self, event: Event, link: BrokerLink) -> None:
        now_s = time.monotonic()
        self._heard_s = now_s
        match event:
            case Lost(why=why):
                raise LinkDown(f"{link.name}: {why}")
            case Subscribed():
                self._subscribed(event, link, now_s)
            case Acked(mid=mid, refused=why):
                self._in_flight.discard(mid)
                if why is not None:
                    raise BrokerRefused(f"{link.name}: refused a message: {why}")
            case Arrived():
                self._arrived(event, now_s)

    def _arrived(self, message: Arrived, now_s: float) -> None:
        if self._topics.is_like_want(message.topic):
            self._take_renewed()  # a device may have heard of a new offer sooner than this thread
            self._wants.take(message, self._catalog, now_s)
            return
        match self._topics.parse(message.topic):
            case NoticeTopic(model):
                self._noticed(model, message, now_s)
            case DeviceTopic(what="presence"):
                self._present(message, now_s)
            case _:
                pass

    def _noticed(self, model: str, message: Arrived, now_s: float) -> None:
        ours = self._notices.data(model)
        if ours is None:
            self._notices.seen_unknown(model, message.data)
            return
        kind = self._judge(model, message.data, ours)
        if kind is NoticeKind.NEWER:
            self._say("newer_notice", **self._about(model))
        self._notices.seen(model, kind, now_s, retained=message.retained, data=message.data)

    def _present(self, message: Arrived, now_s: float) -> None:
        try:
            online = wire.decode(message.data, Presence).online
        except RefusedRelease:
            return
        if online:
            self._notices.device_online(now_s)

    # --- sending --------------------------------------------------------------------------------

    def _act(self, link: BrokerLink) -> None:
        now_s = time.monotonic()
        for order in self._notices.due(now_s):
            match order:
                case Announce(model, data):
                    self._publish(link, self._topics.notice(model), data)
                    self._say("announced", **self._about(model))
                case LookAgain():
                    self._look_again(link)
                case WatchDevices():
                    self._say("keeps_nothing")
                    self._watch_devices(link)
        self._take_off_kept_wants(link, now_s)
        room = link.window - len(self._in_flight)
        for piece, payload in self._answers.due(now_s, room) if room > 0 else []:
            self._answer(link, piece, payload)
        if self._in_flight and now_s - self._heard_s > _SILENCE_MAX_S:
            raise LinkDown(f"{link.name}: no answer in {_SILENCE_MAX_S:.0f} s")

    def _take_off_kept_wants(self, link: BrokerLink, now_s: float) -> None:
        unfit = self._wants.unfit
        while unfit and len(self._in_flight) < link.window:
            self._publish(link, unfit.popleft(), b"")
            self._answers.counts.refused_wants += 1
            self._wants.took_off(now_s)
        if self._wants.is_look_due(now_s) and not self._is_exact and link.retains:
            self._subscribe_to_wants(link)

    def _answer(self, link: BrokerLink, piece: Any, payload: Any) -> None:
        stored = self._catalog.payloads.get(payload.sha256)
        if stored is None:
            return
        name = self._topics.map_part if piece.is_map else self._topics.chunk
        try:
            data = stored.read(piece)
        except StorageFailed as exc:
            self._say("error", reason=exc.reason, detail=str(exc), **self._about(stored.model))
            return
        self._publish(link, name(payload.sha256, piece.number), data)

    def _publish(self, link: BrokerLink, topic: str, data: bytes) -> None:
        retain = link.retains and self._notices.keeps is not False
        if not self._in_flight:
            self._heard_s = (
                time.monotonic()
            )  # a broker to which nothing was sent had nothing to say
        self._in_flight.add(link.publish(topic, data, retain=retain))

    def _take_renewed(self) -> bool:
        """Take what `renew` handed over; says whether there was something."""
        is_new = not self._renewed.empty()
        while not self._renewed.empty():
            self._catalog = self._renewed.get()
            self._notices.changed(self._catalog.announcements, time.monotonic())
            self._answers.forget_payloads(set(self._catalog.payloads))
        return is_new

    # --- the log --------------------------------------------------------------------------------

    def _about(self, model: str) -> dict[str, str]:
        """Name a model, and the rollout that its offer is of, if it has a name."""
        found = self._catalog.announcements.get(model)
        rollout = "" if found is None else found.rollout
        return {"model": model, "rollout": rollout} if rollout else {"model": model}

    def _say(self, event: str, **fields: Any) -> None:
        self._log(event, broker=self.name, **fields)

    def _say_spent(self) -> None:
        """Say whose budget for a day is spent; each once, until half of it is there again."""
        spent, self._answers.budgets.to_say[:] = list(self._answers.budgets.to_say), []
        for item in spent:
            stored = self._catalog.payloads.get(item.payload)
            about = {} if stored is None else self._about(stored.model)
            named = {"device": item.device} if item.device else {}
            self._say("over_budget", **named, **about, day_bytes=item.day_bytes)

    def _say_progress(self, link: BrokerLink) -> None:
        """One line a second at most, whatever comes."""
        self._say_spent()
        counts, now_s = self._answers.counts, time.monotonic()
        refused = counts.refused_wants + counts.refused
        changed = (counts.sent, refused, link.dropped) != (
            self._said_sent,
            self._said_refused,
            self._said_dropped,
        )
        if not changed or now_s - self._said_s < _SAY_EVERY_S:
            return
        self._said_s = now_s
        self._said_sent, self._said_refused, self._said_dropped = counts.sent, refused, link.dropped
        self._say(
            "answered",
            wants=counts.wants,
            claimed_wants=counts.claimed_wants,
            asked=counts.asked,
            shared=counts.joined,
            sent=counts.sent,
            sent_bytes=counts.sent_bytes,
            waiting=self._answers.waiting,
            refused=counts.refused,
            over_budget=counts.over_budget,
            refused_wants=counts.refused_wants,
            dropped=link.dropped,
        )
