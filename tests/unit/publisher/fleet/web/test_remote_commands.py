"""`slotcast fleet` and `slotcast rollout` with `--server`: what they say here, they say there."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from slotcast_publisher.cli import EXIT_REFUSED, EXIT_USAGE, main
from slotcast_publisher.fleet.access.roles import Permission
from slotcast_publisher.fleet.client.connection import Connection, read_token
from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.steering.assembly import build_for_one_turn
from slotcast_publisher.fleet.web.api.types import FleetCounts
from slotcast_schemas.errors import SlotcastError, UsageError
from slotcast_schemas.messages.status import Check, Evidence
from tests.support import large_fleet
from tests.support.fleet_database import put
from tests.support.page import TESTER, RunningPage, running_page

PLAN = """
model = "clf"
version = "2"
name = "spring"
[[groups]]
name = "canary"
percent = 20
gate = { person = true }
[[groups]]
name = "everyone"
"""
AGES = re.compile(r"\b\d+ (s|min|h|d) ago")


@pytest.fixture
def page(released: Path, tmp_path: Path) -> Iterator[RunningPage]:
    shutil.copytree(released, tmp_path / "repo")
    with running_page(tmp_path / "repo") as running:
        large_fleet.fill(running.database, 30)
        yield running


@pytest.fixture
def run(
    page: RunningPage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run a command; gives what it printed, or, where it failed, the error."""
    _, token = page.context.tokens.make("test", frozenset(Permission), 1, TESTER)
    monkeypatch.setenv("SLOTCAST_TOKEN", token)

    def command(*arguments: str | Path, code: int = 0) -> str:
        monkeypatch.setattr("sys.argv", ["slotcast", *map(str, arguments)])
        try:
            found = main()
        except SystemExit as exc:
            found = int(exc.code or 0)
        output = capsys.readouterr()
        assert found == code, output
        return AGES.sub("…", output.out if code == 0 else output.err)

    return command


@pytest.fixture
def driven(page: RunningPage) -> Iterator[None]:
    """Somebody drives the rollouts, as `slotcast serve` does."""
    over = threading.Event()
    repo = page.context.repo.again()
    steering = build_for_one_turn(repo, page.database, [], lambda event, **_: None)

    def drive() -> None:
        while not over.wait(0.05):
            for name in steering.files.names():
                steering.attend(name, repo.now_s())

    thread = threading.Thread(target=drive, daemon=True)
    thread.start()
    yield
    over.set()
    thread.join()
    steering.close()


# --- the fleet ------------------------------------------------------------------------------------


def with_evidence(page: RunningPage) -> None:
    """Give one device a history with evidence, as a failed probe has it."""
    checks = (Check(name="latency_p50", passed=False, value=0.04, limit=0.001),)
    row = {
        "device": large_fleet.device_id(0),
        "model": "detector",
        "at_s": large_fleet.NOW_S,
        "state": "FAILED",
        "evidence": msgspec.msgpack.encode(Evidence(sequence=7, checks=checks)),
    }
    put(page.database, tables.history, row)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--state", "FAILED"),
        ("--tag", "site=plant-3", "--json"),
        ("--json",),
        ("--search", "00 3", "--online", "--json"),
        ("--offline", "--rollout", "d-3.3.0", "--group", "canary"),
        ("--shared-id",),
        ("--limit", "7"),
        ("cam-000000",),
        ("cam-000003", "--json"),
    ],
    ids=" ".join,
)
def test_the_fleet_looks_the_same_from_afar(
    page: RunningPage, run: Callable[..., str], arguments: tuple[str, ...]
) -> None:
    with_evidence(page)
    here = run("fleet", page.context.repo.path, *arguments)
    there = run("fleet", "--server", page.url, *arguments)
    if "--json" in arguments:
        assert json.loads(there) == json.loads(here)
    else:
        assert there == here


def test_a_device_that_is_not_known_there_is_not_found(
    page: RunningPage, run: Callable[..., str]
) -> None:
    assert "not_found" in run("fleet", "--server", page.url, "cam-x", code=EXIT_REFUSED)


# --- rollouts -------------------------------------------------------------------------------------


def test_a_rollout_is_steered_from_afar(
    page: RunningPage, run: Callable[..., str], driven: None, tmp_path: Path
) -> None:
    file = tmp_path / "spring.toml"
    file.write_text(PLAN)
    server = ("--server", page.url)

    def there(*arguments: str | Path) -> Any:
        return json.loads(run("rollout", *arguments, *server, "--json"))

    assert "[[groups]]" in there("plan", "clf", "2")["plan"]
    assert [g["name"] for g in there("check", file)["groups"]] == ["canary", "everyone"]
    assert there("start", file)["outcome"] == "done"
    assert there("start", file)["new"] is False
    assert there("pause", "spring", "--why", "to look")["outcome"] == "done"
    assert there("status", "spring")["state"] == "PAUSED"
    assert [r["name"] for r in there("status")["rollouts"]] == ["spring"]
    words = [line["word"] for line in there("log", "spring")["lines"]]
    assert words[0] == "asked_to_start"
    assert "asked_to_pause" in words
    here = run("rollout", "log", page.context.repo.path, "spring")
    assert run("rollout", "log", "spring", *server) == here
    assert there("resume", "spring")["outcome"] == "done"
    refused = run("rollout", "open-gate", "spring", "nobody", *server, code=EXIT_REFUSED)
    assert "nobody" in refused
    assert "release key" in run("rollout", "go-back", "spring", *server, code=EXIT_REFUSED)
    assert there("cancel", "spring", "--why", "enough")["outcome"] == "done"
    asked = [entry.action for entry in page.audit() if entry.subject == "spring"]
    assert asked[-2:] == ["rollout.pause", "rollout.start"]
    assert {entry.who for entry in page.audit() if entry.subject == "spring"} == {"token test"}


def test_who_drives_nothing_says_that_it_waits(
    page: RunningPage, run: Callable[..., str], tmp_path: Path
) -> None:
    file = tmp_path / "spring.toml"
    file.write_text(PLAN)
    assert "written down" in run("rollout", "start", file, "--server", page.url)


# --- tokens ---------------------------------------------------------------------------------------


def test_a_token_is_read_from_a_file_or_the_environment_and_must_count(
    page: RunningPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, token = page.context.tokens.make("file", frozenset({Permission.SEE}), 1, TESTER)
    file = tmp_path / "token"
    file.write_text(token + "\n")
    counts = Connection(page.url, read_token(file)).get("/fleet", FleetCounts)
    assert counts.devices == 30
    monkeypatch.delenv("SLOTCAST_TOKEN", raising=False)
    with pytest.raises(UsageError, match="SLOTCAST_TOKEN"):
        read_token(None)
    with pytest.raises(UsageError, match="does not count"):
        Connection(page.url, token[:-1] + "x").get("/fleet", FleetCounts)


def test_an_address_that_is_none_or_does_not_answer_says_so(
    page: RunningPage, run: Callable[..., str]
) -> None:
    assert "expected http" in run("fleet", "--server", "fleet.example", code=EXIT_USAGE)
    with pytest.raises(SlotcastError, match="does not answer"):
        Connection("http://127.0.0.1:9", "t").get("/fleet", FleetCounts)
    with pytest.raises(SlotcastError, match=r"/elsewhere: Not Found"):
        Connection(f"{page.url}/elsewhere", "t").get("/fleet", FleetCounts)


def test_a_word_that_is_missing_is_named(page: RunningPage, run: Callable[..., str]) -> None:
    assert "NAME" in run("rollout", "pause", "--server", page.url, code=EXIT_USAGE)
    assert "REPO" in run("rollout", "pause", code=EXIT_USAGE)
    who = ("--who", "me")
    assert "--who" in run("rollout", "pause", "r", "--server", page.url, *who, code=EXIT_USAGE)
