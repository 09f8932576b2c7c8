"""The key ring: which private key is where, and how it is opened.

A key is named by its TUF key id and lives behind a URI: `pem:keys/NAME.pem` is a PKCS8 file of
this repository, anything else is handed to securesystemslib (`gcpkms:`, `awskms:`, `hsm:`, ...).
Which key counts for which role is not said here but in signed metadata.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, cast

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey

from slotcast_publisher.durable import storage_errors, write_atomic
from slotcast_publisher.errors import Conflict, KeyUnavailable, RepositoryDamaged
from slotcast_publisher.private_key_files import read_private_key
from slotcast_schemas.decode_errors import UNDECODABLE
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.errors import UsageError
from slotcast_schemas.key_errors import NO_KEY
from slotcast_schemas.plain_files import read_regular

PEM_SCHEME: Final = "pem"
"""The scheme of addresses of key files that lie beside the key ring."""

RING_FILE: Final = "keys.json"
"""The name of the key ring's file in a repository."""


class Passphrase(Protocol):
    """Gives the passphrase of a key file or the PIN of a token, or None where there is none."""

    def __call__(self, purpose: str) -> str | None:
        """Ask for it; `purpose` is shown to a person."""


class KeyEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Where one private key is."""

    uri: str
    name: str
    created: int
    public: dict[str, Any]
    """The TUF public key, as metadata has it."""


make_decoders(KeyEntry)


class KeyRing:
    """The private keys that this repository can reach.

    Args:
        repo: folder of the repository.
        passphrase: opens key files.
        pin: opens hardware tokens.
        now_s: the time.

    Raises:
        RepositoryDamaged: `keys.json` is not what this software writes.
    """

    def __init__(
        self,
        repo: Path,
        passphrase: Passphrase,
        *,
        pin: Passphrase,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._repo = repo
        self._passphrase = passphrase
        self._pin = pin
        self._now_s = now_s
        self._signers: dict[str, Signer] = {}
        self._entries = self._read()

    @property
    def entries(self) -> dict[str, KeyEntry]:
        """Key id to where the key is."""
        return dict(self._entries)

    @property
    def is_encrypted(self) -> bool:
        """Whether any key file here is encrypted; new ones then are, too.

        Raises:
            RepositoryDamaged: one is no file that can be read.
        """
        paths = (self._repo / "keys").glob("*.pem")
        try:
            return any(b"ENCRYPTED" in read_regular(path) for path in paths)
        except OSError as exc:
            raise RepositoryDamaged(f"{exc.filename}: {exc.strerror}") from exc

    def secret(self, purpose: str) -> bytes | None:
        """Give the passphrase for another private key of this repository; None for no encryption.

        Raises:
            UsageError: keys here are encrypted, and no passphrase is given.
        """
        if not self.is_encrypted:
            return None
        given = self._passphrase(purpose)
        if not given:
            raise UsageError(f"a passphrase is needed for {purpose}: set SLOTCAST_PASSPHRASE")
        return given.encode()

    def generate(self, name: str, *, encrypted: bool) -> SSlibKey:
        """Make an Ed25519 key in a PKCS8 file `keys/NAME-ID.pem` and give its public part.

        Raises:
            UsageError: encryption is asked for and no passphrase is given.
            StorageFailed: the file cannot be written.
        """
        private = Ed25519PrivateKey.generate()
        public = SSlibKey.from_crypto(private.public_key())
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, self._encryption(encrypted))
        relative = f"keys/{name}-{public.keyid[:8]}.pem"
        with storage_errors(self._repo / "keys"):
            (self._repo / "keys").mkdir(mode=0o700, exist_ok=True)
        write_atomic(self._repo / relative, pem, mode=0o600)
        self._add(public, f"{PEM_SCHEME}:{relative}", name)
        self._signers[public.keyid] = CryptoSigner(private, public)
        return public

    def register(self, name: str, uri: str, public_pem: bytes, scheme: str | None) -> SSlibKey:
        """Add a key that lives elsewhere: a KMS, an HSM, a file on another medium.

        Args:
            name: what people call it.
            uri: where it is, as securesystemslib has it.
            public_pem: the public key, in PEM.
            scheme: how it signs; what is usual for its type unless given.

        Raises:
            UsageError: the public key cannot be read.
        """
        try:
            public = SSlibKey.from_crypto(load_pem_public_key(public_pem), None, scheme)
        except NO_KEY as exc:
            raise UsageError(f"expected a PEM public key that TUF can use: {exc}") from exc
        self._add(public, uri, name)
        return public

    @contextmanager
    def unchanged_on_conflict(self) -> Iterator[None]:
        """Know where keys are as before, where a change of roles is refused as a conflict."""
        before = dict(self._entries)
        try:
            yield
        except Conflict:
            if self._entries != before:
                self._entries = before
                self._signers.clear()
                self._save()
            raise

    def forget(self, keyid: str) -> None:
        """Drop a key that signs for nothing any more; its file, if it is one here, is kept.

        Raises:
            StorageFailed: it cannot be written.
        """
        self._entries.pop(keyid, None)
        self._signers.pop(keyid, None)
        self._save()

    def signer(self, keyid: str) -> Signer:
        """Open a private key.

        Raises:
            KeyUnavailable: it is not in the ring, not reachable, or the passphrase is wrong.
        """
        if keyid not in self._signers:
            self._signers[keyid] = self._open(keyid)
        return self._signers[keyid]

    def name(self, keyid: str) -> str:
        """Give the name that a key was given here, or else its id."""
        entry = self._entries.get(keyid)
        return keyid[:8] if entry is None else entry.name

    def can_reach(self, keyid: str) -> bool:
        """Say whether the key might be opened from here; a file must exist, others are tried."""
        entry = self._entries.get(keyid)
        if entry is None:
            return False
        scheme, _, path = entry.uri.partition(":")
        return scheme != PEM_SCHEME or (self._repo / path).exists()

    def _open(self, keyid: str) -> Signer:
        entry = self._entries.get(keyid)
        if entry is None:
            raise KeyUnavailable(f"key {keyid[:8]}: this repository does not know where it is")
        public = Key.from_dict(keyid, dict(entry.public))
        scheme, _, rest = entry.uri.partition(":")
        if scheme == PEM_SCHEME:
            private = read_private_key(self._repo / rest, f"key {entry.name}", self._passphrase)
            try:
                return CryptoSigner(private, cast("SSlibKey", public))
            except (ValueError, TypeError) as exc:
                raise KeyUnavailable(f"key {entry.name}: {rest} is another key: {exc}") from exc
        try:
            return Signer.from_priv_key_uri(entry.uri, public, lambda _: self._pin_of(entry))
        except Exception as exc:  # signer libraries of many vendors: each has errors of its own
            raise KeyUnavailable(f"key {entry.name} ({scheme}): {exc}") from exc

    def _pin_of(self, entry: KeyEntry) -> str:
        """Give the PIN of a token; never a passphrase, for a few wrong tries lock the token."""
        pin = self._pin(f"key {entry.name} at {entry.uri}")
        if not pin:
            raise KeyUnavailable("its token needs a PIN: set SLOTCAST_PIN")
        return pin

    def _encryption(self, encrypted: bool) -> KeySerializationEncryption:  # noqa: FBT001
        if not encrypted:
            return NoEncryption()
        secret = self._passphrase("the new key")
        if not secret:
            raise UsageError(
                "a passphrase is needed to encrypt the new key: set SLOTCAST_PASSPHRASE,"
                " or say --no-passphrase to leave the file unencrypted"
            )
        return BestAvailableEncryption(secret.encode())

    def _add(self, public: SSlibKey, uri: str, name: str) -> None:
        self._entries[public.keyid] = KeyEntry(
            uri=uri, name=name, created=int(self._now_s()), public=public.to_dict()
        )
        self._save()

    def _save(self) -> None:
        data = json.dumps(msgspec.to_builtins(self._entries), indent=1, sort_keys=True)
        write_atomic(self._repo / RING_FILE, data.encode())

    def _read(self) -> dict[str, KeyEntry]:
        path = self._repo / RING_FILE
        try:
            return msgspec.json.decode(read_regular(path), type=dict[str, KeyEntry])
        except FileNotFoundError:
            return {}
        except (OSError, *UNDECODABLE) as exc:
            raise RepositoryDamaged(f"{path}: {exc}") from exc
