"""The API: lists by pages, problems, changes that are made once, and nobody who may not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from slotcast_publisher.fleet.access.roles import Permission, Role
from slotcast_publisher.fleet.alarms.alarm_store import save
from slotcast_publisher.fleet.alarms.board import Alarm
from slotcast_publisher.fleet.alarms.kinds import AlarmKind
from tests.support import large_fleet
from tests.support.page import RunningPage, running_page

COUNT = 400
API = "/api/v1"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPage]:
    with running_page(tmp_path_factory.mktemp("api")) as running:
        large_fleet.fill(running.database, COUNT)
        yield running


@pytest.fixture(scope="module")
def admin(page: RunningPage) -> httpx.Client:
    return page.program(*Permission)


def pages(client: httpx.Client, path: str, rows: str, **parameters: Any) -> Iterator[list[Any]]:
    after = None
    while True:
        asked = {**parameters, **({} if after is None else {"after": after})}
        answer = client.get(API + path, params=asked)
        assert answer.status_code == 200, answer.text
        yield answer.json()[rows]
        after = answer.json()["next"]
        if after is None:
            return


# --- lists ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sort", ["id", "-id", "seen", "-seen"])
def test_a_list_of_devices_is_given_whole_by_pages(admin: httpx.Client, sort: str) -> None:
    found = [
        d["device"]
        for part in pages(admin, "/devices", "devices", sort=sort, limit=33)
        for d in part
    ]
    assert sorted(found) == [large_fleet.device_id(n) for n in range(COUNT)]


def test_filters_are_of_the_server_and_the_total_is_of_what_is_asked_for(
    admin: httpx.Client,
) -> None:
    asked = {"q": "site=plant-0 cam", "state": "failed"}
    answer = admin.get(f"{API}/devices", params={**asked, "limit": 1}).json()
    assert {d["tags"]["site"] for d in answer["devices"]} == {"plant-0"}
    counts = admin.get(f"{API}/counts", params=asked).json()
    assert answer["total"] == counts["devices"] == 1
    assert counts["states"] == [
        {"model": "detector", "state": "FAILED", "reason": "too_slow", "devices": 1}
    ]


def test_a_page_of_events_goes_back_to_the_first(admin: httpx.Client) -> None:
    found = [e["id"] for part in pages(admin, "/events", "events", limit=70) for e in part]
    assert len(found) == len(set(found)) == COUNT


def test_everything_that_the_fleet_has_is_named(admin: httpx.Client, page: RunningPage) -> None:
    raised = Alarm(kind=AlarmKind.DISK_LOW, subject="cam-000001", raised_s=5.0, updated_s=5.0)
    with page.database.transaction() as connection:
        save(connection, [raised])
    assert admin.get(f"{API}/fleet").json()["devices"] == COUNT
    assert admin.get(f"{API}/models/detector").json()["devices"] == COUNT
    assert admin.get(f"{API}/alarms").json()["alarms"][0]["kind"] == "disk_low"
    assert [f["version"] for f in admin.get(f"{API}/figures").json()["figures"]] == ["7.0", "6.0"]
    assert len(admin.get(f"{API}/figures/detector/hours").json()["points"]) > 0
    device = admin.get(f"{API}/devices/cam-000001").json()
    assert device["history"]["changes"][0]["state"] == device["models"][0]["state"]


# --- problems -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("/devices/nobody", 404, "nobody"),
        ("/devices?after=zzz", 422, "after"),
        ("/devices?limit=0", 400, "limit"),
        ("/devices?limit=1000000", 400, "limit"),
        ("/devices?sort=changed", 422, "model"),
        ("/devices?seen_since=yesterday", 422, "seen_since"),
        ("/devices?tag=site", 422, "key=value"),
        ("/counts?state=FAILD", 422, "state: expected one of"),
        ("/rollouts/none", 404, "none"),
        ("/rollouts/..%2F..%2Fslotcast.toml", 404, ""),
        ("/models/..%2F..%2Fkeys/releases/x", 404, ""),
        ("/models/detector/releases/..%2Fx", 404, ""),
        ("/nothing", 404, ""),
        ("/events/stream?after=x", 422, "last-event-id"),
    ],
)
def test_what_cannot_be_is_a_problem_that_says_what_was_expected(
    admin: httpx.Client, path: str, status: int, word: str
) -> None:
    answer = admin.get(API + path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert word in problem["detail"]


@pytest.mark.parametrize(
    ("path", "unknown", "known"),
    [
        ("/devices?sate=FAILED", "sate", ["state", "tag", "unseen_since", "limit"]),
        ("/devices?in_state=FAILED", "in_state", ["state"]),
        ("/devices?state=FAILED&Limit=1", "Limit", ["limit"]),
        ("/counts?limit=1", "limit", ["model", "q"]),
        ("/devices/cam-000001?model=x", "model", []),
        ("/fleet?verbose", "verbose", []),
        ("/events?kinds=alarm", "kinds", ["kind"]),
        ("/events/stream?since=1", "since", ["after", "kind"]),
        ("/audit?user=olga", "user", ["who"]),
        ("/openapi.json?v=2", "v", []),
        ("/devices?=FAILED", "", ["state"]),
    ],
)
def test_a_parameter_that_is_not_known_is_refused_with_those_that_there_are(
    admin: httpx.Client, path: str, unknown: str, known: list[str]
) -> None:
    with admin.stream("GET", API + path) as answer:  # of a stream only a refusal has an end
        assert answer.status_code == 400
        answer.read()
    assert answer.headers["content-type"] == "application/problem+json"
    detail = answer.json()["detail"]
    assert f"no parameter is named {unknown!r}" in detail
    named = detail.partition("expected one of ")[2].split(", ")
    assert set(known) <= set(named)
    assert known or "this takes none" in detail


def test_a_parameter_of_one_value_is_not_given_twice_and_a_tag_may_be(admin: httpx.Client) -> None:
    twice = admin.get(f"{API}/devices?state=FAILED&state=QUEUED")
    assert twice.status_code == 400
    assert "state: expected once" in twice.json()["detail"]
    assert admin.get(f"{API}/devices?tag=site=plant-0&tag=board=x").status_code == 200


def test_a_change_with_a_parameter_that_is_not_known_is_not_made(
    admin: httpx.Client, page: RunningPage
) -> None:
    asked, key = {"name": "dry", "role": "viewer"}, {"idempotency-key": "dry"}
    answer = admin.post(f"{API}/users?dry_run=true", json=asked, headers=key)
    assert answer.status_code == 400
    assert page.context.users.find("dry") is None


def test_who_may_not_is_not_told_what_parameters_there_are(page: RunningPage) -> None:
    assert page.stranger().get(f"{API}/devices?sate=FAILED").status_code == 401
    assert page.program(Permission.SEE).get(f"{API}/audit?user=olga").status_code == 403


@pytest.mark.parametrize("path", [f"{API}/devices", f"{API}/users", "/devices"])
def test_options_are_the_methods_of_a_path(page: RunningPage, path: str) -> None:
    for client in (page.stranger(), page.program(Permission.SEE)):
        answer = client.options(path)
        assert (answer.status_code, answer.content) == (204, b"")
        assert {"GET", "HEAD", "OPTIONS"} <= set(answer.headers["allow"].split(", "))


def test_a_method_that_a_path_has_not_is_refused_with_those_that_it_has(
    admin: httpx.Client,
) -> None:
    answer = admin.delete(f"{API}/devices")
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["allow"].split(", ") == ["GET", "HEAD", "OPTIONS"]
    assert admin.options(f"{API}/nothing").status_code == 404


def test_a_body_that_is_no_utf8_is_no_defect_of_ours(admin: httpx.Client) -> None:
    answer = admin.post(f"{API}/plans/check", content=b'{"plan": "\xff"}')
    assert answer.status_code == 400
    assert "UTF-8" in answer.json()["detail"]


def test_who_is_not_known_is_told_how_to_sign_in(page: RunningPage) -> None:
    answer = page.stranger().get(f"{API}/fleet")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer ")


@pytest.mark.parametrize("path", [f"{API}/fleet", "/healthz", "/devices", f"{API}/events/stream"])
def test_head_is_the_head_of_what_get_gives(page: RunningPage, path: str) -> None:
    program = page.program(Permission.SEE)
    with program.stream("GET", path) as got:
        wanted = got.headers["content-type"]
    for _ in range(2):  # the connection goes on, also behind a stream, which has no end
        answer = program.head(path)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-type"] == wanted
    assert program.head(f"{API}/devices/nobody").status_code == 404
    assert page.stranger().head(f"{API}/fleet").status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/users", None),
        ("GET", "/audit", None),
        ("POST", "/users", {"name": "eve", "role": "admin"}),
        ("POST", "/tokens", {"name": "eve", "scope": ["administer"]}),
        ("POST", "/rollouts", {"plan": "x"}),
        ("POST", "/rollouts/r/requests", {"wish": "pause"}),
        ("DELETE", "/users/olga", None),
        ("PUT", "/users/olga/role", {"role": "admin"}),
    ],
)
def test_a_token_that_may_only_see_changes_nothing(
    page: RunningPage, method: str, path: str, body: Any
) -> None:
    answer = page.program(Permission.SEE).request(
        method, API + path, json=body, headers={"idempotency-key": "k"}
    )
    assert answer.status_code == 403


def test_a_token_for_steering_cannot_cancel_and_one_for_admins_gives_no_more_than_it_has(
    page: RunningPage,
) -> None:
    steering = page.program(Permission.SEE, Permission.STEER)
    key = {"idempotency-key": "k"}
    answer = steering.post(f"{API}/rollouts/r/requests", json={"wish": "cancel"}, headers=key)
    assert answer.status_code == 403
    assert "roll_out" in answer.json()["detail"]
    narrow = page.program(Permission.ADMINISTER)
    asked = {"name": "wide", "scope": ["administer", "roll_out"]}
    assert narrow.post(f"{API}/tokens", json=asked, headers=key).status_code == 422


def test_nobody_is_told_anything(page: RunningPage) -> None:
    stranger = page.stranger()
    assert stranger.get(f"{API}/fleet").status_code == 401
    assert stranger.get("/metrics", headers={"accept": "*/*"}).status_code == 401
    assert stranger.get("/healthz").text == "ok\n"
    assert stranger.get("/readyz").status_code == 200
    viewer = page.browser("vera", Role.VIEWER)
    assert viewer.get(f"{API}/fleet").status_code == 200
    assert viewer.get(f"{API}/users").status_code == 403


# --- changes --------------------------------------------------------------------------------------


def test_a_change_that_is_sent_again_is_made_once(admin: httpx.Client, page: RunningPage) -> None:
    asked = {"name": "anna", "role": "viewer"}
    first = admin.post(f"{API}/users", json=asked, headers={"idempotency-key": "one"})
    again = admin.post(f"{API}/users", json=asked, headers={"idempotency-key": "one"})
    other = admin.post(f"{API}/users", json=asked, headers={"idempotency-key": "two"})
    assert (first.status_code, other.status_code) == (201, 409)
    assert again.headers["idempotency-replayed"] == "true"
    assert "shown once" in again.json()["detail"], "its link is a secret"
    assert [e.action for e in page.audit() if e.subject == "anna"].count("user.add") == 1


def test_a_key_is_for_one_change_and_must_be_there(admin: httpx.Client) -> None:
    key = {"idempotency-key": "mine"}
    asked = {"wish": "pause", "wait_s": 0}
    assert admin.post(f"{API}/rollouts/a/requests", json=asked, headers=key).status_code == 404
    assert admin.post(f"{API}/rollouts/b/requests", json=asked, headers=key).status_code == 422
    missing = admin.post(f"{API}/rollouts/a/requests", json=asked)
    assert missing.status_code == 400
    assert "idempotency-key" in missing.json()["detail"]


def test_a_change_that_is_sent_many_times_at_once_is_made_once(
    admin: httpx.Client, page: RunningPage
) -> None:
    asked = {"name": "for CI", "scope": ["see"]}
    begin = threading.Barrier(6)

    def make(_: int) -> int:
        begin.wait()
        key = {"idempotency-key": "at-once"}
        return admin.post(f"{API}/tokens", json=asked, headers=key).status_code

    with ThreadPoolExecutor(6) as pool:
        found = sorted(pool.map(make, range(6)))
    assert found == [201, 409, 409, 409, 409, 409]
    assert [t.name for t in page.context.tokens.all()].count("for CI") == 1


def test_of_two_who_change_the_same_at_once_the_second_looks_again(admin: httpx.Client) -> None:
    key = {"idempotency-key": "berta"}
    admin.post(f"{API}/users", json={"name": "berta", "role": "viewer"}, headers=key)
    seen = admin.get(f"{API}/users/berta").headers["etag"]
    match = {"if-match": seen}
    path = f"{API}/users/berta/role"
    assert admin.put(path, json={"role": "operator"}, headers=match).status_code == 200
    assert admin.put(path, json={"role": "admin"}, headers=match).status_code == 412
    assert admin.get(f"{API}/users/berta").json()["role"] == "operator"
    now = admin.get(f"{API}/users/berta").headers["etag"]
    unchanged = admin.get(f"{API}/users/berta", headers={"if-none-match": now})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
