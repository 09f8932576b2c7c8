"""The status for people, and what the agent leaves for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from slotcast_device.reporting.agent_view import (
    FILE_NAME,
    VIEW_MAX_BYTES,
    WRITE_EVERY_S,
    AgentView,
    ViewWriter,
    live_model,
    read_view,
)
from slotcast_device.reporting.release_words import ReleaseWords, lines_of_words, read_words
from slotcast_device.reporting.status_text import lines_of
from slotcast_device.storage.lock import is_locked, locked
from slotcast_device.storage.os_disk import OsDisk
from slotcast_device.storage.slots import SlotStore
from slotcast_schemas.errors import StateLocked
from slotcast_schemas.messages.status import BenchedRelease, Check, Evidence, Progress, SlotStatus
from slotcast_schemas.reasons import Reason
from slotcast_schemas.states import State
from tests.support import messages
from tests.support.slot_releases import put_release

NOW_S = 1_790_000_300
UP = AgentView(
    pid=7,
    started=NOW_S - 900,
    written=NOW_S - 3,
    since=NOW_S - 600,
    broker="broker:1883",
    protocol="5",
    is_connected=True,
)
DOWN = msgspec.structs.replace(UP, protocol="", is_connected=False, problem="link_down: refused")


def said(
    view: AgentView | None, *, is_running: bool = True, with_evidence: bool = False, **model: Any
) -> str:
    status = messages.status(time=NOW_S, models=(messages.model_status(**model),))
    lines = lines_of(status, view, is_running=is_running, with_evidence=with_evidence)
    return "\n".join(lines)


def test_what_the_release_that_serves_says_is_said_and_when_its_support_has_ended(
    tmp_path: Path,
) -> None:
    store = SlotStore(OsDisk(), tmp_path)
    more = {
        "advisory": "patch the camera\x1b[2J\nsoon",
        "changes": ("mends_fault",),
        "supported_until": NOW_S - 60,
    }
    put_release(store, "a", {"model.onnx": b"m"}, **more)
    slot = SlotStatus(slot="a", version="1", sequence=1)
    words = read_words(OsDisk(), tmp_path, slot)
    status = messages.status(time=NOW_S, models=(messages.model_status(model="clf", active=slot),))
    lines = lines_of(status, UP, is_running=True, with_evidence=False, words={"clf": words})
    text = "\n".join(lines)
    assert "it        mends fault\n    support   ended at " in text
    assert "advice    patch the camera\\x1b[2J\n              soon" in text
    later = msgspec.structs.replace(words, supported_until=NOW_S + 60)
    assert "support   until" in "".join(lines_of_words(later, NOW_S))
    (tmp_path / "slots/a.release").write_bytes(b"torn")
    assert read_words(OsDisk(), tmp_path, slot) == ReleaseWords()


def test_progress_has_share_rate_and_time_left() -> None:
    progress = Progress(
        payload=messages.sha("p"),
        codec="delta+v1",
        size_bytes=1_000_000,
        verified_bytes=250_000,
        saved_bytes=500_000,
        rate_bytes_per_s=10_000,
    )
    text = said(UP, state=State.DOWNLOADING, reason="downloading", progress=progress)
    assert (
        "progress  250.0 kB of 1.0 MB (25%), 10.0 kB/s, about 1 min 15 s left; delta+v1,"
        " 500.0 kB saved"
    ) in text
    assert "target    1.2.0 (sequence 7)" in text
    assert "active    1.1.0 (sequence 6), slot a" in text
    assert "standby   empty" in text


def test_a_trial_says_what_it_waits_for() -> None:
    detail = "12 of 20 requests, 40 of 300 s"
    text = said(UP, state=State.TRIAL, reason="on_trial", since=NOW_S - 40, detail=detail)
    assert "detector  TRIAL (on_trial) for 40 s" in text
    assert f"waits for {detail}" in text
    assert "progress" not in text


def test_a_stale_notice_is_said_with_its_end() -> None:
    text = said(UP, notice="stale", notice_expires=NOW_S - 60)
    assert "notice    stale, its signatures ended at 2026-09-21 14:17+00:00: the publisher" in text
    assert "notice" not in said(UP, notice="valid", notice_expires=NOW_S + 60)


def test_a_clock_that_is_wrong_is_said_and_one_that_may_be_right_is_not() -> None:
    behind = messages.status(time=0, clock="behind", models=())
    text = "\n".join(lines_of(behind, UP, is_running=True, with_evidence=False))
    assert "clock     behind: it says 1970-01-01 00:00+00:00; see `slotcast-device check`" in text
    assert "clock" not in said(UP)


@pytest.mark.parametrize(
    ("view", "is_running", "line"),
    [
        (UP, True, "agent     running, connected to broker:1883 (MQTT 5) for 10 min"),
        (DOWN, True, "agent     running, no connection for 10 min: link_down: refused"),
        (None, True, "agent     running, started just now"),
        (UP, False, "agent     not running, last heard of 3 s ago: nothing goes on until it is"),
        (None, False, "agent     not running: nothing goes on until it is started"),
    ],
)
def test_whether_an_agent_runs_and_has_a_broker_is_said(
    view: AgentView | None, is_running: bool, line: str
) -> None:
    assert line in said(view, is_running=is_running)


def test_what_needs_the_agent_is_said_to_wait_for_it() -> None:
    waits = "goes on when the agent is started"
    assert waits in said(UP, is_running=False, state=State.TRIAL)
    assert waits not in said(UP, is_running=False, state=State.COMMITTED)
    assert waits not in said(UP, state=State.TRIAL)


def test_evidence_is_told_when_it_is_asked_for() -> None:
    checks = (
        Check(name="latency_p50", passed=False, value=0.02, limit=0.006, reference=0.002),
        Check(name="contract", passed=True, detail="as declared"),
    )
    evidence = Evidence(sequence=7, checks=checks)
    assert "latency_p50" not in said(UP, state=State.FAILED, evidence=evidence)
    text = said(UP, with_evidence=True, state=State.FAILED, evidence=evidence)
    assert "FAIL latency_p50       20 ms  limit 6 ms  before 2 ms" in text
    assert "ok   contract          as declared" in text
    assert "evidence  none" in said(UP, with_evidence=True, evidence=None)


def test_benched_releases_and_slots_are_listed() -> None:
    benched = (BenchedRelease(sequence=5, version="1.0.5", reason="golden_mismatch"),)
    standby = SlotStatus(slot="b", version="1.0", sequence=4)
    text = said(UP, benched=benched, standby=standby)
    assert "benched   1.0.5 (sequence 5): golden_mismatch" in text
    assert "standby   1.0 (sequence 4), slot b" in text


# --- what the agent leaves ------------------------------------------------------------------------


def known(**changes: Any) -> dict[str, Any]:
    given = {
        "broker": "broker:1883",
        "protocol": "5",
        "is_connected": True,
        "problem": "",
        "models": {},
    }
    return {**given, **changes}


def test_the_view_is_written_when_it_changed_and_not_at_every_turn(tmp_path: Path) -> None:
    writer = ViewWriter(tmp_path, NOW_S)
    assert writer.is_due(0.0, is_connected=False)
    writer.update(0.0, NOW_S, **known())
    first = read_view(tmp_path)
    assert first is not None
    assert (first.pid, first.started, first.since) == (os.getpid(), NOW_S, NOW_S)
    assert not writer.is_due(WRITE_EVERY_S - 0.1, is_connected=True)
    before = (tmp_path / FILE_NAME).stat().st_ino
    writer.update(WRITE_EVERY_S, NOW_S + 5, **known())
    assert (tmp_path / FILE_NAME).stat().st_ino == before  # nothing new
    models = {"detector": live_model(messages.model_status())}
    writer.update(2 * WRITE_EVERY_S, NOW_S + 10, **known(models=models))
    second = read_view(tmp_path)
    assert second is not None
    assert (second.written, second.since) == (NOW_S + 10, NOW_S)
    assert writer.is_due(2 * WRITE_EVERY_S, is_connected=False)  # a lost connection at once


def test_the_view_completes_only_a_status_of_the_same_release() -> None:
    record = messages.model_status(progress=None, detail="")
    live = messages.model_status(detail="12 of 20 requests")
    view = msgspec.structs.replace(UP, models={"detector": live_model(live)})
    assert view.completed(record).progress == live.progress
    assert view.completed(record).detail == "12 of 20 requests"
    other = messages.model_status(progress=None, state=State.COMMITTED)
    assert view.completed(other) == other
    assert UP.completed(record) == record


def test_a_detail_of_the_view_goes_with_its_own_reason_only() -> None:
    """The record says at once why nothing comes; the view, up to seconds old, what was fetched."""
    fetching = messages.model_status(reason=Reason.DOWNLOADING, detail="full+zstd")
    view = msgspec.structs.replace(UP, models={"detector": live_model(fetching)})
    why = "no message of 32896 bytes ever came: perhaps the broker's packet limit"
    stalled = messages.model_status(progress=None, reason=Reason.STALLED, detail=why)
    assert view.completed(stalled).detail == why
    assert view.completed(stalled).progress == fetching.progress


@pytest.mark.parametrize(
    "data", [b"", b"{", b"null", b"\xff", b"[" * 60_000, b'{"pid": 1}', b" " * VIEW_MAX_BYTES]
)
def test_a_view_that_is_cut_or_not_one_is_none(tmp_path: Path, data: bytes) -> None:
    assert read_view(tmp_path) is None
    (tmp_path / FILE_NAME).write_bytes(data)
    assert read_view(tmp_path) is None


def test_a_view_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    writer = ViewWriter(tmp_path / "nowhere", NOW_S)
    writer.update(0.0, NOW_S, **known())
    assert read_view(tmp_path / "nowhere") is None


def test_the_lock_tells_whether_an_agent_runs(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "nowhere")
    assert not is_locked(tmp_path)
    with locked(tmp_path):
        assert is_locked(tmp_path)
        assert is_locked(tmp_path)  # asking changes nothing
        with pytest.raises(StateLocked), locked(tmp_path):
            pass
    assert not is_locked(tmp_path)
