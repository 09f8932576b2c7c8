"""Roles, and what each of them may do: one table, and nothing else decides."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Permission(StrEnum):
    """One thing that somebody may do; the scope of a token is a list of these.

    Attributes:
        SEE: look at everything but users, tokens and the audit log.
        NOTE: write notes beside devices and releases.
        STEER: pause and resume rollouts, open gates, have failed devices try again.
        ROLL_OUT: start, cancel and take back rollouts.
        ADMINISTER: users, tokens, and the audit log.
    """

    SEE = "see"
    NOTE = "note"
    STEER = "steer"
    ROLL_OUT = "roll_out"
    ADMINISTER = "administer"


class Role(StrEnum):
    """What a person is, in the order of what they may do."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


PERMISSIONS: Final = {
    Role.VIEWER: frozenset({Permission.SEE}),
    Role.OPERATOR: frozenset({Permission.SEE, Permission.NOTE, Permission.STEER}),
    Role.ADMIN: frozenset(Permission),
}
"""What each role may do."""


def role_that_may(permission: Permission) -> Role:
    """Give the least role that may do something, to name it to who may not."""
    return next(role for role in Role if permission in PERMISSIONS[role])
