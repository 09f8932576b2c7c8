"""Who gives way where all places are taken: somebody of the address, or the user, with the most.

A share of places by address would turn away offices behind one address while there is room. So all
may have all places until there is none left; then whoever comes takes the place of the address
that has most, and one address alone, however often it comes again, keeps nobody else out.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final, Protocol

from slotcast_publisher.page_settings import Network

_IPV6_SITE_BITS: Final = 64
"""What one who is connected by IPv6 has at least: any address of it costs nothing."""


class Holder(Protocol):
    """Who has a place."""

    @property
    def is_waiting(self) -> bool:
        """Whether no request of it is being answered."""


class Places:
    """The places of a page, of one event loop.

    Args:
        most: so many there are.
        proxies: networks whose connections give way to nobody: many people come through one.
    """

    def __init__(self, most: int, proxies: Sequence[Network] = ()) -> None:
        self._most = most
        self._proxies = proxies
        self._held: dict[str, dict[Holder, None]] = {}
        self._source_of: dict[Holder, str] = {}
        self._believed: set[str] = set()

    def __len__(self) -> int:
        """How many are taken."""
        return len(self._source_of)

    def has_most(self, address: str) -> bool:
        """Say whether nobody else has more than they who come would have."""
        own = len(self._held.get(self._source(address), ()))
        return own + 1 >= max(map(len, self._held.values()), default=0)

    def take(self, holder: Holder, address: str) -> Holder | None:
        """Take a place; gives who is to be hung up on for it, which may be who comes.

        Args:
            holder: who comes.
            address: from where; or as whom, where that is known.
        """
        source = self._source(address)
        self._held.setdefault(source, {})[holder] = None
        self._source_of[holder] = source
        if len(self._source_of) <= self._most:
            return None
        leaving = self._choose(holder, source)
        self.leave(leaving)
        return leaving

    def leave(self, holder: Holder) -> None:
        """Give a place back; nothing happens where that was done before."""
        source = self._source_of.pop(holder, None)
        if source is None:
            return
        self._held[source].pop(holder)
        if not self._held[source]:
            del self._held[source]
            self._believed.discard(source)

    def _choose(self, holder: Holder, source: str) -> Holder:
        others = [one for one in self._held if one not in self._believed]
        own = 0 if source in self._believed else len(self._held[source])
        fullest = max(others, key=lambda one: len(self._held[one]), default=source)
        if len(self._held[fullest]) <= own:
            fullest = source
        held = [one for one in self._held[fullest] if one is not holder]
        waiting = (one for one in held if one.is_waiting)
        longest = holder if fullest == source else held[0]
        return next(waiting, longest)

    def _source(self, address: str) -> str:
        """Give what counts as one address."""
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return address
        if isinstance(found, ipaddress.IPv6Address):
            if found.ipv4_mapped is None:
                site = ipaddress.ip_network((found, _IPV6_SITE_BITS), strict=False)
                return self._note(str(site), found)
            found = found.ipv4_mapped
        return self._note(str(found), found)

    def _note(self, source: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
        if any(address in network for network in self._proxies):
            source = f"proxy {source}"
            self._believed.add(source)
        return source
