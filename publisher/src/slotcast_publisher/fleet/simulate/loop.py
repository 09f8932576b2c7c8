"""One loop for many devices: waits on all their sockets, and gives each its turn when it is due."""

from __future__ import annotations

import contextlib
import heapq
import queue
import select
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from slotcast_device.link.link import Link
    from slotcast_publisher.fleet.simulate.device import SimulatedDevice

LOOK_S: Final = 0.5
"""The longest time in seconds between two looks whether to end."""
_READABLE: Final = ~select.EPOLLOUT
"""All that a socket may be found to have but room to write: an end and an error are read, too."""


class DeviceLoop:
    """Waits for devices. They are numbered, as `wake` names them from other threads."""

    def __init__(self) -> None:
        self._devices: Sequence[SimulatedDevice] = ()
        self._poll = select.epoll()
        self._receiver, self._sender = socket.socketpair()
        self._receiver.settimeout(0)
        self._sender.settimeout(0)
        self._poll.register(self._receiver, select.EPOLLIN)
        self._woken: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._heap: list[tuple[float, int]] = []
        self._due_s: list[float] = []
        self._waits: list[tuple[Link, int, int] | None] = []
        self._by_fd: dict[int, int] = {}

    def wake(self, number: int) -> None:
        """Have a device's turn come at once; from any thread."""
        self._woken.put(number)
        with contextlib.suppress(OSError):  # full of earlier calls, which wake as well; or closed
            self._sender.send(b"\0")

    def run(self, devices: Sequence[SimulatedDevice], is_enough: Callable[[float], bool]) -> None:
        """Give turns until it is enough.

        Args:
            devices: all of them; each begins at once.
            is_enough: asked after each round, with the time on the monotonic clock.
        """
        self._devices = devices
        now_s = time.monotonic()
        self._due_s = [now_s] * len(devices)
        self._waits = [None] * len(devices)
        self._heap = [(now_s, number) for number in range(len(devices))]
        while not is_enough(time.monotonic()):
            for number, readable in self._wait().items():
                self._devices[number].take_turn(readable=readable)
                self._plan(number)

    def close(self) -> None:
        """Let go of sockets."""
        self._poll.close()
        self._receiver.close()
        self._sender.close()

    def _wait(self) -> dict[int, bool]:
        """Sleep until a turn is due; give whose, and whether the socket is readable."""
        next_s = self._heap[0][0] if self._heap else float("inf")
        timeout_s = min(LOOK_S, max(0.0, next_s - time.monotonic()))
        turns: dict[int, bool] = {}
        for fd, events in self._poll.poll(timeout_s):
            if fd in self._by_fd:
                turns[self._by_fd[fd]] = bool(events & _READABLE)
            else:
                with contextlib.suppress(BlockingIOError):
                    self._receiver.recv(65536)
        with contextlib.suppress(queue.Empty):
            while True:
                turns.setdefault(self._woken.get_nowait(), False)
        now_s = time.monotonic()
        while self._heap and self._heap[0][0] <= now_s:
            due_s, number = heapq.heappop(self._heap)
            if due_s == self._due_s[number]:  # else it was planned anew since
                turns.setdefault(number, False)
        return turns

    def _plan(self, number: int) -> None:
        """Wait on the device's socket, as it wants it, and for its next time."""
        device = self._devices[number]
        self._wait_on(number, device)
        due_s = device.deadline_s
        self._due_s[number] = due_s
        if due_s != float("inf"):
            heapq.heappush(self._heap, (due_s, number))

    def _wait_on(self, number: int, device: SimulatedDevice) -> None:
        link, known = device.link, self._waits[number]
        found = None if link is None else link.socket
        if known is not None and (link is not known[0] or found is None):
            self._forget(number, known[1])
            known = None
        if link is None or found is None or found.fileno() < 0:
            return
        events = link.poll_events
        if not device.may_read:
            events &= ~select.POLLIN
        if known is None:
            self._poll.register(found, events)
            self._by_fd[found.fileno()] = number
        elif known[2] != events:
            self._poll.modify(found, events)
        self._waits[number] = (link, found.fileno(), events)

    def _forget(self, number: int, fd: int) -> None:
        """A connection is over; its number may be another device's by now."""
        self._waits[number] = None
        if self._by_fd.get(fd) == number:
            del self._by_fd[fd]
            with contextlib.suppress(OSError):  # the system forgot it when it was closed
                self._poll.unregister(fd)
