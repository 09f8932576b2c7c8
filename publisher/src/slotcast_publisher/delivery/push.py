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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, Self

from slotcast_publisher.delivery.broker_link import PacketTooLarge
from slotcast_publisher.delivery.link_events import Acked, Event, Lost
from slotcast_publisher.durable import fsync_dir, storage_errors
from slotcast_schemas.backoff import Backoff
from slotcast_schemas.errors import BrokerRefused, LinkDown
from slotcast_schemas.plain_files import open_plain, read_regular

_RECORD: Final = struct.Struct("<I")
"""One entry of the journal: the number of an acknowledged message."""

_SYNC_EVERY: Final = 256
"""The number of acknowledgements after which the journal is made durable."""

_SILENCE_MAX_S: Final = 60.0
"""The seconds to wait for an acknowledgement until the connection is given up."""

_TRIES_WITHOUT_PROGRESS: Final = 6
"""The number of connections without any acknowledgement after which a push gives up."""

_TRIES_AT_FIRST: Final = 2
"""The same where no connection was made yet: where a broker never answered, the address is wrong
more often than the link is bad."""

RECONNECT_S: Final = (1.0, 8.0)
"""The bounds of the first wait between two connections and of every wait, in seconds; they are
short, because somebody may sit at the terminal."""

_ABOUT_SIZE: Final = frozenset({"Packet too large", "Payload format invalid", "Protocol error"})
"""The reasons of MQTT 5's DISCONNECT that brokers give for a message above a limit of theirs."""

_ABOUT_RETAINED: Final = "Retain not supported"
"""The reason of MQTT 5's DISCONNECT for a retained message at a broker that keeps none."""


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
            self._fd = open_plain(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
            data = read_regular(path)
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

    def forget(self, numbers: Iterable[int]) -> None:
        """Note that the broker has lost these after all.

        A power cut on the way leaves fewer numbers than the broker has messages, never more.
        """
        left = sorted(self.acked - set(numbers))
        self.clear()
        for number in left:
            self.add(number)

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
    """What a push needs of a connection; `broker_link.BrokerLink` is one."""

    name: str
    protocol: str
    window: int

    def publish(self, topic: str, data: bytes) -> int:
        """Send, and give the number that will be acknowledged."""

    def next_event(self, timeout_s: float) -> Event | None:
        """Give what happened next."""


Connect = Callable[[], contextlib.AbstractContextManager[Channel]]


@dataclass(slots=True)
class PushTally:
    """What a push did so far."""

    total_bytes: int = 0
    skipped_bytes: int = 0
    sent_bytes: int = 0
    sent: int = 0
    skipped: int = 0
    reconnects: int = 0
    protocol: str = ""
    largest_bytes: int = 0
    """The largest message that was acknowledged, now or before."""
    to_read_bytes: int = 0
    read_bytes: int = 0
    """Of what is read back, how much was looked at."""

    @classmethod
    def of(cls, items: Sequence[Item]) -> PushTally:
        """Begin with what is to be sent, and what is acknowledged of it already."""
        acked = [item.size_bytes for item in items if item.is_acked]
        return cls(
            total_bytes=sum(item.size_bytes for item in items),
            skipped=len(acked),
            skipped_bytes=sum(acked),
            largest_bytes=max(acked, default=0),
        )

    def note_lost(self, item: Item, *, was_skipped: bool) -> None:
        """Count a message that must be sent once more."""
        if was_skipped:
            self.skipped -= 1
            self.skipped_bytes -= item.size_bytes
        else:
            self.total_bytes += item.size_bytes

    @property
    def done_bytes(self) -> int:
        """Bytes that the broker has, sent now or before."""
        return self.skipped_bytes + self.sent_bytes


def push(
    connect: Connect,
    stages: Sequence[Sequence[Item]],
    *,
    tally: PushTally | None = None,
    progress: Callable[[PushTally], None] = lambda _: None,
    waits: Backoff | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> PushTally:
    """Send what is not acknowledged of all stages, in order, over as many connections as it takes.

    Args:
        connect: opens a connection.
        stages: nothing of a stage is sent before all of the one before it is acknowledged.
        tally: what to count in, if more than these stages is counted; it is given back.
        progress: told after each event.
        waits: how long to wait between two connections.
        sleep: waits that long.

    Raises:
        LinkDown: no progress over several connections; what was acknowledged is remembered.
        BrokerRefused: the broker refuses the connection or a message, or closes for its size.
        StorageFailed: the journal cannot be written.
    """
    tally = PushTally.of([item for stage in stages for item in stage]) if tally is None else tally
    queues = [deque(item for item in stage if not item.is_acked) for stage in stages]
    waits = reconnect_waits(*RECONNECT_S) if waits is None else waits
    closed: list[_Closed] = []
    while True:
        before = tally.sent
        try:
            with connect() as channel:
                tally.protocol = channel.protocol
                for queue in queues:
                    _send(channel, queue, tally, progress)
            return tally
        except LinkDown as exc:
            if tally.sent > before:
                waits.reset()
                closed.clear()
            if isinstance(exc, _Closed):
                closed.append(exc)
            wait_s = waits.next_s()
            # A connection may also end before anything is on its way: a third of them tell.
            told = closed[-1] if 3 * len(closed) >= waits.failures else exc
            _give_up_if_in_vain(told, waits.failures, tally)
            tally.reconnects += 1
            sleep(wait_s)


def reconnect_waits(first_s: float, cap_s: float) -> Backoff:
    """Give the waits between a publisher's connections to one broker, bounded in seconds."""
    return Backoff(random.Random(), first_s, cap_s)  # noqa: S311 - jitter, not secrets


def _give_up_if_in_vain(exc: LinkDown, failures: int, tally: PushTally) -> None:
    if isinstance(exc, _Closed) and exc.is_about_retained:
        raise BrokerRefused(
            f"{exc}: it keeps no retained messages; devices there are served by `slotcast serve`,"
            " which answers what they ask for"
        ) from exc
    if isinstance(exc, _Closed) and exc.is_about_size and exc.size_bytes > tally.largest_bytes:
        raise BrokerRefused(f"{exc}; {_size_advice(exc, tally)}") from exc
    if failures < (_TRIES_WITHOUT_PROGRESS if tally.protocol else _TRIES_AT_FIRST):
        return
    if isinstance(exc, _Closed) and exc.size_bytes > tally.largest_bytes:
        raise BrokerRefused(f"{exc}, {failures} times; {_size_advice(exc, tally)}") from exc
    there = f"{exc}; {tally.done_bytes} of {tally.total_bytes} bytes are there:"
    if not tally.protocol:  # it was never reached, so its room has nothing to do with it
        raise LinkDown(
            f"{there} check the address, and that the broker runs and is reached from here, then"
            " run it again"
        ) from exc
    raise LinkDown(
        f"{there} run it again to send the rest. Where it ends at the same place each time, the"
        " broker's room for retained messages may be used up"
    ) from exc


class _Closed(LinkDown):
    """The connection was closed while messages were on their way."""

    def __init__(self, name: str, why: str, largest: Item) -> None:
        super().__init__(
            f"{name}: closed the connection ({why}) at a message of {largest.size_bytes} bytes"
        )
        self.topic = largest.topic
        self.size_bytes = largest.size_bytes
        self.is_about_size = why in _ABOUT_SIZE
        self.is_about_retained = why == _ABOUT_RETAINED


def _size_advice(exc: _Closed, tally: PushTally) -> str:
    """Say what is most likely wrong, and who can do what."""
    taken = (
        f"it took messages of up to {tally.largest_bytes} bytes"
        if tally.largest_bytes
        else "it took no message yet"
    )
    return (
        f"{taken}. Most likely its limit for the size of a message is lower: raise it (Mosquitto:"
        " max_packet_size, message_size_limit; elsewhere the maximum packet or payload size), or"
        f" {smaller_advice(exc.topic)}. It may also close for want of rights:"
        " `slotcast check` finds out which"
    )


def smaller_advice(topic: str) -> str:
    """Say how the messages of a topic are made smaller."""
    if topic.endswith("/notice"):
        return "offer fewer payloads and groups: a notice cannot be cut"
    if "/map/" in topic:
        return (
            "set a larger chunk_size_bytes in slotcast.toml, which makes the list of chunks"
            " shorter, and release again (`--same-as`) under a new version"
        )
    return (
        "set a smaller chunk_size_bytes in slotcast.toml and release again (`--same-as`) under a"
        " new version"
    )


def _send(
    channel: Channel, todo: deque[Item], tally: PushTally, progress: Callable[[PushTally], None]
) -> None:
    """Send one stage; what was on its way when the link went stays in `todo`."""
    in_flight: dict[int, Item] = {}
    try:
        while todo or in_flight:
            while todo and len(in_flight) < channel.window:
                try:
                    mid = _publish(channel, todo[0])
                except LinkDown:
                    if not in_flight:
                        raise
                    break  # the event that comes says why, and at which of those under way
                in_flight[mid] = todo.popleft()  # only now: a failed publish leaves it in `todo`
            _settle(channel, in_flight, tally)
            progress(tally)
    finally:
        todo.extendleft(reversed(in_flight.values()))


def _publish(channel: Channel, item: Item) -> int:
    try:
        return channel.publish(item.topic, item.read())
    except PacketTooLarge as exc:
        raise BrokerRefused(
            f"{exc}: raise the broker's limit, or {smaller_advice(item.topic)}"
        ) from exc


def _settle(channel: Channel, in_flight: dict[int, Item], tally: PushTally) -> None:
    """Wait for one event, and take what it says into account."""
    match channel.next_event(_SILENCE_MAX_S):
        case None:
            raise LinkDown(f"{channel.name}: no answer in {_SILENCE_MAX_S:.0f} s")
        case Lost(why=why) if in_flight:
            largest = max(in_flight.values(), key=lambda item: item.size_bytes)
            raise _Closed(channel.name, why, largest)
        case Lost(why=why):
            raise LinkDown(f"{channel.name}: {why}")
        case Acked(mid=mid, refused=str(why)) if mid in in_flight:
            raise BrokerRefused(f"{channel.name}: refused {in_flight[mid].topic}: {why}")
        case Acked(mid=mid) if mid in in_flight:
            item = in_flight.pop(mid)
            tally.sent += 1
            tally.sent_bytes += item.size_bytes
            tally.largest_bytes = max(tally.largest_bytes, item.size_bytes)
            if item.journal is not None:
                item.journal.add(item.number)
        case _:
            pass
