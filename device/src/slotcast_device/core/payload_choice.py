"""Which payload of an offer to fetch: what this device can decode and may fetch, and the cheapest.

Pure. Among whole images `whole_image_choice` chooses; `plan` says what else a notice means.
It is decided here when no whole image may come: by the owner's policy, on a metered link, or where
the bytes of the day are spent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from slotcast_device.core.needed_chunks import fetch_bytes
from slotcast_device.core.payload_bounds import is_worn_out, most_bytes
from slotcast_device.core.payload_codecs import DELTA_CODECS, FULL_CODECS
from slotcast_device.core.whole_image_choice import Speeds, WholeImage, choose_whole
from slotcast_schemas.codecs.encrypted import is_encrypted, plain_codec
from slotcast_schemas.content_key import KEYS_CODEC
from slotcast_schemas.errors import FullForbidden, Incompatible, Inconsistent
from slotcast_schemas.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slotcast_device.core.plan import Facts
    from slotcast_device.core.state import ModelState, SlotName
    from slotcast_schemas.messages.offer import Payload
    from slotcast_schemas.verify import Trusted


class NotNow(Exception):
    """A payload would do, and must not be fetched at present."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


def choose_payload(
    trusted: Trusted,
    state: ModelState,
    facts: Facts,
    reuse: Mapping[str, tuple[SlotName, str]],
) -> tuple[Payload, SlotName | None, str]:
    """Take the cheapest payload that this device can decode and is allowed to fetch, and say why.

    Of whole images that is the one which is there soonest; of that and a delta, the smaller.

    Args:
        trusted: the notice, with offer and release.
        state: what the device knows of the model.
        facts: what else counts, of the device as it is now.
        reuse: files that a slot holds already, by path in the release.

    Raises:
        RefusedRelease: no payload will do here.
        NotNow: one would, and must not be fetched at present.
    """
    if is_worn_out(state, facts, trusted.release.image_size_bytes):
        raise NotNow(Reason.PAYLOADS_BROKEN)
    deltas: list[tuple[int, Payload]] = []
    wholes: list[WholeImage] = []
    objections: set[Reason] = set()
    for payload in _drop_too_large(trusted):
        if payload.sha256 in facts.excluded or _cannot_open(payload, trusted):
            continue
        codec = plain_codec(payload)
        cost = fetch_bytes(payload, trusted.release, reuse)
        if codec in FULL_CODECS and payload.base is None:
            objection = _find_objection(payload, cost, trusted, state, facts)
            if objection:
                objections.add(objection)
            else:
                wholes.append(WholeImage(payload, cost))
        elif codec in DELTA_CODECS and _starts_here(payload, state):
            deltas.append((cost, payload))
    if not wholes and not deltas:
        _refuse_payloads(objections, trusted, state)
    delta = min(deltas, key=lambda each: each[0], default=None)
    if not wholes:
        assert delta is not None  # noqa: S101  (or it was refused above)
        return delta[1], state.active, ""
    whole, why = choose_whole(
        [each for each in wholes if each.payload.memory_bytes <= facts.memory_bytes] or wholes,
        Speeds(state.link_bytes_per_s, facts.undo_bytes_per_s),
        image_size_bytes=trusted.release.image_size_bytes,
        begun=state.full_payload,
    )
    if delta is not None and delta[0] < whole.fetch_bytes:
        return delta[1], state.active, ""
    return whole.payload, None, why


def _cannot_open(payload: Payload, trusted: Trusted) -> bool:
    """Whether a payload is encrypted, with a key that the signed release does not name."""
    return is_encrypted(payload) and trusted.release.encryption is None


def _starts_here(delta: Payload, state: ModelState) -> bool:
    """Whether the base of a delta is the image that serves."""
    record, base = state.active_record, delta.base
    return record is not None and base is not None and record.sha256 == base.image_sha256


def _drop_too_large(trusted: Trusted) -> list[Payload]:
    """Give the payloads that are no larger than one of this image can be.

    Raises:
        Inconsistent: payloads are offered, and each is too large.
    """
    release = trusted.release
    offered = [payload for payload in trusted.offer.payloads if payload.codec != KEYS_CODEC]
    fit = [payload for payload in offered if payload.size_bytes <= most_bytes(payload, release)]
    if offered and not fit:
        least = min(offered, key=lambda payload: payload.size_bytes)
        raise Inconsistent(
            f"expected at most {most_bytes(least, release)} bytes of {least.codec} for an image of"
            f" {release.image_size_bytes}, got {least.size_bytes}; whoever signs offers must look"
            " at them, and who has the online key"
        )
    return fit


def _find_objection(
    payload: Payload, cost: int, trusted: Trusted, state: ModelState, facts: Facts
) -> Reason | None:
    """Say why a whole image must not be fetched (now); None if it may.

    One that was begun is counted, and may be gone on with.
    """
    budget = facts.full_bytes_per_day
    is_begun = state.full_payload == payload.sha256
    if not (trusted.offer.full_allowed and facts.full_allowed):
        return Reason.FULL_FORBIDDEN
    if budget and cost > budget and not is_begun:
        return Reason.FULL_FORBIDDEN
    if facts.is_metered:
        return Reason.METERED_LINK
    used = state.full_bytes_on(facts.day)
    if budget and used + cost > budget and not is_begun:
        return Reason.BYTE_BUDGET
    return None


def _refuse_payloads(objections: set[Reason], trusted: Trusted, state: ModelState) -> NoReturn:
    for reason in sorted(objections - {Reason.FULL_FORBIDDEN}):
        raise NotNow(reason)
    if objections:
        raise FullForbidden(
            "no delta from what this device holds, and a full transfer is forbidden by the"
            " offer, by policy.full_allowed or by policy.full_bytes_per_day; publish a delta"
            f" from {_name_active_release(state)}, or allow full transfers"
        )
    codecs = sorted({p.codec for p in trusted.offer.payloads})
    raise Incompatible(f"no payload that this device can use among {codecs or 'none offered'}")


def _name_active_release(state: ModelState) -> str:
    record = state.active_record
    return "nothing" if record is None else f"{record.version} ({record.sequence})"
