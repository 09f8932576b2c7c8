"""Keeps summaries until they are sent. Pure.

The ring is bounded in number, so in memory and on disk: after long hours offline the oldest
summaries go, and are counted as dropped. `to_bytes` and `from_bytes` carry it over a
restart; the agent writes and publishes. A summary leaves the ring only when the broker has it.

What is on disk is older than what was sent, for not every summary is written. Readers take each
counter once, and must count each summary once, after a kill as well. So the disk reserves counters
ahead, and one that a message may have had is never given to another. A message whose summaries lie
on the disk is written, as it will be sent, before it is sent (`must_be_saved`).
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from slotcast_schemas.decode_errors import UNDECODABLE
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.limits import METRICS_MAX_BYTES
from slotcast_schemas.messages.metrics import Metrics, Summary

RING_MAX: Final = 1440
"""The number of summaries that are kept, a day of one a minute; each takes about 900 bytes, so the
ring about 1.3 MB."""

RING_MAX_BYTES: Final = 4 * 1024 * 1024
"""The most bytes of the ring's file that are read."""
_IN_MESSAGE_MAX: Final = 64
"""The most summaries in one message."""
RESERVE: Final = 1000
"""The number of counters that one durable write reserves, so that it serves as many messages."""


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    """The ring on disk."""

    counter: int = 0
    dropped: int = 0
    summaries: tuple[Summary, ...] = ()
    sent: Metrics | None = None
    reserved: int = 0
    """Every counter up to this may have been used."""


make_decoders(_Stored)


class MetricsRing:
    """Summaries of all models of a device that the broker has not confirmed yet.

    Args:
        size: how many are kept.
        counter: of the last message that was sent before.
    """

    def __init__(self, size: int = RING_MAX, counter: int = 0) -> None:
        self._size = size
        self._summaries: deque[Summary] = deque()
        self._dropped = 0
        self._counter = counter
        self._sent: Metrics | None = None
        self._reserved = self._first = 0  # counters that may have been used, as the disk says
        self._saved_sent = 0  # the counter of the message on disk
        self._has_more_saved = False  # summaries lie there that are not in that message

    def __len__(self) -> int:
        return len(self._summaries)

    def add(self, summary: Summary) -> None:
        """Keep one; the oldest goes if there is no room."""
        self._summaries.append(summary)
        while len(self._summaries) > self._size:
            self._summaries.popleft()
            self._dropped += 1

    def message(self, *, device: str, time: int) -> Metrics | None:
        """The next message to publish, oldest summaries first; None if there is nothing.

        The very same message comes again until `confirm` is called with it, whatever was added
        meanwhile: the broker may have passed it on before the link broke, and then a reader must
        know it again by its counter.
        """
        if self._sent is None:
            self._sent = self._build_next(device, time)
        return self._sent

    def _build_next(self, device: str, time: int) -> Metrics | None:
        if not self._summaries:
            return None
        count = min(len(self._summaries), _IN_MESSAGE_MAX)
        while True:
            message = Metrics(
                device=device,
                counter=max(self._counter, self._first) + 1,
                time=time,
                summaries=tuple(self._summaries[i] for i in range(count)),
                dropped=self._dropped,
            )
            if count == 1 or len(msgspec.msgpack.encode(message)) <= METRICS_MAX_BYTES * 0.9:
                return message
            count //= 2

    @property
    def must_be_saved(self) -> bool:
        """Whether the next message has to be on disk before it is sent."""
        message = self._sent
        if message is None or message.counter == self._saved_sent:
            return False
        return message.counter > self._reserved or self._has_more_saved

    def confirm(self, message: Metrics) -> None:
        """The broker has this message: forget what it carried.

        What the ring had to drop meanwhile was not lost, so it is not counted as dropped.
        """
        sent = set(map(_key_of, message.summaries))
        still_here = 0
        while self._summaries and _key_of(self._summaries[0]) in sent:
            self._summaries.popleft()
            still_here += 1
        gone_but_sent = len(message.summaries) - still_here
        self._dropped = max(0, self._dropped - message.dropped - gone_but_sent)
        self._counter = max(self._counter, message.counter)
        self._sent = None

    def to_bytes(self) -> bytes:
        """The ring, for disk; from then on it counts as saved."""
        last = self._counter if self._sent is None else self._sent.counter
        self._reserved = max(self._reserved, last + RESERVE)
        self._note_saved()
        return msgspec.msgpack.encode(
            _Stored(
                counter=self._counter,
                dropped=self._dropped,
                summaries=tuple(self._summaries),
                sent=self._sent,
                reserved=self._reserved,
            )
        )

    def _note_saved(self) -> None:
        self._saved_sent = 0 if self._sent is None else self._sent.counter
        sent = () if self._sent is None else tuple(map(_key_of, self._sent.summaries))
        last = _key_of(self._summaries[-1]) if self._summaries else None
        self._has_more_saved = last is not None and last not in sent

    @classmethod
    def from_bytes(cls, data: bytes | None, size: int = RING_MAX) -> MetricsRing:
        """The ring that was saved; an empty one if nothing was, or if it cannot be read.

        Figures of the past are not worth stopping a device for.
        """
        ring = cls(size)
        if data is None or len(data) > RING_MAX_BYTES:
            return ring
        try:
            stored = msgspec.msgpack.decode(data, type=_Stored)
        except UNDECODABLE:
            return ring
        ring._counter, ring._dropped = stored.counter, stored.dropped
        ring._sent = stored.sent
        for summary in stored.summaries:
            ring.add(summary)
        ring._note_saved()
        # What was sent since then nobody knows: those counters are not used again.
        ring._reserved = ring._first = stored.reserved
        return ring


def _key_of(summary: Summary) -> tuple[str, int, int, int, int]:
    s = summary
    return (s.model, s.sequence, s.start, s.end, s.requests)
