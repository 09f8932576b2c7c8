"""The fleet beside `slotcast serve`: what listens, rolls out and raises alarms, as one piece.

`slotcast serve` loads this module by its name where the extra is installed, and knows no more of it
than `serve.companion.Companion`. What works with one database is `fleet_work`; nothing of it
keeps `serve` from answering devices.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from slotcast_publisher.enrolment.known_keys import KnownKeys
from slotcast_publisher.enrolment.registry import Registry
from slotcast_publisher.fleet.alarms.watch import Sources, make_watch
from slotcast_publisher.fleet.database.database import FILE_NAME, Database, open_database
from slotcast_publisher.fleet.database.upkeep import Upkeep
from slotcast_publisher.fleet.fleet_work import FleetPart, FleetWork, guarded
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
_LOOK_EVERY_S: Final = 1.0
"""The seconds between two looks at whether the database is still there."""
_GONE: Final = (
    "the file was deleted or replaced while it was in use: this goes on with what lies there now,"
    " or with a new one; what the old one knew of history, figures, users and tokens is not in it"
)


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

    def close_all(self) -> None:
        """Take note that what was heard is lost: all brokers have to be heard anew."""
        self._since_s.clear()


class Fleet:
    """What `serve` hands what devices say to (`serve.companion.Companion`).

    A database that is deleted or replaced meanwhile ends the work with it, and another one begins,
    as after a restart: brokers are asked once more for all that they keep.

    Args:
        begin: opens the database, and gives what works with it.
        filters: topic filters of what is listened to.
        ears: since when brokers are heard.
        say: the log.

    Attributes:
        filters: as given.

    Raises:
        UsageError: a URL that is none, or a driver that is not installed.
        StorageFailed: the database cannot be opened, or is of a newer version.
    """

    def __init__(
        self, begin: Callable[[], FleetWork], filters: tuple[str, ...], ears: Ears, say: Say
    ) -> None:
        self.filters = filters
        self._begin = begin
        self._ears = ears
        self._say = say
        self._said = ""
        self._generation = 0
        self._work = begin()

    @property
    def intake(self) -> Intake:
        """What writes into the present database."""
        return self._work.intake

    @property
    def share(self) -> str:
        """The group among which the broker divides live messages; empty for none."""
        return self._work.share

    @property
    def generation(self) -> int:
        """How many databases there were before this one."""
        return self._generation

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
        while (following := self._until_replaced(stop)) is not None:
            self._work.close()
            self._work = following
            self._ears.close_all()
            self._generation += 1  # after the rest: listeners begin anew by it
            self._say(
                "database_began",
                database=following.database.name,
                detail="asking brokers for what they keep; history and figures begin anew",
            )

    def close(self) -> None:
        """Close the database."""
        self._work.close()

    def _until_replaced(self, stop: threading.Event) -> FleetWork | None:
        """Work with one database; gives the work with the next, or None at the end.

        Raises:
            BaseException: what ended a part that was not expected to end.
        """
        ended, failures, following = threading.Event(), list[BaseException](), None
        thread = threading.Thread(
            target=guarded, args=(self._work.run, ended, failures), name="fleet", daemon=True
        )
        thread.start()
        while following is None and not ended.is_set() and not stop.wait(_LOOK_EVERY_S):
            if self._work.database.is_replaced:
                following = self._renewed()
        ended.set()
        thread.join()
        if failures:
            if following is not None:
                following.close()
            raise failures[0]
        return following

    def _renewed(self) -> FleetWork | None:
        """Open what lies there now; one that cannot be opened is said once, and tried again."""
        name = self._work.database.name
        if not self._said:
            self._say("database_gone", level="warning", database=name, detail=_GONE)
        try:
            self._work.database.make_way()
            found = self._begin()
        except SlotcastError as exc:
            if str(exc) != self._said:
                self._say("error", reason=exc.reason, detail=f"cannot go on with {name}: {exc}")
            self._said = str(exc)
            return None
        self._said = ""
        return found


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
    ears = Ears(len(brokers))
    sources = Sources(repo, brokers, health or BrokerHealth(), lambda: ears.since_s)

    def begin() -> FleetWork:
        opened = open_database(database or repo.path / FILE_NAME)
        parts = _make_parts(opened, sources, say, workers)
        if listen is not None:
            parts.append(PageChild(repo.path, database, listen, say))
        return FleetWork(opened, _make_intake(opened, repo, say, bounds), parts, say)

    filters = tuple(repo.topics.device("+", what) for what in _HEARD)
    with contextlib.closing(Fleet(begin, filters, ears, say)) as fleet:
        yield fleet


def _make_intake(
    database: Database, repo: Repository, say: Say, bounds: IntakeBounds | None
) -> Intake:
    """Give what writes what devices say."""
    return Intake(
        database,
        repo.topics,
        say,
        bounds,
        keys=KnownKeys(Registry(repo.path), functools.partial(_say_problem, say)),
        reports=repo.settings.serve.reports,
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
