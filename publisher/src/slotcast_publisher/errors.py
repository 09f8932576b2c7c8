"""Errors that only the publisher has, in the families of `slotcast_schemas.errors`.

The family decides the exit code of a command (docs/cli.md).
"""

from __future__ import annotations

from typing import ClassVar

from slotcast_schemas.errors import RefusedRelease, StorageFailed, UsageError
from slotcast_schemas.reasons import Reason


class Conflict(RefusedRelease):
    """What is asked for contradicts what was already signed; nothing was changed."""

    reason: ClassVar[Reason] = Reason.CONFLICT


class NotFound(RefusedRelease):
    """A model, a release, a notice or a key that is asked for does not exist."""

    reason: ClassVar[Reason] = Reason.NOT_FOUND


class KeyUnavailable(UsageError):
    """Too few of the private keys that a role needs can be used from here."""

    reason: ClassVar[Reason] = Reason.KEY_UNAVAILABLE


class PublisherBehind(RefusedRelease):
    """The broker has a notice that this repository did not sign, or signed and lost since."""

    reason: ClassVar[Reason] = Reason.PUBLISHER_BEHIND


class ClockWrong(StorageFailed):
    """This machine's clock cannot be right; nothing was signed."""

    reason: ClassVar[Reason] = Reason.CLOCK_WRONG


class RepositoryDamaged(StorageFailed):
    """A file of the repository is missing, or is not what was signed."""

    reason: ClassVar[Reason] = Reason.REPOSITORY_DAMAGED
