"""A large fleet in SQLite: no page of a list, and no count, looks through it needlessly.

SQLite plans by what indexes there are, not by how many rows: 10,000 devices are planned for like
100,000, which `make bench ARGS=page` times.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, event

from slotcast_publisher.fleet.database import (
    device_pages,
    events,
    fleet_counts,
    kept_counts,
    listing,
    rollouts,
    tables,
)
from slotcast_publisher.fleet.database.database import Database, open_database
from slotcast_publisher.fleet.database.device_counts import (
    ModelCount,
    count_devices,
    count_models,
    counted,
    states_of,
    versions_of,
)
from slotcast_publisher.fleet.database.device_pages import SORTS, Sort, count_of, device_page
from slotcast_publisher.fleet.database.folding import fold_metrics
from slotcast_publisher.fleet.database.listing import DevicesWanted
from slotcast_schemas.errors import UsageError
from tests.support import large_fleet
from tests.support.fleet_database import metrics_row, put
from tests.support.large_fleet import MODEL, NOW_S, ROLLOUT

COUNT = 10_000
TABLES = ("devices", "device_models", "device_tags", "history", "metrics", "metrics_releases")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with open_database(tmp_path_factory.mktemp("large") / "fleet.db") as database:
        large_fleet.fill(database, COUNT, with_figures=False)
        row = metrics_row("cam-000001", 1, NOW_S, large_fleet.summary())
        put(database, tables.metrics, row | {"is_folded": True})
        yield database


class Plans:
    """How SQLite means to answer each statement of a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._said: list[tuple[str, Any]] = []
        event.listen(connection, "before_cursor_execute", self._note)

    def _note(self, _c: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        if not statement.startswith("EXPLAIN"):
            self._said.append((statement, values))

    def scans(self) -> list[str]:
        """Tables that are looked through without an index, in any statement so far."""
        found = []
        for statement, values in list(self._said):
            rows = self._connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            for row in rows:
                scan = re.match(r"SCAN (\w+)(?! USING)", row[3])
                if scan and scan[1] in TABLES and " USING " not in row[3]:
                    found.append(f"{row[3]}: {statement}")
        return found

    def indexes(self) -> list[str]:
        """Indexes by which rows are looked for, in all statements so far."""
        found = []
        for statement, values in list(self._said):
            rows = self._connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            found += re.findall(r"SEARCH .* INDEX (.*)", "\n".join(row[3] for row in rows))
        return found

    def within_correlated(self) -> list[str]:
        """What is done again for each row of a statement."""
        found = []
        for statement, values in list(self._said):
            rows = self._connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            steps = [(row[0], row[1], row[3]) for row in rows]
            again = {number for number, _, text in steps if text.startswith("CORRELATED")}
            found += [text for _, parent, text in steps if parent in again]
        return found


def counts(
    connection: Connection, wanted: DevicesWanted
) -> tuple[tuple[int, int], list[ModelCount]]:
    return count_devices(connection, wanted), count_models(connection, wanted)


ANSWERED_BY_AN_INDEX: dict[str, Callable[[Connection], Any]] = {
    "the first page": lambda c: device_page(c, DevicesWanted(), limit=50),
    "a page from the middle": lambda c: device_page(
        c, DevicesWanted(), limit=50, behind=(large_fleet.device_id(COUNT // 2),)
    ),
    "by id": lambda c: device_page(c, DevicesWanted(device=large_fleet.device_id(7)), limit=50),
    "by tag": lambda c: device_page(c, DevicesWanted(tags={"site": "plant-12"}), limit=50),
    "by state": lambda c: device_page(c, DevicesWanted(state="FAILED"), limit=50),
    "by reason": lambda c: device_page(c, DevicesWanted(reason="too_slow"), limit=50),
    "by model and state": lambda c: device_page(
        c, DevicesWanted(model=MODEL, state="FAILED"), limit=50
    ),
    "of a version": lambda c: device_page(c, DevicesWanted(model=MODEL, version="7.0"), limit=50),
    "count of a version": lambda c: count_of(c, DevicesWanted(model=MODEL, version="7.0")),
    "of a group": lambda c: device_page(
        c, DevicesWanted(deployment=ROLLOUT, group="canary", state="FAILED"), limit=50
    ),
    "last changed": lambda c: device_page(c, DevicesWanted(model=MODEL), "-changed", limit=50),
    "many with a state": lambda c: device_page(
        c, DevicesWanted(model=MODEL, state="QUEUED"), limit=50
    ),
    "count of a state": lambda c: count_of(c, DevicesWanted(model=MODEL, state="FAILED")),
    "count of a tag": lambda c: count_of(c, DevicesWanted(tags={"site": "plant-12"})),
    "versions": fleet_counts.version_counts,
    "states": fleet_counts.state_counts,
    "tags of a model": lambda c: kept_counts.tag_keys(c, MODEL, limit=12),
    "where a release runs, by a tag": lambda c: kept_counts.running_by_tag(
        c, MODEL, 7, "site", limit=40
    ),
    "where a release runs, by group": lambda c: kept_counts.running_by_group(c, MODEL, 7, limit=40),
    "presence": lambda c: fleet_counts.presence(c, NOW_S - 3600),
    "counts of those that are online": lambda c: counted(c, DevicesWanted(online=True)),
    "figures that are not added up yet": fleet_counts.unfolded_count,
    "adding figures up": lambda c: fold_metrics(c, 1),
    "figures as a rollout's driver reads them": lambda c: rollouts.devices_of(c, "another"),
    "models": listing.models_of_devices,
    "of a version that few run": lambda c: device_page(
        c, DevicesWanted(model=MODEL, version="6.9"), limit=50
    ),
    "counts of a version": lambda c: counts(c, DevicesWanted(model=MODEL, version="7.0")),
    "counts of a state": lambda c: counts(c, DevicesWanted(state="QUEUED")),
    "counts of a group": lambda c: counts(
        c, DevicesWanted(model=MODEL, deployment=ROLLOUT, group="canary")
    ),
    "counts of a tag": lambda c: counts(c, DevicesWanted(tags={"site": "plant-12"})),
    "count of a group": lambda c: count_of(
        c, DevicesWanted(model=MODEL, deployment=ROLLOUT, group="canary")
    ),
    "events": lambda c: events.events_before(c, events.About(), 50),
    "events of a device": lambda c: events.events_before(
        c, events.About(device=large_fleet.device_id(7)), 50
    ),
    "news": lambda c: events.news(c, events.Marks(history=COUNT - 10)),
    "history": lambda c: listing.history_of(c, large_fleet.device_id(7)),
}


@pytest.mark.parametrize("name", ANSWERED_BY_AN_INDEX)
def test_no_table_is_looked_through_where_an_index_answers(fleet: Database, name: str) -> None:
    with fleet.reading() as connection:
        plans = Plans(connection)
        ANSWERED_BY_AN_INDEX[name](connection)
        assert plans.scans() == []


def test_what_is_sorted_by_when_it_was_heard_is_looked_through_and_the_check_sees_it(
    fleet: Database,
) -> None:
    with fleet.reading() as connection:
        plans = Plans(connection)
        device_page(connection, DevicesWanted(), "-seen", limit=50)
        assert plans.scans()


@pytest.mark.parametrize(
    "wanted",
    [
        DevicesWanted(deployment=ROLLOUT),
        DevicesWanted(deployment=ROLLOUT, group="everyone"),
        DevicesWanted(model=MODEL, state="QUEUED"),
        DevicesWanted(model=MODEL, version="6.0", state="QUEUED"),
    ],
    ids=str,
)
def test_where_many_are_asked_for_each_device_is_looked_up_by_its_key(
    fleet: Database, wanted: DevicesWanted
) -> None:
    with fleet.reading() as connection:
        plans = Plans(connection)
        page = device_page(connection, wanted, limit=50)
        looked_up = plans.within_correlated()
        assert looked_up
        assert all("(device=?" in text for text in looked_up), looked_up
    assert len(page.devices) == 50


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (
            DevicesWanted(model=MODEL, version="6.9"),
            "ix_device_models_release (model=? AND active_sequence=? AND active_version=?)",
        ),
        (
            DevicesWanted(model=MODEL, deployment=ROLLOUT, group="canary"),
            "ix_device_models_deployment (deployment=? AND group_name=?)",
        ),
    ],
    ids=str,
)
def test_few_of_a_model_are_found_without_all_of_the_model(
    fleet: Database, wanted: DevicesWanted, index: str
) -> None:
    with fleet.reading() as connection:
        plans = Plans(connection)
        device_page(connection, wanted, limit=50)
        count_models(connection, wanted)
        assert index in plans.indexes()
        assert not {"ix_device_models_changed (model=?)"} & set(plans.indexes())


# --- pages --------------------------------------------------------------------------------------

SUBSET = DevicesWanted(model=MODEL, tags={"site": "plant-12"})


def walk(database: Database, wanted: DevicesWanted, sort: Sort, limit: int) -> list[str]:
    """Page through a list, and give the ids in the order in which they came."""
    found: list[str] = []
    behind = None
    while True:
        with database.reading() as connection:
            page = device_page(connection, wanted, sort, limit=limit, behind=behind)
        assert len(page.devices) <= limit
        found += [device.id for device in page.devices]
        if page.last is None:
            return found
        behind = page.last


@pytest.mark.parametrize(
    "wanted",
    [
        DevicesWanted(state="QUEUED"),
        DevicesWanted(tags={"board": "rev-a"}),
        DevicesWanted(tags={"board": "rev-a", "site": "plant-12"}, state="QUEUED"),
    ],
    ids=str,
)
@pytest.mark.parametrize("sort", ["seen", "-seen"])
def test_where_few_of_those_heard_last_are_asked_for_more_are_looked_at(
    fleet: Database, monkeypatch: pytest.MonkeyPatch, wanted: DevicesWanted, sort: Sort
) -> None:
    monkeypatch.setattr(device_pages, "FEW_MAX", 10)
    monkeypatch.setattr(device_pages, "_FIRST", (100, 400, None))
    with fleet.reading() as connection:
        every = listing.known_devices(connection, wanted)
    by_id = sorted(every, key=lambda device: device.id)
    expected = sorted(by_id, key=place(sort), reverse=sort.startswith("-"))
    found = walk(fleet, wanted, sort, max(90, len(expected) // 3))
    assert found == [device.id for device in expected]


def place(sort: Sort) -> Callable[[listing.KnownDevice], Any]:
    match sort.removeprefix("-"):
        case "seen":
            return lambda device: device.row["seen_s"]
        case "changed":
            return lambda device: device.models[0].changed_s
    return lambda device: device.id


@pytest.mark.parametrize("sort", SORTS)
def test_pages_give_each_device_once_in_order(fleet: Database, sort: Sort) -> None:
    with fleet.reading() as connection:
        every = listing.known_devices(connection, SUBSET)
    by_id = sorted(every, key=lambda device: device.id)
    expected = sorted(by_id, key=place(sort), reverse=sort.startswith("-"))
    assert len(expected) == COUNT // large_fleet.SITES
    assert walk(fleet, SUBSET, sort, 7) == [device.id for device in expected]


@pytest.mark.parametrize(
    "wanted",
    [
        DevicesWanted(state="FAILED"),
        DevicesWanted(state="QUEUED", tags={"board": "rev-a"}),
        DevicesWanted(reason="too_slow"),
        DevicesWanted(model=MODEL, version="7.0", online=False),
        DevicesWanted(words=("9", "CAM-0")),
        DevicesWanted(deployment=ROLLOUT, group="canary"),
        DevicesWanted(shares_id=True),
        DevicesWanted(words=("%",)),
        DevicesWanted(seen_since_s=large_fleet.NOW_S - 60),
    ],
    ids=str,
)
def test_a_count_is_of_what_the_pages_give(fleet: Database, wanted: DevicesWanted) -> None:
    with fleet.reading() as connection:
        page = device_page(connection, wanted, limit=100)
        every = listing.known_devices(connection, wanted)
        count = count_of(connection, wanted)
    assert count == len(every)
    assert [d.id for d in page.devices] == [d.id for d in every[:100]]
    assert (page.last is None) == (count <= 100)


def test_counts_are_those_of_the_devices(fleet: Database) -> None:
    with fleet.reading() as connection:
        found = fleet_counts.presence(connection, large_fleet.NOW_S - 3600)
        states = fleet_counts.state_counts(connection, MODEL)
        versions = fleet_counts.version_counts(connection)
        slow = count_models(connection, DevicesWanted())
    assert (found.devices, found.online) == (COUNT, COUNT * 9 // 10)
    assert [(s.model, s.state, s.reason, s.devices) for s in states] == states_of(slow)
    assert [(v.model, v.version, v.devices) for v in versions] == versions_of(slow)
    assert sum(v.devices for v in versions) == COUNT
    assert [v.version for v in versions] == ["7.0", "6.0"]


@pytest.mark.parametrize(
    "wanted",
    [
        DevicesWanted(),
        DevicesWanted(online=True),
        DevicesWanted(online=False),
        DevicesWanted(state="FAILED"),
        DevicesWanted(state="QUEUED", tags={"board": "rev-a"}),
        DevicesWanted(model=MODEL, version="7.0"),
        DevicesWanted(model=MODEL, version="7.0", online=False),
        DevicesWanted(model=MODEL, version="6.0", state="FAILED"),
        DevicesWanted(model=MODEL, deployment=ROLLOUT, group="canary"),
        DevicesWanted(words=("99",)),
        DevicesWanted(model="another"),
    ],
    ids=str,
)
def test_what_is_counted_of_some_devices_is_what_they_say(
    fleet: Database, wanted: DevicesWanted
) -> None:
    with fleet.reading() as connection:
        every = listing.known_devices(connection, wanted)
        devices, found = counts(connection, wanted)
        all_ = counted(connection, wanted)
    assert (all_.devices, all_.online) == devices
    assert (all_.versions, all_.states) == (versions_of(found), states_of(found))
    assert devices == (len(every), sum(device.row["online"] for device in every))
    said = [model.status for device in every for model in device.models]
    runs = Counter((s.model, "" if s.active is None else s.active.version) for s in said)
    stands = Counter((s.model, str(s.state), s.reason) for s in said)
    assert {(m, v): n for m, v, n in versions_of(found)} == dict(runs)
    assert {(m, s, r): n for m, s, r, n in states_of(found)} == dict(stands)


@pytest.mark.parametrize(
    ("wanted", "sort", "behind"),
    [
        (DevicesWanted(), "changed", None),
        (DevicesWanted(), "id", (3,)),
        (DevicesWanted(), "-seen", ("cam-1",)),
        (DevicesWanted(), "by the moon", None),
    ],
)
def test_an_order_that_cannot_be_is_refused(
    fleet: Database, wanted: DevicesWanted, sort: Any, behind: Sequence[Any] | None
) -> None:
    with fleet.reading() as connection, pytest.raises(UsageError):
        device_page(connection, wanted, sort, limit=5, behind=behind)
