"""How often a password may be tried: pure, the clock is an argument.

Failures are counted twice: for a name from one address, so that a person who mistypes learns how
many tries are left; and for an address alone, so that nobody tries one password with many names.
A name alone is never locked: whoever knows a name could keep its owner out.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

PER_NAME_MAX: Final = 5
"""Failures with one name from one address, before a pause."""
PER_ADDRESS_MAX: Final = 25
"""Failures from one address, before a pause."""
PAUSE_S: Final = 15 * 60
"""The seconds of a pause, and those after which failures are forgotten."""
KEYS_MAX: Final = 20_000
"""The number of names and addresses that are remembered; past it, the oldest are forgotten."""
_IPV6_NETWORK_BITS: Final = 64
"""An IPv6 address counts as its network: whoever has one address has all of that."""

Key = tuple[str, str]


@dataclass(slots=True)
class _Failures:
    count: int
    last_s: float


class SignInTries:
    """Counts failures; not for several threads at once.

    Args:
        keys_max: how many names and addresses are remembered.
    """

    def __init__(self, keys_max: int = KEYS_MAX) -> None:
        self._keys_max = keys_max
        self._failures: OrderedDict[Key, _Failures] = OrderedDict()

    def wait_s(self, name: str, address: str, now_s: float) -> float:
        """Give the seconds until another try is looked at; 0 for now.

        Args:
            name: that is tried.
            address: where it comes from.
            now_s: seconds of a clock that only grows.
        """
        waits = [0.0]
        for key, most in _keys(name, address):
            found = self._failures.get(key)
            if found is not None and found.count >= most:
                waits.append(found.last_s + PAUSE_S - now_s)
        return max(waits)

    def failed(self, name: str, address: str, now_s: float) -> int:
        """Count a failure; gives how many tries are left before a pause.

        Args:
            name: that was tried.
            address: where it came from.
            now_s: seconds of a clock that only grows.
        """
        left = []
        for key, most in _keys(name, address):
            found = self._failures.get(key)
            if found is None or found.last_s + PAUSE_S <= now_s:
                found = self._failures[key] = _Failures(0, now_s)
            found.count, found.last_s = found.count + 1, now_s
            self._failures.move_to_end(key)
            left.append(max(0, most - found.count))
        while len(self._failures) > self._keys_max:
            self._failures.popitem(last=False)
        return min(left)

    def succeeded(self, name: str, address: str) -> None:
        """Forget the failures of a name from an address; those of the address alone stay.

        Args:
            name: that signed in.
            address: where it came from.
        """
        self._failures.pop(_keys(name, address)[0][0], None)


def _keys(name: str, address: str) -> tuple[tuple[Key, int], tuple[Key, int]]:
    network = network_of(address)
    return ((name.strip().lower()[:64], network), PER_NAME_MAX), (("", network), PER_ADDRESS_MAX)


def network_of(address: str) -> str:
    """Give what one client can choose addresses from: the address, or an IPv6 network."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if parsed.version == 4 or parsed.ipv4_mapped is not None:
        return str(parsed if parsed.version == 4 else parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _IPV6_NETWORK_BITS), strict=False))
