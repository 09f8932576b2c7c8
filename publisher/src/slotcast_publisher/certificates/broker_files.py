"""What the broker reads: its certificate, the authorities it believes, the lists of revoked ones.

Everything lies in `certificates/broker`, made from the record and the authorities and from nothing
else, so that whatever a power cut left there is put right by the next run. The names are those of
mosquitto/README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from slotcast_publisher.certificates.authorities import (
    FOLDER,
    Authorities,
    AuthorityName,
    read_key,
)
from slotcast_publisher.certificates.broker_settings import BrokerPlace, broker_settings
from slotcast_publisher.certificates.profiles import RevokedSerial, make_revocation_list
from slotcast_publisher.certificates.record import CertificateRecord
from slotcast_publisher.durable import write_atomic
from slotcast_publisher.errors import RepositoryDamaged

BROKER_FOLDER: Final = FOLDER / "broker"
"""Where the broker's files lie in a repository."""

CLIENT_AUTHORITIES: Final[tuple[AuthorityName, ...]] = ("devices", "publishers")
"""The authorities whose certificates a broker lets in, each at a listener of its own."""


class BrokerFiles:
    """The files that a broker reads.

    Args:
        repo: the repository's folder.
    """

    def __init__(self, repo: Path) -> None:
        self.folder = repo / BROKER_FOLDER
        self.certificate_path = self.folder / "server.crt"
        self.key_path = self.folder / "server.key"

    def list_path(self, name: AuthorityName) -> Path:
        """Give where the list of an authority's revoked certificates lies."""
        return self.folder / f"{name}.crl"

    def authority_path(self, name: AuthorityName) -> Path:
        """Give where the broker's copy of an authority's certificate lies."""
        return self.folder / f"{name}-ca.crt"

    def certificate(self) -> x509.Certificate | None:
        """Give the broker's certificate; None where there is none that its key belongs to.

        Raises:
            RepositoryDamaged: it cannot be read.
        """
        try:
            certificate = x509.load_pem_x509_certificate(self.certificate_path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as exc:
            raise RepositoryDamaged(f"{self.certificate_path}: {exc}") from exc
        key = self.key()
        return certificate if key and key.public_key() == certificate.public_key() else None

    def key(self) -> ec.EllipticCurvePrivateKey | None:
        """Give the broker's key; None where there is none.

        Raises:
            RepositoryDamaged: it cannot be read.
        """
        return read_key(self.key_path)

    def hosts(self) -> tuple[str, ...]:
        """Give the names and addresses in the broker's certificate; none where there is none."""
        certificate = self.certificate()
        if certificate is None:
            return ()
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return (
            *names.get_values_for_type(x509.DNSName),
            *(str(one) for one in names.get_values_for_type(x509.IPAddress)),
        )

    def revocation_list(self, name: AuthorityName) -> x509.CertificateRevocationList | None:
        """Give the list that the broker reads; None where there is none that can be read."""
        try:
            return x509.load_pem_x509_crl(self.list_path(name).read_bytes())
        except (OSError, ValueError):
            return None

    def write_lists(
        self,
        authorities: Authorities,
        record: CertificateRecord,
        names: Sequence[AuthorityName] = CLIENT_AUTHORITIES,
        *,
        days: float,
        now: datetime,
    ) -> None:
        """Write whom the broker believes, and the lists of those that count no more.

        Args:
            authorities: who signs the lists: their keys are needed.
            record: what was revoked.
            names: of which authorities.
            days: how long the lists count.
            now: the time.

        Raises:
            KeyUnavailable: an authority's key does not open.
            StorageFailed: they cannot be written.
        """
        revoked = record.revoked().values()
        for name in names:
            authority = authorities.open(name)
            serials = [
                RevokedSerial(int(one.serial, 16), datetime.fromtimestamp(one.at, now.tzinfo))
                for one in revoked
                if one.authority == name
            ]
            made = make_revocation_list(authority, serials, days=days, now=now)
            pem = authority.certificate.public_bytes(Encoding.PEM)
            write_atomic(self.authority_path(name), pem)
            write_atomic(self.list_path(name), made.public_bytes(Encoding.PEM))

    def write_settings(self, place: BrokerPlace, prefix: str) -> None:
        """Write Mosquitto's configuration and access files.

        Args:
            place: where the broker runs.
            prefix: what topics begin with.

        Raises:
            StorageFailed: they cannot be written.
        """
        for name, data in broker_settings(place, prefix).items():
            write_atomic(self.folder / name, data, mode=0o600)

    def missing_in_list(self, record: CertificateRecord, name: AuthorityName) -> list[str]:
        """Give the serial numbers that are revoked, and that the broker is not told of yet.

        Args:
            record: what was revoked.
            name: of which authority.
        """
        found = self.revocation_list(name)
        listed = {f"{one.serial_number:x}" for one in found} if found is not None else set()
        return [
            one.serial
            for one in record.revoked().values()
            if one.authority == name and one.serial not in listed
        ]
