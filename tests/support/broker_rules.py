"""Brokers with other limits than Mosquitto's: what they are, and what becomes of a packet. No I/O.

    session = Session(Rules(wildcards="refused"), counts)
    for out in session.from_device(packet): ...

The broker behind is a real Mosquitto; `tests.support.limiting_proxy` carries the bytes. What a rule
does is what a broker that is named beside it does, or what the standard allows (MQTT 5.0, chapters
3.2, 3.8, 3.9 and 4.13).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from tests.simulation.broker import matches
from tests.support.mqtt_packets import Packet, remaining_length

NOT_AUTHORIZED, PACKET_TOO_LARGE, QUOTA_EXCEEDED = 0x87, 0x95, 0x97
RETAIN_NOT_SUPPORTED, WILDCARDS_NOT_SUPPORTED, UNSUPPORTED_VERSION = 0x9A, 0xA2, 0x84
FAILED: Final = 0x80
PROTOCOL_ERROR: Final = 0x82
_MAX_PACKET, _RETAIN_AVAILABLE, _WILDCARD_AVAILABLE = 0x27, 0x25, 0x28
_SIZES: Final = {0x11: 4, 0x13: 2, 0x21: 2, 0x22: 2, 0x24: 1, 0x27: 4} | dict.fromkeys(
    (0x25, 0x28, 0x29, 0x2A), 1
)
"""Of properties of a CONNACK whose length is fixed; the others are texts."""
_RETAINED: Final = 0x01
_WILL_RETAINED: Final = 0x24


@dataclass(frozen=True, slots=True)
class Rules:
    """What this broker does otherwise. The default is to do nothing.

    Attributes:
        version: how MQTT 5 is turned away: `refused` by CONNACK 0x84, `hangs_up`, `silent`.
        wildcards: `refused` by a code; `ignored`: taken, and no retained message comes for them
            (RabbitMQ); `announced`: refused, and CONNACK says so.
        retained_per_filter: retained messages that a filter brings; the rest is lost (BifroMQ: 10).
        retained_per_s: retained messages a second; what is past that waits, or is lost.
        loses: whether it is lost.
        subscriptions_max: filters past this are refused.
        filters_max: a SUBSCRIBE with more closes the connection (AWS IoT Core: 8).
        packet_max_bytes: a larger packet closes the connection; a larger one down is lost.
        retain: `announced`, or `stripped` in silence, or it `closes` the connection.
        refused: regular expression of filters that are not authorized.
        refusal_closes: whether those close the connection (AWS IoT Core).
        publishing_closes: regular expression of topics to publish on which closes the connection.
        unanswered: regular expression of filters whose SUBSCRIBE is lost.
        close_every_s: so long each connection lasts.
        suback_delay_s: a SUBACK, and what stands behind it, is held back so long.
        suback_alone: only the SUBACK is held back, and what follows overtakes it.
        suback_serial: one after the other, each so long (NATS).
        says_nothing: no limit is announced in CONNACK.
    """

    version: Literal["", "refused", "hangs_up", "silent"] = ""
    wildcards: Literal["", "refused", "ignored", "announced"] = ""
    retained_per_filter: int = 0
    retained_per_s: float = 0.0
    loses: bool = False
    subscriptions_max: int = 0
    filters_max: int = 0
    packet_max_bytes: int = 0
    retain: Literal["", "announced", "stripped", "closes"] = ""
    refused: str = ""
    refusal_closes: bool = False
    publishing_closes: str = ""
    unanswered: str = ""
    close_every_s: float = 0.0
    suback_delay_s: float = 0.0
    suback_alone: bool = False
    suback_serial: bool = False
    says_nothing: bool = False


class HangsUp(Exception):
    """The broker closes the connection, after it has sent `last`."""

    def __init__(self, why: str, last: bytes = b"") -> None:
        super().__init__(why)
        self.last = last


@dataclass(frozen=True, slots=True)
class Held:
    """A packet for the device, and when it may go; `alone` lets later ones pass by."""

    data: bytes
    due_s: float = 0.0
    alone: bool = False


@dataclass(slots=True)
class Session:
    """One connection as this broker sees it.

    Attributes:
        rules: what it does.
        counts: of what happened, by a word; shared by all connections.
    """

    rules: Rules
    counts: Counter[str]
    version: int = 4
    _filters: dict[str, int] = field(default_factory=dict)
    _codes: dict[int, list[int | None]] = field(default_factory=dict)
    _next_retained_s: float = 0.0
    _next_suback_s: float = 0.0
    _allowed: float = 1.0
    _allowed_s: float = 0.0

    # --- from the device ------------------------------------------------------------------------

    def from_device(self, packet: Packet) -> tuple[bytes | None, bytes | None]:
        """Give what the broker behind is to get, and what the device gets at once.

        Raises:
            HangsUp: the connection ends.
        """
        if self.rules.packet_max_bytes and len(packet.raw) > self.rules.packet_max_bytes:
            self._hang_up("too large", PACKET_TOO_LARGE)
        match packet.name:
            case "CONNECT":
                self._connect(packet)
            case "PUBLISH":
                return self._published(packet), None
            case "SUBSCRIBE":
                return self._subscribe(packet)
            case "UNSUBSCRIBE":
                for name, _ in self._names(packet, options=0):
                    self._filters.pop(name, None)
        return packet.raw, None

    def _hang_up(self, why: str, code: int) -> None:
        said = bytes([0xE0, 2, code, 0]) if self.version == 5 else b""
        self.counts[f"closed: {why}"] += 1
        raise HangsUp(why, said)

    def _connect(self, packet: Packet) -> None:
        body = packet.raw[packet.raw.index(b"MQTT") + 4 :]
        self.version, flags = body[0], body[1]
        if self.version == 5 and self.rules.version:
            self.counts["MQTT 5 turned away"] += 1
            if self.rules.version == "silent":
                raise HangsUp("silent")
            code = bytes([0x20, 3, 0, UNSUPPORTED_VERSION, 0])
            raise HangsUp("MQTT 5", code if self.rules.version == "refused" else b"")
        has_retained_will = flags & _WILL_RETAINED == _WILL_RETAINED
        if has_retained_will and self.rules.retain in {"announced", "closes"}:
            self.counts["retained wills refused"] += 1
            code = bytes([0x20, 3, 0, RETAIN_NOT_SUPPORTED, 0])
            raise HangsUp("retained will", code if self.version == 5 else b"")

    def _published(self, packet: Packet) -> bytes:
        if self.rules.publishing_closes and re.search(self.rules.publishing_closes, packet.topic):
            self._hang_up("published", NOT_AUTHORIZED)
        if packet.raw[0] & _RETAINED and self.rules.retain:
            if self.rules.retain != "stripped":
                self._hang_up("retained", RETAIN_NOT_SUPPORTED)
            self.counts["retain flags taken"] += 1
            return bytes([packet.raw[0] & ~_RETAINED]) + packet.raw[1:]
        return packet.raw

    def _subscribe(self, packet: Packet) -> tuple[bytes | None, bytes | None]:
        head, filters = self._head(packet), list(self._names(packet, options=1))
        self.counts["filters"] += len(filters)
        if self.rules.filters_max and len(filters) > self.rules.filters_max:
            self._hang_up("many filters", PROTOCOL_ERROR)
        if self.rules.unanswered and any(re.search(self.rules.unanswered, n) for n, _ in filters):
            self.counts["SUBSCRIBE lost"] += 1
            return None, None
        codes = [self._code(name) for name, _ in filters]
        kept = [raw for code, (_, raw) in zip(codes, filters, strict=True) if code is None]
        packet_id = int.from_bytes(head[:2])
        if not kept:
            return None, self._suback(packet_id, codes)
        self._codes[packet_id] = codes
        body = head + b"".join(kept)
        return packet.raw[:1] + remaining_length(len(body)) + body, None

    def _code(self, name: str) -> int | None:
        """Give the code by which a filter is refused; None where the broker behind answers."""
        rules, is_new = self.rules, self.version == 5
        if rules.refused and re.search(rules.refused, name):
            if rules.refusal_closes:
                self._hang_up("not authorized", NOT_AUTHORIZED)
            return NOT_AUTHORIZED if is_new else FAILED
        if rules.wildcards in {"refused", "announced"} and ("+" in name or "#" in name):
            return WILDCARDS_NOT_SUPPORTED if is_new else FAILED
        full = rules.subscriptions_max and len(self._filters) >= rules.subscriptions_max
        if full and name not in self._filters:
            return QUOTA_EXCEEDED if is_new else FAILED
        self._filters[name] = 0
        return None

    def _head(self, packet: Packet) -> bytes:
        """Give packet id and properties of a SUBSCRIBE or UNSUBSCRIBE."""
        start = packet.header_bytes
        end = start + 2
        if self.version == 5:
            end += 1 + packet.raw[end]  # ours have no properties, so the length is one byte
        return packet.raw[start:end]

    def _names(self, packet: Packet, *, options: int) -> Iterator[tuple[str, bytes]]:
        """Give each filter with its bytes."""
        at = packet.header_bytes + len(self._head(packet))
        while at < len(packet.raw):
            end = at + 2 + int.from_bytes(packet.raw[at : at + 2])
            yield packet.raw[at + 2 : end].decode(), packet.raw[at : end + options]
            at = end + options

    def _suback(self, packet_id: int, codes: list[int | None], theirs: bytes = b"") -> bytes:
        answers = iter(theirs)
        own = bytes(next(answers, FAILED) if code is None else code for code in codes)
        body = packet_id.to_bytes(2) + (b"\0" if self.version == 5 else b"") + own
        self.counts["filters refused"] += sum(code >= FAILED for code in own)
        return b"\x90" + remaining_length(len(body)) + body

    # --- from the broker ------------------------------------------------------------------------

    def from_broker(self, packet: Packet, now_s: float) -> tuple[Held | None, bytes | None]:
        """Give what the device is to get, and what the broker behind gets in its place."""
        match packet.name:
            case "CONNACK":
                return Held(self._connack(packet.raw)), None
            case "SUBACK":
                return self._held_suback(self._own_suback(packet), now_s), None
            case "PUBLISH":
                due_s = self._due_s(packet, now_s)
                if due_s is None:
                    return None, packet.puback() if packet.qos else None
                return Held(packet.raw, due_s), None
        return Held(packet.raw), None

    def _own_suback(self, packet: Packet) -> bytes:
        start = packet.header_bytes
        packet_id = int.from_bytes(packet.raw[start : start + 2])
        codes = self._codes.pop(packet_id, None)
        if codes is None:
            return packet.raw
        skip = 3 if self.version == 5 else 2
        return self._suback(packet_id, codes, packet.raw[start + skip :])

    def _held_suback(self, data: bytes, now_s: float) -> Held:
        delay_s = self.rules.suback_delay_s
        if not delay_s:
            return Held(data)
        first_s = max(now_s, self._next_suback_s) if self.rules.suback_serial else now_s
        self._next_suback_s = first_s + delay_s
        return Held(data, self._next_suback_s, alone=self.rules.suback_alone)

    def _connack(self, raw: bytes) -> bytes:
        """Say the limits, before what the broker behind says of itself."""
        rules = self.rules
        if self.version != 5 or rules.says_nothing or raw[3] != 0:
            return raw
        said = dict(_properties(raw[5:]))  # Mosquitto's fit into one byte of length
        if rules.packet_max_bytes:
            said[_MAX_PACKET] = rules.packet_max_bytes.to_bytes(4)
        if rules.retain == "announced":
            said[_RETAIN_AVAILABLE] = b"\0"
        if rules.wildcards == "announced":
            said[_WILDCARD_AVAILABLE] = b"\0"
        properties = b"".join(bytes([key]) + value for key, value in said.items())
        body = raw[2:4] + remaining_length(len(properties)) + properties
        return raw[:1] + remaining_length(len(body)) + body

    def _due_s(self, packet: Packet, now_s: float) -> float | None:
        """Say when a message may go on; None where it is lost."""
        rules = self.rules
        if rules.packet_max_bytes and len(packet.raw) > rules.packet_max_bytes:
            return self._lost("too large")
        if not packet.raw[0] & _RETAINED:
            return 0.0
        self.counts["retained"] += 1
        fitting = [name for name in self._filters if matches(name, packet.topic)]
        if rules.retain:
            return self._lost("retained")
        if rules.wildcards == "ignored" and packet.topic not in fitting:
            return self._lost("for a wildcard")
        if rules.retained_per_filter and not self._fits(fitting):
            return self._lost("past the cap")
        return self._paced(now_s) if rules.retained_per_s else 0.0

    def _lost(self, why: str) -> float | None:
        self.counts[f"lost: {why}"] += 1
        return None

    def _fits(self, fitting: list[str]) -> bool:
        free = [name for name in fitting if self._filters[name] < self.rules.retained_per_filter]
        for name in free:
            self._filters[name] += 1
        return bool(free) or not fitting

    def _paced(self, now_s: float) -> float | None:
        rate = self.rules.retained_per_s
        if not self.rules.loses:
            self._next_retained_s = max(now_s, self._next_retained_s) + 1 / rate
            return self._next_retained_s
        earned, self._allowed_s = (now_s - self._allowed_s) * rate, now_s
        self._allowed = min(max(1.0, rate), self._allowed + earned)
        if self._allowed < 1:
            return self._lost("past the rate")
        self._allowed -= 1
        return 0.0


def _properties(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Take the properties of a CONNACK apart: identifier and value, as they are (2.2.2.2)."""
    at = 0
    while at < len(data):
        size = _SIZES.get(data[at], 2 + int.from_bytes(data[at + 1 : at + 3]))
        yield data[at], data[at + 1 : at + 1 + size]
        at += 1 + size
