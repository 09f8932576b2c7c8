"""The plan of a rollout: a TOML file that a person writes, checks and keeps in git.

The keys, their bounds, defaults and meanings are those of the structs here; docs/fleet.md has them
as a table (`python tools/key_tables.py`). What no single key can say is checked by `check`.
What comes of the keys is decided by `group_progress`, `judge` and `ramp`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from slotcast_schemas import limits as bounds
from slotcast_schemas.bounded_toml import read_toml
from slotcast_schemas.decode_errors import UNDECODABLE
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.describe import NONE, keys_of
from slotcast_schemas.errors import UsageError
from slotcast_schemas.explain import convert
from slotcast_schemas.fields import DeviceId, ModelName, Ratio, Share, Tags, Version
from slotcast_schemas.update_windows import parse_windows

GROUPS_MAX: Final = 30
"""The most groups of a plan: each may be two of an offer, one let in and one not yet."""
STONES_MAX: Final = 8
"""The most releases on the way to the one that is rolled out."""
PLAN_MAX_BYTES: Final = 256 * 1024
"""The most bytes of a plan: 30 groups of 500 ids fit."""

GROUPS_MAX_BYTES: Final = 16 * 1024
"""The most bytes of tags and ids of all groups together. A group may stand in an offer twice, and
an offer has 64 KiB, for payloads too."""

NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z"
"""What the name of a rollout, or of a group, may be: it stands in file names and in statuses."""

Name = Annotated[str, Meta(pattern=NAME_PATTERN, max_length=48)]
"""The name of a rollout or of a group."""
Text = Annotated[str, Meta(min_length=1, max_length=500)]
"""One word of a command."""
WaitS = Annotated[float, Meta(ge=0, le=90 * 86400)]
"""A time to wait in seconds, of ninety days at most."""
AtLeastOne = Annotated[int, Meta(ge=1, le=bounds.SAFE_INTEGER_MAX)]
"""A number of devices, one at least."""
Percent = Annotated[float, Meta(ge=0.001, le=100)]
"""A part of the devices in percent, and never nothing."""
Windows = Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=64)]
"""Times of the week, as text."""
Steps = Annotated[tuple[Percent, ...], Meta(min_length=1, max_length=32)]
"""Percent of a group, rising."""
OnBroken = Literal["pause", "cancel", "go_back"]
"""What a broken limit can do."""


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file; a key that it does not know is refused."""


class Gate(_File, frozen=True, kw_only=True):
    """Who has to agree before a group passes; all that are given, and nobody if none is."""

    person: Annotated[bool, Meta(description="A person has to open it.")] = False
    command: Annotated[
        tuple[Text, ...],
        Meta(
            max_length=32,
            description="A command and its arguments, without a shell: exit code 0 is yes, 75 is"
            " not yet, any other is no.",
        ),
    ] = ()
    url: Annotated[
        Annotated[str, Meta(max_length=2000)] | None,
        Meta(
            description="An address that is asked by GET: 200 is yes, 202 is not yet, 403 or 409 is"
            " no; anything else is asked again.",
        ),
    ] = None
    again_s: Annotated[
        float,
        Meta(ge=1, le=86400, description="After which command and URL are asked again."),
    ] = 60.0

    @property
    def kinds(self) -> tuple[str, ...]:
        """Who has to agree, in words for programs."""
        given = (("person", self.person), ("command", bool(self.command)), ("url", self.url))
        return tuple(kind for kind, is_given in given if is_given)


class Limits(_File, frozen=True, kw_only=True):
    """What a release may do to devices, judged in each group by itself, with confidence."""

    confidence: Annotated[
        float,
        Meta(
            ge=0.5,
            le=0.9999,
            description="Of the two-sided intervals by which limits are judged. A limit is broken"
            " where even the lower end is above it: at 0.95, by chance once in forty.",
        ),
    ] = 0.95
    stop_after_failures: Annotated[
        AtLeastOne | None,
        Meta(
            description="So many devices that failed, in all groups together, pause the rollout"
            " whatever chance says. For small fleets, where no share is ever sure.",
        ),
    ] = None
    max_failed_share: Annotated[
        Share | None,
        Meta(
            description="Of devices that ended, those that did not take the release: failed at the"
            " probe, rolled back, refused."
        ),
    ] = 0.05
    max_share_by_reason: Annotated[
        dict[
            Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*\Z", max_length=64)],
            Annotated[float, Meta(ge=0, le=1)],
        ],
        Meta(
            max_length=32,
            description="The same for single reasons, such as `too_slow = 0.02`.",
        ),
    ] = {}
    max_silent_share_rise: Annotated[
        Share | None,
        Meta(
            description="Of devices that switched, those not heard of since for `silent_s`: by how"
            " much more than of the devices that did not switch, in the same time."
        ),
    ] = 0.05
    silent_s: Annotated[
        float, Meta(ge=1, le=90 * 86400, description="After which a device counts as silent.")
    ] = 3600.0
    max_share_of_devices: Annotated[
        float,
        Meta(
            ge=0,
            lt=1,
            description="Of devices that report figures, those that are above one of the limits"
            " below by themselves. So a bad third is found that the mean of all hides.",
        ),
    ] = 0.05
    max_error_share: Annotated[
        Share | None, Meta(description="Of live requests, those that raise an error.")
    ] = 0.02
    max_error_share_rise: Annotated[
        Share | None,
        Meta(description="By how much more than with the release before, on the same devices."),
    ] = 0.01
    max_nonfinite_share: Annotated[
        Share | None, Meta(description="Of live requests, those answered with NaN or infinity.")
    ] = 0.0
    max_nonfinite_share_rise: Annotated[
        Share | None,
        Meta(description="By how much more than with the release before, on the same devices."),
    ] = None
    max_latency_p50_ratio: Annotated[
        Ratio | None,
        Meta(
            description="Median live latency, against the release before on the same devices. What"
            " the width of a bucket explains (1.26) is not held against a release."
        ),
    ] = 1.5
    max_latency_p95_ratio: Annotated[
        Ratio | None, Meta(description="The latency that 95 % do not exceed, likewise.")
    ] = 1.5
    max_memory_ratio: Annotated[
        Ratio | None, Meta(description="Memory of the process that runs the model, likewise.")
    ] = 2.0
    max_load_time_ratio: Annotated[
        Ratio | None, Meta(description="The time to load the model, likewise.")
    ] = None
    max_output_mean_shift: Annotated[
        Ratio | None,
        Meta(description="Of the outputs' mean, in deviations that the release before had."),
    ] = None
    max_output_std_ratio: Annotated[
        Ratio | None, Meta(description="Of the outputs' deviation.")
    ] = None


class PlanGroup(_File, frozen=True, kw_only=True):
    """A part of the fleet; a device belongs to the first group that it matches."""

    name: Annotated[Name, Meta(description="Of the group; devices report it.")]
    tags: Annotated[
        Tags, Meta(description="Tags that a device must have, all of them, with these values.")
    ] = {}
    ids: Annotated[
        Annotated[tuple[DeviceId, ...], Meta(max_length=bounds.GROUP_IDS_MAX)] | None,
        Meta(description="Devices by their ids."),
    ] = None
    percent: Annotated[
        Percent | None,
        Meta(
            description="Of the devices that no group before has taken, chosen by a hash of their"
            " ids: a device that comes later falls into its group by itself.",
        ),
    ] = None
    steps: Annotated[
        Steps,
        Meta(
            description="Percent of the group that are let in, one step after the other, each after"
            " enough devices of the step before have committed. The last is 100."
        ),
    ] = (100.0,)
    step_soak_s: Annotated[
        WaitS, Meta(description="How long each step but the last is watched.")
    ] = 0.0
    success_share: Annotated[
        Share | None, Meta(description="As above, for this group; the plan's where not given.")
    ] = None
    soak_s: Annotated[
        WaitS | None, Meta(description="As above, for this group; the plan's where not given.")
    ] = None
    devices_min: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="So many must have committed: a group without devices proves nothing and"
            " does not pass. The last group may be empty.",
        ),
    ] = 1
    windows: Annotated[
        Windows | None,
        Meta(description="As above, for this group; the plan's where not given."),
    ] = None
    gate: Annotated[Gate, Meta(description="Who has to agree before it passes.")] = Gate()


class Plan(_File, frozen=True, kw_only=True):
    """What a rollout's file says."""

    format: Annotated[Literal[1], Meta(description="Of this file.")] = 1
    model: Annotated[ModelName, Meta(description="The model.")]
    version: Annotated[Version, Meta(description="The release that is rolled out.")]
    name: Annotated[
        Name,
        Meta(
            description="Of the rollout, used once; devices report it as their deployment, with"
            " `~2` and so on behind it for later attempts."
        ),
    ]
    salt: Annotated[
        str,
        Meta(
            max_length=64,
            description="What `percent` is chosen with: the same salt chooses the same devices in"
            " each rollout. The rollout's name where empty: others each time.",
        ),
    ] = ""
    success_share: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="Of a group's reachable devices, those that must have committed the release"
            " before the group passes.",
        ),
    ] = 0.95
    soak_s: Annotated[
        WaitS,
        Meta(
            description="How long a group is watched then. Only time in which this software ran and"
            " looked counts."
        ),
    ] = 3600.0
    unseen_s: Annotated[
        float,
        Meta(
            ge=60,
            le=365 * 86400,
            description="A device not heard of for so long holds nothing up; it follows when it"
            " comes.",
        ),
    ] = 86400.0
    max_under_way: Annotated[
        AtLeastOne | None,
        Meta(
            description="So many devices are under way at once: groups are let in by percent that"
            " widens as devices end. Devices that were not reachable and come back are beyond it.",
        ),
    ] = None
    jitter_s: Annotated[
        int,
        Meta(
            ge=0,
            le=7 * 86400,
            description="Each device waits a random part of this before it asks for anything.",
        ),
    ] = 0
    windows: Annotated[
        Windows,
        Meta(
            description="When devices may be let in, such as `Mon-Fri 08:00-16:00`; always where"
            " empty. What is under way when one ends goes on."
        ),
    ] = ()
    time_zone: Annotated[
        str, Meta(max_length=64, description="Of the windows, such as `Europe/Berlin`.")
    ] = "UTC"
    stepping_stones: Annotated[
        tuple[Version, ...],
        Meta(
            max_length=STONES_MAX,
            description="Releases that a device must have committed before the next, in order: each"
            " is rolled out to all groups first.",
        ),
    ] = ()
    go_back_to: Annotated[
        Version | None,
        Meta(
            description="A release of the old content under a higher sequence, signed beforehand"
            " (`slotcast release --same-as`): what is offered to go back."
        ),
    ] = None
    on_broken_limit: Annotated[
        OnBroken,
        Meta(
            description="What a broken limit does: `pause` waits for a person; `cancel` takes the"
            " offer back; `go_back` offers `go_back_to` to the devices that were let in."
        ),
    ] = "pause"
    prepare_s: Annotated[
        WaitS,
        Meta(
            description="The longest time for making deltas before the first group, and before"
            " another one where devices with other releases have turned up since."
        ),
    ] = 3600.0
    delta_wait_s: Annotated[
        int,
        Meta(
            ge=0,
            le=bounds.DELTA_WAIT_MAX_S,
            description="So long does a device wait for a delta that is made for what it runs,"
            " where it turns up late, before it takes the whole image. Nobody waits for a release"
            " that mends a vulnerability, nor to go back.",
        ),
    ] = 600
    listen_s: Annotated[
        WaitS,
        Meta(
            description="So long are devices listened to, without a gap, before anything opens or"
            " passes: after a restart the retained statuses come in one after the other, and half a"
            " fleet is no fleet. Large fleets may need more; less is for trying things out."
        ),
    ] = 120.0
    limits: Annotated[Limits, Meta(description="What a release may do to devices.")] = Limits()
    groups: Annotated[
        tuple[PlanGroup, ...],
        Meta(min_length=1, max_length=GROUPS_MAX, description="In their order."),
    ]

    @property
    def versions(self) -> tuple[str, ...]:
        """The releases that are rolled out one after the other; the last is the plan's own."""
        return (*self.stepping_stones, self.version)


make_decoders(Plan)


def read_plan(text: str, where: str) -> Plan:
    """Read a plan.

    Args:
        text: what the file says.
        where: what a message begins with, such as the file's name.

    Raises:
        UsageError: it is not right; names the key, what is expected and what came.
    """
    if len(text) > PLAN_MAX_BYTES:
        raise UsageError(f"{where}: expected at most {PLAN_MAX_BYTES} bytes, got {len(text)}")
    try:
        given = read_toml(text)
    except UNDECODABLE as exc:
        raise UsageError(f"{where} is not TOML: {exc}") from exc
    if isinstance(given.get("limits"), dict):
        given["limits"] = _without_none(given["limits"])
    plan = convert(given, Plan, where)
    check(plan, where)
    return plan


def _without_none(limits: dict[str, Any]) -> dict[str, Any]:
    """Take "none" for what it means, where a limit may be switched off: TOML has no null."""
    may_be_off = {key.name for key in keys_of(Limits) if NONE in key.values.split()}
    return {
        name: None if value == NONE and name in may_be_off else value
        for name, value in limits.items()
    }


def check(plan: Plan, where: str) -> None:
    """Check what no single key can say.

    Raises:
        UsageError: two keys contradict each other; names them.
    """
    problem = next(_problems(plan), None)
    if problem is not None:
        raise UsageError(f"{where}: {problem}")
    try:
        parse_windows(plan.windows)
        for group in plan.groups:
            parse_windows(group.windows or ())
    except UsageError as exc:
        raise UsageError(f"{where}: {exc}") from exc


def _problems(plan: Plan) -> Iterator[str]:
    names = [group.name for group in plan.groups]
    for number, group in enumerate(plan.groups):
        at = f"groups[{number}] ({group.name})"
        if group.name in names[:number]:
            yield f"{at}: the name is taken by another group; names are used once"
        if list(group.steps) != sorted(set(group.steps)) or group.steps[-1] != 100:
            yield f"{at}.steps: expected rising numbers that end with 100, got {list(group.steps)}"
        is_everyone = not group.tags and group.ids is None and group.percent in {None, 100.0}
        if is_everyone and number < len(names) - 1:
            yield (
                f"{at}: takes every device, so {names[number + 1]!r} after it gets none; give it"
                " tags, ids or percent, or put it last"
            )
    size = len(msgspec.msgpack.encode([(g.name, g.tags, g.ids) for g in plan.groups]))
    if size > GROUPS_MAX_BYTES:
        yield (
            f"groups: expected at most {GROUPS_MAX_BYTES} bytes of tags and ids, got {size}; choose"
            " devices by a tag or by percent instead of by their ids"
        )
    if plan.on_broken_limit == "go_back" and plan.go_back_to is None:
        yield 'on_broken_limit: "go_back" needs go_back_to, a release signed beforehand'
    if len(set(plan.versions)) < len(plan.versions):
        yield f"stepping_stones: expected each release once, got {', '.join(plan.versions)}"
    if plan.go_back_to in plan.versions:
        yield f"go_back_to: expected another release than those rolled out, got {plan.go_back_to}"
