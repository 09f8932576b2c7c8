"""The screens as a browser gets them: whole without a script, live, and for who may what."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest
from sqlalchemy import update

from slotcast_publisher.fleet.access.roles import Permission, Role
from slotcast_publisher.fleet.database.rollouts import LogLine, add_log, put_view
from slotcast_publisher.fleet.database.tables import device_models, device_tags, devices
from slotcast_publisher.fleet.rollout.person import Wish
from slotcast_publisher.fleet.rollout.record import Pause, new_record
from slotcast_publisher.fleet.rollout.state_table import RolloutState
from slotcast_publisher.fleet.steering import requests
from slotcast_publisher.fleet.steering.requests import answered
from slotcast_publisher.fleet.web.screens import shared_looks, watched_screens
from slotcast_publisher.fleet.web.static_files import static_address
from tests.support import large_fleet
from tests.support import rollout_views as views
from tests.support.page import TESTER, RunningPage, running_page

ROLLOUT = "/rollouts/d-3.3.0"
EVIL = '"><script>alert(1)</script>\u202e\x1b[31m'


@pytest.fixture(scope="module")
def shared_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPage]:
    """A fleet of 120 devices with a rollout that paused itself; every look is a new one."""
    with (
        pytest.MonkeyPatch.context() as patch,
        running_page(tmp_path_factory.mktemp("page")) as running,
    ):
        patch.setattr(shared_looks, "FRESH_S", 0.0)
        patch.setattr(shared_looks, "COST_TIMES", 0.0)
        patch.setattr(watched_screens, "EVERY_S", 0.05)
        large_fleet.fill(running.database, 120, now_s=int(running.context.now_s()))
        yield running


@pytest.fixture
def page(shared_page: RunningPage) -> RunningPage:
    """The same, with the rollout as it was."""
    files = shared_page.context.files
    if "d-3.3.0" not in files.names():
        requests.start(files, views.PLAN.encode(), "plan", "olga")
    for asked in files.requests("d-3.3.0"):
        files.answer("d-3.3.0", answered(asked, None, 0))
    record = new_record(views.plan())
    files.save_record(record.changed(state=RolloutState.PAUSED, pause=Pause(by="limit", why="p95")))
    put(shared_page, views.paused())
    return shared_page


def put(page: RunningPage, view: Any) -> None:
    """Write down a look at the rollout, as whoever drives it does."""
    now_s = int(page.context.now_s())
    with page.database.transaction() as connection:
        put_view(connection, view.model, view.name, msgspec.json.encode(view), now_s)


def test_every_screen_is_whole_without_a_script(page: RunningPage) -> None:
    browser = page.browser("olga")

    for path in ("/", "/devices", "/rollouts", ROLLOUT):
        html = browser.open(path)
        assert "<h1>" in html
        assert html.rstrip().endswith("</html>")
        assert not re.search(r"<[^>]+\sstyle=", html), path
        assert not re.search(r"<[^>]+\son[a-z]+=", html), path
        assert re.findall(r"<script[^>]*>", html) == [
            f'<script src="{static_address("page.js")}" defer>'
        ]
        assert not re.findall(r'(?:src|href|action)="(?:https?:)?//', html), "another host"


def test_a_rollout_shows_its_sentence_limits_failures_and_log(page: RunningPage) -> None:
    line = LogLine(1_790_000_000, "detector", "d-3.3.0", "canary", "paused", "p95 <b>high</b>")
    with page.database.transaction() as connection:
        add_log(connection, line)

    html = page.browser("olga").open(ROLLOUT)

    assert "Latency p95 went from 12.1 ms to 31.9 ms in canary" in html
    assert "cam-0388" in html
    assert "p95 &lt;b&gt;high&lt;/b&gt;" in html
    assert "slotcast rollout resume" in html
    assert "icon-paused.svg" in html
    assert "<title>PAUSED detector 3.3.0 · Slotcast</title>" in html
    listed = page.browser("olga").open("/rollouts")
    assert "<title>PAUSED detector 3.3.0 · Slotcast</title>" in listed


def test_a_person_asks_by_a_form_and_sees_what_becomes_of_it(page: RunningPage) -> None:
    browser = page.browser("olga")
    sent = browser.send_form(f"{ROLLOUT}/resume", {"why": "to look"}, page=ROLLOUT)
    assert sent.status_code == 303
    (asked,) = page.context.files.requests("d-3.3.0")
    assert (asked.request.wish, asked.request.who) == (Wish.RESUME, "olga")
    assert asked.request.why == "to look"
    assert next(e.action for e in page.audit()) == "rollout.resume"

    assert "Resume: asked for." in browser.open(sent.headers["location"])
    page.context.files.answer("d-3.3.0", answered(asked, "it is <i>late</i>", 0))
    html = browser.open(sent.headers["location"])
    assert "Resume was refused: it is &lt;i&gt;late&lt;/i&gt;" in html


def test_a_viewer_finds_no_buttons_and_is_refused(page: RunningPage) -> None:
    viewer = page.browser("vera", Role.VIEWER)

    html = viewer.open(ROLLOUT)
    assert f'action="{ROLLOUT}/' not in html
    assert "Not you: this needs the role operator." in html
    assert viewer.send_form(f"{ROLLOUT}/resume", {"why": "x"}).status_code == 403
    operator = page.browser("olga")
    assert operator.send_form(f"{ROLLOUT}/cancel", {"why": "x"}, page=ROLLOUT).status_code == 403
    assert page.context.files.requests("d-3.3.0") == []


def test_another_site_asks_for_nothing(page: RunningPage) -> None:
    browser = page.browser("olga")

    assert browser.post(f"{ROLLOUT}/resume", data={"why": "x"}).status_code == 403
    assert page.context.files.requests("d-3.3.0") == []


def test_nobody_sees_anything_without_signing_in(page: RunningPage) -> None:
    stranger = page.stranger()

    for path in ("/", "/devices", ROLLOUT, "/devices.csv", f"{ROLLOUT}/limits.csv"):
        assert stranger.get(path).status_code == 303
    assert stranger.get(f"/live{ROLLOUT}", headers={"accept": "*/*"}).status_code == 401


def test_a_program_with_a_token_may_look(page: RunningPage) -> None:
    assert page.program(Permission.SEE).get(ROLLOUT).status_code == 200
    assert page.program(Permission.NOTE).get(ROLLOUT).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/rollouts/nope",
        f"{ROLLOUT}/nope.csv",
        "/rollouts/..%2f..%2fslotcast.toml",
        "/static/..%2f..%2fapp.py",
        "/static/../app.py",
    ],
)
def test_what_is_not_there_is_not_found(page: RunningPage, path: str) -> None:
    assert page.browser("olga").get(path).status_code == 404


# --- devices --------------------------------------------------------------------------------------


def test_filters_stand_in_the_address_and_pages_follow_each_other(page: RunningPage) -> None:
    browser, found = page.browser("olga"), []
    path: str | None = "/devices?model=detector"
    while path is not None:
        html = browser.open(path)
        found += re.findall(r'<th scope="row"><a href="/devices/([^"]+)"', html)
        following = re.search(r'rel="next" href="([^"]+)"', html)
        path = following[1].replace("&amp;", "&") if following else None

    assert len(found) == len(set(found)) == 120
    assert found == sorted(found)
    assert "No device matches" in browser.open("/devices?q=nothing-like-it")
    assert "1 of 120 devices" in browser.open("/devices?q=000007")


def test_a_filter_that_is_not_known_is_said_and_no_file_takes_it_for_none(
    page: RunningPage,
) -> None:
    browser = page.browser("olga")
    html = browser.open(f"/devices?sate=FAILED&model=detector&{quote(EVIL)}=1&" + "x" * 300)
    assert "No filter is named sate, " in html
    assert "<script>alert" not in html
    assert "x" * 41 not in html.partition("No filter is named")[2].partition("</p>")[0]
    assert "No filter is named" not in browser.open("/devices?model=detector&sort=seen")
    refused = browser.get("/devices.csv?sate=FAILED")
    assert refused.status_code == 400
    assert "no filter is named sate: expected q, model," in refused.text


def test_each_table_is_a_file(page: RunningPage) -> None:
    browser = page.browser("olga")

    rows = list(csv.DictReader(io.StringIO(browser.open("/devices.csv?model=detector"))))
    assert len(rows) == 120
    assert {row["model"] for row in rows} == {"detector"}
    limits = list(csv.DictReader(io.StringIO(browser.open(f"{ROLLOUT}/limits.csv"))))
    assert [row["limit"] for row in limits] == [
        "max_memory_ratio",
        "max_latency_p95_ratio",
        "max_failed_share",
    ]
    for path in ("log", "groups", "failures", "latency", "tags", "over-time"):
        assert browser.open(f"{ROLLOUT}/{path}.csv")
    latency = list(csv.DictReader(io.StringIO(browser.open(f"{ROLLOUT}/latency.csv"))))
    assert [(row["requests_before"], row["requests_new"]) for row in latency] == [
        ("1000.0", "0.0"),
        ("0.0", "1000.0"),
    ]
    named = set(re.findall(r'href="([^"]+\.csv)', browser.open(ROLLOUT)))
    assert f"{ROLLOUT}/groups.csv" in named
    for address in named:
        assert browser.open(address), address
    assert "detector" in browser.open("/fleet/versions.csv")
    assert "detector" in browser.open("/fleet/states.csv")
    assert "d-3.3.0" in browser.open("/rollouts.csv")


def test_a_hostile_device_is_shown_and_injects_nothing(page: RunningPage) -> None:
    name = f"evil{EVIL}"
    row = large_fleet._device_row(1, int(page.context.now_s())) | {"id": name, "clock": EVIL[:60]}
    model = large_fleet._model_row(
        1, large_fleet._status(1, random.Random(1)), int(page.context.now_s())
    )
    model |= {"device": name, "model": "detector"}
    with page.database.transaction() as connection:
        connection.execute(devices.insert(), row | {"tags": json.dumps({"k": EVIL * 50})})
        connection.execute(device_models.insert(), model)
        many = [{"device": name, "key": f"k{n}", "value": EVIL} for n in range(500)]
        connection.execute(device_tags.insert(), many)
    browser = page.browser("olga")
    try:
        html = browser.open("/devices?q=evil")
        assert "evil" in html
        text = browser.open("/devices.csv?q=evil")
    finally:
        with page.database.transaction() as connection:
            for table in (device_models, device_tags):
                connection.execute(table.delete().where(table.c.device == name))
            connection.execute(devices.delete().where(devices.c.id == name))

    assert "<script>alert" not in html
    assert "\u202e" not in html
    assert "\x1b" not in html
    assert len(html) < 20_000
    assert "evil" in text


def test_a_formula_in_a_file_is_a_text(page: RunningPage) -> None:
    formula = views.paused(failures=(views.failure(device="=1+1", detail="@SUM(A1)"),))
    put(page, formula)

    found = page.browser("olga").open(f"{ROLLOUT}/failures.csv")

    assert "'=1+1" in found
    assert "'@SUM(A1)" in found


# --- live -----------------------------------------------------------------------------------------


def events(response: httpx.Response) -> Iterator[tuple[str, dict[str, str]]]:
    """Read a stream of events."""
    name = ""
    for line in response.iter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def test_who_watches_is_sent_the_part_that_changed_and_no_other(page: RunningPage) -> None:
    browser = page.browser("olga")
    html = browser.open(ROLLOUT)
    have = ",".join(
        f"{a}:{b}" for a, b in re.findall(r'<div id="([^"]+)"[^>]+data-v="(\w+)"', html)
    )

    with browser.stream("GET", f"/live{ROLLOUT}", params={"have": have}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        stream = events(response)
        name, head = next(stream)
        assert name == "head", "nothing has changed since the page was made"
        assert head["title"].startswith("PAUSED")
        put(page, views.paused(failures=(views.failure(device="cam-9999"),)))
        name, part = next(each for each in stream if each[0] == "part")

    assert part["id"] == "failures"
    assert "cam-9999" in part["html"]
    assert "mark-" not in part["html"]


def test_a_pause_is_told_by_title_and_icon_while_somebody_watches(page: RunningPage) -> None:
    files = page.context.files
    files.save_record(new_record(views.plan()).changed(state=RolloutState.RUNNING))
    put(page, views.running())
    browser = page.browser("olga")
    with browser.stream("GET", f"/live{ROLLOUT}") as response:
        heads = (data for name, data in events(response) if name == "head")
        first = next(heads)
        assert first["icon"] == static_address("icon.svg")
        files.save_record(
            new_record(views.plan()).changed(state=RolloutState.PAUSED, pause=Pause(by="limit"))
        )
        put(page, views.paused())
        assert next(heads) == {
            "title": "PAUSED detector 3.3.0 · Slotcast",
            "icon": static_address("icon-paused.svg"),
        }


def test_a_stream_ends_with_the_session(page: RunningPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched_screens, "CHECK_EVERY", 1)
    browser = page.browser("wanda")
    with browser.stream("GET", f"/live{ROLLOUT}") as response:
        stream = events(response)
        page.context.users.remove("wanda", TESTER)
        assert next(name for name, _ in stream if name == "gone") == "gone"


def test_so_many_watch_and_no_more(page: RunningPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched_screens, "WATCHERS_MAX", 0)

    assert page.browser("olga").get(f"/live{ROLLOUT}").status_code == 503


def test_the_reader_sees_times_of_their_own_zone(page: RunningPage) -> None:
    browser = page.browser("olga")
    browser.cookies.set("slotcast_zone", "Asia/Kolkata")

    html = browser.open(ROLLOUT)

    assert "Times in Asia/Kolkata, UTC+5:30" in html
    browser.cookies.set("slotcast_zone", "../../etc/passwd")
    assert "Times in UTC" in browser.open(ROLLOUT)


def test_an_empty_fleet_says_what_to_type_next(tmp_path: Path) -> None:
    with running_page(tmp_path) as page:
        browser = page.browser("olga")
        assert "slotcast provision REPO DEVICE_ID" in browser.open("/")
        assert "No device has reported yet." in browser.open("/devices")
        assert "slotcast rollout plan REPO MODEL VERSION" in browser.open("/rollouts")


def test_a_device_that_is_offline_is_so_on_the_next_look(page: RunningPage) -> None:
    with page.database.transaction() as connection:
        connection.execute(update(devices).values(online=False))

    html = page.browser("olga").open("/devices?presence=online&q=never-asked-before")

    assert "No device matches" in html
