"""Signers, certificates and bundles of OpenSSF's model-signing, made with its own package."""

from __future__ import annotations

import base64
import importlib
import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW_S = 1_790_000_000


def write_key(path: Path, curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    """Make a key: `path` and, its public half, `path`.pub."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub").write_bytes(public)
    return key


def write_certificate(
    path: Path,
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: tuple[str, ec.EllipticCurvePrivateKey] | None = None,
    days: tuple[int, int] = (-10, 10),
    *,
    is_authority: bool = False,
    may_sign: bool = True,
    is_for_code: bool = True,
) -> None:
    """Make a certificate in PEM.

    Args:
        path: where.
        name: its common name.
        key: whose public half it is of.
        issuer: the name and key of who vouches for it; itself unless given.
        days: from when to when it counts, around `NOW_S`.
        is_authority: whether it may vouch for others.
        may_sign: whether it may sign anything.
        is_for_code: whether it says that it is for signing code, as a signer's must.
    """
    issuer_name, issuer_key = issuer or (name, key)
    now = datetime.fromtimestamp(NOW_S, UTC)
    usage = x509.KeyUsage(may_sign, False, False, False, False, is_authority, False, False, False)
    purpose = ExtendedKeyUsageOID.CODE_SIGNING if is_for_code else ExtendedKeyUsageOID.CLIENT_AUTH
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer_name)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    path.write_bytes(certificate.public_bytes(Encoding.PEM))


def stock(*words: object) -> subprocess.CompletedProcess[str]:
    """Run the command of the package, as a person would."""
    _require_package()
    command = [sys.executable, "-m", "model_signing", *(str(word) for word in words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def stock_sign(model: Path, key: Path, bundle: Path, chain: Sequence[Path] = ()) -> bytes:
    """Sign with the package: with a key, or with a certificate and those above it."""
    _require_package()
    signing: Any = importlib.import_module("model_signing.signing")
    hashing: Any = importlib.import_module("model_signing.hashing")
    config = signing.Config().set_hashing_config(
        hashing.Config().use_file_serialization(hashing_algorithm="sha256")
    )
    if chain:
        config.use_certificate_signer(
            private_key=key, signing_certificate=chain[0], certificate_chain=chain[1:]
        )
    else:
        config.use_elliptic_key_signer(private_key=key)
    config.sign(model, bundle)
    return bundle.read_bytes()


def _require_package() -> None:
    """Skip the test where the package's own ones do not run: with the oldest that we take."""
    if find_spec("cryptography.hazmat.asn1") is None:
        pytest.skip("model-signing's own packages need a newer cryptography than ours do")


def resigned(
    bundle: bytes, key: ec.EllipticCurvePrivateKey, text: str | None = None, **changes: Any
) -> bytes:
    """Change a bundle's statement, and sign it again: `a__b` names b in a; or sign another text."""
    found = json.loads(bundle)
    envelope = found["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    for path, value in changes.items():
        *folders, name = path.split("__")
        at = statement
        for folder in folders:
            at = at[folder]
        at[name] = value
    payload = (text or json.dumps(statement)).encode()
    kind = envelope["payloadType"].encode()
    padded = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    signature = key.sign(padded, ec.ECDSA(hashes.SHA256()))
    envelope["payload"] = base64.b64encode(payload).decode()
    envelope["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    return json.dumps(found).encode()


def statement_of(bundle: bytes) -> Any:
    """Give what a bundle signs."""
    return json.loads(base64.b64decode(json.loads(bundle)["dsseEnvelope"]["payload"]))
