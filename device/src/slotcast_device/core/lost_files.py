"""What is found lost while the agent runs: `current`, the files that it opens, the record.

A start finds such things by hashing (`recovery`); here only names and sizes were looked at, in a
glance made every second. While the agent runs, its record is the truth: a link that is gone, or
that somebody pointed elsewhere, is put back at once, whatever else is being done. Files that are
gone need the look of a start, which opens the other slot if that is sound; it waits for the job
under way, and is not made again for what it could not mend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from slotcast_device.core import actions as act
from slotcast_device.core.recovery import lost_text
from slotcast_schemas.states import SETTLED

if TYPE_CHECKING:
    from slotcast_device.core.actions import Action
    from slotcast_device.core.events import Now, SlotsChanged
    from slotcast_device.core.record import UpdateRecord
    from slotcast_schemas.errors import SlotcastError

MEND_AGAIN_S: Final = 30.0
"""The seconds to wait after something could not be put back: storage that cannot be written will
not be written a second later."""


class Mending:
    """Puts back what was lost.

    Attributes:
        must_inspect: the active slot is not what it should be; only a look at all of it tells.
    """

    def __init__(self, record: UpdateRecord) -> None:
        self._record = record
        self._not_before_s = 0.0
        self.must_inspect = False

    def look_at_all(self) -> None:
        """Ask for a look at all bytes, where no update is under way."""
        self.must_inspect |= self._record.phase in SETTLED

    def found(self, event: SlotsChanged, now: Now) -> list[Action]:
        """Take what a glance found."""
        record = self._record
        if now.mono_s < self._not_before_s:
            return []
        actions: list[Action] = []
        if event.is_damaged and not self.must_inspect:
            self.must_inspect = True
            actions.append(
                act.Log("warning", f"slot {record.state.active}: its model file is gone")
            )
        if event.link is not None and record.state.active is not None:
            text = lost_text(event.link, record.state.active)
            if record.phase in SETTLED:
                record.note_detail(text)
            actions += [act.PutBack(record.state.active), act.Log("warning", text), *record.save()]
        elif event.is_record_lost:
            text = "the record was lost while this ran; written anew"
            actions += [*record.save(), act.Log("warning", text)]
        return actions

    def look_for_another(self) -> None:
        """Look at the slots where nothing serves: one that was built may be all there is."""
        state = self._record.state
        self.must_inspect |= self._record.has_lost_what_served and state.standby in state.slots

    def failed(self, error: SlotcastError, now: Now) -> list[Action]:
        """Nothing could be put back: say so, and try again after a while."""
        self._not_before_s = now.mono_s + MEND_AGAIN_S
        text = f"`current` is lost and cannot be put back: {error.reason}: {error}"
        self._record.note_detail(text)
        return [act.Log("error", text), act.PublishStatus()]
