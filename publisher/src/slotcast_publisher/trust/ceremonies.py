"""Key ceremonies: who signs for which role is listed, added, rotated and revoked.

Each ends in metadata that a client with any earlier root follows: root N+1 is signed by the keys
of N and of N+1, and what a removed key alone vouched for is signed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

import msgspec
from securesystemslib.signer import Key
from tuf.api.metadata import Role, Root, Targets

from slotcast_publisher.errors import Conflict, NotFound
from slotcast_publisher.trust.keys import KeyRing
from slotcast_publisher.trust.role_reading import (
    ONLINE,
    TOP_LEVEL,
    SignedRoles,
    delegations_of,
)
from slotcast_publisher.trust.role_signing import Roles
from slotcast_schemas.errors import UsageError

ONLINE_ALIAS = "online"
"""The name that stands for all roles of the online key, whose keys are changed together."""

Signers = Mapping[str, tuple[list[Key], int]]
"""The keys of each role by its name, and how many of them must sign."""


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


def list_roles(roles: SignedRoles, ring: KeyRing) -> list[RoleState]:
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


def rotate_keys(roles: Roles, name: str, make_key: Callable[[str], Key]) -> Key:
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
    _change_keys(roles, names, lambda _ids, threshold: ([key], threshold))
    return key


def add_key(
    roles: Roles, name: str, make_key: Callable[[str], Key], threshold: int | None = None
) -> Key:
    """Let one more key sign for a role.

    Args:
        roles: the repository's roles.
        name: a role, or `online` for all roles of the online key.
        make_key: makes or registers the new key, given a name for it.
        threshold: how many must sign from now on; as before unless given.

    Raises:
        NotFound: no such role.
        KeyUnavailable: too few of the keys that must sign can be used from here.
    """
    names = _names(roles, name)
    key = make_key(name)
    _change_keys(
        roles,
        names,
        lambda ids, before: ([*map(roles.public_key, ids), key], threshold or before),
    )
    return key


def revoke_key(roles: Roles, ring: KeyRing, keyid: str, threshold: int | None = None) -> list[str]:
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
    whole = _whole_keyid(roles, keyid)
    names = [name for name in roles.names() if whole in roles.role_of(name).keyids]
    _change_keys(
        roles,
        names,
        lambda ids, before: ([roles.public_key(k) for k in ids if k != whole], threshold or before),
    )
    ring.forget(whole)
    return names


def _change_keys(
    roles: Roles, names: Iterable[str], edit: Callable[[list[str], int], tuple[list[Key], int]]
) -> None:
    """Change who signs for the named roles; root goes from N to N+1, signed by both.

    Args:
        roles: the repository's roles.
        names: the roles to change.
        edit: from a role's key ids and threshold to its new keys and threshold.

    Raises:
        Conflict: a role would have fewer keys than must sign.
        KeyUnavailable: too few of the keys that must sign can be used from here.
    """
    present = {name: roles.role_of(name) for name in names}
    wanted = {name: edit(list(role.keyids), role.threshold) for name, role in present.items()}
    for name, (keys, threshold) in wanted.items():
        if len({key.keyid for key in keys}) < threshold:
            raise Conflict(
                f"role {name}: {len(keys)} keys cannot reach its threshold of {threshold};"
                " add or rotate a key first"
            )
    _change_root(roles, {n: w for n, w in wanted.items() if n in TOP_LEVEL})
    _change_delegations(roles, {n: w for n, w in wanted.items() if n not in TOP_LEVEL})
    roles.renew()


def _change_root(roles: Roles, wanted: Signers) -> None:
    if not wanted:
        return
    root = roles.root()
    before = root.signed.roles[Root.type]
    old = Role(list(before.keyids), before.threshold)
    for name, (keys, threshold) in wanted.items():
        _replace_keys(root.signed, name, keys)
        root.signed.roles[name].threshold = threshold
    roles.sign_root(root, old)


def _change_delegations(roles: Roles, wanted: Signers) -> None:
    if not wanted:
        return
    top = roles.targets()
    delegated = delegations_of(top.signed).roles or {}
    for name, (keys, threshold) in wanted.items():
        _replace_keys(top.signed, name, keys)
        delegated[name].threshold = threshold
    roles.sign_next(Targets.type, top)


def _replace_keys(parent: Root | Targets, name: str, keys: Sequence[Key]) -> None:
    for keyid in list(parent.get_delegated_role(name).keyids):
        parent.revoke_key(keyid, name)
    for key in keys:
        parent.add_key(key, name)


def _names(roles: SignedRoles, name: str) -> list[str]:
    if name == ONLINE_ALIAS:
        return list(ONLINE)
    roles.role_of(name)
    return [name]


def _whole_keyid(roles: SignedRoles, keyid: str) -> str:
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
