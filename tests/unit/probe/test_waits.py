"""What a run took: its own time told from waits for a processor, as Linux says it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from slotcast_schemas.messages.release import Probe
from slotcast_schemas.probe import ProbeRequest, SlotModel, run_probe, runner, timing, waits
from slotcast_schemas.probe.waits import ProcessorUse, Stopwatch, processor_use
from tests.support import models
from tests.support.timed_alone import SLEEP_S, WORK_S, timed, timed_alone, work

TICK_S = 0.01
"""By which the counts of the scheduler and of the clocks may differ."""


def test_work_is_processor_time() -> None:
    taken = timed(lambda: work(0.01))
    # Threads that other tests of this process left behind may work meanwhile, and count.
    assert 0.01 <= taken.processor_s <= (os.cpu_count() or 1) * taken.wall_s + TICK_S


def test_it_is_exact_though_the_process_has_a_limit_on_processor_time() -> None:
    """With a limit, Linux moves the process's clock on at each tick only: 4 ms, or 10."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    bound = 10**6 if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_CPU, (bound, hard))
    try:
        taken = [timed(lambda: work(0.0005)).processor_s for _ in range(20)]
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
    assert min(taken) >= 0.0005


def test_what_other_threads_work_counts_too() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()  # the thread is there before the watch looks for it
        taken = timed(lambda: pool.submit(work, 0.02).result())
    assert taken.processor_s >= 0.015


def test_a_run_that_shares_a_core_has_waited_as_long_as_the_other_ran_and_is_not_clean() -> None:
    contested = timed_alone("contested")
    taken = contested.taken
    assert contested.rival_s > 0.02, "on the same core, the scheduler gives to both"
    assert taken.waited_s >= contested.rival_s - TICK_S
    assert taken.processor_s >= WORK_S
    # One thread at a time runs, waits, or is not ready; a machine that stood still is neither.
    assert taken.processor_s + taken.waited_s <= taken.wall_s + TICK_S
    assert not taken.is_clean


def test_sleep_is_no_wait_for_a_processor() -> None:
    taken = timed_alone("sleep").taken
    assert taken.wall_s >= SLEEP_S - TICK_S
    # Its other threads may wait meanwhile, on a busy machine; the sleep itself is not counted.
    assert taken.waited_s < SLEEP_S / 2


def test_of_processes_that_work_in_turns_each_ones_waits_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe's child asks the command of an owner, and waits for its answer."""
    threads = {"child/1": "5 3", "child/2": "1 2", "command/1": "7 4"}  # seconds ran and waited
    for thread, said in threads.items():
        ran_s, waited_s = map(int, said.split())
        (tmp_path / thread).mkdir(parents=True)
        line = f"{ran_s * 10**9} {waited_s * 10**9} 1\n"
        (tmp_path / thread / "schedstat").write_text(line)
    monkeypatch.setattr(waits, "_below", lambda _: ["command"])
    monkeypatch.setattr(waits, "_tasks", lambda pid: sorted((tmp_path / str(pid)).iterdir()))
    assert processor_use("child") == ProcessorUse(ran_s=13.0, waited_s=7.0)


def test_what_a_command_waited_still_counts_once_another_runs_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is started anew for one thread; without its waits, the time of a probe would be over."""
    running = ["first"]
    for command, waited_s in (("first", 40), ("second", 7)):
        (tmp_path / command / "1").mkdir(parents=True)
        line = f"{10**9} {waited_s * 10**9} 1\n"
        (tmp_path / command / "1" / "schedstat").write_text(line)
    monkeypatch.setattr(waits, "_below", lambda _: running)
    monkeypatch.setattr(waits, "_tasks", lambda pid: sorted(tmp_path.glob(f"{pid}/*")))
    ended = waits.EndedUse("child")
    assert ended.look() == ProcessorUse()
    running[:] = ["second"]
    assert ended.look() == ProcessorUse(ran_s=1.0, waited_s=40.0)
    running.clear()
    assert ended.look() == ended.look() == ProcessorUse(ran_s=2.0, waited_s=47.0)


def test_a_probe_is_not_over_for_the_waits_of_a_command_that_ended_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both who count the time, the child and its parent, know of them."""
    known = ProcessorUse(ran_s=1.0, waited_s=40.0)
    monkeypatch.setattr(waits.EndedUse, "look", lambda _: known)
    watch = runner._Watch(ProbeRequest(candidate=SlotModel("/b", "m")), threading.Event(), None)
    assert watch._reason_if_late(45.0, 30.0, "late") is None
    assert watch._reason_if_late(75.0, 30.0, "late") == "late"
    budget = timing.Budget(30.0)
    monkeypatch.setattr(budget, "_began_s", budget._began_s - 45.0)
    assert budget.spent_s() < 30.0


def test_where_the_kernel_does_not_say_nothing_is_believed() -> None:
    watch = Stopwatch()
    watch.close()
    taken = watch.time(lambda: threading.Event().wait(0.05))
    assert taken.waited_s == pytest.approx(taken.wall_s, rel=0.5)
    assert not taken.is_clean


def test_the_use_of_another_process_can_be_read_and_a_gone_one_has_none() -> None:
    rival = subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"])
    try:
        while processor_use(rival.pid).ran_s < 0.05:
            os.sched_yield()
    finally:
        rival.kill()
        rival.wait()
    assert processor_use(rival.pid) == ProcessorUse()


def test_a_probe_that_has_just_ended_by_itself_is_not_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a process used is gone with it: that reads as time without any wait."""
    (tmp_path / "m.onnx").write_bytes(models.classifier())
    uses = iter([ProcessorUse(ran_s=5.0)])
    monkeypatch.setattr(runner, "processor_use", lambda _: next(uses, ProcessorUse()))
    probe = Probe(timeout_s=0.01)
    result = run_probe(ProbeRequest(candidate=SlotModel(str(tmp_path), "m.onnx"), probe=probe))
    assert result.passed, result.detail
