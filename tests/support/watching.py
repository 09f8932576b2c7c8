"""`slotcast serve` with the fleet, in a thread of this process, and many devices by one client.

with crowd(broker.url) as devices, watching(publisher.path) as watched:
    devices.say(TOPICS, message, retain=True)
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import Table, select

from slotcast_publisher.fleet.database.database import Database, open_database
from slotcast_publisher.fleet.fleet_service import Fleet, open_fleet
from slotcast_publisher.fleet.intake.intake import IntakeBounds
from slotcast_publisher.repository import Repository
from slotcast_schemas import wire
from slotcast_schemas.messages import Metrics, Presence, Status
from slotcast_schemas.topics import Topics
from tests.support.serving import Served, serving
from tests.support.waiting import WAIT_S, wait_until


class Watched:
    """A fleet that is watched, and its database to look into.

    Attributes:
        fleet: what is handed what devices say.
        served: the log of `serve`.
        database: another connection to what it writes.
    """

    def __init__(self, fleet: Fleet, served: Served, database: Database) -> None:
        self.fleet = fleet
        self.served = served
        self.database = database

    def rows(self, table: Table) -> list[dict[str, Any]]:
        """Give all rows of a table."""
        with self.database.reading() as connection:
            return [dict(row) for row in connection.execute(select(table)).mappings()]

    def wait_for_taken(self, count: int) -> None:
        """Wait until so many messages were written or dropped; one that was read first is both.

        Raises:
            AssertionError: they never were; it says what was, and what `serve` logged.
        """
        intake = self.fleet.intake
        try:
            wait_until(lambda: intake.taken + intake.dropped.total() >= count, f"{count} messages")
        except AssertionError as exc:
            raise AssertionError(
                f"{exc}; {intake.taken} were written, {intake.dropped} dropped;"
                f" the log: {self.served.lines}"
            ) from exc


@contextlib.contextmanager
def watching(
    repo: Path, database: str | None = None, bounds: IntakeBounds | None = None
) -> Iterator[Watched]:
    """Serve a repository and watch its fleet for the length of a block.

    Args:
        repo: the repository's folder.
        database: URL of the fleet's database; `fleet.db` in the folder unless given.
        bounds: how much the intake holds; the usual unless given.
    """
    served = Served()
    repository = Repository(repo)
    where = database or repo / "fleet.db"
    brokers = repository.settings.brokers
    with (
        open_fleet(repository, database, brokers, served.say, bounds=bounds) as fleet,
        open_database(where) as other,
        serving(repo, companion=fleet, served=served),
    ):
        served.wait_for("listening", count=len(brokers))
        yield Watched(fleet, served, other)


class Crowd:
    """One MQTT client that speaks for many devices."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._ready = threading.Event()
        self._mqtt = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._mqtt.on_connect = lambda *_: self._ready.set()
        self._mqtt.connect(parts.hostname or "", parts.port or 1883)
        self._mqtt.loop_start()

    def say(self, topics: Topics, *messages: Status | Metrics | Presence) -> None:
        """Say messages as their devices would; returns when the broker has them."""
        assert self._ready.wait(WAIT_S)
        said = [
            self._mqtt.publish(
                topics.device(message.device, message.KIND),
                wire.encode(message),
                qos=1,
                retain=message.KIND != "metrics",
            )
            for message in messages
        ]
        for one in said:
            one.wait_for_publish(WAIT_S)

    def put(self, topic: str, data: bytes) -> None:
        """Publish anything; returns when the broker has it."""
        assert self._ready.wait(WAIT_S)
        self._mqtt.publish(topic, data, qos=1).wait_for_publish(WAIT_S)

    def close(self) -> None:
        """Go."""
        self._mqtt.disconnect()
        self._mqtt.loop_stop()


@contextlib.contextmanager
def crowd(url: str) -> Iterator[Crowd]:
    """Speak for many devices at a broker for the length of a block."""
    found = Crowd(url)
    try:
        yield found
    finally:
        found.close()
