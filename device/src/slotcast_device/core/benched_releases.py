"""When a release that was rolled back here is tried again: by a higher attempt, so often in a day.

Such a release is benched (`ModelState.benched`): the same offer of it is refused. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from slotcast_schemas.errors import Benched

if TYPE_CHECKING:
    from slotcast_device.core.state import ModelState
    from slotcast_schemas.verify import Trusted

RETRIES_PER_DAY_MAX: Final = 8
"""The most times in a day that a release may fail here which had failed before. An offer that says
a higher attempt has it tried again; whoever stole the online key can sign such without end, and
each costs a probe or a trial."""


def check_benched(trusted: Trusted, state: ModelState) -> None:
    """Refuse a release that was rolled back here, unless its offer says a higher attempt.

    Raises:
        Benched: the release was rolled back here.
    """
    release = trusted.release
    for entry in state.benched:
        if entry.sequence == release.sequence and entry.attempt >= trusted.offer.attempt:
            raise Benched(
                f"{release.version} ({release.sequence}) was rolled back here"
                f" ({entry.reason}); publish a new release, or raise the offer's attempt"
            )


def is_tried_enough(trusted: Trusted, state: ModelState, day: int) -> bool:
    """Whether a release that failed here before must wait for another day.

    Args:
        trusted: the notice that offers it.
        state: what the device knows of the model.
        day: since 1970-01-01, UTC.
    """
    has_failed = any(entry.sequence == trusted.release.sequence for entry in state.benched)
    return has_failed and state.retries_on(day) >= RETRIES_PER_DAY_MAX
