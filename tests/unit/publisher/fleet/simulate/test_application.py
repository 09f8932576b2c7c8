"""An invented application: what its device reads of it is what the script says."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from slotcast_device.application.app_report import AppReport, read_reports
from slotcast_device.core.state import SlotName
from slotcast_device.storage.slots import SlotStore
from slotcast_device.trial.live_figures import FiguresWindow, LiveFigures
from slotcast_publisher.fleet.simulate.application import InventedApplication
from slotcast_publisher.fleet.simulate.memory_disk import MemoryDisk, SharedBlocks
from slotcast_publisher.fleet.simulate.script import parse_script
from slotcast_schemas import wire
from tests.support import messages

SCRIPT = b"""
[application]
requests_per_s = 50
latency_s = 0.01
load_s = 0.5
memory_bytes = 1000
[[releases]]
versions = ["2.*"]
latency_factor = 4
memory_factor = 3
error_share = 0.25
[[releases]]
versions = ["3.0"]
refused_by_application = "model_unloadable"
"""


class Bench:
    """An application with two slots, and a clock that is moved by hand."""

    def __init__(self, folder: Path, seed: int = 1) -> None:
        script = parse_script(SCRIPT, "s")
        self.folder = folder
        self.disk = MemoryDisk(1 << 20, SharedBlocks())
        self.store = SlotStore(self.disk, Path("/m"))
        self.disk.make_dir(self.store.folder)
        self.now_s = 100.0
        self._application = InventedApplication(
            "m", self.store, folder, script.application, script.releases, random.Random(seed)
        )

    def switch(self, slot: SlotName, version: str, sequence: int) -> None:
        release = messages.release(version=version, sequence=sequence)
        self.store.seal_again(slot, wire.encode(release))
        self.store.activate(slot)

    def live(self, for_s: float) -> None:
        end_s = self.now_s + for_s
        while self.now_s < end_s:
            self._application.live_on(self.now_s)
            self.now_s = min(end_s, max(self._application.due_s, self.now_s + 0.05))
        self._application.live_on(self.now_s)

    def reports(self) -> dict[str, AppReport]:
        return {report.slot: report for report in read_reports(self.folder).reports}

    def figures(self, slot: str) -> LiveFigures:
        return FiguresWindow(slot).take(read_reports(self.folder).reports)


def test_it_serves_what_current_opens_and_its_figures_are_the_scripts(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.live(5.0)
    assert bench.reports() == {}
    bench.switch("a", "1.0", 1)
    bench.live(100.5)
    first = bench.figures("a")
    assert first.requests == pytest.approx(5000, abs=150)
    assert (first.errors, first.serving, first.rss_bytes) == (0, 1, 1000)
    assert first.quantile_s(0.5) == pytest.approx(0.01, rel=0.1)
    bench.switch("b", "2.1", 2)
    bench.live(100.5)
    second = bench.figures("b")
    assert second.quantile_s(0.5) == pytest.approx(0.04, rel=0.1)
    assert second.error_share == pytest.approx(0.25, abs=0.03)
    assert (second.serving, second.rss_bytes) == (1, 3000)
    assert bench.reports()["a"].phase == "retired"


def test_it_loads_a_while_and_serves_the_old_release_meanwhile(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.switch("a", "1.0", 1)
    bench.live(10.0)
    bench.switch("b", "2.0", 2)
    bench.live(0.3)
    assert {slot: report.phase for slot, report in bench.reports().items()} == {
        "a": "serving",
        "b": "loading",
    }


def test_one_that_it_refuses_it_says_so_of_and_serves_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.switch("a", "1.0", 1)
    bench.live(10.0)
    bench.switch("b", "3.0", 3)
    bench.live(10.0)
    failure = bench.reports()["b"].failure
    assert failure is not None
    assert failure.reason == "model_unloadable"
    assert bench.reports()["a"].phase == "serving"


def test_the_same_seed_has_the_same_requests(tmp_path: Path) -> None:
    counts = []
    for number, seed in enumerate((1, 1, 2)):
        (tmp_path / str(number)).mkdir()
        bench = Bench(tmp_path / str(number), seed)
        bench.switch("a", "1.0", 1)
        bench.live(20.0)
        counts.append(bench.reports()["a"].counts)
    assert counts[0] == counts[1] != counts[2]
