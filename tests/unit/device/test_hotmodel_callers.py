"""Whose fault a failed request is: a caller's mistake is not held against the release."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from slotcast_device import HotModel
from slotcast_device.application.app_report import AppReport, read_reports
from slotcast_device.hotmodel.contract import Contract
from slotcast_schemas import wire
from slotcast_schemas.messages.release import File, Release, Tensor
from slotcast_schemas.probe.tensors import signature
from tests.support import models
from tests.support.waiting import wait_until

ROW = models.inputs(1)


def make_release(content: bytes, version: str, sequence: int) -> Release:
    """A release that declares what its model takes, as the publisher makes them."""
    session = onnxruntime.InferenceSession(content)
    return Release(
        model="zoo",
        version=version,
        sequence=sequence,
        created=0,
        files=(File(path="model.onnx", size_bytes=len(content), sha256=bytes(32)),),
        image_size_bytes=len(content),
        image_sha256=bytes(32),
        entry="model.onnx",
        inputs=signature(session.get_inputs()),
        outputs=signature(session.get_outputs()),
    )


class Served:
    """Release 1 in slot a, and another, that serves, in slot b."""

    def __init__(self, folder: Path, old: bytes, new: bytes) -> None:
        for sequence, (slot, content) in enumerate((("a", old), ("b", new)), 1):
            path = folder / "slots" / slot
            path.mkdir(parents=True)
            (path / "model.onnx").write_bytes(content)
            release = make_release(content, f"{sequence}.0", sequence)
            path.with_name(f"{slot}.release").write_bytes(wire.encode(release))
        (folder / "current").symlink_to("slots/b")
        self._app = folder / "app"
        self.hot = HotModel(folder / "current", poll_s=0.01, report_s=0.01)

    def fail(self, names: Any, feed: Any, options: Any = None) -> None:
        with pytest.raises(Exception):  # noqa: B017 (whatever the runtime raises for it)
            self.hot.run(names, feed, options)

    def reported(self, condition: Callable[[AppReport], bool]) -> AppReport:
        """Wait for a report that says so."""
        found: list[AppReport] = []

        def look() -> bool:
            found[:] = filter(condition, read_reports(self._app).reports)
            return bool(found)

        wait_until(look, "a report that says so")
        return found[0]

    def figures(self) -> tuple[int | None, int, int]:
        """Requests, errors and invalid ones, once all so far are reported."""
        self.hot.run(None, {"x": ROW})
        live = self.hot._live
        assert live is not None
        report = self.reported(lambda r: r.requests == live.recorder.requests)
        return report.requests, report.errors, report.invalid


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path, models.classifier(1), models.classifier(2))
    with served.hot:
        yield served


MISTAKES: list[tuple[str, Any, Any]] = [
    ("a wrong name", None, {"y": ROW}),
    ("one name too many", None, {"x": ROW, "y": ROW}),
    ("no input", None, {}),
    ("a wrong type", None, {"x": ROW.astype(np.float64)}),
    ("a wrong rank", None, {"x": ROW[0]}),
    ("a wrong size", None, {"x": np.zeros((1, 3), np.float32)}),
    ("a list of a wrong size", None, {"x": [[1.0, 2.0]]}),
    ("rows of different lengths", None, {"x": [[1.0], [1.0, 2.0]]}),
    ("text", None, {"x": "one"}),
    ("nothing", None, {"x": None}),
    ("a wrong value of the runtime's own", None,
     {"x": onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros((2, 3), np.float32))}),
    ("an output that is not there", ["nope"], {"x": ROW}),
    ("no feed at all", None, [ROW]),
]  # fmt: skip


@pytest.mark.parametrize(("names", "feed"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_a_request_that_no_release_takes_is_no_error_of_this_one(
    served: Served, names: Any, feed: Any
) -> None:
    served.fail(names, feed)
    assert served.figures() == (1, 0, 1)


def test_what_the_release_before_took_is_an_error_of_the_new_one(tmp_path: Path) -> None:
    with Served(tmp_path, models.classifier(1), models.wrong_contract()).hot as hot:
        assert "x" not in {tensor.name for tensor in hot.get_inputs()}
        with pytest.raises(Exception):  # noqa: B017 (whatever the runtime raises for it)
            hot.run(None, {"x": ROW})
        assert hot._live is not None
        assert (hot._live.recorder.errors, hot._live.recorder.invalid) == (1, 0)


def test_what_fits_and_fails_is_an_error_of_the_release(tmp_path: Path) -> None:
    served = Served(tmp_path, models.classifier(1), models.raises_on_live_traffic())
    with served.hot:
        served.fail(None, {"x": models.inputs(4)})
        assert served.figures() == (2, 1, 0)


def test_a_call_that_its_caller_ended_is_no_request(served: Served) -> None:
    options = onnxruntime.RunOptions()
    options.terminate = True
    served.fail(None, {"x": ROW}, options)
    assert served.figures() == (1, 0, 0)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT interrupts, also where a shell started the tests with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_signal_in_the_middle_of_a_call_is_no_error(served: Served, interruptible: None) -> None:
    class Interrupted:
        def run(self, *_: object) -> None:
            signal.raise_signal(signal.SIGINT)
            for _turn in range(1000):  # Python looks for signals when a loop goes round
                pass

    live = served.hot._live
    assert live is not None
    session, live.session = live.session, Interrupted()
    with pytest.raises(KeyboardInterrupt):
        served.hot.run(None, {"x": ROW})
    live.session = session
    assert served.figures() == (1, 0, 0)


def test_nan_that_goes_in_is_none_of_the_models_when_it_comes_out(served: Served) -> None:
    served.hot.run(None, {"x": np.full_like(ROW, np.nan)})
    assert served.figures()[:2] == (2, 0)
    live = served.hot._live
    assert live is not None
    assert (live.recorder.checked, live.recorder.nonfinite) == (1, 0)


def test_free_dimensions_of_one_name_must_be_of_one_size() -> None:
    pair = (
        Tensor(name="x", dtype="tensor(float)", shape=("N", 2)),
        Tensor(name="y", dtype="tensor(int64)", shape=("N", None)),
    )
    contract = Contract({tensor.name: tensor for tensor in pair}, {"z"}, {})
    x = np.zeros((3, 2), np.float32)
    assert contract.takes(["z"], {"x": x, "y": np.zeros((3, 9), np.int64)})
    assert not contract.takes(["z"], {"x": x, "y": np.zeros((4, 9), np.int64)})


def test_types_that_only_the_runtime_knows_are_left_to_it() -> None:
    odd = Tensor(name="x", dtype="seq(map(string,tensor(float)))", shape=())
    assert Contract({"x": odd}, set(), {}).takes(None, {"x": object()})
