"""What the commands ask for: make, sign, list, renew and revoke certificates.

The order of writes, so that a power cut between any two of them loses nothing that anybody has:
a certificate is in the record before it is given away; a revocation is in the record before the
lists that brokers read; and the brokers' files are made from the record anew by every command.
A device's first certificate from `slotcast provision` lasts as long as `provision` says, and a
renewed one as `renewals` says.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from slotcast_publisher.certificates.authorities import (
    FOLDER,
    Authorities,
    AuthorityName,
    Secret,
    read_key,
    write_key,
)
from slotcast_publisher.certificates.broker_files import LISTENERS, BrokerFiles
from slotcast_publisher.certificates.certificate_request import check_device_id, read_request
from slotcast_publisher.certificates.issued_record import (
    CertificateRecord,
    How,
    Issued,
    Revoked,
    serial_of,
)
from slotcast_publisher.certificates.profiles import (
    PublicKey,
    check_hosts,
    is_issued_by,
    issue_client,
    issue_server,
    life_of,
)
from slotcast_publisher.durable import exclusive, write_atomic
from slotcast_publisher.errors import Conflict, NotFound
from slotcast_publisher.trust.keys import KeyRing
from slotcast_schemas import fields
from slotcast_schemas.errors import UsageError
from slotcast_schemas.identity import key_id

INIT_AUTHORITIES: Final[tuple[AuthorityName, ...]] = ("devices", "publishers", "brokers")
"""The authorities that `init` makes."""

PUBLISHER_USER: Final = "@publisher"
"""The common name of every publisher's certificate: the user of mosquitto/acl.publishers."""

PUBLISHER_DAYS: Final = 365.0
"""The days that a publisher's certificate counts, unless told otherwise."""

BROKER_DAYS: Final = 365.0
"""The days that the broker's certificate counts, unless told otherwise."""

DEVICE_DAYS: Final = 90.0
"""The days that a signed device certificate counts, unless told otherwise."""

LIST_DAYS: Final = 30.0
"""The days that a list of revoked certificates counts. Past that, brokers refuse everybody."""

_LABEL: Final = re.compile(fields.DEVICE_PATTERN)
_LOCK_WAIT_S: Final = 10.0
"""The seconds to wait for another command that has the certificates."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One certificate, as `list` shows it."""

    issued: Issued
    revoked: Revoked | None


def open_desk(repo: Path, ring: KeyRing) -> CertificateDesk:
    """Give the desk of a repository, by the clock of this machine.

    Args:
        repo: the repository's folder.
        ring: knows the passphrase.
    """
    return CertificateDesk(repo, ring.secret, lambda: datetime.now(UTC))


class CertificateDesk:
    """Makes and revokes the certificates of a repository.

    Args:
        repo: the repository's folder.
        secret: opens and encrypts the authorities' keys.
        now: the clock, with its time zone.
    """

    def __init__(self, repo: Path, secret: Secret, now: Callable[[], datetime]) -> None:
        self._repo = repo
        self._now = now
        self.authorities = Authorities(repo, secret)
        self.record = CertificateRecord(repo)
        self.broker = BrokerFiles(repo)

    # --- the authorities and the broker -------------------------------------------------------

    def init(
        self,
        hosts: Sequence[str],
        *,
        broker_days: float = BROKER_DAYS,
        list_days: float = LIST_DAYS,
        replace: Collection[AuthorityName] = (),
    ) -> bool:
        """Make the authorities, the broker's certificate and its files; gives whether any is new.

        Args:
            hosts: names and addresses by which clients reach the broker; those of its present
                certificate if none are given.
            broker_days: how long its certificate counts.
            list_days: how long the lists of revoked certificates count.
            replace: authorities to make anew, after a theft of their keys: nobody is believed any
                more whom the old ones signed.

        Raises:
            UsageError: there is no host, or one is none.
            StorageFailed: something cannot be written; run it again.
        """
        check_hosts(hosts)
        with self._changing():
            names = INIT_AUTHORITIES
            is_new = any(self.authorities.certificate(name) is None for name in names)
            if not hosts and not self.broker.hosts():
                raise UsageError("by which name do devices reach the broker? Give --host")
            known_hosts = tuple(hosts) or self.broker.hosts()
            for name in names:
                if name in replace:
                    self.authorities.make(name, self._now())
                    is_new = True
                self.authorities.ensure(name, self._now())
            if "brokers" in replace or set(known_hosts) != set(self.broker.hosts()):
                self._issue_broker(known_hosts, broker_days, new_key="brokers" in replace)
                is_new = True
            self._write_lists(list_days)
        return is_new

    def ensure_devices_authority(self) -> x509.Certificate:
        """Give the certificate of the devices' authority, made at the first call.

        Raises:
            KeyUnavailable: its key does not open.
            StorageFailed: it cannot be written.
        """
        with self._changing():
            return self.authorities.ensure("devices", self._now()).certificate

    def renew_broker(
        self, hosts: Sequence[str] = (), *, days: float = BROKER_DAYS, new_key: bool = False
    ) -> x509.Certificate:
        """Make a new certificate for the broker.

        Args:
            hosts: names and addresses; those of the present certificate unless given.
            days: how long it counts.
            new_key: whether the broker gets a new key, too, such as after a theft.

        Raises:
            UsageError: there is no host, or one is none.
            NotFound: `init` was not run.
        """
        check_hosts(hosts)
        with self._changing():
            chosen = tuple(hosts) or self.broker.hosts()
            if not chosen:
                raise UsageError("by which name do devices reach the broker? Give --host")
            return self._issue_broker(chosen, days, new_key=new_key)

    def refresh(self, *, list_days: float = LIST_DAYS) -> None:
        """Date the lists of revoked certificates anew, and write what the broker reads.

        Args:
            list_days: how long they count.

        Raises:
            NotFound: `init` was not run.
        """
        with self._changing():
            self.record.forget_expired(self._now().timestamp())
            self._write_lists(list_days)

    def _issue_broker(
        self, hosts: Sequence[str], days: float, *, new_key: bool
    ) -> x509.Certificate:
        authority = self.authorities.open("brokers")
        present = None if new_key else self.broker.key()
        key = present or ec.generate_private_key(ec.SECP256R1())
        made = issue_server(authority, hosts, key.public_key(), days=days, now=self._now())
        self._note(made, "brokers", ", ".join(hosts), "broker")
        if present is None:
            write_key(self.broker.key_path, key)
        write_atomic(self.broker.certificate_path, made.public_bytes(Encoding.PEM))
        return made

    def _write_lists(self, days: float) -> None:
        self.broker.write_lists(self.authorities, self.record, days=days, now=self._now())

    # --- devices and publishers ---------------------------------------------------------------

    def sign(
        self, data: bytes, what: str, *, days: float = DEVICE_DAYS, replaces: bool = False
    ) -> tuple[x509.Certificate, list[Revoked]]:
        """Give a device the certificate that it asks for.

        Args:
            data: its request.
            what: what messages call that, such as the file's name.
            days: how long the certificate counts.
            replaces: whether its key takes the place of others that the device has certificates
                for, which are revoked.

        Returns:
            The certificate, and what was revoked for it.

        Raises:
            UsageError: the request does not hold.
            Conflict: the device has a certificate of another key.
            NotFound: `init` was not run.
        """
        request = read_request(data, what)
        with self._changing():
            others = self._of_other_keys(request.device, request.public_key)
            if others and not replaces:
                raise Conflict(
                    f"{request.device} has a certificate of another key ({others[0].serial}): two"
                    " devices would have one name; --replace, if it has a new key, revokes that one"
                )
            made = self._issue_device(request.device, request.public_key, days, "sign")
            revoked = self.record.revoke(others, self._now().timestamp())
            if revoked:
                self._write_lists(LIST_DAYS)
        return made, revoked

    def issue_device(
        self, device: str, public_key: PublicKey, *, days: float, how: How
    ) -> x509.Certificate:
        """Issue a device's certificate, and write it down first.

        Args:
            device: the device's id.
            public_key: its key.
            days: how long it counts.
            how: what it is made by.

        Raises:
            UsageError: no device may have that name.
        """
        with self._changing():
            return self._issue_device(device, public_key, days, how)

    def publisher(
        self, label: str, *, days: float = PUBLISHER_DAYS, new_key: bool = False
    ) -> tuple[Path, Path]:
        """Make a publisher's certificate, and its key where it has none; gives their files.

        Args:
            label: what people call it, such as the machine's name; its user name at the broker is
                `PUBLISHER_USER`.
            days: how long it counts.
            new_key: whether it gets a new key, too, such as after a theft.

        Raises:
            UsageError: that is no name.
            NotFound: `init` was not run.
        """
        if not _LABEL.match(label):
            raise UsageError(
                f"publisher: expected {fields.ALLOWED[fields.DEVICE_PATTERN]}, got {label!r:.80}"
            )
        certificate_path, key_path = self.publisher_files(label)
        with self._changing():
            authority = self.authorities.open("publishers")
            present = None if new_key else read_key(key_path)
            key = present or ec.generate_private_key(ec.SECP256R1())
            uri = f"urn:slotcast:publisher:{label}"
            made = issue_client(
                authority, PUBLISHER_USER, uri, key.public_key(), days=days, now=self._now()
            )
            self._note(made, "publishers", label, "publisher")
            if present is None:
                write_key(key_path, key)
            write_atomic(certificate_path, made.public_bytes(Encoding.PEM))
        return certificate_path, key_path

    def publisher_files(self, label: str) -> tuple[Path, Path]:
        """Give where a publisher's certificate and key lie."""
        folder = self._repo / FOLDER / "publishers"
        return folder / f"{label}.pem", folder / f"{label}.key"

    # --- renewals -----------------------------------------------------------------------------

    @property
    def allows_renewals(self) -> bool:
        """Whether devices may renew their certificates by themselves."""
        return self.authorities.certificate("renewals") is not None

    def allow_renewals(self, *, replace: bool = False) -> bool:
        """Make the authority of renewals, whose key is where `slotcast serve` runs.

        Args:
            replace: make a new one in place of one that is there: the broker then believes none of
                the certificates of before, and devices go back to those that they had first.

        Returns:
            Whether it is a new one.

        Raises:
            NotFound: `init` was not run.
        """
        with self._changing():
            is_new = replace or self.authorities.certificate("renewals") is None
            if is_new:
                self.authorities.make("renewals", self._now())
            self._write_lists(LIST_DAYS)
        return is_new

    def end_renewals(self) -> None:
        """Forget the authority of renewals; the broker believes none of its certificates."""
        with self._changing():
            self.authorities.remove("renewals")
            self._write_lists(LIST_DAYS)

    # --- who has what, and who no more --------------------------------------------------------

    def name_of(self, certificate: x509.Certificate) -> str:
        """Give whose a certificate is; empty where it was not made here."""
        found = self.record.find(serial_of(certificate))
        return "" if found is None else found.name

    def entries(self) -> list[Entry]:
        """Give every certificate that is not long gone, by name and end."""
        revoked = self.record.revoked()
        return [Entry(one, revoked.get(one.serial)) for one in self.record.all()]

    def revoke(self, word: str, *, list_days: float = LIST_DAYS) -> list[Revoked]:
        """Let certificates count no more, and tell the broker's lists.

        Args:
            word: a device's id, a publisher's name, or a serial number in hexadecimal.
            list_days: how long the lists count.

        Returns:
            What was revoked; nothing where all of it was already.

        Raises:
            NotFound: no certificate of that name or number was made here.
            UsageError: it is the broker's, which no client looks up in a list.
            KeyUnavailable: it is revoked in the record, and the lists could not be signed.
        """
        with self._changing():
            chosen = self._chosen(word)
            revoked = self.record.revoke(chosen, self._now().timestamp())
            self._write_lists(list_days)
        return revoked

    def _chosen(self, word: str) -> list[Issued]:
        one = self.record.find(word.lower()) if re.fullmatch("[0-9a-fA-F]{1,40}", word) else None
        found = [one] if one else [i for i in self.record.all() if i.name == word]
        if not found:
            raise NotFound(
                f"no certificate of {word!r:.80} was made here: expected a device's id, a"
                " publisher's name, or a serial number as `slotcast certificates list` shows them"
            )
        clients = [one for one in found if one.authority != "brokers"]
        if not clients:
            raise UsageError(
                "devices look up no list for the broker's certificate: `slotcast certificates"
                " renew --new-key`, and see docs/security.md for a stolen one"
            )
        now_s = self._now().timestamp()
        return [one for one in clients if one.ends > now_s]

    def _issue_device(
        self, device: str, public_key: PublicKey, days: float, how: How
    ) -> x509.Certificate:
        check_device_id(device, "device")
        authority = self.authorities.ensure("devices", self._now())
        uri = f"urn:slotcast:device:{device}"
        made = issue_client(authority, device, uri, public_key, days=days, now=self._now())
        self._note(made, "devices", device, how)
        return made

    def renew_device(
        self, device: str, public_key: PublicKey, *, days: float, ends_before: datetime
    ) -> x509.Certificate:
        """Give a device another certificate for its key: the last one that was, if that is fresh.

        Fresh is one with more than half of its life to come, so that whoever asks again and again
        is given the same one, and nothing grows.

        Args:
            device: the device's id.
            public_key: the key of the certificate that it has.
            days: how long a new one counts.
            ends_before: when the one that it has ends: what is given ends later.

        Raises:
            NotFound: there is no authority of renewals.
            KeyUnavailable: its key does not open.
        """
        with self._changing():
            now = self._now()
            known = self._last_renewal(device, key_id(public_key))
            if known is not None:
                is_fresh = now < known.not_valid_before_utc + life_of(known) / 2
                if is_fresh and known.not_valid_after_utc > ends_before:
                    return known
            authority = self.authorities.open("renewals")
            uri = f"urn:slotcast:device:{device}"
            made = issue_client(authority, device, uri, public_key, days=days, now=now)
            issued = self._note(made, "renewals", device, "renewal")
            self.record.set_last_renewal(issued, made)
            return made

    def _last_renewal(self, device: str, key: str) -> x509.Certificate | None:
        """Give the last renewal of a device, if it is for this key and counts."""
        found = self.record.last_renewal(device)
        if found is None or found.key != key or found.serial in self.record.revoked():
            return None
        certificate = x509.load_der_x509_certificate(found.certificate)
        issuer = self.authorities.certificate("renewals")
        return certificate if is_issued_by(certificate, issuer) else None

    def _of_other_keys(self, device: str, key: PublicKey) -> list[Issued]:
        revoked, now_s, own = self.record.revoked(), self._now().timestamp(), key_id(key)
        return [
            one
            for one in self.record.all()
            if one.authority in LISTENERS["devices"]
            and one.name == device
            and one.ends > now_s
            and one.serial not in revoked
            and one.key != own
        ]

    def _note(
        self, made: x509.Certificate, authority: AuthorityName, name: str, how: How
    ) -> Issued:
        key = made.public_key()
        assert isinstance(key, PublicKey)  # noqa: S101 - it is the key that was checked
        issued = Issued(
            serial=serial_of(made),
            authority=authority,
            name=name,
            key=key_id(key),
            starts=int(made.not_valid_before_utc.timestamp()),
            ends=int(made.not_valid_after_utc.timestamp()),
            how=how,
        )
        self.record.add(issued)
        return issued

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        lock = self._repo / FOLDER / ".lock"
        with exclusive(lock, "the certificates", wait_s=_LOCK_WAIT_S):
            yield
