"""What one `slotcast serve`, or two, take in of a fleet, through a real Mosquitto into a database.

A sender publishes statuses and metrics of 10,000 devices and counts what the broker acknowledged;
what is in the database at the end is counted beside it. Then an hour of 10,000 devices, as fast as
it goes, without a broker.
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import func, select

from benchmarks import fleet_push, fleet_signed, fleet_year
from benchmarks.fleet_messages import WINDOW_S, said_in_a_minute
from benchmarks.fleet_sender import write_file
from benchmarks.processor import cpu_s, server_cpu_s
from benchmarks.report import CannotRun, Figure, Options
from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.database import Database, open_database
from slotcast_publisher.fleet.intake.intake import Intake, IntakeBounds
from slotcast_publisher.repository import Repository
from slotcast_publisher.serve.companion import Heard
from slotcast_publisher.settings import Broker, Settings
from slotcast_schemas.topics import Topics
from tests.support.brokers import mosquitto
from tests.support.engine import BrokerUnavailable
from tests.support.postgresql import PostgresqlUnavailable, postgresql

DEVICES: Final = 10_000
QUICK_DEVICES: Final = 1_000
MINUTES: Final = 3
"""So many statuses and metrics of each device go through the broker."""
HOUR: Final = 60
QUICK_HOUR: Final = 6
SQLITE_LIMIT: Final = 2_000
POSTGRESQL_LIMIT: Final = 5_000
ROOM: Final = 1.25
"""The sender is faster than the limit by so much: a queue that grows would be seen to."""
_WAIT_S: Final = 300.0
_LOOK_S: Final = 0.25


def run(options: Options) -> list[Figure]:
    """Measure messages a second into SQLite and PostgreSQL, an hour and a year, and one push.

    `--only REGEX` takes some of `sqlite`, `postgresql`, `hour`, `signed`, `year` and `push`.
    """
    parts: dict[str, Callable[[Options], list[Figure]]] = {
        "sqlite": _into_sqlite,
        "postgresql": _into_postgresql,
        "hour": _an_hour,
        "signed": fleet_signed.run,
        "year": fleet_year.run,
        "push": fleet_push.run,
    }
    chosen = [part for name, part in parts.items() if re.search(options.only, name)]
    if not chosen:
        raise CannotRun(f"expected --only to take some of {', '.join(parts)}")
    return [figure for part in chosen for figure in part(options)]


def _into_sqlite(options: Options) -> list[Figure]:
    with _broker() as address:
        return _through_broker(options, "SQLite", address, [], SQLITE_LIMIT, serves=1)


def _into_postgresql(options: Options) -> list[Figure]:
    try:
        with _broker() as address, postgresql() as url:
            return _through_broker(
                options, "PostgreSQL", address, [url], POSTGRESQL_LIMIT, serves=2
            )
    except PostgresqlUnavailable as exc:
        raise CannotRun(str(exc)) from exc


@contextmanager
def _broker() -> Iterator[tuple[str, int]]:
    """Run a broker for the length of a block; gives its address."""
    try:
        with mosquitto(extra=["max_inflight_messages 0", "max_queued_messages 200000"]) as broker:
            yield broker.host, broker.port
    except BrokerUnavailable as exc:
        raise CannotRun(str(exc)) from exc


# --- through a broker ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Counted:
    """What is in a database: rows, and messages that changed nothing."""

    metrics: int
    devices: int
    last: int
    dropped: dict[str, int]


def _through_broker(
    options: Options,
    kind: str,
    address: tuple[str, int],
    database: Sequence[str],
    limit: float,
    *,
    serves: int,
) -> list[Figure]:
    devices = QUICK_DEVICES if options.quick else DEVICES
    folder = options.work / kind
    folder.mkdir()
    host, port = address
    url = f"mqtt://{host}:{port}"
    repository = folder / "repo"
    Repository.init(repository, Settings(prefix=kind.lower(), brokers=(Broker(url=url),)))
    topics = Repository(repository).topics
    file = folder / "messages"
    start_s = int(time.time())
    options.say(f"{kind}: {serves} serve, {devices} devices")
    sent = write_file(
        file,
        (
            message
            for minute in range(MINUTES)
            for message in said_in_a_minute(topics, devices, minute, start_s)
        ),
    )
    where = database[0] if database else repository / "fleet.db"
    with ExitStack() as stack:
        running = [
            stack.enter_context(_serving(repository, database, folder / f"log-{number}"))
            for number in range(serves)
        ]
        opened = stack.enter_context(open_database(where))
        began_s, began_cpu_s = time.monotonic(), sum(cpu_s(process.pid) for process in running)
        sender = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "benchmarks.fleet_sender",
                host,
                str(port),
                str(file),
                str(limit * ROOM),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        found = _wait_for(opened, devices)
        took_s = time.monotonic() - began_s
        said = json.loads(sender.communicate()[0])
        serve_s = sum(cpu_s(process.pid) for process in running) - began_cpu_s
        server_s = server_cpu_s(opened)
    lost = (sent // 2 - found.metrics) + (devices - found.last)
    note = f"{sent} messages in {took_s:.1f} s; sent within {said['seconds']:.1f} s"
    dropped = sum(found.dropped.values())
    why = ", ".join(f"{count} {reason}" for reason, count in sorted(found.dropped.items()))
    name = f"into {kind}, {serves} serve"
    return [
        Figure(name, sent / took_s, "messages/s", limit, ">=", note=note),
        Figure(f"{name}: acknowledged to the sender", said["acknowledged"], "messages", sent, "=="),
        Figure(
            f"{name}: metrics not in the database, devices not at their last status",
            lost,
            "",
            0,
            "==",
            note=f"{dropped} statuses were overtaken ({why})" if dropped else "",
        ),
        Figure(
            f"{name}: processor time",
            1e6 * (serve_s + server_s) / sent,
            "us/message",
            note=f"of it the database server {1e6 * server_s / sent:.0f}; without the broker",
        ),
    ]


@contextmanager
def _serving(repo: Path, database: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `slotcast serve` as a user does, and wait until it listens, and has looked."""
    word = '"sharing"' if database else '"listening"'
    named = [f"--database={url}" for url in database]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "slotcast_publisher", "serve", str(repo), "--json", *named],
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    try:
        deadline_s = time.monotonic() + _WAIT_S
        while word not in log.read_text():
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise CannotRun(f"serve does not listen: {log.read_text()[-500:]}")
            time.sleep(_LOOK_S)
        yield process
    finally:
        process.terminate()
        process.wait()


def _wait_for(database: Database, devices: int) -> _Counted:
    """Look until all has arrived, or nothing more comes."""
    before, since_s = None, time.monotonic()
    while True:
        found = _counted(database)
        if found.metrics == devices * MINUTES and found.last == devices:
            return found
        if found != before:
            before, since_s = found, time.monotonic()
        if time.monotonic() - since_s > _WAIT_S / 10:
            return found
        time.sleep(_LOOK_S)


def _counted(database: Database) -> _Counted:
    last = select(func.count()).where(tables.devices.c.counter == MINUTES)
    with database.reading() as connection:
        rows = connection.execute(select(tables.dropped.c.reason, tables.dropped.c.count))
        return _Counted(
            metrics=_count(connection, tables.metrics),
            devices=_count(connection, tables.devices),
            last=connection.execute(last).scalar_one(),
            dropped={str(reason): int(count) for reason, count in rows},
        )


def _count(connection: Any, table: Any) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


# --- an hour -------------------------------------------------------------------------------------


def _an_hour(options: Options) -> list[Figure]:
    """A status and metrics a minute of each device, as fast as they can be written."""
    devices = QUICK_DEVICES if options.quick else DEVICES
    minutes = QUICK_HOUR if options.quick else HOUR
    options.say(f"{minutes} minutes of {devices} devices")
    topics, start_s = Topics("hour"), int(time.time())
    bounds = IntakeBounds(batch_wait_s=0.0)
    took_s = 0.0
    path = options.work / "hour.db"
    stop = threading.Event()
    stop.set()
    with open_database(path) as database:
        intake = Intake(database, topics, lambda event, **_: options.say(event), bounds)
        for minute in range(minutes):
            said = list(said_in_a_minute(topics, devices, minute, start_s))
            at_s = float(start_s + (minute + 1) * WINDOW_S)
            began_s = time.monotonic()
            for topic, data in said:
                intake.take(Heard(topic, data, False, at_s, "broker"))
            intake.run(stop)  # writes what there is, and ends
            took_s += time.monotonic() - began_s
        dropped = intake.dropped.total()
    size = sum(file.stat().st_size for file in path.parent.glob("hour.db*"))
    messages = 2 * devices * minutes
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    name = f"{minutes} min of {devices} devices"
    return [
        Figure(f"{name}: time", took_s / (minutes * WINDOW_S), "of real time", 1.0, "<"),
        Figure(f"{name}: rate", messages / took_s, "messages/s", SQLITE_LIMIT, ">="),
        Figure(f"{name}: dropped", dropped, "messages", 0, "=="),
        Figure(f"{name}: database", size / 1e6, "MB", note="raw metrics, nothing summed up yet"),
        Figure(f"{name}: memory, with what makes the messages", peak_bytes / 1e6, "MB"),
    ]
