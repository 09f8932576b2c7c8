"""The device of the story: the real `slotcast-device run`, as a process that can be killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final, Self

from slotcast_schemas.messages.offer import Payload

_STOP_TIMEOUT_S: Final = 10.0


class Device:
    """A device's folder and, while it runs, its process.

    Attributes:
        pid: of the process, or None.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self.folder = folder
        self._model_dir = folder / "state" / "models" / model
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The number of the running process."""
        return None if self._process is None else self._process.pid

    @property
    def current(self) -> Path:
        """The link that an application opens."""
        return self._model_dir / "current"

    def start(self) -> None:
        """Run it, in a session of its own, so that Ctrl-C here is not also sent there."""
        command = [sys.executable, "-m", "slotcast_device", "run", "--config", "device.toml"]
        with (self.folder / "device.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self) -> int:
        """`kill -9`: no goodbye, no flush; gives the signal that the process died of."""
        return self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order, or, if it does not listen, by force."""
        if self._process is not None:
            try:
                self._end(signal.SIGTERM)
            except subprocess.TimeoutExpired:
                self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> int:
        process = self._process
        if process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
        code = process.wait(_STOP_TIMEOUT_S)
        self._process = None
        return -code

    def log_tail(self, lines: int = 15) -> str:
        """Give the last lines of its log, for when something went wrong."""
        try:
            text = (self.folder / "device.log").read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def chunks_on_disk(self, payload: Payload, published: Path) -> int:
        """Count the chunks that lie whole in the device's spool, against the publisher's file."""
        try:
            got = (self._model_dir / "incoming" / payload.sha256.hex() / "data").read_bytes()
        except FileNotFoundError:
            return 0
        want, size = published.read_bytes(), payload.chunk_size_bytes
        starts = range(0, len(want), size)
        return sum(got[at : at + size] == want[at : at + size] for at in starts)
