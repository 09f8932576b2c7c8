"""What 50 viewers that watch live cost the intake: its speed beside them, to its speed alone.

One intake writes prepared messages into SQLite as fast as it goes, in turns with and without 50
streams of events that are open at a page of another process, as `slotcast serve` starts it. The
turns alternate within one run, so that a machine that slows down slows both.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from benchmarks.fleet_messages import said_in_a_minute
from benchmarks.report import CannotRun, Figure, Options
from slotcast_publisher.fleet.access.audit import Actor
from slotcast_publisher.fleet.access.roles import Permission
from slotcast_publisher.fleet.access.tokens import Tokens
from slotcast_publisher.fleet.database.database import FILE_NAME, Database, open_database
from slotcast_publisher.fleet.intake.intake import Intake, IntakeBounds
from slotcast_publisher.repository import Repository
from slotcast_publisher.serve.companion import Heard
from slotcast_schemas.topics import Topics

VIEWERS: Final = 50
DEVICES: Final = 5_000
QUICK_DEVICES: Final = 500
TURNS: Final = 6
"""So many turns of each kind; the median of their ratios counts."""
QUICK_TURNS: Final = 2
RATIO_MIN: Final = 0.9


def run(options: Options) -> list[Figure]:
    """Measure the intake with and without viewers, turn by turn."""
    devices = QUICK_DEVICES if options.quick else DEVICES
    turns = QUICK_TURNS if options.quick else TURNS
    path = options.work / "viewers"
    repo = Repository.init(path)
    with open_database(path / FILE_NAME) as database, _page(path) as url:
        speeds = _speeds(options, database, repo.topics, url, devices, turns)
    alone, beside = zip(*speeds, strict=True)
    ratios = sorted(b / a for a, b in speeds)
    ratio = ratios[len(ratios) // 2]
    note = f"{sum(beside) / turns:.0f} messages/s beside them, {sum(alone) / turns:.0f} alone"
    name = f"intake beside {VIEWERS} live viewers to the intake alone"
    return [Figure(name, ratio, "ratio", RATIO_MIN, ">=", note=f"{note}; median of {turns} turns")]


def _speeds(
    options: Options, database: Database, topics: Topics, url: str, devices: int, turns: int
) -> list[tuple[float, float]]:
    """Give messages a second without and with viewers, for each turn."""
    tokens = Tokens(database, time.time)
    scope = frozenset({Permission.SEE})
    _, token = tokens.make("viewers", scope, 1, Actor("bench", "command"))
    minute, speeds = 0, []
    _take(database, topics, devices, minute)  # the first time each device is new
    for turn in range(turns):
        options.say(f"viewers: turn {turn + 1} of {turns}")
        alone = _take(database, topics, devices, minute := minute + 1)
        with _watching(url, token):
            beside = _take(database, topics, devices, minute := minute + 1)
        speeds.append((alone, beside))
    return speeds


def _take(database: Database, topics: Topics, devices: int, minute: int) -> float:
    """Have an intake write what all devices say in a minute; gives messages a second."""
    start_s = int(time.time()) - 86_400
    messages = list(said_in_a_minute(topics, devices, minute, start_s))
    intake = Intake(database, topics, lambda event, **_: None, IntakeBounds())
    stop = threading.Event()
    thread = threading.Thread(target=intake.run, args=(stop,))
    began_s = time.perf_counter()
    thread.start()
    for topic, data in messages:
        intake.take(Heard(topic, data, False, float(start_s + (minute + 1) * 60), "broker"))
    stop.set()
    thread.join()
    return len(messages) / (time.perf_counter() - began_s)


# --- the page, and who looks at it ----------------------------------------------------------------


@contextmanager
def _page(repo: Path) -> Iterator[str]:
    """Run the page as a process of its own, and give its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.page_process", str(repo)],
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
    """Have so many viewers read streams of events, in a process of their own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.page_process", "--watch", url, str(VIEWERS)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    with ExitStack() as stack:
        stack.callback(process.wait)
        stack.callback(process.terminate)
        if process.stdin is None or process.stdout is None:
            raise CannotRun("the viewers have no input or output")
        process.stdin.write(token + "\n")
        process.stdin.flush()
        if process.stdout.readline().strip() != "watching":
            raise CannotRun("the viewers could not watch")
        yield
