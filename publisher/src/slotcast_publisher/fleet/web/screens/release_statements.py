"""What a release says, what it holds, and who signed it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from slotcast_publisher.fleet.web.screens.release_data import ReleaseScreenData, SignedRole
from slotcast_publisher.fleet.web.screens.release_payloads import devices_href
from slotcast_publisher.fleet.web.words import (
    Clock,
    ratio_words,
    seconds_words,
    share_words,
    size_words,
)
from slotcast_schemas.messages import Release
from slotcast_schemas.messages.release import Probe, Runtime, Tensor, Trial
from slotcast_schemas.plural import several

FILES_MAX: Final = 64
"""The most files that are listed; a release has no more."""
TENSORS_MAX: Final = 16
"""The most inputs, and outputs, that are listed."""
ENDS_SOON_S: Final = 90 * 86_400
"""From so many seconds before its end on, the end of support wants an eye."""
_DAY_S: Final = 86_400
_SAYS: Final = {
    "offers": "to whom: payloads, groups",
    "snapshot": "what belongs together",
    "timestamp": "what is newest",
    "targets": "who may release which model",
    "root": "which keys count",
}


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file of the release."""

    path: str
    role: str
    size: str
    sha256: str


@dataclass(frozen=True, slots=True)
class RoleRow:
    """Who signed, and what that says."""

    name: str
    says: str
    keys: tuple[str, ...]
    count: str
    expires_s: float


@dataclass(frozen=True, slots=True)
class SupportRow:
    """Until when a release is supported, and how many devices run it."""

    version: str
    until_s: int
    words: str
    is_soon: bool
    devices: int
    href: str


def running_on(facts: ReleaseScreenData, sequence: int) -> int:
    """Count the devices that run a release.

    Args:
        facts: what is known.
        sequence: of the release.
    """
    return sum(each.devices for each in facts.versions if each.sequence == sequence)


def support_rows(facts: ReleaseScreenData, clock: Clock) -> Iterator[SupportRow]:
    """Give until when this release is supported, and older ones that run somewhere."""
    for release in facts.releases:
        is_this = release.sequence == facts.release.sequence
        devices = running_on(facts, release.sequence)
        if not release.supported_until or not (is_this or devices):
            continue
        left_s = release.supported_until - clock.now_s
        yield SupportRow(
            version=release.version,
            until_s=release.supported_until,
            words=_support_words(left_s),
            is_soon=left_s < ENDS_SOON_S,
            devices=devices,
            href=devices_href(model=release.model, version=release.version),
        )


def _support_words(left_s: float) -> str:
    if left_s < 0:
        return f"ended {_days(-left_s)} ago"
    if left_s < ENDS_SOON_S:
        return f"ends in {_days(left_s)}"
    months = int(left_s // (30.44 * _DAY_S))
    years, rest = divmod(months, 12)
    parts = [several(years, "year")] if years else []
    parts += [several(rest, "month")] if rest else []
    return f"{' '.join(parts)} left"


def _days(seconds: float) -> str:
    return several(int(seconds // _DAY_S), "day")


def rebased_facts(facts: ReleaseScreenData) -> Iterator[tuple[str, str]]:
    """Say how near a rebased release is to the model that was given; nothing of another one."""
    said = facts.release.rebased
    if said is None:
        return
    before = facts.before
    onto = f", onto {before.version}" if before is not None else ""
    yield "Rebased", f"Yes{onto}: this is not byte for byte the model that was given"
    yield "How near", f"{said.measure.replace('_', ' ')} {said.distance:.6g} to the given one"
    yield "Given", f"image {said.given_sha256.hex()[:16]}…"
    yield "Step", f"{said.step:.3g}"
    full = [p.payload for p in facts.payloads if p.is_image and p.payload.base is None]
    deltas = [p.payload for p in facts.payloads if p.payload.base is not None]
    if deltas and full:
        least, whole = (min(p.size_bytes for p in found) for found in (deltas, full))
        yield "Gains", f"its smallest delta is {size_words(least)}; whole it is {size_words(whole)}"


def file_rows(facts: ReleaseScreenData) -> Iterator[FileRow]:
    """Give the files of a release, and which of them the one before had."""
    before = facts.before
    known = {} if before is None else {f.sha256: before.version for f in before.files}
    for file in facts.release.files[:FILES_MAX]:
        role = f"{file.role}, entry" if file.path == facts.release.entry else str(file.role)
        if file.sha256 in known:
            role += f", as in {known[file.sha256]}"
        yield FileRow(file.path, role, size_words(file.size_bytes), file.sha256.hex())


def role_row(role: SignedRole) -> RoleRow:
    """Say what a role speaks of, and who signed it."""
    is_release = role.name.startswith("release-")
    signed = len(role.keys)
    return RoleRow(
        name=role.name,
        says="what: version, files, limits" if is_release else _SAYS.get(role.name, ""),
        keys=tuple(key[:8] for key in role.keys),
        count=f"{signed} signed, {role.threshold} needed",
        expires_s=_seconds(role.expires),
    )


def _seconds(at: datetime) -> float:
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def held_to(release: Release) -> Iterator[tuple[str, str]]:
    """Say what each device holds a release to, in names and texts.

    Args:
        release: as it is signed.
    """
    yield "Probe", _probe_words(release.probe)
    yield "Trial", _trial_words(release.trial)
    yield "Needs", _needs_words(release.runtime)
    if release.encryption is not None:
        yield "Encrypted", "what travels, for the model's recipients"
    yield "Inputs", _tensor_words(release.inputs)
    yield "Outputs", _tensor_words(release.outputs)


def _probe_words(probe: Probe) -> str:
    parts = []
    if probe.samples is not None:
        parts.append(f"golden within {share_words(probe.rtol)}")
    if probe.min_cosine is not None:
        parts.append(f"cosine ≥ {probe.min_cosine:g}")
    if probe.min_accuracy is not None:
        parts.append(f"accuracy ≥ {share_words(probe.min_accuracy)}")
    if probe.max_latency_ratio is not None:
        parts.append(f"p50 ≤ {ratio_words(probe.max_latency_ratio)}")
    if probe.max_latency_p95_s is not None:
        parts.append(f"p95 ≤ {seconds_words(probe.max_latency_p95_s)}")
    if probe.max_memory_ratio is not None:
        parts.append(f"memory ≤ {ratio_words(probe.max_memory_ratio)}")
    if probe.max_memory_bytes is not None:
        parts.append(f"memory ≤ {size_words(probe.max_memory_bytes)}")
    return ", ".join(parts) or "loads and runs"


def _trial_words(trial: Trial) -> str:
    parts = [f"{seconds_words(trial.duration_s)} and {several(trial.min_requests, 'request')}"]
    parts.append(f"errors ≤ {share_words(trial.max_error_share)} above the old")
    parts.append(f"not finite ≤ {share_words(trial.max_nonfinite_share)}")
    if trial.max_latency_ratio is not None:
        parts.append(f"latency ≤ {ratio_words(trial.max_latency_ratio)}")
    if trial.max_memory_bytes is not None:
        parts.append(f"memory ≤ {size_words(trial.max_memory_bytes)}")
    return ", ".join(parts)


def _needs_words(runtime: Runtime) -> str:
    parts = [runtime.format]
    if runtime.onnxruntime:
        parts.append(f"onnxruntime {runtime.onnxruntime}")
    parts += [
        f"opset {version}{f' of {domain}' if domain else ''}"
        for domain, version in list(runtime.opsets.items())[:4]
    ]
    if runtime.memory_bytes:
        parts.append(f"{size_words(runtime.memory_bytes)} free memory")
    return ", ".join(parts)


def _tensor_words(tensors: Sequence[Tensor]) -> str:
    shown = [
        f"{each.name} {each.dtype.removeprefix('tensor(').removesuffix(')')}"
        f" {' × '.join('?' if size is None else str(size) for size in each.shape) or 'scalar'}"
        for each in tensors[:TENSORS_MAX]
    ]
    left = len(tensors) - len(shown)
    return "; ".join(shown + ([f"and {left} more"] if left else [])) or "not declared"
