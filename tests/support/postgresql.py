"""A PostgreSQL of its own for a test or a measurement: Debian's package, on a socket in a folder.

with postgresql() as url:
    open_database(url)
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final


class PostgresqlUnavailable(Exception):
    """It is not installed."""


_USER: Final = "postgres"
_DEBIAN: Final = Path("/usr/lib/postgresql")


def tool(name: str) -> str:
    """Give the path of one of PostgreSQL's programs.

    Raises:
        PostgresqlUnavailable: it is not installed.
    """
    found = shutil.which(name)
    places = sorted(_DEBIAN.glob(f"*/bin/{name}"))
    if not found and not places:
        raise PostgresqlUnavailable(
            "PostgreSQL is not installed: Debian's package `postgresql` has it"
        )
    return str(places[-1]) if places else str(found)


@contextmanager
def postgresql() -> Iterator[str]:
    """Run one for the length of a block; gives the URL of an empty database.

    Raises:
        PostgresqlUnavailable: it is not installed.
        RuntimeError: it does not start.
    """
    initdb, pg_ctl = tool("initdb"), tool("pg_ctl")
    as_root = os.geteuid() == 0  # whom it refuses to run as
    # Not in a folder of pytest's: nobody else may enter those. And a socket's path is short.
    with tempfile.TemporaryDirectory(prefix="slotcast-postgresql-") as folder:
        home = Path(folder)
        if as_root:
            shutil.chown(home, _USER)
        data = home / "data"
        _run(as_root, initdb, "-D", data, "-U", "slotcast", "--auth=trust", "--no-sync")
        options = f"-c listen_addresses='' -c unix_socket_directories={home}"
        _run(as_root, pg_ctl, "-D", data, "-w", "-l", home / "log", "-o", options, "start")
        try:
            yield f"postgresql://slotcast@/postgres?host={home}"
        finally:
            _run(as_root, pg_ctl, "-D", data, "-w", "-m", "immediate", "stop")


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
        raise RuntimeError(f"{Path(command[0]).name} failed: {done.stderr.strip()[-300:]}")
