"""The agent: a device in a process of its own. One loop, a socket to wake it, threads for jobs.

Jobs (hashing, rebuilding, probing) run in worker threads and wake the loop when done; everything
else happens in the one thread that also reads the broker's socket. What there is to do in a turn
is `shell`'s.
"""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from slotcast_device.core.waits import USUAL, Waits
from slotcast_device.shell import TICK_S, DeviceShell
from slotcast_device.storage.os_disk import OsDisk
from slotcast_device.systemd import Supervisor
from slotcast_schemas.errors import SlotcastError

if TYPE_CHECKING:
    from slotcast_device.config import DeviceConfig
    from slotcast_device.core.model import ModelCore
    from slotcast_device.storage.disk import Disk

_WORKERS: Final = 2
"""The threads that do jobs: two models' jobs go on at once, and a hook that is asked holds up only
one of them."""


class Agent:
    """Runs a device until told to stop.

    Args:
        config: who this device is and where its brokers are.
        rng: jitter; seeded in tests.
        disk: where state is kept; a test may give one that fails.
        is_offline: connect to no broker; for requests from the command line.
        waits: how long to wait where nothing is configured.
    """

    def __init__(
        self,
        config: DeviceConfig,
        rng: random.Random | None = None,
        disk: Disk | None = None,
        *,
        is_offline: bool = False,
        waits: Waits = USUAL,
    ) -> None:
        self._stopping = threading.Event()
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="job")
        self._supervisor = Supervisor()
        self.shell = DeviceShell(
            config,
            rng or random.Random(),  # noqa: S311 - jitter, not secrets
            disk or OsDisk(),
            self._pool,
            self._wake,
            is_offline=is_offline,
            waits=waits,
        )

    # --- from outside ---------------------------------------------------------------------------

    def stop(self) -> None:
        """End the loop soon; safe from signal handlers and other threads."""
        self._stopping.set()
        self._wake()

    @property
    def cores(self) -> list[ModelCore]:
        """The models' cores, for whoever waits for them to settle."""
        return self.shell.cores

    @property
    def last_error(self) -> SlotcastError | None:
        """Why there is no connection, or why the last one ended."""
        return self.shell.connection.last_error

    @property
    def is_idle(self) -> bool:
        """Whether requests were looked at, or cannot be, and no job runs."""
        return self.shell.is_idle

    def run(self, until: Callable[[Agent], bool] | None = None) -> None:
        """Work until `stop` is called, or `until` says that it is enough."""
        self._wake_receiver.settimeout(0)
        is_orderly = False
        try:
            self.shell.start()
            self._supervisor.ready()
            while not self._stopping.is_set():
                self._take_turn()
                if until is not None and until(self):
                    break
            is_orderly = True
        finally:
            self._shut_down(is_orderly=is_orderly)

    # --- the loop -------------------------------------------------------------------------------

    def _take_turn(self) -> None:
        self.shell.connect_due()
        now_s = time.monotonic()
        timeout_s = self.shell.due_s(now_s + TICK_S) - now_s
        if self.shell.connection.wait(self._wake_receiver.fileno(), timeout_s):
            with contextlib.suppress(BlockingIOError):
                self._wake_receiver.recv(4096)
        self.shell.take_turn()
        self._supervisor.alive(time.monotonic(), self.shell.reports.summary)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_sender.send(b"\0")

    def _shut_down(self, *, is_orderly: bool) -> None:
        self._supervisor.stopping()
        if is_orderly:  # first of all: what comes after may take longer than a stop may
            self.shell.stop_orderly()
        self.shell.cancel_jobs()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.shell.close()
        self._wake_receiver.close()
        self._wake_sender.close()
