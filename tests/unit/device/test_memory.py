"""Giving memory back: in a process of its own, for what is set is the whole process's.

A matter of glibc, which Debian and Ubuntu have.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SIZE_BYTES = 12 << 20
PROGRAM = f"""
import ctypes, threading
from slotcast_device.runtime import memory

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p

def stays():
    before_bytes, _ = memory.resident_bytes()
    block = ctypes.c_void_p(libc.malloc({SIZE_BYTES}))
    ctypes.memset(block, 1, {SIZE_BYTES})
    libc.free(block)
    memory.give_back()
    print(memory.resident_bytes()[0] - before_bytes)

def in_a_thread():
    thread = threading.Thread(target=stays)
    thread.start()
    thread.join()

with memory.large_blocks_apart():
    with memory.large_blocks_apart():
        pass
    in_a_thread()
in_a_thread()
"""


def resident_after_free(**environment: str) -> list[int]:
    """Run a thread that frees a large block: in a load, and after it."""
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return [int(line) for line in done.stdout.split()]


def test_large_blocks_of_a_load_go_when_they_are_freed_and_others_are_as_they_were() -> None:
    in_a_load, after_it = resident_after_free()
    assert in_a_load < SIZE_BYTES / 4
    assert after_it > SIZE_BYTES / 2  # kept at the top of the arena, for the next such block


@pytest.mark.parametrize(
    "environment",
    [
        {
            "GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=33554432"
            ":glibc.malloc.trim_threshold=67108864"
        },
        {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "67108864"},
    ],
)
def test_thresholds_that_the_user_set_are_left_alone(environment: dict[str, str]) -> None:
    in_a_load, _ = resident_after_free(**environment)
    assert in_a_load > SIZE_BYTES / 2
