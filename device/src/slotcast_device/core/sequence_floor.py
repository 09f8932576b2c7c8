"""Which sequence a device still takes: none below its floor, none too far above it, none twice.

The floor is the highest sequence that was committed here (`ModelState.floor`); a word that the
targets key has signed moves it (`slotcast_schemas.floor_word`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slotcast_schemas import limits
from slotcast_schemas.errors import Downgrade, Inconsistent

if TYPE_CHECKING:
    from slotcast_device.core.state import ModelState
    from slotcast_schemas.messages import Release
    from slotcast_schemas.verify import Trusted


def check_sequence(trusted: Trusted, state: ModelState) -> None:
    """Refuse a release whose sequence this device does not take.

    Raises:
        Downgrade: it is below the floor.
        Inconsistent: it is above what was signed or may be jumped, or another release has it.
    """
    release = trusted.release
    if release.sequence < state.floor:
        raise Downgrade(
            f"expected a sequence of at least {state.floor}, got {release.sequence}"
            f" ({release.version}); to go back on purpose, release the old files anew"
        )
    _check_sequence_bound(release, state)
    most = state.floor + limits.SEQUENCE_JUMP_MAX
    if release.sequence > most:
        raise Inconsistent(
            f"expected a sequence of at most {most}, got {release.sequence} ({release.version}):"
            " so far up, a few releases would leave no room for any after them; release it anew,"
            " and find out who has the release key"
        )
    for slot, record in state.slots.items():
        is_other = record.release_sha256 != trusted.release_sha256
        if is_other and record.sequence == release.sequence:
            raise Inconsistent(
                f"sequence {release.sequence} is {record.version} in slot {slot}, and another"
                f" release, {release.version}, has the same (two publishers? a restored backup?);"
                " release it anew, from one repository"
            )


def _check_sequence_bound(release: Release, state: ModelState) -> None:
    """Refuse a sequence that the targets key has taken out."""
    word = state.floor_word
    if word is not None and not word.counts(release.sequence):
        raise Inconsistent(
            f"expected a sequence of at most {word.sequence_max}, as the targets key has signed,"
            f" got {release.sequence} ({release.version}); release it anew, and find out who has"
            " the release key"
        )
