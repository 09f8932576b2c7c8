"""What a model's core asks of its shell.

Actions are orders, carried out in the order given: if one fails, the rest of that list is dropped
and the core is told by `ActionFailed`. Jobs are actions that take long; the shell runs them
elsewhere and answers with `JobDone`, which carries the result that the job's class names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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


@dataclass(frozen=True, slots=True)
class Inspect:
    """Look at what the last run left. Gives `Findings`."""


@dataclass(frozen=True, slots=True)
class Verify:
    """Verify a notice. Gives `NoticeVerified`.

    `signed_time` is when the newest one seen was signed, in seconds since 1970; 0: not known.
    """

    data: bytes
    signed_time: int = 0


@dataclass(frozen=True, slots=True)
class NoticeVerified:
    """What a notice says, and the facts of this device at that time.

    `proves_slot` is true where it vouches for a slot for which nothing did before.
    """

    trusted: Trusted
    facts: Facts
    proves_slot: bool = False


@dataclass(frozen=True, slots=True)
class Spooled:
    """What of a payload is on disk: parts of its map, and perhaps chunks."""

    maps: dict[int, bytes]
    is_empty: bool
    """Whether there is not a byte of a chunk, so that there is nothing to hash."""


@dataclass(frozen=True, slots=True)
class OpenSpool:
    """Make room for a payload's chunks. Gives `Spooled`.

    `whole` is the release where this payload alone gives all of its files: it may then be decoded
    while it still comes.
    """

    payload: Payload
    whole: Release | None = None


@dataclass(frozen=True, slots=True)
class ScanSpool:
    """Hash the chunks on disk. Gives a set of chunk numbers."""

    payload: Payload
    maps: dict[int, bytes]


@dataclass(frozen=True, slots=True)
class TakeKey:
    """Unwrap the content key from a list's chunk in the spool, and keep it. Gives None."""

    keys: KeyList
    release: Release


@dataclass(frozen=True, slots=True)
class Build:
    """Rebuild the image into the standby slot, verify and seal it. Gives None."""

    install: Install
    trusted: Trusted
    state: ModelState


@dataclass(frozen=True, slots=True)
class ProbeSlot:
    """Probe a slot's release in a child process, beside the active one. Gives `Verdict`."""

    slot: SlotName
    release: Release
    beside: SlotName | None


@dataclass(frozen=True, slots=True)
class Watch:
    """Look how the release on trial does. Gives `Verdict`.

    `restarts` are the agent's in this trial, and the application's before this run of the agent.
    """

    slot: SlotName
    fallback: SlotName | None
    release: Release
    elapsed_s: float
    restarts: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a probe or a look at the trial found; `passed` None means "not yet".

    `restarts` are the application's, as far as this run of the agent saw them.
    """

    passed: bool | None
    reason: str
    detail: str = ""
    checks: tuple[Check, ...] = ()
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class CheckSlot:
    """Verify a slot's files against what it says it holds. Gives None; slot None is sound.

    `record` is what it is held against where its own signed release was lost.
    """

    slot: SlotName | None
    record: SlotRecord | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class AskHook:
    """Ask the device's owner (windows, consent, hooks) about a stage. Gives `Answer`."""

    stage: str
    release: Release


@dataclass(frozen=True, slots=True)
class Answer:
    """`go`, `wait` (ask again later) or `refuse`."""

    word: str
    reason: Reason | None = None
    detail: str = ""
    again_s: float = 60.0


@dataclass(frozen=True, slots=True)
class KeepProvisioned:
    """Keep a copy of what a slot holds, to be set back to. Gives `Kept`."""

    slot: SlotName
    record: SlotRecord


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept; `why` says why nothing is."""

    provisioned: ProvisionedRelease | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class BuildProvisioned:
    """Build the release that was kept into a slot, verify and seal it. Gives `SealedSlot`."""

    slot: SlotName


@dataclass(frozen=True, slots=True)
class SealedSlot:
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


@dataclass(frozen=True, slots=True)
class LeaveBroker:
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


@dataclass(frozen=True, slots=True)
class SyncSpool:
    """Make the chunks on disk durable."""


@dataclass(frozen=True, slots=True)
class DropSpool:
    """Remove the chunks: they are in a slot, or no longer wanted."""


@dataclass(frozen=True, slots=True)
class Save:
    """Replace the durable record."""

    state: ModelState


@dataclass(frozen=True, slots=True)
class Activate:
    """Point `current` at a slot, or at nothing."""

    slot: SlotName | None


@dataclass(frozen=True, slots=True)
class PutBack:
    """Point `current` at the slot that it opened before it was lost."""

    slot: SlotName


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell the owner's hook that something happened; the answer does not matter."""

    stage: str
    release: Release | None


@dataclass(frozen=True, slots=True)
class PublishStatus:
    """Publish the status."""


@dataclass(frozen=True, slots=True)
class Log:
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
