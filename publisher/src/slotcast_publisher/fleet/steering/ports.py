"""What steering needs of others: the fleet's database, brokers, deltas.

`assembly` plugs in the real ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from slotcast_publisher.fleet.rollout.look_results import LogNote, LookOutcome
from slotcast_publisher.fleet.rollout.observations import Device, Now, Observations
from slotcast_publisher.fleet.rollout.plan import Plan
from slotcast_publisher.fleet.rollout.record import RolloutRecord
from slotcast_publisher.fleet.steering.rollout_files import Rollout
from slotcast_publisher.repository import Repository


@dataclass(frozen=True, slots=True)
class LookTaken:
    """A look at a rollout that was carried out.

    Attributes:
        seen: what the look was told.
        found: what it came to.
        now: when it was taken.
        answered: how many requests of persons it has answered.
    """

    seen: Observations
    found: LookOutcome
    now: Now
    answered: int = 0


class Deciding(Protocol):
    """One transaction of a process that holds the lease."""

    def save(self, plan: Plan, record: RolloutRecord, at_s: int) -> None:
        """Keep a record where the fleet's pages find it.

        Args:
            plan: of the rollout.
            record: where it stands.
            at_s: seconds since 1970.
        """

    def log(self, plan: Plan, note: LogNote, at_s: int, who: str = "") -> None:
        """Add a line to a rollout's log.

        Args:
            plan: of the rollout.
            note: the line.
            at_s: seconds since 1970.
            who: the person, where it was one.
        """


class FleetView(Protocol):
    """The fleet's database, as far as rollouts need it.

    Attributes:
        knows_since_s: when it was made, in seconds since 1970: until all devices were heard once
            more, it holds a part of them.
    """

    @property
    def knows_since_s(self) -> int:
        """Give when it was made."""

    def devices(self, model: str) -> Sequence[Device]:
        """Give the devices of a model with their figures."""

    def hold_lease(self, now_s: float) -> bool:
        """Take the lease, or hold it on; says whether this process has it."""

    def release_lease(self) -> None:
        """Let another process take the lease at once."""

    def deciding(self, now_s: float) -> AbstractContextManager[Deciding]:
        """Open a transaction in which this process is known to hold the lease.

        Raises:
            LeaseLost: another process has it; or nobody.
        """


class Views(Protocol):
    """Keeps what was seen, for pages."""

    def keep(self, repo: Repository, rollout: Rollout, look: LookTaken) -> None:
        """Keep what was seen of a rollout.

        Args:
            repo: the repository.
            rollout: as it was before the look.
            look: what was seen.

        Raises:
            StorageFailed: it could not be kept; nothing depends on it.
        """


class Announcer(Protocol):
    """Brings what is signed to the brokers."""

    def announce(self, model: str, *, payloads: bool) -> None:
        """Have a model's notice announced soon; from any thread, and it does not wait.

        Args:
            model: whose.
            payloads: push what it offers before it, for devices that may begin.
        """

    def close(self) -> None:
        """End, when what was asked for is done or a moment has passed."""


class DeltaMaker(Protocol):
    """Has deltas made."""

    def want(self, model: str, version: str, bases: Sequence[str]) -> bool:
        """Say what deltas are wanted; gives whether all are made, or will not be.

        Args:
            model: of the release.
            version: of the release.
            bases: versions to start from, the most important first.
        """

    def hopeful(self, model: str, version: str, bases: Sequence[str]) -> Sequence[str] | None:
        """Give those bases from which a delta may still be made; None where none are made here.

        Args:
            model: of the release.
            version: of the release.
            bases: versions to start from.
        """

    def close(self) -> None:
        """End what is being made."""
