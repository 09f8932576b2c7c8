"""The owner's say: windows, consent and hooks decide when an update goes on."""

import os
import signal
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace

from slotcast_device.owner import hooks
from slotcast_device.owner.owner import Owner
from slotcast_schemas.messages import Release
from slotcast_schemas.messages.release import File
from slotcast_schemas.update_windows import parse_windows
from tests.support.stranger import as_stranger, needs_root
from tests.support.waiting import WAIT_S, wait_until

NOW = datetime(2026, 11, 23, 3, 0)  # noqa: DTZ001 - windows are in local time
DIGEST = bytes(32)


@pytest.fixture
def release() -> Release:
    return Release(
        model="detector",
        version="2.0",
        sequence=2,
        created=1,
        files=(File(path="m.onnx", size_bytes=1, sha256=DIGEST, role="model"),),
        image_size_bytes=1,
        image_sha256=DIGEST,
        entry="m.onnx",
    )


def owner(
    tmp_path: Path,
    *,
    windows: Sequence[str] = (),
    hook: str | None = None,
    consent: Path | None = None,
) -> Owner:
    hooks = None
    if hook is not None:
        hooks = tmp_path / "hooks"
        hooks.mkdir()
        file = hooks / "before-switch"
        file.write_text(f"#!/bin/sh\n{hook}\n")
        file.chmod(0o755)
    return Owner(parse_windows(windows), hooks, 60.0, consent, tmp_path)


def test_without_wishes_the_owner_is_not_asked(tmp_path: Path) -> None:
    assert not owner(tmp_path).is_asked


def test_a_closed_window_makes_the_update_wait_until_it_opens(
    tmp_path: Path, release: Release
) -> None:
    answer = owner(tmp_path, windows=["04:00-05:00"]).ask("before_switch", release, NOW)
    assert (answer.word, answer.reason, answer.again_s) == ("wait", "window", 3600.0)


def test_consent_counts_only_for_the_release_it_names(tmp_path: Path, release: Release) -> None:
    consent = tmp_path / "consent"
    asked = owner(tmp_path, consent=consent)
    assert asked.ask("before_switch", release, NOW).reason == "consent"
    consent.write_text("1.9\n")
    assert asked.ask("before_switch", release, NOW).reason == "consent"
    consent.write_text("2.0\n")
    assert asked.ask("before_switch", release, NOW).word == "go"


@pytest.mark.parametrize(
    ("hook", "word", "reason"),
    [
        ("exit 0", "go", None),
        ("echo busy; exit 3", "wait", "hook"),
        ("exit 4", "refuse", "hook_refused"),
        ("exit 1", "wait", "hook_failed"),
        ("kill -9 $$", "wait", "hook_failed"),
    ],
)
def test_a_hook_answers_by_its_exit_code(
    tmp_path: Path, release: Release, hook: str, word: str, reason: str | None
) -> None:
    answer = owner(tmp_path, hook=hook).ask("before_switch", release, NOW)
    assert (answer.word, answer.reason) == (word, reason)


def test_a_hook_learns_what_it_is_about(tmp_path: Path, release: Release) -> None:
    out = tmp_path / "said"
    hook = f'echo "$SLOTCAST_STAGE $SLOTCAST_MODEL $SLOTCAST_VERSION" > {out}'
    owner(tmp_path, hook=hook).ask("before_switch", release, NOW)
    assert out.read_text() == "before_switch detector 2.0\n"


def test_a_hook_that_hangs_is_ended_and_reported(tmp_path: Path, release: Release) -> None:
    slow = owner(tmp_path, hook="exec sleep 60")
    slow = Owner(slow.windows, slow.hooks, 0.2, None, tmp_path)
    answer = slow.ask("before_switch", release, NOW)
    assert answer.reason == "hook_failed"
    assert "0 s" in answer.detail


def alive(pid: int) -> bool:
    """Whether a process still runs; one that ended and was not waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_hook_has_ended_when_its_own_process_has_whatever_it_left_running(
    tmp_path: Path, release: Release
) -> None:
    pid, tick = tmp_path / "pid", tmp_path / "tick"
    left = f"while :; do echo tick; date >{tick}; sleep 0.05; done"
    hook = f"({left}) &\necho $! >{pid}; echo busy; exit 3"
    answer = owner(tmp_path, hook=hook).ask("before_switch", release, NOW)
    left_pid = int(pid.read_text())
    try:
        assert (answer.word, answer.reason) == ("wait", "hook")
        assert "busy" in answer.detail
        tick.unlink(missing_ok=True)  # what was left may only just begin
        wait_until(tick.exists)  # it prints on, and no closed pipe has ended it
        assert alive(left_pid)
    finally:
        os.kill(left_pid, signal.SIGKILL)


def test_a_hook_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path, release: Release
) -> None:
    pid = tmp_path / "pid"
    slow = owner(tmp_path, hook=f"sleep 60 &\necho $! >{pid}; wait")
    slow = replace(slow, hook_timeout_s=0.5)

    def is_begun() -> bool:  # a busy machine may take that long to begin
        assert slow.ask("before_switch", release, NOW).reason == "hook_failed"
        return pid.exists() and pid.read_text().endswith("\n")

    wait_until(is_begun, "a hook that has started another process")
    wait_until(lambda: not alive(int(pid.read_text())))


def test_outputs_that_are_left_open_do_not_add_up(tmp_path: Path) -> None:
    wait_until(lambda: hooks._Output.has_room(1))  # those of other tests have ended
    pids, hook = tmp_path / "pids", tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\nsleep 60 &\necho $! >>{pids}; echo busy; exit 3\n")
    hook.chmod(0o755)
    ends = [
        hooks.run_hook(hook, os.environ, WAIT_S, left_open_max=1, output_wait_s=1.0)
        for _ in range(2)
    ]
    for pid in pids.read_text().split():
        os.kill(int(pid), signal.SIGKILL)
    assert [(end.code, end.said) for end in ends] == [(3, "busy"), (3, "")]


def test_a_hook_that_says_nothing_asks_to_wait_by_its_name(
    tmp_path: Path, release: Release
) -> None:
    assert owner(tmp_path, hook="exit 3").ask("before_switch", release, NOW).detail == (
        "before-switch asks to wait"
    )


def test_a_stage_without_a_hook_goes_on(tmp_path: Path, release: Release) -> None:
    assert owner(tmp_path, hook="exit 4").ask("before_download", release, NOW).word == "go"


@needs_root
def test_hooks_that_the_agent_may_not_look_at_may_say_no(tmp_path: Path, release: Release) -> None:
    asked = owner(tmp_path, hook="exit 4")
    (tmp_path / "hooks").chmod(0o700)
    said = as_stranger(lambda: str(asked.ask("before_switch", release, NOW)))
    assert "hook_failed" in said
    assert "is closed to uid 12345" in said
