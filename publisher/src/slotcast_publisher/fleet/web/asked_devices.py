"""Which devices an address asks for: the same words in the API and on the fleet's screen.

How they are found is for `database.listing` to say.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Final

from litestar.params import QueryParameter

from slotcast_publisher.fleet.database.listing import DevicesWanted
from slotcast_publisher.fleet.database.typed_state import read_state
from slotcast_publisher.fleet.database.typed_time import TIME_FORM, read_time
from slotcast_schemas.errors import UsageError

WORDS_MAX: Final = 8
"""The most words of a search, and the most tags."""
SEARCH_MAX_CHARS: Final = 200
"""The most characters of a search."""


def _text(description: str, longest: int = 128) -> Any:
    return QueryParameter(max_length=longest, description=description)


Search = Annotated[str, _text("Words of ids, and tags as key=value.", SEARCH_MAX_CHARS)]
Model = Annotated[str | None, _text("Devices with this model.")]
Version = Annotated[str | None, _text("Where this version runs.")]
State = Annotated[
    str | None,
    QueryParameter(name="state", max_length=128, description="In this state, such as FAILED."),
]
Reason = Annotated[str | None, _text("For this reason, such as too_slow.")]
Tags = Annotated[
    list[str] | None,
    QueryParameter(
        max_items=WORDS_MAX, name="tag", description="key=value; more of them: all must be there."
    ),
]
Online = Annotated[bool | None, QueryParameter(description="Connected now, or not.")]
Seen = Annotated[str | None, _text(f"Heard since: {TIME_FORM}.", 40)]
Unseen = Annotated[str | None, _text(f"Not heard since: {TIME_FORM}.", 40)]
Rollout = Annotated[str | None, _text("Asked for by this rollout.")]
Group = Annotated[str | None, _text("In this group of a rollout.")]
SharesId = Annotated[bool | None, QueryParameter(description="Two devices came under its id.")]


class AskedDevices:
    """What an address asks for.

    Args:
        wanted: but for times.
        seen_since: as it was typed.
        unseen_since: as it was typed.

    Raises:
        UsageError: a time that is none.
    """

    def __init__(
        self, wanted: DevicesWanted, seen_since: str | None, unseen_since: str | None
    ) -> None:
        self._wanted = wanted
        self._seen_since = seen_since
        self._unseen_since = unseen_since

    def at(self, now_s: float) -> DevicesWanted:
        """Give which devices that are, now."""
        return replace(
            self._wanted,
            seen_since_s=time_s(self._seen_since, "seen_since", now_s),
            unseen_since_s=time_s(self._unseen_since, "unseen_since", now_s),
        )


def provide_asked(
    q: Search = "",
    model: Model = None,
    version: Version = None,
    in_state: State = None,
    reason: Reason = None,
    tags: Tags = None,
    online: Online = None,
    seen_since: Seen = None,
    unseen_since: Unseen = None,
    rollout: Rollout = None,
    group: Group = None,
    shares_id: SharesId = None,
) -> AskedDevices:
    """Take the parameters of an address; they are read when the time is known.

    Args:
        q: words of ids, and tags.
        model: of the devices.
        version: that runs.
        in_state: of the model.
        reason: of the state.
        tags: as key=value.
        online: connected now.
        seen_since: a time or a time span.
        unseen_since: likewise.
        rollout: by which the model was asked for.
        group: of the rollout.
        shares_id: two devices came under one id.
    """
    words, found = _search(q)
    for text in tags or ():
        found |= _tag(text)
    return AskedDevices(
        DevicesWanted(
            model=model or None,
            version=version or None,
            state=read_state(in_state, "state") if in_state else None,
            reason=reason or None,
            tags=found,
            online=online,
            words=words,
            deployment=rollout or None,
            group=group or None,
            shares_id=shares_id,
        ),
        seen_since,
        unseen_since,
    )


def time_s(text: str | None, name: str, now_s: float) -> int | None:
    """Read a time span, or a time; None for none.

    Args:
        text: as it was typed.
        name: of the parameter.
        now_s: the time, in seconds since 1970.

    Raises:
        UsageError: it is neither.
    """
    return read_time(text, name)(now_s) if text else None


def _search(text: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """Take a search apart: words of ids, and tags."""
    parts = text.split()
    if len(parts) > WORDS_MAX:
        raise UsageError(f"q: expected at most {WORDS_MAX} words, got {len(parts)}")
    tags: dict[str, str] = {}
    for part in parts:
        if "=" in part:
            tags |= _tag(part)
    return tuple(part for part in parts if "=" not in part), tags


def _tag(text: str) -> dict[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"tag: expected key=value, got {text!r:.80}")
    return {key: value}
