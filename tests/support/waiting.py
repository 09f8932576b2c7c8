"""Waiting for what another thread or process does, where nothing tells that it is done.

wait_until(lambda: path.exists(), "the report is written")
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

WAIT_S: Final = 120.0
"""How long a test waits for an event before it calls it missing; not a measure of speed."""


def wait_until(
    condition: Callable[[], bool],
    what: str = "what is waited for",
    *,
    every_s: float = 0.01,
    timeout_s: float = WAIT_S,
) -> None:
    """Look again and again until a condition holds.

    Args:
        condition: what is waited for.
        what: it in words, for the failure.
        every_s: seconds between two looks.
        timeout_s: seconds after which it is called missing.

    Raises:
        AssertionError: it never held.
    """
    never = threading.Event()
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise AssertionError(f"did not happen within {timeout_s:.0f} s: {what}")
        never.wait(every_s)
