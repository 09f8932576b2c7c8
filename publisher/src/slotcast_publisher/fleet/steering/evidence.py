"""What stands behind a rollout's counts: distributions old beside new, and one failed device.

All of it is bounded, however large the fleet: sums of a group, a few reasons, a few tags.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Final

import msgspec
import numpy as np

from slotcast_publisher.fleet.figures.comparison import Figure, FiguresPair, on_device
from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures, together
from slotcast_publisher.fleet.figures.tags import parted_by
from slotcast_publisher.fleet.rollout.observations import Device, DeviceOutcome
from slotcast_schemas.messages.status import Evidence
from slotcast_schemas.reasons import Reason

REASONS_MAX: Final = 12
"""The number of reasons of failures that are shown; the rest are counted together."""
TAGS_MAX: Final = 6
"""The number of tags that are shown, the surest first."""
_TAG_DEVICES_MAX: Final = 5_000
"""The number of devices whose tags are looked through."""
_ACTORS: Final = {str(reason): str(reason.actor) for reason in Reason}


class SumView(msgspec.Struct, frozen=True, kw_only=True):
    """What devices reported of one release, all together.

    Attributes:
        devices: that reported.
        requests, errors, nonfinite: of them all.
        p50_s, p95_s: of all requests; None without latencies.
        memory_bytes, load_s: the mean of the devices' own; 0 if not known.
        output_mean: each device weighted by its requests; None if not known.
        counts: requests by bucket of `histograms.GRID_S`, and above all of them: 65 numbers.
    """

    devices: int
    requests: int
    errors: int
    nonfinite: int
    p50_s: float | None
    p95_s: float | None
    memory_bytes: int
    load_s: float
    output_mean: float | None
    counts: tuple[float, ...]


class TagView(msgspec.Struct, frozen=True, kw_only=True):
    """The p95 of devices with a value of a tag; None where too few calls tell.

    Attributes:
        is_found: this value is what parts slow devices from others.
    """

    key: str
    value: str
    devices: int
    old_s: float | None
    new_s: float | None
    is_found: bool


class GroupFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A group's figures of the new release, and of the one before on the same devices.

    Attributes:
        old: of the devices that have figures of both; None where there are none.
        new: of the same devices, or of all that have the new release where `old` is None.
        slow: where latencies differ by a tag, beyond chance.
    """

    group: str
    old: SumView | None
    new: SumView
    slow: tuple[TagView, ...] = ()


class FailureView(msgspec.Struct, frozen=True, kw_only=True):
    """Devices that failed for one reason, and one of them closely.

    Attributes:
        actor: who has to act, by `slotcast_schemas.reasons`; empty for a word that is not ours.
        first_s, last_s: when, by the devices' clocks; 0 if they do not say.
        device: the one of them that failed last.
        runs: the version that it runs now.
    """

    group: str
    reason: str
    state: str
    actor: str
    devices: int
    first_s: int
    last_s: int
    device: str
    tags: dict[str, str]
    detail: str
    runs: str
    evidence: Evidence | None


def figures_of_group(
    name: str, devices: Sequence[Device], sequence: int, confidence: float
) -> GroupFigures | None:
    """Add up what a group's devices report; None where none has reported of the release.

    Args:
        name: of the group.
        devices: those that were let in.
        sequence: of the release.
        confidence: with which a tag is said to part devices.
    """
    found = [(device, pair) for device in devices if (pair := device.pair(sequence)) is not None]
    if not found:
        return None
    both = [(device, pair) for device, pair in found if pair.old is not None and pair.old.requests]
    used = both or found
    new = _sum([pair.new for _, pair in used])
    old = _sum([pair.old for _, pair in both if pair.old is not None]) if both else None
    return GroupFigures(
        group=name, old=old, new=new, slow=tuple(_slow(both[:_TAG_DEVICES_MAX], confidence))
    )


def failures_of_group(
    name: str, devices: Iterable[Device], sequence: int, deployment: str
) -> list[FailureView]:
    """Give a group's failures by reason, the most common first.

    Args:
        name: of the group.
        devices: those that were let in.
        sequence: of the release.
        deployment: that offers it.
    """
    by_reason: dict[tuple[str, str], list[Device]] = defaultdict(list)
    for device in devices:
        status = device.status
        if status is not None and device.outcome(sequence, deployment) is DeviceOutcome.FAILED:
            by_reason[status.reason, str(status.state)].append(device)
    most = sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))
    return [_failure(name, reason, state, each) for (reason, state), each in most[:REASONS_MAX]]


def states_of(devices: Iterable[Device], sequence: int) -> dict[str, int]:
    """Count devices by what they say of a release: `QUEUED` for those that say nothing of it yet.

    Args:
        devices: any.
        sequence: of the release.
    """
    found: dict[str, int] = defaultdict(int)
    for device in devices:
        found[_state(device, sequence)] += 1
    return dict(found)


def _state(device: Device, sequence: int) -> str:
    status = device.status
    if device.has_committed(sequence):
        return "COMMITTED"
    if status is None or status.target is None or status.target.sequence != sequence:
        return "QUEUED"
    return str(status.state)


def _sum(parts: Sequence[ReleaseFigures]) -> SumView:
    found = together(parts)
    p50, p95 = found.latency.quantile(0.5), found.latency.quantile(0.95)
    counts = np.diff(found.latency.cumulative(), prepend=0.0).clip(0)
    return SumView(
        devices=len(parts),
        requests=found.requests,
        errors=found.errors,
        nonfinite=found.nonfinite,
        p50_s=None if p50 is None else p50.value_s,
        p95_s=None if p95 is None else p95.value_s,
        memory_bytes=round(_mean([p.memory_bytes for p in parts])),
        load_s=_mean([p.load_s for p in parts]),
        output_mean=found.output_mean,
        counts=tuple(float(count) for count in counts),
    )


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if value > 0]
    return fmean(known) if known else 0.0


def _failure(group: str, reason: str, state: str, devices: Sequence[Device]) -> FailureView:
    times = [device.status.since for device in devices if device.status and device.status.since]
    last = max(devices, key=lambda d: ((d.status.since if d.status else 0), d.id))
    status = last.status
    return FailureView(
        group=group,
        reason=reason,
        state=state,
        actor=_ACTORS.get(reason, ""),
        devices=len(devices),
        first_s=min(times, default=0),
        last_s=max(times, default=0),
        device=last.id,
        tags=dict(last.tags),
        detail="" if status is None else status.detail,
        runs="" if status is None or status.active is None else status.active.version,
        evidence=None if status is None else status.evidence,
    )


# --- where it is slow -----------------------------------------------------------------------------


def _slow(found: Sequence[tuple[Device, FiguresPair]], confidence: float) -> Iterator[TagView]:
    """Find by which tags devices got slower, and give p95 for each value of those tags."""
    told = ((d.id, on_device(Figure.LATENCY_P95_RATIO, p)) for d, p in found)
    ratios = {name: ratio for name, ratio in told if ratio is not None}
    if len(ratios) < len(found) / 2 or not ratios:
        return
    middle = sorted(ratios.values())[(len(ratios) - 1) // 2]
    slow = {name for name, ratio in ratios.items() if ratio > middle}
    tags: Mapping[str, Mapping[str, str]] = {d.id: d.tags for d, _ in found if d.id in ratios}
    parted = parted_by(tags, slow, confidence)
    wanted = {tag for part in parted[:2] for tag in part.tags[:1]}
    for key in dict.fromkeys(key for key, _ in sorted(wanted)):
        by_value: dict[str, list[FiguresPair]] = defaultdict(list)
        for device, pair in found:
            if key in device.tags:
                by_value[device.tags[key]].append(pair)
        most = sorted(by_value.items(), key=lambda item: (-len(item[1]), item[0]))
        for value, pairs in most[:TAGS_MAX]:
            yield _by_tag(key, value, pairs, is_found=(key, value) in wanted)


def _by_tag(key: str, value: str, pairs: Sequence[FiguresPair], *, is_found: bool) -> TagView:
    new = together([pair.new for pair in pairs]).latency.quantile(0.95)
    old = together([pair.old for pair in pairs if pair.old is not None]).latency.quantile(0.95)
    return TagView(
        key=key,
        value=value,
        devices=len(pairs),
        old_s=None if old is None else old.value_s,
        new_s=None if new is None else new.value_s,
        is_found=is_found,
    )
