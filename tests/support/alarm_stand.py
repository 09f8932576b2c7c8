"""Watches for alarms over a fleet's database, with what they log, at a time of the test's own."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import select, update

from slotcast_publisher.alarm_settings import AlarmSettings
from slotcast_publisher.fleet.alarms.watch import Sources, Watch
from slotcast_publisher.fleet.alarms.webhook import Poster
from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.repository import Repository
from slotcast_publisher.serve.broker_health import BrokerHealth

NOW_S: Final = 1_800_000_000.0
"""The time at which these stories begin."""
DAY_S: Final = 86_400


class AlarmStand:
    """A database, a log, and watches over it."""

    def __init__(self, database: Database, repo: Repository) -> None:
        self.database = database
        self.health = BrokerHealth()
        self.lines: list[dict[str, Any]] = []
        self.heard_since_s: float | None = NOW_S - DAY_S
        self.repo = repo

    def say(self, event: str, **fields: Any) -> None:
        self.lines.append({"event": event, **fields})

    def watch(self, poster: Poster | None = None, **settings: Any) -> Watch:
        sources = Sources(self.repo, (), self.health, lambda: self.heard_since_s)
        # What the repository of these tests has signed ended long before this story.
        off = ("signature_expiring", *settings.pop("off", ()))
        return Watch(self.database, sources, AlarmSettings(off=off, **settings), self.say, poster)

    def devices(self, count: int, **fields: Any) -> None:
        row = {"seen_s": int(NOW_S) - 2 * DAY_S, "clock": "ok", "software": "1.0"}
        row |= {"disk_free_bytes": 10**12, **fields}
        with self.database.transaction() as connection:
            rows = [{"id": f"cam-{number}", **row} for number in range(count)]
            connection.execute(tables.devices.insert(), rows)

    def change(self, **fields: Any) -> None:
        with self.database.transaction() as connection:
            connection.execute(update(tables.devices).values(**fields))

    def alarms(self) -> list[dict[str, Any]]:
        with self.database.reading() as connection:
            return [dict(row) for row in connection.execute(select(tables.alarms)).mappings()]

    def told(self) -> list[tuple[str, str]]:
        return [(line["event"], line["kind"]) for line in self.lines]


def look_again(watch: Watch, start_s: float, until_s: float) -> None:
    """Look every 15 seconds, as `serve` does.

    Args:
        watch: that looks.
        start_s: when it looks first.
        until_s: when it has looked last.
    """
    at_s = start_s
    while at_s <= until_s:
        watch.look(at_s)
        at_s += 15
