"""What the log says when a release is switched to, committed, rolled back: once, with figures."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from slotcast_device.reporting.change_log import ChangeLog, Line
from slotcast_device.reporting.log_format import FACTS, JsonLines
from slotcast_device.reporting.words import duration, figure, size
from slotcast_schemas.messages.status import Check, Evidence, ModelStatus, SlotStatus, Target
from slotcast_schemas.states import State
from tests.support import messages

OLD = SlotStatus(slot="a", version="1.0", sequence=1)
NEW = SlotStatus(slot="b", version="2.0", sequence=2)
FITS = Evidence(
    sequence=2,
    checks=(
        Check(name="contract", passed=True),
        Check(name="latency_p50", passed=True, value=0.002, limit=0.006, reference=0.001),
    ),
)
ERRORS = Check(name="errors", passed=False, value=1.0, limit=0.01, reference=0.0)


def status(state: State, reason: str, active: SlotStatus | None, **more: Any) -> ModelStatus:
    given = {"target": Target(version="2.0", sequence=2), "progress": None, "evidence": None}
    return messages.model_status(
        model="clf", state=state, reason=reason, active=active, **{**given, **more}
    )


def told(*statuses: ModelStatus) -> list[Line]:
    """Look at one status a second; give what is said after the first."""
    log = ChangeLog()
    return [line for n, one in enumerate(statuses) for line in log.look(one, float(n)) if n]


DOWNLOADING = status(State.DOWNLOADING, "downloading", OLD)
TRIAL = status(State.TRIAL, "on_trial", NEW, evidence=FITS)


def test_a_start_says_what_is_there() -> None:
    log = ChangeLog()
    (line,) = log.look(status(State.COMMITTED, "committed", NEW), 0.0)
    assert (line.event, line.text) == (
        "active",
        "2.0 (sequence 2, slot b) is active; COMMITTED (committed)",
    )
    assert ChangeLog().look(status(State.IDLE, "no_notice", None), 0.0)[0].text.startswith("no rel")


def test_a_switch_says_from_what_to_what_and_why_it_may() -> None:
    received = messages.model_status().progress
    collecting = status(State.DOWNLOADING, "downloading", OLD, progress=received)
    (line,) = told(DOWNLOADING, collecting, TRIAL)
    assert line.event == "switched"
    assert line.text == (
        "switched to 2.0 (sequence 2, slot b) from 1.0: 0 B received (full+zstd);"
        " latency_p50 2 ms (limit 6 ms, before 1 ms)"
    )
    assert line.facts["transfer"]["size_bytes"] == 100_000
    assert line.facts["from_version"] == "1.0"
    assert line.facts["checks"]["latency_p50"] == {
        "passed": True,
        "value": 0.002,
        "limit": 0.006,
        "before": 0.001,
    }


def test_a_commit_says_how_long_it_served() -> None:
    switched, committed = told(
        DOWNLOADING, TRIAL, TRIAL, status(State.COMMITTED, "committed", NEW, evidence=FITS)
    )
    assert (switched.event, committed.event) == ("switched", "committed")
    assert committed.text.startswith("committed 2.0 (sequence 2, slot b) after 2 s: latency_p50")
    assert committed.facts["served_s"] == 2.0


def test_a_commit_in_the_same_breath_as_the_switch_is_two_lines() -> None:
    lines = told(DOWNLOADING, status(State.COMMITTED, "committed", NEW))
    assert [line.event for line in lines] == ["switched", "committed"]


def test_a_roll_back_is_a_warning_with_its_reason_and_what_serves_again() -> None:
    end = status(
        State.ROLLED_BACK,
        "errors",
        OLD,
        detail="errors is 1 (limit 0.01)",
        evidence=Evidence(sequence=2, checks=(ERRORS,)),
    )
    *_, line = lines = told(DOWNLOADING, TRIAL, end)
    assert [one.event for one in lines] == ["switched", "rolled_back"]
    assert line.level == logging.WARNING
    assert line.text == (
        "rolled back 2.0 after 1 s (errors): errors is 1 (limit 0.01);"
        " 1.0 (sequence 1, slot a) serves again"
    )
    assert line.facts["checks"]["errors"]["value"] == 1.0


def test_a_roll_back_after_a_restart_does_not_guess_how_long_it_served() -> None:
    (line,) = told(TRIAL, status(State.ROLLED_BACK, "restarts", OLD))
    assert line.text.startswith("rolled back 2.0 (restarts)")
    assert "served_s" not in line.facts


def test_the_first_release_that_fails_leaves_nothing_active() -> None:
    *_, line = told(
        status(State.DOWNLOADING, "downloading", None),
        TRIAL,
        status(State.ROLLED_BACK, "errors", None),
    )
    assert line.text.endswith("no release is active")


def test_nothing_is_said_twice() -> None:
    end = status(State.COMMITTED, "committed", NEW)
    assert len(told(DOWNLOADING, DOWNLOADING, TRIAL, TRIAL, end, end)) == 2


def test_json_lines_have_the_facts_beside_the_words() -> None:
    record = logging.LogRecord("slotcast.device", logging.INFO, "f", 1, "clf: %s", ("é",), None)
    setattr(record, FACTS, {"model": "clf", "event": "switched", "served_s": 1.5})
    line = JsonLines().format(record)
    assert "\n" not in line
    assert json.loads(line) | {"time": ""} == {
        "time": "",
        "level": "info",
        "logger": "slotcast.device",
        "message": "clf: é",
        "model": "clf",
        "event": "switched",
        "served_s": 1.5,
    }


def test_json_lines_keep_a_traceback_in_one_line() -> None:
    try:
        raise ValueError("no")
    except ValueError:
        import sys

        record = logging.LogRecord("x", logging.ERROR, "f", 1, "failed", (), sys.exc_info())
    line = JsonLines().format(record)
    assert "\n" not in line
    assert json.loads(line)["exception"].endswith("ValueError: no")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (3 * 3600 + 59, "3 h"),
        (7500, "2 h 5 min"),
        (4 * 86400 + 7200, "4 d 2 h"),
        (-5, "0 s"),
    ],
)
def test_times_have_their_two_largest_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [(0, "0 B"), (999, "999 B"), (655_360, "655.4 kB"), (9e7, "90.0 MB"), (5e12, "5000.0 GB")],
)
def test_sizes_have_their_unit(size_bytes: float, words: str) -> None:
    assert size(size_bytes) == words


def test_a_figure_has_the_unit_of_its_name() -> None:
    memory = Check(name="memory", passed=True, value=5e6, limit=1e7)
    assert figure(memory) == "memory 5.0 MB (limit 10.0 MB)"
    assert figure(Check(name="golden", passed=True, value=0.25)) == "golden 0.25"
    assert figure(Check(name="finite", passed=False, detail="NaN")) == "finite NaN"
