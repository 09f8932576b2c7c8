"""A device's identity key, as both sides see it: its id, and what it signs.

The key is made on the device and never leaves it. Whatever it signs begins with a *context* that
says what is signed, so that no signature can be taken for one over something else. Signatures have
64 bytes, of Ed25519 (RFC 8032) or, for keys on a token that has none, of ECDSA over P-256 with
SHA-256, its two numbers side by side (IEEE P1363).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

PublicKey = Ed25519PublicKey | ec.EllipticCurvePublicKey
"""The public part of an identity key."""

PrivateKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey
"""An identity key; one on a token is of a class of its own below these."""

SIGNATURE_BYTES: Final = 64
"""The size of a signature."""

REPORT_CONTEXT: Final = b"slotcast report v1\0"
"""What is signed of a status and of metrics begins with this (`slotcast_schemas.signed_report`)."""

ENCRYPTION_CONTEXT: Final = b"slotcast encryption key v1\0"
"""What is signed of a device's encryption key begins with this (`slotcast_schemas.enrolment`)."""

_HALF_BYTES: Final = SIGNATURE_BYTES // 2


def is_fit(public: object) -> bool:
    """Say whether a public key is of a kind that an identity key may have."""
    if isinstance(public, ec.EllipticCurvePublicKey):
        return isinstance(public.curve, ec.SECP256R1)
    return isinstance(public, Ed25519PublicKey)


def key_id(public: PublicKeyTypes) -> str:
    """Give the id of a key: the SHA-256 of its SubjectPublicKeyInfo, in hexadecimal."""
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def sign(private: PrivateKey, context: bytes, data: bytes) -> bytes:
    """Sign data for one purpose; gives `SIGNATURE_BYTES` bytes.

    Args:
        private: the key.
        context: what it is signed as.
        data: what is signed.
    """
    if isinstance(private, Ed25519PrivateKey):
        return private.sign(context + data)
    first, second = decode_dss_signature(private.sign(context + data, _ecdsa()))
    return first.to_bytes(_HALF_BYTES, "big") + second.to_bytes(_HALF_BYTES, "big")


def is_signed_by(public: PublicKey, context: bytes, data: bytes, signature: bytes) -> bool:
    """Say whether a signature is this key's, over this data and for this purpose.

    Args:
        public: the key.
        context: what it should be signed as.
        data: what should be signed.
        signature: the bytes that came with it.
    """
    if len(signature) != SIGNATURE_BYTES:
        return False
    try:
        if isinstance(public, Ed25519PublicKey):
            public.verify(signature, context + data)
        else:
            halves = (signature[:_HALF_BYTES], signature[_HALF_BYTES:])
            numbers = (int.from_bytes(half, "big") for half in halves)
            public.verify(encode_dss_signature(*numbers), context + data, _ecdsa())
    except InvalidSignature:
        return False
    return True


def _ecdsa() -> ec.ECDSA:
    return ec.ECDSA(hashes.SHA256())  # not for Ed25519: making it imports half a MB of OpenSSL
