"""The fleet's database as steering uses it (`ports.FleetView`), with the lease of one process."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
from sqlalchemy import Connection

from slotcast_publisher.fleet.database import lease
from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.fleet.database.rollouts import (
    LogLine,
    add_log,
    devices_of,
    log_of,
    put_rollout,
    saved_by_group,
    saved_bytes_of,
)
from slotcast_publisher.fleet.rollout.look_results import LogNote
from slotcast_publisher.fleet.rollout.observations import Device
from slotcast_publisher.fleet.rollout.plan import Plan
from slotcast_publisher.fleet.rollout.record import RolloutRecord
from slotcast_publisher.repository import Repository

LEASE: Final = "rollouts"
"""What the lease is for: all rollouts of the fleet."""
LEASE_S: Final = 10.0
"""The seconds for which a lease counts; so long does nothing move on after its holder was killed.
It is held on at each turn, of which there is one a second, and at each decision."""


def process_name() -> str:
    """Give a name that no other process has, not even one of the same number later."""
    return f"{socket.gethostname()[:60]}:{os.getpid()}:{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True)
class DatabaseDeciding:
    """One transaction in which the lease is held."""

    connection: Connection

    def save(self, plan: Plan, record: RolloutRecord, at_s: int) -> None:
        """Keep a record where the fleet's pages find it.

        Args:
            plan: of the rollout.
            record: where it stands.
            at_s: seconds since 1970.
        """
        data = msgspec.json.encode(record).decode()
        put_rollout(self.connection, plan.model, plan.name, record.state, data, at_s)

    def log(self, plan: Plan, note: LogNote, at_s: int, who: str = "") -> None:
        """Add a line to a rollout's log.

        Args:
            plan: of the rollout.
            note: the line.
            at_s: seconds since 1970.
            who: the person, where it was one.
        """
        line = LogLine(at_s, plan.model, plan.name, note.group, note.word, note.text, who)
        add_log(self.connection, line)


@dataclass(slots=True)
class DatabaseFleet:
    """The database of a fleet, for one process that may drive its rollouts.

    Attributes:
        database: open.
        holder: this process.
        lease_s: the seconds for which the lease counts.
    """

    database: Database
    holder: str = field(default_factory=process_name)
    lease_s: float = LEASE_S
    _term: int | None = None

    @property
    def knows_since_s(self) -> int:
        """When the database was made, in seconds since 1970."""
        return self.database.knows_since_s

    def devices(self, model: str) -> Sequence[Device]:
        """Give the devices of a model with their figures."""
        with self.database.reading() as connection:
            return devices_of(connection, model)

    def members(self, model: str) -> Sequence[Device]:
        """Give the devices of a model without their figures: many times as fast."""
        with self.database.reading() as connection:
            return devices_of(connection, model, with_figures=False)

    def saved_bytes(self, repo: Repository, plan: Plan) -> int:
        """Give what devices that took a plan's release did not have to fetch of it.

        Args:
            repo: the repository.
            plan: of the rollout.
        """
        if plan.version not in repo.store.versions(plan.model):
            return 0
        sequence = repo.store.folder(plan.model, plan.version).load().sequence
        with self.database.reading() as connection:
            return saved_bytes_of(connection, plan.model, sequence)

    def saved_by_group(self, repo: Repository, plan: Plan) -> dict[str, tuple[int, int]]:
        """Give, by group, how many devices took a plan's release, and what those saved.

        Args:
            repo: the repository.
            plan: of the rollout.
        """
        if plan.version not in repo.store.versions(plan.model):
            return {}
        sequence = repo.store.folder(plan.model, plan.version).load().sequence
        with self.database.reading() as connection:
            return saved_by_group(connection, plan.model, sequence)

    def log(self, rollout: str, count: int) -> Sequence[LogLine]:
        """Give the last lines of a rollout's log, the oldest of them first.

        Args:
            rollout: its name.
            count: how many.
        """
        with self.database.reading() as connection:
            return log_of(connection, rollout, count)

    def hold_lease(self, now_s: float) -> bool:
        """Take the lease, or hold it on; says whether this process has it."""
        with self.database.transaction() as connection:
            self._term = lease.hold(connection, LEASE, self.holder, now_s, self.lease_s)
        return self._term is not None

    def release_lease(self) -> None:
        """Let another process take the lease at once."""
        if self._term is not None:
            with self.database.transaction() as connection:
                lease.release(connection, LEASE, self.holder, self._term)
            self._term = None

    @contextlib.contextmanager
    def deciding(self, now_s: float) -> Iterator[DatabaseDeciding]:
        """Open a transaction in which this process is known to hold the lease.

        Raises:
            LeaseLost: another process has it, or nobody.
        """
        with self.database.transaction() as connection:
            self._hold_on(connection, now_s)
            yield DatabaseDeciding(connection)

    def _hold_on(self, connection: Connection, now_s: float) -> None:
        """Hold the lease on, also past its end if nobody has had it since: a look may take long.

        Each new holder raises the term by one. If the term is one above ours now, and the lease is
        ours, then it had ended and nobody else took it; if it is two above, somebody did.
        """
        before = self._term
        term = lease.hold(connection, LEASE, self.holder, now_s, self.lease_s)
        if before is None or term not in {before, before + 1}:
            raise lease.LeaseLost(f"lease {LEASE}: another process has it, or had it meanwhile")
        self._term = term
