"""What is in a certificate and in a revocation list, as RFC 5280 has it. No files, no clock.

Each authority makes one kind of certificate, and says so itself by its extended key usage, which
OpenSSL holds it to: what a client's authority signs is no server. Name constraints would add
nothing where they are wanted: a client is known by its common name, and constraints on names
bind the beginning of a name and not its common name (docs/adr/0170).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from slotcast_schemas.errors import UsageError
from slotcast_schemas.x509_errors import UNREADABLE

CLOCK_SLACK: Final = timedelta(hours=1)
"""How long before now a certificate counts from, because the clocks of devices are rarely exact."""

_HOST_NAME: Final = re.compile(r"(?=.{1,253}\Z)(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
"""A name in the letters of the DNS; `*` for all names below one."""

RSA_BITS_MIN: Final = 2048
"""The least bits of an RSA key."""

CLIENT: Final = ExtendedKeyUsageOID.CLIENT_AUTH
"""What devices' and publishers' certificates are for, and nothing else."""

SERVER: Final = ExtendedKeyUsageOID.SERVER_AUTH
"""What a broker's certificate is for, and nothing else."""

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
"""The public part of a key that a certificate may name."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority that can sign."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class RevokedSerial:
    """A certificate that counts no more."""

    serial: int
    at: datetime


def is_fit(key: object) -> bool:
    """Say whether a certificate may name this public key: Ed25519, P-256, P-384, RSA of 2,048."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= RSA_BITS_MIN
    return isinstance(key, ed25519.Ed25519PublicKey)


def make_authority(
    name: str, usage: x509.ObjectIdentifier, *, days: float, now: datetime
) -> Authority:
    """Make an authority with a key of its own, which signs certificates of one kind.

    Args:
        name: its common name.
        usage: what its certificates are for: `CLIENT` or `SERVER`.
        days: how long it counts.
        now: the time.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _unsigned(name, _name(name), key.public_key(), now, now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(is_authority=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(_issued_by(key), critical=False)
    )
    return Authority(builder.sign(key, hashes.SHA256()), key)


def issue_client(
    authority: Authority,
    name: str,
    uri: str,
    public_key: PublicKey,
    *,
    days: float,
    now: datetime,
) -> x509.Certificate:
    """Issue the certificate of a device or a publisher; it ends with its authority at the latest.

    Args:
        authority: who signs.
        name: the common name, which the broker takes as the user's name.
        uri: its alternative name, which says of which kind it is.
        public_key: its key.
        days: how long it counts.
        now: the time.
    """
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
    return _issue(authority, name, public_key, names, CLIENT, days=days, now=now)


def issue_server(
    authority: Authority,
    hosts: Sequence[str],
    public_key: PublicKey,
    *,
    days: float,
    now: datetime,
) -> x509.Certificate:
    """Issue a broker's certificate; it ends with its authority at the latest.

    Args:
        authority: who signs.
        hosts: names and addresses by which clients reach it, at least one.
        public_key: its key.
        days: how long it counts.
        now: the time.
    """
    names = x509.SubjectAlternativeName([_host(host) for host in hosts])
    return _issue(authority, "Slotcast broker", public_key, names, SERVER, days=days, now=now)


def make_revocation_list(
    authority: Authority, revoked: Sequence[RevokedSerial], *, days: float, now: datetime
) -> x509.CertificateRevocationList:
    """Make the list of an authority's certificates that count no more.

    Args:
        authority: who signs it: a broker takes it for no other authority's certificates.
        revoked: which, and since when.
        days: how long it counts. Past that, a broker refuses every client.
        now: the time.
    """
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - CLOCK_SLACK)
        .next_update(now + timedelta(days=days))
        .add_extension(_issued_by(authority.key), critical=False)
        # It must grow from list to list (RFC 5280, 5.2.3).
        .add_extension(x509.CRLNumber(int(now.timestamp() * 1000)), critical=False)
    )
    for one in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(one.serial)
        builder = builder.add_revoked_certificate(entry.revocation_date(one.at).build())
    return builder.sign(authority.key, hashes.SHA256())


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate | None) -> bool:
    """Say whether an authority signed a certificate; of its time and its use nothing is said."""
    if issuer is None:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (*UNREADABLE, InvalidSignature):
        return False
    return True


def life_of(certificate: x509.Certificate) -> timedelta:
    """Give how long a certificate counts, from its beginning to its end."""
    return certificate.not_valid_after_utc - certificate.not_valid_before_utc


def common_name(name: x509.Name) -> str | None:
    """Give the common name; None where there is none, or more than one."""
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if len(found) == 1 else None


def _issue(
    authority: Authority,
    name: str,
    public_key: PublicKey,
    names: x509.SubjectAlternativeName,
    usage: x509.ObjectIdentifier,
    *,
    days: float,
    now: datetime,
) -> x509.Certificate:
    issuer = authority.certificate
    end = min(now + timedelta(days=days), issuer.not_valid_after_utc)
    builder = (
        _unsigned(name, issuer.subject, public_key, now, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(is_authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(names, critical=False)
        .add_extension(_issued_by(authority.key), critical=False)
    )
    return builder.sign(authority.key, hashes.SHA256())


def _unsigned(
    name: str, issuer: x509.Name, public_key: PublicKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SLACK)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _issued_by(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def check_hosts(hosts: Sequence[str]) -> None:
    """Refuse what no client can look for in a broker's certificate, such as a name with its port.

    Raises:
        UsageError: one is neither an address nor a host's name.
    """
    for host in hosts:
        _host(host)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if _HOST_NAME.fullmatch(host) is None:
            raise UsageError(
                f"--host: expected a name or an address, without a port, got {host!r:.80}"
            ) from None
        return x509.DNSName(host)


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
