"""Doing something as another user."""

from __future__ import annotations

import gc
import os

from tests.support.stranger import STRANGER, as_stranger, needs_root

pytestmark = needs_root


class Left:
    """What only the collector of garbage can free, as a session in a test's failed call."""

    freed: int = 0

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        Left.freed += 1


def test_it_is_another_user_and_what_it_raises_is_told() -> None:
    assert as_stranger(lambda: str(os.getuid())) == str(STRANGER)
    assert "ZeroDivisionError" in as_stranger(lambda: str(1 / 0))


def test_it_frees_nothing_that_earlier_tests_left() -> None:
    """A session that a forked process frees waits for threads which only the first one has."""

    def work() -> str:
        many = [[number] for number in range(100_000)]
        return f"{len(many)} {Left.freed}"

    gc.collect()
    Left()
    assert as_stranger(work) == "100000 0"
