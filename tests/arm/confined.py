"""Runs inside the aarch64 root: the probe's confinement is asked of this kernel and processor.

One line for each thing, `ok` or `FAIL` first. Imports nothing but the device client.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

from slotcast_schemas.confinement import sandbox
from slotcast_schemas.probe import confine

ME = [sys.executable, __file__]
CPU_SOFT_S, CPU_HARD_S = 1, 3
TIMEOUT_S = 120


def say(is_well: bool, what: str) -> None:
    print("ok  " if is_well else "FAIL", what, flush=True)


def child_goes_with_its_parent() -> bool:
    """The child holds the writing end of a pipe: its end is the pipe's end."""
    reading, writing = os.pipe()
    parent = subprocess.Popen([*ME, "parent"], stdout=writing)
    os.close(writing)
    with os.fdopen(reading) as lines:
        first = lines.readline().strip()
        parent.kill()
        parent.wait(TIMEOUT_S)
        signal.alarm(TIMEOUT_S)  # a child that stayed would keep the pipe open
        rest = lines.read()
        signal.alarm(0)
    return first == "ready" and not rest


def busy_child_ends() -> bool:
    return (
        subprocess.run([*ME, "busy"], timeout=TIMEOUT_S, check=False).returncode == -signal.SIGXCPU
    )


def file_cannot_be_written() -> bool:
    try:
        descriptor = os.open("/tmp/written", os.O_CREAT | os.O_WRONLY)
        os.write(descriptor, b"x")
    except OSError:
        return True
    return False


def goes_on_with_the_layers_that_hold() -> bool:
    """Emulated by qemu-user there may be none; what is asked is that the process goes on."""
    done = subprocess.run(
        [*ME, "closed"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    return done.returncode == 0 and done.stdout.startswith("went on")


def main() -> None:
    match sys.argv[1:]:
        case ["closed"]:
            kind = sandbox.Kind.RUNTIME
            lacks = [*sandbox.close_network(kind), *sandbox.close_in(kind, [Path("/usr")])]
            print("went on without", [f"{lack.layer}: {lack.why}" for lack in lacks])
        case ["parent"]:
            subprocess.run([*ME, "child"], check=False)
        case ["child"]:
            confine.die_with(os.getppid())
            print("ready", flush=True)
            signal.pause()
        case ["busy"]:
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SOFT_S, CPU_HARD_S))
            while True:
                pass
        case _:
            say(child_goes_with_its_parent(), "PR_SET_PDEATHSIG: the child goes with its parent")
            say(busy_child_ends(), "RLIMIT_CPU: a busy child ends with SIGXCPU")
            say(goes_on_with_the_layers_that_hold(), "closed in by the layers that hold here")
            confine.die_with(os.getppid())
            confine.limit_process(60)
            status = Path("/proc/self/status").read_text()
            say("NoNewPrivs:\t1" in status, "no new privileges")
            say(file_cannot_be_written(), "RLIMIT_FSIZE: no file is written")


if __name__ == "__main__":
    main()
