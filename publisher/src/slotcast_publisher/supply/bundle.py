"""The Sigstore bundle that a model signature comes in: a DSSE envelope, and whose it says it is.

Read and written with `cryptography` alone: the packages of model-signing bring some thirty others
(docs/adr/0176), and hold our tests to what they make and accept.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from slotcast_publisher.supply.manifest import OLD_PREDICATE_TYPE, PAYLOAD_TYPE
from slotcast_schemas.errors import BadSignature, MalformedMessage, UnsupportedFeature
from slotcast_schemas.strict_json import read_json

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
"""What a bundle says that it is."""
BUNDLE_MAX_BYTES: Final = 4 * 1024 * 1024
"""The most bytes of a bundle that are read: ten thousand files take some two million."""
_CHAIN_MAX: Final = 8
"""The most certificates that a bundle may bring."""
_SIGNER_KINDS: Final = frozenset({"publicKey", "x509CertificateChain", "certificate"})
"""The ways to say who signed; a bundle has one of them."""
_HASHES: Final[Mapping[str, hashes.HashAlgorithm]] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}
"""What goes with each curve, as Sigstore's definitions have it."""


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle holds; nothing of it is checked yet.

    Attributes:
        document: the bundle itself, as it came.
        payload: what is signed.
        signature: over it, as DSSE pads it.
        key_sha256: of the signer's public key in PEM, as the bundle claims it; empty for none.
        chain: certificates in DER, the signer's first; none where a key is named.
        is_keyless: it is of a Sigstore identity: a certificate of minutes, and an entry in a log.
    """

    document: bytes
    payload: bytes
    signature: bytes
    key_sha256: str = ""
    chain: tuple[bytes, ...] = ()
    is_keyless: bool = False


def read_bundle(data: bytes) -> Bundle:
    """Take a bundle apart.

    Raises:
        MalformedMessage: it is none.
    """
    if len(data) > BUNDLE_MAX_BYTES:
        raise MalformedMessage(
            f"model signature: expected at most {BUNDLE_MAX_BYTES} bytes, got {len(data)}"
        )
    try:
        found = read_json(data)
        media_type, envelope = found.get("mediaType"), found["dsseEnvelope"]
        material, signatures = found["verificationMaterial"], envelope["signatures"]
        if media_type != MEDIA_TYPE or envelope["payloadType"] != PAYLOAD_TYPE:
            raise MalformedMessage(
                f"model signature: expected {MEDIA_TYPE} of {PAYLOAD_TYPE}, got"
                f" {media_type!r:.100} of {envelope['payloadType']!r:.100}"
            )
        if len(signatures) != 1:
            raise MalformedMessage(f"model signature: expected one, got {len(signatures)}")
        if len(_SIGNER_KINDS & material.keys()) != 1:
            raise MalformedMessage(
                f"model signature: expected one of {', '.join(sorted(_SIGNER_KINDS))}, got"
                f" {', '.join(sorted(material))[:100]}"
            )
        chain = material.get("x509CertificateChain", {}).get("certificates", [])
        if len(chain) > _CHAIN_MAX:
            raise MalformedMessage(f"model signature: {len(chain)} certificates are too many")
        return Bundle(
            document=data,
            payload=_decode(envelope["payload"]),
            signature=_decode(signatures[0]["sig"]),
            key_sha256=str(material.get("publicKey", {}).get("hint") or ""),
            chain=tuple(_decode(one["rawBytes"]) for one in chain),
            is_keyless="certificate" in material,
        )
    except (KeyError, TypeError, AttributeError, ValueError) as exc:
        raise MalformedMessage(f"model signature: no Sigstore bundle: {exc!r:.200}") from exc


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as exc:
        raise ValueError(f"no base64: {exc}") from exc


def check_signature(bundle: Bundle, key: ec.EllipticCurvePublicKey) -> None:
    """See that a key has signed a bundle.

    Raises:
        BadSignature: it has not.
        UnsupportedFeature: the key's curve is none of model-signing's, or the bundle is of before
            v1.0, whose padding was another.
    """
    try:
        key.verify(bundle.signature, _padded(bundle.payload), ec.ECDSA(_hash_of(key)))
    except InvalidSignature:
        if OLD_PREDICATE_TYPE.encode() in bundle.payload:
            raise UnsupportedFeature(
                "model signature: expected model-signing v1.0, got the format before it; sign the"
                " model again"
            ) from None
        raise BadSignature("model signature: the key that is allowed did not sign it") from None


def write_bundle(
    payload: bytes, key: ec.EllipticCurvePrivateKey, chain: tuple[x509.Certificate, ...] = ()
) -> bytes:
    """Sign a manifest; gives the bundle, the same for the same input where OpenSSL can.

    Args:
        payload: what is signed.
        key: of the signer.
        chain: its certificate and those that vouch for it; without any, the key is named.
    """
    material: dict[str, Any] = {"tlogEntries": []}
    if chain:
        ders = [one.public_bytes(Encoding.DER) for one in chain]
        certificates = [{"rawBytes": base64.b64encode(der).decode()} for der in ders]
        material["x509CertificateChain"] = {"certificates": certificates}
    else:
        material["publicKey"] = {"hint": key_sha256(key.public_key())}
    signature = _sign(payload, key)
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
    }
    found = {"mediaType": MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope}
    return msgspec.json.encode(found)


def _sign(payload: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    digest = _hash_of(key.public_key())
    try:
        return key.sign(_padded(payload), ec.ECDSA(digest, deterministic_signing=True))
    except UnsupportedAlgorithm:  # an OpenSSL before 3.2
        return key.sign(_padded(payload), ec.ECDSA(digest))


def key_sha256(key: ec.EllipticCurvePublicKey) -> str:
    """Give the SHA-256 of a public key in PEM, by which bundles name it."""
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def _hash_of(key: ec.EllipticCurvePublicKey) -> hashes.HashAlgorithm:
    found = _HASHES.get(key.curve.name)
    if found is None:
        raise UnsupportedFeature(
            f"model signature: expected a key on P-256, P-384 or P-521, got {key.curve.name}"
        )
    return found


def _padded(payload: bytes) -> bytes:
    """Give what DSSE signs: the type and the payload, each with its length."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
