"""Answers devices that ask for a certificate that ends later (`slotcast_schemas.messages.renewal`).

A device gets one for the name and the key that it has a certificate for already, while that counts
and is not revoked. So who stole a device's key can go on until the device is revoked, and not
longer; who only hears the messages can do nothing, for there is no secret in them.
How often a device is answered in a day is decided by `serve.renewal_budgets`.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from slotcast_publisher.certificates.broker_files import LISTENERS
from slotcast_publisher.certificates.certificate_request import CertificateRequest, read_request
from slotcast_publisher.certificates.desk import DEVICE_DAYS, CertificateDesk
from slotcast_publisher.certificates.issued_record import serial_of
from slotcast_publisher.certificates.profiles import common_name, is_issued_by, life_of
from slotcast_schemas import wire
from slotcast_schemas.errors import (
    BadSignature,
    Expired,
    Inconsistent,
    RefusedRelease,
    UsageError,
)
from slotcast_schemas.limits import DETAIL_MAX_CHARS
from slotcast_schemas.messages import Certificate, Renewal
from slotcast_schemas.x509_errors import UNREADABLE

ASKED_TOO_EARLY_PART: Final = 0.5
"""The part of a certificate's life that must be over before it is renewed."""

_DAY: Final = timedelta(days=1)


class RenewalOffice:
    """Answers renewals of one repository.

    Args:
        desk: makes certificates, and knows which are revoked.
    """

    def __init__(self, desk: CertificateDesk) -> None:
        self._desk = desk

    def answer(self, device: str, data: bytes, now: datetime) -> Certificate | None:
        """Answer what came below a device's name; None for what is no renewal of that device.

        Args:
            device: whose topic it came on: the broker's rules let nobody else write there.
            data: the message.
            now: the time.

        Raises:
            KeyUnavailable: the authority's key does not open.
            StorageFailed: the record cannot be written; nothing is given.
        """
        try:
            asked = wire.decode(data, Renewal)
        except RefusedRelease:
            return None
        if asked.device != device:
            return None
        digest = hashlib.sha256(asked.request).digest()
        try:
            made = self._renewed(asked, now)
        except (RefusedRelease, UsageError) as exc:
            detail = str(exc)[:DETAIL_MAX_CHARS]
            return Certificate(device=device, request=digest, reason=exc.reason, detail=detail)
        der = made.public_bytes(Encoding.DER)
        return Certificate(device=device, request=digest, certificate=der)

    def _renewed(self, asked: Renewal, now: datetime) -> x509.Certificate:
        request = _read(asked)
        held = self._proven(asked, request, now)
        if now < held.not_valid_before_utc + life_of(held) * ASKED_TOO_EARLY_PART:
            raise Inconsistent("less than half of the certificate's life is over: ask later")
        days = min(life_of(held) / _DAY, DEVICE_DAYS)
        return self._desk.renew_device(
            request.device, request.public_key, days=days, ends_before=held.not_valid_after_utc
        )

    def _proven(
        self, asked: Renewal, request: CertificateRequest, now: datetime
    ) -> x509.Certificate:
        """Give the certificate that the device has, if it lets it in now.

        Raises:
            Inconsistent: it is of another name or key than the request.
            BadSignature: no authority of devices signed it, or it is revoked.
            Expired: it does not count now.
        """
        try:
            held = x509.load_der_x509_certificate(asked.certificate)
            is_same = held.public_key() == request.public_key
            name = common_name(held.subject)
        except UNREADABLE as exc:
            raise Inconsistent(f"expected a certificate in DER: {exc!s:.200}") from exc
        if not is_same or name != request.device:
            raise Inconsistent(
                f"expected the name and key of the request, {request.device}, in the certificate,"
                f" got {name!r:.100} with {'the same' if is_same else 'another'} key"
            )
        issuers = [self._desk.authorities.certificate(one) for one in LISTENERS["devices"]]
        if not any(is_issued_by(held, issuer) for issuer in issuers):
            raise BadSignature("no authority of devices here signed the certificate")
        if serial_of(held) in self._desk.record.revoked():
            raise BadSignature("the certificate is revoked")
        if not held.not_valid_before_utc <= now <= held.not_valid_after_utc:
            raise Expired(f"the certificate counts until {held.not_valid_after_utc:%Y-%m-%d %H:%M}")
        return held


def _read(asked: Renewal) -> CertificateRequest:
    """Read the request in a renewal.

    Raises:
        UsageError: it is none of this device.
    """
    try:
        pem = x509.load_der_x509_csr(asked.request).public_bytes(Encoding.PEM)
    except UNREADABLE as exc:
        raise UsageError(f"expected a PKCS#10 request in DER: {exc!s:.200}") from exc
    request = read_request(pem, "request")
    if request.device != asked.device:
        raise UsageError(f"expected a request of {asked.device}, got one of {request.device}")
    return request
