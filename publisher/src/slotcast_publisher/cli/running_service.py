"""The service of `slotcast serve` in the foreground, with its fleet and its log, until stopped."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from slotcast_publisher.cli.serving import FLEET_INSTALL
from slotcast_publisher.delivery.publish import brokers_of
from slotcast_publisher.repository import Repository
from slotcast_publisher.serve.broker_health import BrokerHealth
from slotcast_publisher.serve.companion import Companion
from slotcast_publisher.serve.log import LibraryLines, Log, Say
from slotcast_publisher.serve.service import Service
from slotcast_publisher.serve.wants import WantBounds
from slotcast_publisher.settings import Broker
from slotcast_schemas.errors import StorageFailed, UsageError

_FLEET: Final = "slotcast_publisher.fleet.fleet_service"
_NEEDED: Final = ("sqlalchemy", "alembic")


@dataclass(frozen=True, slots=True)
class FleetWanted:
    """What of the fleet is asked for."""

    fleet: bool
    database: str | None
    workers: int | None
    listen: str | None


def run_service(
    repository: Repository,
    brokers: Sequence[str],
    wanted: FleetWanted,
    *,
    rate_bytes_per_s: float,
    as_json: bool | None,
) -> None:
    """Serve until a signal comes.

    Args:
        repository: what is served.
        brokers: their addresses; those of the settings unless given.
        wanted: what of the fleet is opened beside it.
        rate_bytes_per_s: that answers may use, per broker.
        as_json: whether programs read the log; None has them where it goes to no terminal.

    Raises:
        UsageError: a broker or a database that cannot be used.
        StorageFailed: lines of the log could not be written.
    """
    chosen = brokers_of(repository, brokers)
    health = BrokerHealth()
    with (
        _logging(as_json=as_json) as say,
        _companion(wanted, repository, chosen, say, health) as companion,
    ):
        service = Service(
            repository,
            chosen,
            say,
            bounds=WantBounds(rate_bytes_per_s=rate_bytes_per_s),
            companion=companion,
            health=health,
        )
        # Elsewhere a signal means that work was left undone; here it is how it ends.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            service.run(threading.Event())


@contextlib.contextmanager
def _companion(
    wanted: FleetWanted,
    repository: Repository,
    brokers: Sequence[Broker],
    say: Say,
    health: BrokerHealth,
) -> Iterator[Companion | None]:
    """Open the fleet where it is installed; it is known by its name alone, and not imported."""
    is_there = all(importlib.util.find_spec(name) is not None for name in _NEEDED)
    if wanted.database is not None and not (is_there and wanted.fleet):
        raise UsageError(
            "--database: is of the fleet, which --no-fleet leaves out"
            if is_there
            else f"--database: is of the fleet, which is not installed: {FLEET_INSTALL}"
        )
    if not (is_there and wanted.fleet):
        yield None
        return
    module = importlib.import_module(_FLEET)
    opened = module.open_fleet(
        repository,
        wanted.database,
        brokers,
        say,
        workers=wanted.workers,
        health=health,
        listen=wanted.listen,
    )
    with opened as fleet:
        yield fleet


@contextlib.contextmanager
def _logging(*, as_json: bool | None) -> Iterator[Say]:
    """Log to standard output; None has programs read it where it is no terminal.

    Raises:
        StorageFailed: at the end, if lines could not be written; all else was done.
    """
    is_terminal = sys.stdout.isatty()
    has_colors = is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    log = Log(
        sys.stdout.fileno(),
        as_json=not is_terminal if as_json is None else as_json,
        colors=has_colors,
        encoding=sys.stdout.encoding,
    )
    libraries = LibraryLines(log.say)
    logging.getLogger().addHandler(libraries)
    try:
        with log:
            yield log.say
    finally:
        logging.getLogger().removeHandler(libraries)
    if log.lost is not None and not isinstance(log.lost, BrokenPipeError):
        raise StorageFailed(f"the log could not be written: {log.lost.strerror}")
