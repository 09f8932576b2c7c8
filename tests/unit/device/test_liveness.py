"""Which processes live: by what changes in their files, whatever their clocks say."""

from __future__ import annotations

from typing import Any

import pytest

from slotcast_device.application.app_report import AppReport, ReportFile
from slotcast_device.application.liveness import ENDED_MAX, GONE_AFTER_S, LOOK_COUNTS_S, Liveness


class Folder:
    """Files of processes, looked at every ten seconds."""

    def __init__(self, **options: Any) -> None:
        self.liveness = Liveness(**options)
        self.now_s = 1000.0
        self.files: dict[str, ReportFile] = {}
        self._writes = 0

    def write(self, name: str, *, phase: Any = "serving", uptime_s: float = 5.0) -> None:
        self._writes += 1
        report = AppReport(slot="b", phase=phase, instance=name, uptime_s=uptime_s)
        self.files[name] = ReportFile(f"report-{name}-b.json", (7, self._writes), report)

    def look(self, *, after_s: float = 10.0) -> dict[str, str]:
        """Give the phase of each."""
        self.now_s += after_s
        found = self.liveness.look(list(self.files.values()), self.now_s)
        return {report.instance: report.phase for report in found}

    def look_long(self, *names: str) -> dict[str, str]:
        """Look until who is silent must have ended; these go on writing."""
        phases: dict[str, str] = {}
        for _ in range(int(GONE_AFTER_S / 10) + 2):
            for name in names:
                self.write(name)
            phases = self.look()
        return phases


@pytest.mark.parametrize("uptime_s", [1.0, 999.0, 500_000.0, 1e9])
def test_a_process_that_writes_lives_whatever_its_clock_says(uptime_s: float) -> None:
    folder = Folder()
    for step in range(20):
        folder.write("1", uptime_s=uptime_s + step)
        assert folder.look() == {"1": "serving"}
    assert len(folder.liveness.restarts("b")) == 0


def test_a_process_that_has_not_written_for_long_is_gone_and_back_when_it_writes_again() -> None:
    folder = Folder()
    folder.write("1")
    assert folder.look() == {"1": "serving"}
    assert folder.look() == {"1": "serving"}
    assert folder.look_long() == {"1": "gone"}
    folder.write("1")
    assert folder.look() == {"1": "serving"}


def test_one_of_which_no_time_is_known_is_taken_to_live() -> None:
    folder = Folder()
    folder.write("1", uptime_s=0.0)
    assert folder.look_long() == {"1": "serving"}


def test_a_machine_that_slept_between_two_looks_has_lost_nobody() -> None:
    folder = Folder()
    folder.write("1")
    folder.look()
    assert folder.look(after_s=8 * 3600.0) == {"1": "serving"}
    assert folder.look_long("1") == {"1": "serving"}


def test_a_process_that_ended_and_was_replaced_is_a_restart() -> None:
    folder = Folder()
    folder.look()
    for start in range(4):
        folder.write(str(start))
        folder.look()
    folder.look_long("3")
    assert len(folder.liveness.restarts("b")) == 3
    assert len(folder.liveness.restarts("a")) == 0


def test_processes_that_stand_still_for_a_while_are_no_restarts() -> None:
    folder = Folder()
    folder.look()
    for name in "1234":
        folder.write(name)
    folder.look()
    assert set(folder.look_long().values()) == {"gone"}
    assert len(folder.liveness.restarts("b")) == 0
    assert folder.liveness.gone("b") == 4
    folder.look_long(*"1234")
    assert folder.liveness.gone("b") == 0


def test_one_that_is_restarted_at_once_after_its_last_words_is_counted() -> None:
    folder = Folder()
    folder.look()
    for number in range(1, 4):
        folder.write(f"{number}")
        folder.look()
        folder.write(f"{number}")  # its last words; the next one's first come before the next look
    folder.write("4")
    folder.look()
    folder.look_long("4")
    assert len(folder.liveness.restarts("b")) == 3


def test_of_two_that_begin_together_one_that_dies_is_no_restart() -> None:
    folder = Folder()
    folder.look()
    folder.write("1")
    folder.write("2")
    folder.look()
    folder.look_long("2")
    assert (len(folder.liveness.restarts("b")), folder.liveness.gone("b")) == (0, 1)


def test_an_application_of_many_processes_that_is_restarted_is_restarted_once() -> None:
    folder = Folder()
    folder.look()
    for name in "1234":
        folder.write(name)
    folder.look()
    for name in "5678":
        folder.write(name)
    folder.look()
    folder.look_long(*"5678")
    assert len(folder.liveness.restarts("b")) == 1


def test_a_process_that_takes_its_report_away_ended_on_purpose() -> None:
    folder = Folder()
    folder.look()
    for start in range(10):
        folder.write(str(start))
        folder.look()
        del folder.files[str(start)]
    folder.look_long()
    assert (len(folder.liveness.restarts("b")), folder.liveness.gone("b")) == (0, 0)


def test_what_lay_there_before_the_first_look_ended_with_what_came_before() -> None:
    """A reboot: reports of processes that were stopped in order, but did not tidy up."""
    folder = Folder()
    for name in "1234":
        folder.write(name, uptime_s=90_000.0)
    folder.look()
    folder.write("5")
    assert folder.look_long("5") == {"1": "gone", "2": "gone", "3": "gone", "4": "gone",
                                     "5": "serving"}  # fmt: skip
    assert (len(folder.liveness.restarts("b")), folder.liveness.gone("b")) == (0, 4)


def test_after_ends_that_nobody_saw_calm_counts_from_when_the_application_came_back() -> None:
    """The old files may be of processes that were stopped with the machine, or that died."""
    folder = Folder()
    folder.write("1")
    folder.look()
    began_s = folder.now_s
    folder.look_long()
    assert folder.liveness.unrest_s("b") == began_s
    folder.write("2")
    folder.look()
    back_s = folder.now_s
    folder.look_long("2")
    del folder.files["2"]  # a worker that ends on purpose when another has begun
    folder.look_long("3")
    assert folder.liveness.unrest_s("b") == pytest.approx(back_s)


def test_a_process_that_was_silent_too_long_has_calm_counted_anew_once() -> None:
    folder = Folder()
    folder.look()
    folder.write("1")
    folder.look()
    assert folder.liveness.unrest_s("b") is None
    folder.look_long()
    folder.write("1")
    folder.look()
    back_s = folder.now_s
    assert folder.liveness.unrest_s("b") == back_s
    folder.look_long()
    folder.look_long("1")
    assert folder.liveness.unrest_s("b") == back_s


def test_the_last_words_of_a_process_that_nothing_replaced_are_an_unrest() -> None:
    folder = Folder()
    folder.look()
    for name in "12":
        folder.write(name)
    folder.look()
    last_words_s = folder.now_s
    folder.look_long("2")
    assert folder.liveness.restarts("b") == []
    assert folder.liveness.unrest_s("b") == last_words_s


def test_who_was_not_heard_since_is_asked_for_until_it_is_gone() -> None:
    folder = Folder()
    folder.look()
    folder.write("1")
    folder.write("2")
    folder.look()
    since_s = folder.now_s
    assert folder.liveness.unheard("b", since_s) == 2
    folder.write("1")
    folder.look()
    assert folder.liveness.unheard("b", since_s) == 1
    folder.look_long("1")
    assert folder.liveness.unheard("b", since_s) == 0


def test_whoever_is_retired_or_failed_is_not_waited_for() -> None:
    folder = Folder()
    folder.look()
    folder.write("1", phase="retired")
    folder.write("2", phase="failed")
    assert folder.look_long() == {"1": "retired", "2": "failed"}
    assert folder.liveness.unheard("b", folder.now_s) == 0


def test_one_that_stood_still_and_was_then_stopped_in_order_is_no_restart() -> None:
    folder = Folder()
    folder.look()
    folder.write("1")
    folder.look()
    assert folder.look_long() == {"1": "gone"}
    del folder.files["1"]
    folder.write("2")
    folder.look_long("2")
    assert folder.liveness.restarts("b") == []


def test_one_whose_file_went_after_it_was_replaced_is_a_restart() -> None:
    folder = Folder()
    folder.look()
    folder.write("1")
    folder.look()
    folder.write("2")
    folder.look_long("2")
    assert len(folder.liveness.restarts("b")) == 1
    del folder.files["1"]
    folder.look_long("2")
    assert len(folder.liveness.restarts("b")) == 1


def test_who_was_not_heard_since_another_began_may_have_been_replaced_by_it() -> None:
    folder = Folder()
    folder.look()
    folder.write("1")
    folder.look(after_s=1.0)
    since_s = folder.now_s - 1.0
    assert folder.liveness.unheard("b", since_s) == 0
    folder.write("2")
    folder.look(after_s=1.0)
    assert folder.liveness.unheard("b", since_s) == 1
    folder.write("1")
    folder.look(after_s=1.0)
    assert folder.liveness.unheard("b", since_s) == 0


def test_a_release_is_served_for_as_long_as_somebody_was_heard_to_serve_it() -> None:
    folder = Folder()
    folder.look()
    for name in ("1", "1", "1"):
        folder.write(name)
        folder.look()
    assert folder.liveness.served_s("b") == 20.0
    folder.look()
    folder.look()  # late by now: it may have ended
    late_s = folder.liveness.served_s("b")
    folder.write("2")
    folder.look(after_s=1.0)
    assert folder.liveness.served_s("b") == 0.0
    folder.write("2")
    folder.look(after_s=1000.0)  # nothing is known of most of that time
    assert folder.liveness.served_s("b") == LOOK_COUNTS_S
    assert late_s == 30.0


def test_one_that_was_late_and_goes_on_has_served_all_the_same() -> None:
    folder = Folder()
    folder.look()
    folder.write("1")
    folder.look()
    for _ in range(4):
        folder.look()
        folder.look()
        folder.write("1")
        folder.look()
    assert folder.liveness.served_s("b") == 4 * 20.0


def test_endless_restarts_do_not_fill_the_memory() -> None:
    folder = Folder(look_counts_s=1e9)
    folder.look()
    for start in range(2000):
        folder.write(str(start))
        folder.look(after_s=100.0)
        folder.files.pop(str(start - 1), None)
        folder.look(after_s=100.0)
    folder.look()
    assert len(folder.liveness._processes) <= ENDED_MAX + 1
    assert len(folder.liveness.restarts("b")) >= ENDED_MAX - 1
