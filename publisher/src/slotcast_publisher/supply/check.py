"""Whether a model is what somebody signed who may sign it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from slotcast_publisher.supply.bundle import Bundle, check_signature, key_sha256, read_bundle
from slotcast_publisher.supply.manifest import (
    WHOLE_MODEL,
    Manifest,
    Resource,
    read_manifest,
)
from slotcast_publisher.supply.policy import AllowedSigner, Policy
from slotcast_publisher.supply.signer_certificates import key_of_chain, names_of_der
from slotcast_publisher.supply.sigstore_identity import check_identity
from slotcast_schemas.errors import BadSignature, Inconsistent, UsageError
from slotcast_schemas.plain_files import open_regular
from slotcast_schemas.plural import several

BUNDLE_PATH: Final = "model.sig"
"""The path in a release of the bundle that was checked: devices get it beside the model."""
_NAMES_SHOWN: Final = 5
"""The most names that a message repeats."""


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that was found good.

    Attributes:
        signer: for people.
        name: what the signer called the model.
        files: how many it signed.
        ignored: names that it left out, and that a verifier leaves out.
    """

    signer: str
    name: str
    files: int
    ignored: tuple[str, ...] = ()


def check_signed_model(
    data: bytes, policy: Policy, model: str, files: Mapping[str, Path], now_s: float
) -> Checked:
    """See that a bundle is of these files, and of somebody who may sign this model.

    Args:
        data: the bundle.
        policy: who may sign what.
        model: the model's name here.
        files: where each file of the model is, by its name in the release.
        now_s: seconds since 1970.

    Raises:
        BadSignature: nobody who is allowed has signed it.
        Inconsistent: the files are not those that were signed.
        MalformedMessage: it is no bundle of model-signing.
        UnsupportedFeature: it is of a kind that is not known here.
    """
    bundle = read_bundle(data)
    signer = _find_signer(bundle, policy, model, now_s)
    manifest = read_manifest(bundle.payload)
    _check_files(manifest, files)
    return Checked(
        signer=signer.text,
        name=manifest.name,
        files=len(manifest.resources),
        ignored=manifest.ignored,
    )


def _find_signer(bundle: Bundle, policy: Policy, model: str, now_s: float) -> AllowedSigner:
    allowed = policy.signers_of(model)
    if not allowed:
        raise BadSignature(f"model signature: {policy.path} lets nobody sign {model!r}")
    refused: BadSignature | None = None
    for signer in allowed:
        try:
            _check_signer(bundle, signer, now_s)
        except BadSignature as exc:
            refused = exc
        else:
            return signer
    if len(allowed) == 1 and refused is not None:
        raise refused
    wanted = "; or ".join(signer.text for signer in allowed[:_NAMES_SHOWN])
    raise BadSignature(f"model signature: {model!r} must be signed by {wanted}; it is not")


def _check_signer(bundle: Bundle, signer: AllowedSigner, now_s: float) -> None:
    if bundle.is_keyless != (signer.trusted_root is not None):
        got = "a Sigstore identity" if bundle.is_keyless else "a key or a certificate chain"
        raise BadSignature(f"model signature: expected {signer.text}, got {got}")
    if bundle.is_keyless:
        check_identity(bundle, signer)
        return
    if signer.key is not None:
        wanted = key_sha256(signer.key)
        if bundle.key_sha256 not in {"", wanted}:
            raise BadSignature(
                f"model signature: expected {signer.text} ({wanted[:16]}), got the key"
                f" {bundle.key_sha256[:16]!r}; have the right one sign, or allow this one"
            )
        if bundle.chain:
            raise BadSignature(f"model signature: expected {signer.text}, got a certificate")
        check_signature(bundle, signer.key)
        return
    if not bundle.chain:
        raise BadSignature(f"model signature: expected {signer.text}, got a bare key")
    check_signature(bundle, key_of_chain(bundle.chain, signer, now_s))


def _check_files(manifest: Manifest, files: Mapping[str, Path]) -> None:
    """See that the files are those that were signed, each one and no other.

    What the signer left out (`ignore_paths`) may lie beside a model, but nobody signed it: it does
    not go into a release.
    """
    signed = {resource.name: resource for resource in manifest.resources}
    if signed.keys() == {WHOLE_MODEL} and len(files) == 1:
        signed = {next(iter(files)): signed[WHOLE_MODEL]}
    extra = [name for name in files if name not in signed]
    missing = [name for name in signed if name not in files]
    for what, names in (("is not signed", extra), ("is signed and was not given", missing)):
        if names:
            raise Inconsistent(
                f"model signature: expected exactly the files that were signed;"
                f" {', '.join(sorted(names)[:_NAMES_SHOWN])} {what}{_left_out(names, manifest)}"
            )
    for name, path in files.items():
        if name in signed and _digest(path, signed[name]) != signed[name].digest.lower():
            raise Inconsistent(
                f"model signature: {name} is not what was signed: its bytes have changed; get the"
                " model again from whoever signed it"
            )


def _left_out(names: list[str], manifest: Manifest) -> str:
    """Say where the signer left one of them out on purpose."""
    for name in sorted(names):
        if any(name == left or name.startswith(f"{left}/") for left in manifest.ignored):
            return f" ({name} was left out when the model was signed: give the files without it)"
    return ""


def _digest(path: Path, resource: Resource) -> str:
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, resource.algorithm).hexdigest()
    except OSError as exc:
        raise UsageError(f"could not read {path}: {exc.strerror}") from exc


def describe_bundle(data: bytes) -> str:
    """Say what a bundle claims, for people; nothing of it is checked.

    Raises:
        MalformedMessage: it is no bundle of model-signing.
        UnsupportedFeature: it is of a kind that is not known here.
    """
    bundle = read_bundle(data)
    manifest = read_manifest(bundle.payload)
    by = "a Sigstore identity" if bundle.is_keyless else f"the key {bundle.key_sha256[:16]}"
    if bundle.chain:
        by = f"a certificate of {', '.join(names_of_der(bundle.chain[0])) or 'nobody'}"
    return f"{several(len(manifest.resources), 'file')} of {manifest.name!r}, by {by}"


def sha256_of_files(files: Mapping[str, Path]) -> dict[str, bytes]:
    """Give the SHA-256 of each file, by its name.

    Raises:
        UsageError: one cannot be read.
    """
    found = {}
    for name, path in files.items():
        try:
            with open_regular(path) as file:
                found[name] = hashlib.file_digest(file, "sha256").digest()
        except OSError as exc:
            raise UsageError(f"could not read {path}: {exc.strerror}") from exc
    return found
