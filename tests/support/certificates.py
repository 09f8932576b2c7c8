"""Certificates for the production broker, made on the spot: three CAs, and whom they vouch for.

Decides names, lifetimes and key types.
What the broker does with them stands in mosquitto/production.conf.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import shutil
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from slotcast_publisher.settings import Broker as BrokerSettings

PUBLISHER: Final = "@publisher"
"""The publisher's common name, as mosquitto/acl.publishers has it."""

_LIFETIME: Final = dt.timedelta(days=2)
_CLOCK_SLACK: Final = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate with its key, on disk as PEM files."""

    name: str
    certificate: Path
    key: Path


class Authority:
    """A CA whose certificate and key lie in `folder` as `<name>.crt` and `<name>.key`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _common_name(name)
        certificate = (
            _unsigned(self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(is_ca=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        files = _write(folder, name, certificate, self._key)
        self.certificate, self.key = files.certificate, files.key

    def issue_client(self, name: str, file_name: str | None = None) -> Identity:
        """Give a client certificate whose common name is `name`."""
        return self._issue(name, file_name or name, ExtendedKeyUsageOID.CLIENT_AUTH, None)

    def issue_server(self, name: str) -> Identity:
        """Give a server certificate for this machine's loopback."""
        names = x509.SubjectAlternativeName(
            [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        )
        return self._issue(name, name, ExtendedKeyUsageOID.SERVER_AUTH, names)

    def _issue(
        self,
        name: str,
        file_name: str,
        usage: x509.ObjectIdentifier,
        names: x509.SubjectAlternativeName | None,
    ) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _unsigned(_common_name(name), self._name, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(is_ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return _write(self._folder, file_name, builder.sign(self._key, hashes.SHA256()), key, name)


class Certificates:
    """All that one production broker and its clients need, in `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.broker_ca = Authority(folder, "broker-ca")
        self.devices_ca = Authority(folder, "devices-ca")
        self.publishers_ca = Authority(folder, "publishers-ca")
        self.server = self.broker_ca.issue_server("server")
        self._made: dict[str, Identity] = {}

    def device(self, device_id: str) -> Identity:
        """Give the device's identity, the same each time."""
        return self._once(f"device-{device_id}", device_id, self.devices_ca)

    def publisher(self) -> Identity:
        """Give the publisher's identity."""
        return self._once("publisher", PUBLISHER, self.publishers_ca)

    def publisher_settings(self, url: str) -> BrokerSettings:
        """Give what a repository's settings say of the broker at the publishers' address."""
        us = self.publisher()
        return BrokerSettings(
            url=url,
            ca=str(self.broker_ca.certificate),
            certificate=str(us.certificate),
            key=str(us.key),
        )

    def give_devices_authority(self, repo: Path) -> None:
        """Have a repository sign for devices as the authority that the broker trusts."""
        (repo / "devices").mkdir(exist_ok=True)
        shutil.copy(self.devices_ca.certificate, repo / "devices" / "ca.pem")
        shutil.copy(self.devices_ca.key, repo / "devices" / "ca.key")

    def context(self, identity: Identity | None) -> ssl.SSLContext:
        """Give what a client needs to connect: trust in the broker, and itself if it is anyone."""
        context = ssl.create_default_context(cafile=self.broker_ca.certificate)
        if identity is not None:
            context.load_cert_chain(identity.certificate, identity.key)
        return context

    def _once(self, file_name: str, name: str, authority: Authority) -> Identity:
        if file_name not in self._made:
            self._made[file_name] = authority.issue_client(name, file_name)
        return self._made[file_name]


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SLACK)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def _write(
    folder: Path,
    file_name: str,
    certificate: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    name: str | None = None,
) -> Identity:
    identity = Identity(name or file_name, folder / f"{file_name}.crt", folder / f"{file_name}.key")
    identity.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    identity.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    identity.key.chmod(0o600)
    return identity
