"""One turn of the service that drives rollouts, and what makes it safe to die at any moment.

Each rollout is looked at; what the look comes to is carried out in this order:

1. under the repository's lock it is seen that nothing has changed since it was looked at,
2. in a transaction that holds the lease, the record is made durable, and the log is written,
3. the offer is signed,
4. requests of persons are answered, the notice goes to the brokers, gates are asked.

Dying between any two is mended by the next look, here or in another process (docs/adr/0107).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from slotcast_publisher.errors import Conflict
from slotcast_publisher.fleet.database.lease import LeaseLost
from slotcast_publisher.fleet.rollout.group_progress import look
from slotcast_publisher.fleet.rollout.look_results import AskGate, LogNote, LookOutcome, SignOffer
from slotcast_publisher.fleet.rollout.observations import Now, Observations
from slotcast_publisher.fleet.rollout.offers import WantedOffer, fingerprint, says, wanted_offer
from slotcast_publisher.fleet.rollout.person import Wish, carry_out
from slotcast_publisher.fleet.rollout.record import RolloutRecord
from slotcast_publisher.fleet.rollout.state_table import OVER, RolloutState
from slotcast_publisher.fleet.steering.gates import Gates
from slotcast_publisher.fleet.steering.late_deltas import Bases, LateDeltas, late_deltas
from slotcast_publisher.fleet.steering.observing import (
    bases_of,
    has_heard_devices,
    observe,
    time_of,
)
from slotcast_publisher.fleet.steering.offer_payloads import choose_payloads, offer_of
from slotcast_publisher.fleet.steering.ports import (
    Announcer,
    DeltaMaker,
    FleetView,
    LookTaken,
    Views,
)
from slotcast_publisher.fleet.steering.request_files import AskedFor
from slotcast_publisher.fleet.steering.requests import answered
from slotcast_publisher.fleet.steering.rollout_files import Rollout, RolloutFiles
from slotcast_publisher.fleet.steering.taking_over import taken_over_by
from slotcast_publisher.repository import Repository
from slotcast_publisher.serve.log import Say
from slotcast_schemas.errors import SlotcastError, StateLocked
from slotcast_schemas.messages.offer import Offer, Payload

LOOK_EVERY_S: Final = 2.0
"""The least seconds between two looks at the same rollout, unless a person asks for something."""
LOOK_CAP_S: Final = 60.0
"""The most: the engine takes a longer gap than two minutes for time that nobody watched."""
LOOK_SHARE: Final = 20.0
"""A look that takes a second is taken again after so many: a twentieth of the processor."""
CALM_EVERY_S: Final = 30.0
"""The seconds between two looks at a rollout that is over, for devices that come late."""
LOCK_WAIT_S: Final = 1.0
"""The seconds to wait for the repository; then the look is thrown away and taken again."""
_TIMES: Final = ("looked_s", "listening_since_s")
"""What of a record changes with each look."""
_REQUEST_WORDS: Final[Mapping[Wish, str]] = {wish: f"asked_to_{wish.value}" for wish in Wish}
"""What the log calls a person's request."""


class _Changed(Exception):
    """Something has changed since it was looked at; the look is thrown away."""


@dataclass(slots=True)
class _Turn:
    """One look at one rollout, and what is to be carried out."""

    rollout: Rollout
    seen: Observations
    now: Now
    found: LookOutcome
    answers: list[AskedFor]
    notes: list[tuple[LogNote, str]]
    bases: Bases
    offer: WantedOffer | None = None
    added: str = ""

    @property
    def record(self) -> RolloutRecord:
        return self.found.record

    @property
    def is_new(self) -> bool:
        """Whether a record has to be made durable: ended rollouts are not written at each look."""
        before, after = self.rollout.record, self.record
        if self.answers or self.offer is not None or after.state not in OVER:
            return before != after
        times = dict.fromkeys(_TIMES, 0)
        return before.changed(**times) != after.changed(**times)


@dataclass(slots=True)
class _Pace:
    """When a rollout is looked at again."""

    next_s: float = 0.0
    problem: str = ""
    is_announced: bool = False


@dataclass(slots=True)
class Steering:
    """Drives the rollouts of a repository, as long as it holds the lease.

    Attributes:
        repo: an object of its own: other threads must not use it.
        fleet: the database.
        files: the rollouts.
        gates: asks commands and addresses.
        deltas: has deltas made.
        announcer: brings notices to the brokers.
        say: the log.
        wall: seconds since 1970.
        clock: seconds that only grow.
        hears: whether everything is heard that devices say. While it is not, the time is not
            watched: nothing is looked at but what a person asks for.
        every_s: the seconds between two turns of `look`, which are cheap where nothing is due.
        views: keeps what was seen, for pages; None where nobody reads them.
    """

    repo: Repository
    fleet: FleetView
    files: RolloutFiles
    gates: Gates
    deltas: DeltaMaker
    announcer: Announcer
    say: Say
    wall: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    hears: Callable[[], bool] = lambda: True
    name: str = "steering"
    every_s: float = 1.0
    views: Views | None = None
    _paces: dict[str, _Pace] = field(default_factory=dict)
    _has_lease: bool = False

    def look(self, now_s: float) -> None:
        """Look at each rollout whose turn has come; says what fails, and raises nothing of it.

        Args:
            now_s: seconds since 1970.
        """
        names = self.files.names()
        if not names or not self._hold_lease(now_s):
            return
        hears = self.hears()
        for name in names:
            pace = self._paces.setdefault(name, _Pace())
            is_due = hears and self.clock() >= pace.next_s
            if not is_due and not self.files.requests(name):
                continue
            begin_s = self.clock()
            try:
                is_calm = self.drive(name)
            except (SlotcastError, LeaseLost) as exc:
                self._say_problem(name, pace, exc)
                is_calm = isinstance(exc, LeaseLost)
            else:
                pace.problem, pace.is_announced = "", True
            taken_s = self.clock() - begin_s
            wait_s = min(LOOK_CAP_S, max(LOOK_EVERY_S, LOOK_SHARE * taken_s))
            pace.next_s = self.clock() + max(wait_s, CALM_EVERY_S if is_calm else 0.0)

    def attend(self, name: str, now_s: float) -> bool:
        """Drive one rollout now if nobody else does; gives whether this process may.

        Args:
            name: of the rollout.
            now_s: seconds since 1970.

        Raises:
            SlotcastError: what keeps it from being carried out.
        """
        if not self.fleet.hold_lease(now_s):
            return False
        self._has_lease = True
        self.drive(name)
        return True

    def close(self) -> None:
        """End: gates, deltas and pushes are ended, and the lease is let go."""
        self.gates.close()
        self.deltas.close()
        self.announcer.close()
        if self._has_lease:
            with contextlib.suppress(SlotcastError):
                self.fleet.release_lease()

    def _hold_lease(self, now_s: float) -> bool:
        try:
            has_lease = self.fleet.hold_lease(now_s)
        except SlotcastError as exc:
            self._say_problem("*", self._paces.setdefault("*", _Pace()), exc)
            return False
        if has_lease != self._has_lease:
            self._has_lease = has_lease
            self._paces.clear()  # whoever had it may have died before it announced
            self.say("steering" if has_lease else "not_steering")
        return has_lease

    def _say_problem(self, name: str, pace: _Pace, exc: Exception) -> None:
        """Say a problem once, not at each look; another command's lock is no problem."""
        text = str(exc)
        if not isinstance(exc, StateLocked | LeaseLost) and text != pace.problem:
            pace.problem = text
            reason = exc.reason if isinstance(exc, SlotcastError) else ""
            self.say("error", rollout=name, reason=reason, detail=text)

    # --- one rollout ------------------------------------------------------------------------------

    def drive(self, name: str) -> bool:
        """Look at one rollout, and carry out what that comes to; gives whether it is over.

        Raises:
            LeaseLost: another process drives the rollouts.
            StateLocked: another command holds the repository.
            SlotcastError: what keeps it from being carried out.
        """
        turn = self._look_at(name)
        try:
            signed = self._carry_out(turn)
        except _Changed:
            return False
        pace = self._paces.get(name)
        if signed is None and pace is not None and not pace.is_announced:
            signed = self._offered(turn)
        if signed is not None:
            self.announcer.announce(signed.model, payloads=signed.state == "active")
        if self.views is not None:
            seen = LookTaken(turn.seen, turn.found, turn.now, len(turn.answers))
            self.views.keep(self.repo, turn.rollout, seen)
        return turn.record.state in OVER and turn.offer is None

    def _look_at(self, name: str) -> _Turn:
        rollout = self.files.load(name)
        plan, now = rollout.plan, time_of(rollout.plan, self.wall())
        devices = self.fleet.devices(plan.model)
        seen = observe(
            self.repo,
            rollout,
            devices,
            self.gates.answers(),
            is_prepared=False,
            knows_since_s=self.fleet.knows_since_s,
            taken_over=taken_over_by(self.files, rollout, self.repo.present_offer(plan.model)),
        )
        bases, counts = bases_of(self.repo, plan, rollout.record, seen)
        version = plan.versions[rollout.record.leg]
        is_made = self.deltas.want(plan.model, version, bases)
        known = Bases(version, counts, self._hopeful(plan.model, version, bases))
        has_heard = has_heard_devices(plan, rollout.record, seen, now)
        seen = replace(seen, is_prepared=is_made and has_heard)
        record, answers, notes = self._with_requests(rollout, seen, now)
        found = look(plan, record, seen, now)
        notes += [(note, "") for note in found.notes]
        turn = _Turn(rollout, seen, now, found, answers, notes, known)
        turn.offer = next((d.offer for d in found.decisions if isinstance(d, SignOffer)), None)
        if turn.offer is None:
            turn.offer = self._with_more_said(turn)
        return turn

    def _hopeful(self, model: str, version: str, bases: Sequence[str]) -> set[int] | None:
        """Give from which releases, by their sequences, a delta may still be made."""
        found = self.deltas.hopeful(model, version, bases)
        if found is None:
            return None
        return {self.repo.store.folder(model, base).load().sequence for base in found}

    def _with_requests(
        self, rollout: Rollout, seen: Observations, now: Now
    ) -> tuple[RolloutRecord, list[AskedFor], list[tuple[LogNote, str]]]:
        """Carry requests out, in their order; what cannot be done is answered with why."""
        record, answers, notes = rollout.record, [], []
        for asked in rollout.requests:
            request, problem = asked.request, None
            is_known = request.id in record.answered
            try:
                self._check_alone(rollout, asked)
                record = carry_out(rollout.plan, record, seen, request, now)
            except Conflict as exc:
                problem = str(exc)
            answers.append(answered(asked, problem, now.wall_s))
            if not is_known:
                what = " ".join(filter(None, (request.why, request.to)))
                text = f"refused: {problem}" if problem else what
                word = _REQUEST_WORDS[request.wish]
                notes.append((LogNote(word, request.group, text), request.who))
        return record, answers, notes

    def _check_alone(self, rollout: Rollout, asked: AskedFor) -> None:
        """See, before a rollout starts, that no other of the same release is under way.

        Raises:
            Conflict: one is.
        """
        plan = rollout.plan
        if asked.request.wish is not Wish.START or rollout.record.state is not RolloutState.DRAFT:
            return
        for name in self.files.names():
            if name == plan.name:
                continue
            other = self.files.load(name)
            is_live = other.record.state not in OVER
            if is_live and (other.plan.model, other.plan.version) == (plan.model, plan.version):
                raise Conflict(f"{name} rolls {plan.model} {plan.version} out already; cancel it")

    def _with_more_said(self, turn: _Turn) -> WantedOffer | None:
        """Give what is offered now, where it can name a payload that was made since, or say that
        no delta will come for which devices wait.
        """
        plan, offer = turn.rollout.plan, turn.seen.offer
        wanted = wanted_offer(plan, turn.record, turn.seen.releases)
        if wanted is None or offer is None or wanted.state != "active" or not says(offer, wanted):
            return None
        folder = self.repo.store.folder(plan.model, offer.version)
        chosen = choose_payloads(folder, turn.bases.counts, offer.payloads)
        late = late_deltas(plan, turn.record, folder.load(), turn.bases, chosen)
        if {p.sha256 for p in chosen} - {p.sha256 for p in offer.payloads}:
            turn.added = "with payloads that were made since"
        elif offer.delta_wait_s and set(late.none_from) - set(offer.no_delta_from):
            turn.added = "with releases from which no delta comes"
        return wanted if turn.added else None

    # --- what it comes to -------------------------------------------------------------------------

    def _offered(self, turn: _Turn) -> Offer | None:
        """Give the present offer, if it is this rollout's."""
        wanted = wanted_offer(turn.rollout.plan, turn.record, turn.seen.releases)
        offer = turn.seen.offer
        return offer if offer is not None and wanted is not None and says(offer, wanted) else None

    def _carry_out(self, turn: _Turn) -> Offer | None:
        plan, signed = turn.rollout.plan, None
        is_half_signed = self.repo.is_half_signed(plan.model)
        if turn.is_new or turn.notes or turn.answers or turn.offer is not None or is_half_signed:
            with self.repo.locked(wait_s=LOCK_WAIT_S):
                self._check_unchanged(turn)
                self._decide(turn)
                signed = self._sign(turn)
        for asked in turn.answers:
            self.files.answer(plan.name, asked)
        for note, who in turn.notes:
            self._say_note(turn, note, who)
        if signed is not None:
            self._say_signed(turn, signed)
        for decision in turn.found.decisions:
            if isinstance(decision, AskGate):
                self.gates.ask(decision, _facts(turn, decision))
        return signed

    def _check_unchanged(self, turn: _Turn) -> None:
        """See that record and offer are those that were looked at.

        Raises:
            _Changed: another process, or a person's `slotcast publish`, was faster.
        """
        plan = turn.rollout.plan
        offer = self.repo.present_offer(plan.model)
        is_same = fingerprint(offer) == fingerprint(turn.seen.offer)
        if not is_same or self.files.load(plan.name).record != turn.rollout.record:
            raise _Changed

    def _decide(self, turn: _Turn) -> None:
        """Make the record durable while this process is known to hold the lease."""
        wall_s = turn.now.wall_s
        with self.fleet.deciding(self.wall()) as deciding:
            if turn.is_new:
                self.files.save_record(turn.record)
                deciding.save(turn.rollout.plan, turn.record, wall_s)
            for note, who in turn.notes:
                deciding.log(turn.rollout.plan, note, wall_s, who)
            if turn.offer is not None:
                deciding.log(turn.rollout.plan, LogNote("signed", "", _words(turn)), wall_s)

    def _sign(self, turn: _Turn) -> Offer | None:
        model = turn.rollout.plan.model
        if turn.offer is None:
            if self.repo.is_half_signed(model):
                self.repo.finish_signing(model)
                return self.repo.present_offer(model)
            return None
        folder = self.repo.store.folder(model, turn.offer.version)

        def late(payloads: Sequence[Payload]) -> LateDeltas:
            plan = turn.rollout.plan
            return late_deltas(plan, turn.record, folder.load(), turn.bases, payloads)

        offer = offer_of(
            folder,
            turn.offer,
            turn.seen.offer,
            turn.bases.counts,
            self.repo.now_s(),
            want_topic=self.repo.settings.serve.told_topic,
            late=late,
        )
        self.repo.sign(offer)
        return offer

    # --- the log --------------------------------------------------------------------------------

    def _say_note(self, turn: _Turn, note: LogNote, who: str) -> None:
        plan = turn.rollout.plan
        fields = {"group": note.group, "who": who, "detail": note.text}
        told = {key: value for key, value in fields.items() if value}
        self.say("rollout", model=plan.model, rollout=plan.name, word=note.word, **told)

    def _say_signed(self, turn: _Turn, offer: Offer) -> None:
        plan = turn.rollout.plan
        detail = _words(turn) or "what was signed when this was stopped goes out"
        self.say(
            "signed", model=plan.model, rollout=plan.name, sequence=offer.sequence, detail=detail
        )


def _words(turn: _Turn) -> str:
    """Say an offer in a line."""
    offer = turn.offer
    if offer is None:
        return ""
    groups = ", ".join(
        f"{group.name}{'' if group.percent is None else f' {group.percent:.4g} %'}"
        for group in offer.groups
        if group.state == "active"
    )
    added = f", {turn.added}" if turn.added else ""
    return f"{offer.version} {offer.state} as {offer.deployment} for {groups or 'nobody'}{added}"


def _facts(turn: _Turn, asked: AskGate) -> dict[str, str]:
    plan = turn.rollout.plan
    return {
        "model": plan.model,
        "version": plan.versions[turn.record.leg],
        "rollout": plan.name,
        "group": asked.group,
        "question": asked.question,
    }
