"""Pushes messages to a broker: a bounded window, every PUBACK counted, stoppable and resumable.

What the broker has acknowledged is written to a journal at once, so that a push that was killed
goes on where it stopped. Stages are a barrier: nothing of a stage is sent before all of the one
before it is acknowledged, so no device sees a notice whose payload is not there.
"""

from __future__ import annotations

import contextlib
import os
import random
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, Self

from slotcast_publisher.delivery.broker_link import Acked, Event, Lost
from slotcast_publisher.durable import fsync_dir, storage_errors
from slotcast_schemas.errors import BrokerRefused, LinkDown

_RECORD: Final = struct.Struct("<I")
_SYNC_EVERY: Final = 256
_SILENCE_MAX_S: Final = 60.0
_TRIES_WITHOUT_PROGRESS: Final = 6
_TRIES_AT_FIRST: Final = 2
"""A broker that never answered is rather a wrong address than a bad link."""

_BACKOFF_MAX_S: Final = 8.0


class Journal:
    """Which messages of one payload a broker has acknowledged: their numbers, appended.

    Written without fsync for each, for a killed process loses nothing that it wrote; after a
    power cut, a few messages are sent twice, which is harmless.
    """

    def __init__(self, path: Path, count: int) -> None:
        """Open a journal of `count` messages, numbered from 0.

        Raises:
            StorageFailed: it cannot be read or written.
        """
        self._path = path
        self._unsynced = 0
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            is_new = not path.exists()
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            data = path.read_bytes()
            whole = len(data) - len(data) % _RECORD.size
            os.truncate(self._fd, whole)
            if is_new:
                fsync_dir(path.parent)
        found = {number for (number,) in _RECORD.iter_unpack(data[:whole])}
        self.acked = {number for number in found if number < count}

    def add(self, number: int) -> None:
        """Note that a message was acknowledged.

        Raises:
            StorageFailed: it cannot be written.
        """
        self.acked.add(number)
        with storage_errors(self._path):
            os.write(self._fd, _RECORD.pack(number))
            self._unsynced += 1
            if self._unsynced >= _SYNC_EVERY:
                os.fsync(self._fd)
                self._unsynced = 0

    def clear(self) -> None:
        """Forget everything: the broker has lost it, or it is to be sent anew."""
        self.acked.clear()
        with storage_errors(self._path):
            os.truncate(self._fd, 0)

    def close(self) -> None:
        """Make it durable."""
        with storage_errors(self._path):
            os.fsync(self._fd)
            os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Item:
    """One message to send; with a journal, it is sent once."""

    topic: str
    size_bytes: int
    read: Callable[[], bytes]
    journal: Journal | None = None
    number: int = 0

    @property
    def is_acked(self) -> bool:
        """Whether the broker has it, as far as we know."""
        return self.journal is not None and self.number in self.journal.acked


class Channel(Protocol):
    """What a push needs of a connection; `mqtt.Link` is one."""

    name: str
    protocol: str
    window: int

    def publish(self, topic: str, data: bytes) -> int:
        """Send, and give the number that will be acknowledged."""

    def next_event(self, timeout_s: float) -> Event | None:
        """Give what happened next."""


Connect = Callable[[], contextlib.AbstractContextManager[Channel]]


@dataclass(slots=True)
class Tally:
    """What a push did so far."""

    total_bytes: int = 0
    skipped_bytes: int = 0
    sent_bytes: int = 0
    sent: int = 0
    skipped: int = 0
    reconnects: int = 0
    protocol: str = ""

    @property
    def done_bytes(self) -> int:
        """Bytes that the broker has, sent now or before."""
        return self.skipped_bytes + self.sent_bytes


def push(
    connect: Connect,
    stages: Sequence[Sequence[Item]],
    *,
    progress: Callable[[Tally], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Tally:
    """Send all stages, in order, over as many connections as it takes.

    Raises:
        LinkDown: no progress over several connections; what was acknowledged is remembered.
        BrokerRefused: the broker refuses the connection or a message.
        StorageFailed: the journal cannot be written.
    """
    tally = Tally(total_bytes=sum(item.size_bytes for stage in stages for item in stage))
    queues = [deque(_missing(stage, tally)) for stage in stages]
    failures = 0
    while True:
        before = tally.sent
        try:
            with connect() as channel:
                tally.protocol = channel.protocol
                for queue in queues:
                    _send(channel, queue, tally, progress)
            return tally
        except LinkDown as exc:
            failures = 1 if tally.sent > before else failures + 1
            if failures >= (_TRIES_WITHOUT_PROGRESS if tally.protocol else _TRIES_AT_FIRST):
                raise LinkDown(
                    f"{exc}; {tally.done_bytes} of {tally.total_bytes} bytes are there:"
                    " run it again to send the rest"
                ) from exc
            tally.reconnects += 1
            sleep(_backoff_s(failures))


def _missing(stage: Iterable[Item], tally: Tally) -> Iterator[Item]:
    for item in stage:
        if item.is_acked:
            tally.skipped += 1
            tally.skipped_bytes += item.size_bytes
        else:
            yield item


def _send(
    channel: Channel, todo: deque[Item], tally: Tally, progress: Callable[[Tally], None]
) -> None:
    """Send one stage; what was on its way when the link went stays in `todo`."""
    in_flight: dict[int, Item] = {}
    try:
        while todo or in_flight:
            while todo and len(in_flight) < channel.window:
                mid = channel.publish(todo[0].topic, todo[0].read())
                in_flight[mid] = todo.popleft()  # only now: a failed publish leaves it in `todo`
            _settle(channel, in_flight, tally)
            progress(tally)
    finally:
        todo.extendleft(reversed(in_flight.values()))


def _settle(channel: Channel, in_flight: dict[int, Item], tally: Tally) -> None:
    """Wait for one event, and take what it says into account."""
    match channel.next_event(_SILENCE_MAX_S):
        case None:
            raise LinkDown(f"{channel.name}: no answer in {_SILENCE_MAX_S:.0f} s")
        case Lost(why=why):
            raise LinkDown(f"{channel.name}: {why}")
        case Acked(mid=mid, refused=str(why)) if mid in in_flight:
            raise BrokerRefused(f"{channel.name}: refused {in_flight[mid].topic}: {why}")
        case Acked(mid=mid) if mid in in_flight:
            item = in_flight.pop(mid)
            tally.sent += 1
            tally.sent_bytes += item.size_bytes
            if item.journal is not None:
                item.journal.add(item.number)
        case _:
            pass


def _backoff_s(failures: int) -> float:
    """Full jitter: many publishers that lost one broker must not come back together."""
    return random.uniform(0.1, min(_BACKOFF_MAX_S, 0.5 * 2**failures))  # noqa: S311 - not a secret
