"""Files in memory that nobody may change any more."""

from __future__ import annotations

import os

import pytest


def assert_sealed(number: int) -> None:
    """Check that an open file is changed by nobody, not even by who opens it anew to write."""
    anew = os.open(f"/proc/self/fd/{number}", os.O_RDWR)
    try:
        with pytest.raises(PermissionError):
            os.write(anew, b"x")
        with pytest.raises(PermissionError):
            os.ftruncate(anew, 0)
    finally:
        os.close(anew)
