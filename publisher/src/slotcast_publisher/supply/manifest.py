"""What an OpenSSF model-signing bundle signs: which files a model has, by name and digest.

A statement of in-toto's v1 with the predicate of model-signing v1.0. Two ways to count files are in
its definition: whole files, and pieces of files; here the first, which its own tools use unless
told otherwise. The subject's digest is that of the files' digests, one after the other.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.errors import BadSignature, MalformedMessage, UnsupportedFeature
from slotcast_schemas.strict_json import read_json

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
"""What a signed manifest says that it is: in-toto in DSSE, as model-signing 1.0 writes it."""
OLD_PREDICATE_TYPE: Final = "https://model_signing/Digests/v0.1"
"""Of the format before v1.0, which nobody may make any more, and which is not read here."""
WHOLE_MODEL: Final = "."
"""What model-signing calls the one file of a model that is no folder."""
DIGEST_BYTES: Final = {"sha256": 32, "blake2b": 64}
"""The digest algorithms that are read, by their names there, and the bytes of each digest.
`blake3` is in no library of ours."""
_FILES_MAX: Final = 10_000
"""The most files that a bundle may name."""


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is signed."""

    name: str
    algorithm: str
    digest: str


class Serialization(msgspec.Struct, frozen=True, kw_only=True):
    """How the files were counted; names below `ignore_paths` were left out."""

    method: str
    hash_type: str
    allow_symlinks: bool = False
    ignore_paths: tuple[str, ...] = ()


class _Predicate(msgspec.Struct, frozen=True, kw_only=True):
    serialization: Serialization
    resources: tuple[Resource, ...]


class _Subject(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    digest: dict[str, str]


class _Statement(msgspec.Struct, frozen=True, kw_only=True, rename={"type_": "_type"}):
    type_: str
    subject: tuple[_Subject, ...]
    predicateType: str  # noqa: N815 - as in-toto names it
    predicate: Any


make_decoders(_Statement, _Predicate)


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The files of a model.

    Attributes:
        name: what the signer called the model.
        ignored: names that the signer left out.
    """

    name: str
    resources: tuple[Resource, ...]
    ignored: tuple[str, ...] = ()


def read_manifest(payload: bytes) -> Manifest:
    """Read what was signed.

    Raises:
        MalformedMessage: it is no statement of model-signing v1.0.
        UnsupportedFeature: the files were counted or hashed in a way that is not known here.
        BadSignature: its digests contradict each other.
    """
    try:
        said = msgspec.convert(read_json(payload), _Statement)
        _expect("the statement's type", STATEMENT_TYPE, said.type_)
        _expect("the predicate's type", PREDICATE_TYPE, said.predicateType)
        predicate = msgspec.convert(said.predicate, _Predicate)
    except ValueError as exc:
        raise MalformedMessage(f"model signature: no statement of model-signing: {exc}") from exc
    if len(said.subject) != 1:
        raise MalformedMessage(f"model signature: expected one subject, got {len(said.subject)}")
    if not 1 <= len(predicate.resources) <= _FILES_MAX:
        raise MalformedMessage(
            f"model signature: expected 1 to {_FILES_MAX} files, got {len(predicate.resources)}"
        )
    _check_counting(predicate)
    root = hashlib.sha256(b"".join(bytes.fromhex(r.digest) for r in predicate.resources))
    if said.subject[0].digest.get("sha256") != root.hexdigest():
        raise BadSignature("model signature: its digest is not that of the files it names")
    return Manifest(
        name=said.subject[0].name,
        resources=predicate.resources,
        ignored=predicate.serialization.ignore_paths,
    )


def _expect(what: str, expected: str, got: str) -> None:
    if got != expected:
        raise MalformedMessage(f"model signature: {what}: expected {expected}, got {got!r:.100}")


def _check_counting(predicate: _Predicate) -> None:
    if predicate.serialization.method != "files":
        raise UnsupportedFeature(
            "model signature: expected whole files (method 'files'), got"
            f" {predicate.serialization.method!r:.40}; sign the model without --shard_size"
        )
    names = [resource.name for resource in predicate.resources]
    if len(set(names)) != len(names):
        raise MalformedMessage("model signature: a file is named twice")
    for resource in predicate.resources:
        if resource.algorithm != predicate.serialization.hash_type:
            raise MalformedMessage(
                f"model signature: {resource.name!r:.100}: expected a digest by"
                f" {predicate.serialization.hash_type!r:.40}, got {resource.algorithm!r:.40}"
            )
        wanted = DIGEST_BYTES.get(resource.algorithm)
        if wanted is None:
            raise UnsupportedFeature(
                f"model signature: {resource.name!r:.100}: expected a digest by one of"
                f" {', '.join(DIGEST_BYTES)}, got {resource.algorithm!r:.40}; sign it with sha256"
            )
        try:
            size = len(bytes.fromhex(resource.digest))
        except ValueError:
            size = -1
        if size != wanted:
            raise MalformedMessage(f"model signature: {resource.name!r:.100}: no digest")


def write_manifest(name: str, digests: dict[str, bytes], ignored: tuple[str, ...]) -> bytes:
    """Give the bytes to sign.

    Args:
        name: what the model is called.
        digests: the SHA-256 of each file, by its name.
        ignored: names beside them that a verifier is to leave out.
    """
    files = sorted(digests.items())
    root = hashlib.sha256(b"".join(digest for _, digest in files))
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": root.hexdigest()}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": sorted(ignored),
            },
            "resources": [
                {"name": path, "algorithm": "sha256", "digest": digest.hex()}
                for path, digest in files
            ],
        },
    }
    return msgspec.json.encode(statement)
