"""The console script `slotcast`, also as `python -m slotcast_publisher`.

Ctrl-C may come in the first second, while imports still run. So nothing is imported here but what
silences it, at once, and then what ends a command well (`slotcast_schemas.command`).
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False  # typing itself takes longer to import than all else before the first line
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn


def run() -> NoReturn:
    """Run one command and end the process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Cores share the sections of a delta; more threads for linear algebra would spin beside them.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from slotcast_schemas.command import run_command

    run_command("slotcast", _load)


def _load() -> Callable[[], int]:
    from slotcast_publisher.cli import main

    return main


if __name__ == "__main__":
    run()
