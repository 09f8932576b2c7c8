"""Ports that are free now, and that nobody else takes until they are listened on.

A port that the system chose (`bind` to 0) and that is let go of again may be the next that it
gives to another test; so may that of a broker which is killed and started again.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST: Final = 10_000
"""Below it are the ports of services."""
_LAST: Final = 32_768
"""Linux gives ports away by itself from here on (ip(7)), unless it was told otherwise."""
_SHARE: Final = 1_000
"""Ports of each process of tests: more than it ever asks for."""


def free_ports(count: int) -> tuple[int, ...]:
    """Give as many ports of loopback as nobody listens on now, none of them twice."""
    found: list[int] = []
    while len(found) < count:
        port = next(_OWN)
        with socket.socket() as one, contextlib.suppress(OSError):  # somebody has it
            one.bind(("127.0.0.1", port))
            found.append(port)
    return tuple(found)


def own_ports(worker: str, given_away_from: int = _LAST) -> Sequence[int]:
    """Give the ports that no other worker of pytest-xdist gets, nor the system gives away.

    Args:
        worker: its name, `gw0` and so on; empty where there are none.
        given_away_from: the first port that the system gives away; where that is so low that
            there is no room below it, its ports are taken all the same.
    """
    last = given_away_from if given_away_from > _FIRST + _SHARE else _LAST
    number = re.sub(r"\D", "", worker)
    share = int(number) + 1 if number else 0
    first = _FIRST + share % ((last - _FIRST) // _SHARE) * _SHARE
    return range(first, first + _SHARE)


def _given_away_from() -> int:
    try:
        return int(_RANGE.read_text().split()[0])
    except OSError:
        return _LAST


def _in_turn() -> Iterator[int]:
    """Give one's own in an order of chance: another run of the tests has the same ones."""
    own = own_ports(os.environ.get("PYTEST_XDIST_WORKER", ""), _given_away_from())
    return itertools.cycle(random.SystemRandom().sample(own, len(own)))


_OWN: Final = _in_turn()
