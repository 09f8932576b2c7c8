"""What a model's core asks of its shell.

Actions are orders, carried out in the order given: if one fails, the rest of that list is dropped
and the core is told by `ActionFailed`. Jobs are actions that take long; the shell runs them
elsewhere and answers with `JobDone`, which carries the result that the job's class names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from slotcast_device.core.transfer import transfer_actions

if TYPE_CHECKING:
    from slotcast_device.core.content_key import KeyList
    from slotcast_device.core.plan import Facts, Install
    from slotcast_device.core.state import ModelState, ProvisionedRelease, SlotName, SlotRecord
    from slotcast_schemas.errors import TransferFailed
    from slotcast_schemas.messages import Release
    from slotcast_schemas.messages.offer import Payload
    from slotcast_schemas.messages.status import Check
    from slotcast_schemas.reasons import Reason
    from slotcast_schemas.verify import Trusted

# --- jobs -------------------------------------------------------------------------------------


class Inspect(msgspec.Struct, frozen=True):
    """Look at what the last run left. Gives `Findings`."""


class Verify(msgspec.Struct, frozen=True):
    """Verify a notice. Gives `NoticeVerified`.

    `signed_time` is when the newest one seen was signed, in seconds since 1970; 0: not known.
    """

    data: bytes
    signed_time: int = 0


class NoticeVerified(msgspec.Struct, frozen=True):
    """What a notice says, and the facts of this device at that time.

    `proves_slot` is true where it vouches for a slot for which nothing did before.
    """

    trusted: Trusted
    facts: Facts
    proves_slot: bool = False


class Spooled(msgspec.Struct, frozen=True):
    """What of a payload is on disk: parts of its map, and perhaps chunks."""

    maps: dict[int, bytes]
    is_empty: bool
    """Whether there is not a byte of a chunk, so that there is nothing to hash."""


class OpenSpool(msgspec.Struct, frozen=True):
    """Make room for a payload's chunks. Gives `Spooled`.

    `whole` is the release where this payload alone gives all of its files: it may then be decoded
    while it still comes.
    """

    payload: Payload
    whole: Release | None = None


class ScanSpool(msgspec.Struct, frozen=True):
    """Hash the chunks on disk. Gives a set of chunk numbers."""

    payload: Payload
    maps: dict[int, bytes]


class TakeKey(msgspec.Struct, frozen=True):
    """Unwrap the content key from a list's chunk in the spool, and keep it. Gives None."""

    keys: KeyList
    release: Release


class Build(msgspec.Struct, frozen=True):
    """Rebuild the image into the standby slot, verify and seal it. Gives None."""

    install: Install
    trusted: Trusted
    state: ModelState


class ProbeSlot(msgspec.Struct, frozen=True):
    """Probe a slot's release in a child process, beside the active one. Gives `Verdict`."""

    slot: SlotName
    release: Release
    beside: SlotName | None


class Watch(msgspec.Struct, frozen=True):
    """Look how the release on trial does. Gives `Verdict`.

    `restarts` are the agent's in this trial, and the application's before this run of the agent.
    """

    slot: SlotName
    fallback: SlotName | None
    release: Release
    elapsed_s: float
    restarts: int


class Verdict(msgspec.Struct, frozen=True):
    """What a probe or a look at the trial found; `passed` None means "not yet".

    `restarts` are the application's, as far as this run of the agent saw them.
    """

    passed: bool | None
    reason: str
    detail: str = ""
    checks: tuple[Check, ...] = ()
    restarts: int = 0


@dataclass(frozen=True, slots=True)  # a struct has no field that is not compared
class CheckSlot:
    """Verify a slot's files against what it says it holds. Gives None.

    Where `slot` is None, there is nothing to verify.
    `record` is what it is held against where its own signed release was lost.
    """

    slot: SlotName | None
    record: SlotRecord | None = field(default=None, compare=False)


class AskHook(msgspec.Struct, frozen=True):
    """Ask the device's owner (windows, consent, hooks) about a stage. Gives `Answer`."""

    stage: str
    release: Release


class Answer(msgspec.Struct, frozen=True):
    """`go`, `wait` (ask again later) or `refuse`."""

    word: str
    reason: Reason | None = None
    detail: str = ""
    again_s: float = 60.0


class KeepProvisioned(msgspec.Struct, frozen=True):
    """Keep a copy of what a slot holds, to be set back to. Gives `Kept`."""

    slot: SlotName
    record: SlotRecord


class Kept(msgspec.Struct, frozen=True):
    """What is kept; `why` says why nothing is."""

    provisioned: ProvisionedRelease | None
    why: str = ""


class BuildProvisioned(msgspec.Struct, frozen=True):
    """Build the release that was kept into a slot, verify and seal it. Gives `SealedSlot`."""

    slot: SlotName


class SealedSlot(msgspec.Struct, frozen=True):
    """What a slot holds now."""

    record: SlotRecord
    release: Release


Job = (
    Inspect
    | Verify
    | OpenSpool
    | ScanSpool
    | TakeKey
    | Build
    | ProbeSlot
    | Watch
    | CheckSlot
    | AskHook
    | KeepProvisioned
    | BuildProvisioned
)
"""What takes long: at most one at a time for each model."""


class LeaveBroker(msgspec.Struct, frozen=True):
    """Go to another broker of the list, if there is one: this one gives nothing that is true."""

    error: TransferFailed


Order = (
    transfer_actions.Subscribe
    | transfer_actions.Unsubscribe
    | transfer_actions.PublishWant
    | transfer_actions.LearnWildcards
    | LeaveBroker
)
"""What goes to the broker."""

# --- other actions ----------------------------------------------------------------------------


class SyncSpool(msgspec.Struct, frozen=True):
    """Make the chunks on disk durable."""


class DropSpool(msgspec.Struct, frozen=True):
    """Remove the chunks: they are in a slot, or no longer wanted."""


class Save(msgspec.Struct, frozen=True):
    """Replace the durable record."""

    state: ModelState


class Activate(msgspec.Struct, frozen=True):
    """Point `current` at a slot, or at nothing."""

    slot: SlotName | None


class PutBack(msgspec.Struct, frozen=True):
    """Point `current` at the slot that it opened before it was lost."""

    slot: SlotName


class Notify(msgspec.Struct, frozen=True):
    """Tell the owner's hook that something happened; the answer does not matter."""

    stage: str
    release: Release | None


class PublishStatus(msgspec.Struct, frozen=True):
    """Publish the status."""


class Log(msgspec.Struct, frozen=True):
    """A line for the log: `level` is a name of the logging module."""

    level: str
    text: str


Step = (
    transfer_actions.StoreMap
    | transfer_actions.StoreChunk
    | SyncSpool
    | DropSpool
    | Save
    | Activate
    | PutBack
)
"""What is short work on the disk, done at once and in order."""

Action = Job | Order | Step | Notify | PublishStatus | Log
"""All that a core can ask for."""
