"""Runs a simulation of a fleet beside a test."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from slotcast_publisher.fleet.simulate.simulation import Simulation


@contextlib.contextmanager
def running(simulation: Simulation, *, stop_max_s: float) -> Iterator[Simulation]:
    """Run a simulation in a thread; what it raises is raised.

    Args:
        simulation: that was not run yet.
        stop_max_s: the longest time in seconds that it may take to stop.
    """
    failures: list[BaseException] = []

    def run() -> None:
        try:
            simulation.run()
        except BaseException as exc:  # noqa: BLE001 - handed to the test
            failures.append(exc)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield simulation
    finally:
        simulation.stop()
        thread.join(stop_max_s)
    assert not thread.is_alive(), "the simulation does not stop"
    if failures:
        raise failures[0]
