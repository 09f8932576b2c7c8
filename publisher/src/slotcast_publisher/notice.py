"""Offers and notices: what to say to a model's devices, and the bytes that say it.

An offer is a pure function of a release, its payloads and what the publisher wants; a notice
bundles it with the signed metadata, and is proven with a TUF client before anybody gets it.
"""

from __future__ import annotations

import hashlib
from typing import TypeVar

import msgspec

from slotcast_publisher.errors import Conflict, NotFound
from slotcast_publisher.store import ReleaseFolder, Store, decode_offer
from slotcast_publisher.trust.notice_proof import VerifiedNotice, verify_notice
from slotcast_publisher.trust.role_reading import SignedRoles
from slotcast_publisher.trust.role_signing import Roles
from slotcast_schemas import wire
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.errors import MalformedMessage, UsageError
from slotcast_schemas.messages import Notice, Offer, Release
from slotcast_schemas.messages.offer import Deployment, Group, Groups, JitterS, Progress
from slotcast_schemas.trust import offer_target, release_target

EVERYONE = Group(name="everyone")
"""The group that every device matches."""

V = TypeVar("V")


class OfferWanted(msgspec.Struct, frozen=True, kw_only=True):
    """To whom a release shall go. None keeps what the present offer of it says."""

    groups: Groups | None = None
    state: Progress = "active"
    full_allowed: bool | None = None
    jitter_s: JitterS | None = None
    deployment: Deployment | None = None
    again: bool = False
    """Have devices that failed or rolled back try once more."""


make_decoders(OfferWanted)


def make_offer(
    folder: ReleaseFolder,
    present: Offer | None,
    wanted: OfferWanted,
    now_s: float,
    *,
    want_topic: str = "payload",
) -> Offer:
    """Say to whom a release goes and how; the present offer if nothing changes.

    Args:
        folder: the release.
        present: what is offered for its model now, if anything.
        wanted: to whom it shall go; what is None there stays as it is.
        now_s: seconds since 1970.
        want_topic: where devices say what they miss.

    Raises:
        Conflict: a release with a higher sequence is offered: devices would refuse this one.
    """
    release = folder.load()
    if present is not None and present.sequence > release.sequence:
        raise Conflict(
            f"{release.model}: {present.version} (sequence {present.sequence}) is offered, and"
            f" devices refuse the older {release.version} (sequence {release.sequence});"
            f" to go back, run `slotcast release REPO {release.model} NEW_VERSION"
            f" --same-as {release.version}` and publish that"
        )
    before = present if present and present.sequence == release.sequence else None
    offer = Offer(
        model=release.model,
        version=release.version,
        sequence=release.sequence,
        release_sha256=hashlib.sha256(folder.signed_bytes()).digest(),
        issued=int(now_s),
        state=wanted.state,
        groups=_choose(wanted.groups, before.groups if before else None, (EVERYONE,)),
        payloads=tuple(record.payload for record in folder.payloads()),
        full_allowed=_choose(wanted.full_allowed, before.full_allowed if before else None, True),  # noqa: FBT003
        deployment=_choose(
            wanted.deployment,
            before.deployment if before else None,
            f"{release.version}-{release.sequence}",
        ),
        jitter_s=_choose(wanted.jitter_s, before.jitter_s if before else None, 0),
        attempt=(before.attempt if before else 1) + int(wanted.again and before is not None),
        want_topic=want_topic,
    )
    if before is not None and msgspec.structs.replace(offer, issued=before.issued) == before:
        return before
    return offer


def _choose(wanted: V | None, before: V | None, default: V) -> V:
    if wanted is not None:
        return wanted
    return default if before is None else before


def present_offer(store: Store, roles: SignedRoles, model: str) -> Offer | None:
    """Give the offer that is signed for a model, or None.

    Args:
        store: the repository's models.
        roles: what is signed.
        model: the model's name.
    """
    signed = roles.signed_offer(model)
    if signed is None:
        return None
    return decode_offer(store.offer_bytes(model, signed.hashes["sha256"]))


def sign_offer(store: Store, roles: Roles, offer: Offer) -> None:
    """Sign an offer and bring the online roles up to date.

    Args:
        store: the repository's models.
        roles: signs.
        offer: what to sign.

    Raises:
        UsageError: somebody asked for what an offer cannot say.
        KeyUnavailable: the online key cannot be used from here.
    """
    try:
        data = wire.encode(offer)
    except MalformedMessage as exc:
        raise UsageError(f"this cannot be offered: {exc}") from exc
    store.save_offer(offer.model, data)
    roles.set_offer(offer.model, data)
    roles.renew()


def assemble(store: Store, roles: SignedRoles, model: str) -> bytes:
    """Bundle what the signed snapshot stands for into a model's notice, proven or not.

    Args:
        store: the repository's models.
        roles: what is signed.
        model: the model's name.

    Raises:
        NotFound: nothing is offered for the model.
        Conflict: it does not fit into a notice.
    """
    signed = roles.announced_offer(model)
    if signed is None:
        raise NotFound(f"nothing is offered for {model!r}: run `slotcast publish` first")
    offer_bytes = store.offer_bytes(model, signed.hashes["sha256"])
    offer = decode_offer(offer_bytes)
    notice = Notice(
        model=model,
        metadata=roles.notice_metadata(model),
        targets={
            release_target(model, offer.version): store.release_bytes(model, offer.version),
            offer_target(model): offer_bytes,
        },
    )
    try:
        return wire.encode(notice)
    except MalformedMessage as exc:
        raise Conflict(
            f"{model}: the notice breaks a bound ({exc}); give each model roles of its own with"
            " `slotcast keys separate REPO`"
        ) from exc


def offer_in(notice: bytes, model: str) -> Offer:
    """Give the offer that a notice of our own carries."""
    return decode_offer(wire.decode(notice, Notice).targets[offer_target(model)])


def build_notice(store: Store, roles: SignedRoles, model: str) -> bytes:
    """Bundle what is signed for a model into a notice, and prove it with a TUF client.

    Args:
        store: the repository's models.
        roles: what is signed.
        model: the model's name.

    Raises:
        NotFound: nothing is offered for the model.
        RefusedRelease: what is signed does not verify, has expired, or does not fit a notice.
    """
    return prove_notice(store, roles, model)[0]


def prove_notice(store: Store, roles: SignedRoles, model: str) -> tuple[bytes, VerifiedNotice]:
    """Build a notice as `build_notice` does; gives also what it says, and until when it counts.

    Args:
        store: the repository's models.
        roles: what is signed.
        model: the model's name.

    Raises:
        NotFound: nothing is offered for the model.
        RefusedRelease: what is signed does not verify, has expired, or does not fit a notice.
    """
    data = assemble(store, roles, model)
    return data, verify_notice(data, roles.oldest_root())


def keep_targets(store: Store, model: str, data: bytes) -> None:
    """Keep the offer and the release that a notice carries which another copy signed.

    Args:
        store: where.
        model: the notice's model.
        data: its bytes.
    """
    targets = wire.decode(data, Notice).targets
    offer_bytes = targets[offer_target(model)]
    offer = wire.decode(offer_bytes, Offer)
    store.save_offer(model, offer_bytes)
    data = targets[release_target(model, offer.version)]
    store.adopt_release(wire.decode(data, Release), data)
