"""What was seen at the last look at each rollout, kept for pages: they need not count a fleet anew.

Whoever drives the rollouts has looked already, so it costs them no second look. Nothing is decided
by what is kept here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection

from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.fleet.database.rollouts import put_view, saved_by_group, views_of
from slotcast_publisher.fleet.rollout.plan import Plan
from slotcast_publisher.fleet.steering.fleet_database import DatabaseFleet
from slotcast_publisher.fleet.steering.overview import view_of
from slotcast_publisher.fleet.steering.overview_types import UNDRIVEN_S, RolloutView
from slotcast_publisher.fleet.steering.ports import LookTaken
from slotcast_publisher.fleet.steering.rollout_files import Rollout
from slotcast_publisher.repository import Repository
from slotcast_schemas.decode_errors import UNDECODABLE

KEPT_S: Final = 30
"""The seconds after which a view that has not changed is written again, since its age is shown."""


@dataclass(frozen=True, slots=True)
class SavedView:
    """A rollout as it was seen.

    Attributes:
        at_s: when, in seconds since 1970.
    """

    at_s: int
    view: RolloutView


def saved_view(connection: Connection, name: str) -> SavedView | None:
    """Give what was seen of a rollout last; None for never, or by another version of this software.

    Args:
        connection: that may read.
        name: of the rollout.
    """
    return saved_views(connection, [name]).get(name)


def with_what_gates_said(database: Database, view: RolloutView, wall_s: float) -> RolloutView:
    """Give a look of one's own with what gates said: only the process that drives asks them.

    Args:
        database: with what that one saw.
        view: of one's own look.
        wall_s: seconds since 1970.
    """
    if not any(group.waits_for for group in view.groups):
        return view
    with database.reading() as connection:
        kept = saved_view(connection, view.name)
    if kept is None or kept.view.state != view.state or wall_s - kept.at_s > UNDRIVEN_S:
        return view
    return replace(view, waits_for=kept.view.waits_for)


def saved_views(connection: Connection, names: Sequence[str]) -> dict[str, SavedView]:
    """Give what was seen of rollouts last, by name, in one look at the database.

    Args:
        connection: that may read.
        names: of the rollouts; left out is what nobody has looked at, or another version did.
    """
    found = {}
    for name, (at_s, text) in views_of(connection, names).items():
        with contextlib.suppress(*UNDECODABLE):
            found[name] = SavedView(at_s, msgspec.json.decode(text, type=RolloutView))
    return found


@dataclass(slots=True)
class SavedViews:
    """Writes views down as they change (`ports.Views`).

    Attributes:
        fleet: the database.
    """

    fleet: DatabaseFleet
    _last: dict[str, tuple[int, RolloutView]] = field(default_factory=dict)

    def keep(self, repo: Repository, rollout: Rollout, look: LookTaken) -> None:
        """Write down what was seen of a rollout, unless the view before says the same and is young.

        Args:
            repo: the repository.
            rollout: as it was before the look.
            look: what was seen.

        Raises:
            StorageFailed: the database could not be changed.
        """
        plan, at_s = rollout.plan, look.now.wall_s
        saved = self._saved(plan, look)
        saved_bytes = sum(count for _, count in saved.values())
        view = view_of(repo, rollout, look.seen, look.found, at_s, saved_bytes, saved)
        view = replace(view, looked_s=0, driven=True, requests=view.requests - look.answered)
        same, before = replace(view, at_s=0), self._last.get(view.name)
        if before is not None and before[1] == same and 0 <= at_s - before[0] < KEPT_S:
            return
        data = msgspec.json.encode(view)
        with self.fleet.database.transaction() as connection:
            put_view(connection, view.model, view.name, data, at_s)
        self._last[view.name] = (at_s, same)

    def _saved(self, plan: Plan, look: LookTaken) -> dict[str, tuple[int, int]]:
        """Give, by group, how many devices took the release, and what those saved."""
        release = look.seen.releases.get(plan.version)
        if release is None:
            return {}
        with self.fleet.database.reading() as connection:
            return saved_by_group(connection, plan.model, release.sequence)
