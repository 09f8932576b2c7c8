"""A proxy that makes a Mosquitto behave like brokers with other limits.

    with LimitingProxy(("127.0.0.1", 1883), Rules(retained_per_filter=1)) as proxy:
        ...                                       # the device connects to proxy.url
    proxy.down_bytes, proxy.connections, proxy.counts["lost: past the cap"]

What a broker does to a packet is in `tests.support.broker_rules`; here are the sockets. It runs one
asyncio loop in a thread of its own. What goes wrong in the proxy itself is raised at its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import socket
import struct
import threading
from collections import Counter
from typing import Self

from tests.support.broker_rules import HangsUp, Held, Rules, Session
from tests.support.mqtt_packets import Packet, Packets
from tests.support.waiting import WAIT_S

READ_BYTES = 256 * 1024
WAITING_MAX = 4000
"""Packets on their way to one device; more, and the broker behind is not read."""


class LimitingProxy:
    """See the module; `url` is where the device connects.

    Attributes:
        down_bytes, up_bytes: on the device's sockets.
        connections: that the device made.
        counts: of what happened, by a word.
    """

    def __init__(self, target: tuple[str, int], rules: Rules) -> None:
        self.target = target
        self.rules = rules
        self.down_bytes = self.up_bytes = self.connections = 0
        self.counts: Counter[str] = Counter()
        self.failures: list[BaseException] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        started = asyncio.run_coroutine_threadsafe(self._start(), self._loop)
        self._server = started.result(WAIT_S)
        return self

    def __exit__(self, *exc_info: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(WAIT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self.failures and exc_info[0] is None:
            raise self.failures[0]

    async def _start(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, sock=self._listener)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await _Link(self, reader, writer).run()
        except OSError:
            self.counts["no broker"] += 1
        except asyncio.CancelledError:
            pass  # the proxy ends
        except Exception as exc:  # noqa: BLE001 - a fault of the proxy's own: raised at its end
            self.failures.append(exc)
        finally:
            writer.transport.abort()

    async def _close(self) -> None:
        self._server.close()
        # Whoever is being let in at this moment has a task only a few turns of the loop later.
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.sleep(0)  # a task that is ended before it began closes nothing
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class _Link:
    """One device's connection, and its counterpart to the broker behind."""

    def __init__(
        self, proxy: LimitingProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._session = Session(proxy.rules, proxy.counts)
        self._reader, self._writer = reader, writer
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[float, int, bytes]] = []
        self._number = 0
        self._behind_s = 0.0
        self._more = asyncio.Event()

    async def run(self) -> None:
        """Carry packets both ways until one end is done, or the rules say so."""
        far_reader, self._far = await asyncio.open_connection(*self._proxy.target)
        try:
            # A device that has gone already has no socket any more: OSError, as without a broker.
            for writer in (self._writer, self._far):
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._carry(far_reader)
        finally:
            self._far.transport.abort()

    async def _carry(self, far_reader: asyncio.StreamReader) -> None:
        work = [self._up(), self._down(far_reader), self._send(), self._time()]
        tasks = [self._loop.create_task(one) for one in work]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await self._ended(task)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ended(self, task: asyncio.Task[None]) -> None:
        try:
            task.result()
        except HangsUp as end:
            if str(end) == "silent":
                await self._reader.read()  # until the device has had enough
            else:
                await self._say_last(end.last)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass

    async def _say_last(self, data: bytes) -> None:
        """Send the last packet and end in order, not by a reset."""
        self._proxy.down_bytes += len(data)
        self._writer.write(data)
        with contextlib.suppress(ConnectionError, TimeoutError):
            await asyncio.wait_for(self._writer.drain(), 30)
            self._writer.close()
            await asyncio.wait_for(self._writer.wait_closed(), 30)

    async def _time(self) -> None:
        every_s = self._proxy.rules.close_every_s
        await asyncio.sleep(every_s or 86400.0)
        self._proxy.counts["closed: time"] += 1
        # Lingering for zero seconds makes a reset of the end (socket(7)).
        linger = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, linger
        )

    async def _up(self) -> None:
        packets = Packets()
        while data := await self._reader.read(READ_BYTES):
            self._proxy.up_bytes += len(data)
            for packet in packets.feed(data):
                forward, answer = self._session.from_device(packet)
                if forward is not None:
                    self._far.write(forward)
                if answer is not None:
                    self._later(Held(answer))
            await self._far.drain()

    async def _down(self, reader: asyncio.StreamReader) -> None:
        packets = Packets()
        while data := await reader.read(READ_BYTES):
            for packet in packets.feed(data):
                self._take(packet)
            while len(self._waiting) > WAITING_MAX:
                await asyncio.sleep(0.01)

    def _take(self, packet: Packet) -> None:
        held, receipt = self._session.from_broker(packet, self._loop.time())
        if receipt is not None:
            self._far.write(receipt)
        if held is not None:
            self._later(held)

    def _later(self, held: Held) -> None:
        """Queue a packet behind those before it, unless it waits alone."""
        due_s = held.due_s if held.alone else max(held.due_s, self._behind_s)
        if not held.alone:
            self._behind_s = due_s
        self._number += 1
        heapq.heappush(self._waiting, (due_s, self._number, held.data))
        self._more.set()

    async def _send(self) -> None:
        while True:
            wait_s = self._waiting[0][0] - self._loop.time() if self._waiting else None
            if wait_s is not None and wait_s <= 0:
                data = heapq.heappop(self._waiting)[2]
                self._writer.write(data)
                await self._writer.drain()
                self._proxy.down_bytes += len(data)
                continue
            self._more.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._more.wait(), wait_s)
