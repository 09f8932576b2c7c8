"""A small living fleet behind the page: a real Mosquitto, `slotcast serve`, and simulated devices.

24 cameras at two sites run two models. `detector` 2.0 is slow on three of its six canaries and
raises errors on another, so its rollout pauses by itself; `counter` 1.1 is good, and is let in four
devices at a time, so that its rollout moves for a while and can be stopped on its way.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from slotcast_publisher.fleet.rollout.state_table import RolloutState
from slotcast_publisher.fleet.simulate.population import parse_tags
from slotcast_publisher.fleet.simulate.script import parse_script
from slotcast_publisher.fleet.simulate.simulation import Simulation, SimulationWanted
from slotcast_publisher.fleet.steering import requests
from slotcast_publisher.fleet.steering.rollout_files import RolloutFiles
from slotcast_schemas.messages.release import Trial
from slotcast_schemas.states import State
from tests.support import models
from tests.support.brokers import Broker
from tests.support.fleet import Publisher
from tests.support.simulated import running
from tests.support.waiting import wait_until

DEVICES: Final = 24
BAD: Final = "detector-2.0"
GOOD: Final = "counter-1.1"
FAILS: Final = "cam-03"
"""Rolls `detector` 2.0 back, with the evidence of its trial."""
STOP_S: Final = 60.0
_ENDED: Final = {State.IDLE, State.QUEUED, State.COMMITTED, State.FAILED, State.ROLLED_BACK}
_TAGS: Final = ("site=lisbon:0.5,porto:0.5", "board=rev-a:0.75,rev-b:0.25")
_CANARIES: Final = tuple(f"cam-{number:02}" for number in range(1, 7))
_TRIAL: Final = Trial(min_requests=10, deadline_s=120, max_restarts=1000, max_latency_ratio=None)
_SCRIPT: Final = f"""
[device]
metrics_interval_s = 1
[application]
requests_per_s = 20
latency_s = 0.012
load_s = 0.05
report_s = 0.5
[[releases]]
models = ["detector"]
versions = ["2.0"]
ids = ["cam-01", "cam-02", "cam-04"]
latency_factor = 2.5
[[releases]]
models = ["detector"]
versions = ["2.0"]
ids = ["{FAILS}"]
error_share = 0.4
"""
_BAD_PLAN: Final = f"""
model = "detector"
version = "2.0"
name = "{BAD}"
soak_s = 600
listen_s = 2
[[groups]]
name = "canary"
ids = {list(_CANARIES)}
[[groups]]
name = "everyone"
steps = [50, 100]
"""
_GOOD_PLAN: Final = f"""
model = "counter"
version = "1.1"
name = "{GOOD}"
soak_s = 1
listen_s = 2
max_under_way = 4
[[groups]]
name = "everyone"
"""


class PageStory:
    """The fleet, as it goes on behind the page.

    Args:
        folder: for the repository.
        broker: where devices connect to.
    """

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.publisher = Publisher.make(folder / "repo", broker.url, prefix=folder.name)
        self._log = folder / "serve.log"
        for number, (model, version) in enumerate(
            (("detector", "1.0"), ("detector", "2.0"), ("counter", "1.0"), ("counter", "1.1"))
        ):
            data = {"model.onnx": models.classifier(70 + number, hidden=64)}
            self.publisher.release(model, version, data, trial=_TRIAL)
        wanted = SimulationWanted(
            count=DEVICES,
            prefix="cam",
            tags=parse_tags(list(_TAGS)),
            script=parse_script(_SCRIPT.encode(), "script"),
        )
        self.simulation = Simulation(self.publisher.repo, wanted)

    @property
    def files(self) -> RolloutFiles:
        """The rollouts."""
        return RolloutFiles(self.publisher.path)

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        """Run devices and `slotcast serve`, until all devices run the old releases and longer."""
        for model in ("detector", "counter"):
            self.publisher.publish(model, "1.0")
        with running(self.simulation, stop_max_s=STOP_S), self._served():
            self.wait_for("detector", "1.0", DEVICES)
            self.wait_for("counter", "1.0", DEVICES)
            yield

    def start_bad(self) -> None:
        """Start the rollout that pauses by itself."""
        requests.start(self.files, _BAD_PLAN.encode(), "plan.toml", "olga")

    def start_good(self) -> None:
        """Start the rollout that goes on, four devices at a time."""
        requests.start(self.files, _GOOD_PLAN.encode(), "plan.toml", "olga")

    def state(self, name: str) -> RolloutState:
        """Give a rollout's state, as `serve` wrote it last."""
        return self.files.load(name).record.state

    def wait_for_state(self, name: str, state: RolloutState) -> None:
        """Wait until a rollout is in a state."""
        self.wait_until(lambda: self.state(name) is state, f"{name} is {state.name}")

    def running(self, model: str, version: str) -> int:
        """Give how many devices run a release."""
        point = self.simulation.present
        return 0 if point is None else dict(point.versions.get(model, {})).get(version, 0)

    def wait_for(self, model: str, version: str, count: int) -> None:
        """Wait until so many devices run a release."""
        self.wait_until(
            lambda: self.running(model, version) >= count, f"{model} {version} on {count} devices"
        )

    def wait_until_nobody_is_under_way(self, model: str) -> None:
        """Wait until each device has ended what it had begun, one way or the other."""
        under_way = {each.value for each in State} - {each.value for each in _ENDED}

        def is_calm() -> bool:
            point = self.simulation.present
            return point is not None and not under_way & set(point.states.get(model, {}))

        self.wait_until(is_calm, f"nobody is under way with {model}")

    def wait_for_looks(self, name: str, count: int) -> None:
        """Wait until `serve` has looked at a rollout so many times more."""
        seen = {self.files.load(name).record.looked_s}

        def has_looked() -> bool:
            seen.add(self.files.load(name).record.looked_s)
            return len(seen) > count

        self.wait_until(has_looked, f"{count} looks at {name}")

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something; where it does not come, the end of serve's log is shown.

        Raises:
            AssertionError: it did not come.
        """
        try:
            wait_until(condition, what, every_s=0.1)
        except AssertionError as exc:
            raise AssertionError(f"{exc}\n{self._log.read_text()[-4000:]}") from exc

    @contextlib.contextmanager
    def _served(self) -> Iterator[None]:
        with self._log.open("ab") as log:
            serve = subprocess.Popen(
                [
                    *(sys.executable, "-m", "slotcast_publisher", "serve"),
                    *(str(self.publisher.path), "--no-page"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            yield
        finally:
            serve.terminate()
            serve.wait(STOP_S)
