"""The certificate authorities of a repository: which there are, where they lie, how they open.

Each signs one kind of certificate, so that whoever steals the one is nobody that another vouches
for. Their keys are encrypted if the other keys of the repository are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from slotcast_publisher.certificates.profiles import CLIENT, SERVER, Authority, make_authority
from slotcast_publisher.durable import fsync_dir, storage_errors, write_atomic
from slotcast_publisher.errors import NotFound, RepositoryDamaged
from slotcast_publisher.private_key_files import read_private_key
from slotcast_schemas.plain_files import read_regular

AUTHORITY_DAYS: Final = 3650
"""The days that an authority counts: ten years, as the repository's root does."""

KEY_MODE: Final = 0o600
"""The mode of every private key's file."""

AuthorityName = Literal["devices", "renewals", "publishers", "brokers"]
"""Whom an authority vouches for; `renewals` are devices that had a certificate before."""

Secret = Callable[[str], bytes | None]
"""Gives what encrypts and opens a key's file, told what it is for; None for no encryption."""


@dataclass(frozen=True, slots=True)
class _Place:
    title: str
    usage: x509.ObjectIdentifier
    stem: Path
    days: float = AUTHORITY_DAYS


FOLDER: Final = Path("certificates")
"""Where most files about certificates lie in a repository."""

_PLACES: Final[Mapping[AuthorityName, _Place]] = {
    # Where `slotcast provision` has had it from the first.
    "devices": _Place("Slotcast devices", CLIENT, Path("devices", "ca")),
    # Its key is where `slotcast serve` runs: it is replaced after a year at the latest.
    "renewals": _Place("Slotcast renewals of devices", CLIENT, FOLDER / "renewals-ca", 365.0),
    "publishers": _Place("Slotcast publishers", CLIENT, FOLDER / "publishers-ca"),
    "brokers": _Place("Slotcast brokers", SERVER, FOLDER / "brokers-ca"),
}


class Authorities:
    """The certificate authorities of a repository.

    Args:
        repo: the repository's folder.
        secret: opens and encrypts the keys' files.
    """

    def __init__(self, repo: Path, secret: Secret) -> None:
        self._repo = repo
        self._secret = secret

    def certificate_path(self, name: AuthorityName) -> Path:
        """Give where an authority's certificate lies, made or not."""
        return self._repo / _PLACES[name].stem.with_suffix(".pem")

    def key_path(self, name: AuthorityName) -> Path:
        """Give where an authority's private key lies, made or not."""
        return self._repo / _PLACES[name].stem.with_suffix(".key")

    def certificate(self, name: AuthorityName) -> x509.Certificate | None:
        """Give an authority's certificate; None where it was not made yet.

        Raises:
            RepositoryDamaged: it cannot be read.
        """
        path = self.certificate_path(name)
        try:
            return x509.load_pem_x509_certificate(read_regular(path))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as exc:
            raise RepositoryDamaged(f"{path}: expected a certificate in PEM: {exc}") from exc

    def ensure(self, name: AuthorityName, now: datetime) -> Authority:
        """Give an authority that can sign, made at the first call.

        Args:
            name: which.
            now: the time.

        Raises:
            RepositoryDamaged: it cannot be read.
            KeyUnavailable: its key is not here, or the passphrase is wrong.
            StorageFailed: it cannot be written.
        """
        return self.make(name, now) if self.certificate(name) is None else self.open(name)

    def make(self, name: AuthorityName, now: datetime) -> Authority:
        """Make an authority with a new key, in place of one that is there.

        Args:
            name: which.
            now: the time.

        Raises:
            StorageFailed: it cannot be written; do it again.
        """
        place = _PLACES[name]
        made = make_authority(place.title, place.usage, days=place.days, now=now)
        # The certificate last: with it, the authority is there, and its key was durable before.
        write_key(self.key_path(name), made.key, self._secret(f"the authority of {name}"))
        pem = made.certificate.public_bytes(Encoding.PEM)
        write_atomic(self.certificate_path(name), pem)
        return made

    def remove(self, name: AuthorityName) -> None:
        """Forget an authority, if there is one.

        Raises:
            StorageFailed: it cannot be removed.
        """
        for path in (self.certificate_path(name), self.key_path(name)):
            with storage_errors(path):
                if path.exists():
                    path.unlink()
                    fsync_dir(path.parent)

    def open(self, name: AuthorityName) -> Authority:
        """Give an authority that can sign.

        Raises:
            NotFound: it was not made yet.
            RepositoryDamaged: it cannot be read.
            KeyUnavailable: its key is not here, or the passphrase is wrong.
        """
        certificate = self.certificate(name)
        if certificate is None:
            raise NotFound(f"there is no authority of {name} yet: run `slotcast certificates init`")
        key = self._key(name)
        if key.public_key() != certificate.public_key():
            raise RepositoryDamaged(
                f"{self.key_path(name)} is not the key of {self.certificate_path(name)}: bring back"
                f" the one that is, or make another authority with --replace"
            )
        return Authority(certificate, key)

    def _key(self, name: AuthorityName) -> ec.EllipticCurvePrivateKey:
        path = self.key_path(name)
        key = read_private_key(path, f"the authority of {name}", self._secret)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise RepositoryDamaged(f"{path}: expected an elliptic curve key")
        return key


def read_key(path: Path) -> ec.EllipticCurvePrivateKey | None:
    """Give the key of an unencrypted file; None where there is none.

    Raises:
        RepositoryDamaged: it cannot be read.
    """
    try:
        key = load_pem_private_key(read_regular(path), None)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as exc:
        raise RepositoryDamaged(f"{path}: expected an unencrypted key in PEM: {exc}") from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise RepositoryDamaged(f"{path}: expected an elliptic curve key")
    return key


def write_key(path: Path, key: ec.EllipticCurvePrivateKey, secret: bytes | None = None) -> None:
    """Write a private key's file, which its owner alone may read.

    Args:
        path: the file.
        key: the key.
        secret: what encrypts it; None for no encryption.

    Raises:
        StorageFailed: it cannot be written.
    """
    encryption = BestAvailableEncryption(secret) if secret else NoEncryption()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    write_atomic(path, pem, mode=KEY_MODE)
