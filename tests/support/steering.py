"""Steering for tests: the real engine, files and signatures, and a fleet in this process.

Time is a number here, and devices are those of `tests.fleet_simulation`: they go by the offer that
was announced last, by the device's own rule.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slotcast_publisher.fleet.database.lease import LeaseLost
from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures
from slotcast_publisher.fleet.rollout.look_results import LogNote
from slotcast_publisher.fleet.rollout.observations import Device
from slotcast_publisher.fleet.rollout.person import Wish
from slotcast_publisher.fleet.rollout.plan import Plan
from slotcast_publisher.fleet.rollout.record import RolloutRecord
from slotcast_publisher.fleet.rollout.state_table import RolloutState
from slotcast_publisher.fleet.steering import requests
from slotcast_publisher.fleet.steering.gates import Gates
from slotcast_publisher.fleet.steering.request_files import AskedFor
from slotcast_publisher.fleet.steering.rollout_files import RolloutFiles
from slotcast_publisher.fleet.steering.steering import Steering
from slotcast_publisher.repository import Repository
from slotcast_schemas.messages.offer import Offer
from tests.fleet_simulation.fleet import Fate, SimDevice

START_S = time.time()  # what was signed already must not lie in the future
TURN_S = 30
PLAN = """
model = "clf"
version = "2"
name = "r1"
soak_s = 60
unseen_s = 86400
[[groups]]
name = "canary"
percent = 20
[[groups]]
name = "everyone"
steps = [50, 100]
"""
"""A rollout of `clf` 2 in two groups."""


class Killed(BaseException):
    """Signal 9, as far as a process of its own would notice."""


@dataclass(slots=True)
class Clock:
    """The time of a test."""

    now_s: float = START_S

    def __call__(self) -> float:
        return self.now_s


@dataclass(slots=True)
class MemoryFleet:
    """The fleet's database, as far as steering knows it, shared by all that ask for the lease."""

    clock: Clock
    devices_now: Callable[[], Sequence[Device]] = tuple
    holder: str = ""
    lines: list[tuple[str, str]] = field(default_factory=list)
    saved: list[RolloutRecord] = field(default_factory=list)
    knows_since_s: int = 0

    def seen_by(self, name: str) -> FleetFor:
        """Give what one process sees."""
        return FleetFor(self, name)


@dataclass(slots=True)
class FleetFor:
    """The database as one process has it."""

    fleet: MemoryFleet
    name: str

    @property
    def knows_since_s(self) -> int:
        return self.fleet.knows_since_s

    def devices(self, model: str) -> Sequence[Device]:
        return self.fleet.devices_now()

    def hold_lease(self, now_s: float) -> bool:
        self.fleet.holder = self.fleet.holder or self.name
        return self.fleet.holder == self.name

    def release_lease(self) -> None:
        if self.fleet.holder == self.name:
            self.fleet.holder = ""

    @contextlib.contextmanager
    def deciding(self, now_s: float) -> Iterator[MemoryDeciding]:
        if self.fleet.holder != self.name:
            raise LeaseLost(f"{self.fleet.holder} drives the rollouts")
        yield MemoryDeciding(self.fleet)


@dataclass(slots=True)
class MemoryDeciding:
    """One transaction."""

    fleet: MemoryFleet

    def save(self, plan: Plan, record: RolloutRecord, at_s: int) -> None:
        self.fleet.saved.append(record)

    def log(self, plan: Plan, note: LogNote, at_s: int, who: str = "") -> None:
        self.fleet.lines.append((note.word, note.text))


@dataclass(slots=True)
class MadeDeltas:
    """Takes down which deltas are wanted; all are made unless a test says otherwise."""

    wanted: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)
    are_made: bool = True
    hopeless: set[str] = field(default_factory=set)

    def want(self, model: str, version: str, bases: Sequence[str]) -> bool:
        self.wanted.append((model, version, tuple(bases)))
        return self.are_made

    def hopeful(self, model: str, version: str, bases: Sequence[str]) -> list[str]:
        return [base for base in bases if base not in self.hopeless]

    def close(self) -> None:
        """Nothing is open."""


@dataclass(slots=True)
class Announced:
    """Takes down what is announced, and lets the test's devices hear it."""

    hear: Callable[[str], None]

    def announce(self, model: str, *, payloads: bool) -> None:
        self.hear(model)

    def close(self) -> None:
        """Nothing is open."""


class SteeredFleet:
    """A repository with `clf` 1, 2 and 3, devices that run 1, and whoever steers.

    Args:
        path: of the repository.
        count: of devices.
    """

    def __init__(self, path: Path, count: int = 20) -> None:
        self.path = path
        self.clock = Clock()
        self.fleet = MemoryFleet(self.clock, self.devices)
        self.deltas = MadeDeltas()
        self.said: list[tuple[str, dict[str, Any]]] = []
        fates = {n: Fate(fetch_s=0.0, trial_s=0.0) for n in range(1, 6)}
        self.sims = [SimDevice(f"d{n}", {}, runs=1, fates=dict(fates)) for n in range(count)]
        self.figures: dict[str, dict[int, ReleaseFigures]] = {}
        self.announced: Offer | None = None
        self.steering = self.process("first")

    def process(self, name: str, **given: Any) -> Steering:
        """Give what a process that steers has; another name is another process."""
        repo = Repository(self.path, now_s=self.clock)
        parts: dict[str, Any] = {
            "repo": repo,
            "fleet": self.fleet.seen_by(name),
            "files": RolloutFiles(self.path),
            "gates": Gates(),
            "deltas": self.deltas,
            "announcer": Announced(self.hear),
            "say": self.say,
            "wall": self.clock,
            "clock": self.clock,
        }
        return Steering(**(parts | given))

    def say(self, event: str, **fields: Any) -> None:
        """Take a line of the log."""
        self.said.append((event, fields))

    # --- devices --------------------------------------------------------------------------------

    def hear(self, model: str) -> None:
        """Have devices hear what is signed for notices."""
        self.announced = Repository(self.path, now_s=self.clock).present_offer(model)

    def live(self) -> None:
        """Have each device go by what was announced, as far as it gets."""
        for sim in self.sims:
            if self.announced is not None:
                sim.hear(self.announced, self.clock.now_s)
            for _ in range(3):
                sim.go_on(self.clock.now_s)

    def devices(self) -> Sequence[Device]:
        """Give what the database knows."""
        return [
            Device(
                sim.id,
                int(self.clock.now_s),
                True,
                sim.tags,
                sim.status().status,
                self.figures.get(sim.id, {}),
            )
            for sim in self.sims
        ]

    # --- persons --------------------------------------------------------------------------------

    @property
    def files(self) -> RolloutFiles:
        """The rollouts, as a command sees them."""
        return RolloutFiles(self.path)

    def start(self, text: str) -> AskedFor:
        """Start a rollout by a plan's text."""
        return requests.start(self.files, text.encode(), "plan.toml", "ada")[1]

    def ask(self, name: str, wish: Wish, **fields: str) -> AskedFor:
        """Have a person ask for something."""
        asked = requests.new_request(wish, "ada", **fields)
        self.files.ask(name, asked)
        return asked

    # --- time -----------------------------------------------------------------------------------

    def turn(self, steering: Steering | None = None) -> None:
        """Let time pass, devices live, and whoever steers look once."""
        self.clock.now_s += TURN_S
        self.live()
        (steering or self.steering).look(self.clock.now_s)

    def turns(self, count: int) -> None:
        """Take so many turns."""
        for _ in range(count):
            self.turn()

    def record(self, name: str) -> RolloutRecord:
        """Give a rollout's record."""
        return self.files.load(name).record

    def until(self, name: str, state: RolloutState, turns_max: int = 200) -> RolloutRecord:
        """Take turns until a rollout is in a state."""
        for _ in range(turns_max):
            if self.record(name).state is state:
                return self.record(name)
            self.turn()
        raise AssertionError(f"never {state}: {self.record(name)}\n{self.said}")


def signed_words(world: SteeredFleet) -> list[str]:
    """Give what was said of each signature."""
    return [text for word, text in world.fleet.lines if word == "signed"]
