"""What a run took: its own time told from waits for a processor, as Linux says it."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from slotcast_schemas.messages.release import Probe
from slotcast_schemas.probe import ProbeRequest, SlotModel, run_probe, runner
from slotcast_schemas.probe.waits import ProcessorUse, RunTime, Stopwatch, processor_use
from tests.support import models


def work(seconds: float) -> None:
    """Use so much processor time in this thread."""
    until_s = time.thread_time() + seconds
    while time.thread_time() < until_s:
        pass


def timed(run: Callable[[], object]) -> RunTime:
    watch = Stopwatch()
    try:
        return watch.time(run)
    finally:
        watch.close()


@contextlib.contextmanager
def one_contested_core() -> Iterator[None]:
    """Let this process share one core with another that never rests."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    rival = subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"])
    try:
        yield
    finally:
        rival.kill()
        rival.wait()
        os.sched_setaffinity(0, cores)


def test_work_is_processor_time() -> None:
    taken = timed(lambda: work(0.01))
    assert 0.01 <= taken.processor_s <= taken.wall_s + 0.001


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


def test_a_run_that_shares_a_core_has_waited_and_is_not_clean() -> None:
    with one_contested_core():
        taken = timed(lambda: work(0.2))
    assert taken.waited_s > 0.02
    assert taken.wall_s == pytest.approx(taken.processor_s + taken.waited_s, rel=0.2)
    assert not taken.is_clean
    assert taken.processor_s == pytest.approx(0.2, rel=0.1)


def test_sleep_is_no_wait_for_a_processor() -> None:
    event = threading.Event()
    taken = timed(lambda: event.wait(0.3))
    assert taken.wall_s - taken.waited_s >= 0.29


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
