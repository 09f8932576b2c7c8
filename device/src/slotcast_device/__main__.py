"""The console script `slotcast-device`, also as `python -m slotcast_device`.

Ctrl-C may come in the first second, while imports still run. So nothing is imported here but what
silences it, at once, and then what ends a command well (`slotcast_schemas.command`).
"""

from __future__ import annotations

import signal

TYPE_CHECKING = False  # typing itself takes longer to import than all else before the first line
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn


def run() -> NoReturn:
    """Run one command and end the process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from slotcast_schemas.command import run_command

    run_command("slotcast-device", _load)


def _load() -> Callable[[], int]:
    from slotcast_device.cli import main

    return main


if __name__ == "__main__":
    run()
