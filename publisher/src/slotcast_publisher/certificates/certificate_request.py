"""Reads what a certificate is asked for with: a PKCS#10 request, by itself or in an enrolment.

Of a request only its name and its key are taken. Whatever else it asks for, such as to be an
authority, is not looked at: what is in a certificate is decided by `profiles`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, cast

from cryptography import x509

from slotcast_publisher.certificates.profiles import PublicKey, common_name, is_fit
from slotcast_publisher.enrolment import request as enrolment
from slotcast_schemas import fields
from slotcast_schemas.errors import UsageError
from slotcast_schemas.x509_errors import UNREADABLE

REQUEST_MAX_BYTES: Final = 32 * 1024
"""The most bytes of a request; a usual one has half a kilobyte."""

_DEVICE: Final = re.compile(fields.DEVICE_PATTERN)


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """Who asks, and with which key; made by one who has that key."""

    device: str
    public_key: PublicKey


def read_request(data: bytes, what: str) -> CertificateRequest:
    """Read a request of a device, and prove that it was made by one who has the key it names.

    Args:
        data: a PKCS#10 request in PEM, or an enrolment request with one in it.
        what: what messages call it, such as the file's name.

    Raises:
        UsageError: it is neither, is not signed by its own key, has a key that is too weak, or a
            name that no device may have.
    """
    if len(data) > REQUEST_MAX_BYTES:
        raise UsageError(
            f"{what}: expected a certificate request of at most {REQUEST_MAX_BYTES} bytes,"
            f" got {len(data)}"
        )
    if not data.lstrip().startswith(b"{"):
        return _read_csr(data, what)
    found = enrolment.read_request(data, what)
    return CertificateRequest(check_device_id(found.device, what), found.public_key)


def check_device_id(name: str | None, what: str) -> str:
    """Give a name if a device may have it; one with `@`, as publishers have, it may not.

    Raises:
        UsageError: it may not.
    """
    if name is None or not _DEVICE.match(name):
        raise UsageError(
            f"{what}: expected one common name that is a device id,"
            f" {fields.ALLOWED[fields.DEVICE_PATTERN]}; got {name!r:.100}"
        )
    return name


def _read_csr(pem: bytes, what: str) -> CertificateRequest:
    try:
        csr = x509.load_pem_x509_csr(pem)
        is_proven = csr.is_signature_valid
        key = csr.public_key()
        name = common_name(csr.subject)
    except UNREADABLE as exc:
        raise UsageError(f"{what}: expected a PKCS#10 request in PEM: {exc!s:.200}") from exc
    if not is_proven:
        raise UsageError(f"{what}: it is not signed by the key that it names")
    if not is_fit(key):
        raise UsageError(
            f"{what}: expected a key of Ed25519, P-256, P-384 or RSA of 2,048 bits or more,"
            f" got {type(key).__name__.lstrip('_')} of {getattr(key, 'key_size', 'unknown size')}"
        )
    return CertificateRequest(check_device_id(name, what), cast("PublicKey", key))
