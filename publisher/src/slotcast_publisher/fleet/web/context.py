"""What every part of the page works with, made once when it starts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from litestar.di import NamedDependency

from slotcast_publisher.fleet.access.sessions import Sessions
from slotcast_publisher.fleet.access.tokens import Tokens
from slotcast_publisher.fleet.access.users import Users
from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.fleet.steering.rollout_files import RolloutFiles
from slotcast_publisher.page_settings import PageSettings
from slotcast_publisher.repository import Repository


@dataclass(frozen=True, slots=True)
class WebContext:
    """What the page reads, and the little that it writes; may be used by several threads.

    Attributes:
        repo: the repository; its keys are never asked for.
        database: the fleet's.
        files: plans, records and requests of rollouts.
        users: who may sign in.
        sessions: who is signed in.
        tokens: what programs sign in with.
        now_s: seconds since 1970.
        clock: seconds that only grow, by which answers are shared for a while.
    """

    repo: Repository
    database: Database
    files: RolloutFiles
    users: Users
    sessions: Sessions
    tokens: Tokens
    now_s: Callable[[], float]
    clock: Callable[[], float]

    @property
    def settings(self) -> PageSettings:
        """How browsers reach the page."""
        return self.repo.settings.page


Context = NamedDependency[WebContext]
"""How a route asks for the context: a parameter `context: Context`."""


def make_context(
    repo: Repository,
    database: Database,
    now_s: Callable[[], float] = time.time,
    clock: Callable[[], float] = time.monotonic,
) -> WebContext:
    """Make the context of a page.

    Args:
        repo: the repository.
        database: of its fleet, open and to be written to.
        now_s: seconds since 1970; the clock of this machine unless given.
        clock: seconds that only grow; those of this machine unless given.
    """
    return WebContext(
        repo=repo,
        database=database,
        files=RolloutFiles(repo.path),
        users=Users(database, now_s),
        sessions=Sessions(database, now_s),
        tokens=Tokens(database, now_s),
        now_s=now_s,
        clock=clock,
    )
