"""What a process that runs a model finds in its environment."""

from __future__ import annotations

import os
from typing import Final

_KEPT: Final = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "LANG", "TZ")
"""No passwords, and no ORT_* that would have a model configure its own session."""

ONE_THREAD: Final = "OPENBLAS_NUM_THREADS"
"""Set to 1 for a process that closes itself in: numpy's import would start threads before that."""


def child_environment() -> dict[str, str]:
    """Give what a child process that runs a model finds in its environment."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ}
