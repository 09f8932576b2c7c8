"""The canary story with real processes: simulated devices, Mosquitto, and `slotcast serve`.

Whoever tells it may kill what serves at any moment; `python -m tests.support.canary_story` tells it
with more devices, and with kills (`--devices 200 --percent 5 --kills 20`): exactly so many, each
while something was waited for, or it fails.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from slotcast_publisher.fleet.database.database import FILE_NAME, open_database
from slotcast_publisher.fleet.database.rollouts import LogLine, log_of
from slotcast_publisher.fleet.rollout.person import Wish
from slotcast_publisher.fleet.rollout.record import RolloutRecord
from slotcast_publisher.fleet.rollout.state_table import RolloutState
from slotcast_publisher.fleet.simulate.population import parse_tags
from slotcast_publisher.fleet.simulate.script import parse_script
from slotcast_publisher.fleet.simulate.simulation import Simulation, SimulationWanted
from slotcast_publisher.fleet.steering import requests
from slotcast_publisher.fleet.steering.rollout_files import RolloutFiles
from slotcast_schemas.groups import place
from slotcast_schemas.messages.release import Trial
from tests.support import models
from tests.support.brokers import Broker, mosquitto
from tests.support.fleet import Publisher
from tests.support.postgresql import postgresql
from tests.support.simulated import running
from tests.support.waiting import WAIT_S

PATIENCE_S: Final = 1_200.0
"""How long anything may take before it is called missing; not a measure of speed."""
_KILL_GAP_S: Final = (1.0, 8.0)
"""The bounds in seconds of the random time between two kills: what was killed has mostly begun to
work again, and not always."""
_MORE_ROLLOUTS_MAX: Final = 10
"""The most rollouts that follow the story where kills are left at its end."""
_TRIAL: Final = Trial(min_requests=20, deadline_s=120, max_restarts=1000, max_latency_ratio=None)
_SENDING: Final = re.compile(r"Sending PUBLISH to (\S+) [^'\n]*'([^'\n]+)'")
_SCRIPT: Final = """
[device]
metrics_interval_s = 2
keepalive_s = 30
reconnect_first_s = 0.05
reconnect_cap_s = 1
[application]
requests_per_s = 20
load_s = 0.05
report_s = 0.5
[[releases]]
versions = ["2.0"]
ids = {bad}
latency_factor = 2.5
"""
_PLAN: Final = """
model = "clf"
version = "{version}"
name = "{name}"
salt = "{salt}"
soak_s = {soak_s}
listen_s = 4
[limits]
max_silent_share_rise = "none"
[[groups]]
name = "canary"
percent = {percent}
[[groups]]
name = "everyone"
steps = [50, 100]
"""


class Serves:
    """`slotcast serve`, one process or several, to be killed.

    Args:
        repo: the repository.
        count: how many at once.
        folder: for their logs.
        database: URL; `fleet.db` unless given.
    """

    def __init__(self, repo: Path, count: int, folder: Path, database: str | None = None) -> None:
        self._repo = repo
        self._folder = folder
        self._more = [] if database is None else ["--database", database]
        self._processes = [self._started(number) for number in range(count)]
        self.kills = 0

    def _started(self, number: int) -> subprocess.Popen[bytes]:
        with (self._folder / f"serve-{number}.log").open("ab") as log:
            return subprocess.Popen(
                [
                    *(sys.executable, "-m", "slotcast_publisher", "serve"),
                    *(str(self._repo), "--json", *self._more),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill_and_start(self, number: int) -> None:
        """Kill one with signal 9, and start another in its place."""
        self._processes[number].kill()
        self._processes[number].wait()
        self.kills += 1
        self._processes[number] = self._started(number)

    def close(self) -> None:
        """End all of them in order."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(WAIT_S)

    def log(self) -> str:
        """What all of them have logged."""
        return "\n".join(path.read_text() for path in sorted(self._folder.glob("serve-*.log")))


class CanaryStory:
    """A release whose probe passes and which is slow on a third of the canaries, and one mended.

    Args:
        folder: for everything.
        broker: logs each message that it delivers.
        count: of devices.
        percent: of them, the canaries.
        kills: how often what serves is killed; more rollouts follow until it was that often.
        serves: how many processes serve at once.
        database: URL; `fleet.db` unless given.
        seed: chooses when it is killed.
    """

    def __init__(
        self,
        folder: Path,
        broker: Broker,
        *,
        count: int = 40,
        percent: float = 30.0,
        kills: int = 0,
        serves: int = 1,
        database: str | None = None,
        seed: int = 1,
    ) -> None:
        self.broker = broker
        self.publisher = Publisher.make(folder / "repo", broker.url, prefix="story")
        self.repo = self.publisher.repo
        self.percent = percent
        self.kills = kills
        self.killed = 0
        self.finished: list[str] = []
        self.database = database or str(folder / "repo" / FILE_NAME)
        self._folder = folder
        self._serves = serves
        self._url = database
        self._rng = random.Random(seed)
        for number, version in enumerate(("1.0", "2.0")):
            self._release(version, number)
        self.simulated = SimulationWanted(
            count=count, tags=parse_tags(["board=rev-a:0.7,rev-b:0.3"]), models=("clf",)
        )
        ids = Simulation(self.repo, self.simulated).ids
        self.salt, self.canaries = _with_so_many_canaries(ids, percent)
        bad = sorted(self.canaries)[: round(len(self.canaries) / 3)]
        script = parse_script(_SCRIPT.format(bad=json.dumps(bad)).encode(), "script")
        self.simulated = SimulationWanted(
            count=count, tags=self.simulated.tags, models=("clf",), script=script
        )
        self.bad = set(bad)

    def _release(self, version: str, number: int) -> None:
        data = {"model.onnx": models.classifier(60 + number, hidden=512)}
        self.publisher.release("clf", version, data, trial=_TRIAL)

    # --- telling --------------------------------------------------------------------------------

    def tell(self) -> None:
        """Tell all of it; raises where it goes another way."""
        self.publisher.publish("clf", "1.0")
        with (
            running(Simulation(self.repo, self.simulated), stop_max_s=PATIENCE_S) as simulation,
            self._served() as serves,
        ):
            self.until(lambda: simulation.all_run("clf", "1.0"), "1.0 everywhere")
            self._start("bad", "2.0", soak_s=600)
            self.until(lambda: self.record("bad").state is RolloutState.PAUSED, "a pause", serves)
            self._check_paused()
            mark = len(self.broker.log())
            old = self._go_back()
            self.until(lambda: not self._running(simulation, "2.0"), "the old model", serves)
            self._check_gone_back(old, mark)
            self._roll_out(simulation, serves)
            while serves.kills < self.kills and len(self.finished) <= _MORE_ROLLOUTS_MAX:
                self._roll_out(simulation, serves)
            self.killed = serves.kills
        self.check_signed_once()
        assert self.killed == self.kills, f"killed {self.killed} times of {self.kills}"

    def _roll_out(self, simulation: Simulation, serves: Serves) -> None:
        """Release a version that is good, and bring it to all."""
        number = len(self.finished) + 1
        name, version = f"good-{number}", f"2.{number}"
        self._release(version, 1 + number)
        self._start(name, version, soak_s=2)
        self.until(lambda: simulation.all_run("clf", version), f"{version} everywhere", serves)
        self.until(lambda: self.record(name).state is RolloutState.FINISHED, "an end", serves)
        self.finished.append(name)

    def _start(self, name: str, version: str, *, soak_s: float) -> None:
        text = _PLAN.format(
            version=version, name=name, percent=self.percent, soak_s=soak_s, salt=self.salt
        )
        requests.start(self.files, text.encode(), "plan.toml", "ada")

    def _go_back(self) -> str:
        """As `slotcast rollout go-back` does: the old content under a new sequence."""
        from slotcast_publisher.fleet.steering.way_back import release_way_back

        version = release_way_back(self.repo, self.files.load("bad").plan)
        self.files.ask("bad", requests.new_request(Wish.GO_BACK, "ada", to=version))
        return version

    def _check_paused(self) -> None:
        pause = self.record("bad").pause
        assert pause is not None
        assert pause.by == "limit", pause
        assert "max_latency_p" in pause.why, pause.why
        assert "ratio in canary" in pause.why, pause.why
        assert "by themselves" in pause.why, pause.why
        fetched = self.fetched("2.0")
        assert fetched, "nobody fetched anything"
        assert fetched <= self.canaries, f"outside the group: {fetched - self.canaries}"

    def _check_gone_back(self, old: str, mark: int) -> None:
        assert self.fetched("2.0") <= self.canaries
        again = self.fetched(old, mark)
        assert not again, f"the old content was on their disks, and yet fetched: {again}"
        offer = self.repo.present_offer("clf")
        assert offer is not None
        assert (offer.version, offer.deployment) == (old, "bad.back")

    def check_signed_once(self) -> None:
        """Hold each offer that was signed to its step: none twice."""
        for name in ("bad", *self.finished):
            steps = Counter(line.text for line in self.log(name) if line.word == "signed")
            assert steps, name
            assert max(steps.values()) == 1, steps

    # --- looking --------------------------------------------------------------------------------

    @property
    def files(self) -> RolloutFiles:
        """The rollouts."""
        return RolloutFiles(self.repo.path)

    def record(self, name: str) -> RolloutRecord:
        """Give a rollout's record."""
        return self.files.load(name).record

    def log(self, name: str) -> Sequence[LogLine]:
        """Give a rollout's log."""
        with open_database(self.database) as database, database.reading() as connection:
            return log_of(connection, name, 1000)

    def fetched(self, version: str, since: int = 0) -> set[str]:
        """Name the devices that the broker has sent a byte of a release to, by its own log.

        Args:
            version: of the release.
            since: so many characters of the log are from before.
        """
        folder = self.repo.store.folder("clf", version)
        digests = {record.payload.sha256.hex() for record in folder.payloads()}
        sent = _SENDING.findall(self.broker.log()[since:])
        return {
            client.removeprefix("slotcast-")
            for client, topic in sent
            if any(digest in topic for digest in digests)
        } & set(self.ids)

    @property
    def ids(self) -> Sequence[str]:
        """The devices."""
        return Simulation(self.repo, self.simulated).ids

    def _running(self, simulation: Simulation, version: str) -> int:
        point = simulation.present
        return 1 if point is None else dict(point.versions.get("clf", {})).get(version, 0)

    # --- time and processes ---------------------------------------------------------------------

    def until(self, condition: Callable[[], bool], what: str, serves: Serves | None = None) -> None:
        """Wait for something, and kill what serves now and then as long as kills are left."""
        deadline_s = time.monotonic() + PATIENCE_S
        kill_s = time.monotonic() + self._rng.uniform(*_KILL_GAP_S)
        pause = threading.Event()
        while not condition():
            if time.monotonic() > deadline_s:
                log = "" if serves is None else serves.log()[-6000:]
                raise AssertionError(f"never: {what}\n{log}")
            if serves is not None and self.kills > serves.kills and time.monotonic() > kill_s:
                serves.kill_and_start(self._rng.randrange(self._serves))
                kill_s = time.monotonic() + self._rng.uniform(*_KILL_GAP_S)
            pause.wait(0.2)

    @contextlib.contextmanager
    def _served(self) -> Iterator[Serves]:
        serves = Serves(self.repo.path, self._serves, self._folder, self._url)
        try:
            yield serves
        finally:
            serves.close()


def _with_so_many_canaries(ids: Sequence[str], percent: float) -> tuple[str, set[str]]:
    """Choose a salt by which the canaries are as many as the percent says, and name them."""
    wanted = round(len(ids) * percent / 100)
    for number in range(10_000):
        found = {one for one in ids if place(one, f"{number}/canary") < percent}
        if len(found) == wanted:
            return str(number), found
    raise AssertionError(f"no salt gives {wanted} canaries")


def main() -> int:
    """Tell it as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.canary_story")
    parser.add_argument("--devices", type=int, default=40)
    parser.add_argument("--percent", type=float, default=30.0)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--serves", type=int, default=1)
    parser.add_argument("--postgresql", action="store_true", help="one of its own")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        broker = stack.enter_context(mosquitto(extra=["log_type all"]))
        database = stack.enter_context(postgresql()) if given.postgresql else None
        story = CanaryStory(
            Path(folder),
            broker,
            count=given.devices,
            percent=given.percent,
            kills=given.kills,
            serves=given.serves,
            database=database,
            seed=given.seed,
        )
        start_s = time.monotonic()
        story.tell()
        sys.stdout.write(
            f"{given.devices} devices, {len(story.canaries)} canaries, {len(story.bad)} slow;"
            f" {story.killed} kills, {len(story.finished)} good rollouts, {given.serves} serve"
            f"{' on PostgreSQL' if database else ''}: {time.monotonic() - start_s:.0f} s\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
