"""One message and what is known of its device: what changes. Pure; the clock is an argument.

Whether its counter is newer is decided by `counters`, whether two devices have one id by
`presence`, and whether a report is truly its device's by `report_proof`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from slotcast_publisher.fleet.database.listing import is_clock_off
from slotcast_publisher.fleet.intake.batch import Batch, Happened, MetricsHeard, StatusHeard
from slotcast_publisher.fleet.intake.counters import is_counted_by_clock, is_possible, take_number
from slotcast_publisher.fleet.intake.known_device import DeviceRecord, step_of, wanted_by
from slotcast_publisher.fleet.intake.messages import Drop, Message
from slotcast_publisher.fleet.intake.plausible import requests_said, spend
from slotcast_publisher.fleet.intake.presence import may_begin_anew, take_presence
from slotcast_publisher.fleet.intake.report_proof import UNPROVEN, Proof, refusal
from slotcast_publisher.serve.companion import Heard
from slotcast_publisher.serve_settings import Reports
from slotcast_schemas.messages import Metrics, Presence, Status


@dataclass(frozen=True, slots=True)
class Came:
    """A message as it came.

    Attributes:
        message: validated.
        heard: its bytes, and when and where they came.
        proof: what its signature says.
    """

    message: Message
    heard: Heard
    proof: Proof = UNPROVEN


def is_looked_up(came: Came, reports: Reports) -> bool:
    """Say whether what is known of a message's device has to be known to take it.

    Args:
        came: the message.
        reports: which reports are taken.
    """
    return came.proof.is_enrolled or refusal(came.message, came.proof, reports) is None


def take_all(
    messages: Iterable[Came],
    known: dict[str, DeviceRecord],
    room: int,
    reports: Reports = "any",
) -> Batch:
    """Take messages in the order in which they came; gives what is to be written.

    Args:
        messages: what came.
        known: what the database has of devices, by id, as far as messages are `is_looked_up`; is
            changed and added to.
        room: so many devices that are not known yet are taken.
        reports: which reports are taken.
    """
    batch = Batch()
    for came in messages:
        message, heard = came.message, came.heard
        refused = refusal(message, came.proof, reports)
        if refused is not None and not came.proof.is_enrolled:
            batch.dropped[refused] += 1  # anybody may have said it, so nothing of it is kept
            continue
        record = known.get(message.device)
        if record is None and room <= 0:
            batch.dropped[Drop.TOO_MANY_DEVICES] += 1
            continue
        if record is None:
            room -= 1
            record = known[message.device] = DeviceRecord(message.device, is_new=True)
        noticed = (record.twins_seen_s, record.refused_count)
        if refused is None:
            drop = _take(came, record, batch)
        else:
            drop = refused
            record.note_refused(heard.at_s, refused)
        is_look = heard.retained and drop is Drop.REPEATED  # what is known already, once more
        if drop is not None and not is_look:
            batch.dropped[drop] += 1
        if drop is None or (record.twins_seen_s, record.refused_count) != noticed:
            batch.records[message.device] = record
    return batch


def _take(came: Came, record: DeviceRecord, batch: Batch) -> Drop | None:
    message, heard = came.message, came.heard
    is_live = not heard.retained
    if came.proof.is_proven:
        _count_by_key(came.proof.key_id, record)
    match message:
        case Status():
            drop = _take_status(message, came, record, batch)
        case Metrics():
            drop = _take_metrics(message, came, record, batch)
        case Presence():
            drop = take_presence(record, message, heard.at_s, is_live=is_live)
    if drop is None:
        record.seen_s = _seen_s(message, heard, record.seen_s)
    return drop


def _count_by_key(key_id: str, record: DeviceRecord) -> None:
    """Begin to count anew where another key signs: what was counted before, it did not say."""
    if record.key_id == key_id:
        return
    record.key_id, record.counter = key_id, None
    _begin_metrics_anew(record)


def _seen_s(message: Message, heard: Heard, before_s: float) -> float:
    """When the device was there: now, or what it says itself where a broker had kept the message.

    A last will is the broker's word, not the device's: it gives when the connection had begun.
    What is said now counts also where this machine's clock was set back since the last time.
    """
    if heard.retained or (isinstance(message, Presence) and not message.online):
        return max(before_s, min(float(message.time), heard.at_s))
    return heard.at_s


# --- statuses ------------------------------------------------------------------------------------


def _take_status(status: Status, came: Came, record: DeviceRecord, batch: Batch) -> Drop | None:
    heard = came.heard
    digest = hashlib.blake2b(heard.data, digest_size=8).digest()
    drop = _judge_status(status, digest, came, record)
    if drop is not None:
        return drop
    record.signed = came.proof.signed
    record.counter, record.digest = status.counter, digest
    record.status_session = record.session
    record.status_at_s, record.status_heard_s = status.time, heard.at_s
    _note_status(status, heard, record, batch)
    return None


def _judge_status(status: Status, digest: bytes, came: Came, record: DeviceRecord) -> Drop | None:
    """Say why a status is not believed, or None; another device with the same id is noticed."""
    heard = came.heard
    known, is_live = record.counter, not heard.retained
    if known is None:
        return None
    if status.counter > known:
        elapsed_s = heard.at_s - record.status_heard_s
        possible = is_possible(status.counter, known, elapsed_s, status.time)
        return None if possible else Drop.IMPOSSIBLE_COUNTER
    if status.counter == known:
        if digest == record.digest:
            return Drop.REPEATED
        if is_live:
            record.note_twins(heard.at_s, "two statuses with one counter differ")
        return Drop.CONTRADICTING
    if came.proof.is_proven:
        return _judge_signed_before(status, known, heard, record)
    if is_live and status.time > record.status_at_s:
        if may_begin_anew(record, record.status_session, heard.at_s):
            record.began_anew_s = heard.at_s
            _begin_metrics_anew(record)
            return None
        record.note_twins(heard.at_s, "the counter of its statuses went back")
    return Drop.OLDER_COUNTER


def _judge_signed_before(
    status: Status, known: int, heard: Heard, record: DeviceRecord
) -> Drop | None:
    """Judge a truly signed status whose counter is below one that the same key signed.

    What a broker kept may be older. What comes now and says that it is older is shown again by
    somebody; what says that it is newer was signed by a copy of the device, or of its state. Only a
    device whose disk failed has counted by its clock, and then goes back to where it was.
    """
    if heard.retained:
        return Drop.OLDER_COUNTER
    if status.time <= record.status_at_s:
        record.note_refused(heard.at_s, Drop.REPLAYED)
        return Drop.REPLAYED
    if is_counted_by_clock(known, record.status_at_s):
        record.began_anew_s = heard.at_s
        _begin_metrics_anew(record)
        return None
    record.note_twins(heard.at_s, "its key signs with a counter that goes back: a copy of it?")
    return Drop.OLDER_COUNTER


def clock_off_s(said_s: int, heard_s: float, *, is_live: bool) -> int | None:
    """Say by how much a device's clock is ahead, in seconds; 0 where it is right, None unknown.

    Of a retained message it is not known when it was sent, but it was not in the future.

    Args:
        said_s: the time that the message gives.
        heard_s: when it came, by the clock of this machine.
        is_live: whether it was sent then.
    """
    off_s = round(said_s - heard_s)
    if not is_clock_off(off_s):
        return 0
    return off_s if is_live or off_s > 0 else None


def _note_status(status: Status, heard: Heard, record: DeviceRecord, batch: Batch) -> None:
    """Keep a status as the last word of its device, and the steps that its models took."""
    earlier = batch.statuses.get(status.device)
    stepped_s = {} if earlier is None else dict(earlier.stepped_s)
    saved_bytes = {} if earlier is None else dict(earlier.saved_bytes)
    at_s = min(float(status.time), heard.at_s) if heard.retained else heard.at_s
    steps = {}
    for model in status.models:
        step, before = step_of(model), record.models.get(model.model)
        steps[model.model] = step
        if step != before:
            stepped_s[model.model] = at_s
            batch.happened.append(Happened(status.device, at_s, status.time, model))
        if model.progress is not None:
            saved_bytes[model.model] = model.progress.saved_bytes
        elif before is None or wanted_by(step) != wanted_by(before):
            saved_bytes[model.model] = 0
    batch.gone |= {(status.device, name) for name in record.models.keys() - steps.keys()}
    batch.gone -= {(status.device, name) for name in steps}
    record.models = steps
    batch.statuses[status.device] = StatusHeard(
        status,
        heard_s=None if heard.retained else heard.at_s,
        clock_off_s=clock_off_s(status.time, heard.at_s, is_live=not heard.retained),
        stepped_s=stepped_s,
        saved_bytes=saved_bytes,
    )


# --- metrics -------------------------------------------------------------------------------------


def _take_metrics(metrics: Metrics, came: Came, record: DeviceRecord, batch: Batch) -> Drop | None:
    heard = came.heard
    known = record.metrics_counter
    if known is not None and metrics.counter > known:
        elapsed_s = heard.at_s - record.metrics_heard_s
        if not is_possible(metrics.counter, known, elapsed_s, metrics.time):
            return Drop.IMPOSSIBLE_COUNTER
    taken = take_number(metrics.counter, known, record.metrics_seen)
    if taken is Drop.OLDER_COUNTER and _do_metrics_begin_anew(metrics, heard, record):
        _begin_metrics_anew(record)
        taken = take_number(metrics.counter, None, 0)
    if taken is Drop.OLDER_COUNTER and came.proof.is_proven and not heard.retained:
        record.note_refused(heard.at_s, Drop.REPLAYED)
        return Drop.REPLAYED
    if isinstance(taken, Drop):
        return taken
    if not _can_have_answered(metrics, heard, record):
        record.note_refused(heard.at_s, Drop.IMPOSSIBLE_FIGURES)
        return Drop.IMPOSSIBLE_FIGURES
    if taken[0] != record.metrics_counter:
        record.metrics_session = record.session
        record.metrics_at_s, record.metrics_heard_s = metrics.time, heard.at_s
    record.metrics_counter, record.metrics_seen = taken
    record.metrics_lost += metrics.dropped
    batch.metrics.append(MetricsHeard(metrics, heard.at_s, record.metrics_era))
    return None


def _can_have_answered(metrics: Metrics, heard: Heard, record: DeviceRecord) -> bool:
    said, elapsed_s = requests_said(metrics), heard.at_s - record.figures_at_s
    spent = spend(said, record.figures_spent, elapsed_s)
    if spent is None:
        return False
    record.figures_spent, record.figures_at_s = spent, heard.at_s
    return True


def _do_metrics_begin_anew(metrics: Metrics, heard: Heard, record: DeviceRecord) -> bool:
    return metrics.time > record.metrics_at_s and may_begin_anew(
        record, record.metrics_session, heard.at_s
    )


def _begin_metrics_anew(record: DeviceRecord) -> None:
    if record.metrics_counter is not None:
        record.metrics_counter, record.metrics_seen = None, 0
        record.metrics_era += 1
