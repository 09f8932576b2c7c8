"""Who may sign which model: a TOML file beside whoever releases, read when a bundle is checked.

    format = 1

    [[allow]]
    models = ["detector", "speech-*"]
    key = "trainer.pem"

    [[allow]]
    models = ["*"]
    roots = ["training-ca.pem"]
    name = "training@example.com"

    [[allow]]
    models = ["*"]
    identity = "training@example.com"
    issuer = "https://accounts.example.com"
    trusted_root = "trusted_root.json"

A model that no rule names may be signed by nobody: what is not allowed is refused.
"""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from msgspec import Meta

from slotcast_schemas.bounded_toml import read_toml
from slotcast_schemas.decode_errors import UNDECODABLE
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.errors import UsageError
from slotcast_schemas.explain import convert
from slotcast_schemas.named_files import read_named
from slotcast_schemas.plain_files import open_regular
from slotcast_schemas.x509_errors import UNREADABLE

_FILE_MAX_BYTES: Final = 256 * 1024
"""The most bytes of a policy, a certificate or a key that are read."""
_Said = Annotated[str, Meta(min_length=1)]
"""A text that says something: an empty issuer would be one that nobody asks for."""
_Patterns = Annotated[tuple[str, ...], Meta(min_length=1, max_length=256)]


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One signer, and the models that it may sign.

    Attributes:
        models: their names; `*` and `?` stand for others.
        key: the signer's public key, a PEM file relative to the policy.
        roots: or certificates that the signer's must lead to, PEM files relative to the policy.
        name: with `roots`: what the signer's certificate must say: its common name, or an e-mail
            address, URI or host among its alternative names.
        allow_expired: take a certificate whose time is over, too.
        identity: or a Sigstore identity: an e-mail address or URI that its certificate must say.
        issuer: with `identity`: the address of the service that must have checked it.
        trusted_root: with `identity`: whose authorities and logs count, a file of Sigstore's
            relative to the policy.
    """

    models: _Patterns
    key: _Said | None = None
    roots: Annotated[tuple[_Said, ...], Meta(max_length=16)] = ()
    name: _Said | None = None
    allow_expired: bool = False
    identity: _Said | None = None
    issuer: _Said | None = None
    trusted_root: _Said | None = None

    @property
    def is_clear(self) -> bool:
        """Whether it says one kind of signer, and all of it."""
        by_certificate = (bool(self.roots), self.name is not None)
        by_identity = tuple(v is not None for v in (self.identity, self.issuer, self.trusted_root))
        kinds = (self.key is not None, any(by_certificate), any(by_identity))
        is_whole = all(by_certificate) == any(by_certificate) and (
            all(by_identity) == any(by_identity)
        )
        return sum(kinds) == 1 and is_whole


class _PolicyFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: Literal[1]
    allow: Annotated[tuple[Rule, ...], Meta(min_length=1, max_length=1024)]


make_decoders(_PolicyFile)


class AllowedSigner(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a rule allows, with what its files hold.

    Attributes:
        text: for people.
        key: that must have signed; None where a certificate must say who did.
        trusted_root: of Sigstore, where the name is an identity that `issuer` must have checked.
    """

    text: str
    key: ec.EllipticCurvePublicKey | None = None
    roots: tuple[x509.Certificate, ...] = ()
    name: str = ""
    allow_expired: bool = False
    issuer: str = ""
    trusted_root: Path | None = None


class Policy:
    """A policy that was read.

    Args:
        path: of its file.
        rules: what it says, in its order.
    """

    def __init__(self, path: Path, rules: tuple[Rule, ...]) -> None:
        self.path = path
        self._rules = rules

    def signers_of(self, model: str) -> list[AllowedSigner]:
        """Give who may sign a model.

        Raises:
            UsageError: a file that a rule names cannot be used.
        """
        return [
            self._signer(rule)
            for rule in self._rules
            if any(fnmatch.fnmatchcase(model, pattern) for pattern in rule.models)
        ]

    def _signer(self, rule: Rule) -> AllowedSigner:
        if rule.key is not None:
            return AllowedSigner(
                text=f"the key {rule.key}", key=read_public_key(self._beside(rule.key))
            )
        if rule.trusted_root is not None:
            return AllowedSigner(
                text=f"{rule.identity} of {rule.issuer}, by {rule.trusted_root}",
                name=str(rule.identity),
                issuer=str(rule.issuer),
                trusted_root=self._beside(rule.trusted_root),
            )
        roots = tuple(c for name in rule.roots for c in read_certificates(self._beside(name)))
        text = f"{rule.name}, by a certificate from {', '.join(rule.roots)}"
        return AllowedSigner(
            text=text, roots=roots, name=str(rule.name), allow_expired=rule.allow_expired
        )

    def _beside(self, name: str) -> Path:
        return self.path.parent / name


def read_policy(path: Path) -> Policy:
    """Read a policy.

    Raises:
        UsageError: it cannot be read, or has a key that is not known or a value that cannot be.
    """
    try:
        found = convert(read_toml(read_file(path).decode()), _PolicyFile, str(path))
    except UNDECODABLE as exc:
        raise UsageError(f"{path} is not TOML: {exc}") from exc
    for number, rule in enumerate(found.allow, start=1):
        if not rule.is_clear:
            raise UsageError(
                f"{path}: allow {number}: expected either `key`, or `roots` and `name`, or"
                " `identity`, `issuer` and `trusted_root`"
            )
    return Policy(path, found.allow)


def read_public_key(path: Path) -> ec.EllipticCurvePublicKey:
    """Read a signer's public key.

    Raises:
        UsageError: it cannot be read, or is of another kind.
    """
    try:
        key = load_pem_public_key(read_file(path))
    except UNREADABLE as exc:
        raise UsageError(f"{path}: expected a public key in PEM: {exc}") from exc
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise UsageError(f"{path}: expected a key on P-256, P-384 or P-521, as model-signing's are")
    return key


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """Read the certificates of a PEM file.

    Raises:
        UsageError: it cannot be read, or holds none.
    """
    try:
        return tuple(x509.load_pem_x509_certificates(read_file(path)))
    except UNREADABLE as exc:
        raise UsageError(f"{path}: expected certificates in PEM: {exc}") from exc


def read_file(path: Path, max_bytes: int = _FILE_MAX_BYTES) -> bytes:
    """Read a small file that somebody gave, or that lies in a release; a pipe is refused.

    Raises:
        UsageError: it cannot be read, or is larger.
    """
    return read_named(path, max_bytes, open_regular)
