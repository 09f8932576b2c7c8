"""Going back to the release that the device was provisioned with, and staying there until told.

The wish is in the record before anything is done about it (`set_back`), so that every start goes
on with it. What is done next depends on the record alone: stop what is fetched, roll a trial back,
build the kept release into the standby slot, and go back to it as to any other release.

Where nothing serves, for no slot is sound any more, the kept release stands in: nobody asked for
that, so it holds no notice up, and the next one mends what was damaged. docs/adr/0175 has the
reasons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from slotcast_device.core import actions as act
from slotcast_device.core.state_table import FETCHING, SWITCHED, Happening
from slotcast_schemas.errors import SlotcastError
from slotcast_schemas.reasons import Reason
from slotcast_schemas.states import SETTLED, State

if TYPE_CHECKING:
    from slotcast_device.core.actions import Action, Job
    from slotcast_device.core.events import JobDone, Now
    from slotcast_device.core.installation import Installation
    from slotcast_device.core.notice_box import NoticeBox
    from slotcast_device.core.record import UpdateRecord
    from slotcast_device.core.state import SlotName
    from slotcast_device.core.switch_and_commit import Switching

_BUILDS_MAX: Final = 2
"""How often the kept release is built for one wish: once more where it is found damaged before it
serves, and not for ever on a disk that damages all that is written."""
_DETAIL: Final = "its owner set this device back to the provisioned release"


class SetBack:
    """Keeps the provisioned release, and goes back to it.

    Args:
        record: what is known of the model.
        box: the notices, one of which is looked at again afterwards.
        switching: goes back.
        installation: what is let go of for that.
        keeps: whether a release is kept at all.
    """

    def __init__(
        self,
        record: UpdateRecord,
        box: NoticeBox,
        switching: Switching,
        installation: Installation,
        *,
        keeps: bool,
    ) -> None:
        self._record = record
        self._box = box
        self._switching = switching
        self._installation = installation
        self._keeps = keeps
        self._builds = 0

    # --- what a person asks -------------------------------------------------------------------

    def ask(self) -> list[Action]:
        """Write the wish down; `go_on` does the rest."""
        record = self._record
        if record.state.provisioned is None:
            text = (
                "cannot set back: no provisioned release is kept here (no room for it, nothing"
                " committed yet, or policy.keep_provisioned is false)"
            )
            return [act.Log("warning", text)]
        self._builds = 0
        record.want_set_back()
        return record.save()

    def resume(self) -> list[Action]:
        """Let updates go on; the last notice is looked at again."""
        if not self._record.state.set_back:
            return [act.Log("warning", "updates go on already: the device was not set back")]
        self._record.end_set_back()
        self._box.again()
        return self._record.save()

    # --- going back ---------------------------------------------------------------------------

    @property
    def is_wanted(self) -> bool:
        """Whether the device is to be set back, and is not yet."""
        return self._record.state.set_back == "asked"

    def overtakes(self, job: Job) -> bool:
        """Whether what a job of the update under way gives does not count any more."""
        is_of_update = not isinstance(job, (act.Inspect, act.Verify))
        return self.is_wanted and is_of_update and self._record.phase in FETCHING

    def go_on(self, now: Now) -> list[Action]:
        """Do what is next, if anything is; nothing while a job runs."""
        record = self._record
        if self._may_stand_in and record.agenda.job is None:
            return self._build(now)
        if not self.is_wanted or self._switching.is_between_steps:
            return []
        if record.phase is State.TRIAL:
            record.agenda.drop_job()  # a look under way does not matter any more
            return self._switching.roll_back(Reason.SET_BACK, _DETAIL, now)
        if record.agenda.job is not None:
            return []
        actions = self._stop_update(now) if record.phase in FETCHING else []
        if self._is_there():
            record.was_set_back()
            self._box.again()  # which is then told to wait
            return [*actions, *record.save()]
        return [*actions, *self._build(now)]

    @property
    def _may_stand_in(self) -> bool:
        """Whether nothing serves, nothing is under way, and what is kept has not failed here."""
        state = self._record.state
        is_idle = (
            self._record.phase not in FETCHING | SWITCHED and not self._switching.is_between_steps
        )
        is_alone = state.active is None and state.provisioned is not None
        return is_alone and is_idle and not self.is_wanted and self._builds < _BUILDS_MAX

    def _stop_update(self, now: Now) -> list[Action]:
        actions = self._installation.abandon()
        self._record.move(Happening.HELD, Reason.SET_BACK, now)
        return [*actions, act.DropSpool()]

    def _is_there(self) -> bool:
        active, wanted = self._record.state.active_record, self._record.state.provisioned
        return (
            active is not None
            and wanted is not None
            and active.release_sha256 == wanted.release_sha256
        )

    def _build(self, now: Now) -> list[Action]:
        record, slot = self._record, self._record.state.standby
        if self._builds >= _BUILDS_MAX:
            return self._give_up(Reason.STORAGE_FAILED, "built twice, damaged twice", now)
        self._builds += 1
        record.set_slot(slot, None)  # the record must not speak of what is about to go
        return [*record.save(), *record.agenda.run(act.BuildProvisioned(slot))]

    def _built(self, slot: SlotName, sealed: act.SealedSlot, now: Now) -> list[Action]:
        """A slot holds it: go there, as in a roll back; at once if nothing serves."""
        record = self._record
        record.set_slot(slot, sealed.record)
        record.learn_release(slot, sealed.release)
        if not self.is_wanted:
            return self._stand_in(slot, sealed.record.version)
        active = record.state.active
        if active is not None and record.state.active_record is not None:
            record.recall(active, slot)
            return self._switching.roll_back(Reason.SET_BACK, _DETAIL, now)
        record.begin(None, Happening.SETTLED, Reason.SET_BACK, now, detail=_DETAIL)
        record.set_active(slot)
        return [act.Save(record.state), act.Activate(slot), *record.end()]

    def _stand_in(self, slot: SlotName, version: str) -> list[Action]:
        """Open the slot that was built; the record still says how the last update ended."""
        record = self._record
        record.set_active(slot)
        self._box.again()
        text = f"the provisioned release {version} serves until a notice mends what was damaged"
        opened: list[Action] = [act.Save(record.state), act.Activate(slot)]
        return [*opened, act.Log("warning", text), act.PublishStatus()]

    def _give_up(self, reason: str, text: str, now: Now) -> list[Action]:
        record = self._record
        if not self.is_wanted:
            self._builds = _BUILDS_MAX  # until the next start: it would most likely fail again
            return [act.Log("error", f"{reason}: the provisioned release cannot serve: {text}")]
        record.end_set_back()
        detail = f"cannot set back: {text}"
        record.begin(None, Happening.BROKEN, reason, now, detail=detail)
        record.agenda.retry_later(now)
        return [act.Log("error", f"{reason}: {detail}"), *record.end()]

    # --- its jobs -----------------------------------------------------------------------------

    def job_done(self, event: JobDone, now: Now) -> list[Action]:
        """Take what a job of this gave, or why it failed: what serves, serves on."""
        match event.job, event.result, event.error:
            case act.KeepProvisioned(), act.Kept() as kept, None:
                return self._kept(kept)
            case act.BuildProvisioned(slot), act.SealedSlot() as sealed, None:
                return self._built(slot, sealed, now)
            case act.BuildProvisioned(), _, SlotcastError() as error:
                return self._give_up(error.reason, str(error), now)
            case _:
                return self._kept(act.Kept(None, str(event.error)))

    # --- keeping ------------------------------------------------------------------------------

    def keep(self) -> list[Action]:
        """Have what serves kept, if nothing is kept yet and nothing else is to be done."""
        record, state = self._record, self._record.state
        held = state.active_record
        is_proven = held is not None and held.sequence <= state.floor
        if not self._keeps or state.provisioned is not None or state.active is None:
            return []
        if held is None or not is_proven or record.phase not in SETTLED:
            return []
        self._keeps = False  # once for each start: what was in the way stays for a while
        return record.agenda.run(act.KeepProvisioned(state.active, held))

    def _kept(self, kept: act.Kept) -> list[Action]:
        if kept.provisioned is None:
            return [act.Log("info", f"no provisioned release is kept: {kept.why}")]
        self._record.keep_provisioned(kept.provisioned)
        return self._record.save()
