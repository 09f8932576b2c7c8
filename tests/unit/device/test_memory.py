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


ARENAS = """
import ctypes, os, tempfile, threading
from slotcast_device.runtime.arena import share_one_arena

share_one_arena()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
libc.malloc.restype = ctypes.c_void_p
go = threading.Barrier(4)

def allocate():
    go.wait()  # all are alive at once, or they would take turns with one arena anyway
    libc.free(ctypes.c_void_p(libc.malloc(1000)))
    go.wait()

threads = [threading.Thread(target=allocate) for _ in range(3)]
for thread in threads: thread.start()
go.wait()
go.wait()
with tempfile.NamedTemporaryFile() as told:
    stream = ctypes.c_void_p(libc.fopen(told.name.encode(), b"w"))
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    print(told.read().count(b"<heap nr="))
"""


@pytest.mark.parametrize(
    ("environment", "most"), [({}, 1), ({"MALLOC_ARENA_MAX": "8"}, 8)], ids=["ours", "the user's"]
)
def test_threads_allocate_from_one_arena_unless_the_environment_says_otherwise(
    environment: dict[str, str], most: int
) -> None:
    kept = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    command = [sys.executable, "-c", ARENAS]
    done = subprocess.run(
        command, env={**kept, **environment}, capture_output=True, text=True, check=True
    )
    arenas = int(done.stdout)
    assert arenas == 1 if most == 1 else 1 < arenas <= most
