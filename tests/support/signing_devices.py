"""Devices that sign what they say, enrolled or not, and a fleet that takes it, without a broker."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Table, select

from slotcast_device.storage.identity import DeviceIdentity
from slotcast_publisher.enrolment.known_keys import KnownKeys
from slotcast_publisher.enrolment.registry import Registry
from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.database import Database, open_database
from slotcast_publisher.fleet.intake.intake import Intake
from slotcast_publisher.serve.companion import Heard
from slotcast_publisher.serve_settings import Reports
from slotcast_schemas import wire
from slotcast_schemas.enrolment import write_enrolment
from slotcast_schemas.messages import Presence
from slotcast_schemas.signed_report import Report, encode_report
from slotcast_schemas.topics import Topics

TOPICS: Final = Topics("t")
NOW_S: Final = 1_790_000_300.0


def new_key() -> DeviceIdentity:
    """Give a device's own key."""
    return DeviceIdentity(Ed25519PrivateKey.generate())


def enrol(repo: Path, device: str, key: DeviceIdentity, *, replaces: bool = False) -> None:
    """Enrol a device with a key."""
    request = write_enrolment(key.make_request(device))
    Registry(repo).enrol(request, "request", now_s=NOW_S, replaces=replaces)


class HearingFleet:
    """A fleet's intake and its database; each message is taken at once.

    Attributes:
        now_s: when messages come, by the fleet's clock.
        problems: what the log was told.
    """

    def __init__(self, repo: Path, database: Database, reports: Reports) -> None:
        self.repo = repo
        self.now_s = NOW_S
        self.problems: list[str] = []
        self._database = database
        keys = KnownKeys(Registry(repo), lambda problem: self.problems.append(str(problem)))
        self._intake = Intake(database, TOPICS, self._say, keys=keys, reports=reports)

    def _say(self, event: str, **fields: Any) -> None:
        self.problems.append(f"{event} {fields}")

    def hear(self, topic: str, data: bytes, *, retained: bool = False) -> str | None:
        """Take bytes; gives the word for why they changed nothing, or None."""
        before = self._intake.dropped.copy()
        self._intake.take(Heard(topic, data, retained, self.now_s, "broker"))
        over = threading.Event()
        over.set()
        self._intake.run(over)
        return next(iter(self._intake.dropped - before), None)

    def says(
        self, report: Report | Presence, key: DeviceIdentity | None = None, **how: Any
    ) -> str | None:
        """Take what a device says, signed by a key or not."""
        self.now_s += 1
        topic = TOPICS.device(report.device, report.KIND)
        if isinstance(report, Presence):
            return self.hear(topic, wire.encode(report), **how)
        return self.hear(topic, encode_report(report, key), **how)

    def rows(self, table: Table) -> list[Mapping[str, Any]]:
        """Give the rows of a table."""
        with self._database.reading() as connection:
            found = connection.execute(select(table)).mappings()
            return [{str(key): value for key, value in row.items()} for row in found]

    def device(self, device: str = "cam-1") -> Mapping[str, Any]:
        """Give the row of a device."""
        return next(row for row in self.rows(tables.devices) if row["id"] == device)

    def states(self) -> dict[tuple[str, str], str]:
        """Give what is believed of each model of each device."""
        rows = self.rows(tables.device_models)
        return {(row["device"], row["model"]): row["state"] for row in rows}


@contextmanager
def hearing_fleet(repo: Path, reports: Reports = "any") -> Iterator[HearingFleet]:
    """Give a fleet whose registry and database lie in a folder."""
    repo.mkdir(exist_ok=True)
    with open_database(repo / "fleet.db") as database:
        yield HearingFleet(repo, database, reports)
