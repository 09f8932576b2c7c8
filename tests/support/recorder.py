"""What others get to see of a broker's traffic, and whether any of a secret is in it.

`recording` is a relay before a broker that keeps every byte that passes, as somebody on the line
would; `overhearing` keeps what the broker itself has in hand, behind TLS, as its operator would.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import uuid
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

import numpy as np
import paho.mqtt.client as paho
from numpy.typing import NDArray
from paho.mqtt.enums import CallbackAPIVersion

from tests.support import mqtt_client
from tests.support.waiting import WAIT_S, wait_until


class Recorder:
    """See the module; `port` is where clients connect, on 127.0.0.1.

    Args:
        target: host and port of the broker.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._streams: list[bytearray] = []
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def streams(self) -> list[bytes]:
        """Give what passed, each connection and direction by itself."""
        return [bytes(stream) for stream in self._streams]

    def accept(self) -> None:
        """Take connections until closed."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            broker = socket.create_connection(self._target)
            self._sockets += [client, broker]
            for source, target in ((client, broker), (broker, client)):
                stream = bytearray()
                self._streams.append(stream)
                self._start(_pass_on, source, target, stream)

    def run(self) -> None:
        """Begin."""
        self._start(self.accept)

    def close(self) -> None:
        """End all connections, and wait until nothing passes any more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in self._sockets:
            each.close()

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()


def _pass_on(source: socket.socket, target: socket.socket, stream: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            stream += data
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def recording(target: tuple[str, int]) -> Iterator[Recorder]:
    """Relay to a broker for the length of the block.

    Args:
        target: its host and port.
    """
    recorder = Recorder(target)
    recorder.run()
    try:
        yield recorder
    finally:
        recorder.close()


class Overheard:
    """A client that keeps what is published below a topic.

    Args:
        url: of the broker.
        topic: a filter.
        tls: what it connects with, where the broker wants TLS.
    """

    def __init__(self, url: str, topic: str, tls: ssl.SSLContext | None) -> None:
        self.payloads: list[bytes] = []
        self._ready = threading.Event()
        parts = urlsplit(url)
        self._client = mqtt_client.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"overhears-{uuid.uuid4().hex}",
            protocol=paho.MQTTv5,
        )
        if tls is not None:
            self._client.tls_set_context(tls)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, 1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda _client, _data, message: self.payloads.append(
            bytes(message.payload)
        )
        self._client.connect(parts.hostname or "", parts.port or 1883)
        self._client.loop_start()
        assert self._ready.wait(WAIT_S)

    def until_now(self, topic: str) -> list[bytes]:
        """Give all that was published before this call, by a word of its own on a topic."""
        word = uuid.uuid4().bytes
        self._client.publish(topic, word, qos=1).wait_for_publish(WAIT_S)
        wait_until(lambda: word in self.payloads, "its own word is heard")
        return self.payloads[: self.payloads.index(word)]

    def close(self) -> None:
        """Go."""
        self._client.disconnect()
        self._client.loop_stop()


@contextlib.contextmanager
def overhearing(url: str, topic: str, tls: ssl.SSLContext | None = None) -> Iterator[Overheard]:
    """Keep what is published below a topic during the block, and what was retained before.

    Args:
        url: of the broker.
        topic: a filter.
        tls: what to connect with, where the broker wants TLS.
    """
    heard = Overheard(url, topic, tls)
    try:
        yield heard
    finally:
        heard.close()


def shares_64_bytes(secrets: Iterable[bytes], dumps: Iterable[bytes]) -> bool:
    """Say whether 64 bytes in a row of a secret are anywhere in a dump; 32 equal ones do not count.

    Each 64 bytes of a secret hold one of its blocks of 32 that begin at a multiple of 32, so only
    the beginnings of these are looked for, at every place of every dump; what is found is held
    against both.

    Args:
        secrets: what must not be seen.
        dumps: where it is looked for.
    """
    blocks: dict[bytes, tuple[bytes, int]] = {}
    for secret in secrets:
        for at in range(0, len(secret) - 31, 32):
            block = secret[at : at + 32]
            if len(set(block)) > 1:
                blocks[block] = (secret, at)
    beginnings = np.array([int.from_bytes(b[:8], "little") for b in blocks], np.uint64)
    return any(_shares(blocks, np.unique(beginnings), dump) for dump in dumps)


def _shares(
    blocks: dict[bytes, tuple[bytes, int]], beginnings: NDArray[np.uint64], dump: bytes
) -> bool:
    for shift in range(min(8, len(dump))):
        count = (len(dump) - shift) // 8
        words = np.frombuffer(dump, "<u8", max(count, 0), shift)
        for word in np.flatnonzero(np.isin(words, beginnings)):
            place = int(word) * 8 + shift
            found = blocks.get(dump[place : place + 32])
            if found is not None and _common_bytes(*found, dump, place) >= 64:
                return True
    return False


def _common_bytes(secret: bytes, at: int, dump: bytes, place: int) -> int:
    back = 0
    while back < min(at, place, 64) and secret[at - back - 1] == dump[place - back - 1]:
        back += 1
    on = 0
    while on < min(len(secret) - at, len(dump) - place, 64) and secret[at + on] == dump[place + on]:
        on += 1
    return back + on
