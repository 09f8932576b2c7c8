"""Reads keys and certificates of clients, by `cryptography`: what is in them, and whose."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from slotcast_device.core.certificate_choice import HeldCertificate
from slotcast_schemas import identity
from slotcast_schemas.errors import UsageError
from slotcast_schemas.x509_errors import UNREADABLE

_PEM_MARK: Final = b"-----BEGIN"
_CHAIN_MAX: Final = 4
"""The most certificates in a device's file: its own, and those of the authorities above it."""


def key_id(public: Any) -> str:
    """Give the SHA-256 of a public key (its SubjectPublicKeyInfo), in hexadecimal."""
    return identity.key_id(public)


def load_key(pem: bytes, what: str) -> Any:
    """Give an unencrypted private key.

    Raises:
        UsageError: it is none.
    """
    try:
        key = load_pem_private_key(pem, None)
    except UNREADABLE as exc:
        raise UsageError(f"{what}: expected an unencrypted private key in PEM: {exc}") from exc
    if not isinstance(
        key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
    ):
        raise UsageError(f"{what}: expected a key of Ed25519, an elliptic curve or RSA")
    return key


def make_request(key: Any, device: str) -> bytes:
    """Give a PKCS#10 request for a device's name by its key, in DER."""
    return _request(key, device).public_bytes(Encoding.DER)


def request_pem(key: Any, device: str) -> bytes:
    """Give a PKCS#10 request for a device's name by its key, in PEM."""
    return _request(key, device).public_bytes(Encoding.PEM)


def _request(key: Any, device: str) -> x509.CertificateSigningRequest:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    is_ed25519 = isinstance(key, ed25519.Ed25519PrivateKey)
    return builder.sign(key, None if is_ed25519 else hashes.SHA256())


def to_pem(data: bytes, what: str) -> bytes:
    """Give certificates in PEM, of PEM or of one in DER.

    Raises:
        UsageError: there is none in it, or more than a chain has.
    """
    try:
        if data.lstrip().startswith(_PEM_MARK):
            found = x509.load_pem_x509_certificates(data)
        else:
            found = [x509.load_der_x509_certificate(data)]
    except UNREADABLE as exc:
        raise UsageError(f"{what}: expected a certificate in PEM or DER: {exc!s:.200}") from exc
    if len(found) > _CHAIN_MAX:
        raise UsageError(f"{what}: expected at most {_CHAIN_MAX} certificates, got {len(found)}")
    return b"".join(one.public_bytes(Encoding.PEM) for one in found)


def to_der(pem: bytes, what: str) -> bytes:
    """Give the first certificate of a file in DER.

    Raises:
        UsageError: there is none in it.
    """
    return _first(pem, what).public_bytes(Encoding.DER)


def check_client(pem: bytes, device: str, what: str, now_s: float) -> x509.Certificate:
    """Give the first certificate of a file, if it lets a device in as a client now.

    Args:
        pem: the file's content.
        device: the device's id.
        what: what messages call it.
        now_s: the time of day, seconds since 1970.

    Raises:
        UsageError: it cannot be read, is of another name, for something else, or has ended.
    """
    found = _first(pem, what)
    try:
        names = [str(n.value) for n in found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        is_for_clients = _is_for_clients(found)
        end = found.not_valid_after_utc
        key_id(found.public_key())  # raises here, not later, if it cannot be read
        held(found, Path(), is_new=True)
    except UNREADABLE as exc:
        raise UsageError(f"{what}: expected a certificate: {exc!s:.200}") from exc
    if names != [device]:
        raise UsageError(f"{what}: expected the name {device}, got {', '.join(names) or 'none'}")
    if not is_for_clients:
        raise UsageError(f"{what}: it is not for clients")
    if end.timestamp() <= now_s:
        raise UsageError(f"{what}: it ended at {end:%Y-%m-%d %H:%M} UTC")
    return found


def _is_for_clients(certificate: x509.Certificate) -> bool:
    """Say whether a certificate lets clients in, which it does where it says nothing of it."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.CLIENT_AUTH in usage


def check_chain(pem: bytes, certificate: x509.Certificate, what: str) -> None:
    """Check that each certificate of a file was signed by the one after it.

    Args:
        pem: the file's content.
        certificate: the first one in it.
        what: what messages call it.

    Raises:
        UsageError: one was not.
    """
    below = certificate
    for above in x509.load_pem_x509_certificates(pem)[1:]:
        try:
            below.verify_directly_issued_by(above)
        except (*UNREADABLE, InvalidSignature) as exc:
            raise UsageError(f"{what}: the second certificate did not sign the first") from exc
        below = above


def held_of(pem: bytes, path: Path, key: str, *, is_new: bool) -> HeldCertificate | None:
    """Give what is to be known of a file's first certificate; None if it is not of a key.

    Args:
        pem: the file's content.
        path: the file.
        key: the id of the key.
        is_new: whether no broker took it yet.
    """
    try:
        found = x509.load_pem_x509_certificates(pem)[0]
        return held(found, path, is_new=is_new) if key_id(found.public_key()) == key else None
    except (*UNREADABLE, IndexError):
        return None


def held(certificate: x509.Certificate, path: Path, *, is_new: bool) -> HeldCertificate:
    """Give what is to be known of a certificate.

    Args:
        certificate: the certificate.
        path: its file.
        is_new: whether no broker took it yet.
    """
    return HeldCertificate(
        f"{certificate.serial_number:x}",
        str(path),
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
        is_new,
    )


def _first(pem: bytes, what: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(pem)[0]
    except UNREADABLE as exc:
        raise UsageError(f"{what}: expected a certificate in PEM: {exc!s:.200}") from exc
