"""HotModel: it answers through every switch, and a bad release changes nothing for callers."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from slotcast_device import HotModel
from slotcast_device.application.app_report import read_reports
from slotcast_device.hotmodel import loader, model, source
from slotcast_schemas import process_memory, wire
from slotcast_schemas.errors import ModelUnloadable
from slotcast_schemas.messages.release import File, Release
from tests.support import models
from tests.support.probing import run_rows
from tests.support.waiting import WAIT_S, wait_until

ROW = models.inputs(1)


class Slots:
    """A model's folder as the agent leaves it; `switch` does what the agent does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.current = folder / "current"
        self._sequence = 0

    def fill(self, slot: str, content: bytes) -> None:
        path = self.folder / "slots" / slot
        path.mkdir(parents=True, exist_ok=True)
        (path / "model.onnx").write_bytes(content)
        self._sequence += 1
        release = Release(
            model="zoo",
            version=f"{self._sequence}.0",
            sequence=self._sequence,
            created=0,
            files=(File(path="model.onnx", size_bytes=len(content), sha256=bytes(32)),),
            image_size_bytes=len(content),
            image_sha256=bytes(32),
            entry="model.onnx",
        )
        (self.folder / "slots" / f"{slot}.release").write_bytes(wire.encode(release))

    def switch(self, slot: str, content: bytes | None = None) -> None:
        if content is not None:
            self.fill(slot, content)
        (self.folder / "new").symlink_to(f"slots/{slot}")
        (self.folder / "new").replace(self.current)


@pytest.fixture
def slots(tmp_path: Path) -> Slots:
    slots = Slots(tmp_path)
    slots.switch("a", models.classifier(1))
    return slots


@pytest.fixture
def hot(slots: Slots) -> Iterator[HotModel]:
    with HotModel(slots.current, poll_s=0.01, report_s=0.01) as hot:
        yield hot


def ask(hot: HotModel) -> list[float]:
    return [float(v) for v in hot.run(None, {"x": ROW})[0][0]]


def answer(seed: int) -> list[float]:
    return [float(v) for v in run_rows(models.classifier(seed), ROW)[0][0]]


def phases(slots: Slots) -> dict[tuple[str, int], str]:
    reports = read_reports(slots.folder / "app").reports
    return {(report.slot, report.sequence): report.phase for report in reports}


def test_it_answers_as_the_session_does(hot: HotModel) -> None:
    session = onnxruntime.InferenceSession(models.classifier(1))
    expected = session.run(["scores"], {"x": ROW})
    np.testing.assert_array_equal(hot.run(["scores"], {"x": ROW})[0], expected[0])
    assert [i.name for i in hot.get_inputs()] == ["x"]
    assert [o.name for o in hot.get_outputs()] == ["scores"]
    assert hot.release is not None
    assert hot.release.version == "1.0"


def test_it_follows_a_switch_by_itself(slots: Slots, hot: HotModel) -> None:
    assert ask(hot) == answer(1)
    slots.switch("b", models.classifier(2))
    wait_until(lambda: hot.swaps == 1)
    assert ask(hot) == answer(2)
    slots.switch("a", models.classifier(3))  # the same slot as at first, another release
    wait_until(lambda: hot.swaps == 2)
    assert ask(hot) == answer(3)


def test_a_fault_that_lasts_is_logged_once_and_not_at_every_poll(
    hot: HotModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failed = 0

    def fail() -> None:
        nonlocal failed
        failed += 1
        raise RuntimeError("a defect of ours")

    monkeypatch.setattr(hot, "_step", fail)
    wait_until(lambda: failed > 10)
    monkeypatch.undo()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert ask(hot) == answer(1)


def test_no_call_fails_or_mixes_releases_while_it_switches(slots: Slots, hot: HotModel) -> None:
    known = [answer(seed) for seed in (1, 2)]
    stop = threading.Event()
    strange: list[object] = []
    calls = [0] * 4

    def caller(index: int) -> None:
        while not stop.is_set():
            try:
                got = ask(hot)
            except Exception as exc:  # noqa: BLE001 (any failure is what this test looks for)
                strange.append(exc)
                return
            calls[index] += 1
            if got not in known:
                strange.append(got)

    threads = [threading.Thread(target=caller, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    slots.fill("b", models.classifier(2))
    for swap in range(6):
        slots.switch("b" if swap % 2 == 0 else "a")
        wait_until(lambda wanted=swap + 1: hot.swaps == wanted)  # type: ignore[misc]
    wait_until(lambda: all(calls) or bool(strange), "a call of each thread")
    stop.set()
    for thread in threads:
        thread.join()
    assert strange == []


def test_a_release_that_does_not_load_changes_nothing_and_is_reported(
    slots: Slots, hot: HotModel
) -> None:
    slots.switch("b", b"not a model")
    wait_until(lambda: phases(slots).get(("b", 2)) == "failed")
    (report,) = [r for r in read_reports(slots.folder / "app").reports if r.slot == "b"]
    assert report.failure is not None
    assert report.failure.reason == "model_unloadable"
    assert ask(hot) == answer(1)
    slots.switch("a")  # the agent rolls back
    slots.switch("b", models.classifier(4))  # and takes a good one later
    wait_until(lambda: hot.swaps == 1)
    assert ask(hot) == answer(4)


def test_figures_are_counted_per_release_and_reported(slots: Slots, hot: HotModel) -> None:
    for _ in range(5):
        ask(hot)

    def of(slot: str) -> Any:
        reports = read_reports(slots.folder / "app").reports
        return next((r for r in reports if r.slot == slot), None)

    # A report may come between a request's end and the look at its answer.
    wait_until(lambda: (of("a").requests, of("a").checked) == (5, 5))
    report = of("a")
    assert (report.errors, report.nonfinite) == (0, 0)
    assert sum(report.counts) == 5
    assert report.rss_bytes > 0
    assert report.output_mean == pytest.approx(0.25)
    slots.switch("b", models.not_a_number())
    wait_until(lambda: hot.swaps == 1)
    ask(hot)
    wait_until(lambda: (of("b").requests, of("b").checked) == (1, 1))
    assert of("b").nonfinite == 1
    assert of("a").phase == "retired"
    assert of("a").requests == 5


def test_a_call_under_way_keeps_the_old_session_until_it_has_left(
    slots: Slots, hot: HotModel
) -> None:
    with hot.pinned() as session:
        slots.switch("b", models.classifier(2))
        wait_until(lambda: hot.swaps == 1)
        assert [float(v) for v in session.run(None, {"x": ROW})[0][0]] == answer(1)
        assert phases(slots)[("a", 1)] != "retired"
    del session
    wait_until(lambda: phases(slots)[("a", 1)] == "retired")


def test_replaced_sessions_are_let_go_of(slots: Slots) -> None:
    """No Python object of an old session may stay: it would keep the weights in memory."""

    def sessions() -> int:
        gc.collect()
        return sum(isinstance(o, onnxruntime.InferenceSession) for o in gc.get_objects())

    before = sessions()
    slots.fill("b", models.classifier(2))
    with HotModel(slots.current, poll_s=0.01) as hot:
        for swap in range(4):
            slots.switch("b" if swap % 2 == 0 else "a")
            wait_until(lambda wanted=swap + 1: hot.swaps == wanted)  # type: ignore[misc]
            ask(hot)
        wait_until(lambda: sessions() == before + 1)
    assert sessions() == before


def test_where_memory_is_short_the_old_model_goes_on(
    slots: Slots, hot: HotModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_memory, "available_bytes", lambda: 1000)
    slots.switch("b", models.classifier(2))
    wait_until(lambda: phases(slots).get(("b", 2)) == "failed")
    reports = read_reports(slots.folder / "app").reports
    failures = [r.failure.reason for r in reports if r.failure is not None]
    assert failures == ["memory_short"]
    assert ask(hot) == answer(1)


def test_stop_then_start_is_done_only_where_allowed_and_callers_wait(
    slots: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_load = threading.Event()
    real_load = loader.load
    loads: list[int] = []

    def slow_load(*args: Any, **options: Any) -> Any:
        loads.append(1)
        if len(loads) > 1:
            may_load.wait(WAIT_S)
        return real_load(*args, **options)

    monkeypatch.setattr(model, "load", slow_load)
    monkeypatch.setattr(process_memory, "available_bytes", lambda: 1000)
    with HotModel(slots.current, poll_s=0.01, allow_stop_then_start=True) as hot:
        slots.switch("b", models.classifier(2))
        wait_until(lambda: len(loads) == 2)
        answers: list[list[float]] = []
        caller = threading.Thread(target=lambda: answers.append(ask(hot)))
        caller.start()
        caller.join(0.05)
        assert caller.is_alive()
        may_load.set()
        caller.join(WAIT_S)
        assert answers == [answer(2)]


def test_after_stopping_in_vain_the_old_release_is_loaded_again(
    slots: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_memory, "available_bytes", lambda: 1000)
    with HotModel(slots.current, poll_s=0.01, report_s=0.01, allow_stop_then_start=True) as hot:
        slots.switch("b", b"not a model")
        wait_until(lambda: phases(slots).get(("b", 2)) == "failed")
        assert ask(hot) == answer(1)


def test_it_waits_for_a_first_model(tmp_path: Path) -> None:
    slots = Slots(tmp_path)
    with pytest.raises(ModelUnloadable, match=r"within 0\.05 s"):
        HotModel(slots.current, start_timeout_s=0.05, poll_s=0.01)
    made: list[HotModel] = []
    thread = threading.Thread(target=lambda: made.append(HotModel(slots.current, poll_s=0.01)))
    thread.start()
    slots.switch("a", models.classifier(1))
    thread.join(WAIT_S)
    assert ask(made[0]) == answer(1)
    made[0].close()


def test_what_the_first_look_finds_is_told_though_its_time_is_over_by_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one.onnx", "other.onnx"):
        (tmp_path / name).write_bytes(models.classifier(1))
    is_over = threading.Event()
    look, close = source.identify, HotModel.close

    def look_late(current: Path) -> source.Identity | None:
        assert is_over.wait(WAIT_S)
        return look(current)

    def close_after_its_time(hot: HotModel) -> None:
        is_over.set()
        close(hot)

    monkeypatch.setattr(model, "identify", look_late)
    monkeypatch.setattr(HotModel, "close", close_after_its_time)
    with pytest.raises(ModelUnloadable, match=r"expected one \.onnx or \.tflite file, got 2"):
        HotModel(tmp_path, start_timeout_s=0.05)


def test_a_first_model_that_does_not_load_is_waited_out_until_the_agent_rolls_back(
    slots: Slots,
) -> None:
    slots.switch("b", b"not a model")
    made: list[HotModel] = []
    thread = threading.Thread(
        target=lambda: made.append(HotModel(slots.current, poll_s=0.01, report_s=0.01))
    )
    thread.start()
    wait_until(lambda: phases(slots).get(("b", 2)) == "failed")
    slots.switch("a")
    thread.join(WAIT_S)
    assert ask(made[0]) == answer(1)
    made[0].close()


def test_after_close_calls_raise_and_no_report_stays(slots: Slots) -> None:
    hot = HotModel(slots.current, poll_s=0.01, report_s=0.01)
    ask(hot)
    hot.close()
    with pytest.raises(ModelUnloadable, match="closed"):
        ask(hot)
    assert read_reports(slots.folder / "app").reports == ()


def test_a_plain_folder_works_without_an_agent(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(models.classifier(1))
    with HotModel(tmp_path, poll_s=0.01) as hot:
        assert ask(hot) == answer(1)
        assert hot.release is None
    (tmp_path / "other.onnx").write_bytes(models.classifier(2))
    with pytest.raises(ModelUnloadable, match=r"expected one \.onnx or \.tflite file, got 2"):
        HotModel(tmp_path, start_timeout_s=0.2, poll_s=0.01)
    with HotModel(tmp_path, entry="other.onnx", poll_s=0.01) as hot:
        assert ask(hot) == answer(2)


def test_session_options_pass_through(slots: Slots) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    with (
        HotModel(
            slots.current, session_options=options, providers=["CPUExecutionProvider"], poll_s=0.01
        ) as hot,
        hot.pinned() as session,
    ):
        assert session.get_session_options().intra_op_num_threads == 1
        assert session.get_providers() == ["CPUExecutionProvider"]


def test_threads_that_serve_have_the_priority_of_the_application(slots: Slots) -> None:
    """The pool of a session is made by the low-priority loader, and must not stay low."""
    if not loader.may_raise_priority():
        pytest.skip("this system does not let a process raise its priority again")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 3
    mine = os.getpriority(os.PRIO_PROCESS, 0)

    def priorities() -> set[int]:
        found = set()
        for task in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError):  # a thread that has just ended
                found.add(os.getpriority(os.PRIO_PROCESS, int(task.name)))
        return found

    with HotModel(slots.current, session_options=options, poll_s=0.01):
        wait_until(lambda: priorities() == {mine})  # the loading thread itself ends a moment later


def test_the_same_slot_with_another_release_is_told_apart(slots: Slots) -> None:
    before = source.identify(slots.current)
    slots.switch("a", models.classifier(2))
    after = source.identify(slots.current)
    assert before is not None
    assert after is not None
    assert before.target == after.target
    assert before != after


def test_a_load_that_takes_too_long_at_low_priority_is_raised(slots: Slots) -> None:
    if not loader.may_raise_priority():
        pytest.skip("this system does not let a process raise its priority again")
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    is_warming = threading.Event()
    seen: list[int] = []

    def warm(_session: object) -> None:
        """Runs in the loading thread: waits until that thread was raised."""
        seen.append(os.getpriority(os.PRIO_PROCESS, 0))
        is_warming.set()
        wait_until(lambda: os.getpriority(os.PRIO_PROCESS, 0) == mine)

    def beat() -> None:
        """Runs before the wait is looked at, which is over at the first look."""
        assert is_warming.wait(WAIT_S)

    identity = source.identify(slots.current)
    assert identity is not None
    opened = source.open_current(slots.current, identity, None, None)
    waits = loader.LoadWaits(patience_s=0.0, beat_s=0.01)
    loader.load(opened, loader.SessionSettings(warm=warm), waits=waits, beat=beat)
    assert seen == [min(19, mine + loader.LOADER_NICE)]


def test_a_load_is_looked_at_no_later_than_its_time_is_over() -> None:
    waits = loader.LoadWaits(timeout_s=12.0, beat_s=5.0)
    assert [waits.next_look_s(elapsed_s) for elapsed_s in (0.0, 5.0, 10.0, 13.0)] == [5, 5, 2, 0]
    assert loader.LoadWaits().next_look_s(1e6) == loader.BEAT_S


def test_a_release_whose_load_never_ends_is_given_up(slots: Slots) -> None:
    go_on, of_the_bad_one = threading.Event(), answer(2)

    def warm(session: onnxruntime.InferenceSession) -> None:
        """Runs in either order: a load that was given up may be warm after the next one."""
        if [float(v) for v in session.run(None, {"x": ROW})[0][0]] == of_the_bad_one:
            go_on.wait(WAIT_S)

    with HotModel(slots.current, warm=warm, poll_s=0.01, report_s=0.01) as hot:
        hot._load_timeout_s = 0.05  # of the bad one alone: a busy machine takes its time
        slots.switch("b", models.classifier(2))
        wait_until(lambda: phases(slots).get(("b", 2)) == "failed")
        assert ask(hot) == answer(1)
        hot._load_timeout_s = WAIT_S
        slots.switch("a", models.classifier(3))
        wait_until(lambda: hot.swaps == 1)
        assert ask(hot) == answer(3)
    go_on.set()
