"""What the API gives: the types from which its OpenAPI document is made, and no framework.

Commands that ask a remote page read these, too (`fleet.client`). Times are ISO 8601 in UTC, with
null for never; digests are hex digits. Texts of devices are data: whoever shows them escapes them.
What is given of devices is in `device_types`, of rollouts in `rollout_types`.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from slotcast_publisher.fleet.web.api.device_types import FiguresView, Time

# --- counts ---------------------------------------------------------------------------------------


class VersionCount(Struct, frozen=True, kw_only=True):
    """How many devices run a version of a model; an empty version for none."""

    model: str
    version: str
    devices: int


class StateCount(Struct, frozen=True, kw_only=True):
    """How many devices are in a state, and for which reason."""

    model: str
    state: str
    reason: str
    devices: int


class Counts(Struct, frozen=True, kw_only=True):
    """The devices that are asked for, counted. Nothing is known from before `since`."""

    devices: int
    online: int
    versions: tuple[VersionCount, ...]
    states: tuple[StateCount, ...]
    since: Time


class FleetCounts(Struct, frozen=True, kw_only=True):
    """The whole fleet in numbers.

    `unseen` are offline and were not heard of for 7 days; `shared_ids` are ids under which two
    devices were noticed.
    """

    devices: int
    online: int
    unseen: int
    shared_ids: int
    clocks_off: int
    models: tuple[str, ...]
    alarms: int
    since: Time


class TagCount(Struct, frozen=True, kw_only=True):
    """How many devices have a tag."""

    key: str
    value: str
    devices: int


class TagList(Struct, frozen=True, kw_only=True):
    """The most common tags."""

    tags: tuple[TagCount, ...]


# --- models and releases --------------------------------------------------------------------------


class FileOfRelease(Struct, frozen=True, kw_only=True):
    """A file of a release; `sha256` in hex digits."""

    path: str
    role: str
    size_bytes: int
    sha256: str


class PayloadView(Struct, frozen=True, kw_only=True):
    """One way to bring a release to a device; `base` names the release that a delta starts from."""

    sha256: str
    codec: str
    size_bytes: int
    base_sequence: int | None
    saved_share: float


class ReleaseView(Struct, frozen=True, kw_only=True):
    """A release as the repository holds it, and how many devices run it."""

    model: str
    version: str
    sequence: int
    image_size_bytes: int
    image_sha256: str
    offered: bool
    devices: int


class ReleaseDetail(ReleaseView, frozen=True, kw_only=True):
    """A release with its files, its payloads and what it does over all devices."""

    files: tuple[FileOfRelease, ...]
    payloads: tuple[PayloadView, ...]
    figures: FiguresView | None
    devices_with_figures: int


class ReleaseList(Struct, frozen=True, kw_only=True):
    """A model's releases, the newest first."""

    releases: tuple[ReleaseView, ...]


class ModelSummary(Struct, frozen=True, kw_only=True):
    """A model: what is offered, and what runs where."""

    model: str
    offered: str | None
    devices: int
    versions: tuple[VersionCount, ...]
    states: tuple[StateCount, ...]


class ModelList(Struct, frozen=True, kw_only=True):
    """The models of repository and fleet, by name."""

    models: tuple[ModelSummary, ...]


class FiguresList(Struct, frozen=True, kw_only=True):
    """What releases do over all devices, the newest first."""

    figures: tuple[FiguresView, ...]


# --- events and alarms ----------------------------------------------------------------------------


class EventView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened; `word` is a device's state, a word of a rollout's log, or `raised`
    or `cleared` of an alarm.
    """

    id: str
    kind: Literal["device", "rollout", "alarm"]
    at: Time
    word: str
    text: str = ""
    device: str = ""
    model: str = ""
    rollout: str = ""
    group: str = ""
    who: str = ""
    reason: str = ""
    version: str = ""


class EventPage(Struct, frozen=True, kw_only=True):
    """A part of what happened, the newest first; `next` is what `after` takes, null for the last.

    `stream_after` is where a stream of events goes on behind the newest there is.
    """

    events: tuple[EventView, ...]
    next: str | None
    stream_after: str


class AlarmView(Struct, frozen=True, kw_only=True):
    """What needs a person, or did; `subject` is `*` where it counts many."""

    kind: str
    subject: str
    stands: bool
    raised_at: Time
    updated_at: Time
    cleared_at: Time
    count: int
    subjects: tuple[str, ...]
    text: str
    names: dict[str, str]


class AlarmList(Struct, frozen=True, kw_only=True):
    """Alarms: those that stand, the oldest first, then those that ended last."""

    alarms: tuple[AlarmView, ...]
