"""Ports that a test chooses stay its own until it listens on them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.support import ports
from tests.support.ports import free_ports, own_ports


def test_ports_are_free_and_no_two_are_the_same() -> None:
    found = [*free_ports(5), *free_ports(5)]
    assert len(set(found)) == len(found)
    for port in found:
        socket.create_server(("127.0.0.1", port)).close()


def test_a_port_that_somebody_listens_on_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, free = free_ports(2)
    monkeypatch.setattr(ports, "_OWN", iter([taken, free]))
    with socket.create_server(("127.0.0.1", taken)):
        assert free_ports(1) == (free,)


def test_the_system_gives_none_of_them_away() -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(port < first for port in free_ports(20))


def test_no_two_workers_choose_among_the_same() -> None:
    shares = [set(own_ports(name)) for name in ("", *(f"gw{number}" for number in range(12)))]
    assert len(set.union(*shares)) == sum(map(len, shares))
    assert max(max(share) for share in shares) < 32_768


def test_where_the_system_gives_nearly_all_ports_away_there_are_some_all_the_same() -> None:
    assert len(own_ports("gw3", given_away_from=1_024)) == 1_000
