"""A release's content key: how it is known, wrapped for a recipient, and found in a list.

The key is wrapped by HPKE (RFC 9180, base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
ChaCha20-Poly1305), which is the `cryptography` library's. A list of wrapped keys is a payload
(docs/encryption.md): entries of 96 bytes in chunks of 42, and which chunk an entry is in follows
from the recipient's id, so a device fetches that chunk alone.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import cryptography
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from slotcast_schemas import codec_names
from slotcast_schemas.errors import NoContentKey, SoftwareBroken, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.hpke import Suite

    from slotcast_schemas.messages import Release

CONTENT_KEY_BYTES: Final = 32
"""The size of a content key."""

KEYS_CODEC: Final = codec_names.KEYS
"""The codec's name of a list of wrapped content keys."""

ID_BYTES: Final = 16
"""The size of a recipient's id in a list."""

_FIELD_PRIME: Final = 2**255 - 19
"""Numbers below it are X25519's public keys; it reads others as the same, less this."""

_WRAPPED_BYTES: Final = 32 + CONTENT_KEY_BYTES + 16
"""The size of a wrapped key: the encapsulated key, the sealed one and its tag."""

ENTRY_BYTES: Final = ID_BYTES + _WRAPPED_BYTES
"""The size of a list's entry."""

ENTRIES_PER_CHUNK: Final = 42
"""The most entries of one chunk of a list, which a device fetches whole."""

KEYS_CHUNK_BYTES: Final = ENTRIES_PER_CHUNK * ENTRY_BYTES
"""The size of a chunk of a list, in bytes."""

RECIPIENTS_MAX: Final = 20_000
"""The most recipients of a release."""

KEYS_CHUNKS_MAX: Final = 1024
"""The most chunks of a list, so that its map has 32 KiB at most."""


def commitment_to(content_key: bytes) -> bytes:
    """Give the digest by which a release names its content key."""
    return hashlib.sha256(b"slotcast content key 1" + content_key).digest()


def recipient_id(public_key: bytes) -> bytes:
    """Give the id under which a list holds the key that is wrapped for a public key."""
    return hashlib.sha256(b"slotcast recipient 1" + public_key).digest()[:ID_BYTES]


def public_bytes(private: X25519PrivateKey) -> bytes:
    """Give the 32 bytes of the public key that belongs to a private one."""
    return private.public_key().public_bytes_raw()


def read_public_key(text: str) -> bytes:
    """Read an X25519 public key that is written in base64.

    Raises:
        UsageError: it is none.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise UsageError(f"encryption key: expected base64, got {text!r:.80}") from exc
    if len(raw) != 32 or not _is_usable(raw):
        raise UsageError("encryption key: expected the 32 bytes of an X25519 key in base64")
    return raw


def _is_usable(raw: bytes) -> bool:
    """Whether X25519 gives a secret with this key; a few points of small order give only zeros.

    Written in the one way that keys are: in another, one key would have two ids (RFC 7748, 5).
    """
    if int.from_bytes(raw, "little") >= _FIELD_PRIME:
        return False
    try:
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(raw))
    except ValueError:
        return False
    return True


def wrap(content_key: bytes, public_key: bytes, release: Release) -> bytes:
    """Wrap a release's content key so that only the owner of the private key can unwrap it.

    Args:
        content_key: the key.
        public_key: the recipient's, 32 bytes.
        release: whose key it is.

    Raises:
        SoftwareBroken: the `cryptography` that is installed has no HPKE.
    """
    info = _info(release, commitment_to(content_key), recipient_id(public_key))
    return _suite().encrypt(content_key, X25519PublicKey.from_public_bytes(public_key), info)


def unwrap(wrapped: bytes, private: X25519PrivateKey, release: Release) -> bytes:
    """Give the content key that was wrapped for this private key.

    Args:
        wrapped: of a list's entry.
        private: the recipient's.
        release: whose key it is to be; it must say that it is encrypted.

    Raises:
        NoContentKey: it was wrapped for another key or release, or is not the committed one.
        SoftwareBroken: the `cryptography` that is installed has no HPKE.
    """
    if release.encryption is None:
        raise NoContentKey("the release does not say that it is encrypted")
    committed = release.encryption.key_commitment
    info = _info(release, committed, recipient_id(public_bytes(private)))
    try:
        content_key = _suite().decrypt(wrapped, private, info)
    except (InvalidTag, ValueError) as exc:
        raise NoContentKey("the wrapped key of this device does not open with its key") from exc
    if commitment_to(content_key) != committed:
        raise NoContentKey("the list gives another content key than the signed release names")
    return content_key


def _info(release: Release, commitment: bytes, recipient: bytes) -> bytes:
    """Say what a wrapped key is for (RFC 9180, `info`)."""
    model = release.model.encode()
    return b"".join(
        (
            b"slotcast content key 1",
            struct.pack(">H", len(model)),
            model,
            struct.pack(">Q", release.sequence),
            commitment,
            recipient,
        )
    )


def require_hpke() -> None:
    """See that keys can be wrapped and unwrapped here.

    Raises:
        SoftwareBroken: the `cryptography` that is installed has no HPKE.
    """
    _suite()


def _suite() -> Suite:
    try:
        from cryptography.hazmat.primitives import hpke
    except ImportError as exc:
        raise SoftwareBroken(
            f"encrypted releases need HPKE, and cryptography {cryptography.__version__} has none;"
            " install a newer one here"
        ) from exc
    return hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


# --- lists of wrapped keys ----------------------------------------------------------------------


def chunk_of(recipient: bytes, chunk_count: int) -> int:
    """Say in which chunk of a list a recipient's entry is, if it is in it."""
    return int.from_bytes(recipient[:8], "big") % chunk_count


def build_list(wrapped: Mapping[bytes, bytes]) -> bytes:
    """Give a list's bytes: chunks of `KEYS_CHUNK_BYTES`, padded with zeros where there are several.

    Args:
        wrapped: wrapped keys by recipient id; at least one.

    Raises:
        UsageError: too many for a list.
    """
    count = -(-len(wrapped) // ENTRIES_PER_CHUNK)
    while True:
        if len(wrapped) > RECIPIENTS_MAX or count > KEYS_CHUNKS_MAX:
            raise UsageError(f"expected at most {RECIPIENTS_MAX} recipients, got {len(wrapped)}")
        chunks: list[list[bytes]] = [[] for _ in range(count)]
        for recipient in sorted(wrapped):
            chunks[chunk_of(recipient, count)].append(recipient + wrapped[recipient])
        if max(map(len, chunks)) <= ENTRIES_PER_CHUNK:
            break
        count += 1 + count // 20
    joined = [b"".join(entries) for entries in chunks]
    return joined[0] if count == 1 else b"".join(c.ljust(KEYS_CHUNK_BYTES, b"\0") for c in joined)


def find_entry(chunk: bytes, recipient: bytes) -> bytes | None:
    """Find the wrapped key of a recipient in its chunk of a list; None where there is none."""
    for start in range(0, len(chunk) - ENTRY_BYTES + 1, ENTRY_BYTES):
        if chunk[start : start + ID_BYTES] == recipient:
            return chunk[start + ID_BYTES : start + ENTRY_BYTES]
    return None
