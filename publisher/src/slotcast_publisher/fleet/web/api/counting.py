"""What is counted for many viewers at once: each look at the database is shared for a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from slotcast_publisher.fleet.alarms import alarm_store
from slotcast_publisher.fleet.alarms.board import Alarm
from slotcast_publisher.fleet.database import device_counts, fleet_counts, fleet_figures, listing
from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.fleet.database.device_json import iso
from slotcast_publisher.fleet.database.device_pages import count_of
from slotcast_publisher.fleet.database.listing import DevicesWanted
from slotcast_publisher.fleet.database.unseen_devices import unseen_since_s
from slotcast_publisher.fleet.web.api.types import Counts, FleetCounts, StateCount, VersionCount
from slotcast_publisher.fleet.web.shared import SharedAnswers

FIGURES_S: Final = 10.0
"""The seconds for which sums of figures are shared: new ones come once a minute."""


class Counting:
    """Counts the fleet, once for all that ask within a second; for several threads.

    Args:
        database: of the fleet.
        now_s: seconds since 1970.
        clock: seconds that only grow, by which answers are shared.
    """

    def __init__(
        self,
        database: Database,
        now_s: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.database = database
        self.now_s = now_s
        self.answers = SharedAnswers(clock)

    def fleet(self) -> FleetCounts:
        """Count the whole fleet."""
        return self.answers.get("fleet", self._fleet)

    def _fleet(self) -> FleetCounts:
        with self.database.reading() as connection:
            found = fleet_counts.presence(connection, unseen_since_s(self.now_s()))
            models = listing.models_of_devices(connection)
            alarms = alarm_store.standing(connection)
        return FleetCounts(
            devices=found.devices,
            online=found.online,
            unseen=found.unseen,
            shared_ids=found.shared_ids,
            clocks_off=found.clocks_off,
            models=tuple(models),
            alarms=len(alarms),
            since=iso(self.database.knows_since_s),
        )

    def versions(self) -> Sequence[fleet_counts.CountedVersion]:
        """Say how many devices run which release, of all models."""

        def make() -> Sequence[fleet_counts.CountedVersion]:
            with self.database.reading() as connection:
                return fleet_counts.version_counts(connection)

        return self.answers.get("versions", make)

    def states(self) -> Sequence[fleet_counts.CountedState]:
        """Say how many devices are in which state, of all models."""

        def make() -> Sequence[fleet_counts.CountedState]:
            with self.database.reading() as connection:
                return fleet_counts.state_counts(connection)

        return self.answers.get("states", make)

    def figures(self) -> Sequence[fleet_figures.ReleaseSum]:
        """Give what releases do over all devices."""

        def make() -> Sequence[fleet_figures.ReleaseSum]:
            with self.database.reading() as connection:
                return fleet_figures.release_sums(connection)

        return self.answers.get("figures", make, FIGURES_S)

    def total(self, wanted: DevicesWanted) -> int:
        """Count the devices that are asked for."""

        def make() -> int:
            with self.database.reading() as connection:
                return count_of(connection, wanted)

        return self.answers.get(("total", repr(wanted)), make)

    def counts(self, wanted: DevicesWanted) -> Counts:
        """Count the devices that are asked for, by version and state."""
        if wanted == DevicesWanted():
            return self._of_all()
        return self.answers.get(("counts", repr(wanted)), lambda: self._of(wanted))

    def _of_all(self) -> Counts:
        fleet = self.fleet()
        versions = [(v.model, v.version, v.devices) for v in self.versions()]
        states = [(s.model, s.state, s.reason, s.devices) for s in self.states()]
        return self._counts(fleet.devices, fleet.online, versions, states)

    def _of(self, wanted: DevicesWanted) -> Counts:
        with self.database.reading() as connection:
            found = device_counts.counted(connection, wanted)
        return self._counts(found.devices, found.online, found.versions, found.states)

    def _counts(
        self,
        devices: int,
        online: int,
        versions: Sequence[tuple[str, str, int]],
        states: Sequence[tuple[str, str, str, int]],
    ) -> Counts:
        return Counts(
            devices=devices,
            online=online,
            versions=tuple(VersionCount(model=m, version=v, devices=n) for m, v, n in versions),
            states=tuple(
                StateCount(model=m, state=s, reason=r, devices=n) for m, s, r, n in states
            ),
            since=iso(self.database.knows_since_s),
        )

    def alarms(self, past: int) -> Sequence[Alarm]:
        """Give the alarms that stand, and the last that ended.

        Args:
            past: how many that ended.
        """

        def make() -> Sequence[Alarm]:
            with self.database.reading() as connection:
                return alarm_store.listed(connection, past=past)

        return self.answers.get(("alarms", past), make)
