"""What child processes find in their environment, and what they do not."""

from __future__ import annotations

import os
from typing import Final

_KEPT: Final = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "LANG", "TZ")
"""No passwords, and no ORT_* that would have a model configure its own session."""

SECRETS: Final = frozenset({"SLOTCAST_PASSPHRASE", "SLOTCAST_PIN", "SLOTCAST_WEBHOOK_SECRET"})
"""Variables that open signing keys, or sign what alarms say: for the process alone that was given
them."""

ONE_THREAD: Final = "OPENBLAS_NUM_THREADS"
"""Set to 1 for a process that closes itself in: numpy's import would start threads before that."""


def child_environment() -> dict[str, str]:
    """Give what a child process that runs a model finds in its environment."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


def environment_without_secrets() -> dict[str, str]:
    """Give this process's environment but for its secrets, to a child that needs none of them."""
    return {name: value for name, value in os.environ.items() if name not in SECRETS}
