"""How long a device waits before it asks for a release, so that a fleet does not ask at once. Pure.

The offer says within how many seconds (`jitter_s`). Each device has its own place in that time by a
hash of its id, the same however often it is asked; since when it waits stands in its record, so a
restart begins nothing anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slotcast_schemas.groups import place
from slotcast_schemas.reasons import Actor, Reason
from slotcast_schemas.states import State

if TYPE_CHECKING:
    from slotcast_device.core.state import ModelState, Update
    from slotcast_schemas.verify import Trusted

HAS_NOT_ASKED = frozenset({State.QUEUED, State.CANCELED})
"""States in which a device has not begun with what is offered."""
_AFTER_THIS_WAIT = frozenset(
    {*(str(reason) for reason in Reason if reason.actor is Actor.OWNER), str(Reason.AWAITS_DELTA)}
)
"""Why a device is queued that has had its turn."""


def wait_left_s(trusted: Trusted, state: ModelState, device: str, wall_s: int) -> float:
    """Give the seconds that this device still waits before it asks; 0 for none.

    A device on which nothing serves does not wait, nor one that has begun: a transfer that was cut
    or has failed is gone on with.

    Args:
        trusted: the notice, with offer and release.
        state: what the device knows of the model.
        device: its id.
        wall_s: its clock, which may have been set meanwhile.
    """
    offer, update = trusted.offer, state.update
    if not offer.jitter_s or state.active_record is None:
        return 0.0
    full_s = offer.jitter_s * place(device, f"jitter {offer.deployment or offer.version}") / 100
    if update is None or update.release_sha256 != trusted.release_sha256:
        return full_s
    if update.state is State.QUEUED and update.reason == Reason.SPREAD:
        return left_s(full_s, update, wall_s)
    has_had_it = update.state not in HAS_NOT_ASKED or update.reason in _AFTER_THIS_WAIT
    return 0.0 if has_had_it else full_s


def left_s(full_s: float, update: Update, wall_s: int) -> float:
    """Give what is left of a wait that began by a clock that may have run back since.

    Args:
        full_s: how long it is.
        update: began with it.
        wall_s: the clock now.
    """
    waited_s = wall_s - update.since
    return max(0.0, full_s - waited_s) if waited_s >= 0 else 0.0
