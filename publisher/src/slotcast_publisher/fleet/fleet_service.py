"""The fleet beside `slotcast serve`: what listens, rolls out and raises alarms, as one piece.

`slotcast serve` loads this module by its name where the extra is installed, and knows no more of it
than `serve.companion.Companion`. Each part looks at the database by itself, in a thread of its own:
none waits for another, and none of them keeps `serve` from answering devices.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from slotcast_publisher.enrolment.known_keys import KnownKeys
from slotcast_publisher.enrolment.registry import Registry
from slotcast_publisher.fleet.alarms.watch import Sources, make_watch
from slotcast_publisher.fleet.database.database import FILE_NAME, Database, open_database
from slotcast_publisher.fleet.database.upkeep import Upkeep
from slotcast_publisher.fleet.intake.intake import Intake, IntakeBounds
from slotcast_publisher.fleet.steering.assembly import build_steering
from slotcast_publisher.fleet.web.child import PageChild
from slotcast_publisher.repository import Repository
from slotcast_publisher.serve.broker_health import BrokerHealth
from slotcast_publisher.serve.companion import Heard
from slotcast_publisher.serve.log import Say
from slotcast_publisher.settings import Broker
from slotcast_schemas.errors import SlotcastError

_HEARD: Final = ("presence", "status", "metrics")
"""What is listened to. Presence comes first: it tells a device that lost its state from one whose
old statuses come late."""


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


class Ears:
    """Since when everything is heard that devices say; from any thread."""

    def __init__(self, brokers: int, now: Callable[[], float] = time.time) -> None:
        self._brokers = brokers
        self._now = now
        self._since_s: dict[str, float] = {}

    @property
    def since_s(self) -> float | None:
        """When the last of the brokers was heard; None while one of them is not."""
        found = list(self._since_s.values())
        return max(found) if found and len(found) >= self._brokers else None

    def opened(self, broker: str) -> None:
        """Take note that a broker is heard from now on."""
        self._since_s[broker] = self._now()

    def closed(self, broker: str) -> None:
        """Take note that a broker is not heard any more."""
        self._since_s.pop(broker, None)


class Fleet:
    """What `serve` hands what devices say to (`serve.companion.Companion`).

    Args:
        intake: writes it down.
        parts: look at what was written.
        filters: topic filters of what is listened to.
        share: the group among which the broker divides live messages; empty for none.
        ears: since when brokers are heard.
        say: the log.
    """

    def __init__(
        self,
        intake: Intake,
        parts: Sequence[FleetPart],
        filters: tuple[str, ...],
        share: str,
        ears: Ears,
        say: Say,
    ) -> None:
        self.intake = intake
        self.filters = filters
        self.share = share
        self._parts = parts
        self._ears = ears
        self._say = say

    @property
    def lost(self) -> int:
        """How many messages that a broker keeps were dropped because there was no room."""
        return self.intake.lost

    def take(self, message: Heard) -> None:
        """Take a message; may wait some seconds where too many came, and then drops it."""
        self.intake.take(message)

    def listening(self, broker: str) -> None:
        """Take note that from now on everything that is said at a broker is heard."""
        self._ears.opened(broker)

    def deaf(self, broker: str) -> None:
        """Take note that nothing is heard from a broker until `listening` is called again."""
        self._ears.closed(broker)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then write down what was taken.

        Raises:
            BaseException: what ended a part that was not expected to end.
        """
        failures: list[BaseException] = []
        jobs = [("intake", self.intake.run)]
        jobs += [(part.name, _Looks(part, self._say).run) for part in self._parts]
        threads = [
            threading.Thread(target=_guarded, args=(work, stop, failures), name=name, daemon=True)
            for name, work in jobs
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for part in self._parts:
            part.close()
        if failures:
            raise failures[0]


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


def _guarded(
    work: Callable[[threading.Event], None],
    stop: threading.Event,
    failures: list[BaseException],
) -> None:
    try:
        work(stop)
    except BaseException as exc:  # noqa: BLE001 - handed to the thread that waits
        failures.append(exc)
        stop.set()


@contextmanager
def open_fleet(
    repo: Repository,
    database: str | None,
    brokers: Sequence[Broker],
    say: Say,
    *,
    bounds: IntakeBounds | None = None,
    workers: int | None = None,
    health: BrokerHealth | None = None,
    listen: str | None = None,
) -> Iterator[Fleet]:
    """Open the fleet of a repository for the length of a block.

    Args:
        repo: the repository.
        database: URL of its database; None for `fleet.db` in the repository's folder.
        brokers: that are listened at, and that hear of rollouts.
        say: the log.
        bounds: how much the intake holds; the usual unless given.
        workers: processes that make deltas; as many as the machine allows unless given.
        health: how the brokers stand, as `serve` finds them.
        listen: HOST:PORT of the page; None for no page.

    Raises:
        UsageError: a URL or an address that is none, or a driver that is not installed.
        StorageFailed: the database cannot be opened, or is of a newer version.
    """
    with open_database(database or repo.path / FILE_NAME) as opened:
        ears = Ears(len(brokers))
        sources = Sources(repo, brokers, health or BrokerHealth(), lambda: ears.since_s)
        parts = _make_parts(opened, sources, say, workers)
        if listen is not None:
            parts.append(PageChild(repo.path, database, listen, say))
        intake = Intake(
            opened,
            repo.topics,
            say,
            bounds,
            keys=KnownKeys(Registry(repo.path), functools.partial(_say_problem, say)),
            reports=repo.settings.serve.reports,
        )
        yield Fleet(
            intake,
            parts,
            tuple(repo.topics.device("+", what) for what in _HEARD),
            _share(opened),
            ears,
            say,
        )


def _make_parts(
    database: Database, sources: Sources, say: Say, workers: int | None
) -> list[FleetPart]:
    """Give what looks at the fleet: each a thread of its own."""

    def hears() -> bool:
        return sources.heard_since_s() is not None

    repo, brokers = sources.repo, sources.brokers
    return [
        Upkeep(database, repo.settings.fleet),
        make_watch(database, sources, say),
        build_steering(repo, database, brokers, say, hears=hears, workers=workers),
    ]


def _say_problem(say: Say, problem: SlotcastError) -> None:
    say("error", reason=problem.reason, detail=str(problem))


def _share(database: Database) -> str:
    """Several `serve` divide the work where they can share a database: all but SQLite's."""
    return "" if database.is_sqlite else f"slotcast-{database.id}"
