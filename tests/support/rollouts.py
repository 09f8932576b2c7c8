"""Rollouts for tests: plans, devices that say what a test wants, and a shell that carries out."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures
from slotcast_publisher.fleet.rollout.group_progress import look
from slotcast_publisher.fleet.rollout.look_results import LookOutcome, SignOffer
from slotcast_publisher.fleet.rollout.observations import (
    Device,
    GateAnswer,
    HeldRelease,
    Now,
    Observations,
)
from slotcast_publisher.fleet.rollout.offers import WantedOffer
from slotcast_publisher.fleet.rollout.person import Request, Wish, carry_out
from slotcast_publisher.fleet.rollout.plan import Plan, read_plan
from slotcast_publisher.fleet.rollout.record import RolloutRecord, new_record
from slotcast_publisher.fleet.rollout.state_table import GroupState, RolloutState
from slotcast_schemas.groups import group_of
from slotcast_schemas.messages.offer import Group, Offer
from slotcast_schemas.messages.status import ModelStatus, SlotStatus, Target
from slotcast_schemas.states import State

START_S = 1_790_000_000
OLD = HeldRelease("1.0", 1)
STONE = HeldRelease("1.5", 2)
NEW = HeldRelease("2.0", 3)
BACK = HeldRelease("1.0.post1", 4)
RELEASES = {release.version: release for release in (OLD, STONE, NEW, BACK)}

HEAD = 'model = "detector"\nversion = "2.0"\nname = "r1"\n'
CANARY = '[[groups]]\nname = "canary"\ntags = {ring = "canary"}\n'
REST = '[[groups]]\nname = "rest"\n'
TWO_GROUPS = "soak_s = 300\n" + CANARY + REST


def plan_of(text: str) -> Plan:
    """Read a plan, with what every plan must have put before it."""
    return read_plan(HEAD + text, "plan.toml")


def status_of(
    state: State,
    reason: str,
    *,
    runs: int,
    floor: int | None = None,
    target: int = NEW.sequence,
    deployment: str = "r1",
) -> ModelStatus:
    """What a device says of the model."""
    slot = SlotStatus(slot="a", version="1", sequence=runs) if runs else None
    return ModelStatus(
        model="detector",
        state=state,
        reason=reason,
        floor=runs if floor is None else floor,
        target=Target(version="2.0", sequence=target, deployment=deployment),
        active=slot,
    )


def sign(wanted: WantedOffer, issued: int) -> Offer:
    """The offer as the shell would sign it."""
    fields = msgspec.structs.asdict(wanted)
    return Offer(
        model="detector",
        release_sha256=hashlib.sha256(wanted.version.encode()).digest(),
        issued=issued,
        payloads=(),
        **fields,
    )


def old_offer() -> Offer:
    """What was offered before the rollout: the old release, to everyone."""
    return Offer(
        model="detector",
        version=OLD.version,
        sequence=OLD.sequence,
        release_sha256=bytes(32),
        issued=START_S - 1000,
        groups=(Group(name="everyone"),),
        payloads=(),
    )


class Story:
    """A rollout, its devices, and a shell that carries out what the engine decides."""

    def __init__(self, plan: Plan, devices: Sequence[Device]) -> None:
        self.plan = plan
        self.record: RolloutRecord = new_record(plan)
        self.devices = {device.id: device for device in devices}
        self.offer: Offer = old_offer()
        self.now_s = START_S
        self.signed: list[Offer] = []
        self.answers: list[GateAnswer] = []
        self.releases = dict(RELEASES)
        self.is_prepared = True
        self.knows_since_s = 0
        self.words: list[str] = []
        self._requests = 0

    @property
    def seen(self) -> Observations:
        return Observations(
            devices=tuple(self.devices.values()),
            releases=self.releases,
            offer=self.offer,
            answers=tuple(self.answers),
            is_prepared=self.is_prepared,
            knows_since_s=self.knows_since_s,
        )

    def ask(self, wish: Wish, **fields: Any) -> None:
        """Have a person ask for something."""
        self._requests += 1
        request = Request(id=fields.pop("id", f"q{self._requests}"), wish=wish, who="ada", **fields)
        self.record = carry_out(self.plan, self.record, self.seen, request, Now(self.now_s))

    def look(self, after_s: int = 60) -> LookOutcome:
        """Let time pass, look, and carry out."""
        self.now_s += after_s
        found = look(self.plan, self.record, self.seen, Now(self.now_s))
        self.record = found.record
        self.words += [note.word for note in found.notes]
        for decision in found.decisions:
            if isinstance(decision, SignOffer):
                self.offer = sign(decision.offer, self.now_s)
                self.signed.append(self.offer)
        return found

    def start(self) -> LookOutcome:
        """Start it, and look until the first group may be let in: devices are heard first."""
        self.ask(Wish.START)
        return self.looks(3)

    def let_in(self) -> list[str]:
        """The devices that may begin by the present offer, by the device's own rule."""
        return [
            device.id
            for device in self.devices.values()
            if self.offer.sequence != OLD.sequence
            and self.offer.state == "active"
            and (group := group_of(self.offer, device.id, device.tags)) is not None
            and group.state == "active"
        ]

    def say(self, name: str, status: ModelStatus) -> None:
        """Have a device say something, now."""
        device = self.devices[name]
        self.devices[name] = dataclasses.replace(device, status=status, seen_s=self.now_s)

    def commit(self, *names: str, sequence: int = NEW.sequence) -> None:
        """Have devices commit a release; without names, all that may begin."""
        for name in names or self.let_in():
            status = status_of(State.COMMITTED, "committed", runs=sequence, target=sequence)
            self.say(name, status)

    def fail(self, *names: str, reason: str = "too_slow", attempt: int = 1) -> None:
        """Have devices fail."""
        deployment = "r1" if attempt == 1 else f"r1~{attempt}"
        for name in names:
            failed = status_of(State.FAILED, reason, runs=OLD.sequence, deployment=deployment)
            self.say(name, failed)

    def report(self, name: str, new: ReleaseFigures, old: ReleaseFigures) -> None:
        """Have a device report figures of both releases."""
        figures = {OLD.sequence: old, NEW.sequence: new}
        self.devices[name] = dataclasses.replace(self.devices[name], figures=figures)

    def heard(self) -> None:
        """Have every device be heard of now."""
        for name, device in self.devices.items():
            self.devices[name] = dataclasses.replace(device, seen_s=self.now_s)

    def looks(self, count: int, after_s: int = 60) -> LookOutcome:
        """Look several times, all devices heard of in between."""
        for _ in range(count):
            self.heard()
            found = self.look(after_s)
        return found

    def state(self) -> RolloutState:
        """Where the rollout stands."""
        return self.record.state

    def states(self) -> dict[str, GroupState]:
        """Where each group stands."""
        return {group.name: group.state for group in self.record.groups}


def device(name: str, **tags: str) -> Device:
    """A device that runs the old release and is online."""
    status = status_of(State.COMMITTED, "committed", runs=1, target=1, deployment="old")
    return Device(id=name, seen_s=START_S, online=True, tags=tags, status=status)


def fleet(count: int, canaries: int = 2) -> list[Device]:
    """So many devices, the first of them canaries."""
    return [
        device(f"d{i}", ring="canary") if i < canaries else device(f"d{i}") for i in range(count)
    ]


def story(text: str = TWO_GROUPS, count: int = 12) -> Story:
    """Begin a story: a plan, and so many devices, of which two are canaries."""
    return Story(plan_of(text), fleet(count))
