"""A publisher's repository: the one object that commands, tests and the demo work with.

It ties store, key ring and signed roles together and holds the lock while it changes them.
Pushing to brokers is left to `publish`, which takes what is prepared here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from securesystemslib.signer import Key

from slotcast_publisher import settings as settings_file
from slotcast_publisher.durable import exclusive, storage_errors
from slotcast_publisher.errors import Conflict
from slotcast_publisher.notice import (
    keep_targets,
)
from slotcast_publisher.release.delta_payloads import BUILDERS, tell_rebasing
from slotcast_publisher.release.encryption import wrap_for
from slotcast_publisher.release.for_recipients import (
    choose_encryption,
    encrypt_for,
    recipients_left,
    recipients_of,
    sign_recipients,
    warn_of_the_clear,
    without_replaced,
    wrap_again,
)
from slotcast_publisher.release.payloads import Builder, Progress, add_payloads, no_progress
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.settings import Settings
from slotcast_publisher.signed_offers import SignedOffers
from slotcast_publisher.store import ReleaseFolder, Store, check_model_name
from slotcast_publisher.trust.adoption import Adopted, adopt
from slotcast_publisher.trust.ceremonies import move_floor
from slotcast_publisher.trust.keys import KeyRing, Passphrase
from slotcast_publisher.trust.metadata_files import SignedAt
from slotcast_publisher.trust.recipients import Recipients
from slotcast_publisher.trust.repository_roles import RepositoryRoles
from slotcast_publisher.trust.signing_means import SigningMeans
from slotcast_schemas import limits
from slotcast_schemas.errors import UsageError
from slotcast_schemas.floor_word import FloorWord
from slotcast_schemas.messages import Release
from slotcast_schemas.topics import Topics
from slotcast_schemas.trust import release_role

if TYPE_CHECKING:
    from slotcast_publisher.release.build import Released


def no_passphrase(purpose: str) -> str | None:
    """Answer for repositories whose key files are not encrypted."""
    del purpose
    return None


def _roles(path: Path, means: SigningMeans) -> RepositoryRoles:
    return RepositoryRoles(path / "metadata", means)


def _signed_at(path: Path) -> SignedAt:
    return SignedAt(path / "metadata" / "signed-at")


class Repository(SignedOffers):
    """A repository on disk.

    Args:
        path: where it is.
        passphrase: asked for when an encrypted key file is opened.
        now_s: seconds since 1970, for tests.
        clock_is_right: sign although the clock contradicts what was signed before.
        pin: asked for when a token of a hardware key is opened.

    Raises:
        NotFound: there is none.
        UsageError: its settings are not right.
    """

    def __init__(
        self,
        path: Path,
        *,
        passphrase: Passphrase = no_passphrase,
        pin: Passphrase = no_passphrase,
        now_s: Callable[[], float] = time.time,
        clock_is_right: bool = False,
    ) -> None:
        self.path = path
        self._secrets = (passphrase, pin)
        self._clock_is_right = clock_is_right
        self.settings = settings_file.load(path)
        self.store = Store(path)
        self._now_s = now_s
        self.ring = KeyRing(path, passphrase, pin=pin, now_s=now_s)
        self.roles = _roles(
            path,
            SigningMeans(
                self.ring,
                self.settings.expiry,
                _signed_at(path),
                now=self._now,
                clock_is_right=clock_is_right,
            ),
        )

    @classmethod
    def init(
        cls,
        path: Path,
        settings: Settings | None = None,
        *,
        encrypted: bool = False,
        root_keys: int = 1,
        root_threshold: int = 1,
        passphrase: Passphrase = no_passphrase,
        now_s: Callable[[], float] = time.time,
    ) -> Repository:
        """Make a repository: keys, first signatures, settings last. May be run again if stopped.

        Args:
            path: the folder to make it in.
            settings: its settings; the usual ones unless given.
            encrypted: whether key files are encrypted with the passphrase.
            root_keys: how many root keys to make.
            root_threshold: how many of them must sign a root.
            passphrase: asked for when a key file is written.
            now_s: seconds since 1970, for tests.

        Raises:
            Conflict: there is one already.
            UsageError: a setting or a threshold that cannot be.
        """
        if not 1 <= root_threshold <= root_keys:
            raise UsageError(f"expected a root threshold of 1 to {root_keys}, got {root_threshold}")
        if (path / settings_file.FILE_NAME).exists():
            raise Conflict(f"there is a repository at {path} already")
        chosen = settings or Settings()
        settings_file.check(chosen)
        with storage_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        with exclusive(path / ".lock", str(path)):
            ring = KeyRing(path, passphrase, pin=no_passphrase, now_s=now_s)
            means = SigningMeans(
                ring,
                chosen.expiry,
                _signed_at(path),
                now=lambda: datetime.fromtimestamp(now_s(), UTC),
            )
            _roles(path, means).shared.create(
                [ring.generate(f"root-{n + 1}", encrypted=encrypted) for n in range(root_keys)],
                root_threshold,
                [ring.generate("targets", encrypted=encrypted)],
                ring.generate("online", encrypted=encrypted),
            )
            settings_file.save(path, chosen)
        return cls(path, passphrase=passphrase, now_s=now_s)

    def again(self) -> Repository:
        """Give another object for the same folder, such as for another thread."""
        passphrase, pin = self._secrets
        return Repository(
            self.path,
            passphrase=passphrase,
            pin=pin,
            now_s=self._now_s,
            clock_is_right=self._clock_is_right,
        )

    @property
    def topics(self) -> Topics:
        """The topics below the repository's prefix."""
        return self.settings.topics

    def build_release(
        self,
        request: ReleaseRequest,
        *,
        progress: Progress = no_progress,
        builders: Sequence[Builder] = BUILDERS,
        encrypted: bool | None = None,
    ) -> Released:
        """Build, pack, prove and sign a release; the same request again changes nothing.

        Args:
            request: what to release.
            progress: told what is being done.
            builders: which payloads to make.
            encrypted: whether a new model's key file is; like the other keys unless told.

        Raises:
            Conflict: the version exists with other content.
            UsageError: a version, a file or an option that cannot be used.
            ModelUnloadable: onnx or onnxruntime refuses the model.
            KeyUnavailable: the release key cannot be used from here.
            ClockWrong: this machine's clock cannot be right.
        """
        # It brings what looks at models and measures them: onnx, and numpy.
        from slotcast_publisher.release.build import Released, build_release

        with self.locked():
            roles = self.roles.of(request.model)
            request, recipients = choose_encryption(self.store, roles, request)
            in_the_clear = warn_of_the_clear(request, recipients)
            recipients, replaced = without_replaced(self.store, recipients)
            word = roles.floor_word(request.model)
            built = build_release(
                self.store,
                request,
                self._signing_time_s(),
                above=roles.highest_sequence(request.model),
                most=limits.SAFE_INTEGER_MAX if word is None else word.sequence_max,
            )
            release = built.folder.load()
            records = add_payloads(
                built.folder,
                self._releases_before(release),
                chunk_size_bytes=self.settings.chunk_size_bytes,
                progress=progress,
                builders=[tell_rebasing(builder, built.rebasing) for builder in builders],
                encrypt=encrypt_for(built.folder, self.settings.chunk_size_bytes),
            )
            if wrap_for(built.folder, recipients):
                records = built.folder.payloads()
            self.roles.ensure_model(
                request.model, lambda: self._make_release_key(request.model, encrypted)
            )
            present = self._counting_offer(request.model)
            is_signed = self.roles.of(request.model).add_release(
                request.model,
                request.version,
                built.folder.signed_bytes(),
                release.sequence,
                offered=0 if present is None else present.sequence,
            )
        return Released(
            release=release,
            payloads=tuple(records),
            is_new=built.is_new or is_signed,
            warnings=(*built.warnings, *replaced, *(in_the_clear if built.is_new else ())),
            rebasing=built.rebasing,
        )

    def separate(self) -> list[str]:
        """Give every model roles of its own, where they shared one set; names those that had not.

        Raises:
            KeyUnavailable: the targets or the online key cannot be used from here.
            ClockWrong: this machine's clock cannot be right.
        """
        with self.locked():
            return self.roles.separate()

    def adopt(self, notices: Mapping[str, bytes]) -> list[Adopted]:
        """Take over what another copy of this repository published, and sign above it.

        Args:
            notices: of brokers, by model; what is not newer than this repository is passed over.

        Raises:
            Conflict: both copies signed another root.
            KeyUnavailable: a key that is needed cannot be used from here.
            ClockWrong: this machine's clock cannot be right.
        """
        with self.locked():
            self.roles.signing_time()
            found = adopt(notices, self.roles)
            for model in found:
                keep_targets(self.store, model, notices[model])
            if found:
                self.roles.renew(force=True)
            return [
                Adopted(
                    model=model,
                    version=comparison.offer.version,
                    sequence=comparison.offer.sequence,
                    has_files=not self.store.is_without_files(model, comparison.offer.version),
                    has_key=self._has_release_key(model),
                )
                for model, comparison in found.items()
                if comparison.offer is not None
            ]

    def _has_release_key(self, model: str) -> bool:
        keys, threshold = self.roles.of(model).keys_of(release_role(model))
        return sum(self.ring.can_reach(key.keyid) for key in keys) >= threshold

    def move_floor(
        self, model: str, sequence: int | None = None, most: int | None = None
    ) -> FloorWord:
        """Sign which sequences of a model count, after a thief used up those above (ADR 0145).

        Args:
            model: the model's name.
            sequence: the floor of devices whose own does not count; the highest that is signed
                here unless given.
            most: the highest sequence that counts; a million above the floor unless given.

        Raises:
            NotFound: the model has no roles.
            UsageError: these are no sequences that leave room for a release.
            KeyUnavailable: the targets or the online key cannot be used from here.
            ClockWrong: this machine's clock cannot be right.
        """
        with self.locked():
            return move_floor(self.roles, model, sequence, most)

    def recipients(self, model: str) -> Recipients:
        """Give for whom a model's releases are encrypted.

        Raises:
            RepositoryDamaged: the list is missing, or is not what was signed.
        """
        return recipients_of(self.store, self.roles.of(model), check_model_name(model))

    def change_recipients(
        self,
        model: str,
        change: Callable[[Recipients], Recipients],
        *,
        encrypted: bool | None = None,
    ) -> list[str]:
        """Change for whom a model's releases are encrypted, those that are offered included.

        Args:
            model: the model's name.
            change: gives the new list for the present one.
            encrypted: whether a new model's key file is; like the other keys unless told.

        Returns:
            The versions whose keys were wrapped anew: devices learn it by the next `publish`.

        Raises:
            UsageError: what `change` says.
            KeyUnavailable: the model's release key cannot be used from here.
            ClockWrong: this machine's clock cannot be right.
        """
        with self.locked():
            self.roles.signing_time()
            check_model_name(model)
            before = recipients_left(self.store, self.roles.of(model), model)
            after = change(before)
            self.roles.ensure_model(model, lambda: self._make_release_key(model, encrypted))
            if after != before:
                sign_recipients(self.store, self.roles.of(model), after)
            present = self._counting_offer(model)
            counting, _ = without_replaced(self.store, after)
            return wrap_again(self.store, counting, 0 if present is None else present.sequence)

    def _releases_before(self, release: Release) -> list[ReleaseFolder]:
        folders = self.store.releases(release.model)
        return [folder for folder in folders if folder.load().sequence < release.sequence]

    def _make_release_key(self, model: str, encrypted: bool | None) -> Key:  # noqa: FBT001
        chosen = self.ring.is_encrypted if encrypted is None else encrypted
        return self.ring.generate(release_role(model), encrypted=chosen)

    def now_s(self) -> float:
        """Give seconds since 1970, as this repository's clock has them."""
        return self._now_s()

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._now_s(), UTC)
