"""A cheap MQTT publisher, for measurements: many messages of QoS 1, each counted when acknowledged.

paho takes as long to send a message as `serve` does to take one in; on the same machine, that would
be measured. So this speaks MQTT 3.1.1 by itself: CONNECT, PUBLISH, and what comes back.

`python -m benchmarks.fleet_sender HOST PORT FILE RATE` sends the messages of a file (`write_file`),
at most RATE a second, and prints how many were acknowledged and how long it took, as JSON.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

_WINDOW: Final = 2_000
"""The most messages on their way at once."""
_BURST_S: Final = 0.02
"""Messages go in bursts of what the rate allows in so many seconds."""
_PUBACK_BYTES: Final = 4
_RETAINED_QOS1: Final = 0x33
_QOS1: Final = 0x32
_PACKET_ID_MAX: Final = 65_535


def write_file(path: Path, messages: Iterable[tuple[str, bytes]]) -> int:
    """Write messages to a file as PUBLISH packets without identifiers; gives how many."""
    count = 0
    with path.open("wb") as file:
        for topic, data in messages:
            name = topic.encode()
            head = struct.pack(">B H", _kind(topic), len(name)) + name
            file.write(struct.pack(">I I", len(head), len(data)) + head + data)
            count += 1
    return count


def _kind(topic: str) -> int:
    return _QOS1 if topic.endswith("/metrics") else _RETAINED_QOS1


def send(host: str, port: int, path: Path, rate: float) -> dict[str, float]:
    """Send a file's messages; gives what was acknowledged, and in how many seconds.

    Args:
        host: of the broker.
        port: of the broker.
        path: the file.
        rate: messages a second at most.

    Raises:
        ConnectionError: the broker refused, or went away.
    """
    with socket.create_connection((host, port)) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.sendall(bytes.fromhex("100f00044d5154540402003c0003626e63"))
        if link.recv(4) != b"\x20\x02\x00\x00":
            raise ConnectionError("the broker refused the connection")
        started_s = time.monotonic()
        sent = acked = 0
        packets = _packets(path)
        waiting = bytearray()
        burst: list[bytes] = []
        is_over = False
        while not is_over or acked < sent:
            allowed = min((time.monotonic() - started_s + _BURST_S) * rate, acked + _WINDOW)
            burst.clear()
            while not is_over and sent < allowed:
                packet = next(packets, None)
                if packet is None:
                    is_over = True
                    break
                burst.append(packet)
                sent += 1
            if burst:
                link.sendall(b"".join(burst))
            acked += _acknowledged(link, waiting, is_idle=not burst)
        return {"acknowledged": acked, "seconds": time.monotonic() - started_s}


def _packets(path: Path) -> Iterator[bytes]:
    number = 0
    with path.open("rb") as file:
        while sizes := file.read(8):
            head_size, data_size = struct.unpack(">I I", sizes)
            head, data = file.read(head_size), file.read(data_size)
            number = number % _PACKET_ID_MAX + 1
            body = head[1:] + struct.pack(">H", number) + data
            yield head[:1] + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    """Write a length (MQTT 3.1.1, 2.2.3)."""
    found = bytearray()
    while True:
        value, byte = divmod(value, 128)
        found.append(byte | (128 if value else 0))
        if not value:
            return bytes(found)


def _acknowledged(link: socket.socket, waiting: bytearray, *, is_idle: bool) -> int:
    """Read what came back; all of it are PUBACKs, of four bytes each."""
    link.settimeout(_BURST_S if is_idle else 0.000_1)
    try:
        came = link.recv(65_536)
        if not came:
            raise ConnectionError("the broker closed the connection")
        waiting += came
    except TimeoutError:
        return 0
    finally:
        link.settimeout(None)
    count = len(waiting) // _PUBACK_BYTES
    del waiting[: count * _PUBACK_BYTES]
    return count


if __name__ == "__main__":
    host, port, file, rate = sys.argv[1:]
    sys.stdout.write(json.dumps(send(host, int(port), Path(file), float(rate))) + "\n")
