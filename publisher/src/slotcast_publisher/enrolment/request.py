"""Reads what `slotcast-device enrol` wrote, and proves that it is of one who has the key.

It proves no more: that the file is this device's, and not a thief's who says so, is known by the
way that it came.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from slotcast_schemas import identity
from slotcast_schemas.content_key import read_public_key
from slotcast_schemas.enrolment import (
    REQUEST_MAX_BYTES,
    Enrolment,
    encryption_key_data,
    parse_enrolment,
)
from slotcast_schemas.errors import UsageError
from slotcast_schemas.plain_files import read_start
from slotcast_schemas.x509_errors import UNREADABLE


@dataclass(frozen=True, slots=True)
class ProvenRequest:
    """A request that was made by one who has the key that it names.

    Attributes:
        enrolment: as it was read, with all its fields.
        csr: the PKCS#10 request in it.
        public_key: of the device's identity key.
    """

    enrolment: Enrolment
    csr: x509.CertificateSigningRequest
    public_key: identity.PublicKey

    @property
    def device(self) -> str:
        """The device's id."""
        return self.enrolment.device_id

    @property
    def key_id(self) -> str:
        """The id of its key (`identity.key_id`)."""
        return identity.key_id(self.public_key)

    @property
    def encryption_key(self) -> bytes | None:
        """The public key for which content keys are wrapped; None where the device said none."""
        text = self.enrolment.encryption_key
        return read_public_key(text) if text else None


def read_request_bytes(path: Path) -> bytes:
    """Give what is in a file, up to what a request may have and a byte more.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        return read_start(path, REQUEST_MAX_BYTES + 1)
    except OSError as exc:
        raise UsageError(f"could not read {path}: {exc.strerror}") from exc


def read_request(data: bytes, what: str) -> ProvenRequest:
    """Read an enrolment request and prove it.

    Args:
        data: its bytes.
        what: what messages call it, such as the file's name.

    Raises:
        UsageError: it is malformed, its certificate request names another device or was not signed
            by its own key, the key is of a kind that devices do not have, or the encryption key is
            none or not signed by it.
    """
    enrolment = parse_enrolment(data, what)
    try:
        csr = x509.load_pem_x509_csr(enrolment.csr.encode())
        is_canonical = csr.public_bytes(Encoding.PEM).decode().split() == enrolment.csr.split()
        names = [(name.oid, name.value) for name in csr.subject]
        public, is_proven = csr.public_key(), csr.is_signature_valid
    except UNREADABLE as exc:
        raise UsageError(f"{what}: csr: not a PKCS#10 request in PEM: {exc!s:.200}") from exc
    if not is_canonical:
        raise UsageError(f"{what}: csr: expected one PKCS#10 request in PEM and nothing beside it")
    if not identity.is_fit(public):
        raise UsageError(
            f"{what}: csr: expected an Ed25519 or a P-256 key, got {type(public).__name__}"
        )
    if names != [(NameOID.COMMON_NAME, enrolment.device_id)]:
        said = ", ".join(str(value) for _, value in names)
        raise UsageError(
            f"{what}: csr: expected the common name {enrolment.device_id} and no other name, got"
            f" {said!r:.200}"
        )
    if not is_proven:
        raise UsageError(f"{what}: csr: not signed by the key that it names")
    found = ProvenRequest(enrolment, csr, cast("identity.PublicKey", public))
    _check_encryption_key(found, what)
    return found


def _check_encryption_key(request: ProvenRequest, what: str) -> None:
    """See that the identity key vouches for the encryption key, if there is one."""
    try:
        key = request.encryption_key
        signature = base64.b64decode(request.enrolment.encryption_signature, validate=True)
    except (UsageError, ValueError) as exc:
        raise UsageError(f"{what}: {exc!s:.200}") from exc
    if key is None:
        return
    said = encryption_key_data(request.device, key)
    if not identity.is_signed_by(request.public_key, identity.ENCRYPTION_CONTEXT, said, signature):
        raise UsageError(f"{what}: encryption_key: not signed by the device's identity key")
