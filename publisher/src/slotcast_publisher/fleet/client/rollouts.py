"""Rollouts of a remote page, as `slotcast rollout` knows those of its own repository."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from slotcast_publisher.fleet.client.connection import Connection, part
from slotcast_publisher.fleet.database.rollouts import LogLine
from slotcast_publisher.fleet.steering.overview_types import RolloutView
from slotcast_publisher.fleet.web.api.rollout_types import (
    Asked,
    PlanBody,
    PlanCheck,
    RolloutList,
    RolloutLog,
    WishBody,
)


def rollouts(connection: Connection) -> Sequence[RolloutView]:
    """Say where all rollouts stand."""
    return connection.get("/rollouts", RolloutList).rollouts


def rollout(connection: Connection, name: str) -> RolloutView:
    """Say where a rollout stands.

    Args:
        connection: to the page.
        name: of the rollout.
    """
    return connection.get(f"/rollouts/{part(name)}", RolloutView)


def log(connection: Connection, name: str, count: int) -> list[LogLine]:
    """Give the last lines of a rollout's log, the oldest first.

    Args:
        connection: to the page.
        name: of the rollout.
        count: how many.
    """
    found = connection.get(f"/rollouts/{part(name)}/log", RolloutLog, {"lines": count})
    return [msgspec.convert(line, LogLine, from_attributes=True) for line in found.lines]


def plan(connection: Connection, model: str, version: str) -> str:
    """Give a plan to start from.

    Args:
        connection: to the page.
        model: of the release.
        version: of the release.
    """
    return connection.text(f"/models/{part(model)}/releases/{part(version)}/plan")


def check(connection: Connection, text: str) -> PlanCheck:
    """Say whether a plan could be started.

    Args:
        connection: to the page.
        text: of the plan.
    """
    return connection.post("/plans/check", PlanBody(plan=text), PlanCheck)


def start(connection: Connection, text: str) -> Asked:
    """Start a rollout by its plan.

    Args:
        connection: to the page.
        text: of the plan.
    """
    return connection.post("/rollouts", PlanBody(plan=text), Asked)


def ask(connection: Connection, name: str, wish: WishBody) -> Asked:
    """Ask something of a rollout.

    Args:
        connection: to the page.
        name: of the rollout.
        wish: what.
    """
    return connection.post(f"/rollouts/{part(name)}/requests", wish, Asked)
