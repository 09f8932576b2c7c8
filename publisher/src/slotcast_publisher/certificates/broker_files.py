"""What the broker reads: its certificate, the authorities it believes, the lists of revoked ones.

Everything lies in `certificates/broker`, made from the record and the authorities and from nothing
else, so that whatever a power cut left there is put right by the next run. The names are those of
mosquitto/README.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

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
from slotcast_publisher.certificates.issued_record import CertificateRecord
from slotcast_publisher.certificates.profiles import RevokedSerial, make_revocation_list
from slotcast_publisher.durable import write_atomic
from slotcast_publisher.errors import RepositoryDamaged
from slotcast_schemas.plain_files import read_regular

BROKER_FOLDER: Final = FOLDER / "broker"
"""Where the broker's files lie in a repository."""

ListenerName = Literal["devices", "publishers"]
"""The listeners of a broker."""

LISTENERS: Final[Mapping[ListenerName, tuple[AuthorityName, ...]]] = {
    "devices": ("devices", "renewals"),
    "publishers": ("publishers",),
}
"""The authorities whose certificates each listener lets in; those that there are."""


_PEM: Final = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----\n?", re.DOTALL)


class BrokerFiles:
    """The files that a broker reads.

    Args:
        repo: the repository's folder.
    """

    def __init__(self, repo: Path) -> None:
        self.folder = repo / BROKER_FOLDER
        self.certificate_path = self.folder / "server.crt"
        self.key_path = self.folder / "server.key"

    def list_path(self, listener: ListenerName) -> Path:
        """Give where the lists of revoked certificates lie that a listener reads."""
        return self.folder / f"{listener}.crl"

    def authorities_path(self, listener: ListenerName) -> Path:
        """Give where the certificates of the authorities lie that a listener believes."""
        return self.folder / f"{listener}-ca.crt"

    def certificate(self) -> x509.Certificate | None:
        """Give the broker's certificate; None where there is none that its key belongs to.

        Raises:
            RepositoryDamaged: it cannot be read.
        """
        try:
            certificate = x509.load_pem_x509_certificate(read_regular(self.certificate_path))
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

    def revocation_lists(self, listener: ListenerName) -> list[x509.CertificateRevocationList]:
        """Give the lists that a listener reads; none where they cannot be read."""
        try:
            data = read_regular(self.list_path(listener))
            return [x509.load_pem_x509_crl(part) for part in _PEM.findall(data)]
        except (OSError, ValueError):
            return []

    def lists_end(self, listener: ListenerName) -> datetime | None:
        """Give until when the first of a listener's lists counts; None where there is none."""
        ends = (one.next_update_utc for one in self.revocation_lists(listener))
        return min((end for end in ends if end is not None), default=None)

    def write_lists(
        self, authorities: Authorities, record: CertificateRecord, *, days: float, now: datetime
    ) -> None:
        """Write whom the broker believes, and the lists of those that count no more.

        Args:
            authorities: who signs the lists: their keys are needed.
            record: what was revoked.
            days: how long the lists count.
            now: the time.

        Raises:
            KeyUnavailable: an authority's key does not open.
            StorageFailed: they cannot be written.
        """
        revoked = [
            RevokedSerial(int(one.serial, 16), datetime.fromtimestamp(one.at, now.tzinfo))
            for one in record.revoked().values()
        ]
        for listener, names in LISTENERS.items():
            there = [name for name in names if authorities.certificate(name) is not None]
            signers = [authorities.open(name) for name in there]
            # Each has all serials, which are unique: an authority's list counts for its own alone.
            lists = [make_revocation_list(s, revoked, days=days, now=now) for s in signers]
            pems = [signer.certificate.public_bytes(Encoding.PEM) for signer in signers]
            # The lists first: an authority that is believed and has no list is one of nobody.
            signed = [one.public_bytes(Encoding.PEM) for one in lists]
            write_atomic(self.list_path(listener), b"".join(signed))
            write_atomic(self.authorities_path(listener), b"".join(pems))

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

    def contents(self, place: BrokerPlace, prefix: str) -> dict[str, bytes]:
        """Give all that a broker at some place reads, by the names of files.

        Args:
            place: where the broker runs.
            prefix: what topics begin with.

        Raises:
            RepositoryDamaged: a file is missing: `init` was not run to its end.
        """
        paths = [self.certificate_path, self.key_path]
        for listener in LISTENERS:
            paths += [self.authorities_path(listener), self.list_path(listener)]
        try:
            found = {path.name: read_regular(path) for path in paths}
        except OSError as exc:
            raise RepositoryDamaged(f"{exc}; run `slotcast certificates init` again") from exc
        return {**found, **broker_settings(place, prefix)}

    def untold(self, record: CertificateRecord) -> list[str]:
        """Give the serial numbers that are revoked, and that the broker is not told of yet."""
        lists = [one for listener in LISTENERS for one in self.revocation_lists(listener)]
        listed = {f"{entry.serial_number:x}" for one in lists for entry in one}
        return [serial for serial in record.revoked() if serial not in listed]
