"""An application beside a device: it asks its `HotModel` all the time and keeps its own figures.

    with Application(device.current().parent) as application:
        application.wait_for(lambda a: a.answers[key_of(v2)] > 10)

It measures each request by itself, from outside `HotModel`, so that a test can hold the device's
figures against it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from slotcast_device import HotModel
from tests.support import models
from tests.support.waiting import WAIT_S

PAUSE_S: Final = 0.002
"""Between two requests: the machine has other things to do."""

Floats = NDArray[np.float32]


def key_of(model: bytes, rows: Floats | None = None) -> bytes:
    """Give what the application counts a model's answers under.

    Args:
        model: an ONNX file of the zoo.
        rows: what it is asked; by default what applications ask first.
    """
    session = ort.InferenceSession(model, _options(), providers=["CPUExecutionProvider"])
    feed = models.inputs(1) if rows is None else rows
    return _key(session.run(None, {"x": feed})[0])


def _key(scores: Floats) -> bytes:
    """Scores that are the same but for the order of sums have the same key, NaN included."""
    return bytes(np.round(np.asarray(scores, np.float64), 3).tobytes())


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # some models fail on purpose
    return options


class Application:
    """A thread that asks without end.

    Attributes:
        rows: what it asks; may be changed at any moment.
        answers: how often each answer came, by `key_of`.
        errors: what was raised, as text, and how often.
        latencies_s: of each request answered, measured around `run`.
    """

    def __init__(self, current: Path, rows: Floats | None = None, pause_s: float = PAUSE_S) -> None:
        self.rows = models.inputs(1) if rows is None else rows
        self.answers: Counter[bytes] = Counter()
        self.errors: Counter[str] = Counter()
        self.latencies_s: list[float] = []
        self.hot = HotModel(
            current,
            session_options=_options(),
            providers=["CPUExecutionProvider"],
            report_s=0.1,
            poll_s=0.02,
        )
        self._pause_s = pause_s
        self._allowed: int | None = None
        self._asked = 0
        self._stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._serve, name="application", daemon=True)

    @property
    def requests(self) -> int:
        """Requests that were answered or failed."""
        return self._asked

    @property
    def failed(self) -> int:
        """Requests that failed."""
        return self.errors.total()

    def pause(self) -> int:
        """Ask nothing more; give how many requests there were, the last of them ended."""
        with self._changed:
            self._allowed = self._asked
            return self._asked

    def ask(self, count: int) -> None:
        """While paused: ask so often, and return when all of it is answered."""
        with self._changed:
            self._allowed = due = (self._asked if self._allowed is None else self._allowed) + count
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._asked >= due, WAIT_S):
                raise AssertionError(f"{self._asked} of {due} requests ended")

    def go_on(self) -> None:
        """Ask without end again."""
        with self._changed:
            self._allowed = None
            self._changed.notify_all()

    def hurry(self) -> None:
        """Ask without a pause between requests."""
        self._pause_s = 0.0

    def wait_for(self, condition: Callable[[Self], bool], what: str = "") -> None:
        """Wait until what was answered, or what a test sees elsewhere, fulfils a condition."""
        deadline_s = time.monotonic() + WAIT_S
        with self._changed:
            while not condition(self):
                if time.monotonic() > deadline_s:
                    raise AssertionError(
                        f"never: {what}; {self._asked} requests, errors {dict(self.errors)},"
                        f" {sorted(self.answers.values())} answers of each kind"
                    )
                self._changed.wait(0.02)

    def wait_for_answers(self, model: bytes, count: int = 5) -> None:
        """Wait until a model gives so many more answers to what is asked now."""
        key = key_of(model, self.rows)
        before = self.answers[key]
        self.wait_for(lambda a: a.answers[key] >= before + count, "answers of that model")

    def ask_once(self) -> None:
        """Ask one request, and count what came of it."""
        began_ns = time.perf_counter_ns()
        try:
            scores = self.hot.run(["scores"], {"x": self.rows})[0]
        except Exception as exc:  # noqa: BLE001 - whatever a model can raise is counted
            self.errors[f"{type(exc).__name__}: {exc}"[:200]] += 1
            return
        self.latencies_s.append((time.perf_counter_ns() - began_ns) / 1e9)
        self.answers[_key(scores)] += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(WAIT_S)
        self.hot.close()

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._may_go_on)
                if self._stopping:
                    return
                self.ask_once()
                self._asked += 1
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._stopping, self._pause_s)

    def _may_go_on(self) -> bool:
        return self._stopping or self._allowed is None or self._asked < self._allowed
