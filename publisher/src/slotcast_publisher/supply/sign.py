"""Signs a model as OpenSSF's model-signing does, with a key or with a certificate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from slotcast_publisher.private_key_files import open_private_key
from slotcast_publisher.supply.bundle import write_bundle
from slotcast_publisher.supply.check import BUNDLE_PATH, sha256_of_files
from slotcast_publisher.supply.manifest import write_manifest
from slotcast_publisher.supply.policy import read_certificates, read_file
from slotcast_schemas.errors import UsageError


class SigningKey(msgspec.Struct, frozen=True, kw_only=True):
    """What to sign with.

    Attributes:
        chain: the certificate of the key, and those that vouch for it; none where verifiers know
            the key itself.
    """

    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...] = ()


def read_signing_key(
    path: Path, certificates: Path | None, passphrase: Callable[[str], str | None]
) -> SigningKey:
    """Read a private key, and the certificates that go with it.

    Args:
        path: of the key, in PEM.
        certificates: a PEM file, the key's own first; None for none.
        passphrase: asked for, with what it is for, where the key is encrypted.

    Raises:
        UsageError: a file cannot be read, or the certificate is of another key.
        KeyUnavailable: the passphrase is wrong.
    """
    pem = read_file(path)
    key = open_private_key(pem, path, f"the key {path.name}", passphrase)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UsageError(f"{path}: expected a key on P-256, P-384 or P-521, as model-signing's are")
    chain = () if certificates is None else read_certificates(certificates)
    if chain and chain[0].public_key() != key.public_key():
        raise UsageError(f"{certificates}: expected the certificate of {path} first")
    return SigningKey(key=key, chain=chain)


def sign_model(
    name: str, files: Mapping[str, Path], signing: SigningKey, ignored: tuple[str, ...] = ()
) -> bytes:
    """Give a bundle over files.

    Args:
        name: what the model is called.
        files: where each file is, by its name in the model.
        signing: with what.
        ignored: names that a verifier is to leave out, beside the bundle's own.

    Raises:
        UsageError: a file cannot be read.
    """
    payload = write_manifest(name, sha256_of_files(files), (BUNDLE_PATH, *ignored))
    return write_bundle(payload, signing.key, signing.chain)
