"""One run: a fleet, a broker that loses, delays and doubles, a `serve` that dies, and a person.

`serve` is what a shell around the engine has to be: what is durable, what is signed and what is
announced are three steps, and it may die before each. Faults end after a while; a person then lets
go on what was paused, opens gates and has failed devices try again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from slotcast_publisher.errors import Conflict
from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures
from slotcast_publisher.fleet.rollout.group_progress import look
from slotcast_publisher.fleet.rollout.look_results import (
    AskGate,
    LookOutcome,
    PrepareDeltas,
    SignOffer,
)
from slotcast_publisher.fleet.rollout.observations import (
    Answer,
    Device,
    GateAnswer,
    Now,
    Observations,
)
from slotcast_publisher.fleet.rollout.person import Request, Wish, carry_out
from slotcast_publisher.fleet.rollout.record import RolloutRecord, new_record
from slotcast_publisher.fleet.rollout.state_table import GroupState, RolloutState
from slotcast_schemas.messages.offer import Offer
from tests.fleet_simulation.draw import draw_devices, draw_plan
from tests.fleet_simulation.fleet import Said, SimDevice
from tests.fleet_simulation.watch import ENDED, Broken, Heard, Watch
from tests.support.latencies import histogram
from tests.support.rollouts import NEW, OLD, RELEASES, START_S, old_offer, sign

TICK_S: Final = 40.0
STILL_S: Final = 2500.0
"""The seconds after which nothing will move on a calm day: longer than any wait of a plan."""
DAY_S: Final = 60_000.0
"""No run is longer."""
_OLD: Final = ReleaseFigures(requests=1000, latency=histogram(0.010))
_GOOD: Final = ReleaseFigures(requests=1000, latency=histogram(0.011))
_SLOW: Final = ReleaseFigures(requests=1000, latency=histogram(0.060))
_LETS_GO_ON: Final = frozenset({Wish.RESUME, Wish.CANCEL, Wish.GO_BACK})


class Died(Exception):
    """`serve` was killed here."""


@dataclass(slots=True)
class Counts:
    """What happened in a run."""

    looks: int = 0
    offers: int = 0
    deaths: int = 0
    losses: int = 0
    old_copies: int = 0
    jumps: int = 0
    lost: int = 0
    late: int = 0
    doubled: int = 0
    vanished: int = 0
    joined: int = 0
    pauses_by_person: int = 0
    pauses_by_limit: int = 0
    doubled_requests: int = 0
    verdicts: int = 0
    finished: int = 0
    stopped: int = 0
    waiting: int = 0


@dataclass(slots=True)
class Copy:
    """An old copy of what was durable, and what the watcher knew then."""

    record: RolloutRecord
    reached_s: dict[tuple[int, str], float]


@dataclass(slots=True)
class Serve:
    """What is durable, and what is not, of the publisher's service."""

    record: RolloutRecord
    offer: Offer
    announced: Offer
    heard: dict[str, tuple[int, int, Said]] = field(default_factory=dict)
    answers: list[GateAnswer] = field(default_factory=list)
    down_until_s: float = 0.0
    prepared_s: float = float("inf")


class World:
    """One run. `run` raises what a defect raises; the seed replays it."""

    def __init__(self, seed: int, log: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self._log = log
        self.counts = Counts()
        self.now_s = 0.0
        self._offset_s = 0
        self.plan = draw_plan(self.rng)
        self._faults_s = self.rng.choice((0.0, 400.0, 1200.0))
        self.devices = draw_devices(self.rng, max(self._faults_s, 60.0))
        self._joins_s = {d.id: self._joins_at() for d in self.devices}
        self._says_again_s = {d.id: self.rng.uniform(0, 600) for d in self.devices}
        self.serve = Serve(new_record(self.plan), old_offer(), old_offer())
        self.watch = Watch(self.plan)
        self._last: dict[str, Said] = {}  # what the broker retains
        self._on_the_way: list[tuple[float, Said]] = []
        self._known: dict[str, Heard] = {}
        self._counted: frozenset[str] = frozenset()
        self._requests: list[Request] = []
        self._sent: list[Request] = []
        self._copies: list[Copy] = []
        self._saved_reached_s: dict[tuple[int, str], float] = {}
        self._resume_s = float("inf")
        self._retries = 0
        self._number = 0
        self._stands: object = None
        self._moved_s = 0.0

    def _joins_at(self) -> float:
        return 0.0 if self.rng.random() < 0.85 else self.rng.uniform(0, 2000)

    @property
    def has_faults(self) -> bool:
        """Whether this is still a bad day."""
        return self.now_s < self._faults_s

    @property
    def wall_s(self) -> int:
        """What the publisher's clock says."""
        return START_S + int(self.now_s) + self._offset_s

    def log(self, text: str) -> None:
        """Take a line of the story."""
        if self._log is not None:
            self._log(f"{self.now_s:7.0f}  {text}")

    def chance(self, share: float) -> bool:
        """Whether a fault of this likelihood happens now; never once faults are over."""
        return self.has_faults and self.rng.random() < share

    # --- the run --------------------------------------------------------------------------------

    def run(self) -> Counts:
        """Run to the end.

        Raises:
            Broken: something that must hold does not.
        """
        while self.now_s < DAY_S:
            self.now_s += TICK_S
            self._clock()
            for device in self.devices:
                self._live(device)
            self._deliver()
            self._person()
            self._serve()
            if not self.has_faults and self._is_still():
                break
        self._end()
        return self.counts

    def _is_still(self) -> bool:
        """Whether nothing moves any more: it has ended, or nothing has changed for long."""
        record = self.serve.record
        stands = (
            record.state,
            record.leg,
            record.attempt,
            [(g.state, g.percent) for g in record.groups],
        )
        if stands != self._stands:
            self._stands, self._moved_s = stands, self.now_s
        if record.state in ENDED and self.serve.offer == self.serve.announced:
            return not self._requests
        return self.now_s - max(self._moved_s, self._faults_s) > STILL_S

    def _end(self) -> None:
        state = self.serve.record.state
        self.counts.verdicts = self.watch.verdicts
        self.counts.finished += state is RolloutState.FINISHED
        self.counts.stopped += state is RolloutState.STOPPED
        self.counts.waiting += state not in ENDED
        self.counts.vanished = sum(d.gone_s[0] < self.now_s for d in self.devices)
        self.counts.joined = sum(0 < s < self.now_s for s in self._joins_s.values())
        fates = [fate for device in self.devices for fate in device.fates.values()]
        can_end = all(fate.fails_at is None or fate.recovers for fate in fates)
        if state not in ENDED and can_end and not self.plan.windows and not self._lacks_devices():
            raise Broken(f"did not end: {self.serve.record}")

    def _lacks_devices(self) -> bool:
        """Whether a group waits for devices that nobody has: that is for a person to mend."""
        found = look(self.plan, self.serve.record, self._seen(), Now(self.wall_s))
        pairs = zip(self.plan.groups, found.tallies, strict=True)
        return any(tally.reachable < planned.devices_min for planned, tally in pairs)

    def _clock(self) -> None:
        if self.chance(0.02):
            self._offset_s += self.rng.choice((-90_000, -5000, 3600, 50_000, 30_000_000))
            self.counts.jumps += 1
            self.log(f"the clock jumps to {self.wall_s}")

    # --- devices and the broker -----------------------------------------------------------------

    def _live(self, device: SimDevice) -> None:
        if self.now_s < self._joins_s[device.id]:
            return
        said = device.go_on(self.now_s)
        is_online = device.is_online(self.now_s)
        if is_online and not self.chance(0.3):
            said = device.hear(self.serve.announced, self.now_s) or said
        if self.now_s >= self._says_again_s[device.id]:
            said, self._says_again_s[device.id] = True, self.now_s + 600
        if device.id not in self._last or said:
            status = device.status()
            if is_online or device.id not in self._last:
                self._publish(status)

    def _publish(self, said: Said) -> None:
        self._last[said.device] = said
        if self.chance(0.15):
            self.counts.lost += 1
            return
        delay_s = self.rng.choice((0.0, 100.0, 700.0)) if self.chance(0.3) else 0.0
        self.counts.late += delay_s > 0
        self._on_the_way.append((self.now_s + delay_s, said))
        if self.chance(0.15):
            self.counts.doubled += 1
            self._on_the_way.append((self.now_s + delay_s + self.rng.choice((0.0, 300.0)), said))

    def _deliver(self) -> None:
        if self.now_s < self.serve.down_until_s:
            return  # a restart hears what is retained
        due = [said for at_s, said in self._on_the_way if at_s <= self.now_s]
        self._on_the_way = [item for item in self._on_the_way if item[0] > self.now_s]
        for said in due:
            self._take(said)
        for device in self.devices:  # figures and presence, now and then
            if device.is_online(self.now_s) and device.id in self.serve.heard:
                self._heard_of(device.id)

    def _take(self, said: Said) -> None:
        """What intake does: a counter that is not higher than the last changes nothing."""
        known = self.serve.heard.get(said.device)
        if known is None or said.counter > known[0]:
            self.serve.heard[said.device] = (said.counter, self.wall_s, said)
        self._heard_of(said.device)

    def _heard_of(self, name: str) -> None:
        counter, _, said = self.serve.heard[name]
        self.serve.heard[name] = (counter, self.wall_s, said)
        device = next(d for d in self.devices if d.id == name)
        self._known[name] = Heard(device.tags, said.status, self.now_s, self.wall_s)

    def _seen(self) -> Observations:
        devices = [self._device(d) for d in self.devices if d.id in self.serve.heard]
        return Observations(
            devices=devices,
            releases=RELEASES,
            offer=self.serve.offer,
            answers=tuple(self.serve.answers),
            is_prepared=self.now_s >= self.serve.prepared_s,
        )

    def _device(self, device: SimDevice) -> Device:
        _, seen_s, said = self.serve.heard[device.id]
        figures = {}
        if device.floor == NEW.sequence and any(d.fates[3].is_slow for d in self.devices):
            new = _SLOW if device.fates[3].is_slow else _GOOD
            figures = {OLD.sequence: _OLD, NEW.sequence: new}
        return Device(device.id, seen_s, True, device.tags, said.status, figures)

    # --- a person -------------------------------------------------------------------------------

    def _ask(self, wish: Wish, group: str = "") -> None:
        self._number += 1
        request = Request(id=f"q{self._number}", wish=wish, who="ada", group=group)
        self._requests.append(request)
        self._sent.append(request)
        self.log(f"a person asks to {wish} {group}")

    def _person(self) -> None:
        record = self.serve.record
        if record.state is RolloutState.DRAFT and not self._requests:
            self._ask(Wish.START)
        if self.chance(0.03):
            self._ask(self.rng.choice((Wish.PAUSE, Wish.PAUSE, Wish.RETRY, Wish.RESUME)))
        if self.chance(0.003):
            self._ask(self.rng.choice((Wish.CANCEL, Wish.GO_BACK)))
        if self.chance(0.05) and self._sent:
            self._requests.append(self.rng.choice(self._sent))
            self.counts.doubled_requests += 1
        self._look_after(record)

    def _look_after(self, record: RolloutRecord) -> None:
        """Let go on what is paused, after a while; open gates; have failed devices try again."""
        if record.state is RolloutState.PAUSED:
            if self._resume_s == float("inf"):
                self._resume_s = self.now_s + self.rng.choice((40, 400))
            if self.now_s >= self._resume_s and not self._requests:
                self._resume_s = float("inf")
                self._ask(Wish.RESUME)
        for planned, group in zip(self.plan.groups, record.groups, strict=True):
            if group.state is GroupState.AT_GATE and planned.gate.person and not self._requests:
                self._ask(Wish.OPEN_GATE, group.name)
        is_stuck = not self.has_faults and self.now_s - self._moved_s > 800
        if is_stuck and record.state is RolloutState.RUNNING and self._retries < 3:
            self._retries += 1
            self._ask(Wish.RETRY)

    # --- serve ----------------------------------------------------------------------------------

    def _serve(self) -> None:
        if self.now_s < self.serve.down_until_s:
            return
        if self.serve.down_until_s:
            self._restart()
        try:
            for _ in self._steps():
                if self.chance(0.02):
                    raise Died
        except Died:
            self.counts.deaths += 1
            # What a look saw whose record was not saved, nobody has seen.
            self.watch.reached_s = dict(self._saved_reached_s)
            self.serve.down_until_s = self.now_s + self.rng.choice((1.0, 100.0, 900.0))
            self.log(f"serve dies, until {self.serve.down_until_s:.0f}")

    def _restart(self) -> None:
        self.serve.down_until_s = 0.0
        self.log("serve starts")
        if self.chance(0.2):
            self._lose()
        for said in self._last.values():  # what is retained comes in, one after the other
            self._on_the_way.append((self.now_s + self.rng.choice((0.0, 40.0, 80.0)), said))
        self.serve.announced = self.serve.offer

    def _lose(self) -> None:
        """The database is gone, or an old copy of it is put back."""
        if self._copies and self.chance(0.5):
            copy = self.rng.choice(self._copies)
            self.serve.record, self.watch.reached_s = copy.record, dict(copy.reached_s)
            self._saved_reached_s = dict(copy.reached_s)
            self.counts.old_copies += 1
            self.log("an old copy of the database is put back")
        else:
            self.serve.record = new_record(self.plan)
            self.serve.heard.clear()
            self.counts.losses += 1
            self.log("the database is gone")
        self.watch.lost(self.serve.offer, self.serve.record)

    def _steps(self) -> Iterator[None]:
        """What one turn of the service does; it may die at each `yield`."""
        while self._requests:
            yield from self._carry_out(self._requests.pop(0))
        found = look(self.plan, self.serve.record, self._seen(), Now(self.wall_s))
        self.counts.looks += 1
        self._looked(found)
        if _percents(found.record) != _percents(self.serve.record):
            self._counted = frozenset(self.serve.heard)
        yield
        self._save(found.record)
        yield
        for decision in found.decisions:
            match decision:
                case SignOffer(wanted):
                    self._sign(sign(wanted, self.wall_s))
                    yield
                    self.serve.announced = self.serve.offer
                case AskGate():
                    self._gate(decision)
                case PrepareDeltas() if self.serve.prepared_s == float("inf"):
                    self.serve.prepared_s = self.now_s + self.rng.choice((0, 100, 1000))
            yield

    def _carry_out(self, request: Request) -> Iterator[None]:
        before = self.serve.record
        try:
            record = carry_out(self.plan, before, self._seen(), request, Now(self.wall_s))
        except Conflict as exc:
            self.log(f"refused: {exc}")
            return
        yield
        if request.id not in before.answered:
            self.counts.pauses_by_person += request.wish is Wish.PAUSE
            if request.wish in _LETS_GO_ON:
                self.watch.undone(request.id)
            if request.wish is Wish.OPEN_GATE:
                kinds = next(g.gate.kinds for g in self.plan.groups if g.name == request.group)
                self.watch.agreed |= {(record.leg, request.group, kind) for kind in kinds}
        self._save(record)
        yield

    def _looked(self, found: LookOutcome) -> None:
        slow = {d.id for d in self.devices if d.fates[3].is_slow}
        self.watch.looked(found, self.serve.offer, self._known, self.now_s, slow)
        pause = found.record.pause
        if pause is not None and pause.by == "limit" and pause != self.serve.record.pause:
            self.counts.pauses_by_limit += 1
        for note in found.notes:
            self.log(f"{note.group or '*'}: {note.word}: {note.text}")

    def _save(self, record: RolloutRecord) -> None:
        self.watch.saved(record, self.now_s)
        self.serve.record = record
        self._saved_reached_s = dict(self.watch.reached_s)
        if self.rng.random() < 0.1:
            self._copies.append(Copy(record, dict(self.watch.reached_s)))

    def _sign(self, offer: Offer) -> None:
        counted = {name: self._known[name] for name in self._counted if name in self._known}
        self.watch.signed(self.serve.offer, offer, self._known, counted, self.now_s, self.wall_s)
        self.serve.offer = offer
        self.counts.offers += 1
        groups = ", ".join(f"{g.name} {g.state} {g.percent or ''}".strip() for g in offer.groups)
        self.log(f"signed: {offer.version} {offer.state} as {offer.deployment}: {groups}")

    def _gate(self, asked: AskGate) -> None:
        answer: Answer = self.rng.choice(("yes", "yes", "yes", "not_yet", "no"))
        if answer == "yes":
            self.watch.agreed.add((self.serve.record.leg, asked.group, asked.kind))
        self.log(f"{asked.group}: {asked.kind} says {answer}")
        known = [a for a in self.serve.answers if a.question != asked.question]
        self.serve.answers = [*known[-20:], GateAnswer(asked.question, asked.kind, answer)]


def _percents(record: RolloutRecord) -> tuple[int, list[float]]:
    """Give how much of each group is let in, of which of the plan's releases."""
    return record.leg, [group.percent for group in record.groups]
