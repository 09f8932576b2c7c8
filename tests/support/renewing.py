"""A repository that renews certificates, and a device that is let in for a while."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from slotcast_device.config import DeviceConfig
from slotcast_device.storage.client_certificates import ClientCertificates
from slotcast_device.storage.os_disk import OsDisk
from slotcast_publisher.certificates.desk import CertificateDesk
from slotcast_publisher.certificates.renewals import RenewalOffice
from slotcast_schemas import wire
from slotcast_schemas.messages import Renewal
from tests.support.certificate_requests import key_pem, make_csr

DEVICE: Final = "cam-1"
START: Final = datetime(2026, 3, 1, tzinfo=UTC)
LATER: Final = START + timedelta(days=60)


class RenewingDesk:
    """The repository, at the time when the device asks.

    Args:
        folder: the repository's.
        asks_at: that time; the certificate that the device has was made sixty days before.

    Attributes:
        key: of the device.
        held: the certificate that it has, in DER.
        request: for the next one, in DER.
    """

    def __init__(self, folder: Path, asks_at: datetime = LATER) -> None:
        self._now = asks_at - (LATER - START)
        self.key = Ed25519PrivateKey.generate()
        desk = CertificateDesk(folder, lambda _: None, lambda: self._now)
        desk.init(["localhost"])
        desk.allow_renewals()
        held, _ = desk.sign(make_csr(DEVICE, key=self.key), "r", days=90)
        self.held = held.public_bytes(Encoding.DER)
        csr = x509.load_pem_x509_csr(make_csr(DEVICE, key=self.key))
        self.request = csr.public_bytes(Encoding.DER)
        self._now = asks_at
        self.office = RenewalOffice(desk)

    def asked(self, request: bytes | None = None, held: bytes | None = None) -> bytes:
        """Give the message that a device asks with."""
        said = Renewal(
            device=DEVICE,
            request=self.request if request is None else request,
            certificate=self.held if held is None else held,
        )
        return wire.encode(said)

    def answer(self, data: bytes) -> str | None:
        """Answer a message below the device's name; gives the word, None for no answer."""
        answer = self.office.answer(DEVICE, data, self._now)
        if answer is None:
            return None
        assert len(wire.encode(answer)) <= answer.MAX_BYTES
        return str(answer.reason)


def client_certificates(folder: Path, key: Ed25519PrivateKey, held: bytes) -> ClientCertificates:
    """Give what a device keeps of certificates, with one that it was provisioned with.

    Args:
        folder: the device's.
        key: its key.
        held: its certificate, in DER.
    """
    folder.mkdir(exist_ok=True)
    (folder / "root.json").write_text("{}")
    (folder / "device.key").write_bytes(key_pem(key))
    certificate = x509.load_der_x509_certificate(held)
    (folder / "device.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "device.toml").write_text(
        f'format = 1\ndevice = "{DEVICE}"\nmodels = ["m"]\n'
        '[[brokers]]\nurl = "mqtts://b"\ncertificate = "device.pem"\nkey = "device.key"\n'
    )
    return ClientCertificates(DeviceConfig(folder / "device.toml"), OsDisk())
