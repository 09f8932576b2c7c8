"""How long the page takes at 100,000 devices, and what 50 viewers cost the intake.

Each screen and each path of the API is asked for many times, one after the other, as a signed-in
person or a program asks, over HTTP on this machine; answers are not shared between those requests
(each waits until what is shared has ended, or asks for another page). SQLite and PostgreSQL.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from typing import Final

import httpx

from benchmarks import page_viewers
from benchmarks.report import CannotRun, Figure, Options
from slotcast_publisher.fleet.access.roles import Permission, Role
from slotcast_publisher.fleet.web.shared import SHARED_S
from tests.support import large_fleet
from tests.support.page import running_page
from tests.support.postgresql import PostgresqlUnavailable, postgresql

DEVICES: Final = 100_000
QUICK_DEVICES: Final = 5_000
TIMES: Final = 20
QUICK_TIMES: Final = 5
LIMIT_S: Final = 0.2
"""What the 95th of a hundred answers may take."""
_SHARE: Final = 0.95
_MODEL: Final = large_fleet.MODEL

PATHS: Final[dict[str, str]] = {
    "the fleet in numbers": "/api/v1/fleet",
    "counts by version and state": "/api/v1/counts",
    "devices, by id": "/api/v1/devices?limit=50",
    "devices, last heard first": "/api/v1/devices?limit=50&sort=-seen",
    "devices, last changed first": f"/api/v1/devices?limit=50&model={_MODEL}&sort=-changed",
    "devices of a tag": "/api/v1/devices?q=site=plant-12",
    "devices that failed": "/api/v1/devices?state=FAILED",
    "devices of a version": f"/api/v1/devices?model={_MODEL}&version=7.0",
    "devices of a group": f"/api/v1/devices?rollout={large_fleet.ROLLOUT}&group=canary",
    "devices by a part of the id": "/api/v1/devices?q=0991",
    "a device": f"/api/v1/devices/{large_fleet.device_id(500)}",
    "models": "/api/v1/models",
    "a model's figures by the hour": f"/api/v1/figures/{_MODEL}/hours",
    "rollouts": "/api/v1/rollouts",
    "events": "/api/v1/events?limit=100",
    "alarms": "/api/v1/alarms",
    "tags": "/api/v1/tags",
    "figures for Prometheus": "/metrics",
}
"""What programs ask for."""
SCREENS: Final[dict[str, str]] = {
    "screen: fleet": "/",
    "screen: fleet, devices that failed": "/?state=FAILED",
    "screen: device": f"/devices/{large_fleet.device_id(500)}",
}
"""What people look at, as far as a made fleet has it."""


def run(options: Options) -> list[Figure]:
    """Time each screen and path, and the intake beside 50 viewers."""
    figures = _timed(options, "SQLite", None)
    try:
        with postgresql() as url:
            figures += _timed(options, "PostgreSQL", url)
    except PostgresqlUnavailable as exc:
        raise CannotRun(str(exc)) from exc
    return [*figures, *page_viewers.run(options)]


def _timed(options: Options, kind: str, url: str | None) -> list[Figure]:
    devices = QUICK_DEVICES if options.quick else DEVICES
    times = QUICK_TIMES if options.quick else TIMES
    folder = options.work / kind
    folder.mkdir()
    with running_page(folder, url) as page:
        options.say(f"{kind}: writing {devices} devices")
        large_fleet.fill(page.database, devices, now_s=int(time.time()))
        options.say(f"{kind}: asking {times} times for each")
        program, person = page.program(*Permission), page.browser("olga", Role.ADMIN)
        figures = [_figure(kind, name, program, path, times) for name, path in PATHS.items()]
        screens = {n: p for n, p in SCREENS.items() if person.get(p).status_code == 200}
        figures += [_figure(kind, name, person, path, times) for name, path in screens.items()]
    return figures


def _figure(kind: str, name: str, client: httpx.Client, path: str, times: int) -> Figure:
    taken_s, used_s = zip(*(_ask(client, path) for _ in range(times)), strict=True)
    processor_ms = statistics.median(used_s) * 1000
    note = f"median {statistics.median(taken_s) * 1000:.0f} ms, {times} times"
    note += f"; processor time of page and client {processor_ms:.0f} ms"
    p95_ms = quantile(taken_s, _SHARE) * 1000
    return Figure(f"{kind}: {name}, p95", p95_ms, "ms", LIMIT_S * 1000, note=note)


def _ask(client: httpx.Client, path: str) -> tuple[float, float]:
    """Ask when no shared answer is left; gives the seconds that it took, and of the processor."""
    time.sleep(1.05 * SHARED_S)
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    answer = client.get(path)
    taken_s, used_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    if answer.status_code != 200:
        raise CannotRun(f"{path} answers {answer.status_code}: {answer.text[:300]}")
    return taken_s, used_s


def quantile(values: Sequence[float], share: float) -> float:
    """Give what a share of the values do not exceed.

    Args:
        values: in any order.
        share: of them.
    """
    return sorted(values)[math.ceil(share * len(values)) - 1]
