"""For whom a model's releases are encrypted: a list whose digest the model's release role signs.

    REPO/models/<model>/recipients/<sha256>.json

The signature is the commit point: a list that is not the signed one does not count, so neither a
command that was stopped nor a thief who can write files, but has no release key, adds a recipient.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from slotcast_publisher.durable import write_atomic
from slotcast_publisher.errors import RepositoryDamaged
from slotcast_schemas.content_key import RECIPIENTS_MAX, recipient_id
from slotcast_schemas.decode_errors import UNDECODABLE
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.errors import UsageError
from slotcast_schemas.fields import DeviceId, ModelName, Word
from slotcast_schemas.plain_files import read_regular

_FILE_MAX_BYTES: Final = 8 * 1024 * 1024
"""The most bytes of a list that are read; one of 20,000 recipients has some 2 MB."""


Groups = Annotated[tuple[Word, ...], Meta(max_length=32)]
"""The groups that a recipient is in: names by which many are taken out at once."""


class RecipientsLost(RepositoryDamaged):
    """The list that was signed is not in this copy of the repository."""


class Recipient(msgspec.Struct, frozen=True, kw_only=True):
    """One device, the public key that content keys are wrapped for, and the groups it is in."""

    device: DeviceId
    key: Annotated[bytes, Meta(min_length=32, max_length=32)]
    groups: Groups = ()

    @property
    def id(self) -> bytes:
        """The id under which a list of wrapped keys has its entry."""
        return recipient_id(self.key)


class Recipients(msgspec.Struct, frozen=True, kw_only=True):
    """The recipients of a model.

    Attributes:
        always: encrypt its releases unless told not to.
    """

    format: Literal["slotcast-recipients/1"] = "slotcast-recipients/1"
    model: ModelName
    always: bool = False
    devices: Annotated[tuple[Recipient, ...], Meta(max_length=RECIPIENTS_MAX)] = ()

    def with_devices(self, given: tuple[Recipient, ...]) -> Recipients:
        """Give the list with these added, or in the place of what it has of the same devices.

        Raises:
            UsageError: too many, or two with one key: who takes one out would leave the other one,
                with the same key, in.
        """
        by_name = {one.device: one for one in (*self.devices, *given)}
        if len(by_name) > RECIPIENTS_MAX:
            raise UsageError(f"expected at most {RECIPIENTS_MAX} recipients, got {len(by_name)}")
        ordered = tuple(by_name[name] for name in sorted(by_name))
        _check_keys_differ(ordered)
        return msgspec.structs.replace(self, devices=ordered)

    def members(self, groups: frozenset[str]) -> frozenset[str]:
        """Name the devices that are in one of the groups."""
        return frozenset(one.device for one in self.devices if not groups.isdisjoint(one.groups))

    def without(self, names: frozenset[str]) -> Recipients:
        """Give the list without these devices."""
        kept = tuple(one for one in self.devices if one.device not in names)
        return msgspec.structs.replace(self, devices=kept)


make_decoders(Recipients, Groups)


def _check_keys_differ(devices: tuple[Recipient, ...]) -> None:
    holders: dict[bytes, str] = {}
    for one in devices:
        other = holders.setdefault(one.key, one.device)
        if other != one.device:
            raise UsageError(
                f"{other} and {one.device} have one encryption key, as if one were a copy of the"
                f" other: run `slotcast-device enrol --new-key` on {one.device}, and enrol it anew"
            )


def save_recipients(folder: Path, recipients: Recipients) -> bytes:
    """Write a list, which counts once its digest is signed; gives the digest.

    Args:
        folder: of the model's lists.
        recipients: the list.

    Raises:
        StorageFailed: it cannot be written.
    """
    data = msgspec.json.format(msgspec.json.encode(recipients), indent=1)
    digest = hashlib.sha256(data).digest()
    write_atomic(folder / f"{digest.hex()}.json", data)
    return digest


def load_recipients(folder: Path, model: str, digest: bytes | None) -> Recipients:
    """Read the list that is signed; an empty one where none is.

    Args:
        folder: of the model's lists.
        model: the model's name.
        digest: what the release role signed of it.

    Raises:
        RecipientsLost: it is missing.
        RepositoryDamaged: it is not what was signed.
    """
    if digest is None:
        return Recipients(model=model)
    path = folder / f"{digest.hex()}.json"
    try:
        data = read_regular(path, _FILE_MAX_BYTES)
        if hashlib.sha256(data).digest() != digest:
            raise RepositoryDamaged(f"{path}: it is not the list of recipients that was signed")
        found = msgspec.json.decode(data, type=Recipients)
    except FileNotFoundError as exc:
        raise RecipientsLost(
            f"the recipients of {model} are not here ({path}), as after `slotcast adopt`: bring the"
            f" file from a backup, or name them anew with `slotcast recipients add`;"
            " `slotcast release --no-encrypt` needs none"
        ) from exc
    except (OSError, *UNDECODABLE) as exc:
        raise RepositoryDamaged(f"could not read the recipients {path}: {exc}") from exc
    if found.model != model:
        raise RepositoryDamaged(f"{path}: expected recipients of {model}, got of {found.model}")
    return found


def prune_recipients(folder: Path, kept: bytes) -> None:
    """Remove the lists that do not count any more."""
    for path in folder.glob("*.json"):
        if path.stem != kept.hex():
            path.unlink(missing_ok=True)
