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
from slotcast_publisher.trust.repository_roles import RepositoryRoles
from slotcast_publisher.trust.role_reading import ONLINE, TOP_LEVEL, delegations_of
from slotcast_publisher.trust.role_signing import Roles
from slotcast_schemas import limits
from slotcast_schemas.errors import UsageError
from slotcast_schemas.floor_word import ROOM, FloorWord
from slotcast_schemas.plural import several
from slotcast_schemas.trust import release_role

ONLINE_ALIAS = "online"
"""The name that stands for all roles of the online key, whose keys are changed together."""

Signers = Mapping[str, tuple[list[Key], int]]
"""The keys of each role by its name, and how many of them must sign."""


Edit = Callable[[list[Key], int], tuple[list[Key], int]]
"""From a role's keys, and how many of them must sign, to the new ones."""


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


def list_roles(roles: RepositoryRoles, ring: KeyRing) -> list[RoleState]:
    """Say who signs for what; of a role that each model has, the one that ends first."""
    in_use = roles.in_use()
    found = []
    for name in roles.names():
        role = roles.role_of(name)
        sets = [roles.sets_of(name)[0]] if name.startswith(release_role("")) else in_use
        first = min(
            (each for each in sets if each.newest_version(name)),
            key=lambda each: each.expires(name),
            default=None,
        )
        found.append(
            RoleState(
                role=name,
                threshold=role.threshold,
                keys=tuple(_state(ring, keyid) for keyid in role.keyids),
                version=None if first is None else first.version(name),
                expires=None if first is None else first.expires(name),
            )
        )
    return found


def rotate_keys(roles: RepositoryRoles, name: str, make_key: Callable[[str], Key]) -> Key:
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
    _change_keys(roles, names, lambda _keys, threshold: ([key], threshold))
    return key


def add_key(
    roles: RepositoryRoles, name: str, make_key: Callable[[str], Key], threshold: int | None = None
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
        lambda keys, before: ([*keys, key], before if threshold is None else threshold),
    )
    return key


def revoke_key(
    roles: RepositoryRoles, ring: KeyRing, keyid: str, threshold: int | None = None
) -> list[str]:
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
    names = [name for name in roles.names() if whole in _keyids(roles, name)]
    _change_keys(
        roles,
        names,
        lambda keys, before: (
            [k for k in keys if k.keyid != whole],
            before if threshold is None else threshold,
        ),
    )
    ring.forget(whole)
    return names


def move_floor(
    roles: RepositoryRoles, model: str, sequence: int | None = None, most: int | None = None
) -> FloorWord:
    """Sign which sequences of a model count: devices whose floor is above them come back.

    Args:
        roles: the repository's roles.
        model: the model's name.
        sequence: the floor of those devices; the highest that is signed here unless given.
        most: the highest sequence that counts; a million above the floor unless given.

    Raises:
        NotFound: the model has no roles.
        UsageError: these are no sequences that leave room for a release.
        KeyUnavailable: the targets or the online key cannot be used from here.
    """
    own = roles.of(model)
    if not own.models():
        raise NotFound(f"no model {model!r}; there are {', '.join(roles.models()) or 'none'}")
    floor = own.highest_sequence(model) if sequence is None else sequence
    bound = floor + ROOM if most is None else most
    if not floor < bound <= limits.SAFE_INTEGER_MAX:
        raise UsageError(
            f"expected room above the floor, up to {limits.SAFE_INTEGER_MAX}: got a floor of"
            f" {floor} and a bound of {bound}; say with --sequence which release of yours was the"
            " last that is not the thief's"
        )
    before, root_version = own.floor_word(model), roles.root().signed.version
    epoch = int(roles.signing_time().timestamp())
    if before is not None and before.root_version == root_version:
        epoch = max(epoch, before.epoch + 1)
    word = FloorWord(root_version=root_version, epoch=epoch, sequence=floor, sequence_max=bound)
    own.move_floor(model, word)
    return word


def _change_keys(roles: RepositoryRoles, names: Sequence[str], edit: Edit) -> None:
    """Change who signs for the named roles; root goes from N to N+1, signed by both.

    Args:
        roles: the repository's roles.
        names: the roles to change; one that each model has is changed for all of them.
        edit: from a role's keys and threshold to its new keys and threshold.

    Raises:
        Conflict: a role would have fewer keys than must sign, one key twice, or one that signs on
            the other side of what is kept offline.
        KeyUnavailable: too few of the keys that must sign can be used from here.
    """
    top = [name for name in names if name in TOP_LEVEL]
    below: dict[Roles, list[str]] = {}
    for name in names:
        for each in [] if name in TOP_LEVEL else roles.sets_of(name):
            below.setdefault(each, []).append(name)
    wanted_top = _edited(roles.shared, top, edit)
    wanted_below = {each: _edited(each, changed, edit) for each, changed in below.items()}
    for wanted in (wanted_top, *wanted_below.values()):
        for name, (keys, _) in wanted.items():
            if not _keyids(roles, name).issuperset(key.keyid for key in keys):
                _check_keys_apart(roles, name, keys)
    _change_root(roles.shared, wanted_top)
    for each, wanted in wanted_below.items():
        _change_delegations(each, wanted)
    for each in roles.all() if top else below:
        each.renew()


def _edited(roles: Roles, names: Iterable[str], edit: Edit) -> Signers:
    """Give the new keys of those of a set's roles that change.

    Raises:
        Conflict: a role would have fewer keys than must sign.
    """
    wanted = {}
    for name in names:
        keys, threshold = edit(*roles.keys_of(name))
        if threshold < 1:
            raise UsageError(f"role {name}: at least one key must sign, got {threshold}")
        if len({key.keyid for key in keys}) < threshold:
            raise Conflict(
                f"role {name}: {several(len(keys), 'key')} cannot reach its threshold of"
                f" {threshold}; add or rotate a key first"
            )
        wanted[name] = (keys, threshold)
    return wanted


def _check_keys_apart(roles: RepositoryRoles, name: str, keys: Sequence[Key]) -> None:
    """See that keys are as many as they are counted, and that no key is online and offline.

    One RSA key has an id for each way that it signs, and alone would be two of two. What the online
    key signs and what is signed offline must not be signed by one thief.

    Raises:
        Conflict: they are not.
    """
    publics = {key.keyid: _public_of(key) for key in keys}
    if len(set(publics.values())) < len(publics):
        raise Conflict(
            f"role {name}: two of its keys would be one key that signs in two ways, and be counted"
            " as two: give another key"
        )
    is_online = name in ONLINE
    for other in roles.names():
        if (other in ONLINE) is not is_online:
            for each in [roles.shared] if other in TOP_LEVEL else roles.sets_of(other):
                theirs, _ = each.keys_of(other)
                if set(map(_public_of, theirs)) & set(publics.values()):
                    raise Conflict(
                        f"role {name}: this key signs for {other}, and who stole the online key"
                        " must not have one that is kept offline: give another key"
                    )


def _public_of(key: Key) -> str:
    """Give what is the same of a key in whichever way it signs."""
    return str(key.keyval.get("public"))


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


def _names(roles: RepositoryRoles, name: str) -> list[str]:
    if name == ONLINE_ALIAS:
        return list(ONLINE)
    roles.role_of(name)
    return [name]


def _keyids(roles: RepositoryRoles, name: str) -> set[str]:
    """Give the keys of a role; while a ceremony is half done, those of each set."""
    sets = [roles.shared] if name in TOP_LEVEL else roles.sets_of(name)
    return {keyid for each in sets for keyid in each.role_of(name).keyids}


def _whole_keyid(roles: RepositoryRoles, keyid: str) -> str:
    used = {each for name in roles.names() for each in _keyids(roles, name)}
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
