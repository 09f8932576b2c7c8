"""What `page` asks for: every screen and every path of the API, its lists in all their orders.

`UNTIMED` names the routes that are not timed, and why; a test holds that no other is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from sqlalchemy import Table, select

from benchmarks.page_world import CLOSELY, World
from slotcast_publisher.fleet.database.keyset import Value
from slotcast_publisher.fleet.database.tables import device_models, devices, history
from slotcast_publisher.fleet.web.paging import write_place
from slotcast_publisher.fleet.web.screens.devices_screen import place_words
from tests.support.large_fleet import MODEL, NEW, ROLLOUT

_V1: Final = "/api/v1"
_RELEASE: Final = f"{MODEL}/{NEW[0]}"
_LATE: Final = 0.9
"""Late pages begin behind so much of the list."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked for.

    Attributes:
        name: in the table.
        path: with its query.
        is_screen: a person asks by a session; else a program, by a token.
        is_first_byte: it is a long file, of which the first bytes are waited for.
    """

    name: str
    path: str
    is_screen: bool = False
    is_first_byte: bool = False


UNTIMED: Final[dict[str, str]] = {
    "/api/openapi": "the framework's, refused",
    "/api/openapi/openapi.json": "the framework's, refused",
    "/api/openapi/{path:str}": "the framework's, refused",
    "/api/v1/events/stream": "goes on: the viewers watch it",
    "/link/{secret:str}": "a form, without the fleet",
    "/live": "goes on: the viewers watch it",
    "/live/devices": "goes on: the viewers watch it",
    "/live/audit": "goes on; the screen is timed",
    "/live/devices/{device:str}": "goes on: the viewers watch it",
    "/live/releases": "goes on; the screen is timed",
    "/live/releases/{model:str}": "goes on; the screen is timed",
    "/live/releases/{model:str}/{version:str}": "goes on; the screen is timed",
    "/live/rollouts": "goes on; the screen is timed",
    "/live/rollouts/{name:str}": "goes on: the viewers watch it",
    "/live/tokens": "goes on; the screen is timed",
    "/live/users": "goes on; the screen is timed",
    "/sign-in": "a form, without the fleet",
    "/static/{digest:str}/{name:str}": "a file",
    "/static/{name:str}": "a file",
}
"""Routes that are not timed, and why."""


def asks(world: World) -> list[Ask]:
    """Give everything that is timed."""
    return [*_screens(world), *_files(), *_lists(world), *_paths(world)]


# --- what persons look at -------------------------------------------------------------------------


def _screens(world: World) -> list[Ask]:
    late = _places(world)

    def devices_of(name: str, **fields: str) -> Ask:
        return Ask(f"screen: devices{name}", f"/devices?{urlencode(fields)}", is_screen=True)

    def screen(name: str, path: str) -> Ask:
        return Ask(f"screen: {name}", path, is_screen=True)

    by_change = {"model": MODEL, "sort": "-changed"}
    return [
        screen("fleet", "/"),
        devices_of(""),
        devices_of(", a late page", after=place_words(late["id"])),
        devices_of(", heard last first", sort="-seen"),
        devices_of(
            ", heard last first, a late page", sort="-seen", after=place_words(late["-seen"])
        ),
        devices_of(", longest not heard first", sort="seen"),
        devices_of(", changed last first", **by_change),
        devices_of(
            ", changed last first, a late page", **by_change, after=place_words(late["-changed"])
        ),
        devices_of(" that failed", state="FAILED"),
        devices_of(" in a common state", state="QUEUED"),
        devices_of(" in a common state, heard last first", state="QUEUED", sort="-seen"),
        devices_of(" with a tag", q="site=plant-12"),
        devices_of(" with a common tag, heard last first", tag="board=rev-a", sort="-seen"),
        devices_of(" by a part of the id", q="0991"),
        devices_of(" by an id that is none", q="nowhere"),
        devices_of(" of a version", model=MODEL, version=NEW[0]),
        devices_of(" of a version that none runs", model=MODEL, version="1.0"),
        devices_of(" of a rollout's group", rollout=ROLLOUT, group="canary"),
        devices_of(" of a rollout", rollout=ROLLOUT),
        devices_of(" for a reason", reason="too_slow"),
        devices_of(" that are offline", presence="offline"),
        devices_of(" with a shared id", note="shared-id"),
        devices_of(" by several filters", q="board=rev-a 09", state="QUEUED", presence="online"),
        screen("device", f"/devices/{CLOSELY}"),
        screen("device, a month", f"/devices/{CLOSELY}?span=month"),
        screen("rollouts", "/rollouts"),
        screen("rollouts, a late page", "/rollouts?from=50"),
        screen("rollout", f"/rollouts/{ROLLOUT}"),
        screen("rollout, its whole log", f"/rollouts/{ROLLOUT}?log=all"),
        screen("releases", "/releases"),
        screen("releases of a model", f"/releases/{MODEL}"),
        screen("release", f"/releases/{_RELEASE}"),
        screen("release, by a tag", f"/releases/{_RELEASE}?by=board"),
        screen("release, by a tag of many values", f"/releases/{_RELEASE}?by=site"),
        screen("users", "/users"),
        screen("tokens", "/tokens"),
        screen("audit log", "/audit"),
        screen("audit log, a late page", "/audit?before=2000"),
        screen("audit log, by whom", "/audit?who=nobody"),
    ]


def _files() -> list[Ask]:
    tables = {
        "states": "/fleet/states.csv",
        "versions": "/fleet/versions.csv",
        "rollouts": "/rollouts.csv",
        "rollout, limits": f"/rollouts/{ROLLOUT}/limits.csv",
        "rollout, log": f"/rollouts/{ROLLOUT}/log.csv",
        "releases": "/releases.csv",
        "release, behaviour": f"/releases/{_RELEASE}/behaviour.csv",
        "device, history": f"/devices/{CLOSELY}/history.csv",
        "device, figures": f"/devices/{CLOSELY}/figures.csv",
        "device, transfers": f"/devices/{CLOSELY}/transfers.csv",
        "device, releases": f"/devices/{CLOSELY}/releases.csv",
        "device, evidence": f"/devices/{CLOSELY}/evidence.csv",
        "users": "/users.csv",
        "tokens": "/tokens.csv",
    }
    found = [Ask(f"CSV: {name}", path, is_screen=True) for name, path in tables.items()]
    for name, query in (
        ("", ""),
        (" that failed", "?state=FAILED"),
        (" of a rollout's group", _GROUP),
    ):
        ask = Ask(f"CSV: devices{name}, first bytes", f"/devices.csv{query}", True, True)
        found.append(ask)
    found.append(Ask("CSV: audit log, first bytes", "/audit.csv", True, is_first_byte=True))
    return found


_GROUP: Final = f"?rollout={quote(ROLLOUT)}&group=canary"


# --- what programs ask for ------------------------------------------------------------------------


def _lists(world: World) -> list[Ask]:
    """Give the lists of devices and events, and counts."""
    late = _places(world)

    def of(what: str, name: str, **fields: str) -> Ask:
        return Ask(f"API: {what}{name}", f"{_V1}/{what}?{urlencode(fields)}")

    def late_of(sort: str) -> dict[str, str]:
        return {"sort": sort, "after": write_place(sort, late[sort])}

    return [
        of("devices", ""),
        of("devices", ", 500 at once", limit="500"),
        of("devices", ", a late page", **late_of("id")),
        of("devices", ", heard last first", sort="-seen"),
        of("devices", ", heard last first, a late page", **late_of("-seen")),
        of("devices", ", changed last first", model=MODEL, sort="-changed"),
        of("devices", ", changed last first, a late page", model=MODEL, **late_of("-changed")),
        of("devices", " with a tag", q="site=plant-12"),
        of("devices", " that failed", state="FAILED"),
        of("devices", " of a version", model=MODEL, version=NEW[0]),
        of("devices", " of a rollout's group", rollout=ROLLOUT, group="canary"),
        of("devices", " by a part of the id", q="0991"),
        of("devices", " that are offline", online="false"),
        of("devices", " not heard for a day", unseen_since="1d"),
        of("counts", ""),
        of("counts", " of a tag", q="site=plant-12"),
        of("counts", " of those that failed", state="FAILED"),
        of("counts", " of a version", model=MODEL, version=NEW[0]),
        of("counts", " of a rollout's group", rollout=ROLLOUT, group="canary"),
        of("counts", " of a part of the id", q="0991"),
        of("counts", " of those that are offline", online="false"),
        of("counts", " of those that are online", online="true"),
        of("counts", " of a common state", state="QUEUED"),
        of("events", "", limit="100"),
        of("events", ", a late page", after=write_place("-at", late["events"])),
        of("events", " of a device", device=CLOSELY),
        of("events", " of a model", model=MODEL),
        of("events", " of a rollout", rollout=ROLLOUT),
    ]


def _paths(world: World) -> list[Ask]:
    rollout, release = f"{_V1}/rollouts/{ROLLOUT}", f"{_V1}/models/{MODEL}/releases/{NEW[0]}"
    (answered,) = (world.path / "rollouts" / ROLLOUT / "answered").glob("*.json")
    request = answered.stem.partition("-")[2]
    paths = {
        "the fleet in numbers": f"{_V1}/fleet",
        "tags": f"{_V1}/tags",
        "values of a tag": f"{_V1}/tags?key=site",
        "device": f"{_V1}/devices/{CLOSELY}",
        "device, its figures": f"{_V1}/devices/{CLOSELY}/figures?model={MODEL}",
        "device, its notes": f"{_V1}/devices/{CLOSELY}/notes",
        "figures of releases": f"{_V1}/figures",
        "figures by the hour": f"{_V1}/figures/{MODEL}/hours",
        "models": f"{_V1}/models",
        "model": f"{_V1}/models/{MODEL}",
        "releases": f"{_V1}/models/{MODEL}/releases",
        "release": release,
        "release, a plan for it": f"{release}/plan",
        "release, its notes": f"{release}/notes",
        "rollouts": f"{_V1}/rollouts",
        "rollout": rollout,
        "rollout, its groups": f"{rollout}/groups",
        "rollout, its log": f"{rollout}/log",
        "rollout, its plan": f"{rollout}/plan",
        "rollout, its state": f"{rollout}/state",
        "rollout, a request": f"{rollout}/requests/{request}",
        "alarms": f"{_V1}/alarms?past=100",
        "users": f"{_V1}/users",
        "user": f"{_V1}/users/person-1",
        "tokens": f"{_V1}/tokens",
        "audit log": f"{_V1}/audit",
        "OpenAPI": f"{_V1}/openapi.json",
        "figures for Prometheus": "/metrics",
        "health": "/healthz",
        "readiness": "/readyz",
    }
    return [Ask(f"API: {name}", path) for name, path in paths.items()]


def _places(world: World) -> dict[str, tuple[Value, ...]]:
    """Give where late pages begin, by the order of the list."""
    d, m, h = devices.c, device_models.c, history.c
    return {
        "id": _place(world, devices, (d.id,), (d.id,)),
        "-seen": _place(world, devices, (d.seen_s, d.id), (d.seen_s.desc(), d.id)),
        "-changed": _place(
            world, device_models, (m.changed_s, m.device), (m.changed_s.desc(), m.device)
        ),
        "events": _event(_place(world, history, (h.at_s, h.id), (h.at_s.desc(), h.id.desc()))),
    }


def _place(world: World, table: Table, columns: Any, order: Any) -> tuple[Value, ...]:
    query = select(*columns).select_from(table).order_by(*order).offset(int(world.count * _LATE))
    with world.database.reading() as connection:
        return tuple(connection.execute(query.limit(1)).one())


def _event(place: tuple[Value, ...]) -> tuple[Value, ...]:
    at_s, number = place
    return at_s, f"d{number}"
