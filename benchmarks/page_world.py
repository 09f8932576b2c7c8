"""What `page` looks at: a repository, a large fleet, rollouts, and persons who look after it.

The rows are those that the intake and whoever drives rollouts write. One rollout is under way: the
real engine drives it, which looks at all devices. Those that have ended are as that one was seen.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg

from benchmarks.report import Options
from slotcast_publisher.fleet.access.audit import Actor
from slotcast_publisher.fleet.access.roles import Permission, Role
from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.fleet.database.figures_blob import pack_summary
from slotcast_publisher.fleet.database.rollouts import put_rollout, put_view
from slotcast_publisher.fleet.rollout.record import RolloutRecord
from slotcast_publisher.fleet.rollout.state_table import RolloutState
from slotcast_publisher.fleet.steering import requests
from slotcast_publisher.fleet.steering.assembly import build_for_one_turn
from slotcast_publisher.fleet.steering.rollout_files import RolloutFiles
from slotcast_publisher.fleet.steering.saved_views import saved_view
from slotcast_publisher.repository import Repository
from slotcast_schemas.messages.metrics import Summary
from tests.support import large_fleet, models
from tests.support.fleet import Publisher
from tests.support.large_fleet import MODEL, NEW, ROLLOUT, device_id, write
from tests.support.page import RunningPage, running_page

RELEASES: Final = NEW[1]
"""So many releases of the model there are: 1.0 to the one that is rolled out."""
ENDED: Final = 60
"""So many rollouts have ended."""
CLOSELY: Final = device_id(51)
"""The device whose figures are there minute by minute: it is looked at closely."""
DAYS: Final = 3
"""Of so many days; then the hours of a month."""
CHANGES: Final = 3
"""So many changes of each device the history has."""
_DAY_S: Final = 86_400
_BY: Final = Actor("bench", "command")
_PERSONS: Final = 40
_AUDITED: Final = 20_000
_PLAN: Final = """
model = "{model}"
version = "{version}"
name = "{name}"
listen_s = 1
[[groups]]
name = "canary"
percent = 5
[[groups]]
name = "everyone"
"""


class Clock:
    """Seconds that only grow, and leap ahead when told: then no shared answer counts any more."""

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def __call__(self) -> float:
        """Give them."""
        return time.monotonic() + self._ahead_s

    def leap(self) -> None:
        """Go on by an hour."""
        self._ahead_s += 3_600.0


@dataclass(frozen=True, slots=True)
class World:
    """A page of a large fleet.

    Attributes:
        page: that answers; its time of day stands still.
        clock: by which it shares answers.
        url: of the database; None for the repository's own.
        count: of devices.
        now_s: what the page takes the time to be.
        look_s: what a look of whoever drives the rollout took, in seconds of the processor.
    """

    page: RunningPage
    clock: Clock
    url: str | None
    count: int
    now_s: int
    look_s: float

    @property
    def path(self) -> Path:
        """The repository's folder."""
        return self.page.context.repo.path

    @property
    def database(self) -> Database:
        """The fleet's database."""
        return self.page.database


def make_repository(path: Path) -> None:
    """Make a repository with some releases of the model."""
    publisher = Publisher.make(path)
    for number in range(1, RELEASES + 1):
        file = models.classifier(number)
        publisher.release(MODEL, f"{number}.0", {"model.onnx": file})


@contextmanager
def page_world(options: Options, repo: Path, url: str | None, count: int) -> Iterator[World]:
    """Fill a database, and run a page of it for the length of a block.

    Args:
        options: says how far it is.
        repo: of `make_repository`; nobody else uses it.
        url: of an empty database; None for the repository's own.
        count: how many devices.
    """
    clock, now_s = Clock(), int(time.time())
    with running_page(repo, url, now_s=lambda: float(now_s), clock=clock) as page:
        options.say(f"writing {count:,} devices")
        _fill(page.database, count, now_s)
        _add_persons(page)
        options.say("driving the rollout: a look at all devices")
        look_s = _drive(page, now_s)
        _add_ended(page, now_s)
        _settle(url)
        yield World(page, clock, url, count, now_s, look_s)


# --- devices ------------------------------------------------------------------------------------


def _fill(database: Database, count: int, now_s: int) -> None:
    large_fleet.fill(database, count, now_s=now_s)
    write(database, tables.history, _changes(count, now_s))
    write(database, tables.metrics, _summaries(count, now_s))
    write(database, tables.metrics_hours, _hours(now_s))


def _changes(count: int, now_s: int) -> Iterator[dict[str, Any]]:
    for number in range(count * (CHANGES - 1)):
        at_s = now_s - 90 * _DAY_S + number
        yield {
            "at_s": at_s,
            "device_at_s": at_s,
            "device": device_id(number % count),
            "model": MODEL,
            "state": "COMMITTED",
            "reason": "committed",
            "version": "6.0",
            "sequence": 6,
            "target_version": "6.0",
            "target_sequence": 6,
            "deployment": "detector-6.0",
        }


def _summaries(count: int, now_s: int) -> Iterator[dict[str, Any]]:
    """Give the last summary of each device, and each minute of the one that is looked at."""
    figures = pack_summary(_summary(now_s))
    for number in range(count):
        yield _summary_row(device_id(number), 10**6, now_s - number % 600, figures)
    for minute in range(DAYS * 1_440):
        yield _summary_row(CLOSELY, minute, now_s - 60 * minute, figures)


def _summary_row(device: str, counter: int, at_s: int, figures: bytes) -> dict[str, Any]:
    return {
        "device": device,
        "counter": counter,
        "number": 0,
        "model": MODEL,
        "version": "6.0",
        "sequence": 6,
        "heard_s": at_s,
        "start_s": at_s - 60,
        "end_s": at_s,
        "requests": 600,
        "figures": figures,
        "is_folded": True,
    }


def _hours(now_s: int) -> Iterator[dict[str, Any]]:
    figures = pack_summary(_summary(now_s))
    for hour in range(30 * 24):
        hour_s = (now_s // 3_600 - hour) * 3_600
        place = {"device": CLOSELY, "model": MODEL, "sequence": 6, "hour_s": hour_s}
        yield place | {"requests": 36_000, "errors": 0, "figures": figures}


def _summary(now_s: int) -> Summary:
    return msgspec.structs.replace(large_fleet.summary(), start=now_s - 60, end=now_s)


# --- persons, and what they did -------------------------------------------------------------------


def _add_persons(page: RunningPage) -> None:
    context, now_s = page.context, int(page.context.now_s())
    for number in range(_PERSONS):
        context.users.add(f"person-{number}", Role.VIEWER, _BY)
        context.tokens.make(f"program-{number}", frozenset({Permission.SEE}), 30, _BY)
    write(page.database, tables.audit, (_audited(now_s, number) for number in range(_AUDITED)))
    write(page.database, tables.notes, (_note(now_s, number) for number in range(40)))
    write(page.database, tables.alarms, (_alarm(now_s, number) for number in range(300)))


def _audited(now_s: int, number: int) -> dict[str, Any]:
    at_s = now_s - 60 * (_AUDITED - number)
    who = {"who": "person-1", "how": "session", "address": "192.0.2.7"}
    did = {"action": "rollout.pause", "subject": ROLLOUT, "before": "", "after": '{"why": "look"}'}
    return {"at_s": at_s} | who | did


def _note(now_s: int, number: int) -> dict[str, Any]:
    about = ("device", CLOSELY) if number % 2 else ("release", f"{MODEL} {NEW[0]}")
    told = {"who": "person-1", "text": "Looked at it: the lens was dirty."}
    return {"at_s": now_s - number, "kind": about[0], "subject": about[1]} | told


def _alarm(now_s: int, number: int) -> dict[str, Any]:
    """Give an alarm: five stand, the others are over."""
    at_s = float(now_s - 1_000 * (number + 1))
    return {
        "kind": "device_silent",
        "subject": device_id(number),
        "raised_s": at_s,
        "updated_s": at_s,
        "cleared_s": None if number < 5 else at_s + 500,
        "text": "not heard for an hour",
        "count": 1,
        "subjects": f'["{device_id(number)}"]',
    }


# --- rollouts -------------------------------------------------------------------------------------


def _drive(page: RunningPage, now_s: int) -> float:
    """Start the rollout, and drive it until it is under way; gives what the last look took."""
    context = page.context
    plan = _PLAN.format(model=MODEL, version=NEW[0], name=ROLLOUT).encode()
    requests.start(context.files, plan, "plan.toml", "olga")
    repo = Repository(context.repo.path)
    steering = build_for_one_turn(repo, context.database, (), lambda *_, **__: None)
    try:
        for number in range(2):  # the first takes the request to start it
            began_s = time.process_time()
            steering.attend(ROLLOUT, now_s + number)
            took_s = time.process_time() - began_s
    finally:
        steering.close()
    write(context.database, tables.rollout_log, (_line(now_s, number) for number in range(2_000)))
    return took_s


def _line(now_s: int, number: int) -> dict[str, Any]:
    at_s = now_s - 2_000 + number
    about = {"model": MODEL, "rollout": ROLLOUT, "group_name": "canary"}
    return {"at_s": at_s, "word": "group_step", "text": f"step {number}", "who": ""} | about


def _add_ended(page: RunningPage, now_s: int) -> None:
    """Write rollouts that have ended, seen as the one that was driven."""
    context = page.context
    with context.database.reading() as connection:
        seen = saved_view(connection, ROLLOUT)
    if seen is None:
        raise RuntimeError(f"nobody kept what was seen of {ROLLOUT}")
    for number in range(ENDED):
        name = f"{MODEL}-6.0.{number}"
        record = end_rollout(context.files, name)
        view = msgspec.structs.replace(seen.view, name=name, state=RolloutState.FINISHED)
        data = msgspec.json.encode(record).decode()
        at_s = now_s - _DAY_S * number
        with context.database.transaction() as connection:
            put_rollout(connection, MODEL, name, RolloutState.FINISHED, data, at_s)
            put_view(connection, MODEL, name, msgspec.json.encode(view), now_s)


def end_rollout(files: RolloutFiles, name: str) -> RolloutRecord:
    """Write a rollout that has ended; gives its record."""
    plan = _PLAN.format(model=MODEL, version="6.0", name=name).encode()
    _, asked, _ = requests.start(files, plan, "plan.toml", "olga")
    files.answer(name, requests.answered(asked, None, asked.at_s))
    record = msgspec.structs.replace(files.load(name).record, state=RolloutState.FINISHED)
    files.save_record(record)
    return record


def _settle(url: str | None) -> None:
    """Do what PostgreSQL does by itself within minutes: so runs can be compared."""
    if url is not None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
