"""How long a device waits for a delta before it takes a whole image. Pure.

Whoever makes deltas learns from a device's status what it runs, and may make one for it: an offer
says for how long that is worth waiting (`delta_wait_s`), and from which releases none will come
(`no_delta_from`). Since when a device waits stands in its record, so a restart begins nothing anew.
How long the offer says is decided by `slotcast_publisher.fleet.steering.late_deltas`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slotcast_device.core.spread import HAS_NOT_ASKED, left_s
from slotcast_schemas.reasons import Reason
from slotcast_schemas.states import State

if TYPE_CHECKING:
    from slotcast_device.core.state import ModelState, Update
    from slotcast_schemas.messages.offer import Payload
    from slotcast_schemas.verify import Trusted

_WAITS = frozenset({str(Reason.SPREAD), str(Reason.AWAITS_DELTA)})


def delta_wait_left_s(
    trusted: Trusted, state: ModelState, payload: Payload | None, wall_s: int
) -> float:
    """Give the seconds that this device still waits for a delta; 0 for none.

    A device on which nothing serves does not wait, nor one that has begun. The time in which it
    waited for its turn counts: its delta may have been made meanwhile.

    Args:
        trusted: the notice, with offer and release.
        state: what the device knows of the model.
        payload: what it would fetch now; None where it has every file.
        wall_s: its clock, which may have been set meanwhile.
    """
    offer, update, serves = trusted.offer, state.update, state.active_record
    if not offer.delta_wait_s or serves is None or payload is None or payload.base is not None:
        return 0.0
    bases = {p.base.image_sha256 for p in offer.payloads if p.base is not None}
    if serves.sequence in offer.no_delta_from or serves.sha256 in bases:
        return 0.0  # none will come; or it is there, and is not for this device
    if update is not None and is_waiting_for(trusted, update):
        return left_s(offer.delta_wait_s, update, wall_s)
    is_of_it = update is not None and update.release_sha256 == trusted.release_sha256
    has_begun = is_of_it and update is not None and update.state not in HAS_NOT_ASKED
    return 0.0 if has_begun else float(offer.delta_wait_s)


def is_waiting_for(trusted: Trusted, update: Update | None) -> bool:
    """Say whether an update waits by itself to begin with this release.

    Args:
        trusted: the notice.
        update: what the device is doing; None for nothing.
    """
    if update is None or update.release_sha256 != trusted.release_sha256:
        return False
    return update.state is State.QUEUED and update.reason in _WAITS
