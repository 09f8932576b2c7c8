"""Collecting a payload's chunks: the transfer under way, how it does, and what it asks for.

What the link tells comes here; which payload is collected, and what is done with it, is decided by
`installation`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.model_status import progress_of
from slotcast_device.core.transfer import transfer_actions
from slotcast_device.core.transfer.broker_limits import Allowance
from slotcast_device.core.transfer.credit import Credit
from slotcast_device.core.transfer.transfer import Transfer
from slotcast_device.core.transfer_progress import TransferWatch
from slotcast_device.core.waits import USUAL, Waits
from slotcast_schemas.errors import Stalled

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from slotcast_device.core.actions import Action, Spooled
    from slotcast_device.core.events import LinkEvent, Now
    from slotcast_device.core.record import UpdateRecord
    from slotcast_device.core.transfer.slow_link import SlowLimit
    from slotcast_schemas.messages.offer import Payload
    from slotcast_schemas.messages.status import Progress
    from slotcast_schemas.topics import Topics

SYNC_EVERY_S: Final = 30.0
"""The seconds between two times that chunks are made durable: a power cut costs at most the chunks
of this time. On a fast link an update takes less."""

TELLING_BYTES: Final = 256 * 1024
"""The least that must come in a run before it says something of the link's speed."""

SILENCE_FIRST_S: Final = 60.0
"""The seconds without a byte of what was asked for after which another broker is tried at first;
doubled for each that gives nothing, up to `Waits.patience_s`."""


class Collecting:
    """The transfer under way.

    Args:
        record: what is known of the model.
        device: this device's id, named in wants.
        topics: where things are published.
        rng: jitter of waits.
        models: how many share the connection, this one included.
        slow: what is reported as too slow.
        collected: called once every needed chunk is on disk; gives what is to be done then.
        waits: how long to wait.

    Attributes:
        transfer: the one under way, or the one whose chunks are being built; None without one.
    """

    def __init__(
        self,
        record: UpdateRecord,
        device: str,
        topics: Topics,
        rng: random.Random,
        *,
        models: int,
        slow: SlowLimit,
        collected: Callable[[Now], list[Action]],
        waits: Waits = USUAL,
    ) -> None:
        self._agenda = record.agenda
        self._device = device
        self._topics = topics
        self._rng = rng
        self._credit = Credit.shared_by(models)
        self._allowance = Allowance(models=models)
        self._watch = TransferWatch(record, self._allowance, slow)
        self._collected = collected
        self._waits = waits
        self._sync_s: float | None = None
        self._report_s: float | None = None
        self._began_s = 0.0
        self._is_link_up = False
        self._part_s = -math.inf  # when a part of a message came last
        self._silence_max_s = SILENCE_FIRST_S
        self.transfer: Transfer | None = None

    @property
    def deadline_s(self) -> float | None:
        """When `tick` is due."""
        fetch_s = None if self.transfer is None else self.transfer.deadline_s
        due = (fetch_s, self._sync_s, self._report_s, self._watch.deadline_s)
        return min((d for d in due if d is not None), default=None)

    def progress(self, saved_bytes: int) -> Progress | None:
        """Say how far the transfer is; so many bytes of the image are on the device already."""
        if self.transfer is None:
            return None
        return progress_of(self.transfer, saved_bytes, int(self._watch.rate_bytes_per_s))

    @property
    def received_bytes(self) -> int:
        """How much came of the payload since it was opened."""
        return 0 if self.transfer is None else self.transfer.counters.received_bytes

    def link_bytes_per_s(self, now: Now) -> float | None:
        """Give how fast the link was, waits included; None where too little came to tell."""
        received = self.received_bytes
        if received < TELLING_BYTES:
            return None
        return received / max(now.mono_s - self._began_s, 1e-3)

    # --- from the decision to collect to its end ------------------------------------------------

    def begin(self, now: Now) -> None:
        """An update begins: report how far it is from now on."""
        self._began_s = now.mono_s
        self._report_s = now.mono_s + self._waits.progress_every_s
        self._watch.begin()

    def open(
        self,
        payload: Payload,
        needed: Sequence[int],
        spooled: Spooled,
        now: Now,
        *,
        asks_by_name: bool = False,
    ) -> list[Action]:
        """Ask for what of a payload is not on disk.

        Args:
            payload: that is to be collected.
            needed: its chunks, in the order to ask for them.
            spooled: what of it is on disk already.
            now: the time.
            asks_by_name: whether the offer tells devices to want below their own names.
        """
        self.transfer = Transfer(
            payload=payload,
            needed=needed,
            topics=self._topics,
            device=self._device,
            rng=self._rng,
            credit=self._credit,
            allowance=self._allowance,
            asks_by_name=asks_by_name,
            waits=self._waits,
        )
        self._sync_s = now.mono_s + SYNC_EVERY_S
        actions = self.transfer.start(spooled.maps, now.mono_s, is_empty=spooled.is_empty)
        if self._is_link_up:
            actions += self.transfer.connection_made(now.mono_s)
        if spooled.is_empty:
            self._measure_pace(now)
        return self._translate(actions, now)

    def scanned(self, present: set[int], now: Now) -> list[Action]:
        """These chunks are on disk already."""
        if self.transfer is None:
            return []
        actions = self._translate(self.transfer.scanned(present, now.mono_s), now)
        self._measure_pace(now)
        return actions

    def end(self) -> None:
        """Nothing is asked for any more: measure and report nothing of it."""
        self._sync_s = self._report_s = None
        self._watch.stop()

    def abandon(self) -> list[Action]:
        """Let go of the transfer; its chunks stay until another payload needs the room."""
        actions: list[Action] = []
        if self.transfer is not None:
            actions = list(self.transfer.stop())
        self.transfer = None
        self.end()
        return actions

    # --- what the link tells ------------------------------------------------------------------

    def handle(self, event: LinkEvent, now: Now) -> list[Action]:
        """Take what the link tells, but for chunks."""
        match event:
            case ev.BytesArrived():
                self._part_s = now.mono_s
                self._bytes_arrived(now)
            case ev.MapArrived():
                return self._map_arrived(event, now)
            case ev.SubscriptionAnswered(filters, took_s):
                self._credit.answered(filters, took_s)
                self._bytes_arrived(now)
            case ev.SubscriptionRefused():
                return self._subscription_refused(event, now)
            case ev.SubscriptionUnanswered():
                return self._subscription_unanswered(event)
            case ev.LimitsChanged(limits):
                self._allowance.limits = limits
            case ev.ConnectionMade():
                return self._connection_made(event, now)
            case ev.ConnectionLost():
                self._connection_lost()
        return []

    def _connection_made(self, event: ev.ConnectionMade, now: Now) -> list[Action]:
        self._credit.connected(event.broker, event.credit_chunks)
        self._allowance.connected(event.broker, event.limits)
        self._is_link_up = True
        if self.transfer is None:
            return []
        self._measure_pace(now)
        return self._translate(self.transfer.connection_made(now.mono_s), now)

    def _connection_lost(self) -> None:
        self._is_link_up = False
        self._watch.stop()
        if self.transfer is not None:
            self.transfer.connection_lost()

    def chunk_arrived(self, event: ev.ChunkArrived, now: Now) -> list[Action]:
        """Take a chunk.

        Raises:
            ChunkCorrupt: it came wrong again and again.
        """
        fetch = self.transfer
        if fetch is None or fetch.payload.sha256 != event.payload:
            return []
        before = fetch.counters.verified_bytes
        came = fetch.receive_chunk(event.index, event.data, now.mono_s)
        if len(came) == 1 and isinstance(came[0], transfer_actions.StoreChunk):
            actions: list[Action] = [came[0]]  # most by far
        else:
            actions = self._translate(came, now)
        if fetch.counters.verified_bytes == before:
            return actions
        self._silence_max_s = SILENCE_FIRST_S
        return self._watch.something_came() + actions if self._watch.is_in_trouble else actions

    def _map_arrived(self, event: ev.MapArrived, now: Now) -> list[Action]:
        fetch = self.transfer
        if fetch is None or fetch.payload.sha256 != event.payload:
            return []
        before = len(fetch.maps)
        actions = self._translate(fetch.receive_map(event.part, event.data, now.mono_s), now)
        if len(fetch.maps) == before:
            return actions
        self._silence_max_s = SILENCE_FIRST_S
        return self._watch.something_came() + actions

    def _bytes_arrived(self, now: Now) -> None:
        if self.transfer is not None:
            self.transfer.bytes_arrived(now.mono_s)

    def _subscription_refused(self, event: ev.SubscriptionRefused, now: Now) -> list[Action]:
        fetch = self.transfer
        if fetch is None or not fetch.holds(event.filter):
            return []
        actions = fetch.subscription_refused(event.filter, now.mono_s, is_final=event.is_final)
        said: list[Action] = []
        if event.is_final:
            said = self._watch.broker_refused(event.text)
        return [*self._translate(actions, now), *said]

    def _subscription_unanswered(self, event: ev.SubscriptionUnanswered) -> list[Action]:
        fetch = self.transfer
        asked = [] if fetch is None else [name for name in event.filters if fetch.holds(name)]
        if not asked:
            return []
        return self._watch.broker_refused(f"the broker does not answer SUBSCRIBE {asked[0]}")

    # --- the loop's turns ----------------------------------------------------------------------

    def tick(self, now: Now) -> list[Action]:
        """Do what is due: ask again, sync, report progress."""
        fetch = self.transfer
        actions: list[Action] = [] if fetch is None else self._watch.note_pace(fetch, now)
        if fetch is not None and fetch.deadline_s is not None and fetch.deadline_s <= now.mono_s:
            actions += self._translate(fetch.timeout(now.mono_s), now)
            actions += self._watch.note_stall(fetch)
            actions += self._leave_if_idle(fetch, now)
        if self._sync_s is not None and self._sync_s <= now.mono_s:
            self._sync_s = now.mono_s + SYNC_EVERY_S
            actions.append(act.SyncSpool())
        if self._report_s is not None and self._report_s <= now.mono_s:
            self._report_s = now.mono_s + self._waits.progress_every_s
            if fetch is not None:
                self._watch.measure_rate(fetch, now)
            actions.append(act.PublishStatus())
        return actions

    def _leave_if_idle(self, fetch: Transfer, now: Now) -> list[Action]:
        """Have another broker tried where this one gives nothing of what is asked for.

        Soon where not even a part of a message comes: a node of a cluster may take subscriptions,
        and answer pings, that is cut off from what is kept. Less and less soon where the others
        give nothing either: nobody may have published it yet.
        """
        idle_s = fetch.idle_s(now.mono_s)
        silent_s = min(idle_s, now.mono_s - self._part_s)
        if not self._is_link_up or (
            idle_s <= self._waits.patience_s and silent_s <= self._silence_max_s
        ):
            return []
        self._silence_max_s = min(2 * self._silence_max_s, self._waits.patience_s)
        text = f"nothing that was asked for came for {idle_s:.0f} s"
        return [act.LeaveBroker(Stalled(text))]

    def _translate(
        self, actions: Sequence[transfer_actions.TransferAction], now: Now
    ) -> list[Action]:
        """Turn the transfer's two questions to the shell into a job and the next step."""
        out: list[Action] = []
        for action in actions:
            if isinstance(action, transfer_actions.Scan):
                if self.transfer is not None:
                    job = act.ScanSpool(self.transfer.payload, dict(self.transfer.maps))
                    out += self._agenda.run(job)
            elif isinstance(action, transfer_actions.Complete):
                out += self._collected(now)
            else:
                out.append(action)
        return out

    def _measure_pace(self, now: Now) -> None:
        if self.transfer is not None and self._is_link_up:
            self._watch.measure_pace(self.transfer, now)
