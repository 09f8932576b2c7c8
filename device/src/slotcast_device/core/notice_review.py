"""What a notice that was looked at means for the update under way: begin, wait, stop, or refuse.

`plan` says what it asks of this device; here it meets what the device is doing at the time. A
notice that is refused never stops an update that is under way, and never touches what serves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from slotcast_device.core import actions as act
from slotcast_device.core.delta_wait import delta_wait_left_s, is_waiting_for
from slotcast_device.core.plan import Canceled, Install, NothingToDo, Plan, Wait, make_plan
from slotcast_device.core.record import same_end
from slotcast_device.core.spread import wait_left_s
from slotcast_device.core.state_table import FETCHING, SWITCHED, Happening
from slotcast_schemas.errors import Benched, Expired, RefusedRelease, SlotcastError
from slotcast_schemas.reasons import Reason
from slotcast_schemas.states import State

if TYPE_CHECKING:
    from slotcast_device.core.actions import Action
    from slotcast_device.core.events import Now
    from slotcast_device.core.installation import Installation
    from slotcast_device.core.notice_box import NoticeBox
    from slotcast_device.core.record import UpdateRecord
    from slotcast_device.core.signed_time import SignedTime
    from slotcast_device.core.state import Update
    from slotcast_device.core.switch_and_commit import Switching
    from slotcast_schemas.verify import Trusted

LONG_TRIAL_S: Final = 3600.0
"""The most seconds that a trial keeps another release waiting: an hour."""


class NoticeReview:
    """Goes by the notice that was taken from the box last.

    Args:
        record: what is known of the model.
        box: where the notice came from; it may have to be looked at again.
        switching: what comes after the decision to switch.
        installation: what comes before it.
        signed_time: what day it is.
        device: this device's id, by which it waits its turn.
    """

    def __init__(
        self,
        record: UpdateRecord,
        box: NoticeBox,
        switching: Switching,
        installation: Installation,
        signed_time: SignedTime,
        device: str,
    ) -> None:
        self._record = record
        self._agenda = record.agenda
        self._box = box
        self._switching = switching
        self._installation = installation
        self._time = signed_time
        self._device = device
        self._waits_since_s: float | None = None  # another release waits for the trial's end

    def verified(self, verified: act.NoticeVerified, now: Now) -> list[Action]:
        """Judge it by the time, and go by it."""
        trusted = verified.trusted
        try:
            self._time.check(trusted, now)
        except Expired as exc:
            return self.refuse(exc, now, trusted)
        self._box.drop_expired()
        before = self._record.state
        self._time.learn(trusted, now)
        actions = self._heed_floor(trusted)
        is_new = self._record.state != before
        actions += self._go_by_plan(verified, now)
        if is_new and not any(isinstance(action, act.Save) for action in actions):
            actions += (
                self._record.save() if self._record.phase not in SWITCHED else [act.PublishStatus()]
            )
        return actions

    def _heed_floor(self, trusted: Trusted) -> list[Action]:
        """Move the floor where the targets key says so: a thief had raised it out of reach."""
        record, word, before = self._record, trusted.floor, self._record.state.floor
        if word is None or not record.heed_floor(word):
            return []
        text = f"the floor went from {before} to {word.sequence}, as the targets key has signed"
        return [act.Log("warning", text)]

    def _go_by_plan(self, verified: act.NoticeVerified, now: Now) -> list[Action]:
        trusted = verified.trusted
        if self._record.phase in SWITCHED:
            return self._review_on_trial(verified, now)
        self._waits_since_s = None
        try:
            plan = self._make_plan(verified, now)
        except SlotcastError as exc:
            return self.refuse(exc, now, trusted)
        match plan:
            case NothingToDo(reason):
                return self._settle_update(reason, trusted, now)
            case Wait(reason, group, again_s):
                actions = self._stop_update(Happening.HELD, reason, trusted, group, now)
                if again_s is not None:
                    self._agenda.wake_in(again_s, now)
                return actions
            case Canceled(group):
                return self._stop_update(Happening.CANCELED, Reason.CANCELED, trusted, group, now)
            case Install():
                return self._begin_in_its_turn(plan, trusted, now)

    def _begin_in_its_turn(self, plan: Install, trusted: Trusted, now: Now) -> list[Action]:
        """Begin, or wait first: where the fleet is not to ask at once, or a delta may come."""
        state, before = self._record.state, self._record.update
        reason, left_s = Reason.SPREAD, wait_left_s(trusted, state, self._device, now.wall_s)
        if left_s <= 0:
            reason = Reason.AWAITS_DELTA
            left_s = delta_wait_left_s(trusted, state, plan.payload, now.wall_s)
        if left_s <= 0 or self._installation.is_busy_with(plan, trusted):
            return self._installation.take_up(plan, trusted, now)
        if reason is not Reason.AWAITS_DELTA or not is_waiting_for(trusted, before):
            before = None
        actions = self._stop_update(Happening.HELD, reason, trusted, plan.group, now, began=before)
        self._agenda.wake_in(left_s, now)
        return actions

    def _make_plan(self, verified: act.NoticeVerified, now: Now) -> Plan:
        day = self._time.day(now)
        installation = self._installation
        facts = msgspec.structs.replace(
            verified.facts,
            excluded=installation.excluded,
            day=day,
            is_tired_of_lists=installation.vain_lists.are_too_many(day),
        )
        return make_plan(verified.trusted, self._record.state, facts)

    def _review_on_trial(self, verified: act.NoticeVerified, now: Now) -> list[Action]:
        """On trial only a cancel counts; anything else is looked at when the trial is over.

        But a trial may be asked for that takes 90 days, also by who stole a key: where another
        release is to be installed here, it waits for an hour at most, and not at all where the
        trial will take longer than that.
        """
        trusted, update = verified.trusted, self._record.update
        if update is None:
            return []
        if trusted.release_sha256 != update.release_sha256:
            self._box.hold_for_end()
            self._box.forget_seen()
            if self._is_superseded(verified, now):
                text = f"{trusted.release.version} is offered in its place, and its trial is long"
                return self._switching.roll_back(Reason.SUPERSEDED, text, now)
            if self._waits_since_s is None:
                self._waits_since_s = now.mono_s
        elif trusted.offer.state == "canceled":
            return self._switching.roll_back(Reason.CANCELED, "the publisher canceled it", now)
        return []

    def has_waited_long(self, now: Now) -> bool:
        """Whether another release has waited for the end of a trial for long."""
        since_s = self._waits_since_s
        return since_s is not None and now.mono_s - since_s >= LONG_TRIAL_S

    def _is_superseded(self, verified: act.NoticeVerified, now: Now) -> bool:
        """Whether the release on trial gives way to the one that a notice offers."""
        if self._switching.is_between_steps or not (
            self.has_waited_long(now) or self._switching.trial_left_s(now) > LONG_TRIAL_S
        ):
            return False
        try:
            return isinstance(self._make_plan(verified, now), Install)
        except SlotcastError:
            return False

    def _settle_update(self, reason: str, trusted: Trusted, now: Now) -> list[Action]:
        """Record that nothing is to be done, unless the record says more of the same release."""
        record, update = self._record, self._record.update
        if update is not None and update.sequence == trusted.release.sequence:
            committed = record.phase is State.COMMITTED and reason == Reason.UP_TO_DATE
            if committed or (record.phase is State.IDLE and record.reason == reason):
                return []
        actions = self._installation.abandon()
        record.begin(trusted, Happening.SETTLED, reason, now)
        return [*actions, *record.save()]

    def _stop_update(
        self,
        happening: Happening,
        reason: str,
        trusted: Trusted,
        group: str,
        now: Now,
        *,
        began: Update | None = None,
    ) -> list[Action]:
        """Stop what is under way: the publisher pauses or cancels it. Chunks of a pause stay.

        Args:
            happening: what the notice asks for.
            reason: the word that goes with it.
            trusted: the notice.
            group: the offer's group that this device is in.
            now: the time.
            began: since when it waits, where that is not now.
        """
        before = self._record.update
        actions = self._installation.abandon()
        self._record.begin(trusted, happening, reason, now, group=group)
        if began is not None:
            self._record.keep_since(began)
        if happening is Happening.CANCELED:
            self._installation.drop_chunks(now)
        if before is not None and same_end(before, self._record.update):
            self._record.keep_since(before)
            return actions
        if happening is Happening.CANCELED:
            actions.append(act.DropSpool())
        return [*actions, *self._record.save()]

    def refuse(
        self, error: SlotcastError, now: Now, trusted: Trusted | None = None
    ) -> list[Action]:
        """Say why; what is under way goes on, since a refused notice must not stop it.

        Args:
            error: why it is refused.
            now: the time.
            trusted: the notice, where it could be verified.
        """
        record = self._record
        if isinstance(error, Benched) and record.phase in {State.ROLLED_BACK, State.FAILED}:
            return []  # the reason why it was benched says more
        said = act.Log("warning", f"refused: {error.reason}: {error}")
        refused = isinstance(error, RefusedRelease)
        if isinstance(error, Expired):
            self._box.hold_expired()
        # After a restart the record may say DOWNLOADING while nothing is under way any more.
        is_fetching = record.phase in FETCHING and self._installation.install is not None
        if is_fetching and isinstance(error, Expired) and self._is_under_way():
            return [*self._installation.abandon(), *self.refuse(error, now, trusted)]
        if is_fetching or record.phase in SWITCHED:
            record.note_detail(f"another notice was refused: {error.reason}: {error}")
            if not refused:  # such as no room on the disk: that may change, now or by the end
                self._box.hold_for_end()
            if is_fetching and not refused:
                self._agenda.retry_later(now)
            else:
                self._box.forget_seen()
            return [said, act.PublishStatus()]
        before = record.update
        happening = Happening.REFUSED if refused else Happening.BROKEN
        record.begin(trusted, happening, error.reason, now, detail=str(error))
        if not refused:
            self._agenda.retry_later(now)
        if same_end(before, record.update):
            record.put_back(before)
            return [said]
        return [said, *record.save()]

    def clock_moved(self, now: Now) -> list[Action]:
        """Judge by the new time what was refused, what is under way, and what waits for a time."""
        record = self._record
        if not self._box.clock_was_set() and record.phase in FETCHING | {State.QUEUED}:
            self._box.again()
        if record.phase is State.VERIFIED and self._agenda.wake_s is not None:
            self._agenda.wake_in(0.0, now)
        return self._time.look(now)

    def _is_under_way(self) -> bool:
        """Whether this very notice is being carried out: the clock was wrong when it was taken."""
        taken = self._installation.trusted
        return taken is not None and taken.notice_sha256 == self._box.seen_sha256
