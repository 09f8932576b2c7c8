"""What the probe's child cannot do any more, asked of this kernel."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, socket
from slotcast_schemas.probe import confine

confine.die_with(os.getppid())
print(confine.leave_network())
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
    try:
        socket.socket(family, socket.SOCK_STREAM).close()
        print("made")
    except OSError as exc:
        print(exc.strerror)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a filter of Linux's")
def test_a_model_makes_no_socket_to_a_network_and_drivers_make_theirs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["True", "Permission denied", "Permission denied", "made"]
