"""Which group of an offer a device belongs to. Pure: the same answer on both sides.

A device's place in the fleet is a hash of its id and the group's salt, so that "10 percent"
names the same devices for as long as the salt stays, and others with another salt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from slotcast_schemas.messages.offer import Group, Offer


def place(device: str, salt: str) -> float:
    """Give a device's place in the fleet, uniform in [0, 100): SHA-256 of `salt NUL device`."""
    digest = hashlib.sha256(f"{salt}\0{device}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48 * 100


def matches(group: Group, device: str, tags: Mapping[str, str]) -> bool:
    """Say whether all that the group gives is true of the device.

    Args:
        group: what an offer says of a group.
        device: the device's id.
        tags: the device's own tags.
    """
    if any(tags.get(key) != value for key, value in group.tags.items()):
        return False
    if group.ids is not None and device not in group.ids:
        return False
    return group.percent is None or place(device, group.salt) < group.percent


def group_of(offer: Offer, device: str, tags: Mapping[str, str]) -> Group | None:
    """Give the first group, in the offer's order, that the device matches; None for none.

    Args:
        offer: what is offered, to which groups.
        device: the device's id.
        tags: the device's own tags.
    """
    return next((group for group in offer.groups if matches(group, device, tags)), None)
