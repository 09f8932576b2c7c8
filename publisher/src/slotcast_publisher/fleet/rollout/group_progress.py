"""When a rollout's group opens, passes or is paused: the engine, one look at a rollout.

Plan, record, observations and the time in, decisions out.

The same look twice gives the same decisions; a look after a crash between any two steps goes on
where the durable record and the signed offer say (docs/adr/0101).
Which devices count is decided by `tally`, whether a limit is broken by `judge`, how much of a group
is let in by `ramp`, and which release comes first by `stones`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from slotcast_publisher.fleet.figures.shares import Share
from slotcast_publisher.fleet.rollout.judge import LimitReading, judge
from slotcast_publisher.fleet.rollout.look_results import (
    AskGate,
    Decision,
    LogNote,
    LookOutcome,
    SignOffer,
)
from slotcast_publisher.fleet.rollout.observations import Now, Observations
from slotcast_publisher.fleet.rollout.offers import (
    says,
    wanted_offer,
)
from slotcast_publisher.fleet.rollout.plan import Plan, PlanGroup
from slotcast_publisher.fleet.rollout.ramp import next_percent
from slotcast_publisher.fleet.rollout.reconcile import has_way_back, hold, is_superseded, reconcile
from slotcast_publisher.fleet.rollout.record import GroupRecord, Pause, RolloutRecord
from slotcast_publisher.fleet.rollout.state_table import GroupEvent, GroupState, RolloutState
from slotcast_publisher.fleet.rollout.state_table import RolloutEvent as Event
from slotcast_publisher.fleet.rollout.stones import (
    behind_of,
    deltas_for,
    more_behind,
    room_behind,
)
from slotcast_publisher.fleet.rollout.tally import GroupTally, count
from slotcast_publisher.fleet.rollout.waiting import (
    progress,
    what_gates_said,
    what_it_waits_for,
)
from slotcast_schemas.plural import several, word_for
from slotcast_schemas.update_windows import minutes_until_open, parse_windows

LOOK_MAX_S: Final = 120
"""The longest time between two looks that counts as watched, in seconds. Looks come more often; a
longer gap is a process that did not run, or a clock that was set."""
_MINUTE_S: Final = 60
_WEEK_MINUTES: Final = 7 * 24 * 60
_EPOCH_MINUTE: Final = 3 * 24 * 60
"""1970-01-01 was a Thursday: minutes of the week that had passed since Monday 00:00."""


def look(plan: Plan, record: RolloutRecord, seen: Observations, now: Now) -> LookOutcome:
    """Decide what to do about a rollout now.

    Args:
        plan: that a person wrote, the same for the rollout's whole life.
        record: as it was made durable last.
        seen: what devices said last, and the present offer.
        now: the time.
    """
    record, notes = reconcile(plan, record, seen)
    engine = _Engine(plan, seen, now, record, notes)
    engine.keep_time()
    engine.move_on()
    return engine.outcome()


class _Engine:
    """One look, while it is taken."""

    def __init__(
        self, plan: Plan, seen: Observations, now: Now, record: RolloutRecord, notes: list[LogNote]
    ) -> None:
        self._plan = plan
        self._seen = seen
        self._now = now
        self._record = record
        self._notes = notes
        self._watched_s = 0.0
        self._tallies: tuple[GroupTally, ...] = ()
        self._readings: list[LimitReading] = []
        self._decisions: list[Decision] = []
        self._waits: list[str] = []

    # --- time -----------------------------------------------------------------------------------

    def keep_time(self) -> None:
        """Count the time since the last look as watched, unless it was too long, or ran back."""
        now_s, record = self._now.wall_s, self._record
        gap_s = now_s - record.looked_s
        is_watched = record.looked_s > 0 and 0 <= gap_s <= LOOK_MAX_S
        self._watched_s = float(gap_s) if is_watched else 0.0
        since_s = record.listening_since_s if is_watched else now_s
        since_s = self._seen.listening_since_s(since_s, now_s)
        self._record = record.changed(looked_s=now_s, listening_since_s=since_s)

    def _is_open(self, windows: Sequence[str]) -> bool:
        local = (self._now.wall_s + self._now.offset_s) // _MINUTE_S
        minute = (local + _EPOCH_MINUTE) % _WEEK_MINUTES
        return minutes_until_open(parse_windows(windows), minute) == 0

    # --- the rollout ----------------------------------------------------------------------------

    def move_on(self) -> None:
        """Take every step that can be taken now."""
        if self._record.state is RolloutState.PREPARING:
            self._prepare()
        self._count()
        has_listened = self._has_listened()
        if self._record.state is RolloutState.READY and has_listened:
            self._open_next(0)
        if self._record.state is RolloutState.RUNNING:
            self._readings = judge(
                self._plan, self._record, self._seen, self._tallies, self._now.wall_s
            )
            self._judge()
        if self._record.state is RolloutState.RUNNING:
            self._fall_back()
            if has_listened:
                self._advance()

    def _has_listened(self) -> bool:
        """Whether what is known can be the whole fleet, and what is rolled out is there."""
        version = self._plan.versions[self._record.leg]
        if self._record.state not in {RolloutState.READY, RolloutState.RUNNING}:
            return False
        if version not in self._seen.releases:
            self._waits.append(f"the release {version}, which is not in the repository")
            return False
        listened_s = self._now.wall_s - self._record.listening_since_s
        left_s = self._plan.listen_s - listened_s
        if left_s > 0:
            self._waits.append(f"devices to be heard, for {left_s:.0f} s more")
        return left_s <= 0

    def _count(self) -> None:
        self._hold_back()
        self._tallies = count(self._plan, self._record, self._seen, self._now.wall_s)

    def _prepare(self) -> None:
        missing = [v for v in self._plan.versions if v not in self._seen.releases]
        if missing:
            self._waits.append(f"the release {missing[0]}, which is not in the repository")
        elif self._may_go_on_without_deltas():
            is_made = self._seen.is_prepared
            self._record = self._record.moved(Event.PREPARED, preparing_since_s=0)
            self._note("ready", "", "deltas are ready" if is_made else "time for deltas is over")
        else:
            self._decisions.append(deltas_for(self._plan, self._record, self._seen))
            self._waits.append("deltas for what devices run")

    def _may_go_on_without_deltas(self) -> bool:
        """Whether deltas are made, or took too long; the time for them begins at the first look."""
        now_s = self._now.wall_s
        if self._seen.is_prepared:
            return True
        if not 0 < self._record.preparing_since_s <= now_s:
            self._record = self._record.changed(preparing_since_s=now_s)
        return now_s - self._record.preparing_since_s >= self._plan.prepare_s

    def _judge(self) -> None:
        broken = [
            reading
            for reading in self._readings
            if reading.is_broken and reading.key not in self._record.accepted
        ]
        if not broken:
            return
        why = "; ".join(r.words(self._plan.limits.confidence) for r in broken[:3])
        limits = tuple(reading.key for reading in broken)
        self._record = hold(self._record, Pause(by="limit", why=why, limits=limits))
        self._note("paused", broken[0].group, why)
        if self._plan.on_broken_limit == "cancel":
            self._record = self._record.moved(Event.CANCELED, why=why, pause=None)
            self._note("canceled", "", "the plan cancels at a broken limit")
        elif self._plan.on_broken_limit == "go_back" and has_way_back(self._plan, self._seen):
            changes = {"why": why, "pause": None, "going_back": True}
            self._record = self._record.moved(Event.WENT_BACK, **changes)
            self._note("went_back", "", f"{self._plan.go_back_to} is offered")

    # --- groups ---------------------------------------------------------------------------------

    def _fall_back(self) -> None:
        """Watch a group anew of which not enough devices have committed any more.

        Done also while nothing may move on: a group counts as watched only if it was so at each
        look.
        """
        for index, group in enumerate(self._record.groups):
            if self._has_enough(index):
                continue
            if group.state in {GroupState.SOAKING, GroupState.AT_GATE}:
                self._set(group.moved(GroupEvent.FELL))
                self._note("fell", self._plan.groups[index].name, self._progress(index))
            elif group.state is GroupState.RUNNING and group.reached:
                self._set(group.watched_anew())

    def _advance(self) -> None:
        """Move the one group on that is at work; each look opens one group at most.

        Nothing moves on while the last decision is not in effect: what is not signed is not let in.
        """
        if not self._is_said():
            self._waits.append("the offer to be signed")
            return
        for index, group in enumerate(self._record.groups):
            if group.state is GroupState.WAITING:
                self._open_next(index)
                return
            if group.state is not GroupState.PASSED:
                self._work(index)
                if self._record.groups[index].state is not GroupState.PASSED:
                    return
        self._all_passed()

    def _open_next(self, index: int) -> None:
        planned, group = self._plan.groups[index], self._record.groups[index]
        if not self._is_open(self._windows(planned)):
            self._waits.append(f"{planned.name}: its window")
            return
        if self._record.state is RolloutState.READY:
            self._record = self._record.moved(Event.OPENED)
        elif not self._may_go_on_without_deltas():  # for what has turned up since the last group
            self._decisions.append(deltas_for(self._plan, self._record, self._seen))
            self._waits.append(f"{planned.name}: deltas for what devices run")
            return
        self._record = self._record.changed(preparing_since_s=0)
        opened = group.moved(GroupEvent.OPENED, opened_s=self._now.wall_s)
        self._record = self._record.with_group(opened)
        self._count()
        self._widen(index)
        self._note("opened", planned.name, f"{self._record.groups[index].percent:.4g} % of it")

    def _windows(self, planned: PlanGroup) -> Sequence[str]:
        return self._plan.windows if planned.windows is None else planned.windows

    def _work(self, index: int) -> None:
        """Move a group that was let in as far as it goes.

        A group that is widened is judged from the next look on, once the offer that does so is
        signed: the times that it is watched for do not begin before that.
        """
        planned, percent = self._plan.groups[index], self._record.groups[index].percent
        self._widen(index)
        if self._record.groups[index].percent > percent:
            return
        has_enough = self._has_enough(index)
        group = self._record.groups[index]
        is_last_step = group.percent >= 100
        if group.state is GroupState.RUNNING and has_enough and not is_last_step:
            self._step(index)
        elif group.state is GroupState.RUNNING and has_enough:
            self._set(group.moved(GroupEvent.REACHED, soaked_s=0.0))
            self._note("soaking", planned.name, self._progress(index))
        elif group.state is GroupState.SOAKING:
            self._set(group.changed(soaked_s=group.soaked_s + self._watched_s))
        self._soak(index)
        self._ask(index)

    def _set(self, group: GroupRecord) -> None:
        self._record = self._record.with_group(group)

    def _step(self, index: int) -> None:
        """Go to the next step, once this one was watched."""
        planned, group = self._plan.groups[index], self._record.groups[index]
        if group.percent < planned.steps[group.step]:
            return  # the cap holds it; it widens as devices end
        watched_s = self._watched_s if group.reached else 0.0
        group = group.changed(reached=True, soaked_s=group.soaked_s + watched_s)
        if group.soaked_s >= planned.step_soak_s:
            group = group.watched_anew(step=group.step + 1)
            to = f"to {planned.steps[group.step]:g} %"
            self._note("step", planned.name, f"{to}: {self._progress(index)}")
        self._set(group)
        self._widen(index)

    def _widen(self, index: int) -> None:
        """Let in as much of a group as its step and the cap allow, if its window is open."""
        planned, group = self._plan.groups[index], self._record.groups[index]
        if not self._is_open(self._windows(planned)):
            if group.percent < 100:
                self._waits.append(f"{planned.name}: its window, to let in more of it")
            return
        percent = next_percent(self._plan, planned, group, index, self._tallies)
        if percent > group.percent:
            self._set(group.watched_anew(percent=percent))
            self._count()

    def _has_enough(self, index: int) -> bool:
        planned, tally = self._plan.groups[index], self._tallies[index]
        is_last = index == len(self._plan.groups) - 1
        if not tally.reachable:
            return is_last or planned.devices_min == 0
        is_final = self._record.groups[index].percent >= 100
        least = planned.devices_min if is_final and not is_last else 1
        share = Share(tally.succeeded, tally.reachable).value
        return tally.succeeded >= least and share >= self._success_share(planned)

    def _success_share(self, planned: PlanGroup) -> float:
        return self._plan.success_share if planned.success_share is None else planned.success_share

    def _soak(self, index: int) -> None:
        planned, group = self._plan.groups[index], self._record.groups[index]
        soak_s = self._plan.soak_s if planned.soak_s is None else planned.soak_s
        if group.state is not GroupState.SOAKING or group.soaked_s < soak_s:
            return
        self._set(group.moved(GroupEvent.SOAKED))
        self._note("soaked", planned.name, f"watched for {group.soaked_s:.0f} s")

    def _ask(self, index: int) -> None:
        """Ask the gate of a group, and go by its answers."""
        planned, group = self._plan.groups[index], self._record.groups[index]
        if group.state is not GroupState.AT_GATE:
            return
        question = self._record.gate_question(group)
        for answer in self._seen.answers:
            if answer.question != question or answer.kind not in planned.gate.kinds:
                continue
            if answer.answer == "no":
                why = f"{group.name}: {answer.kind} says no: {answer.why}"
                self._record = hold(self._record, Pause(by="gate", why=why))
                self._note("paused", group.name, why)
                return
            if answer.answer == "yes" and answer.kind not in group.agreed:
                group = group.changed(agreed=(*group.agreed, answer.kind))
        self._set(group)
        missing = [kind for kind in planned.gate.kinds if kind not in group.agreed]
        if not missing:
            self._set(group.moved(GroupEvent.AGREED))
            self._note("passed", group.name, self._progress(index))
        for kind in missing:
            if kind != "person":
                self._decisions.append(AskGate(question, group.name, kind, planned.gate))

    # --- from one release to the next -----------------------------------------------------------

    def _all_passed(self) -> None:
        record = self._record
        if record.leg == len(self._plan.versions) - 1:
            self._record = record.moved(Event.PASSED)
            self._note("finished", "", "every group has passed")
            return
        behind = sorted(behind_of(self._plan, record, self._seen, record.leg))
        if len(room_behind(behind)) < len(behind):
            has = word_for(len(behind), "has", "have")
            not_yet = f"{several(len(behind), 'device')} {has} not committed"
            by_ids = f"{len(room_behind(behind))} of them can be held back by their ids"
            self._waits.append(f"{not_yet} {self._plan.versions[record.leg]}; {by_ids}")
            return
        groups = [group.begun_anew() for group in record.groups]
        self._record = record.with_groups(groups).changed(
            leg=record.leg + 1, behind=tuple(behind), accepted=()
        )
        self._note("next_release", "", f"{self._plan.versions[record.leg + 1]} begins")

    def _hold_back(self) -> None:
        more = more_behind(self._plan, self._record, self._seen)
        if more:
            self._record = self._record.changed(behind=(*self._record.behind, *more))
            misses = word_for(len(more), "misses", "miss")
            self._note("held_back", "", f"{several(len(more), 'device')} {misses} a stepping stone")

    # --- what it comes to -----------------------------------------------------------------------

    def _note(self, word: str, group: str, text: str) -> None:
        self._notes.append(LogNote(word, group, text))

    def _progress(self, index: int) -> str:
        return progress(self._tallies[index])

    def outcome(self) -> LookOutcome:
        """Give all of it; an offer is asked for only where the signed one does not say it."""
        wanted = wanted_offer(self._plan, self._record, self._seen.releases)
        if wanted is not None and not self._is_said() and not self._is_superseded():
            self._decisions.append(SignOffer(wanted))
        said = (*self._waits, *what_gates_said(self._record, self._seen.answers))
        waits = what_it_waits_for(self._plan, self._record, self._tallies, said)
        return LookOutcome(
            record=self._record,
            decisions=tuple(self._decisions),
            notes=tuple(self._notes),
            readings=tuple(self._readings),
            tallies=self._tallies,
            waits_for=tuple(waits),
        )

    def _is_said(self) -> bool:
        """Whether the signed offer says what the record wants."""
        wanted = wanted_offer(self._plan, self._record, self._seen.releases)
        offer = self._seen.offer
        return wanted is None or (offer is not None and says(offer, wanted))

    def _is_superseded(self) -> bool:
        return is_superseded(self._plan, self._record, self._seen)
