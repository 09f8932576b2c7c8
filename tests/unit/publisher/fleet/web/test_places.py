"""Who gives way where all places are taken."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from slotcast_publisher.fleet.web.places import Places

PROXY = (ipaddress.ip_network("10.0.0.0/24"),)


@dataclass(eq=False)
class Client:
    name: str
    is_waiting: bool = True


def take(places: Places, address: str, count: int = 1, *, is_waiting: bool = True) -> list[str]:
    """Connect so many clients; gives who had to leave."""
    left = (places.take(Client(f"{address} {n}", is_waiting), address) for n in range(count))
    return [one.name for one in left if isinstance(one, Client)]


def test_one_address_may_have_all_places_until_somebody_else_comes() -> None:
    places = Places(10)
    assert take(places, "192.0.2.1", 10) == []
    assert take(places, "198.51.100.1", 3) == ["192.0.2.1 0", "192.0.2.1 1", "192.0.2.1 2"]


def test_whoever_has_most_gains_nothing_by_coming_again() -> None:
    places = Places(10)
    take(places, "192.0.2.1", 8)
    take(places, "198.51.100.1", 2)
    assert all(name.startswith("192.0.2.1 ") for name in take(places, "192.0.2.1", 50))
    assert take(places, "203.0.113.1") != []
    assert all(name.startswith("192.0.2.1 ") for name in take(places, "203.0.113.1", 2))


def test_who_waits_gives_way_before_who_is_answered() -> None:
    places = Places(3)
    take(places, "192.0.2.1", 2, is_waiting=False)
    take(places, "192.0.2.1")
    assert take(places, "198.51.100.1") == ["192.0.2.1 0"]
    places = Places(3)
    busy, idle = Client("busy", is_waiting=False), Client("idle")
    places.take(busy, "192.0.2.1")
    places.take(idle, "192.0.2.1")
    take(places, "192.0.2.1", is_waiting=False)
    assert take(places, "198.51.100.1") == ["idle"]


def test_of_one_full_address_who_comes_is_refused_where_all_are_answered() -> None:
    places = Places(2)
    take(places, "192.0.2.1", 2, is_waiting=False)
    assert take(places, "192.0.2.1") == ["192.0.2.1 0"]


def test_who_left_has_no_place() -> None:
    places, client = Places(1), Client("one")
    places.take(client, "192.0.2.1")
    places.leave(client)
    places.leave(client)
    assert take(places, "192.0.2.1") == []


def test_the_addresses_of_one_site_are_one() -> None:
    places = Places(4)
    take(places, "2001:db8::1", 2)
    take(places, "2001:db8::ffff:1", 1)
    take(places, "2001:db8:1::1")
    assert take(places, "198.51.100.1") == ["2001:db8::1 0"]
    places = Places(4)
    take(places, "::ffff:192.0.2.1", 2)
    take(places, "192.0.2.1", 1)
    take(places, "fe80::1%eth0")
    assert take(places, "198.51.100.1") == ["::ffff:192.0.2.1 0"]


def test_many_come_through_a_proxy_and_give_way_to_nobody_else() -> None:
    places = Places(4, PROXY)
    take(places, "10.0.0.7", 3)
    take(places, "192.0.2.1")
    assert take(places, "198.51.100.1") == ["198.51.100.1 0"]
    assert take(places, "10.0.0.7") == ["192.0.2.1 0"]
    assert take(places, "10.0.0.7") == ["10.0.0.7 0"]
