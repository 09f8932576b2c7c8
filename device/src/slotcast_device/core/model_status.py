"""What a model's core says of itself: the `ModelStatus` of the record and of the transfer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slotcast_schemas.limits import DETAIL_MAX_CHARS
from slotcast_schemas.messages.status import ModelStatus, Progress, SlotStatus, Target
from slotcast_schemas.reasons import Reason
from slotcast_schemas.states import State

if TYPE_CHECKING:
    from slotcast_device.core.state import ModelState, SlotName
    from slotcast_device.core.transfer.transfer import Transfer


def model_status(
    state: ModelState, progress: Progress | None = None, *, is_stale: bool = False
) -> ModelStatus:
    """Build the status from the durable record, and what only a running core knows.

    Args:
        state: the record.
        progress: of a transfer, if there is one.
        is_stale: whether the last good notice is past its end.
    """
    notice = "stale" if is_stale else "valid"
    update = state.update
    return ModelStatus(
        model=state.model,
        state=State.IDLE if update is None else update.state,
        reason=Reason.NO_NOTICE if update is None else update.reason,
        detail="" if update is None else update.detail[:DETAIL_MAX_CHARS],
        since=0 if update is None else update.since,
        floor=state.floor,
        target=None
        if update is None or update.sequence == 0
        else Target(
            version=update.version,
            sequence=update.sequence,
            deployment=update.deployment,
            group=update.group,
            release_sha256=update.release_sha256,
        ),
        active=_slot_status(state, state.active),
        standby=_slot_status(state, state.standby),
        progress=progress,
        evidence=None if update is None else update.evidence,
        benched=state.benched,
        notice=notice if state.notice_expires else "none",
        notice_expires=state.notice_expires,
        notice_sha256=state.notice_sha256,
        provisioned="" if state.provisioned is None else state.provisioned.version,
    )


def _slot_status(state: ModelState, slot: SlotName | None) -> SlotStatus | None:
    record = None if slot is None else state.slots.get(slot)
    if slot is None or record is None:
        return None
    return SlotStatus(
        slot=slot, version=record.version, sequence=record.sequence, files=record.files
    )


def progress_of(transfer: Transfer, saved_bytes: int, rate_bytes_per_s: int) -> Progress:
    """Say how far a transfer is.

    Args:
        transfer: the one under way.
        saved_bytes: what need not be fetched of the image, since it is on the device.
        rate_bytes_per_s: at which verified bytes came lately.
    """
    return Progress(
        payload=transfer.payload.sha256,
        codec=transfer.payload.codec,
        size_bytes=transfer.needed_bytes,
        verified_bytes=transfer.counters.verified_bytes,
        received_bytes=transfer.counters.received_bytes,
        reused_bytes=transfer.reused_bytes,
        saved_bytes=saved_bytes,
        rate_bytes_per_s=rate_bytes_per_s,
    )
