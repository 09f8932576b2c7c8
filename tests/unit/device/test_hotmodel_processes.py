"""HotModel and the process it lives in: forks, and ends that are meant."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from slotcast_device.application.app_report import read_reports
from tests.support import models

WAIT_S = 120.0
ROOT = Path(__file__).parents[3]
PREAMBLE = """
    import os, sys, threading, time
    import numpy as np
    from slotcast_device import HotModel
    from tests.support import models
    from tests.support.probing import run_rows

    folder = sys.argv[1]
    ROW = models.inputs(1)
    def answers_as(seed):
        got = model.run(None, {"x": ROW})[0]
        return bool(np.allclose(got, run_rows(models.classifier(seed), ROW)[0], atol=1e-5))
    def until(condition):
        end_s = time.monotonic() + 60
        while not condition():
            if time.monotonic() > end_s: raise AssertionError("it did not happen")
            time.sleep(0.01)
    def switch(slot):
        os.symlink(f"slots/{slot}", f"{folder}/new")
        os.replace(f"{folder}/new", f"{folder}/current")
    def made(**options):
        return HotModel(f"{folder}/current", entry="model.onnx", poll_s=0.01, report_s=0.01,
                        **options)
    def said(text):
        sys.stdout.write(text + "\\n"); sys.stdout.flush()
    def reports():  # beside them one that is being written may lie, for a moment
        return [name for name in os.listdir(f"{folder}/app") if name.startswith("report-")]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for slot, seed in (("a", 1), ("b", 2)):
        (tmp_path / "slots" / slot).mkdir(parents=True)
        (tmp_path / "slots" / slot / "model.onnx").write_bytes(models.classifier(seed))
    (tmp_path / "current").symlink_to("slots/a")
    return tmp_path


def run(folder: Path, program: str) -> list[str]:
    """Run a program to its end; give the lines that it printed."""
    text = textwrap.dedent(PREAMBLE) + textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-c", text, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert "did not happen" not in done.stderr, done.stderr
    return done.stdout.splitlines()


def test_a_worker_forked_after_the_model_was_made_follows_the_switch(folder: Path) -> None:
    said = run(
        folder,
        """
        model = made()
        worker = os.fork()
        if worker == 0:
            said(f"worker begins with 1: {answers_as(1)}")
            os.mkdir(f"{folder}/begun")
            until(lambda: answers_as(2))
            said(f"worker follows, swaps: {model.swaps}")
            os._exit(0)
        until(lambda: len({name.split("-")[1] for name in reports()}) == 2)
        said("both report")
        until(lambda: os.path.exists(f"{folder}/begun"))  # a report is written before the load
        switch("b")
        until(lambda: answers_as(2))
        os.waitpid(worker, 0)
        said("parent follows")
        model.close()
        """,
    )
    assert "worker begins with 1: True" in said
    assert "both report" in said
    assert "worker follows, swaps: 1" in said
    assert said[-1] == "parent follows"


def test_a_fork_in_the_middle_of_calls_and_of_a_load_does_not_hang_the_child(
    folder: Path,
) -> None:
    """Other threads hold the lock and load at that moment; the child has neither."""
    said = run(
        folder,
        """
        model = made()
        stop = threading.Event()
        def ask():
            while not stop.is_set(): model.run(None, {"x": ROW})
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads: thread.start()
        ended = []
        for turn in range(8):
            switch("b" if turn % 2 == 0 else "a")
            worker = os.fork()
            if worker == 0:
                model.run(None, {"x": ROW})
                os._exit(7)
            ended.append(os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]))
        stop.set()
        for thread in threads: thread.join()
        said(str(ended))
        model.close()
        """,
    )
    assert said == [str([7] * 8)]


def test_a_fork_after_a_load_that_ended_too_late_does_not_hang_the_child(folder: Path) -> None:
    """Its session has threads of the parent's; the child must not wait for them."""
    said = run(
        folder,
        """
        import gc, onnxruntime
        gc.disable()
        loaded, may_end = [], threading.Event()
        def warm(session):
            loaded.append(len(session.get_inputs()))
            if len(loaded) == 2: may_end.wait(60)
        def options():
            made = onnxruntime.SessionOptions()
            made.intra_op_num_threads = 4
            return made
        model = made(warm=warm, session_options=options)
        model._load_timeout_s = 0.05  # of the second alone
        switch("b")
        until(lambda: len(loaded) == 2)
        until(lambda: model._last_refusal is not None)
        may_end.set()
        until(lambda: "slotcast-load" not in [thread.name for thread in threading.enumerate()])
        worker = os.fork()
        if worker == 0:
            os._exit(7)
        said(str(os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])))
        model.close()
        """,
    )
    assert said == ["7"]


def test_a_child_that_does_not_use_the_model_loads_nothing_and_takes_nothing_away(
    folder: Path,
) -> None:
    said = run(
        folder,
        """
        model = made()
        until(reports)
        worker = os.fork()
        if worker == 0:
            said(f"threads in the child: {threading.active_count()}")
            model.close()
            os._exit(0)
        os.waitpid(worker, 0)
        said(f"reports: {len(reports())}")
        model.close()
        """,
    )
    assert said == ["threads in the child: 1", "reports: 1"]


def test_a_child_of_a_closed_model_is_told_so(folder: Path) -> None:
    said = run(
        folder,
        """
        model = made()
        model.close()
        worker = os.fork()
        if worker == 0:
            try: model.run(None, {"x": ROW})
            except Exception as exc: said(str(exc))
            os._exit(0)
        os.waitpid(worker, 0)
        """,
    )
    assert said == ["this HotModel is closed"]


def test_a_session_that_was_pinned_over_the_fork_can_be_let_go_of(folder: Path) -> None:
    said = run(
        folder,
        """
        model = made()
        with model.pinned():
            worker = os.fork()
        if worker == 0:
            said(f"child: {answers_as(1)}")
            os._exit(0)
        os.waitpid(worker, 0)
        said(f"parent: {answers_as(1)}")
        model.close()
        """,
    )
    assert said == ["child: True", "parent: True"]


ENDS = {
    "by its last line": ("pass", 0),
    "by sys.exit": ("sys.exit(3)", 0),
    "by Ctrl-C": ("raise KeyboardInterrupt", 0),
    "by an error that nobody caught": ("raise ValueError('of what the model answered')", 1),
    "by a kill": ("os.kill(os.getpid(), 9)", 1),
}


@pytest.mark.parametrize(("end", "left"), ENDS.values(), ids=ENDS.keys())
def test_who_ends_on_purpose_leaves_no_report_behind(folder: Path, end: str, left: int) -> None:
    run(
        folder,
        f"""
        model = made()
        until(reports)
        {end}
        """,
    )
    assert len(read_reports(folder / "app").files) == left


@pytest.mark.parametrize(("end", "left"), [("pass", 0), ("raise ValueError('x')", 1)])
def test_so_does_a_child_of_multiprocessing(folder: Path, end: str, left: int) -> None:
    run(
        folder,
        f"""
        import multiprocessing
        model = None
        def work():
            global model
            model = made()
            until(reports)
            {end}
        child = multiprocessing.get_context("fork").Process(target=work)
        child.start()
        child.join()
        """,
    )
    assert len(read_reports(folder / "app").files) == left


def test_calls_that_are_not_counted_are_said_to_be_none(folder: Path) -> None:
    said = run(
        folder,
        """
        from pathlib import Path
        from slotcast_device.application.app_report import read_reports
        def requests():
            return [r.requests for r in read_reports(Path(folder) / "app").reports]
        model = made()
        until(lambda: requests() == [0])
        with model.pinned() as session: session.run(None, {"x": ROW})
        until(lambda: requests() == [None])
        said("not counted")
        model.run(None, {"x": ROW})
        until(lambda: requests() == [1])
        said("counted")
        model.close()
        """,
    )
    assert said == ["not counted", "counted"]
