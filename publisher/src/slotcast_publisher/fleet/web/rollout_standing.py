"""Where rollouts stand, for lists of them and one alone: as whoever drives them saw it last.

All that a list shows is read at once. One that nobody drives is looked at anew where it is asked
for by its name, or in a short list: a look reads a fleet.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from slotcast_publisher.errors import NotFound
from slotcast_publisher.fleet.database.rollouts import rollout_states
from slotcast_publisher.fleet.steering.fleet_database import DatabaseFleet
from slotcast_publisher.fleet.steering.overview import overview
from slotcast_publisher.fleet.steering.overview_types import UNDRIVEN_S, RolloutView
from slotcast_publisher.fleet.steering.saved_views import saved_views
from slotcast_publisher.fleet.web.api.counting import Counting
from slotcast_publisher.fleet.web.context import WebContext
from slotcast_schemas.errors import SlotcastError

UNDRIVEN_VIEW_S: Final = 10.0
"""The seconds for which a look that the page had to take itself is shared: it counts a fleet."""
_ENDED: Final = frozenset({"FINISHED", "STOPPED"})


def rollout_names(context: WebContext) -> list[tuple[str, bool]]:
    """Name the rollouts, the last changed first, and say of each whether it has ended.

    Args:
        context: what there is to look at.
    """
    with context.database.reading() as connection:
        known = rollout_states(connection)
    now_s = int(context.now_s())
    # One that the database does not know was started a moment ago, or nobody has driven it.
    found = {
        name: known.get(name) or (now_s, _state(context, name)) for name in context.files.names()
    }
    order = sorted(found.items(), key=lambda item: (item[1][0], item[0]), reverse=True)
    return [(name, state in _ENDED) for name, (_, state) in order]


def _state(context: WebContext, name: str) -> str:
    try:
        return context.files.load(name).record.state
    except NotFound:
        return "DRAFT"


def last_views(context: WebContext, names: Sequence[str]) -> list[RolloutView]:
    """Give the last look at each rollout, however old; without devices where there was none.

    One that cannot be read, or is gone, is left out.

    Args:
        context: what there is to look at.
        names: of the rollouts, in their order.
    """
    kept, now_s = _kept(context, names), context.now_s()
    found = []
    for name in names:
        with contextlib.suppress(SlotcastError):
            view = kept.get(name) or overview(context.repo, context.files, name, (), 0, now_s)
            found.append(view)
    return found


def present_view(context: WebContext, counting: Counting, name: str) -> RolloutView:
    """Say where a rollout stands: as whoever drives it saw it, or by a look of our own.

    Args:
        context: of the page.
        counting: what viewers share.
        name: of the rollout.

    Raises:
        NotFound: there is no such rollout.
    """
    context.files.plan_bytes(name)
    return present_views(context, counting, [name])[0]


def present_views(
    context: WebContext, counting: Counting, names: Sequence[str]
) -> list[RolloutView]:
    """Say where rollouts stand, each as `present_view` does.

    Args:
        context: of the page.
        counting: what viewers share.
        names: of rollouts that there are.
    """
    asked = tuple(names)
    kept = counting.answers.get(("kept", asked), lambda: _kept(context, asked))

    def looked(name: str) -> RolloutView:
        fleet = DatabaseFleet(context.database)
        repo = context.repo.again()
        plan = context.files.load(name).plan
        devices = fleet.devices(plan.model)
        saved_bytes = fleet.saved_bytes(repo, plan)
        return overview(repo, context.files, name, devices, saved_bytes, time.time())

    def of(name: str) -> RolloutView:
        return counting.answers.get(("looked", name), lambda: looked(name), UNDRIVEN_VIEW_S)

    return [kept.get(name) or of(name) for name in asked]


def _kept(context: WebContext, names: Sequence[str]) -> dict[str, RolloutView]:
    """Give what was seen last, with its age, of those that were looked at."""
    with context.database.reading() as connection:
        found = saved_views(connection, names)
    now_s = int(context.now_s())
    views = {}
    for name, saved in found.items():
        looked_s = max(0, now_s - saved.at_s)
        is_driven = looked_s <= UNDRIVEN_S
        views[name] = msgspec.structs.replace(saved.view, looked_s=looked_s, driven=is_driven)
    return views
