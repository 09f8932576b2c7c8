"""How a device comes back to a broker: asked in which way, after which wait."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from slotcast_device.config import BrokerConfig, DeviceConfig
from slotcast_device.core.transfer.broker_limits import BrokerLimits, Refusal
from slotcast_device.link.broker_history import CAREFUL_AFTER, ways_to_connect
from slotcast_device.link.connection import Connection
from slotcast_device.link.link import Link
from slotcast_device.storage.broker_book import BrokerBook
from slotcast_device.storage.os_disk import OsDisk
from tests.support.waiting import WAIT_S

CONNACK_5 = b"\x20\x03\x00\x00\x00"
TAKEN_OVER = b"\xe0\x01\x8e"
NOTICE = b"\x30\x0e\x00\x04t/m\x00" + b"\x00data".ljust(8, b"\0")
FIRST_S = 0.01
ENDS = 8

Broker = Callable[[socket.socket], None]


class Heard:
    """What the connection told."""

    def __init__(self) -> None:
        self.ups = 0
        self.downs = 0
        self.is_useful = False
        self.connection: Connection | None = None

    def connection_made(self, link: Link, credit_chunks: int, limits: BrokerLimits) -> None:
        self.ups += 1
        if self.is_useful and self.connection is not None:
            self.connection.progressed()

    def connection_lost(self) -> None:
        self.downs += 1

    def message(self, topic: str, data: bytes) -> None: ...

    def bytes_arrived(self) -> None: ...

    def subscription_answered(self, filters: int, took_s: float) -> None: ...

    def limits_changed(self, limits: BrokerLimits) -> None: ...

    def subscription_refused(self, refusal: Refusal, *, is_final: bool) -> None: ...

    def subscription_unanswered(self, filters: tuple[str, ...]) -> None: ...


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.settimeout(WAIT_S)
        yield made


def connection(listener: socket.socket, folder: Path, heard: Heard) -> Connection:
    (folder / "root.json").write_text("{}")
    (folder / "device.toml").write_text(
        'format = 1\ndevice = "d1"\nmodels = ["m"]\n'
        f'[[brokers]]\nurl = "mqtt://127.0.0.1:{listener.getsockname()[1]}"\nprotocol = "5"\n'
        f"[timing]\nreconnect_first_s = {FIRST_S}\n"
    )
    config = DeviceConfig(folder / "device.toml")
    made = Connection(config, random.Random(1), heard, BrokerBook(config, OsDisk(), 0), "here")
    heard.connection = made
    return made


class Wait(NamedTuple):
    """What a wait was at least and at most: it was measured from outside."""

    least_s: float
    most_s: float


def waits_of(listener: socket.socket, made: Connection, answer: bytes) -> list[Wait]:
    """Let the broker take each connection, say this, and hang up; give the waits in between."""

    def broker() -> None:
        for _ in range(ENDS):
            sock, _ = listener.accept()
            with sock:
                sock.recv(4096)
                sock.sendall(CONNACK_5 + answer)

    thread = threading.Thread(target=broker)
    thread.start()
    waits: list[Wait] = []
    while len(waits) < ENDS:
        turn(made)
        had = made.link is not None
        before_s = time.monotonic()
        made.check()
        after_s = time.monotonic()
        if had and made.deadline_s is not None:
            waits.append(Wait(made.deadline_s - after_s, made.deadline_s - before_s))
    thread.join()
    return waits


def turn(made: Connection) -> None:
    """One turn of the agent's loop, before it looks what became of the connection."""
    made.connect_due()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        made.wait(ours.fileno(), 0.02)


def test_a_notice_that_came_does_not_make_the_next_wait_short(
    listener: socket.socket, tmp_path: Path
) -> None:
    waits = waits_of(listener, connection(listener, tmp_path, Heard()), NOTICE)
    assert waits[0].least_s <= FIRST_S
    assert waits[-1].most_s >= FIRST_S * 2 ** (ENDS - 1) / 10


def test_a_chunk_that_came_does(listener: socket.socket, tmp_path: Path) -> None:
    heard = Heard()
    heard.is_useful = True
    waits = waits_of(listener, connection(listener, tmp_path, heard), b"")
    assert max(wait.least_s for wait in waits) <= FIRST_S
    assert heard.ups == heard.downs == ENDS


def test_a_chunk_does_not_help_a_device_that_is_pushed_off(
    listener: socket.socket, tmp_path: Path
) -> None:
    heard = Heard()
    heard.is_useful = True
    made = connection(listener, tmp_path, heard)
    waits = waits_of(listener, made, TAKEN_OVER)
    assert waits[-1].most_s >= FIRST_S * 2 ** (ENDS - 1) / 10
    assert made.state.status.reason == "id_in_use"
    assert made.last_error is not None
    assert made.last_error.reason == "id_in_use"


@pytest.mark.parametrize(
    ("protocol", "known", "retained", "ways"),
    [
        ("auto", None, True, [("5", True), ("3.1.1", True), ("5", False), ("3.1.1", False)]),
        ("auto", "3.1.1", True, [("3.1.1", True), ("5", True), ("3.1.1", False), ("5", False)]),
        ("auto", "5", False, [("5", False), ("3.1.1", False)]),
        ("3.1.1", "5", True, [("3.1.1", True), ("3.1.1", False)]),
    ],
)
def test_what_worked_before_is_tried_first(
    protocol: str, known: str | None, retained: bool, ways: list[tuple[str, bool]]
) -> None:
    broker = BrokerConfig(url="mqtt://b.example", protocol=protocol)  # type: ignore[arg-type]
    limits = BrokerLimits(protocol=known, retained=retained)  # type: ignore[arg-type]
    assert ways_to_connect(broker, limits) == ways


def test_after_connections_that_ended_quickly_things_are_asked_for_one_by_one(
    listener: socket.socket, tmp_path: Path
) -> None:
    """So a broker that hangs up without a word shows on what: here, on a retained presence."""
    came: list[bytes] = []

    def broker() -> None:
        for _ in range(CAREFUL_AFTER + 2):
            sock, _ = listener.accept()
            with sock:
                sock.recv(4096)
                sock.sendall(CONNACK_5)
                came.append(sock.recv(4096))

    heard = Heard()
    made = connection(listener, tmp_path, heard)
    thread = threading.Thread(target=broker)
    thread.start()
    while heard.downs < CAREFUL_AFTER + 2:
        turn(made)
        made.check()
        if made.is_up and made.link is not None and made.link.held == set():
            made.link.held.add("asked")
            made.link.subscribe(("t/+",))
    thread.join()
    assert b"/presence" in came[CAREFUL_AFTER]
    assert b"t/+" not in came[CAREFUL_AFTER]
    book = BrokerBook(DeviceConfig(tmp_path / "device.toml"), OsDisk(), 0)
    assert not book.of(f"127.0.0.1:{listener.getsockname()[1]}").retained
