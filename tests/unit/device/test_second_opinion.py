"""Live latency alone ends no trial: what a probe beside the old release makes of it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from slotcast_device.application.app_report import AppReport, write_report
from slotcast_device.application.histogram import BOUNDS_S, BUCKETS, bucket_of
from slotcast_device.core.actions import Verdict, Watch
from slotcast_device.core.state import SlotName
from slotcast_device.storage.os_disk import OsDisk
from slotcast_device.storage.slots import SlotStore
from slotcast_device.trial.second_opinion import ASK_AGAIN_CAP_S, COUNT_ANEW_S
from slotcast_device.trial.watcher import TrialWatcher
from slotcast_schemas.messages import Release
from slotcast_schemas.messages.release import Probe, Trial
from slotcast_schemas.messages.status import Check
from slotcast_schemas.probe import ProbeResult
from tests.support import messages, models
from tests.support.slot_releases import put_release

RATIO = Check(name="latency_p50", passed=True, detail="1.02 x the active model")
FREE = ProbeResult(True, "passed", "", (RATIO,), waited_share=0.02)
SHORT = ProbeResult(True, "passed", "", (RATIO,), waited_share=0.7)
SLOW = ProbeResult(False, "too_slow", "3.1 x the active model", ())
BUSY = ProbeResult(False, "device_busy", "too little processor", (), blames_model=False)
KILLED = ProbeResult(False, "probe_killed", "killed from outside", (), blames_model=False)


class Watched(TrialWatcher):
    """A watcher whose probes give what they are told, and are counted."""

    result = FREE
    probes = 0

    def _run_probe(
        self,
        slot: SlotName,
        release: Release,
        beside: SlotName | None,
        *,
        keeps_copy: bool = False,
    ) -> ProbeResult:
        del release, keeps_copy
        assert (slot, beside) == ("b", "a")
        self.probes += 1
        return self.result


class Trialed:
    """A release on trial, whose application answers slower than with the old one."""

    def __init__(self, folder: Path, watcher: TrialWatcher | None = None) -> None:
        self.folder = folder / "app"
        self.folder.mkdir(exist_ok=True)
        trial = Trial(duration_s=60.0, min_requests=20, deadline_s=1e6)
        self.release = messages.release(version="2", sequence=2, trial=trial)
        self.now_s = 0.0
        self.fake = Watched(
            SlotStore(OsDisk(), folder), self.folder, threading.Event(), lambda: self.now_s
        )
        self.watcher = watcher or self.fake
        self.counts = {"a": [0] * BUCKETS, "b": [0] * BUCKETS}
        self.max_s = {"a": 0.0, "b": 0.0}
        self.answer(100, 0.002, slot="a")

    def answer(self, requests: int, latency_s: float, *, slot: str = "b") -> None:
        """Have the application answer so many more requests, each in this time."""
        counts = self.counts[slot]
        self.max_s[slot] = max(self.max_s[slot], latency_s)
        counts[bucket_of(int(latency_s * 1e9))] += requests
        report = AppReport(
            slot=slot,
            phase="retired" if slot == "a" else "serving",
            sequence=1 if slot == "a" else 2,
            instance="app",
            uptime_s=1.0 + self.now_s,
            requests=sum(counts),
            bounds_s=BOUNDS_S,
            counts=tuple(counts),
            max_s=self.max_s[slot],
        )
        write_report(self.folder, report)

    def look(self, *, after_s: float = 10.0) -> Verdict:
        self.now_s += after_s
        self.answer(0, 0.002)  # a process that lives writes
        return self.watcher.watch(Watch("b", "a", self.release, self.now_s, 0))

    def passes(self, *, most: int = 20) -> bool:
        """Look until it ends, or as often as this."""
        return any(self.look().passed for _ in range(most))


@pytest.fixture
def trialed(tmp_path: Path) -> Trialed:
    made = Trialed(tmp_path)
    made.answer(30, 0.020)
    return made


def opinion(verdict: Verdict) -> Check:
    (check,) = [check for check in verdict.checks if check.name == "second_opinion"]
    return check


def test_a_model_that_the_probe_finds_slow_too_is_rolled_back(trialed: Trialed) -> None:
    trialed.fake.result = SLOW
    verdict = trialed.look()
    assert (verdict.passed, verdict.reason) == (False, "too_slow")
    assert "latency_p50" in verdict.detail
    assert "3.1 x" in verdict.detail
    assert not opinion(verdict).passed


def test_a_good_model_on_a_device_that_became_busy_is_committed(trialed: Trialed) -> None:
    trialed.fake.result = SHORT
    first = trialed.look()
    assert first.passed is None
    assert "short of processor" in opinion(first).detail
    assert "1.02 x the active model" in opinion(first).detail
    for _ in range(4):
        trialed.answer(30, 0.030)
        assert trialed.look().passed is None
    assert trialed.passes()


def test_a_device_too_busy_to_tell_is_asked_again_and_not_too_often(trialed: Trialed) -> None:
    trialed.fake.result = BUSY
    verdicts = [trialed.look() for _ in range(200)]
    assert {verdict.passed for verdict in verdicts} == {None}
    assert verdicts[-1].reason == "device_busy"
    assert "too little processor" in verdicts[0].detail
    assert "10 of 60 s" in verdicts[0].detail
    assert trialed.fake.probes < 10
    trialed.fake.result = SHORT
    assert trialed.look(after_s=ASK_AGAIN_CAP_S).passed is None  # all must be heard of once more
    assert trialed.passes()


def test_a_burst_of_load_that_is_over_by_now_is_not_the_models(trialed: Trialed) -> None:
    assert "counted anew" in opinion(trialed.look()).detail
    trialed.answer(30, 0.002)
    for _ in range(4):
        assert trialed.look().passed is None
    assert trialed.passes()


def test_live_requests_that_cost_more_than_samples_do_are_believed_the_second_time(
    trialed: Trialed,
) -> None:
    assert trialed.look().passed is None
    trialed.answer(10, 0.020)
    assert trialed.look().passed is None  # too few to say
    trialed.answer(20, 0.020)
    verdict = trialed.look()
    assert (verdict.passed, verdict.reason) == (False, "too_slow")
    assert "with processors to spare" in verdict.detail


def test_a_device_that_is_short_by_then_is_not_believed(trialed: Trialed) -> None:
    assert trialed.look().passed is None
    trialed.answer(30, 0.020)
    trialed.fake.result = SHORT
    assert trialed.look().passed is None
    for _ in range(5):
        trialed.look()
    assert trialed.passes()


def test_where_requests_stop_the_probe_is_believed(trialed: Trialed) -> None:
    assert trialed.look().passed is None
    assert trialed.look(after_s=COUNT_ANEW_S).passed is None
    assert trialed.passes()


def test_a_probe_that_could_not_be_held_says_nothing(trialed: Trialed) -> None:
    trialed.fake.result = KILLED
    with pytest.raises(Exception, match="probe could not be held"):
        trialed.look()


def test_another_limit_that_is_broken_needs_no_opinion(tmp_path: Path) -> None:
    made = Trialed(tmp_path)
    made.answer(30, 0.020)
    made.release = messages.release(
        version="2", sequence=2, trial=Trial(duration_s=60.0, max_memory_bytes=0)
    )
    write_report(
        made.folder,
        AppReport(slot="b", phase="serving", sequence=2, instance="other", rss_bytes=10**6),
    )
    made.now_s += 1
    verdict = made.watcher.watch(Watch("b", "a", made.release, 1.0, 0))
    assert (verdict.passed, verdict.reason) == (False, "too_much_memory")
    assert made.fake.probes == 0


@pytest.mark.parametrize(
    ("candidate", "reason"), [(models.large(2, size_bytes=4 << 20), None), (b"", "too_slow")]
)
def test_the_real_probe_tells_a_busy_device_from_a_slow_model(
    tmp_path: Path, candidate: bytes, reason: str | None
) -> None:
    """Both have an application whose requests take ten times as long; one has itself to blame."""
    store = SlotStore(OsDisk(), tmp_path / "model")
    put_release(store, "a", {"m.onnx": models.large(1, size_bytes=4 << 20)})
    slow = candidate or models.large(2, size_bytes=40 << 20)
    release = put_release(store, "b", {"m.onnx": slow}, sequence=2, probe=Probe(timeout_s=120.0))
    watcher = TrialWatcher(store, tmp_path / "app", threading.Event(), lambda: 0.0)
    made = Trialed(tmp_path, watcher)
    made.release = release
    made.answer(30, 0.020)
    verdict = made.look()
    assert (verdict.reason if verdict.passed is False else None) == reason, verdict.detail
    assert opinion(verdict).passed == (reason is None)
