"""Whether a signer's certificate leads to a root that is allowed, and says who it must say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from slotcast_schemas.errors import BadSignature, MalformedMessage
from slotcast_schemas.x509_errors import UNREADABLE

if TYPE_CHECKING:
    from slotcast_publisher.supply.policy import AllowedSigner


_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


_UNDERSTOOD: Final = frozenset(
    {
        x509.BasicConstraints.oid,
        x509.KeyUsage.oid,
        x509.ExtendedKeyUsage.oid,
        x509.SubjectAlternativeName.oid,
    }
)
"""What of a certificate is asked here. One that says that something else must be understood, is not
(RFC 5280, 4.2); and what an authority may vouch for by its name constraints is not either."""


def key_of_chain(
    chain: tuple[bytes, ...], signer: AllowedSigner, now_s: float
) -> ec.EllipticCurvePublicKey:
    """Give the key of a signer's certificate that a chain vouches for.

    Args:
        chain: certificates in DER, the signer's first, each signed by one of the others or a root.
        signer: which roots and which name.
        now_s: seconds since 1970.

    Raises:
        BadSignature: it leads to no root, has ended, or says another name.
        MalformedMessage: a certificate cannot be read.
    """
    try:
        leaf, *others = (x509.load_der_x509_certificate(der) for der in chain)
        _check_name(leaf, signer.name)
        _check_use(leaf)
        _follow(leaf, others, signer, datetime.fromtimestamp(now_s, UTC))
        key = leaf.public_key()
    except UNREADABLE as exc:
        raise MalformedMessage(f"model signature: a certificate cannot be read: {exc}") from exc
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise BadSignature("model signature: the certificate's key is not on an elliptic curve")
    return key


def names_of(certificate: x509.Certificate) -> list[str]:
    """Give all that a certificate says its owner is called."""
    names = [str(a.value) for a in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    other = _extension(certificate, x509.SubjectAlternativeName)
    if other is not None:
        for kind in (x509.RFC822Name, x509.UniformResourceIdentifier, x509.DNSName):
            names += other.get_values_for_type(kind)
    return names


def names_of_der(der: bytes) -> list[str]:
    """Give the names of a certificate in DER.

    Raises:
        MalformedMessage: it cannot be read.
    """
    try:
        return names_of(x509.load_der_x509_certificate(der))
    except UNREADABLE as exc:
        raise MalformedMessage(f"model signature: a certificate cannot be read: {exc}") from exc


def _check_name(leaf: x509.Certificate, name: str) -> None:
    found = names_of(leaf)
    if name not in found:
        raise BadSignature(
            f"model signature: expected a certificate of {name}, got one of"
            f" {', '.join(found)[:200] or 'nobody'}"
        )


def _check_use(leaf: x509.Certificate) -> None:
    usage = _extension(leaf, x509.KeyUsage)
    extended = _extension(leaf, x509.ExtendedKeyUsage)
    may_sign = usage is None or usage.digital_signature
    if not may_sign or extended is None or ExtendedKeyUsageOID.CODE_SIGNING not in extended:
        raise BadSignature(
            "model signature: its certificate is not one that may sign: expected the extended key"
            " usage code signing"
        )


def _follow(
    leaf: x509.Certificate, others: list[x509.Certificate], signer: AllowedSigner, now: datetime
) -> None:
    """Go from the leaf to a root, each signed by the next; every one counts now."""
    at, below = leaf, 0
    while at not in signer.roots:
        _check_time(at, signer, now)
        _check_understood(at)
        candidates = [c for c in (*signer.roots, *others) if c != at and _has_issued(c, at)]
        if not candidates or below > len(others) + 1:
            raise BadSignature(
                f"model signature: the certificate of {signer.name} does not lead to a root that"
                " is allowed"
            )
        at = candidates[0]
        _check_authority(at, below)
        if at not in signer.roots:
            _check_purpose(at)
        below += 1
    _check_time(at, signer, now)


def _has_issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (*UNREADABLE, InvalidSignature):
        return False
    return True


def _check_authority(issuer: x509.Certificate, below: int) -> None:
    constraints = _extension(issuer, x509.BasicConstraints)
    usage = _extension(issuer, x509.KeyUsage)
    length = None if constraints is None else constraints.path_length
    if constraints is None or not constraints.ca or (usage is not None and not usage.key_cert_sign):
        raise BadSignature("model signature: one of its certificates is of no authority")
    if length is not None and below > length:
        raise BadSignature("model signature: an authority vouches for more than it may")


def _check_understood(certificate: x509.Certificate) -> None:
    for one in certificate.extensions:
        is_limit = one.oid == x509.NameConstraints.oid
        if is_limit or (one.critical and one.oid not in _UNDERSTOOD):
            raise BadSignature(
                "model signature: one of its certificates has a limit that is not understood here:"
                f" the extension {one.oid.dotted_string}"
            )


def _check_purpose(authority: x509.Certificate) -> None:
    """See that an authority below the root is not one for other things, such as servers."""
    purposes = _extension(authority, x509.ExtendedKeyUsage)
    wanted = {ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if purposes is not None and wanted.isdisjoint(purposes):
        raise BadSignature(
            "model signature: one of its certificates is of an authority for other things than code"
            " signing"
        )


def _check_time(certificate: x509.Certificate, signer: AllowedSigner, now: datetime) -> None:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begins or (now > ends and not signer.allow_expired):
        raise BadSignature(
            f"model signature: expected a certificate that counts now, got one from {begins.date()}"
            f" to {ends.date()}; sign the model again, or allow_expired in the policy"
        )


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
