"""What roles are signed with: the keys in reach, how long each role counts, and the clock.

What they say, and when they are signed again, is `role_signing`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Role, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import SerializationError

from slotcast_publisher.errors import KeyUnavailable
from slotcast_publisher.settings import Expiry
from slotcast_publisher.trust.keys import KeyRing
from slotcast_publisher.trust.metadata_files import SignedAt
from slotcast_schemas.trust import OFFERS_ROLE

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)


@dataclass(frozen=True, slots=True)
class SigningMeans:
    """What every set of roles of a repository is signed with.

    Attributes:
        ring: the keys that can sign from here.
        expiry: for how many days each role counts from its signature on.
        signed_at: when anything of the repository was last signed.
        now: the clock.
        clock_is_right: sign although the clock contradicts what was signed before.
    """

    ring: KeyRing
    expiry: Expiry
    signed_at: SignedAt
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    clock_is_right: bool = False

    def sign(
        self,
        name: str,
        metadata: Metadata[T],
        roles: Sequence[Role],
        publics: Mapping[str, Key],
    ) -> None:
        """Sign with every key that can be reached; each role's threshold must be met.

        What a key signed counts if it verifies as devices will: the key ring says where a private
        key is, and it may be another one there.

        Args:
            name: the role, for messages.
            metadata: what is signed; its signatures are replaced.
            roles: the keys that vouch for it, and how many of them must.
            publics: the public keys, by their ids, as signed metadata has them.

        Raises:
            KeyUnavailable: too few of the keys can sign from here.
        """
        metadata.signatures.clear()
        missing: list[str] = []
        for keyid in dict.fromkeys(keyid for role in roles for keyid in role.keyids):
            try:
                metadata.sign(self.ring.signer(keyid), append=True)
            except KeyUnavailable as exc:
                missing.append(str(exc))
            except (UnsignedMetadataError, SerializationError) as exc:
                missing.append(f"key {self.ring.name(keyid)}: {_root_cause(exc)}")
            else:
                missing += self._drop_if_false(keyid, metadata, publics)
        for role in roles:
            count = sum(keyid in metadata.signatures for keyid in role.keyids)
            if count < role.threshold:
                raise KeyUnavailable(
                    f"{name}: expected {role.threshold} of {len(role.keyids)}"
                    f" keys to sign, got {count}: {'; '.join(missing)}"
                )

    def _drop_if_false(
        self, keyid: str, metadata: Metadata[T], publics: Mapping[str, Key]
    ) -> list[str]:
        """Take away a signature that does not verify; says so."""
        signature, public = metadata.signatures.get(keyid), publics.get(keyid)
        try:
            if signature is not None and public is not None:
                public.verify_signature(signature, metadata.signed_bytes)
                return []
        except UnverifiedSignatureError:
            pass
        metadata.signatures.pop(keyid, None)
        return [f"key {self.ring.name(keyid)}: what is there is another key"]

    def life(self, name: str) -> timedelta:
        """Say for how long a role counts from its signature on."""
        days = {
            Root.type: self.expiry.root_days,
            Targets.type: self.expiry.targets_days,
            OFFERS_ROLE: self.expiry.offers_days,
            Snapshot.type: self.expiry.snapshot_days,
            Timestamp.type: self.expiry.timestamp_days,
        }
        return timedelta(days=days.get(name, self.expiry.release_days))


def _root_cause(error: BaseException) -> str:
    """Say what went wrong; errors of signing libraries often have no text but their name."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__
