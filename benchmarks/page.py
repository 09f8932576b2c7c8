"""How long the page takes at 100,000 devices, and what 50 viewers cost the intake.

Each screen, each path of the API and the beginning of each file (`page_paths`) is asked for many
times, as a signed-in person or a program asks, over HTTP on this machine. What is shared for a
while is made anew for each (`page_world.Clock`): this is what the first of many viewers waits for.
Then the intake writes beside 50 viewers, and alone (`page_viewers`). SQLite and PostgreSQL.
"""

from __future__ import annotations

import math
import re
import shutil
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from benchmarks import page_viewers
from benchmarks.page_paths import Ask, asks
from benchmarks.page_table import write_table
from benchmarks.page_world import World, make_repository, page_world
from benchmarks.processor import server_cpu_s
from benchmarks.report import CannotRun, Figure, Options
from slotcast_publisher.fleet.access.roles import Permission, Role
from tests.support.page import HTML
from tests.support.postgresql import PostgresqlUnavailable, postgresql

DEVICES: Final = 100_000
QUICK_DEVICES: Final = 5_000
DEVICES_MIN: Final = 100
"""So few, and there would be no late page."""
TIMES: Final = 20
QUICK_TIMES: Final = 5
LIMIT_S: Final = 0.2
"""What the 95th of a hundred answers may take."""
KINDS: Final = ("SQLite", "PostgreSQL")
_SHARE: Final = 0.95
_CSV_MIN_BYTES: Final = 10_000
"""So many bytes of a long file are waited for: more than its head."""


@dataclass(frozen=True, slots=True)
class Timed:
    """What one thing that is asked for took.

    Attributes:
        taken_s: each time, until the answer was there.
        page_cpu_s: processor time of the page, and of who asked, each time, in the middle.
        server_cpu_s: the same of the database's server; 0 for SQLite.
    """

    ask: Ask
    taken_s: Sequence[float]
    page_cpu_s: float
    server_cpu_s: float

    @property
    def p95_ms(self) -> float:
        """What 95 of a hundred do not exceed."""
        return quantile(self.taken_s, _SHARE) * 1e3

    @property
    def median_ms(self) -> float:
        """What half of them do not exceed."""
        return statistics.median(self.taken_s) * 1e3

    @property
    def cpu_ms(self) -> float:
        """Processor time of all who work for an answer."""
        return (self.page_cpu_s + self.server_cpu_s) * 1e3


def run(options: Options) -> list[Figure]:
    """Time everything that the page answers, and the intake beside 50 viewers.

    `--only REGEX` takes some of `SQLite: screen: fleet`, `PostgreSQL: viewers` and so on; where it
    names a database, the other one is left out. `--devices N` takes another number of devices.
    """
    repo = options.work / "repo"
    make_repository(repo)
    timed: dict[str, list[Timed]] = {}
    figures: list[Figure] = []
    for kind in [kind for kind in KINDS if kind in options.only] or KINDS:
        options.say(kind)
        timed[kind], more = _measured(options, kind, repo)
        figures += [_figure(kind, each, options) for each in timed[kind]] + more
    if options.table is not None:
        write_table(options.table, timed, figures, _devices(options))
    return figures


def _measured(options: Options, kind: str, repo: Path) -> tuple[list[Timed], list[Figure]]:
    own = options.work / kind
    shutil.copytree(repo, own, symlinks=True)
    with ExitStack() as stack:
        url = None
        if kind == "PostgreSQL":
            try:
                url = stack.enter_context(postgresql())
            except PostgresqlUnavailable as exc:
                raise CannotRun(str(exc)) from exc
        world = stack.enter_context(page_world(options, own, url, _devices(options)))
        found = _timed(options, kind, world)
        name = f"{kind}: a look of whoever drives a rollout, processor time"
        figures = [Figure(name, world.look_s, "s", note="once each 20 times as long")]
        if re.search(options.only, f"{kind}: viewers"):
            figures += page_viewers.run(options, kind, world)
    return found, figures


def _devices(options: Options) -> int:
    count = options.devices or (QUICK_DEVICES if options.quick else DEVICES)
    if count < DEVICES_MIN:
        raise CannotRun(f"--devices: expected {DEVICES_MIN} or more, got {count}")
    return count


# --- asking ---------------------------------------------------------------------------------------


def _timed(options: Options, kind: str, world: World) -> list[Timed]:
    program = world.page.program(*Permission)
    person = world.page.browser("olga", Role.ADMIN)
    chosen = [ask for ask in asks(world) if re.search(options.only, f"{kind}: {ask.name}")]
    times = QUICK_TIMES if options.quick else TIMES
    options.say(f"asking {times} times for each of {len(chosen)}")
    return [_time(world, person if a.is_screen else program, a, times) for a in chosen]


def _time(world: World, client: httpx.Client, ask: Ask, times: int) -> Timed:
    """Ask once so that all is loaded, and then so many times, each time for something new."""
    read = _first_bytes if ask.is_first_byte else _whole
    taken_s, page_cpu_s, server_s = [], [], 0.0
    for number in range(times + 1):
        world.clock.leap()
        if number == 1:
            server_s = server_cpu_s(world.database)
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        read(client, ask.path)
        taken_s.append(time.perf_counter() - began_s)
        page_cpu_s.append(time.process_time() - began_cpu_s)
    server_s = (server_cpu_s(world.database) - server_s) / times
    return Timed(ask, taken_s[1:], statistics.median(page_cpu_s[1:]), server_s)


def _whole(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    if answer.status_code != httpx.codes.OK:
        raise CannotRun(f"{path} answers {answer.status_code}: {answer.text[:300]}")


def _first_bytes(client: httpx.Client, path: str) -> None:
    with client.stream("GET", path, headers=HTML) as answer:
        if answer.status_code != httpx.codes.OK:
            raise CannotRun(f"{path} answers {answer.status_code}")
        came = 0
        for part in answer.iter_bytes():
            came += len(part)
            if came >= _CSV_MIN_BYTES:
                return


def _figure(kind: str, timed: Timed, options: Options) -> Figure:
    note = f"median {timed.median_ms:.0f} ms, {len(timed.taken_s)} times"
    note += f"; processor time {timed.cpu_ms:.0f} ms"
    if timed.server_cpu_s:
        note += f", of it the server {timed.server_cpu_s * 1e3:.0f}"
    return Figure(f"{kind}: {timed.ask.name}", timed.p95_ms, "ms", LIMIT_S * 1e3, note=note)


def quantile(values: Sequence[float], share: float) -> float:
    """Give what a share of the values do not exceed.

    Args:
        values: in any order.
        share: of them.
    """
    return sorted(values)[math.ceil(share * len(values)) - 1]
