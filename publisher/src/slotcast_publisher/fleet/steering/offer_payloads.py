"""Which payloads an offer names: the whole images, and deltas from what most devices run.

An offer has room for 16 payloads, and for 64 KiB of everything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from slotcast_publisher.fleet.rollout.offers import WantedOffer
from slotcast_publisher.fleet.steering.late_deltas import LateDeltas
from slotcast_publisher.release.delta_payloads import CODEC_COMPACT
from slotcast_publisher.store import ReleaseFolder
from slotcast_schemas.codecs.encrypted import plain_codec
from slotcast_schemas.limits import PAYLOADS_MAX, TARGET_MAX_BYTES
from slotcast_schemas.messages.offer import Offer, Payload

PAYLOADS_MAX_BYTES: Final = TARGET_MAX_BYTES // 2
"""The most bytes of an offer that payloads take; groups take up to a quarter twice."""


def choose_payloads(
    folder: ReleaseFolder, devices: Mapping[int, int], kept: Sequence[Payload] = ()
) -> tuple[Payload, ...]:
    """Choose what an offer of a release names: the whole images, then deltas.

    What an offer of this release names already stays, so that it is signed anew only where
    something was added.

    Args:
        folder: the release.
        devices: how many devices run each base, by its sequence; the most common come first.
        kept: what is offered of this release now.
    """
    offered = {payload.sha256 for payload in kept}

    def rank(payload: Payload) -> tuple[bool, bool, bool, int]:
        count = 0 if payload.base is None else devices.get(payload.base.sequence, 0)
        # A compact delta is there beside one that every device can read, so it may be left out.
        is_second = plain_codec(payload) == CODEC_COMPACT
        return payload.base is not None, payload.sha256 not in offered, is_second, -count

    chosen: list[Payload] = []
    for payload in sorted((record.payload for record in folder.payloads()), key=rank):
        if len(chosen) < PAYLOADS_MAX and _size([*chosen, payload]) <= PAYLOADS_MAX_BYTES:
            chosen.append(payload)
    return tuple(chosen)


def _size(payloads: list[Payload]) -> int:
    return len(msgspec.msgpack.encode(payloads))


def offer_of(
    folder: ReleaseFolder,
    wanted: WantedOffer,
    present: Offer | None,
    devices: Mapping[int, int],
    now_s: float,
    *,
    want_topic: str = "payload",
    late: Callable[[Sequence[Payload]], LateDeltas] = lambda _: LateDeltas(),
) -> Offer:
    """Make the offer that says what a rollout wants.

    Args:
        folder: the release.
        wanted: to whom it goes.
        present: what is offered now; whether whole images are allowed stays as it is there.
        devices: how many devices run each base, by its sequence.
        now_s: seconds since 1970.
        want_topic: where devices say what they miss.
        late: says, of the payloads that are named, what is said of others; nothing unless given.
    """
    before = present if present is not None and present.sequence == wanted.sequence else None
    payloads = choose_payloads(folder, devices, before.payloads if before else ())
    said = late(payloads)
    return Offer(
        model=folder.load().model,
        release_sha256=hashlib.sha256(folder.signed_bytes()).digest(),
        issued=int(now_s),
        payloads=payloads,
        full_allowed=before.full_allowed if before else True,
        want_topic=want_topic,
        delta_wait_s=said.wait_s,
        no_delta_from=said.none_from,
        **msgspec.structs.asdict(wanted),
    )
