"""Whether the pinned root vouches for a release that lies on a device: now, and years later.

A notice is proof of its release for as long as somebody keeps it: root, the roots after it, the
model's targets and the role that signs its releases are in it. This follows those signatures with
python-tuf's own calls, and looks at nothing that passes with time: no date, no timestamp, no
snapshot and no offer. Whether a notice is *news* is asked once, when it comes (`verify`); whether a
release that was installed is still the one that was signed is asked at each start, also on a device
that lay in a drawer until all dates were over.

What was signed by a key that root took away later stays proven: it was taken in when that key
counted, and a device is not to lose its model because somebody changed keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import Metadata, Root, Targets

from slotcast_schemas import limits, trust, wire
from slotcast_schemas.errors import BadSignature, Inconsistent, MalformedMessage
from slotcast_schemas.messages import Notice, Release

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEPTH_MAX: Final = 4
"""The most delegations that are followed from a model's targets to the role of its releases."""


def prove_release(release_bytes: bytes, notice: bytes, model: str, pinned_root: bytes) -> None:
    """See that a notice that was kept vouches for a release, to the byte.

    Args:
        release_bytes: the signed release, as it lies on the device.
        notice: the notice with which it was taken in, as received.
        model: the model whose release it must be.
        pinned_root: root metadata that this device was provisioned with.

    Raises:
        BadSignature: the notice's signatures are not good, or do not vouch for these bytes.
        MalformedMessage: or a sharper kind: the notice or the release cannot be read.
    """
    kept = wire.decode(notice, Notice)
    release = wire.decode(release_bytes, Release)
    for found in (kept.model, release.model):
        if found != model:
            raise BadSignature(f"expected a release of {model!r}, got one of {found!r}")
    path = trust.release_target(model, release.version)
    try:
        root = _newest_root(kept.metadata, pinned_root)
        targets = _read_role(kept.metadata, Targets.type)
        root.verify_delegate(Targets.type, targets.signed_bytes, targets.signatures)
        info = _signer_of(targets.signed, kept.metadata, path, _DEPTH_MAX)
        info.targets[path].verify_length_and_hashes(release_bytes)
    except (tuf_errors.UnsignedMetadataError, tuf_errors.LengthOrHashMismatchError) as exc:
        raise BadSignature(f"{path} is not what was signed: {exc}"[:400]) from exc
    except (tuf_errors.RepositoryError, ValueError) as exc:
        raise MalformedMessage(f"kept metadata cannot be read: {exc}"[:400]) from exc


def _newest_root(metadata: Mapping[str, bytes], pinned_root: bytes) -> Root:
    """Follow the notice's roots from the pinned one, each signed by the one before and itself."""
    root = Metadata[Root].from_bytes(pinned_root).signed
    for _ in range(limits.METADATA_FILES_MAX):
        data = metadata.get(f"{root.version + 1}.root.json")
        if data is None:
            break
        found = Metadata[Root].from_bytes(data)
        if found.signed.version != root.version + 1:
            raise BadSignature(f"expected root {root.version + 1}, got {found.signed.version}")
        for signer in (root, found.signed):
            signer.verify_delegate(Root.type, found.signed_bytes, found.signatures)
        root = found.signed
    return root


def _signer_of(delegator: Targets, metadata: Mapping[str, bytes], path: str, depth: int) -> Targets:
    """Give the verified role that names a target, by the delegations that speak of its path."""
    if path in delegator.targets:
        return delegator
    if delegator.delegations is not None and depth > 0:
        for name, _ in delegator.delegations.get_roles_for_target(path):
            role = _read_role(metadata, name)
            delegator.verify_delegate(name, role.signed_bytes, role.signatures)
            return _signer_of(role.signed, metadata, path, depth - 1)
    raise BadSignature(f"no trusted role vouches for {path!r}")


def _read_role(metadata: Mapping[str, bytes], role: str) -> Metadata[Targets]:
    """Read the one file of a role that the notice carries, whatever its version."""
    for name, data in metadata.items():
        version, _, rest = name.partition(".")
        if version.isdigit() and rest == f"{role}.json":
            return Metadata[Targets].from_bytes(data)
    raise Inconsistent(f"expected the notice to carry the role {role!r}; it does not")
