"""The shape that stands beside each state's word, so that colour is never alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SHAPES: Final[Mapping[str, str]] = {
    # of a model on a device
    "IDLE": "wait",
    "QUEUED": "wait",
    "DOWNLOADING": "move",
    "DOWNLOADED": "move",
    "VERIFIED": "move",
    "ACTIVATING": "move",
    "TRIAL": "watch",
    "COMMITTED": "done",
    "ROLLED_BACK": "back",
    "FAILED": "fail",
    "REJECTED": "refuse",
    "CANCELED": "stop",
    # of a rollout, and of a group
    "DRAFT": "wait",
    "READY": "wait",
    "WAITING": "wait",
    "PREPARING": "move",
    "RUNNING": "move",
    "SOAKING": "watch",
    "AT_GATE": "gate",
    "PAUSED": "pause",
    "PASSED": "done",
    "FINISHED": "done",
    "STOPPED": "stop",
    # of a device
    "online": "done",
    "offline": "wait",
    "not seen": "gone",
    # of a limit, and of a check
    "holds": "done",
    "passed": "done",
    "broken": "fail",
    "failed": "fail",
    "accepted": "stop",
    "not sure yet": "gone",
    "no limit": "wait",
}
"""The class of the shape, by the word; a word that is not here has the shape of what waits."""


def shape_of(word: str) -> str:
    """Give the class of a state's shape."""
    return SHAPES.get(word, "wait")
