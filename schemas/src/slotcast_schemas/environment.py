"""What child processes find in their environment, and what they do not."""

from __future__ import annotations

import os
from typing import Final

_KEPT: Final = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "LANG", "TZ")
"""No passwords, and no ORT_* that would have a model configure its own session."""

SECRETS: Final = frozenset({"SLOTCAST_PASSPHRASE", "SLOTCAST_PIN", "SLOTCAST_WEBHOOK_SECRET"})
"""Variables that open signing keys, or sign what alarms say: for the process alone that was given
them."""

_NOT_FOR_CHILDREN: Final = SECRETS | {"SLOTCAST_DATABASE", "SLOTCAST_TOKEN"}
"""Beside them an address that may hold a password, and who one is for a page elsewhere."""

_taken: Final[dict[str, str]] = {}
"""Secrets that this process was started with, once they are out of its environment."""

ONE_THREAD: Final = "OPENBLAS_NUM_THREADS"
"""Set to 1 for a process that closes itself in: numpy's import would start threads before that."""


def child_environment() -> dict[str, str]:
    """Give what a child process that runs a model finds in its environment."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


def environment_without_secrets() -> dict[str, str]:
    """Give this process's environment but for its secrets, to a child that needs none of them."""
    return {name: value for name, value in os.environ.items() if name not in _NOT_FOR_CHILDREN}


def take_secrets() -> None:
    """Take the secrets out of this process's environment, so that no child finds them in its own.

    Whoever starts the child: a pool of processes gives it all that this process has.
    """
    for name in SECRETS & os.environ.keys():
        _taken[name] = os.environ.pop(name)


def secret(name: str) -> str | None:
    """Give a secret that this process was started with; None where there is none."""
    return os.environ.get(name, _taken.get(name))
