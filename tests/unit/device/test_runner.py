"""What a model's runner does by the time alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from slotcast_device.core import events as ev
from slotcast_device.runner import LOOK_AGAIN_S, ModelRunner, Shell


class Core:
    """Notes what it is told."""

    is_ready = True
    state = None

    def __init__(self) -> None:
        self.heard: list[ev.Event] = []

    def start(self) -> list[Any]:
        return []

    def handle(self, event: ev.Event, _now: ev.Now) -> list[Any]:
        self.heard.append(event)
        return []


def test_all_bytes_are_to_be_read_once_a_day_and_not_at_each_glance() -> None:
    core = Core()
    files = SimpleNamespace(glance=lambda _state: None)
    shell = SimpleNamespace(now=lambda: ev.Now(100.0, 1))
    runner = ModelRunner(cast("Any", core), cast("Any", files), cast("Shell", shell))
    runner.start()
    for since_s in (0.0, 1.0, LOOK_AGAIN_S - 1, LOOK_AGAIN_S, LOOK_AGAIN_S + 1, 2 * LOOK_AGAIN_S):
        runner.glance(ev.Now(100.0 + since_s, 1))
    assert core.heard == [ev.LookDue(), ev.LookDue()]
