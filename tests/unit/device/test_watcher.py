"""A trial as the agent watches it: report files in a folder, a clock, and probes that stand in."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from slotcast_device.application.app_report import AppReport, Failure, write_report
from slotcast_device.core.actions import ProbeSlot, Verdict, Watch
from slotcast_device.core.state import SlotName
from slotcast_device.storage.os_disk import OsDisk
from slotcast_device.storage.slots import SlotStore
from slotcast_device.trial.live_figures import LiveFigures
from slotcast_device.trial.reference import Reference
from slotcast_device.trial.watcher import TrialWatcher
from slotcast_schemas.messages import Release
from slotcast_schemas.messages.release import Trial
from slotcast_schemas.probe import ProbeResult
from tests.support import messages

FIT = ProbeResult(passed=True, reason="passed", detail="", checks=())


class Watched(TrialWatcher):
    """A watcher whose probes give what they are told."""

    def __init__(self, folder: Path, now: Any) -> None:
        kept = Reference(OsDisk(), folder / "reference.json")
        store = SlotStore(OsDisk(), folder)
        super().__init__(store, folder / "app", threading.Event(), now, reference=kept)
        self.result = FIT
        self.probes = 0

    def _run_probe(
        self,
        slot: SlotName,
        release: Release,
        beside: SlotName | None,
        *,
        keeps_copy: bool = False,
    ) -> ProbeResult:
        del slot, release, beside, keeps_copy
        self.probes += 1
        return self.result


class Stand:
    """A release on trial in slot b, and what its application reports."""

    def __init__(self, folder: Path, **trial: Any) -> None:
        self.folder = folder / "app"
        self.folder.mkdir()
        given = {"duration_s": 60.0, "min_requests": 20, "deadline_s": 900.0, **trial}
        self.release = messages.release(version="2", sequence=2, trial=Trial(**given))
        self.now_s = 0.0
        self._root = folder
        self.restart_agent()
        self.restarts = 0
        self.writes = 0

    def restart_agent(self) -> None:
        self.watcher = Watched(self._root, lambda: 5000.0 + self.now_s)

    def write(self, name: str, *, phase: Any = "serving", **fields: Any) -> None:
        self.writes += 1
        given = {"slot": "b", "sequence": 2, "uptime_s": 1.0 + self.writes, **fields}
        write_report(self.folder, AppReport(instance=name, phase=phase, **given))

    def take_away(self, name: str) -> None:
        (self.folder / f"report-{name}-b.json").unlink()

    def look(self, *, after_s: float = 10.0) -> Verdict:
        self.now_s += after_s
        return self.watcher.watch(Watch("b", "a", self.release, self.now_s, self.restarts))

    def look_until_it_ends(self, *, most: int = 200) -> Verdict:
        for _ in range(most):
            verdict = self.look()
            if verdict.passed is not None:
                return verdict
        raise AssertionError(f"still {verdict}")


def test_a_live_application_with_any_clock_passes_once_it_was_heard_of_again(
    tmp_path: Path,
) -> None:
    stand = Stand(tmp_path)
    for look in range(6):
        for process in range(4):
            stand.write(str(process), requests=10 * look, uptime_s=500_000.0 * process + look + 1)
        assert stand.look(after_s=0.0 if look == 0 else 10.0).passed is None
    stand.write("0", requests=50)
    silent = stand.look()
    assert (silent.passed, silent.reason) == (None, "held_back")
    assert silent.detail == "waiting to hear from 4 processes of the application once more"
    for process in range(4):
        stand.write(str(process), requests=60)
    assert stand.look(after_s=2.0).passed


@pytest.mark.parametrize("every_s", [2.0, 5.0, 12.0])
def test_an_application_that_keeps_dying_is_noticed_even_in_a_short_trial(
    tmp_path: Path, every_s: float
) -> None:
    stand = Stand(tmp_path, duration_s=15.0)
    starts = 0
    verdict = stand.look(after_s=0.0)
    while verdict.passed is None:
        while starts * every_s <= stand.now_s:
            stand.write(str(starts), requests=12)
            starts += 1
        verdict = stand.look(after_s=2.0 if stand.now_s >= 14 else 10.0)
    assert (verdict.passed, verdict.reason) == (False, "restarts")


def test_an_application_that_died_and_did_not_come_back_lets_no_trial_pass(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    stand.look(after_s=0.0)
    stand.write("1", requests=100)
    verdict = stand.look_until_it_ends()
    assert (verdict.passed, verdict.reason) == (False, "trial_deadline")
    assert "has not come back" in verdict.detail


def test_an_application_that_was_stopped_in_order_is_stood_in_for(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    for requests in (5, 15):
        stand.write("1", requests=requests)
        stand.look()
    stand.take_away("1")
    assert stand.look().detail == "16 of 20 requests and probes, 30 of 60 s"
    assert stand.look_until_it_ends().passed
    assert stand.watcher.probes >= 4


def test_errors_of_a_process_that_left_in_order_count_on(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    stand.write("1", requests=30, errors=2)
    stand.look()
    stand.take_away("1")
    stand.write("2", requests=30)
    verdict = stand.look()
    (errors,) = [check for check in verdict.checks if check.name == "errors"]
    assert errors.detail == "2 of 60 requests"


def test_the_old_releases_share_of_errors_counts_on_when_its_processes_have_left(
    tmp_path: Path,
) -> None:
    stand = Stand(tmp_path)
    stand.write("1", slot="a", sequence=1, requests=1000, errors=100)
    stand.look(after_s=0.0)
    (stand.folder / "report-1-a.json").unlink()
    for look in range(1, 9):
        stand.write("2", requests=100 * look, errors=10 * look)
        verdict = stand.look()
    assert verdict.passed


def test_they_count_on_when_the_agent_was_started_again_meanwhile(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    stand.write("1", slot="a", sequence=1, requests=1000, errors=100)
    stand.look(after_s=0.0)
    (stand.folder / "report-1-a.json").unlink()
    stand.restart_agent()
    stand.write("2", requests=100, errors=12)
    (errors,) = [check for check in stand.look().checks if check.name == "errors"]
    assert (errors.passed, errors.reference) == (True, 0.1)


def test_figures_kept_for_another_release_or_damaged_are_not_used(tmp_path: Path) -> None:
    kept = Reference(OsDisk(), tmp_path / "reference.json")
    known = LiveFigures(requests=1000, errors=100)
    assert kept.best(known, b"1" * 32) == known
    again = Reference(OsDisk(), tmp_path / "reference.json")
    assert again.best(LiveFigures(requests=10), b"1" * 32) == known
    assert again.best(LiveFigures(requests=10), b"2" * 32).requests == 10
    (tmp_path / "reference.json").write_bytes(b"\xff{")
    damaged = Reference(OsDisk(), tmp_path / "reference.json")
    assert damaged.best(LiveFigures(), b"1" * 32) == LiveFigures()


def test_an_application_that_left_its_reports_behind_before_a_restart_is_waited_for(
    tmp_path: Path,
) -> None:
    stand = Stand(tmp_path, min_requests=0)
    stand.write("1", requests=100)
    for _ in range(20):
        verdict = stand.look()
    assert verdict.passed is None
    for requests in range(10, 70, 10):  # it may have died, so it is watched for a minute
        stand.write("2", requests=requests)
        assert stand.look().passed is None
    stand.write("2", requests=70)
    assert stand.look().passed


def test_processes_that_wake_up_after_others_died_unseen_and_die_too_are_not_committed(
    tmp_path: Path,
) -> None:
    """The agent was restarted after they had died, and while the last ones stood still."""
    stand = Stand(tmp_path, min_requests=0)
    for name in "123":
        stand.write(name, requests=10)
    for _ in range(5):
        stand.look()
    for step in range(3):
        for name in "23":
            stand.write(name, requests=20 + step)
        assert stand.look().passed is None
    for _ in range(7):
        verdict = stand.look()
        assert verdict.passed is None
    assert "ended without a word" in verdict.detail


def test_the_old_figures_are_kept_before_the_switch_when_the_release_is_probed(
    tmp_path: Path,
) -> None:
    """Power fails between the probe and the switch; those who served the old release are gone."""
    stand = Stand(tmp_path)
    stand.write("1", slot="a", sequence=1, requests=1000, errors=100)
    stand.watcher.probe(ProbeSlot("b", stand.release, "a"))
    (stand.folder / "report-1-a.json").unlink()
    stand.restart_agent()
    stand.write("2", requests=100, errors=12)
    (errors,) = [check for check in stand.look().checks if check.name == "errors"]
    assert (errors.passed, errors.reference) == (True, 0.1)


def test_time_in_which_the_release_was_only_loaded_passes_no_trial(tmp_path: Path) -> None:
    """One that kills its process after some seconds had not served for so long."""
    stand = Stand(tmp_path, min_requests=0)
    for _ in range(9):
        stand.write("1", phase="loading")
        assert stand.look().passed is None
    for requests in range(6):
        stand.write("1", requests=requests)
        verdict = stand.look()
        assert verdict.passed is None
    assert verdict.detail == "waiting until the application has served the release for 60 s"
    stand.write("1", requests=6)
    assert stand.look().passed


def test_workers_that_take_turns_have_served_together(tmp_path: Path) -> None:
    stand = Stand(tmp_path, min_requests=0)
    stand.write("0")
    for turn in range(8):
        stand.write(str(turn + 1))
        stand.look(after_s=1.0)
        stand.write(str(turn))
        stand.write(str(turn + 1))
        verdict = stand.look(after_s=9.0)
        stand.take_away(str(turn))
    assert verdict.passed


def test_figures_that_came_in_time_are_not_lost_to_the_deadline(tmp_path: Path) -> None:
    stand = Stand(tmp_path, min_requests=90, deadline_s=900.0)
    for requests in range(89):
        stand.write("1", requests=requests)
        assert stand.look(after_s=10.0).passed is None
    stand.write("1", requests=90)
    assert stand.look(after_s=9.0).detail == (
        "waiting to hear from 1 processes of the application once more"
    )
    stand.write("1", requests=91)
    assert stand.look(after_s=10.0).passed


def test_an_application_that_does_not_count_requests_is_stood_in_for_and_the_status_says_so(
    tmp_path: Path,
) -> None:
    stand = Stand(tmp_path)
    stand.write("1")
    stand.look(after_s=0.0)
    stand.write("1")
    assert stand.look().detail == (
        "the application does not count requests, so probes stand in:"
        " 2 of 20 probes, 10 of 60 s"
    )  # fmt: skip
    for _ in range(30):
        stand.write("1")
        verdict = stand.look()
        if verdict.passed is not None:
            break
    assert verdict.passed
    assert 20 <= stand.watcher.probes <= 21  # and once more, to hear from it


def test_what_a_probe_finds_decides_where_requests_are_not_counted(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    stand.write("1")
    stand.look()
    stand.watcher.result = ProbeResult(False, "golden_mismatch", "golden is 9", ())
    assert (stand.look().passed, stand.look().reason) == (False, "golden_mismatch")


def test_an_application_that_only_waits_for_time_is_not_probed(tmp_path: Path) -> None:
    stand = Stand(tmp_path, min_requests=0)
    stand.write("1")
    assert stand.look().detail == "10 of 60 s"
    assert stand.watcher.probes == 0


def test_a_release_that_never_ends_loading_does_not_pass(tmp_path: Path) -> None:
    stand = Stand(tmp_path, min_requests=0)
    for _ in range(80):
        stand.write("1", slot="a", sequence=1, requests=10)
        stand.write("1", phase="loading")
        assert stand.look().passed is None
    failed = Failure(reason="load_timeout", detail="it goes on")
    stand.write("1", phase="failed", failure=failed)
    assert (stand.look().passed, stand.look().reason) == (False, "load_timeout")


def test_a_process_that_dies_while_it_loads_counts_before_anybody_serves(tmp_path: Path) -> None:
    stand = Stand(tmp_path, duration_s=86400.0)
    stand.look(after_s=0.0)
    for start in range(20):
        stand.write(str(start), phase="loading")
        verdict = stand.look()
        if verdict.passed is False:
            break
    assert verdict.reason == "restarts"


def test_a_machine_that_slept_for_hours_has_not_lost_its_application(tmp_path: Path) -> None:
    stand = Stand(tmp_path, duration_s=3600.0)
    for look in range(5):
        for process in range(4):
            stand.write(str(process), requests=10 * look, uptime_s=1.0 + look * 20_000.0)
        verdict = stand.look()
    assert verdict.passed is None
    assert verdict.reason == "pending"


def test_no_trial_at_all_ends_with_the_first_process_that_serves(tmp_path: Path) -> None:
    stand = Stand(tmp_path, duration_s=0.0, min_requests=0)
    stand.write("1", slot="a", sequence=1, requests=10)
    assert stand.look(after_s=0.0).reason == "taking_over"
    stand.write("1")
    assert stand.look(after_s=2.0).passed
