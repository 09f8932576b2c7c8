"""What 50 viewers that watch live cost the intake: its speed beside them, to its speed alone.

One intake writes prepared messages as fast as it goes, in turns with and without 50 viewers of a
page of another process, as `slotcast serve` starts it; they watch different screens of a large
fleet. The two kinds of turns alternate within a run, so that a machine that slows down slows both.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from benchmarks.fleet_messages import said_in_a_minute
from benchmarks.page_world import CLOSELY, World
from benchmarks.processor import server_cpu_s
from benchmarks.report import CannotRun, Figure, Options
from slotcast_publisher.fleet.access.audit import Actor
from slotcast_publisher.fleet.access.roles import Permission
from slotcast_publisher.fleet.access.tokens import Tokens
from slotcast_publisher.fleet.intake.intake import Intake, IntakeBounds
from slotcast_publisher.serve.companion import Heard
from tests.support.large_fleet import ROLLOUT

WATCHED: Final = {
    "/live": 15,
    f"/live/rollouts/{ROLLOUT}": 10,
    "/live/devices": 5,
    "/live/devices?state=FAILED": 5,
    "/live/devices?q=site%3Dplant-12": 5,
    f"/live/devices/{CLOSELY}": 5,
    "/api/v1/events/stream": 5,
}
"""What is watched, and by how many."""
VIEWERS: Final = sum(WATCHED.values())
DEVICES: Final = 5_000
"""So many devices say something while it is measured."""
QUICK_DEVICES: Final = 500
TURNS: Final = 6
"""So many turns of each kind; the median of their ratios counts."""
QUICK_TURNS: Final = 2
RATIO_MIN: Final = 0.9


@dataclass(frozen=True, slots=True)
class Turn:
    """What a turn came to.

    Attributes:
        rate: messages a second.
        cpu_us: processor time for a message, of the intake and the database's server.
    """

    rate: float
    cpu_us: float


def run(options: Options, kind: str, world: World) -> list[Figure]:
    """Measure the intake with and without viewers, turn by turn.

    Args:
        options: how many turns.
        kind: of the database, for people.
        world: with the database; rows of more devices are added to it.
    """
    devices = QUICK_DEVICES if options.quick else DEVICES
    turns = QUICK_TURNS if options.quick else TURNS
    alone, beside = _turns(options, world, devices, turns)
    ratio = statistics.median(b.rate / a.rate for a, b in zip(alone, beside, strict=True))
    name = f"{kind}: intake beside {VIEWERS} viewers"
    note = f"median of {turns} turns; alone {_rate(alone):.0f} messages/s, beside them"
    return [
        Figure(
            f"{name}, to the intake alone",
            ratio,
            "times as fast",
            RATIO_MIN,
            ">=",
            note=f"{note} {_rate(beside):.0f}",
        ),
        Figure(
            f"{name}, processor time",
            statistics.median(turn.cpu_us for turn in beside),
            "us/message",
            note=f"alone {statistics.median(turn.cpu_us for turn in alone):.0f}",
        ),
    ]


def _rate(turns: Sequence[Turn]) -> float:
    return statistics.median(turn.rate for turn in turns)


def _turns(
    options: Options, world: World, devices: int, turns: int
) -> tuple[list[Turn], list[Turn]]:
    """Give turns without viewers, and those beside them; which comes first alternates."""
    tokens = Tokens(world.database, time.time)
    scope = frozenset({Permission.SEE})
    _, token = tokens.make("viewers", scope, 1, Actor("bench", "command"))
    alone: list[Turn] = []
    beside: list[Turn] = []
    _take(world, devices, 0)  # the first time each device is new
    with _page(world) as url:
        for turn in range(turns):
            options.say(f"viewers: turn {turn + 1} of {turns}")
            for has_viewers in (False, True) if turn % 2 else (True, False):
                minute = len(alone) + len(beside) + 1
                if has_viewers:
                    with _watching(url, token):
                        beside.append(_take(world, devices, minute))
                else:
                    alone.append(_take(world, devices, minute))
    return alone, beside


def _take(world: World, devices: int, minute: int) -> Turn:
    """Have an intake write what some devices say in a minute."""
    topics = world.page.context.repo.topics
    start_s = world.now_s - 86_400
    messages = list(said_in_a_minute(topics, devices, minute, start_s))
    intake = Intake(world.database, topics, lambda event, **_: None, IntakeBounds(full_wait_s=60.0))
    stop = threading.Event()
    thread = threading.Thread(target=intake.run, args=(stop,))
    began_cpu_s = time.process_time() + server_cpu_s(world.database)
    began_s = time.perf_counter()
    thread.start()
    for topic, data in messages:
        intake.take(Heard(topic, data, False, float(start_s + (minute + 1) * 60), "broker"))
    stop.set()
    thread.join()
    taken_s = time.perf_counter() - began_s
    used_s = time.process_time() + server_cpu_s(world.database) - began_cpu_s
    if intake.taken != len(messages):
        raise CannotRun(f"{intake.taken} of {len(messages)} messages were taken: {intake.dropped}")
    return Turn(len(messages) / taken_s, 1e6 * used_s / len(messages))


# --- the page, and who looks at it ----------------------------------------------------------------


@contextmanager
def _page(world: World) -> Iterator[str]:
    """Run the page as a process of its own, and give its address."""
    named = [] if world.url is None else [world.url]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.page_process", str(world.path), *named],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        if process.stdout is None:
            raise CannotRun("the page has no output")
        url: str = json.loads(process.stdout.readline() or "{}").get("url", "")
        if not url:
            raise CannotRun("the page did not start")
        yield url
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _watching(url: str, token: str) -> Iterator[None]:
    """Have so many viewers watch, in a process of their own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.page_process", "--watch"],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    paths = [path for path, viewers in WATCHED.items() for _ in range(viewers)]
    with ExitStack() as stack:
        stack.callback(process.wait)
        stack.callback(process.terminate)
        if process.stdin is None or process.stdout is None:
            raise CannotRun("the viewers have no input or output")
        process.stdin.write(json.dumps({"url": url, "token": token, "paths": paths}) + "\n")
        process.stdin.flush()
        if process.stdout.readline().strip() != "watching":
            raise CannotRun("the viewers could not watch")
        yield
