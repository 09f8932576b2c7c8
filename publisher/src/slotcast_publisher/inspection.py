"""Explains a notice: what it carries, who signed it, what it means, and whether it counts.

Without a root, what it says is shown as what it claims to be; with one, it is verified first,
with the same TUF client that devices have.
"""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime
from typing import Any

import msgspec
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata
from tuf.api.serialization import DeserializationError

from slotcast_publisher.trust.notice_proof import verify_notice
from slotcast_schemas import wire
from slotcast_schemas.errors import MalformedMessage, RefusedRelease
from slotcast_schemas.messages import Notice, Offer, Release
from slotcast_schemas.messages.offer import Group, Payload
from slotcast_schemas.plural import several
from slotcast_schemas.printable import printable


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """One metadata file of a notice."""

    name: str
    role: str
    version: int
    expires: datetime
    signers: tuple[str, ...]
    size_bytes: int


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """What a notice says. `verdict` is `verified`, `unchecked`, or a reason for refusal."""

    model: str
    size_bytes: int
    verdict: str
    detail: str
    metadata: tuple[Signed, ...]
    release: Release | None
    offer: Offer | None


def inspect_notice(data: bytes, root: bytes | None) -> Inspection:
    """Explain a notice; with a root, say whether a device that pins it would believe it.

    Raises:
        MalformedMessage: it is not a notice at all.
    """
    notice = wire.decode(data, Notice)
    verdict, detail = "unchecked", "no root was given"
    if root is not None:
        try:
            expires = verify_notice(data, root).expires
            verdict, detail = "verified", f"counts until {expires.isoformat()}"
        except RefusedRelease as exc:
            verdict, detail = exc.reason, str(exc)
    return Inspection(
        model=notice.model,
        size_bytes=len(data),
        verdict=verdict,
        detail=detail,
        metadata=tuple(_signed(name, blob) for name, blob in sorted(notice.metadata.items())),
        release=_first(notice, ".release", Release),
        offer=_first(notice, ".offer", Offer),
    )


def _signed(name: str, blob: bytes) -> Signed:
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(blob)
    except (DeserializationError, RepositoryError) as exc:
        raise MalformedMessage(f"notice: {name} is not TUF metadata: {exc}") from exc
    role = name.removesuffix(".json")
    return Signed(
        name=name,
        role=role.partition(".")[2] if role[0].isdigit() else role,
        version=metadata.signed.version,
        expires=metadata.signed.expires,
        signers=tuple(metadata.signatures),
        size_bytes=len(blob),
    )


def _first(notice: Notice, suffix: str, kind: type[Any]) -> Any:
    blob = next((data for name, data in notice.targets.items() if name.endswith(suffix)), None)
    return None if blob is None else wire.decode(blob, kind)


def fields_of(found: Inspection) -> dict[str, Any]:
    """Give an inspection for programs: digests as hex, times as ISO 8601."""
    fields = msgspec.to_builtins(found, builtin_types=(bytes,))
    plain: dict[str, Any] = _hex(fields)
    return plain


def _hex(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: _hex(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_hex(item) for item in value]
    return value


def lines_of(found: Inspection) -> list[str]:
    """Give an inspection for people."""
    lines = [f"Notice of {found.model}, {found.size_bytes} bytes: {found.verdict} ({found.detail})"]
    lines += [
        f"  signed  {item.role} version {item.version}, until {item.expires.date()}, by"
        f" {', '.join(key[:8] for key in item.signers)}"
        for item in found.metadata
    ]
    if found.release is not None:
        lines += _release_lines(found.release)
    if found.offer is not None:
        lines += _offer_lines(found.offer)
    return lines


def _release_lines(release: Release) -> list[str]:
    head = (
        f"  release {release.version}, sequence {release.sequence},"
        f" {release.image_size_bytes} bytes, image {release.image_sha256.hex()[:16]}"
    )
    lines = [head]
    if release.encryption is not None:
        commitment = release.encryption.key_commitment.hex()[:16]
        lines.append(f"    encrypted for its recipients, content key known by {commitment}")
    if release.rebased is not None:
        lines.append(
            f"    rebased, not the model given ({release.rebased.given_sha256.hex()[:16]}):"
            f" {release.rebased.measure} {release.rebased.distance:.6f}"
        )
    lines += _statement_lines(release)
    lines += [
        f"    file    {item.path} ({item.role}), {item.size_bytes} bytes, {item.sha256.hex()[:16]}"
        for item in release.files
    ]
    for word, tensors in (("input", release.inputs), ("output", release.outputs)):
        lines += [f"    {word:<7} {t.name}: {t.dtype} {list(t.shape)}" for t in tensors]
    for word, limits in (
        ("runtime", release.runtime),
        ("probe", release.probe),
        ("trial", release.trial),
    ):
        lines += _limit_lines(word, limits)
    return lines


def _statement_lines(release: Release) -> list[str]:
    """Give what the release says to people; its texts may be anybody's."""
    lines = []
    if release.changes:
        lines.append(f"    changes {', '.join(release.changes).replace('_', ' ')}")
    if release.supported_until:
        lines.append(f"    support until {day_of(release.supported_until)}")
    for word, text in (("advice", release.advisory), ("notes", release.notes)):
        wrapped = [
            line
            for part in text.splitlines()
            for line in textwrap.wrap(printable(part), 88) or [""]
        ]
        lines += [f"    {word if i == 0 else '':<7} {line}" for i, line in enumerate(wrapped)]
    return lines


def day_of(at_s: int) -> str:
    """Give the day of a time, by UTC; the number where no calendar has it."""
    try:
        return datetime.fromtimestamp(at_s, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return f"{at_s} s after 1970"


def _limit_lines(word: str, limits: msgspec.Struct) -> list[str]:
    """Give what is checked, and what is not, in lines of a width that a terminal has."""
    values = msgspec.structs.asdict(limits)
    checked = ", ".join(
        f"{name} {_short(value)}" for name, value in values.items() if value is not None
    )
    absent = ", ".join(name for name, value in values.items() if value is None)
    text = checked + (f"; not checked: {absent}" if absent else "")
    first, *more = textwrap.wrap(text, 88)
    return [f"    {word:<7} {first}", *(f"            {line}" for line in more)]


def _short(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _offer_lines(offer: Offer) -> list[str]:
    lines = [f"  offer   {offer.state}, deployment {offer.deployment}, attempt {offer.attempt}"]
    lines += [
        f"    group   {group.name}: {group.state}, {described(group)}" for group in offer.groups
    ]
    return lines + [_payload_line(payload) for payload in offer.payloads]


def described(group: Group) -> str:
    """Say in words which devices a group matches."""
    parts = [f"{key}={value}" for key, value in group.tags.items()]
    parts += [several(len(group.ids), "id")] if group.ids is not None else []
    parts += [f"{group.percent:g} %"] if group.percent is not None else []
    return ", ".join(parts) or "all"


def _payload_line(payload: Payload) -> str:
    base = f" from {payload.base.version}" if payload.base else ""
    return (
        f"    payload {payload.codec}{base}: {payload.size_bytes} bytes in"
        f" {several(payload.chunk_count, 'chunk')}, {payload.sha256.hex()[:16]}"
    )
