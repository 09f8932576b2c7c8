"""Puts steering together: for `slotcast serve`, and for a command that finds nobody driving."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from slotcast_publisher.delta.workers import default_workers
from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.fleet.steering.announcer import DirectAnnouncer, PushingAnnouncer
from slotcast_publisher.fleet.steering.delta_maker import ChildDeltaMaker, NoDeltas
from slotcast_publisher.fleet.steering.fleet_database import DatabaseFleet
from slotcast_publisher.fleet.steering.gates import Gates
from slotcast_publisher.fleet.steering.rollout_files import RolloutFiles
from slotcast_publisher.fleet.steering.saved_views import SavedViews
from slotcast_publisher.fleet.steering.steering import Steering
from slotcast_publisher.repository import Repository
from slotcast_publisher.serve.log import Say
from slotcast_publisher.settings import Broker


def build_steering(
    repo: Repository,
    database: Database,
    brokers: Sequence[Broker],
    say: Say,
    *,
    hears: Callable[[], bool],
    workers: int | None = None,
) -> Steering:
    """Make what drives the rollouts of a service.

    Args:
        repo: the service's repository; steering has an object of its own of the same folder.
        database: of the fleet.
        brokers: where notices go.
        say: the log.
        hears: whether everything is heard that devices say.
        workers: processes that make deltas; as many as the machine allows unless given.
    """
    own, fleet = repo.again(), DatabaseFleet(database)
    return Steering(
        repo=own,
        fleet=fleet,
        files=RolloutFiles(repo.path),
        gates=Gates(),
        deltas=ChildDeltaMaker(own, say, workers or default_workers()),
        announcer=PushingAnnouncer(repo.again(), brokers, say),
        say=say,
        hears=hears,
        views=SavedViews(fleet),
    )


def build_for_one_turn(
    repo: Repository, database: Database, brokers: Sequence[Broker], say: Say
) -> Steering:
    """Make what carries out one request where nobody drives: no gate is asked, no delta made.

    Args:
        repo: the command's repository.
        database: of the fleet.
        brokers: where notices go.
        say: the log.
    """
    fleet = DatabaseFleet(database)
    return Steering(
        repo=repo,
        fleet=fleet,
        files=RolloutFiles(Path(repo.path)),
        gates=Gates(at_once_max=0),
        deltas=NoDeltas(),
        announcer=DirectAnnouncer(repo, brokers, say),
        say=say,
        views=SavedViews(fleet),
    )
