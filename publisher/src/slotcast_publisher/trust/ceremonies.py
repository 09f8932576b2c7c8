"""Key ceremonies: who signs for which role is listed, added, rotated and revoked.

Each ends in metadata that a client with any earlier root follows: root N+1 is signed by the keys
of N and of N+1, and what a removed key alone vouched for is signed again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec
from securesystemslib.signer import Key

from slotcast_publisher.errors import NotFound
from slotcast_publisher.trust.keys import KeyRing
from slotcast_publisher.trust.roles import ONLINE, Roles
from slotcast_schemas.errors import UsageError

ONLINE_ALIAS = "online"
"""The roles that share the online key, changed together."""


class KeyState(msgspec.Struct, frozen=True, kw_only=True):
    """One key of a role."""

    keyid: str
    name: str
    where: str
    is_reachable: bool


class RoleState(msgspec.Struct, frozen=True, kw_only=True):
    """Who signs for a role, and until when what they signed counts."""

    role: str
    threshold: int
    keys: tuple[KeyState, ...]
    version: int | None
    expires: datetime | None


def list_roles(roles: Roles, ring: KeyRing) -> list[RoleState]:
    """Say who signs for what."""
    signed = roles.signed_names()
    found = []
    for name in roles.names():
        role = roles.role_of(name)
        found.append(
            RoleState(
                role=name,
                threshold=role.threshold,
                keys=tuple(_state(ring, keyid) for keyid in role.keyids),
                version=roles.version(name) if name in signed else None,
                expires=roles.expires(name) if name in signed else None,
            )
        )
    return found


def rotate(roles: Roles, name: str, make_key: Callable[[str], Key]) -> Key:
    """Replace all keys of a role by a new one.

    Args:
        roles: the repository's roles.
        name: a role, or `online` for all roles of the online key.
        make_key: makes or registers the new key, given a name for it.

    Raises:
        NotFound: no such role.
        KeyUnavailable: too few of the keys that must sign can be used from here.
    """
    names = _names(roles, name)
    thresholds = {each: roles.role_of(each).threshold for each in names}
    high = [each for each, threshold in thresholds.items() if threshold > 1]
    if high:
        raise UsageError(
            f"role {high[0]} needs {thresholds[high[0]]} keys: add new ones with `keys add`,"
            " then revoke the old ones with `keys revoke`"
        )
    key = make_key(name)
    roles.change_keys(names, lambda _ids, threshold: ([key], threshold))
    return key


def add(
    roles: Roles, name: str, make_key: Callable[[str], Key], threshold: int | None = None
) -> Key:
    """Let one more key sign for a role; with `threshold`, change how many must.

    Raises:
        NotFound: no such role.
        KeyUnavailable: too few of the keys that must sign can be used from here.
    """
    names = _names(roles, name)
    key = make_key(name)
    roles.change_keys(
        names,
        lambda ids, before: ([*map(roles.key, ids), key], threshold or before),
    )
    return key


def revoke(roles: Roles, ring: KeyRing, keyid: str, threshold: int | None = None) -> list[str]:
    """Let a key sign for nothing any more; names the roles that it signed for.

    Args:
        roles: the repository's roles.
        ring: the key ring.
        keyid: the key's id, or an unambiguous beginning of it.
        threshold: how many must sign from now on; as before unless given.

    Raises:
        NotFound: no role uses such a key.
        Conflict: a role would have too few keys left: add or rotate first.
        KeyUnavailable: too few of the keys that must sign can be used from here.
    """
    whole = _whole(roles, keyid)
    names = [name for name in roles.names() if whole in roles.role_of(name).keyids]
    roles.change_keys(
        names,
        lambda ids, before: ([roles.key(k) for k in ids if k != whole], threshold or before),
    )
    ring.forget(whole)
    return names


def _names(roles: Roles, name: str) -> list[str]:
    if name == ONLINE_ALIAS:
        return list(ONLINE)
    roles.role_of(name)
    return [name]


def _whole(roles: Roles, keyid: str) -> str:
    used = {each for name in roles.names() for each in roles.role_of(name).keyids}
    matching = sorted(each for each in used if keyid and each.startswith(keyid))
    if not matching:
        raise NotFound(f"no role uses a key {keyid!r}; see `slotcast keys list`")
    if len(matching) > 1:
        raise UsageError(f"{keyid!r} may be {', '.join(k[:12] for k in matching)}: give more of it")
    return matching[0]


def _state(ring: KeyRing, keyid: str) -> KeyState:
    entry = ring.entries.get(keyid)
    return KeyState(
        keyid=keyid,
        name=entry.name if entry else "unknown",
        where=entry.uri if entry else "unknown",
        is_reachable=ring.can_reach(keyid),
    )
