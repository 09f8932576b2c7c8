"""What the list of devices is asked for, as it stands in an address: so every filter can be kept.

One field finds an id, a tag (`site=plant-7`), a version, a state or a reason; the rest are fields
of their own. What cannot be meant is said, and nothing is guessed. Pure.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode

from slotcast_publisher.fleet.database.listing import DevicesWanted
from slotcast_publisher.fleet.database.unseen_devices import unseen_since_s
from slotcast_schemas.reasons import Reason
from slotcast_schemas.states import State

QUERY_MAX_CHARS: Final = 200
"""The most characters of the search field that count."""
TERMS_MAX: Final = 8
"""The most words of the search field that count."""
_REASONS: Final = frozenset(map(str, Reason))
_STATES: Final = frozenset(map(str, State))
_VERSION: Final = re.compile(r"v?\d+(\.\d+)+\S*\Z")
PRESENCES: Final = ("online", "offline", "not-seen")
"""What can be asked of a device's presence."""
SHARED_ID: Final = "shared-id"
"""What can be asked of a device's notes: two devices use its id."""
_PRESENCE_OPTIONS: Final = {
    "online": ("--online",),
    "offline": ("--offline", "--seen-since", "7d"),
    "not-seen": ("--offline", "--unseen-since", "7d"),
}
"""What `slotcast fleet` is asked by for the same devices."""
FIELDS: Final = (
    *("q", "model", "version", "state", "reason", "presence", "tag"),
    *("rollout", "group", "note"),
)
"""What stands in an address."""


@dataclass(frozen=True, slots=True)
class DeviceFilter:
    """A filter, as it stands in an address; empty texts stand for any.

    Attributes:
        q: of the search field.
        tag: KEY=VALUE.
        rollout: whose offer was heard last.
        group: of that rollout.
        note: `shared-id` for ids that two devices use.
    """

    q: str = ""
    model: str = ""
    version: str = ""
    state: str = ""
    reason: str = ""
    presence: str = ""
    tag: str = ""
    rollout: str = ""
    group: str = ""
    note: str = ""

    @property
    def is_any(self) -> bool:
        """Whether every device is asked for."""
        return not any(getattr(self, name) for name in FIELDS)

    def address(self, **changes: str) -> str:
        """Give the address of the list, with some fields changed."""
        fields = {name: getattr(self, name) for name in FIELDS} | changes
        query = urlencode({name: value for name, value in fields.items() if value})
        return f"/devices?{query}" if query else "/devices"

    def words(self) -> str:
        """Say what is asked for, in words."""
        parts = [self.q] if self.q else []
        parts += [f"{name}={getattr(self, name)}" for name in FIELDS[1:] if getattr(self, name)]
        return ", ".join(parts)

    def command(self, repo: str) -> str:
        """Give the command that lists the same devices.

        Args:
            repo: the repository's folder, as commands name it.
        """
        meant = read_filter(self)
        options = {
            "--model": meant.model,
            "--version": meant.version,
            "--state": meant.state,
            "--reason": meant.reason,
            "--rollout": self.rollout,
            "--group": self.group,
        }
        words = ["slotcast", "fleet", repo]
        for name, value in options.items():
            words += [name, value] if value else []
        for key, value in meant.tags.items():
            words += ["--tag", f"{key}={value}"]
        for word in meant.words:
            words += ["--search", word] if "=" not in word else []
        words += _PRESENCE_OPTIONS.get(self.presence, ())
        words += ["--shared-id"] if self.note == SHARED_ID else []
        return " ".join(shlex.quote(word) for word in words)


@dataclass(frozen=True, slots=True)
class Meant:
    """What a filter means, word by word.

    Attributes:
        words: each is in the id.
        problems: what cannot be meant, a sentence each.
    """

    words: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    version: str = ""
    state: str = ""
    reason: str = ""
    problems: tuple[str, ...] = ()


def filter_of(given: Mapping[str, str]) -> DeviceFilter:
    """Read a filter from the fields of an address; others are left out, and all are bounded.

    Words that the page has a list of are understood as people write them: in capitals or not, and
    `OFFLINE`, which stands beside the states of a device, as a state, too.
    """
    found = {name: given[name].strip()[:QUERY_MAX_CHARS] for name in FIELDS if given.get(name)}
    for name, read in _SPELLINGS.items():
        found |= {name: read(found[name])} if name in found else {}
    if (as_presence := _presence(found.get("state", ""))) in PRESENCES:
        del found["state"]
        found.setdefault("presence", as_presence)
    return DeviceFilter(**found)


def _presence(text: str) -> str:
    return text.lower().replace(" ", "-").replace("_", "-")


_SPELLINGS: Final[Mapping[str, Callable[[str], str]]] = {
    "state": str.upper,
    "reason": lambda text: text.lower().replace(" ", "_"),
    "presence": _presence,
    "note": str.lower,
}
"""How a word of a field is written, whichever way it was typed."""


def read_filter(asked: DeviceFilter) -> Meant:
    """Say what a filter means: a word with = is a tag, one that names a state is one, and so on."""
    found = {"version": asked.version, "state": asked.state.upper(), "reason": asked.reason}
    words: list[str] = []
    tags: dict[str, str] = {}
    for term in asked.q.split()[:TERMS_MAX]:
        kind, value = _kind_of(term)
        if kind == "tag":
            tags |= _tag(value)
        elif kind:
            found[kind] = value
        else:
            words.append(value)
    tags |= _tag(asked.tag)
    problems = tuple(_problems(asked, found["state"], found["reason"]))
    return Meant(tuple(words), tags, asked.model, **found, problems=problems)


def _kind_of(term: str) -> tuple[str, str]:
    """Say what a word is, and what it says; nothing for a part of an id."""
    if _tag(term):
        return "tag", term
    if term.upper() in _STATES:
        return "state", term.upper()
    if term in _REASONS:
        return "reason", term
    if _VERSION.match(term):
        return "version", term.removeprefix("v")
    return "", term


def _tag(text: str) -> dict[str, str]:
    key, _, value = text.partition("=")
    return {key: value} if key and value else {}


def _problems(asked: DeviceFilter, state: str, reason: str) -> Iterator[str]:
    if len(asked.q.split()) > TERMS_MAX:
        yield f"Only the first {TERMS_MAX} words count."
    if asked.tag and not _tag(asked.tag):
        yield "A tag is KEY=VALUE, such as site=plant-7."
    if state and state not in _STATES:
        yield f"No state is named {state}."
    if reason and reason not in _REASONS:
        yield f"No reason named {reason} is known here."  # a newer device may have it
    if asked.note and asked.note != SHARED_ID:
        yield f"Of notes, only {SHARED_ID} is a filter."
    if asked.presence and asked.presence not in PRESENCES:
        yield f"Presence is one of {', '.join(PRESENCES)}."


def wanted_of(asked: DeviceFilter, now_s: float) -> DevicesWanted:
    """Give what the database is asked for.

    Args:
        asked: the filter.
        now_s: seconds since 1970.
    """
    meant = read_filter(asked)
    since_s = unseen_since_s(now_s)
    is_online = {"online": True, "offline": False, "not-seen": False}.get(asked.presence)
    return DevicesWanted(
        words=meant.words,
        tags=meant.tags,
        model=meant.model or None,
        version=meant.version or None,
        state=meant.state or None,
        reason=meant.reason or None,
        online=is_online,
        unseen_since_s=since_s if asked.presence == "not-seen" else None,
        seen_since_s=since_s if asked.presence == "offline" else None,
        deployment=asked.rollout or None,
        group=asked.group or None,
        shares_id=True if asked.note == SHARED_ID else None,
    )
