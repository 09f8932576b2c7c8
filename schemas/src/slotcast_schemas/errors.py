"""Errors, grouped by who has to act, each with a stable word for status messages and metrics.

The group decides the reaction, so code catches groups and people read reasons:

- `RefusedRelease`: the publisher's side must act. The device reports and waits for another notice.
- `TransferFailed`: the network's side. What was received is kept, and tried again later.
- `StorageFailed`: this device's side. The active slot is kept; a person may be needed.
- `SoftwareBroken`, `ProbeNotHeld`, `OutOfMemory`, `InternalError`: this device's side too, but not
  its storage. Tried again.
- `ModelFailed`: the model's authors. The device keeps, or goes back to, the old model.
- `UsageError`: whoever typed the command or wrote the configuration.

`reason` is part of the wire contract: it travels in `status.reason` and never changes its meaning
(`slotcast_schemas.reasons`).
Messages give both sides: "expected 42, got 41".
"""

from __future__ import annotations

from typing import ClassVar

from slotcast_schemas.reasons import Reason


class SlotcastError(Exception):
    """Base of all errors that Slotcast raises on purpose."""

    reason: ClassVar[Reason] = Reason.ERROR


# --- the publisher must act -------------------------------------------------------------------


class RefusedRelease(SlotcastError):
    """What was announced cannot be accepted; another notice is needed."""

    reason = Reason.REFUSED


class MalformedMessage(RefusedRelease):
    """Bytes that are not a message of the kind expected, or break one of its bounds."""

    reason = Reason.MALFORMED


class OversizedMessage(MalformedMessage):
    """A message larger than its bound; it is refused before it is parsed."""

    reason = Reason.OVERSIZED


class UnsupportedFeature(RefusedRelease):
    """The message requires a feature, by name, that this software does not have."""

    reason = Reason.UNSUPPORTED_FEATURE


class BadSignature(RefusedRelease):
    """Signed by too few of the keys that the pinned root trusts, or not at all."""

    reason = Reason.BAD_SIGNATURE


class Expired(RefusedRelease):
    """The signed metadata is past its date, by this device's clock."""

    reason = Reason.EXPIRED


class Replayed(RefusedRelease):
    """Older signed metadata than was already seen: a replay, or a publisher's restored backup."""

    reason = Reason.REPLAYED


class Downgrade(RefusedRelease):
    """The release's sequence is below the floor: the highest that was committed here."""

    reason = Reason.DOWNGRADE


class WrongModel(RefusedRelease):
    """The notice speaks of a model other than the one its topic, or this device, is for."""

    reason = Reason.WRONG_MODEL


class Inconsistent(RefusedRelease):
    """Signed parts contradict each other, such as file sizes that do not add up to the image."""

    reason = Reason.INCONSISTENT


class Incompatible(RefusedRelease):
    """The release needs a runtime or a payload codec that this device has not."""

    reason = Reason.INCOMPATIBLE


class TooLarge(RefusedRelease):
    """The release is larger than this device's memory, disk or configured limits allow."""

    reason = Reason.TOO_LARGE


class Benched(RefusedRelease):
    """The release was rolled back on this device before; it is not tried again by itself."""

    reason = Reason.BENCHED


class FullForbidden(RefusedRelease):
    """Only a full transfer would do, and the offer or this device's policy forbids it."""

    reason = Reason.FULL_FORBIDDEN


class PayloadCorrupt(RefusedRelease):
    """A payload that matches its signed chunk map does not decode to the signed image."""

    reason = Reason.PAYLOAD_CORRUPT


class WrongBase(RefusedRelease):
    """A delta's base is not the image that this device holds."""

    reason = Reason.WRONG_BASE


class NoContentKey(RefusedRelease):
    """The release is encrypted, and its key was not wrapped for this device."""

    reason = Reason.NO_CONTENT_KEY


# --- the network must act ---------------------------------------------------------------------


class TransferFailed(SlotcastError):
    """The transfer cannot go on now. Verified chunks stay on disk."""

    reason = Reason.TRANSFER_FAILED


class LinkDown(TransferFailed):
    """No broker could be reached, or the connection was lost."""

    reason = Reason.LINK_DOWN


class BrokerRefused(TransferFailed):
    """The broker answered, and refused: credentials, rights or protocol."""

    reason = Reason.BROKER_REFUSED


class IdInUse(TransferFailed):
    """The broker ended the connection because another client came with this device's id."""

    reason = Reason.ID_IN_USE


class Stalled(TransferFailed):
    """What was asked for does not come from this broker; another one may have it."""

    reason = Reason.STALLED


class ProtocolViolation(TransferFailed):
    """The broker sent what MQTT forbids it to send, or more than it was told to."""

    reason = Reason.PROTOCOL_VIOLATION


class UselessTraffic(TransferFailed):
    """The broker sent far more than was asked for."""

    reason = Reason.USELESS_TRAFFIC


class ChunkCorrupt(TransferFailed):
    """A chunk whose bytes differ from the signed chunk map; it was dropped, not written."""

    reason = Reason.CHUNK_CORRUPT


# --- this device must act ---------------------------------------------------------------------


class StorageFailed(SlotcastError):
    """The device's own storage failed; the active slot is untouched."""

    reason = Reason.STORAGE_FAILED


class DiskFull(StorageFailed):
    """Too little room for the standby slot or the incoming payload."""

    reason = Reason.DISK_FULL


class StateUnwritable(StorageFailed):
    """The state directory cannot be written: rights, a read-only mount, or a failing disk."""

    reason = Reason.STATE_UNWRITABLE


class StateUnreadable(StorageFailed):
    """The durable state record exists but is damaged."""

    reason = Reason.STATE_UNREADABLE


class StateTooNew(StorageFailed):
    """The durable state record was written by a newer version of this software."""

    reason = Reason.STATE_TOO_NEW


class SlotDamaged(StorageFailed):
    """Files of a slot are not what the record says: tampering, or a failing disk."""

    reason = Reason.SLOT_DAMAGED


class SlotTampered(SlotDamaged):
    """What a slot says it holds is not what the pinned root vouches for."""

    reason = Reason.SLOT_TAMPERED


class SlotsKeyMissing(StorageFailed):
    """The device's slots are encrypted, and the key is not where its owner says, or another one."""

    reason = Reason.SLOTS_KEY_MISSING


class StateLocked(StorageFailed):
    """Another process works on the same state directory."""

    reason = Reason.STATE_LOCKED


class SoftwareBroken(SlotcastError):
    """A part of this device's software cannot be loaded, such as onnxruntime: install it anew."""

    reason = Reason.SOFTWARE_BROKEN


class ProbeNotHeld(SlotcastError):
    """The probe found no process to run in, or was ended from outside; the model may be good."""

    reason = Reason.PROBE_NOT_HELD


class OutOfMemory(SlotcastError):
    """This device had too little memory for its own work; it is tried again."""

    reason = Reason.MEMORY_SHORT


class InternalError(SlotcastError):
    """A defect of this software; the log has what is needed to mend it."""

    reason = Reason.INTERNAL_ERROR


# --- the model's authors must act -------------------------------------------------------------


class ModelFailed(SlotcastError):
    """The model was delivered whole and true, and is not fit to serve here."""

    reason = Reason.MODEL_FAILED


class ModelUnloadable(ModelFailed):
    """The runtime could not load the model."""

    reason = Reason.MODEL_UNLOADABLE


# --- whoever typed it must act ----------------------------------------------------------------


class UsageError(SlotcastError):
    """A command, a configuration or an input file is wrong; the message says what is expected."""

    reason = Reason.USAGE
