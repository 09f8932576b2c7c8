"""An application beside the device: it reads digits all the time, through a `HotModel`."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Final, Self

import numpy as np
import onnxruntime

from examples.demo.digits import Floats, Labels
from slotcast_device import HotModel

_PAUSE_S: Final = 0.02
_ROWS: Final = 16
"""Digits in one request; the probe before a switch asks for one at a time."""


def open_model(folder: Path) -> onnxruntime.InferenceSession:
    """Open the model in a folder as an application in any language does: by its path."""
    path = str(folder / "digits.onnx")
    return onnxruntime.InferenceSession(path, _options(), providers=["CPUExecutionProvider"])


def read_digits(session: onnxruntime.InferenceSession, pixels: Floats) -> Labels:
    """Give the digit that the model sees in each row."""
    scores = session.run(["scores"], {"pixels": pixels})[0]
    digits: Labels = np.argmax(scores, axis=1)
    return digits


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # one of the models fails on purpose
    return options


class Application:
    """Asks the model again and again; `HotModel` follows every switch for it.

    Attributes:
        answers: requests answered, by the version that answered.
        errors: requests that failed, by the version that failed them.
    """

    def __init__(self, current: Path, pixels: Floats) -> None:
        self.answers: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self._hot = HotModel(
            current,
            session_options=_options(),
            providers=["CPUExecutionProvider"],
            report_s=0.5,
            poll_s=0.05,
        )
        self._pixels = pixels[:_ROWS]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="application")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._hot.close()

    @property
    def version(self) -> str:
        """The version that answers now."""
        release = self._hot.release
        return "" if release is None else release.version

    def _serve(self) -> None:
        while not self._stopping.wait(_PAUSE_S):
            version = self.version
            try:
                self._hot.run(["scores"], {"pixels": self._pixels})
                self.answers[version] += 1
            except Exception:  # noqa: BLE001 - whatever a model can raise is counted
                self.errors[version] += 1
