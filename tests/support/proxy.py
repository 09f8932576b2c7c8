"""A proxy between a device and a broker that counts every byte and breaks things on purpose.

    with Proxy(target=("127.0.0.1", 1883), plan=Plan(cut_every_bytes=1_000_000)) as proxy:
        ...                                # the device connects to 127.0.0.1, proxy.port
        proxy.wait_for(lambda c: c.down_bytes > 100_000)
        proxy.sever()
    proxy.counters.down_bytes, proxy.counters.cuts, proxy.counters.down_packets["PUBLISH"]

*Down* is from the broker to the device, *up* the other way. Bytes are counted as they are written
to, or read from, the **device's** socket: payload of TCP, without the headers of TCP and IP.
Bytes pass untouched (TLS too) unless the plan asks for faults in whole PUBLISH packets.

It runs one asyncio loop in a thread of its own; every public method may be called from any thread.
What goes wrong inside the proxy itself is raised when the `with` block ends.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self, TypeVar

from tests.support.mqtt_packets import Packet
from tests.support.proxy_link import SMALL_BUFFER_BYTES, Link, close
from tests.support.proxy_plan import (
    Act,
    Counters,
    Kind,
    Marks,
    Plan,
    Throttle,
)
from tests.support.waiting import WAIT_S

__all__ = ["Act", "Counters", "Packet", "Plan", "Proxy"]

T = TypeVar("T")


class Proxy:
    """See the module; `port` is where the device connects, on 127.0.0.1."""

    def __init__(self, target: tuple[str, int], plan: Plan | None = None) -> None:
        self.target = target
        self.plan = plan or Plan()
        self.counters = Counters()
        seed = self.plan.seed
        self.rng = random.Random(seed)
        self.marks = {
            "down": Marks(
                self.plan.cut_at_bytes, self.plan.cut_every_bytes, random.Random(f"cut {seed}")
            ),
            "up": Marks(self.plan.cut_up_at_bytes, None, self.rng),
        }
        self.throttles = {
            "down": Throttle(self.plan.down_bits_per_s),
            "up": Throttle(self.plan.up_bits_per_s),
        }
        self._stall_at = self.plan.stall_at_bytes
        self._links: set[Link] = set()
        self._refusing = False
        self.failures: list[BaseException] = []
        self._changed = threading.Condition()
        self.flow = asyncio.Event()
        self.flow.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        if self.plan.rations_bytes:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"proxy-{self.port}", daemon=True)

    # --- from any thread ----------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._listener.close()
        if self.failures and exc_info[0] is None:
            raise self.failures[0]

    def sever(self, kind: Kind = "rst") -> int:
        """Cut every connection now; give how many there were."""
        return self._call(self._sever(kind))

    def stall(self) -> None:
        """Move nothing any more, in either direction; close nothing."""
        self._call(self._set_flow(moving=False))

    def resume(self) -> None:
        """End a stall."""
        self._call(self._set_flow(moving=True))

    def half_open(self) -> None:
        """Take the broker away without a word: what the device sends is read and lost."""
        self._call(self._half_open())

    def refuse(self) -> None:
        """Reset every new connection, until `accept()`. Present ones live on; see `sever()`."""
        self._refusing = True

    def accept(self) -> None:
        """Take new connections again."""
        self._refusing = False

    def wait_for(self, condition: Callable[[Counters], bool], timeout_s: float = WAIT_S) -> None:
        """Wait until the counters fulfil a condition.

        Raises:
            TimeoutError: they did not in time; the message shows them.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self.counters), timeout_s):
                raise TimeoutError(f"not within {timeout_s} s: {self.counters}")

    # --- in the loop's thread -----------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=WAIT_S)

    async def _start(self) -> None:
        # No task awaits connections: one that is canceled just after a connection came, loses it.
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        try:
            device, _ = self._listener.accept()
        except OSError:  # who knocked has gone again
            return
        if self._refusing:
            self.counters.refused += 1
            close(device, "rst")
        else:
            self.counters.connections += 1
            link = Link(self, device)
            self._links.add(link)
            link.start()
        self.notify()

    async def _close(self) -> None:
        self._loop.remove_reader(self._listener)
        await self._sever("fin", count=False)

    async def _sever(self, kind: Kind, *, count: bool = True) -> int:
        links = list(self._links)
        for link in links:
            link.stop(kind)
        await asyncio.gather(*(link.task for link in links), return_exceptions=True)
        if count:
            self.counters.cuts += len(links)
            self.notify()
        return len(links)

    async def _set_flow(self, *, moving: bool) -> None:
        if moving:
            self._stall_at = None
            self.flow.set()
        else:
            self.flow.clear()

    async def _half_open(self) -> None:
        for link in self._links:
            link.lose_broker()

    def room_before_stall(self) -> int | None:
        """Give how many bytes down may pass before the plan's stall; None without one."""
        if self._stall_at is None:
            return None
        return max(0, self._stall_at - self.counters.down_bytes)

    def decide(self, packet: Packet) -> Act | None:
        """Say what becomes of a PUBLISH down; None for one that no fault concerns."""
        plan = self.plan
        if plan.decide is not None:
            return plan.decide(packet)
        if not re.search(plan.faults_on, packet.topic):
            return None
        draw = self.rng.random()
        for share, act in (
            (plan.drop_share, Act.DROP),
            (plan.duplicate_share, Act.DUPLICATE),
            (plan.corrupt_share, Act.CORRUPT),
        ):
            if draw < share:
                return act
            draw -= share
        return Act.PASS

    def forget(self, link: Link) -> None:
        """Take note that a connection ended."""
        self._links.discard(link)
        self.notify()

    def notify(self) -> None:
        """Wake those who wait for the counters."""
        with self._changed:
            self._changed.notify_all()
