"""A PostgreSQL of its own for a test or a measurement.

In a container where an engine runs; else Debian's package, on a socket in a folder.

with postgresql() as url:
    open_database(url)
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
from testcontainers.core.container import DockerContainer

from tests.support import engine, postgresql_image
from tests.support.ports import free_ports


class PostgresqlUnavailable(Exception):
    """It is not installed."""


_USER: Final = "postgres"
_DEBIAN: Final = Path("/usr/lib/postgresql")
_START_TIMEOUT_S: Final = 180.0
_POLL_S: Final = 0.3


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
        PostgresqlUnavailable: no engine runs, and the package is not installed.
        RuntimeError: it does not start.
    """
    if os.environ.get("SLOTCAST_MOSQUITTO") != "binary" and engine.engine_runs():
        with _container() as url:
            yield url
    else:
        with _package() as url:
            yield url


@contextmanager
def _container() -> Iterator[str]:
    try:
        image = postgresql_image.image()
    except engine.NoImage as exc:
        raise PostgresqlUnavailable(str(exc)) from exc
    container = DockerContainer(image).with_kwargs(labels=engine.process_label())
    container.with_env("POSTGRES_HOST_AUTH_METHOD", "trust")  # as the official image is told
    (port,) = free_ports(1)
    mapping: dict[str, Any] = container.ports  # wider than testcontainers says: see docker-py
    mapping["5432/tcp"] = ("127.0.0.1", port)
    with container as running:
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable"
        _wait_until_it_answers(url, lambda: b"".join(running.get_logs()).decode(errors="replace"))
        yield url


def _wait_until_it_answers(url: str, log: Callable[[], str]) -> None:
    """Wait for an answer twice in a row: the official image starts a first time to make itself."""
    deadline_s, answers = time.monotonic() + _START_TIMEOUT_S, 0
    while answers < 2:
        try:
            psycopg.connect(url, connect_timeout=5).close()
            answers += 1
        except psycopg.OperationalError as exc:
            answers = 0
            if time.monotonic() > deadline_s:
                raise RuntimeError(
                    f"PostgreSQL does not answer ({exc}); its log:\n{log()}"
                ) from exc
        time.sleep(_POLL_S)


@contextmanager
def _package() -> Iterator[str]:
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
