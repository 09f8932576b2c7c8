"""Trying a broker: connect as the device would, ask for what it will ask for, say what is missing.

    findings = try_broker(config, broker, known_limits)

Only for a device whose agent does not run: the connection has the device's own client id, since
some brokers give rights by that, and all let in only the last one that comes with it. What is
written is the presence alone, and it says what is true then: this device is offline.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from slotcast_device.core.transfer.broker_limits import FILTERS_PER_PACKET, NOTICE_USUAL_BYTES
from slotcast_device.link.broker_history import ways_to_connect
from slotcast_device.link.link import Link
from slotcast_schemas import limits as bounds
from slotcast_schemas import wire
from slotcast_schemas.errors import SlotcastError
from slotcast_schemas.messages import Presence
from slotcast_schemas.plural import part_of, word_for

if TYPE_CHECKING:
    from slotcast_device.config import BrokerConfig, DeviceConfig
    from slotcast_device.core.transfer.broker_limits import BrokerLimits, Refusal

ANSWER_S: Final = 10.0
"""The seconds to wait for the answer to a CONNECT and to each SUBSCRIBE; a device that updates
waits longer."""
KEPT_S: Final = 3.0
"""The seconds to wait for what a broker has kept, after it took the filter."""
NO_PAYLOAD: Final = bytes(32)
"""The digest of no payload: its topics are as good as any to ask for, and empty."""
PACKET_NEEDED_BYTES: Final = bounds.CHUNK_DEFAULT_BYTES + 256
"""The bytes of a packet with a chunk of the usual size, which a broker must take."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One thing that was tried at a broker.

    Attributes:
        name: which, as a word.
        passed: False where the device cannot work without it.
        detail: what was found, and who must act.
    """

    name: str
    passed: bool
    detail: str


def try_broker(config: DeviceConfig, broker: BrokerConfig, known: BrokerLimits) -> list[Tried]:
    """Try a broker in the ways that the device would; the first that connects is looked into.

    Args:
        config: which device it is.
        broker: which broker.
        known: what is known of it, so that it is asked in the right protocol first.
    """
    error = "no answer"
    for version, retained in ways_to_connect(broker, known):
        asked = msgspec.structs.replace(known, retained=retained)
        trial = _Trial(config, broker)
        try:
            link = trial.connect(version, asked)
        except SlotcastError as exc:
            error = str(exc)
            continue
        if link.accepted is not None:
            try:
                return trial.look()
            finally:
                link.close(None if trial.is_over else trial.presence())
        error = str(link.error or f"{broker.name}: no answer in {ANSWER_S:.0f} s")
        link.abandon()
    return [Tried("broker", passed=False, detail=error)]


class _Trial:
    """One connection, and what came of what was asked on it."""

    def __init__(self, config: DeviceConfig, broker: BrokerConfig) -> None:
        self._config = config
        self._broker = broker
        self._topics = config.topics
        self._link: Link | None = None
        self._taken = 0
        self._refused: dict[str, str] = {}
        self._came: dict[str, int] = {}

    # --- the link tells -------------------------------------------------------------------------

    def message(self, topic: str, data: bytes) -> None:
        """Note what came."""
        self._came[topic] = len(data)

    def subscription_answered(self, filters: int, _took_s: float) -> None:
        """Note that a SUBSCRIBE was taken."""
        self._taken += filters

    def subscription_refused(self, refusal: Refusal) -> None:
        """Note that a filter was refused."""
        self._refused[refusal.filter] = refusal.text

    def subscription_unanswered(self, _filters: tuple[str, ...]) -> None:
        """Waits here are shorter than what calls this."""

    # --- trying -------------------------------------------------------------------------------

    def presence(self) -> tuple[str, bytes]:
        """Give topic and message that say: offline."""
        device = self._config.values.device
        said = Presence(device=device, online=False, time=int(time.time()), session="check")
        return self._topics.device(device, "presence"), wire.encode(said)

    def connect(self, version: str, known: BrokerLimits) -> Link:
        """Connect as the device would.

        Raises:
            LinkDown: nobody answers there.
            BrokerRefused: somebody does, and TLS fails.
        """
        client_id = f"slotcast-{self._config.values.device}"
        link = self._link = Link(
            self._broker, self._config, client_id, version, self.presence(), self, limits=known
        )
        link.connect()
        self._wait_until(lambda: link.accepted is not None, ANSWER_S)
        return link

    def look(self) -> list[Tried]:
        """Ask for what a device asks for."""
        link = self._open_link()
        tls = "TLS" if self._broker.is_tls else "no TLS"
        found = [self._report("broker", f"MQTT {link.version}, {tls}"), self._try_packets()]
        asked = (
            self._try_publishing,
            self._try_notices,
            self._try_retained,
            self._try_chunks,
            self._try_several,
        )
        found.extend(one() for one in asked if not self.is_over)
        if self.is_over:
            found.append(
                self._report_failed("broker_connection", f"it ended: {self._open_link().error}")
            )
        return found

    def _open_link(self) -> Link:
        if self._link is None:
            raise TypeError("nothing is connected")
        return self._link

    @property
    def is_over(self) -> bool:
        """Whether the connection is gone."""
        return self._link is None or self._link.error is not None or self._link.socket is None

    def _wait_until(self, is_done: Callable[[], bool], at_most_s: float) -> bool:
        link, due_s = self._open_link(), time.monotonic() + at_most_s
        while not is_done() and not self.is_over and time.monotonic() < due_s:
            link.wait(0.1)
        return is_done()

    def _ask_for_topics(self, *filters: str) -> str:
        """Ask for topics; give why they are not to be had, or nothing."""
        link = self._open_link()
        before = self._taken
        link.subscribe(filters)
        answered = self._wait_until(
            lambda: self._taken > before or any(name in self._refused for name in filters), ANSWER_S
        )
        if not answered:
            return f"no answer to SUBSCRIBE {filters[0]} in {ANSWER_S:.0f} s"
        return next((self._refused[name] for name in filters if name in self._refused), "")

    def _report(self, name: str, detail: str, *, passed: bool = True) -> Tried:
        return Tried(name, passed=passed, detail=f"{self._broker.name}: {detail}")

    def _report_failed(self, name: str, detail: str) -> Tried:
        return self._report(name, detail, passed=False)

    # --- what is needed -----------------------------------------------------------------------

    def _try_packets(self) -> Tried:
        size = self._open_link().packet_max_bytes
        if size < NOTICE_USUAL_BYTES:
            text = f"packets of at most {size} bytes; a notice alone has 5 to 8 KB: raise the limit"
            return self._report_failed("broker_packets", text)
        if size < PACKET_NEEDED_BYTES:
            text = f"packets of at most {size} bytes: releases need a smaller chunk_size_bytes"
            return self._report("broker_packets", text)
        said = f"at most {size} bytes" if size < 2**28 else "no limit is said"
        return self._report("broker_packets", f"{said}, {PACKET_NEEDED_BYTES} are needed")

    def _try_publishing(self) -> Tried:
        topic, data = self.presence()
        told: list[bool] = []
        self._open_link().publish(topic, data, retain=True, acked=lambda: told.append(True))
        if self._wait_until(lambda: bool(told), ANSWER_S):
            refused = self._open_link().publish_refusals.get(topic)
            if refused is None:
                return self._report("broker_publish", "takes what the device publishes")
            return self._report_failed("broker_publish", f"{refused}; check its access rules")
        return self._report_failed("broker_publish", f"no receipt for {topic} in {ANSWER_S:.0f} s")

    def _try_notices(self) -> Tried:
        topics = {model: self._topics.notice(model) for model in self._config.values.models}
        for topic in topics.values():
            why = self._ask_for_topics(topic)
            if why:
                return self._report_failed("broker_notices", f"{why}; check its access rules")
        self._wait_until(lambda: all(topic in self._came for topic in topics.values()), KEPT_S)
        missing = [model for model, topic in topics.items() if topic not in self._came]
        there = part_of(len(topics) - len(missing), len(topics), "notice")
        kept = f"{there} {word_for(len(topics), 'is', 'are')} kept there"
        return self._report("broker_notices", kept + (f", none of {missing}" if missing else ""))

    def _try_retained(self) -> Tried:
        """Read the presence back, by its topic and by a wildcard."""
        topic = self.presence()[0]
        if not self._open_link().retains:
            return self._report(
                "broker_retained",
                "missing: it keeps no retained messages, so `slotcast serve` must run for it",
            )
        if self._ask_for_topics(topic):
            return self._report("broker_retained", f"not known: it may not read {topic}")
        self._wait_until(lambda: topic in self._came, KEPT_S)
        self._open_link().unsubscribe((topic,))
        if topic not in self._came:
            return self._report(
                "broker_retained",
                "missing: what was to be retained is not kept, so `slotcast serve` must run for it",
            )
        return self._report("broker_retained", "keeps what is retained")

    def _try_chunks(self) -> Tried:
        """Ask for a block by one filter, as devices like it best, and for a chunk by its own."""
        exact = self._ask_for_topics(self._topics.chunk(NO_PAYLOAD, 0))
        if exact:
            return self._report_failed("broker_chunks", f"{exact}; check its access rules")
        wide = self._ask_for_topics(self._topics.block(NO_PAYLOAD, 0))
        if wide:
            text = f"missing: wildcards ({wide}); chunks are asked for one by one"
            return self._report("broker_chunks", text)
        topic = self.presence()[0]
        if self._came.pop(topic, None) is None:
            return self._report("broker_chunks", "takes filters for single chunks and for blocks")
        self._ask_for_topics(topic.rpartition("/")[0] + "/+")
        if self._wait_until(lambda: topic in self._came, KEPT_S):
            text = "takes filters for chunks and blocks, and gives what it keeps for both"
            return self._report("broker_chunks", text)
        text = "missing: retained messages for a wildcard; chunks are asked for one by one"
        return self._report("broker_chunks", text)

    def _try_several(self) -> Tried:
        filters = [self._topics.chunk(NO_PAYLOAD, n) for n in range(1, 1 + FILTERS_PER_PACKET)]
        why = self._ask_for_topics(*filters)
        if self.is_over:
            why = "it closed the connection"
        if why:
            text = f"missing: {len(filters)} filters at once ({why}); fewer are asked for"
            return self._report("broker_filters", text)
        return self._report("broker_filters", f"takes {len(filters)} filters in a SUBSCRIBE")
