"""systemd hears that the agent is ready and alive, in time and no more often than it needs."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from slotcast_device.systemd import Supervisor


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.setblocking(False)
        yield receiver


def said(manager: socket.socket) -> list[str]:
    words = []
    while True:
        try:
            words.append(manager.recv(1024).decode())
        except BlockingIOError:
            return words


def test_ready_and_stopping_are_told_once(manager: socket.socket) -> None:
    supervisor = Supervisor(manager.getsockname(), None)
    supervisor.ready()
    supervisor.stopping()
    assert said(manager) == ["READY=1", "STOPPING=1"]


def test_the_watchdog_is_fed_three_times_a_period(manager: socket.socket) -> None:
    supervisor = Supervisor(manager.getsockname(), 30.0)
    for second in range(30):
        supervisor.alive(float(second), lambda: "online")
    assert said(manager) == ["WATCHDOG=1\nSTATUS=online"] * 3


def test_without_a_service_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    supervisor = Supervisor()
    supervisor.ready()
    supervisor.alive(1.0, lambda: "online")
    assert supervisor.every_s is None


def test_a_watchdog_meant_for_another_process_is_not_fed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    assert Supervisor().every_s is None
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert Supervisor().every_s == 30.0
