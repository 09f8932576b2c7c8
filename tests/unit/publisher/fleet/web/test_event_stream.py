"""Streams of events: what happens reaches who watches, and who was away goes on where it was."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from slotcast_publisher.fleet.access.roles import Permission
from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.rollouts import LogLine, add_log, put_view
from tests.support.fleet_database import NOW_S, history_row, put
from tests.support.page import RunningPage, running_page
from tests.support.waiting import WAIT_S

STREAM = "/api/v1/events/stream"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[RunningPage]:
    with running_page(tmp_path) as running:
        yield running


@contextmanager
def watching(client: httpx.Client, **options: Any) -> Iterator[Iterator[dict[str, str]]]:
    """Give the messages of a stream as they come."""
    with client.stream("GET", STREAM, timeout=WAIT_S, **options) as response:
        assert response.status_code == 200
        yield messages(response)


def messages(response: httpx.Response) -> Iterator[dict[str, str]]:
    fields: dict[str, str] = {}
    until_s = time.monotonic() + WAIT_S
    for line in response.iter_lines():
        assert time.monotonic() < until_s, "what is waited for does not come"
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
        elif fields.get("event"):
            yield fields
            fields = {}


def next_of(stream: Iterator[dict[str, str]], *kinds: str) -> dict[str, str]:
    return next(message for message in stream if message["event"] in kinds)


def change(page: RunningPage, device: str) -> None:
    put(page.database, tables.history, history_row(device, NOW_S))


def log(page: RunningPage, word: str) -> None:
    with page.database.transaction() as connection:
        add_log(connection, LogLine(NOW_S, "clf", "spring", "canary", word, "why"))


def test_what_happens_reaches_everybody_who_watches_and_wants_it(page: RunningPage) -> None:
    client = page.program(Permission.SEE)
    with (
        watching(client) as everything,
        watching(client, params={"kind": "rollout", "rollout": "spring"}) as spring,
    ):
        assert next(everything)["event"] == next(spring)["event"] == "hello"
        change(page, "cam-1")
        log(page, "paused")
        assert json.loads(next_of(everything, "device")["data"])["device"] == "cam-1"
        assert json.loads(next_of(everything, "rollout")["data"])["word"] == "paused"
        assert json.loads(next_of(spring, "rollout", "device")["data"])["word"] == "paused"


def test_who_was_away_goes_on_where_it_was(page: RunningPage) -> None:
    client = page.program(Permission.SEE)
    with watching(client) as stream:
        assert next(stream)["event"] == "hello"
        change(page, "cam-1")
        seen = next_of(stream, "device")["id"]
    for number in range(2, 6):
        change(page, f"cam-{number}")
    log(page, "opened")
    with watching(client, headers={"last-event-id": seen}) as stream:
        assert next(stream)["id"] == seen, "who drops off at once begins at the same place"
        found = [json.loads(next_of(stream, "device")["data"])["device"] for _ in range(4)]
        assert found == ["cam-2", "cam-3", "cam-4", "cam-5"]
        assert json.loads(next_of(stream, "rollout")["data"])["word"] == "opened"
        change(page, "cam-9")
        assert json.loads(next_of(stream, "device")["data"])["device"] == "cam-9"


def test_a_rollout_that_was_looked_at_is_told(page: RunningPage) -> None:
    with watching(page.program(Permission.SEE)) as stream:
        next(stream)
        with page.database.transaction() as connection:
            put_view(connection, "clf", "spring", b"{}", NOW_S)
        told = json.loads(next_of(stream, "view")["data"])
        assert told == {"rollout": "spring", "at_s": NOW_S}


def test_streams_end_when_the_page_does(tmp_path: Path) -> None:
    with running_page(tmp_path) as page:
        client = page.program(Permission.SEE)
        with watching(client) as stream:
            assert next(stream)["event"] == "hello"
