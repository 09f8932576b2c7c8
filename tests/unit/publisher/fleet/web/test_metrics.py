"""Figures for Prometheus, and a dashboard that asks for none that are not there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event

from benchmarks.page_world import end_rollout
from slotcast_publisher.fleet.access.roles import Permission
from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.rollouts import put_rollout, put_view
from slotcast_publisher.fleet.rollout.state_table import RolloutState
from slotcast_publisher.fleet.steering.overview import overview
from slotcast_publisher.fleet.web.metrics import ROLLOUTS_MAX, SERIES_MAX
from slotcast_publisher.fleet.web.static_files import FOLDER
from tests.support import large_fleet
from tests.support.fleet_database import put
from tests.support.large_fleet import MODEL, NOW_S
from tests.support.page import RunningPage, running_page

COUNT = 300


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPage]:
    with running_page(tmp_path_factory.mktemp("metrics")) as running:
        large_fleet.fill(running.database, COUNT)
        put(running.database, tables.dropped, {"reason": "malformed", "count": 3})
        yield running


def samples(page: RunningPage) -> dict[str, list[tuple[dict[str, str], float]]]:
    answer = page.program(Permission.SEE).get("/metrics")
    assert answer.headers["content-type"].count("charset") == 1
    assert answer.status_code == 200
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(answer.text):
        found.setdefault(family.name, [])
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def test_the_fleet_is_told_in_figures(page: RunningPage) -> None:
    found = samples(page)
    assert [value for _, value in found["slotcast_devices"]] == [COUNT]
    assert sum(value for _, value in found["slotcast_version_devices"]) == COUNT
    assert sum(value for _, value in found["slotcast_state_devices"]) == COUNT
    (dropped,) = found["slotcast_serve_dropped_messages_total"]
    assert dropped[0] == {"reason": "malformed"}
    assert dropped[1] == 3
    buckets = [
        (labels["le"], value)
        for labels, value in found["slotcast_live_latency_seconds_bucket"]
        if labels["version"] == "7.0"
    ]
    bound, count = buckets[-1]
    assert bound == "+Inf"
    assert count == 50 * 600
    assert [value for _, value in buckets] == sorted(value for _, value in buckets)


def test_many_rollouts_are_read_at_once_and_their_series_are_bounded(page: RunningPage) -> None:
    files, count = page.context.files, 70
    for number in range(count):
        record = end_rollout(files, f"detector-6.0.{number:02}")
        seen = overview(page.context.repo, files, record.name, (), 0, NOW_S + number)
        seen = msgspec.structs.replace(seen, groups=seen.groups * 2, state=RolloutState.FINISHED)
        with page.database.transaction() as connection:
            put_rollout(connection, MODEL, record.name, "FINISHED", "{}", NOW_S + number)
            put_view(connection, MODEL, record.name, msgspec.json.encode(seen), NOW_S + number)
    began: list[object] = []
    event.listen(page.database._engine, "begin", began.append)
    found = samples(page)
    told = {labels["rollout"] for labels, _ in found["slotcast_rollout_saved_bytes"]}
    assert "detector-6.0.69" in told, "those that changed last are told"
    assert 10 < len(told) <= ROLLOUTS_MAX
    assert len(found["slotcast_rollout_devices"]) <= SERIES_MAX
    assert len(began) < 20, "not a transaction for each rollout"


def test_each_query_of_the_dashboard_names_a_figure_that_there_is(page: RunningPage) -> None:
    there = samples(page)
    dashboard = json.loads((FOLDER / "grafana-dashboard.json").read_text())
    queries = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", ())]
    queries += [v["query"] for v in dashboard["templating"]["list"] if v["type"] == "query"]
    assert len(queries) > 10
    for query in queries:
        named = re.findall(r"\bslotcast_\w+", query)
        assert named, query
        assert not [name for name in named if name not in there], query
