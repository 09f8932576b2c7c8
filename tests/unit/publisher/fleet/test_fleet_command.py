"""`slotcast fleet`: who is there, asked for in every way, from a database that nobody serves."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import Result

from slotcast_publisher.cli import app
from slotcast_publisher.enrolment.known_keys import KnownKeys
from slotcast_publisher.enrolment.registry import Registry
from slotcast_publisher.errors import NotFound
from slotcast_publisher.fleet.database.database import FILE_NAME, open_database
from slotcast_publisher.fleet.database.upkeep import Upkeep
from slotcast_publisher.fleet.intake.intake import Intake, IntakeBounds
from slotcast_publisher.fleet.intake.messages import Message
from slotcast_publisher.serve.companion import Heard
from slotcast_publisher.settings import FleetSettings
from slotcast_schemas import wire
from slotcast_schemas.errors import SlotcastError, UsageError
from slotcast_schemas.messages.status import Check, Evidence, Inventory, SlotStatus, Target
from slotcast_schemas.states import State
from slotcast_schemas.topics import Topics
from tests.support import messages as given
from tests.support.cli_docs import documented
from tests.support.cli_runner import CliRunner
from tests.support.signing_devices import enrol, new_key
from tests.support.waiting import WAIT_S

TOPICS = Topics("t")
COMMAND = "slotcast_publisher.fleet.commands.fleet"
NOW_S = int(time.time())
EVIL = "x\x1b[2J\x1b]0;owned\x07\n\u202egro.elpmaxe\u2066 [red]bold[/red]"
FOUND = Evidence(
    sequence=7,
    checks=(
        Check(name="latency_p50", passed=False, value=0.04, limit=0.001, reference=0.0003),
        Check(name="finite", passed=True),
    ),
)


def model(state: State, reason: str, *, runs: int, wanted: int = 7, **fields: Any) -> Any:
    slot = SlotStatus(slot="a", version=f"{runs}.0", sequence=runs) if runs else None
    target = Target(version=f"{wanted}.0", sequence=wanted, deployment="spring", group="canary")
    values = {"model": "clf", "progress": None, "evidence": None, "standby": None}
    values |= {"state": state, "reason": reason, "active": slot, "target": target} | fields
    return given.model_status(**values)


def hear(repo: Path, *messages: Message, ago_s: int = 0, retained: bool = False) -> None:
    """Have an intake take what devices say, and write it."""
    with open_database(repo / FILE_NAME) as database:
        keys = KnownKeys(Registry(repo), lambda problem: None)
        bounds = IntakeBounds(batch_wait_s=0.01)
        intake = Intake(database, TOPICS, lambda *_, **__: None, bounds, keys=keys)
        for message in messages:
            topic = TOPICS.device(message.device, message.KIND)
            intake.take(Heard(topic, wire.encode(message), retained, NOW_S - ago_s, "b"))
        stop = threading.Event()
        stop.set()
        intake.run(stop)


def said(device: str, *models: Any, site: str = "north", at_s: int = NOW_S, **fields: Any) -> Any:
    inventory = Inventory(software="1.0", disk_free_bytes=5_000_000, tags={"site": site})
    values = {"inventory": inventory, "counter": 5, "clock": "ok"} | fields
    return given.status(device=device, time=at_s, models=models, **values)


FLEET = (
    said("cam-1", model(State.COMMITTED, "committed", runs=7)),
    said("cam-2", model(State.FAILED, "too_slow", runs=6, evidence=FOUND), site="south"),
    said("cam-3", model(State.QUEUED, "not_in_group", runs=6), site="south"),
    given.presence(device="cam-1", online=True, time=NOW_S, session="s"),
)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    hear(tmp_path, *FLEET)
    hear(tmp_path, said("cam-4", at_s=NOW_S - 90_000), ago_s=90_000)
    return tmp_path


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["fleet", *map(str, words)], catch_exceptions=False)


def shown(*words: object) -> str:
    done = run(*words)
    assert done.exit_code == 0, done.output
    return done.stdout


def asked(*words: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shown(*words, "--json"))
    return found


def refused(kind: type[SlotcastError], *words: object) -> str:
    with pytest.raises(kind) as error:
        run(*words)
    return str(error.value)


def test_what_runs_what_is_wanted_and_the_state_are_three_columns(repo: Path) -> None:
    lines = shown(repo).splitlines()
    assert lines[0] == "4 devices, 1 online"
    assert lines[1] == "clf: 7.0 on 1, 6.0 on 2"
    head, *rows = (line.split() for line in lines[3:])
    assert head == ["DEVICE", "MODEL", "RUNS", "WANTED", "STATE", "REASON", "SEEN"]
    assert rows[0] == ["cam-1", "clf", "7.0", "7.0", "COMMITTED", "committed", "online"]
    assert rows[2][:6] == ["cam-3", "clf", "6.0", "7.0", "QUEUED", "not_in_group"]
    assert rows[3] == ["cam-4", "-", "-", "-", "-", "-", "1", "d", "ago"]


@pytest.mark.parametrize(
    ("options", "devices"),
    [
        ((), "1234"),
        (("--model", "clf"), "123"),
        (("--model", "other"), ""),
        (("--version", "6.0"), "23"),
        (("--state", "failed"), "2"),
        (("--reason", "not_in_group"), "3"),
        (("--tag", "site=south"), "23"),
        (("--tag", "site=south", "--version", "7.0"), ""),
        (("--search", "AM-1"), "1"),
        (("--search", "cam", "--search", "3"), "3"),
        (("--search", "cam 3"), "3"),
        (("--online",), "1"),
        (("--offline", "--seen-since", "1h"), "23"),
        (("--rollout", "spring"), "123"),
        (("--rollout", "autumn"), ""),
        (("--group", "canary", "--version", "6.0"), "23"),
        (("--shared-id",), ""),
        (("--seen-since", "1h"), "123"),
        (("--unseen-since", "1h"), "4"),
        (("--unseen-since", "2d"), ""),
        (("--seen-since", "1999-12-31"), "1234"),
        (("--seen-since", "2999-12-31T08:00+01:00"), ""),
    ],
)
def test_devices_are_asked_for_in_every_way(
    repo: Path, options: tuple[str, ...], devices: str
) -> None:
    found = asked(repo, *options)
    assert [each["device"] for each in found["devices"]] == [f"cam-{number}" for number in devices]
    assert found["counts"]["devices"] == len(devices)


def test_a_state_that_is_none_is_refused_and_finds_nobody_healthy(repo: Path) -> None:
    assert "--tag KEY=VALUE" in refused(UsageError, repo, "--search", "site=south")
    assert "--state: expected one of" in refused(UsageError, repo, "--state", "faild")


def test_the_keys_are_those_that_are_documented(repo: Path) -> None:
    assert set(asked(repo)) == documented("fleet")


def test_counts_are_of_what_is_asked_for(repo: Path) -> None:
    counts = asked(repo, "--tag", "site=south")["counts"]
    assert counts["versions"] == [{"model": "clf", "version": "6.0", "devices": 2}]
    assert [(each["state"], each["reason"]) for each in counts["states"]] == [
        ("FAILED", "too_slow"),
        ("QUEUED", "not_in_group"),
    ]


def test_more_than_people_read_is_counted_and_programs_get_all(repo: Path) -> None:
    assert "… and 3 more: ask for fewer, or --limit" in shown(repo, "--limit", 1)
    assert len(asked(repo, "--limit", 1)["devices"]) == 4


def test_one_device_is_shown_with_evidence_history_and_figures(repo: Path) -> None:
    later = said("cam-2", model(State.COMMITTED, "committed", runs=7), site="south", counter=6)
    hear(repo, later, given.metrics(device="cam-2", counter=1, time=NOW_S))
    with open_database(repo / FILE_NAME) as database:
        Upkeep(database, FleetSettings()).look(NOW_S)
    text = shown(repo, "cam-2")
    assert "runs: 7.0 (sequence 7) in slot a" in text
    assert "wanted: 7.0 (sequence 7) by spring, group canary" in text
    assert "tags: site=south" in text
    assert "clf: FAILED too_slow; runs 6.0, wanted 7.0" in text
    assert "FAILED latency_p50 0.04 (limit 0.001) (old model 0.0003)" in text
    found = asked(repo, "cam-2")
    assert [each["state"] for each in found["history"]["changes"]] == ["COMMITTED", "FAILED"]
    assert found["history"]["changes"][1]["evidence"]["checks"][0]["name"] == "latency_p50"
    assert found["history"]["figures"][0]["requests"] == 100


def test_a_wrong_clock_is_shown_with_both_times(repo: Path) -> None:
    early = said("cam-5", model(State.COMMITTED, "committed", runs=7), at_s=NOW_S - 7300)
    hear(repo, early)
    (line,) = (line for line in shown(repo).splitlines() if line.startswith("cam-5"))
    assert line.endswith("clock 2 h behind")
    (line,) = (line for line in shown(repo, "cam-5").splitlines() if "last status" in line)
    both = [time.strftime("%H:%M:%S", time.gmtime(at_s)) for at_s in (NOW_S, NOW_S - 7300)]
    assert all(at in line for at in both), line


def test_all_other_times_of_a_device_with_a_wrong_clock_are_by_ours(repo: Path) -> None:
    committed = model(State.COMMITTED, "committed", runs=7)
    early = msgspec.structs.replace(committed, since=NOW_S - 7300)
    hear(repo, said("cam-5", early, at_s=NOW_S - 7300))
    lines = shown(repo, "cam-5").splitlines()
    (state,) = (line for line in lines if line.startswith("  state: "))
    (step,) = (line for line in lines if "COMMITTED committed; runs 7.0" in line)
    assert state.endswith(f"since {step.split('  ')[1]}"), (state, step)


def test_a_folder_without_a_repository_is_said_to_be_none(tmp_path: Path) -> None:
    for command in ("fleet", "alarms", "audit"):
        with pytest.raises(NotFound, match=r"no repository at .*: run `slotcast init"):
            CliRunner().invoke(app, [command, str(tmp_path)], catch_exceptions=False)


def test_two_devices_under_one_id_are_shown_as_such(repo: Path) -> None:
    for number, session in enumerate(("a", "b", "a", "b", "a")):
        hear(
            repo, given.presence(device="cam-1", online=True, time=NOW_S + number, session=session)
        )
    assert "two devices use this id" in shown(repo)
    assert asked(repo, "cam-1")["heard"]["twins_seen_at"] is not None


def test_who_signs_and_what_was_refused_is_shown(repo: Path) -> None:
    assert asked(repo, "cam-1")["signed"] == "unsigned"
    assert "reports: not signed: as true as the broker's access rules" in shown(repo, "cam-1")
    enrol(repo, "cam-1", new_key())
    hear(repo, said("cam-1", model(State.FAILED, "too_slow", runs=6)))
    found = asked(repo, "cam-1")
    assert (found["heard"]["refused_why"], found["heard"]["refused_count"]) == ("unsigned", 1)
    assert found["heard"]["refused_at"] is not None
    assert "reports in its name were refused" in shown(repo)
    assert "not signed, though the device is enrolled" in shown(repo, "cam-1")


def test_text_of_devices_cannot_move_a_terminal(repo: Path) -> None:
    bad = model(State.FAILED, "too_slow", runs=6, detail=EVIL)
    status = said("cam-6", bad, inventory=Inventory(software=EVIL, tags={"k": EVIL[:100]}))
    hear(repo, status, ago_s=1)
    text = shown(repo) + shown(repo, "cam-6")
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "\\x1b[2J" in text
    assert "[red]bold[/red]" in text
    assert asked(repo, "cam-6")["software"] == EVIL


def test_only_history_is_lost_with_the_database(repo: Path) -> None:
    def without_history(found: dict[str, Any]) -> dict[str, Any]:
        devices = [each | {"heard": None} for each in found["devices"]]
        return {"devices": devices, "counts": found["counts"]}

    before = asked(repo)
    for path in repo.glob(f"*{FILE_NAME}*"):
        path.unlink()
    again = msgspec.structs.replace(FLEET[0], counter=5)
    hear(repo, again, *FLEET[1:], said("cam-4", at_s=NOW_S - 90_000), retained=True)
    after = asked(repo)
    assert without_history(after) == without_history(before)
    assert after["history"]["since"] >= before["history"]["since"]


def test_what_is_not_there_says_who_makes_it(tmp_path: Path, repo: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    assert "slotcast init" in refused(NotFound, elsewhere)
    assert not elsewhere.exists()
    elsewhere.mkdir()
    (elsewhere / "slotcast.toml").write_text("format = 1\n")
    assert "slotcast serve" in refused(NotFound, elsewhere)
    assert not (elsewhere / FILE_NAME).exists()
    assert "'cam-9'" in refused(NotFound, repo, "cam-9")
    assert "expected a time span such as 90s" in refused(UsageError, repo, "--seen-since", "soon")
    assert "expected KEY=VALUE" in refused(UsageError, repo, "--tag", "site")


def test_another_database_is_named_by_option_or_environment(
    tmp_path: Path, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{repo / FILE_NAME}"
    assert asked(tmp_path / "none", "--database", url)["counts"]["devices"] == 4
    monkeypatch.setenv("SLOTCAST_DATABASE", url)
    assert asked(tmp_path / "none")["counts"]["devices"] == 4


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_watching_says_what_changes_until_it_is_stopped(
    repo: Path, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def wait(_seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            hear(repo, said("cam-7", model(State.TRIAL, "on_trial", runs=7)))
        if looks == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(f"{COMMAND}.time.sleep", wait)
    monkeypatch.setattr(f"{COMMAND}.time.time", lambda: float(NOW_S))
    text = shown(repo, "--watch", *options)
    assert text.count("cam-1") == 2, "once at first, once when something was new"
    assert "cam-7" in text


def test_on_a_terminal_the_fleet_is_drawn_in_place(repo: Path) -> None:
    """In a terminal of its own, until Ctrl-C."""
    hear(repo, said("cam-8", model(State.FAILED, "too_slow", runs=6)))
    command = [sys.executable, "-m", "slotcast_publisher", "fleet", str(repo), "--watch"]
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120", "LINES": "30"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    drawn = b""
    while b"cam-8" not in drawn:
        drawn += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):  # the other side is closed
        while data := os.read(ours, 4096):
            drawn += data
    os.close(ours)
    assert process.wait(WAIT_S) == 0
    assert b"\x1b[?1049h" in drawn, "on a screen of its own"
    assert b"\x1b[?1049l" in drawn, "which is left again"
