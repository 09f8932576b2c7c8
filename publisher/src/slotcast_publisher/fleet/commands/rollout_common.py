"""What the commands about rollouts share: their words, the fleet's database, a page elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from slotcast_publisher.errors import NotFound
from slotcast_publisher.fleet.commands.opening import needing_fleet, open_fleet_database
from slotcast_publisher.repository import Repository

Name = Annotated[str | None, typer.Argument(help="Name of the rollout.", show_default=False)]
PlanFile = Annotated[Path | None, typer.Argument(help="The plan, a TOML file.", show_default=False)]


def remote() -> Any:
    """Give what asks a page."""
    from slotcast_publisher.fleet.client import rollouts

    return rollouts


@contextlib.contextmanager
def reading(repository: Repository, database: str | None) -> Iterator[Any]:
    """Open the fleet's database for reading; gives None where there is none yet.

    Args:
        repository: whose it is.
        database: URL of another one.
    """
    with needing_fleet():
        from slotcast_publisher.fleet.steering.fleet_database import DatabaseFleet
    try:
        opened = open_fleet_database(repository.path, database)
    except NotFound:
        yield None
        return
    with opened:
        yield DatabaseFleet(opened)
