"""A PostgreSQL of its own for a measurement, from Debian's package: on a socket in a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.report import CannotRun

_USER: Final = "postgres"
_DEBIAN: Final = Path("/usr/lib/postgresql")


def tool(name: str) -> str:
    """Give the path of one of PostgreSQL's programs.

    Raises:
        CannotRun: it is not installed.
    """
    found = shutil.which(name)
    places = sorted(_DEBIAN.glob(f"*/bin/{name}"))
    if not found and not places:
        raise CannotRun("PostgreSQL is not installed: Debian's package `postgresql` has it")
    return str(places[-1]) if places else str(found)


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Run one for the length of the block; gives the URL of an empty database.

    Args:
        folder: where its files and its socket are.

    Raises:
        CannotRun: it is not installed, or does not start.
    """
    home = folder / "postgresql"
    home.mkdir()
    as_root = os.geteuid() == 0  # whom it refuses to run as
    if as_root:
        for place in (home, *home.parents):
            if place.stat().st_uid == 0 and place.is_relative_to(folder):
                place.chmod(0o711)
        shutil.chown(home, _USER)
    data = home / "data"
    _run(as_root, tool("initdb"), "-D", data, "-U", "slotcast", "--auth=trust", "--no-sync")
    options = f"-c listen_addresses='' -c unix_socket_directories={home}"
    _run(as_root, tool("pg_ctl"), "-D", data, "-w", "-l", home / "log", "-o", options, "start")
    try:
        yield f"postgresql://slotcast@/postgres?host={home}"
    finally:
        _run(as_root, tool("pg_ctl"), "-D", data, "-w", "-m", "immediate", "stop")


def _run(as_root: bool, *command: str | Path) -> None:
    done = subprocess.run(
        [str(part) for part in command],
        user=_USER if as_root else None,
        group=_USER if as_root else None,
        extra_groups=[] if as_root else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        cwd="/",
    )
    if done.returncode:
        raise CannotRun(f"{Path(command[0]).name} failed: {done.stderr.strip()[-300:]}")
