"""`slotcast serve` in a thread of this process, and its log to wait for.

with serving(publisher.repo, broker.url) as served:
    served.wait_for("announced", model="clf")
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from slotcast_publisher.repository import Repository
from slotcast_publisher.serve.companion import Companion
from slotcast_publisher.serve.notices import AnnounceTimes
from slotcast_publisher.serve.service import Service
from slotcast_publisher.serve.wants import WantBounds
from slotcast_publisher.settings import Broker
from tests.support.waiting import WAIT_S

HASTY: Final = AnnounceTimes(settle_s=(0.2, 0.4), new_offer_s=0.5, repeat_s=(2.0, 4.0), again_s=0.5)
"""Waits for tests, where nothing but loopback lies between."""


class Served:
    """What a running service logged."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self._changed = threading.Condition()

    def say(self, event: str, **fields: Any) -> None:
        """Take a line of the log; called from the service's threads."""
        with self._changed:
            self.lines.append({"event": event, **fields})
            self._changed.notify_all()

    def of(self, event: str) -> list[dict[str, Any]]:
        """Give the lines about one kind of event, in order."""
        return [line for line in list(self.lines) if line["event"] == event]

    def wait_for(self, event: str, count: int = 1, **fields: Any) -> dict[str, Any]:
        """Wait until so many lines of this kind have these fields; give the last of them.

        Raises:
            AssertionError: they never came; the message shows what did.
        """

        def found() -> list[dict[str, Any]]:
            return [line for line in self.of(event) if fields.items() <= line.items()]

        with self._changed:
            if not self._changed.wait_for(lambda: len(found()) >= count, WAIT_S):
                raise AssertionError(f"no {event} {fields}; the log: {self.lines}")
        return found()[-1]


@contextlib.contextmanager
def serving(
    repo: Path,
    *urls: str,
    bounds: WantBounds | None = None,
    times: AnnounceTimes | None = HASTY,
    companion: Companion | None = None,
    served: Served | None = None,
    look_every_s: float = 0.1,
    tidy_every_s: float = 3600.0,
    seed: int = 1,
) -> Iterator[Served]:
    """Serve a repository at these brokers, or at those of its settings, for the block's length.

    Raises:
        Exception: whatever ended the service early.
    """
    served = served or Served()
    repository = Repository(repo)  # its own: the test may work with the folder meanwhile
    brokers = [Broker(url=url) for url in urls] or list(repository.settings.brokers)
    service = Service(
        repository,
        brokers,
        served.say,
        random.Random(seed),
        bounds=bounds,
        times=times,
        companion=companion,
        look_every_s=look_every_s,
        tidy_every_s=tidy_every_s,
    )
    stop = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            service.run(stop)
        except BaseException as exc:  # noqa: BLE001 - handed to the thread that waits
            failures.append(exc)

    thread = threading.Thread(target=run, name="serve", daemon=True)
    thread.start()
    try:
        yield served
    finally:
        stop.set()
        thread.join(WAIT_S)
    if failures:
        raise failures[0]
    if thread.is_alive():
        raise AssertionError("the service does not stop")
