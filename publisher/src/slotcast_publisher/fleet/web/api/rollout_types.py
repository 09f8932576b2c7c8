"""What the API gives and takes about rollouts; no framework, as `types`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from slotcast_publisher.fleet.rollout.plan import PLAN_MAX_BYTES
from slotcast_publisher.fleet.steering.overview_types import RolloutView
from slotcast_publisher.fleet.steering.requests import WHY_MAX_CHARS
from slotcast_schemas.decoders import make_decoders

Why = Annotated[str, Meta(max_length=WHY_MAX_CHARS)]
PlanText = Annotated[str, Meta(min_length=1, max_length=PLAN_MAX_BYTES)]
WishWord = Literal["pause", "resume", "retry", "cancel", "open_gate", "go_back"]


class RolloutList(Struct, frozen=True, kw_only=True):
    """Where rollouts stand, by name."""

    rollouts: tuple[RolloutView, ...]


class GroupOfRollout(Struct, frozen=True, kw_only=True):
    """A group of a rollout; `devices` is the address of the devices behind it."""

    name: str
    state: str
    members: int
    let_in: int
    committed: int
    failed: int
    under_way: int
    held: int
    expected: int
    unseen: int
    percent: float
    devices: str


class GroupList(Struct, frozen=True, kw_only=True):
    """The groups of a rollout, in the plan's order."""

    groups: tuple[GroupOfRollout, ...]


class DecidedGroup(Struct, frozen=True, kw_only=True):
    """What was decided about a group."""

    name: str
    state: str
    percent: float


class DecidedRollout(Struct, frozen=True, kw_only=True):
    """What was decided about a rollout, without anything that is counted."""

    name: str
    state: str
    attempt: int
    why: str
    groups: tuple[DecidedGroup, ...]
    requests: tuple[str, ...]


class LogLineView(Struct, frozen=True, kw_only=True):
    """A line of a rollout's log."""

    at_s: int
    model: str
    rollout: str
    group: str
    word: str
    text: str
    who: str


class RolloutLog(Struct, frozen=True, kw_only=True):
    """The last lines of a rollout's log, the oldest first."""

    rollout: str
    lines: tuple[LogLineView, ...]


class PlanBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plan, as the TOML text that `slotcast rollout plan` begins."""

    plan: PlanText


class WishBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person asks of a rollout.

    Attributes:
        wish: what is asked for.
        why: for the log.
        group: whose gate to open.
        to: version to go back to, signed beforehand; the plan's unless given.
        wait_s: the seconds to wait until it is carried out.
    """

    wish: WishWord
    why: Why = ""
    group: Annotated[str, Meta(max_length=128)] = ""
    to: Annotated[str, Meta(max_length=128)] = ""
    wait_s: Annotated[float, Meta(ge=0, le=30)] = 5.0


class Asked(Struct, frozen=True, kw_only=True):
    """What became of what a person asked for: `waiting` until whoever drives has carried it out."""

    id: str
    rollout: str
    wish: str
    outcome: Literal["waiting", "done", "refused"]
    answer: str = ""
    to: str | None = None
    new: bool = True


class GroupSize(Struct, frozen=True, kw_only=True):
    """How many devices that are known are in a group of a plan."""

    name: str
    devices: int


class PlanCheck(Struct, frozen=True, kw_only=True):
    """Whether a plan can be started as things are: it can where no problem is named."""

    name: str
    model: str
    versions: tuple[str, ...]
    problems: tuple[str, ...]
    groups: tuple[GroupSize, ...]


make_decoders(LogLineView)
