"""Certificate requests as devices make them, and as they should not."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def make_csr(*names: str, key: PrivateKey, asks_for_authority: bool = False) -> bytes:
    """Give a PKCS#10 request with these common names, signed by its key, in PEM."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if asks_for_authority:
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        builder = builder.add_extension(constraints, critical=True)
    is_ed25519 = isinstance(key, ed25519.Ed25519PrivateKey)
    return builder.sign(key, None if is_ed25519 else hashes.SHA256()).public_bytes(Encoding.PEM)


def key_pem(key: PrivateKey) -> bytes:
    """Give a private key in PEM, unencrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
