"""Which certificates were made, and which of them count no more: files below `certificates/`.

`issued/SERIAL.json` is there before its certificate is given to anybody, so none is unknown here.
`revoked.json` is what counts; the lists that brokers read are made from it, again and again.
Both forget what has expired, so that neither grows without bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Meta

from slotcast_publisher.certificates.authorities import FOLDER, AuthorityName
from slotcast_publisher.durable import fsync_dir, storage_errors, write_atomic
from slotcast_publisher.errors import RepositoryDamaged
from slotcast_schemas.decode_errors import UNDECODABLE
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.plain_files import read_regular

KEPT_S: Final = 90 * 86_400
"""The seconds for which a certificate is remembered past its end."""

Serial = Annotated[str, Meta(pattern=r"^[0-9a-f]{1,40}\Z")]
"""A certificate's serial number, in hexadecimal: 20 bytes at most (RFC 5280, 4.1.2.2)."""

How = Literal["provision", "sign", "publisher", "broker", "renewal"]
"""What a certificate was made by."""


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate that was made; times in seconds since 1970.

    Attributes:
        authority: who signed it.
        name: the device's id; of a publisher, what people call it.
        key: the SHA-256 of its public key, in hexadecimal.
        how: what it was made by.
        certificate: the certificate itself, in DER, where it may have to be given again:
            of the last renewal of each device.
    """

    format: Literal["slotcast-issued/1"] = "slotcast-issued/1"
    serial: Serial
    authority: AuthorityName
    name: str
    key: str
    starts: int
    ends: int
    how: How
    certificate: bytes = b""


class Revoked(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate that counts no more; times in seconds since 1970.

    Attributes:
        at: since when.
        ends: when it would have ended; past that, nobody needs to be told.
    """

    serial: Serial
    authority: AuthorityName
    name: str
    at: int
    ends: int


class _RevokedFile(msgspec.Struct, frozen=True, kw_only=True):
    format: Literal["slotcast-revoked/1"] = "slotcast-revoked/1"
    revoked: tuple[Revoked, ...] = ()


make_decoders(Issued, _RevokedFile)


def serial_of(certificate: x509.Certificate) -> str:
    """Give a certificate's serial number as it is written here."""
    return f"{certificate.serial_number:x}"


class CertificateRecord:
    """The certificates of a repository; whoever changes it holds the lock of `desk`.

    Args:
        repo: the repository's folder.
    """

    def __init__(self, repo: Path) -> None:
        self._issued = repo / FOLDER / "issued"
        self._revoked = repo / FOLDER / "revoked.json"
        self._renewed = repo / FOLDER / "renewed"

    def add(self, issued: Issued) -> None:
        """Write down a certificate, before anybody is given it.

        Raises:
            StorageFailed: it cannot be written.
        """
        write_atomic(self._issued / f"{issued.serial}.json", _pretty(issued))

    def find(self, serial: str) -> Issued | None:
        """Give one certificate; None where it was not made here.

        Raises:
            RepositoryDamaged: its file is not what this software writes.
        """
        return self._read(self._issued / f"{serial}.json")

    def _read(self, path: Path) -> Issued | None:
        try:
            return msgspec.json.decode(read_regular(path), type=Issued)
        except FileNotFoundError:
            return None
        except (OSError, *UNDECODABLE) as exc:
            raise RepositoryDamaged(f"{path}: {exc}") from exc

    def all(self) -> list[Issued]:
        """Give all certificates, by name and end.

        Raises:
            RepositoryDamaged: a file is not what this software writes.
        """
        found = (self._read(path) for path in _files(self._issued))
        return sorted((one for one in found if one), key=lambda i: (i.authority, i.name, i.ends))

    def set_last_renewal(self, issued: Issued, certificate: x509.Certificate) -> None:
        """Keep a device's last renewal, to give it again to a device that did not get it.

        Args:
            issued: what is known of it; `add` was called before.
            certificate: the certificate.

        Raises:
            StorageFailed: it cannot be written.
        """
        der = certificate.public_bytes(Encoding.DER)
        kept = msgspec.structs.replace(issued, certificate=der)
        write_atomic(self._renewed / f"{issued.name}.json", _pretty(kept))

    def last_renewal(self, device: str) -> Issued | None:
        """Give a device's last renewal, with the certificate; None where there was none.

        Raises:
            RepositoryDamaged: its file is not what this software writes.
        """
        return self._read(self._renewed / f"{device}.json")

    def revoked(self) -> dict[str, Revoked]:
        """Give what counts no more, by serial number.

        Raises:
            RepositoryDamaged: the file is not what this software writes.
        """
        try:
            found = msgspec.json.decode(read_regular(self._revoked), type=_RevokedFile)
        except FileNotFoundError:
            return {}
        except (OSError, *UNDECODABLE) as exc:
            raise RepositoryDamaged(f"{self._revoked}: {exc}") from exc
        return {one.serial: one for one in found.revoked}

    def revoke(self, certificates: Sequence[Issued], now_s: float) -> list[Revoked]:
        """Write down that certificates count no more; gives those for which that is new.

        Args:
            certificates: which.
            now_s: the time, seconds since 1970.

        Raises:
            StorageFailed: it cannot be written; then they still count.
        """
        known = self.revoked()
        new = [
            Revoked(
                serial=one.serial,
                authority=one.authority,
                name=one.name,
                at=int(now_s),
                ends=one.ends,
            )
            for one in certificates
            if one.serial not in known
        ]
        if new:
            self._write_revoked([*known.values(), *new])
        return new

    def last_of_devices(self) -> dict[str, Issued]:
        """Give of each device the certificate that ends last; those that count no more left out.

        Raises:
            RepositoryDamaged: a file is not what this software writes.
        """
        revoked, last = self.revoked(), dict[str, Issued]()
        for one in self.all():
            is_devices = one.authority in {"devices", "renewals"} and one.serial not in revoked
            if is_devices and (one.name not in last or one.ends > last[one.name].ends):
                last[one.name] = one
        return last

    def forget_expired(self, now_s: float) -> None:
        """Drop what ended more than `KEPT_S` ago.

        Args:
            now_s: the time, seconds since 1970.

        Raises:
            StorageFailed: it cannot be written.
        """
        known = self.revoked().values()
        kept = [one for one in known if one.ends > now_s - KEPT_S]
        if len(kept) < len(known):
            self._write_revoked(kept)
        for folder in (self._issued, self._renewed):
            gone = [path for path in _files(folder) if self._is_over(path, now_s)]
            with storage_errors(folder):
                for path in gone:
                    path.unlink(missing_ok=True)
                if gone:
                    fsync_dir(folder)

    def _is_over(self, path: Path, now_s: float) -> bool:
        found = self._read(path)
        return found is not None and found.ends <= now_s - KEPT_S

    def _write_revoked(self, revoked: Sequence[Revoked]) -> None:
        write_atomic(self._revoked, _pretty(_RevokedFile(revoked=tuple(revoked))))


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        for path in folder.iterdir():
            if path.suffix == ".json" and not path.name.startswith("."):
                yield path


def _pretty(struct: msgspec.Struct) -> bytes:
    return msgspec.json.format(msgspec.json.encode(struct), indent=1) + b"\n"
