"""Who is given a certificate that ends later, and who is not."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from slotcast_publisher.certificates.desk import CertificateDesk
from slotcast_publisher.certificates.issued_record import serial_of
from slotcast_publisher.certificates.profiles import CLIENT, issue_client, make_authority
from slotcast_publisher.certificates.renewals import RenewalOffice
from slotcast_schemas import wire
from slotcast_schemas.messages import Certificate, Renewal
from slotcast_schemas.reasons import Reason
from tests.support.certificate_requests import make_csr

START = datetime(2026, 3, 1, tzinfo=UTC)
LATER = START + timedelta(days=60)


class Place:
    """A repository that renews, with a clock of its own, and a device that was let in."""

    def __init__(self, folder: Path) -> None:
        self.now = START
        self.key = Ed25519PrivateKey.generate()
        self.desk = CertificateDesk(folder, lambda _: None, lambda: self.now)
        self.desk.init(["localhost"])
        self.desk.allow_renewals()
        self.held, _ = self.desk.sign(make_csr("cam-1", key=self.key), "r", days=90)
        self.now = LATER

    def ask(
        self,
        *,
        device: str = "cam-1",
        name: str = "cam-1",
        key: Ed25519PrivateKey | None = None,
        held: x509.Certificate | None = None,
    ) -> Certificate:
        """Ask as a device does, below its own topic."""
        csr = x509.load_pem_x509_csr(make_csr(name, key=key or self.key))
        asked = Renewal(
            device=device,
            request=csr.public_bytes(Encoding.DER),
            certificate=(held or self.held).public_bytes(Encoding.DER),
        )
        answer = RenewalOffice(self.desk).answer(device, wire.encode(asked), self.now)
        assert answer is not None
        assert answer.device == device
        assert answer.request == hashlib.sha256(asked.request).digest()
        assert (answer.reason == "ok") == bool(answer.certificate)
        return answer

    def renewed(self, held: x509.Certificate | None = None) -> x509.Certificate:
        """Ask, and be given one."""
        answer = self.ask(held=held)
        assert answer.reason == "ok", answer.detail
        return x509.load_der_x509_certificate(answer.certificate)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_same_name_and_key_by_the_authority_of_renewals_for_as_long_again(
    place: Place,
) -> None:
    made = place.renewed()
    issuer = place.desk.authorities.certificate("renewals")
    assert issuer is not None
    made.verify_directly_issued_by(issuer)
    assert made.public_key() == place.key.public_key()
    assert made.subject == place.held.subject
    assert made.not_valid_after_utc - LATER <= timedelta(days=90)
    assert made.not_valid_after_utc > place.held.not_valid_after_utc
    assert place.desk.name_of(made) == "cam-1"


def test_what_was_renewed_is_renewed_again(place: Place) -> None:
    first = place.renewed()
    place.now = LATER + timedelta(days=60)
    second = place.renewed(held=first)
    assert second.not_valid_after_utc > first.not_valid_after_utc


def test_who_asks_again_and_again_is_given_the_same_one_and_nothing_grows(place: Place) -> None:
    serials = {serial_of(place.renewed()) for _ in range(5)}
    assert len(serials) == 1
    assert len(place.desk.entries()) == 3


def test_a_long_life_becomes_a_short_one(place: Place) -> None:
    place.now = START
    place.held = place.desk.issue_device(
        "cam-1", place.key.public_key(), days=1095, how="provision"
    )
    place.now = START + timedelta(days=600)
    place.desk.allow_renewals(replace=True)  # the first one ended after a year
    made = place.renewed()
    assert made.not_valid_after_utc <= place.now + timedelta(days=90)


def test_too_early_is_later(place: Place) -> None:
    place.now = START + timedelta(days=40)
    assert place.ask().reason == Reason.INCONSISTENT


def test_a_revoked_device_gets_none_even_if_it_asked_before(place: Place) -> None:
    first = place.renewed()
    place.desk.revoke("cam-1")
    assert place.ask().reason == Reason.BAD_SIGNATURE
    place.now = LATER + timedelta(days=60)
    assert place.ask(held=first).reason == Reason.BAD_SIGNATURE


def test_a_single_revoked_renewal_is_not_given_again(place: Place) -> None:
    first = place.renewed()
    place.desk.revoke(serial_of(first))
    assert serial_of(place.renewed()) != serial_of(first)


def test_what_has_ended_is_renewed_by_hand_alone(place: Place) -> None:
    place.now = START + timedelta(days=91)
    assert place.ask().reason == Reason.EXPIRED


def test_a_certificate_of_another_key_or_name_gives_nothing(place: Place) -> None:
    """Who has no more than the certificate, which is no secret, cannot get one for its own key."""
    assert place.ask(key=Ed25519PrivateKey.generate()).reason == Reason.INCONSISTENT
    other, _ = place.desk.sign(make_csr("cam-2", key=place.key), "r", days=90)
    assert place.ask(held=other).reason == Reason.INCONSISTENT
    assert place.ask(device="cam-2").reason == Reason.USAGE
    assert place.ask(device="cam-2", name="cam-2").reason == Reason.INCONSISTENT


def test_a_certificate_that_devices_do_not_have_gives_nothing(place: Place) -> None:
    stranger = make_authority("Slotcast devices", CLIENT, days=99, now=START)
    false = issue_client(stranger, "cam-1", "urn:x", place.key.public_key(), days=90, now=START)
    assert place.ask(held=false).reason == Reason.BAD_SIGNATURE


@pytest.mark.parametrize("data", [b"", b"hello", bytes(20_000)])
def test_what_is_no_renewal_is_not_answered(place: Place, data: bytes) -> None:
    assert RenewalOffice(place.desk).answer("cam-1", data, place.now) is None


def test_what_is_said_below_another_devices_name_is_not_answered(place: Place) -> None:
    csr = x509.load_pem_x509_csr(make_csr("cam-1", key=place.key)).public_bytes(Encoding.DER)
    der = place.held.public_bytes(Encoding.DER)
    asked = wire.encode(Renewal(device="cam-1", request=csr, certificate=der))
    assert RenewalOffice(place.desk).answer("cam-9", asked, place.now) is None


def test_after_a_theft_the_authoritys_certificates_are_not_given_again(place: Place) -> None:
    first = place.renewed()
    place.desk.allow_renewals(replace=True)
    second = place.renewed()
    assert serial_of(second) != serial_of(first)
    assert len(place.desk.broker.revocation_lists("devices")) == 2
    place.now = LATER + timedelta(days=60)
    assert place.ask(held=first).reason == Reason.BAD_SIGNATURE


def test_ended_renewals_leave_the_broker_with_the_authority_of_devices_alone(
    place: Place,
) -> None:
    path = place.desk.broker.authorities_path("devices")
    assert path.read_bytes().count(b"BEGIN CERTIFICATE") == 2
    place.desk.end_renewals()
    assert path.read_bytes().count(b"BEGIN CERTIFICATE") == 1
    assert not place.desk.allows_renewals
    assert len(place.desk.broker.revocation_lists("devices")) == 1
