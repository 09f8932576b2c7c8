"""What a model's recipients mean for its releases: which are encrypted, and for whom."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec

from slotcast_publisher.enrolment.registry import Registry
from slotcast_publisher.release.encryption import load_content_key, seal, wrap_for
from slotcast_publisher.release.payloads import Encrypt, as_it_is
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.store import ReleaseFolder, Store
from slotcast_publisher.trust.recipients import (
    Recipients,
    RecipientsLost,
    load_recipients,
    prune_recipients,
    save_recipients,
)
from slotcast_publisher.trust.role_reading import SignedRoles
from slotcast_publisher.trust.role_signing import Roles
from slotcast_schemas.errors import UsageError


def recipients_of(store: Store, roles: SignedRoles, model: str) -> Recipients:
    """Give for whom a model's releases are encrypted, as its release role signed it.

    Args:
        store: the repository's models.
        roles: what is signed.
        model: the model's name.

    Raises:
        RepositoryDamaged: the list is missing, or is not what was signed.
    """
    return load_recipients(_folder(store, model), model, roles.recipients_sha256(model))


def sign_recipients(store: Store, roles: Roles, recipients: Recipients) -> None:
    """Sign for whom a model's releases are encrypted.

    Args:
        store: the repository's models.
        roles: signs.
        recipients: the new list.

    Raises:
        KeyUnavailable: the model's release key cannot be used from here.
        StorageFailed: the list cannot be written.
    """
    folder = _folder(store, recipients.model)
    digest = save_recipients(folder, recipients)
    roles.sign_recipients(recipients.model, digest)
    prune_recipients(folder, digest)


def recipients_left(store: Store, roles: SignedRoles, model: str) -> Recipients:
    """Give the recipients to go on from: none where their list is lost.

    With the list it is lost whether all releases are encrypted: they are, until told otherwise.

    Args:
        store: the repository's models.
        roles: what is signed.
        model: the model's name.

    Raises:
        RepositoryDamaged: the list is not what was signed.
    """
    try:
        return recipients_of(store, roles, model)
    except RecipientsLost:
        return Recipients(model=model, always=True)


def without_replaced(store: Store, recipients: Recipients) -> tuple[Recipients, tuple[str, ...]]:
    """Leave out whose key is not the one any more with which its device is enrolled.

    A key is replaced because it was stolen, or is lost: in neither case is anything more wrapped
    for it. The new one counts once the release key has signed that it does.

    Args:
        store: the repository's models.
        recipients: as they are signed.

    Returns:
        Those that are left, and what to do about each other one, a sentence each.
    """
    registry = Registry(store.repo)
    said = {one.device: registry.encryption_key(one.device) for one in recipients.devices}
    replaced = [one.device for one in recipients.devices if said[one.device] not in {None, one.key}]
    return recipients.without(frozenset(replaced)), tuple(
        f"{device} is enrolled with another encryption key than it is a recipient with, for which"
        f" nothing is encrypted any more: run `slotcast recipients add REPO {recipients.model}"
        f" {device}`, or take it out"
        for device in replaced
    )


def choose_encryption(
    store: Store, roles: SignedRoles, request: ReleaseRequest
) -> tuple[ReleaseRequest, Recipients]:
    """Give a request that says whether it is encrypted, as it or the model's setting has it.

    A release that is there already stays as it is, whatever the setting says since, and one of the
    same files as an encrypted one is encrypted, too.

    Args:
        store: the repository's models.
        roles: what is signed.
        request: what to release.

    Returns:
        The request, and for whom it is encrypted; of one in the clear nobody asks that.

    Raises:
        UsageError: it is to be encrypted, and for nobody.
        RepositoryDamaged: the list of recipients is missing, or is not what was signed.
    """
    chosen = request.encrypt
    if chosen is False:
        return request, Recipients(model=request.model)
    recipients = recipients_of(store, roles, request.model)
    if chosen is None and request.version in store.versions(request.model):
        chosen = _is_encrypted(store, request.model, request.version)
    elif chosen is None:
        old = request.same_as
        chosen = recipients.always or (old is not None and _is_encrypted(store, request.model, old))
    if chosen and not recipients.devices:
        raise UsageError(
            f"{request.model} has no recipients, so nobody could read an encrypted release: run"
            f" `slotcast recipients add REPO {request.model} DEVICE...` first"
        )
    return msgspec.structs.replace(request, encrypt=chosen), recipients


def warn_of_the_clear(request: ReleaseRequest, recipients: Recipients) -> list[str]:
    """Say that a model with recipients is released in the clear, where nobody asked for that.

    Args:
        request: as `choose_encryption` gave it.
        recipients: likewise; there are none where it was asked for.
    """
    if request.encrypt or not recipients.devices:
        return []
    said = (
        f"{request.model} has recipients, and this release is not encrypted: whoever reads the"
        " broker has it; release a new version with --encrypt instead, or say --no-encrypt if this"
        " is meant"
    )
    return [said]


def _is_encrypted(store: Store, model: str, version: str) -> bool:
    return store.folder(model, version).load().encryption is not None


def encrypt_for(folder: ReleaseFolder, chunk_size_bytes: int) -> Encrypt:
    """Give what seals a release's payloads, or leaves them as they are.

    Args:
        folder: the release.
        chunk_size_bytes: of a chunk.

    Raises:
        RepositoryDamaged: the release is encrypted, and its content key is missing.
    """
    key = load_content_key(folder)
    if key is None:
        return as_it_is
    return partial(seal, folder=folder, key=key, chunk_size_bytes=chunk_size_bytes)


def wrap_again(store: Store, recipients: Recipients, sequence: int) -> list[str]:
    """Bring the lists of wrapped keys up to date; names the versions whose list changed.

    Args:
        store: the repository's models.
        recipients: of one model.
        sequence: releases from this one on; those before it are offered no more.
    """
    folders = store.releases(recipients.model)
    return [
        folder.load().version
        for folder in folders
        if folder.load().sequence >= sequence and wrap_for(folder, recipients)
    ]


def _folder(store: Store, model: str) -> Path:
    return store.repo / "models" / model / "recipients"
