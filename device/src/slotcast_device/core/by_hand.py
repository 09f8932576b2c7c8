"""What a person asks of a model, such as to go back to the other slot's release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_schemas.states import State

if TYPE_CHECKING:
    from slotcast_device.core.actions import Action
    from slotcast_device.core.events import Now
    from slotcast_device.core.installation import Installation
    from slotcast_device.core.notice_box import NoticeBox
    from slotcast_device.core.record import UpdateRecord
    from slotcast_device.core.set_back import SetBack
    from slotcast_device.core.switch_and_commit import Switching


class ByHand:
    """Does what a person asks; what cannot be done now is refused in the log.

    Args:
        record: what is known of the model.
        box: the notices, one of which may have to be looked at again.
        switching: goes back.
        installation: what is let go of for that.
        set_back: goes back further, to the provisioned release.
    """

    def __init__(
        self,
        record: UpdateRecord,
        box: NoticeBox,
        switching: Switching,
        installation: Installation,
        set_back: SetBack,
    ) -> None:
        self._record = record
        self._box = box
        self._switching = switching
        self._installation = installation
        self._set_back = set_back

    def handle(self, event: ev.RequestEvent, now: Now) -> list[Action]:
        """Do it, now that the durable record was read."""
        match event:
            case ev.UnbenchAsked(sequence):
                self._record.unbench(sequence)
                self._box.again()
                return self._record.save()
            case ev.RollBackAsked(detail):
                return self._roll_back(detail, now)
            case ev.ResetAsked():
                return self._set_back.ask()
            case ev.ResumeAsked():
                return self._set_back.resume()

    def _roll_back(self, detail: str, now: Now) -> list[Action]:
        """Go back; what was being fetched is looked at again after that."""
        record, before = self._record, self._record.phase
        if self._switching.is_between_steps:
            return [act.Log("warning", "a roll back is under way already")]
        is_candidate_there = before is State.VERIFIED  # the standby slot holds it, not the old one
        is_busy = record.agenda.job is not None or is_candidate_there
        if before is not State.TRIAL and is_busy:
            return [act.Log("warning", f"cannot roll back while {before}; ask again later")]
        actions = self._switching.recall(detail, now)
        if record.phase is not State.TRIAL:
            return actions
        if before is State.DOWNLOADING:
            self._box.hold_for_end()
        return self._installation.abandon() + actions
