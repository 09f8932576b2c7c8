"""The command `slotcast` in a fork: its words as an argument, its exit code as the result."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from slotcast_publisher import cli


def main(arguments: Sequence[str]) -> int:
    """Run one command as a process of its own would."""
    sys.argv = ["slotcast", *arguments]
    try:
        return cli.main()
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else int(exc.code is not None)
