"""What went wrong is remembered, and not what was in memory then: no session, no caller's request.

Python's exceptions hold the frames that they were raised in, and those all that they named. A model
in memory for nothing is one that the next release does not get; and a session that a forked process
lets go of waits for threads that only its parent has.
"""

from __future__ import annotations

import threading
import traceback
import weakref
from typing import Any

import numpy as np

from slotcast_device import HotModel
from slotcast_schemas.errors import ModelUnloadable
from tests.support import models
from tests.support.waiting import WAIT_S, wait_until
from tests.unit.device.test_hotmodel import ROW, Slots, phases, slots

__all__ = ["slots"]


class Sessions:
    """What was warmed up, in order; the second waits, or fails."""

    def __init__(self) -> None:
        self.made: list[weakref.ref[Any]] = []
        self.may_end = threading.Event()
        self.fails = False

    def warm(self, session: Any) -> None:
        self.made.append(weakref.ref(session))
        if len(self.made) == 2:
            self.may_end.wait(WAIT_S)
            if self.fails:
                raise ValueError("too warm")

    def is_gone(self, number: int) -> bool:
        return self.made[number]() is None


def hot_model(slots: Slots, sessions: Sessions) -> HotModel:
    return HotModel(slots.current, warm=sessions.warm, poll_s=0.01, report_s=0.01)


def test_a_session_that_failed_to_warm_up_is_let_go_of(slots: Slots) -> None:
    sessions = Sessions()
    sessions.fails = True
    sessions.may_end.set()
    with hot_model(slots, sessions) as hot:
        slots.switch("b", models.classifier(2))
        wait_until(lambda: phases(slots).get(("b", 2)) == "failed")
        wait_until(lambda: sessions.is_gone(1))
        assert str(hot._last_refusal).endswith("too warm")


def test_so_is_one_whose_load_ended_after_its_time(slots: Slots) -> None:
    sessions = Sessions()
    with hot_model(slots, sessions) as hot:
        hot._load_timeout_s = 0.05  # of the second alone: a busy machine takes its time
        slots.switch("b", models.classifier(2))
        wait_until(lambda: phases(slots).get(("b", 2)) == "failed")
        wait_until(lambda: len(sessions.made) == 2)
        sessions.may_end.set()
        wait_until(lambda: sessions.is_gone(1))
        assert "expected to load in 0.05 s" in str(hot._last_refusal)


def test_so_is_one_that_answered_with_an_error_which_the_application_keeps(slots: Slots) -> None:
    sessions = Sessions()
    sessions.may_end.set()
    kept: list[Exception] = []
    with hot_model(slots, sessions) as hot:
        try:
            hot.run(None, {"x": np.zeros((1, 5), np.float32)})
        except Exception as exc:  # noqa: BLE001 (the runtime's own)
            kept.append(exc)
        slots.switch("b", models.classifier(2))
        wait_until(lambda: sessions.is_gone(0))
        assert "x" in str(kept[0])


class Request:
    """What a caller has at hand."""


def test_nobody_s_request_is_kept_by_the_error_that_it_got(slots: Slots) -> None:
    """All get the same words, and as many frames, however many ask."""
    hot = HotModel(slots.current, poll_s=0.01)
    hot.close()
    requests: list[weakref.ref[Request]] = []

    def ask() -> int:
        request = Request()
        requests.append(weakref.ref(request))
        try:
            hot.run(None, {"x": ROW})
        except ModelUnloadable as exc:
            return len(list(traceback.walk_tb(exc.__traceback__)))
        return 0

    first = ask()
    assert first
    assert [ask() for _ in range(3)] == [first] * 3
    assert all(request() is None for request in requests)
