"""Errors that only the publisher has, in the families of `slotcast_schemas.errors`.

The family decides the exit code of a command (docs/cli.md).
"""

from __future__ import annotations

from typing import ClassVar

from slotcast_schemas.errors import RefusedRelease, StorageFailed, UsageError


class Conflict(RefusedRelease):
    """What is asked for contradicts what was already signed; nothing was changed."""

    reason: ClassVar[str] = "conflict"


class NotFound(RefusedRelease):
    """A model, a release, a notice or a key that is asked for does not exist."""

    reason: ClassVar[str] = "not_found"


class KeyUnavailable(UsageError):
    """Too few of the private keys that a role needs can be used from here."""

    reason: ClassVar[str] = "key_unavailable"


class PublisherBehind(RefusedRelease):
    """The broker has a notice that this repository did not sign, or signed and lost since."""

    reason: ClassVar[str] = "publisher_behind"


class ClockWrong(StorageFailed):
    """This machine's clock cannot be right; nothing was signed."""

    reason: ClassVar[str] = "clock_wrong"


class RepositoryDamaged(StorageFailed):
    """A file of the repository is missing, or is not what was signed."""

    reason: ClassVar[str] = "repository_damaged"
