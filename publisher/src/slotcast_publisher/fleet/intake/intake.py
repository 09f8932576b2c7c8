"""Takes what the listeners hear, and writes it in batches: a bounded queue and one thread.

Whoever hands a message over waits where the queue is full, which in the end stops the broker. Only
where nothing at all was written for many seconds is a message dropped, and counted: a database that
is slow loses none. A batch is read, decided and written in one
transaction, so that several processes may write the same devices; one that fails is kept, and
tried again until the database is back.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass

from slotcast_publisher.enrolment.known_keys import KnownKeys
from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.fleet.intake.batch import Batch
from slotcast_publisher.fleet.intake.messages import Drop, is_kept, read
from slotcast_publisher.fleet.intake.report_proof import prove
from slotcast_publisher.fleet.intake.taking import Came, is_looked_up, take_all
from slotcast_publisher.fleet.intake.writes import count_devices, read_records, write_batch
from slotcast_publisher.serve.companion import Heard
from slotcast_publisher.serve.log import Say
from slotcast_publisher.serve_settings import Reports
from slotcast_schemas.errors import StorageFailed
from slotcast_schemas.topics import Topics


@dataclass(frozen=True, slots=True)
class IntakeBounds:
    """How much is held, and how long.

    Attributes:
        waiting_max: messages that wait to be written.
        full_wait_s: how long one who hands a message over waits where there is no room. A broker
            takes us for gone after 45 s (keep alive of 30 s): well below that, and well above the
            seconds that a batch takes where a machine has more to do than it can.
        batch_max: messages that one transaction writes.
        batch_wait_s: how long a batch waits for more.
        devices_max: devices that are known; what others say is dropped.
        retry_s: the wait before a batch is tried again that could not be written.
        say_every_s: the seconds between two lines of the log about what was dropped.
    """

    waiting_max: int = 20_000
    full_wait_s: float = 20.0
    batch_max: int = 1_000
    batch_wait_s: float = 0.25
    devices_max: int = 1_000_000
    retry_s: float = 2.0
    say_every_s: float = 60.0


class Intake:
    """Writes what devices say.

    Args:
        database: where.
        topics: below the repository's prefix.
        say: the log.
        bounds: how much is held, and how long; the usual unless given.
        keys: of enrolled devices; None where there are none.
        reports: which reports are taken.

    Attributes:
        dropped: messages that changed nothing since the start, by the reason.
        taken: messages that were written, since the start.
        lost: messages that a broker keeps, of those that were dropped for want of room.
    """

    def __init__(
        self,
        database: Database,
        topics: Topics,
        say: Say,
        bounds: IntakeBounds | None = None,
        *,
        keys: KnownKeys | None = None,
        reports: Reports = "any",
    ) -> None:
        self._keys = keys
        self._reports = reports
        self.dropped: Counter[str] = Counter()
        self.taken = 0
        self.lost = 0
        self._database = database
        self._topics = topics
        self._say = say
        self._bounds = bounds or IntakeBounds()
        self._waiting: deque[Heard] = deque()
        self._changed = threading.Condition()
        self._is_shedding = False
        self._shed = 0
        self._devices: int | None = None
        self._is_failing = False
        self._said_s = time.monotonic()
        self._said_dropped = 0

    def take(self, heard: Heard) -> None:
        """Take a message; waits a while where there is no room, and then drops it."""
        with self._changed:
            if len(self._waiting) >= self._bounds.waiting_max:
                wait_s = 0.0 if self._is_shedding else self._bounds.full_wait_s
                has_room = self._changed.wait_for(
                    lambda: len(self._waiting) < self._bounds.waiting_max, wait_s
                )
                self._is_shedding = not has_room
                if not has_room:
                    self._shed += 1
                    self.lost += is_kept(heard, self._topics)
                    return
            self._waiting.append(heard)
            if len(self._waiting) in {1, self._bounds.batch_max}:
                self._changed.notify_all()

    def run(self, stop: threading.Event) -> None:
        """Write until `stop` is set, and then what is still there."""
        while not stop.is_set():
            self._write(self._gathered(stop), stop)
            self._say_dropped()
        while left := self._pop():
            self._write(left, stop)

    def _gathered(self, stop: threading.Event) -> list[Heard]:
        """Wait for a batch: full, or as old as a batch may get."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting), self._bounds.batch_wait_s)
            if self._waiting and not stop.is_set():
                self._changed.wait_for(
                    lambda: len(self._waiting) >= self._bounds.batch_max,
                    self._bounds.batch_wait_s,
                )
        return self._pop()

    def _pop(self) -> list[Heard]:
        with self._changed:
            count = min(len(self._waiting), self._bounds.batch_max)
            taken = [self._waiting.popleft() for _ in range(count)]
            if taken:
                self._is_shedding = False  # something is written: it pays to wait again
                self._changed.notify_all()
            return taken

    def _write(self, came: list[Heard], stop: threading.Event) -> None:
        """Write a batch, again and again until it is written, or this is to stop."""
        messages, dropped = self._read(came)
        while messages or dropped:
            try:
                batch = self._written(messages, dropped)
            except StorageFailed as exc:
                if not self._is_failing:
                    self._say(
                        "error",
                        reason=exc.reason,
                        detail=f"cannot write what devices say: {exc}",
                    )
                self._is_failing, self._devices = True, None
                if stop.wait(self._bounds.retry_s):
                    return
                continue
            self._is_failing = False
            self.dropped += batch.dropped
            self.taken += len(messages)
            return

    def _read(self, came: list[Heard]) -> tuple[list[Came], Counter[str]]:
        messages: list[Came] = []
        dropped: Counter[str] = Counter()
        if self._keys is not None:
            self._keys.look()
        for heard in came:
            found = read(heard, self._topics)
            if isinstance(found, Drop):
                dropped[found] += 1
            else:
                key = None if self._keys is None else self._keys.find(found.device)
                proof = prove(found, heard.data, key)
                messages.append(Came(found, heard, proof))
        with self._changed:
            shed, self._shed = self._shed, 0
        if shed:
            dropped[Drop.QUEUE_FULL] += shed
        return messages, dropped

    def _written(self, messages: list[Came], dropped: Counter[str]) -> Batch:
        with self._database.transaction() as connection:
            if self._devices is None:
                self._devices = count_devices(connection)
            room = self._bounds.devices_max - self._devices
            ids = {each.message.device for each in messages if is_looked_up(each, self._reports)}
            known = read_records(connection, ids, room)
            batch = take_all(messages, known, room, self._reports)
            batch.dropped += dropped
            write_batch(connection, batch)
        if any(record.is_new for record in batch.records.values()):
            self._devices = None  # to be counted again
        return batch

    def _say_dropped(self) -> None:
        now_s, total = time.monotonic(), self.dropped.total()
        if total == self._said_dropped or now_s - self._said_s < self._bounds.say_every_s:
            return
        self._said_s, self._said_dropped = now_s, total
        self._say("dropped", **dict(self.dropped))
