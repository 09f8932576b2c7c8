"""One connection through `tests.support.proxy`: two sockets, and the bytes between them.

It moves, counts, holds up, cuts and changes bytes as the proxy's plan says; connections as such
(accepting, severing) are the proxy's.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from tests.support.mqtt_packets import Names, NotMqtt, Packet, Packets
from tests.support.proxy_plan import READ_BYTES, Act, Direction, Kind

if TYPE_CHECKING:
    from tests.support.proxy import Proxy

_CONNECT_FIRST_BYTE: Final = 0x10
SMALL_BUFFER_BYTES: Final = 16 * 1024
"""Of a socket whose bytes are rationed: what is counted must not lie about in the kernel."""
_REORDER_WAIT_S: Final = 0.05
"""A held-back packet goes out after this long without another, so that nothing starves."""
_DELAYED_MAX: Final = 1024
"""Reads on their way at once where there is a delay."""

_Queue = asyncio.Queue[tuple[float, bytes | None]]


class Cut(Exception):
    """The plan says: cut this connection now."""


class Link:
    """One connection of the device and its counterpart to the broker."""

    def __init__(self, proxy: Proxy, device: socket.socket) -> None:
        self.task: asyncio.Task[None]
        self.close_kind: Kind = "fin"
        self._proxy = proxy
        self._loop = asyncio.get_running_loop()
        self._plan = proxy.plan
        self._device = device
        self._broker = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._broker_lost = False
        self._is_mqtt: bool | None = None
        self._names = {"down": Names(), "up": Names()}
        self._packets = {"down": Packets(), "up": Packets()}
        self._held: list[bytes] = []
        self._reading: asyncio.Task[bytes] | None = None
        self._acks: list[bytes] = []
        self._up_lock = asyncio.Lock()
        self._ended = asyncio.Event()
        self._ending = False
        self._prepare_sockets()

    def _prepare_sockets(self) -> None:
        for sock in (self._device, self._broker):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._plan.rations_bytes:
            for sock, option in (
                (self._device, socket.SO_SNDBUF),
                (self._broker, socket.SO_RCVBUF),
            ):
                sock.setsockopt(socket.SOL_SOCKET, option, SMALL_BUFFER_BYTES)

    async def run(self) -> None:
        """Move bytes both ways until both ends are done, or one breaks, or the plan says so."""
        pumps: list[asyncio.Task[None]] = []
        try:
            await self._loop.sock_connect(self._broker, self._proxy.target)
            pumps = [self._loop.create_task(work) for work in self._work()]
            await asyncio.gather(*pumps)
        except Cut:
            self.close_kind = self._plan.cut_kind
            self._proxy.counters.cuts += 1
        except OSError:
            self.close_kind = "rst"  # one end is gone, or the broker does not answer: so it looks
        except asyncio.CancelledError:
            pass  # sever() and the end of the proxy, which set `close_kind`
        except Exception as exc:  # noqa: BLE001  # a fault of the proxy's own: raised at its end
            self._proxy.failures.append(exc)
        finally:
            self._ending = True
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    def start(self) -> None:
        """Begin to move bytes."""
        self.task = self._loop.create_task(self.run())
        self.task.add_done_callback(self._close)  # also where it is canceled before it began

    def stop(self, kind: Kind) -> None:
        """End the connection now, unless it is ending already."""
        if not self._ending:
            self.close_kind = kind
            self.task.cancel()

    def _close(self, _task: object) -> None:
        close(self._device, self.close_kind)
        close(self._broker, self.close_kind)
        self._proxy.forget(self)

    def lose_broker(self) -> None:
        """Close the broker's side only; the device's stays open and is answered by nothing."""
        self._broker_lost = True
        with suppress(OSError):
            self._broker.shutdown(socket.SHUT_RDWR)

    # --- moving bytes -------------------------------------------------------------------------

    def _work(self) -> list[Coroutine[Any, Any, None]]:
        ways: tuple[Direction, ...] = ("down", "up")
        if not self._plan.delay_s:
            return [self._pump(way, self._recv) for way in ways]
        queues: dict[Direction, _Queue] = {way: asyncio.Queue(_DELAYED_MAX) for way in ways}

        async def take(way: Direction) -> bytes | None:
            due_s, data = await queues[way].get()
            await asyncio.sleep(max(0.0, due_s - self._loop.time()))
            return data

        async def fill(way: Direction) -> None:
            data: bytes | None = b""
            while data is not None:
                data = await self._recv(way)
                await queues[way].put((self._loop.time() + self._plan.delay_s, data))

        return [fill(way) for way in ways] + [self._pump(way, take) for way in ways]

    async def _pump(
        self, way: Direction, take: Callable[[Direction], Coroutine[Any, Any, bytes | None]]
    ) -> None:
        while (data := await take(way)) is not None:
            for piece in self._changed(way, data):
                await (self._to_device(piece) if way == "down" else self._to_broker(piece))
            while self._acks:
                await self._to_broker(self._acks.pop())
        if way == "down" and self._broker_lost:
            await self._ended.wait()  # half open: nothing more, and no end either
        if way == "up" and self._broker_lost:
            self._ended.set()
        with suppress(OSError):
            (self._device if way == "down" else self._broker).shutdown(socket.SHUT_WR)

    async def _recv(self, way: Direction) -> bytes | None:
        """Read once; None at the end, b"" where nothing came for a while and packets wait."""
        if way == "up":
            return await self._recv_up()
        if not self._plan.reorder_window:
            return await self._loop.sock_recv(self._broker, READ_BYTES) or None
        if self._reading is None:
            self._reading = self._loop.create_task(self._loop.sock_recv(self._broker, READ_BYTES))
        try:
            await asyncio.wait({self._reading}, timeout=_REORDER_WAIT_S)
        except asyncio.CancelledError:
            self._reading.cancel()
            raise
        if not self._reading.done():
            return b""
        data, self._reading = self._reading.result(), None
        return data or None

    async def _recv_up(self) -> bytes | None:
        """Read from the device, at the plan's rate, up to the next cut, and count it."""
        throttle, marks = self._proxy.throttles["up"], self._proxy.marks["up"]
        counters = self._proxy.counters
        await self._proxy.flow.wait()
        room = marks.room(counters.up_bytes)
        data = await self._loop.sock_recv(
            self._device, throttle.slice_bytes if room is None else min(room, throttle.slice_bytes)
        )
        if not data:
            return None
        counters.up_bytes += len(data)
        if self._is_mqtt is None:
            self._is_mqtt = data[0] == _CONNECT_FIRST_BYTE
        self._count("up", data)
        if room is not None and len(data) >= room:
            marks.passed(counters.up_bytes)
            raise Cut
        await asyncio.sleep(throttle.take(len(data), time.monotonic()))
        await self._proxy.flow.wait()
        return data

    async def _to_device(self, data: bytes) -> None:
        """Write to the device, at the plan's rate, up to the next cut or stall, and count it."""
        throttle, marks = self._proxy.throttles["down"], self._proxy.marks["down"]
        counters = self._proxy.counters
        view = memoryview(data)
        while view:
            await self._proxy.flow.wait()
            rooms = [marks.room(counters.down_bytes), self._proxy.room_before_stall()]
            size = min([len(view), throttle.slice_bytes, *(r for r in rooms if r is not None)])
            if rooms[0] == 0:
                marks.passed(counters.down_bytes)
                raise Cut
            if size == 0:
                self._proxy.flow.clear()  # the plan's stall
                continue
            await asyncio.sleep(throttle.take(size, time.monotonic()))
            sent = await _send_some(self._loop, self._device, view[:size])
            counters.down_bytes += sent
            self._count("down", bytes(view[:sent]))
            view = view[sent:]
            if rooms[0] is not None and sent >= rooms[0]:
                marks.passed(counters.down_bytes)
                raise Cut

    async def _to_broker(self, data: bytes) -> None:
        async with self._up_lock:  # a PUBACK of ours must not fall into a packet of the device
            if not self._broker_lost:
                await self._loop.sock_sendall(self._broker, data)

    def _count(self, way: Direction, data: bytes) -> None:
        counters = self._proxy.counters
        if self._is_mqtt:
            try:
                names = list(self._names[way].feed(data))
            except NotMqtt:
                self._is_mqtt = False
                names = []
            (counters.down_packets if way == "down" else counters.up_packets).update(names)
        self._proxy.notify()

    # --- changing packets ---------------------------------------------------------------------

    def _changed(self, way: Direction, data: bytes) -> list[bytes]:
        """Give what goes on instead of what came."""
        if not self._plan.needs_packets:
            return [data]
        if not self._is_mqtt:
            raise NotMqtt("faults in packets need plain MQTT, this connection is something else")
        out: list[bytes] = []
        for packet in self._packets[way].feed(data):
            if self._plan.tap is not None:
                self._plan.tap(way, packet)
            out += self._fate(packet) if way == "down" and packet.is_publish else [packet.raw]
        if not data:
            self._proxy.rng.shuffle(self._held)
            out += self._held
            self._held.clear()
        return out

    def _fate(self, packet: Packet) -> list[bytes]:
        counters = self._proxy.counters
        match self._proxy.decide(packet):
            case None:
                return [packet.raw]
            case Act.DROP:
                counters.dropped += 1
                if packet.qos == 1:
                    self._acks.append(packet.puback())
                return []
            case Act.DUPLICATE:
                counters.duplicated += 1
                return self._mixed(packet.raw) + self._mixed(packet.duplicate().raw)
            case Act.CORRUPT:
                counters.corrupted += 1
                return self._mixed(packet.corrupted().raw)
            case Act.PASS:
                return self._mixed(packet.raw)

    def _mixed(self, raw: bytes) -> list[bytes]:
        """Hold a packet back, and give a random one of those held once there are enough."""
        if not self._plan.reorder_window:
            return [raw]
        self._held.append(raw)
        if len(self._held) <= self._plan.reorder_window:
            return []
        return [self._held.pop(self._proxy.rng.randrange(len(self._held)))]


async def _send_some(loop: asyncio.AbstractEventLoop, sock: socket.socket, data: memoryview) -> int:
    """Write as much as the kernel takes now, at least a byte; so a cancelled write is counted."""
    while True:
        try:
            return sock.send(data)
        except BlockingIOError:
            await _writable(loop, sock)


async def _writable(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    event = asyncio.Event()
    loop.add_writer(sock, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_writer(sock)


def close(sock: socket.socket, kind: Kind) -> None:
    """Close with a reset, or in order."""
    if kind == "rst":  # lingering for zero seconds makes close() send a reset (socket(7))
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
