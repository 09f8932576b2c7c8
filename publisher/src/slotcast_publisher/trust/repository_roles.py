"""All roles of a repository: which set of them speaks for which model (ADR 0111).

Each model has a set of its own, under the root that all have in common. In a repository of
before, models share one set until they are moved out of it (`separation`); it stays as the place
of the root, and as what new sets take the online keys from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from securesystemslib.signer import Key
from tuf.api.metadata import Metadata, Role, Root, Targets, Timestamp

from slotcast_publisher.errors import NotFound
from slotcast_publisher.trust.metadata_files import MetadataFiles
from slotcast_publisher.trust.role_reading import TOP_LEVEL
from slotcast_publisher.trust.role_signing import Roles
from slotcast_publisher.trust.signing_means import SigningMeans
from slotcast_schemas.trust import OFFERS_ROLE, release_role

_RELEASE: Final = release_role("")


class RepositoryRoles:
    """Every set of signed roles of one repository.

    Args:
        folder: where signed metadata is.
        means: what it is signed with.
    """

    def __init__(self, folder: Path, means: SigningMeans) -> None:
        self.folder = folder
        self.signed_at_file = means.signed_at.path
        self._means = means
        self._own: dict[str, Roles] = {}
        self.shared = Roles(MetadataFiles(folder), means)
        """The set that models of before share; it has the root, too."""

    # --- which set ----------------------------------------------------------------------------

    def of(self, model: str) -> Roles:
        """Give the set of roles that speaks for a model; it may have signed nothing yet."""
        own = self.own(model)
        if own.is_announced() or model not in self.shared.models():
            return own
        return self.shared

    def own(self, model: str) -> Roles:
        """Give the set of this model alone, whether or not it speaks for it already."""
        if model not in self._own:
            files = MetadataFiles(self.folder / "models" / model, roots=self.folder)
            self._own[model] = Roles(files, self._means, model, self.shared)
        return self._own[model]

    def models(self) -> list[str]:
        """Name the models that have a set of roles, each its own or the shared one."""
        return sorted({*self.separate_models(), *self.shared.models()})

    def separate_models(self) -> list[str]:
        """Name the models for which a set of their own speaks."""
        shared = set(self.shared.models())
        found = (path.name for path in (self.folder / "models").glob("*"))
        return sorted(m for m in found if self._speaks(self.own(m), is_shared=m in shared))

    def shared_models(self) -> list[str]:
        """Name the models for which the shared set speaks."""
        return [m for m in self.shared.models() if not self.own(m).is_announced()]

    def all(self) -> Iterator[Roles]:
        """Give every set; the shared one first, for others are made after it."""
        yield self.shared
        yield from map(self.own, self.separate_models())

    def in_use(self) -> list[Roles]:
        """Give the sets that speak for a model; the shared one too while there is no other."""
        own = [self.own(model) for model in self.separate_models()]
        return own if own and not self.shared_models() else [self.shared, *own]

    def _speaks(self, own: Roles, *, is_shared: bool) -> bool:
        """Whether a set of one model counts; one that a command began to make does not yet."""
        return own.is_announced() or (not is_shared and bool(own.newest_version(Targets.type)))

    # --- who signs what -----------------------------------------------------------------------

    def root(self) -> Metadata[Root]:
        """Give the newest root."""
        return self.shared.root()

    def root_bytes(self, version: int | None = None) -> bytes:
        """Give a root's signed bytes, the newest unless told."""
        return self.shared.root_bytes(version)

    def oldest_root(self) -> bytes:
        """Give the oldest root from which a notice's chain of roots leads to the newest."""
        return self.shared.oldest_root()

    def names(self) -> list[str]:
        """Name every role, top-level ones first; those that each set has are named once."""
        return [*TOP_LEVEL, OFFERS_ROLE, *map(release_role, self.models())]

    def sets_of(self, name: str) -> list[Roles]:
        """Give the sets whose targets say who signs for a delegated role.

        Raises:
            NotFound: no such role.
        """
        if name == OFFERS_ROLE:
            return list(self.all())
        found = self.of(name.removeprefix(_RELEASE))
        if not name.startswith(_RELEASE) or not found.models():
            raise NotFound(f"no role {name!r}; there are {_some(self.names())}")
        return [found]

    def role_of(self, name: str) -> Role:
        """Give a role's key ids and threshold, as its parent says.

        Raises:
            NotFound: no such role.
        """
        if name in TOP_LEVEL:
            return self.shared.role_of(name)
        return self.sets_of(name)[0].role_of(name)

    # --- everyday -----------------------------------------------------------------------------

    def ensure_model(self, model: str, make_key: Callable[[], Key]) -> bool:
        """Give a model roles of its own unless it has some; says whether that was done now.

        Raises:
            KeyUnavailable: the targets key cannot be used from here.
        """
        roles = self.of(model)
        if roles.models():
            return False
        roles.delegate(self.shared.keys_of(OFFERS_ROLE), ([make_key()], 1))
        return True

    def separate(self) -> list[str]:
        """Move every model out of the shared set, into one of its own; names those that were.

        It may be stopped and run again: each model is moved as a whole.

        Raises:
            KeyUnavailable: the targets or the online key cannot be used from here.
        """
        moved = self.shared_models()
        for model in moved:
            self.own(model).take_over(self.shared)
        if self.shared.models():
            self.shared.let_go()
        return moved

    def signing_time(self) -> datetime:
        """Give the time to sign with.

        Raises:
            ClockWrong: this machine's clock cannot be right.
        """
        return self.shared.signing_time()

    def first_expiry(self) -> datetime:
        """Say when the first of the timestamps ends that devices can have."""
        timestamps = (r.expires(Timestamp.type) for r in self.in_use() if r.is_announced())
        return min(timestamps)

    def renew(self, *, force: bool = False) -> None:
        """Bring the online roles of every set up to date.

        Raises:
            KeyUnavailable: the online key cannot be used from here.
        """
        for roles in self.in_use():
            roles.renew(force=force)

    def renew_offline(self) -> None:
        """Date the root, and every set's targets and release roles, again.

        Raises:
            KeyUnavailable: one of their keys cannot be used from here.
        """
        self.shared.renew_root()
        for roles in self.all():
            roles.renew_offline()

    def prune(self) -> None:
        """Remove old metadata of every set."""
        for roles in self.all():
            roles.prune()


def _some(names: Sequence[str], most: int = 20) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
