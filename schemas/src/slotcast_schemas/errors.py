"""Errors, grouped by who has to act, each with a stable word for status messages and metrics.

The group decides the reaction, so code catches groups and people read reasons:

- `RefusedRelease`: the publisher's side must act. The device reports and waits for another notice.
- `TransferFailed`: the network's side. What was received is kept, and tried again later.
- `StorageFailed`: this device's side. The active slot is kept; a person may be needed.
- `SoftwareBroken`, `ProbeNotHeld`, `OutOfMemory`, `InternalError`: this device's side too, but not
  its storage. Tried again.
- `ModelFailed`: the model's authors. The device keeps, or goes back to, the old model.
- `UsageError`: whoever typed the command or wrote the configuration.

`reason` is part of the wire contract: it travels in `status.reason` and never changes its meaning.
Messages give both sides: "expected 42, got 41".
"""

from __future__ import annotations

from typing import ClassVar


class SlotcastError(Exception):
    """Base of all errors that Slotcast raises on purpose."""

    reason: ClassVar[str] = "error"


# --- the publisher must act -------------------------------------------------------------------


class RefusedRelease(SlotcastError):
    """What was announced cannot be accepted; another notice is needed."""

    reason = "refused"


class MalformedMessage(RefusedRelease):
    """Bytes that are not a message of the kind expected, or break one of its bounds."""

    reason = "malformed"


class OversizedMessage(MalformedMessage):
    """A message larger than its bound; it is refused before it is parsed."""

    reason = "oversized"


class UnsupportedFeature(RefusedRelease):
    """The message requires a feature, by name, that this software does not have."""

    reason = "unsupported_feature"


class BadSignature(RefusedRelease):
    """Signed by too few of the keys that the pinned root trusts, or not at all."""

    reason = "bad_signature"


class Expired(RefusedRelease):
    """The signed metadata is past its date, by this device's clock."""

    reason = "expired"


class Replayed(RefusedRelease):
    """Older signed metadata than was already seen: a replay, or a publisher's restored backup."""

    reason = "replayed"


class Downgrade(RefusedRelease):
    """The release's sequence is below the floor: the highest that was committed here."""

    reason = "downgrade"


class WrongModel(RefusedRelease):
    """The notice speaks of a model other than the one its topic, or this device, is for."""

    reason = "wrong_model"


class Inconsistent(RefusedRelease):
    """Signed parts contradict each other, such as file sizes that do not add up to the image."""

    reason = "inconsistent"


class Incompatible(RefusedRelease):
    """The release needs a runtime or a payload codec that this device has not."""

    reason = "incompatible"


class TooLarge(RefusedRelease):
    """The release is larger than this device's memory, disk or configured limits allow."""

    reason = "too_large"


class Benched(RefusedRelease):
    """The release was rolled back on this device before; it is not tried again by itself."""

    reason = "benched"


class FullForbidden(RefusedRelease):
    """Only a full transfer would do, and the offer or this device's policy forbids it."""

    reason = "full_forbidden"


class PayloadCorrupt(RefusedRelease):
    """A payload that matches its signed chunk map does not decode to the signed image."""

    reason = "payload_corrupt"


class WrongBase(RefusedRelease):
    """A delta's base is not the image that this device holds."""

    reason = "wrong_base"


# --- the network must act ---------------------------------------------------------------------


class TransferFailed(SlotcastError):
    """The transfer cannot go on now. Verified chunks stay on disk."""

    reason = "transfer_failed"


class LinkDown(TransferFailed):
    """No broker could be reached, or the connection was lost."""

    reason = "link_down"


class BrokerRefused(TransferFailed):
    """The broker answered, and refused: credentials, rights or protocol."""

    reason = "broker_refused"


class IdInUse(TransferFailed):
    """The broker ended the connection because another client came with this device's id."""

    reason = "id_in_use"


class PacketLimit(TransferFailed):
    """The broker takes no packets of the size that the payload's chunks need."""

    reason = "packet_limit"


class ChunkCorrupt(TransferFailed):
    """A chunk whose bytes differ from the signed chunk map; it was dropped, not written."""

    reason = "chunk_corrupt"


class Stalled(TransferFailed):
    """Nothing that was asked for arrived within the time allowed, or it arrives too slowly."""

    reason = "stalled"


# --- this device must act ---------------------------------------------------------------------


class StorageFailed(SlotcastError):
    """The device's own storage failed; the active slot is untouched."""

    reason = "storage_failed"


class DiskFull(StorageFailed):
    """Too little room for the standby slot or the incoming payload."""

    reason = "disk_full"


class StateUnwritable(StorageFailed):
    """The state directory cannot be written: rights, a read-only mount, or a failing disk."""

    reason = "state_unwritable"


class StateUnreadable(StorageFailed):
    """The durable state record exists but is damaged."""

    reason = "state_unreadable"


class StateTooNew(StorageFailed):
    """The durable state record was written by a newer version of this software."""

    reason = "state_too_new"


class SlotDamaged(StorageFailed):
    """Files of a slot are not what the record says: tampering, or a failing disk."""

    reason = "slot_damaged"


class StateLocked(StorageFailed):
    """Another process works on the same state directory."""

    reason = "state_locked"


class SoftwareBroken(SlotcastError):
    """A part of this device's software cannot be loaded, such as onnxruntime: install it anew."""

    reason = "software_broken"


class ProbeNotHeld(SlotcastError):
    """The probe found no process to run in, or was ended from outside; the model may be good."""

    reason = "probe_not_held"


class OutOfMemory(SlotcastError):
    """This device had too little memory for its own work; it is tried again."""

    reason = "memory_short"


class InternalError(SlotcastError):
    """A defect of this software; the log has what is needed to mend it."""

    reason = "internal_error"


# --- the model's authors must act -------------------------------------------------------------


class ModelFailed(SlotcastError):
    """The model was delivered whole and true, and is not fit to serve here."""

    reason = "model_failed"


class ModelUnloadable(ModelFailed):
    """The runtime could not load the model."""

    reason = "model_unloadable"


class ContractBroken(ModelFailed):
    """The model's inputs or outputs are not those that the release declares."""

    reason = "contract_broken"


# --- whoever typed it must act ----------------------------------------------------------------


class UsageError(SlotcastError):
    """A command, a configuration or an input file is wrong; the message says what is expected."""

    reason = "usage"
