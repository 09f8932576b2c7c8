"""An application beside the device: it reads digits all the time, with whatever `current` is."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Final, Self

import numpy as np
import onnxruntime

from examples.demo.digits import Floats, Labels

_PAUSE_S: Final = 0.02
_ROWS: Final = 16


def open_model(folder: Path) -> onnxruntime.InferenceSession:
    """Open the model in a folder as an application in production does: by its path."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    path = folder / "digits.onnx"
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def read_digits(session: onnxruntime.InferenceSession, pixels: Floats) -> Labels:
    """Give the digit that the model sees in each row."""
    scores = session.run(["scores"], {"pixels": pixels})[0]
    digits: Labels = np.argmax(scores, axis=1)
    return digits


class Application:
    """Asks the model again and again, and follows the switch.

    Attributes:
        answers: requests answered, by slot.
        failures: what went wrong; stays empty.
    """

    def __init__(self, current: Path, pixels: Floats) -> None:
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._current = current
        self._pixels = pixels[:_ROWS]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="application")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    @property
    def answered(self) -> int:
        """Requests answered so far."""
        return self.answers.total()

    def _serve(self) -> None:
        slot, session = "", None
        while not self._stopping.wait(_PAUSE_S):
            try:
                now = self._current.readlink().name
                if session is None or now != slot:
                    slot, session = now, open_model(self._current.parent / "slots" / now)
                read_digits(session, self._pixels)
                self.answers[slot] += 1
            except Exception as exc:  # noqa: BLE001 - whatever it is, the story must tell it
                self.failures.append(f"{time.strftime('%X')}: {exc!r}")
