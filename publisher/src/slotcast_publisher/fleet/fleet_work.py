"""What works with one database of the fleet: the intake, and parts that look at what it wrote.

Each part looks by itself, in a thread of its own: none waits for another.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.fleet.intake.intake import Intake
from slotcast_publisher.serve.log import Say
from slotcast_schemas.errors import SlotcastError


class FleetPart(Protocol):
    """What looks at the fleet, again and again.

    Attributes:
        name: of its thread, and in the log.
        every_s: the seconds between the end of a look and the next.
    """

    @property
    def name(self) -> str:
        """Give the name."""

    @property
    def every_s(self) -> float:
        """Give the seconds between two looks."""

    def look(self, now_s: float) -> None:
        """Look, and do what there is to do.

        Args:
            now_s: the clock of this machine, in seconds since 1970.

        Raises:
            SlotcastError: it cannot be done now; it is said once, and the next look tries again.
        """

    def close(self) -> None:
        """Let go of what is held; no look follows."""


class FleetWork:
    """All that works with one database, from its opening to its end.

    Args:
        database: open; closed with this.
        intake: writes what devices say.
        parts: look at what was written.
        say: the log.

    Attributes:
        database: as given.
        intake: as given.
    """

    def __init__(
        self, database: Database, intake: Intake, parts: Sequence[FleetPart], say: Say
    ) -> None:
        self.database = database
        self.intake = intake
        self._parts = parts
        self._say = say

    @property
    def share(self) -> str:
        """The group of several `serve` that divide the work: those that can share a database."""
        return "" if self.database.is_sqlite else f"slotcast-{self.database.id}"

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then write down what was taken.

        Raises:
            BaseException: what ended a part that was not expected to end.
        """
        failures: list[BaseException] = []
        jobs = [("intake", self.intake.run)]
        jobs += [(part.name, _Looks(part, self._say).run) for part in self._parts]
        threads = [
            threading.Thread(target=guarded, args=(work, stop, failures), name=name, daemon=True)
            for name, work in jobs
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for part in self._parts:
            with contextlib.suppress(SlotcastError):  # a lease that cannot be let go ends by itself
                part.close()
        if failures:
            raise failures[0]

    def close(self) -> None:
        """Close the database; nothing works any more."""
        self.database.close()


class _Looks:
    """Has a part look, and says once what it cannot do."""

    def __init__(self, part: FleetPart, say: Say) -> None:
        self._part = part
        self._say = say
        self._said = ""

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self._part.look(time.time())
                self._said = ""
            except SlotcastError as exc:
                problem = f"{self._part.name}: {exc}"
                if problem != self._said:
                    self._say("error", reason=exc.reason, detail=problem)
                self._said = problem
            stop.wait(self._part.every_s)


def guarded(
    work: Callable[[threading.Event], None],
    stop: threading.Event,
    failures: list[BaseException],
) -> None:
    """Work; what ends it is handed over, and stops the others.

    Args:
        work: ends when the event is set that it is given.
        stop: is set where it fails.
        failures: take what it raised.
    """
    try:
        work(stop)
    except BaseException as exc:  # noqa: BLE001 - handed to the thread that waits
        failures.append(exc)
        stop.set()
