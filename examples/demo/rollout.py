"""Act 5: a fleet of 20 simulated devices, and a rollout that stops by itself.

The release passes the probe and its trial on every device. In the application's hands it is slow
on two of the five canaries, which only their live figures say.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Final

import numpy as np

from examples.demo.digits import write_onnx
from examples.demo.show import NotObserved
from examples.demo.stage import Stage
from slotcast_publisher.delivery.publish import publish
from slotcast_publisher.fleet.rollout.record import RolloutRecord
from slotcast_publisher.fleet.rollout.state_table import RolloutState
from slotcast_publisher.fleet.simulate.population import parse_tags
from slotcast_publisher.fleet.simulate.script import parse_script
from slotcast_publisher.fleet.simulate.simulation import Simulation, SimulationWanted
from slotcast_publisher.fleet.steering.rollout_files import RolloutFiles
from slotcast_publisher.release.payloads import FullBuilder
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_schemas.messages.release import Trial

FLEET_MODEL: Final = "meter"
DEVICES: Final = 20
WAIT_S: Final = 40.0
_STOP_S: Final = 10.0
NAME: Final = "meter-2.0"
SCRIPT: Final = b"""
[device]
metrics_interval_s = 1
[application]
requests_per_s = 40
report_s = 0.5
load_s = 0.05
[[releases]]
versions = ["2.0"]
tags = { ring = "canary" }
share = 0.4
latency_factor = 6
"""
PLAN: Final = f"""format = 1
model = "{FLEET_MODEL}"
version = "2.0"
name = "{NAME}"
soak_s = 60
listen_s = 2

[[groups]]
name = "canary"
tags = {{ ring = "canary" }}

[[groups]]
name = "everyone"
"""


def play(stage: Stage) -> None:
    """Run a fleet, roll a release out to it that is bad on some devices, and see it stop.

    Raises:
        NotObserved: it did not stop, or somebody else fetched the release.
    """
    show = stage.show
    show.act(5, "A fleet of 20; a rollout stops by itself")
    for seed, version in ((1, "1.0"), (2, "2.0")):
        _release(stage, seed, version)
    publish(stage.repo, FLEET_MODEL, "1.0").all_done()
    with _serving(stage), _devices(stage) as fleet:
        show.command(f"slotcast simulate repo --devices {DEVICES} --tag ring=canary:0.25,rest:0.75")
        stage.until(lambda: fleet.all_run(FLEET_MODEL, "1.0"), "1.0 on every device", WAIT_S)
        show.check(True, f"{DEVICES} simulated devices, each with its connection, run 1.0")
        before = {device.device: _chunks(device.messages) for device in fleet.result().devices}
        _start(stage)
        record = _wait_for_pause(stage)
        show.check(
            record.pause is not None and record.pause.by == "limit",
            f"the rollout paused itself: {'' if record.pause is None else record.pause.why}",
        )
        _check_who_fetched(stage, fleet, before)
        show.command(f"slotcast rollout status repo {NAME}")
        for line in _command("status", str(stage.repo.path), NAME, "--once").splitlines():
            show.say(line)


def _release(stage: Stage, seed: int, version: str) -> None:
    rng = np.random.default_rng(seed)
    shapes = ((64, 16), (16, 10))
    layers = [
        (rng.standard_normal(shape).astype(np.float32), np.zeros(shape[1], np.float32))
        for shape in shapes
    ]
    folder = stage.folder / "work" / FLEET_MODEL / version
    folder.mkdir(parents=True)
    (folder / "meter.onnx").write_bytes(write_onnx(layers))
    request = ReleaseRequest(
        model=FLEET_MODEL,
        version=version,
        files=(folder / "meter.onnx",),
        trial=Trial(min_requests=5, max_latency_ratio=None),
        is_probed=False,
    )
    stage.repo.build_release(request, builders=(FullBuilder(),))


@contextlib.contextmanager
def _serving(stage: Stage) -> Iterator[None]:
    """Run `slotcast serve`, which watches the fleet and drives rollouts."""
    stage.show.command("slotcast serve repo")
    with (stage.folder / "serve.log").open("ab") as log:
        serve = subprocess.Popen(
            [sys.executable, "-m", "slotcast_publisher", "serve", str(stage.repo.path)],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield
    finally:
        serve.terminate()
        try:
            serve.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            serve.kill()
            serve.wait()


@contextlib.contextmanager
def _devices(stage: Stage) -> Iterator[Simulation]:
    """Run the devices in a thread."""
    wanted = SimulationWanted(
        count=DEVICES,
        tags=parse_tags(["ring=canary:0.25,rest:0.75"]),
        models=(FLEET_MODEL,),
        script=parse_script(SCRIPT, "script"),
    )
    simulation = Simulation(stage.repo, wanted)
    thread = threading.Thread(target=simulation.run, name="devices")
    thread.start()
    try:
        yield simulation
    finally:
        simulation.stop()
        thread.join()


def _start(stage: Stage) -> None:
    plan = stage.folder / "plan.toml"
    plan.write_text(PLAN)
    stage.show.command("slotcast rollout start repo plan.toml")
    _command("start", str(stage.repo.path), str(plan))
    stage.show.say("5 canaries first; 2.0 is 6 times slower on 2 of them, as no probe can see")


def _command(*arguments: str) -> str:
    """Run `slotcast rollout`; gives what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "slotcast_publisher", "rollout", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NotObserved(f"slotcast rollout {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def _record(stage: Stage) -> RolloutRecord:
    return RolloutFiles(stage.repo.path).load(NAME).record


def _wait_for_pause(stage: Stage) -> RolloutRecord:
    stage.until(lambda: _record(stage).state is RolloutState.PAUSED, "a pause", WAIT_S)
    return _record(stage)


def _chunks(messages: dict[str, int]) -> int:
    return messages.get("chunk", 0)


def _check_who_fetched(stage: Stage, fleet: Simulation, before: dict[str, int]) -> None:
    """Count who took chunks since, by what came over each connection."""
    fetched = {
        device.device: device.tags["ring"]
        for device in fleet.result().devices
        if _chunks(device.messages) > before[device.device]
    }
    stage.show.check(
        list(fetched.values()) == ["canary"] * 5,
        f"the {len(fetched)} canaries alone fetched 2.0; no chunk of it went to the other"
        f" {DEVICES - len(fetched)}",
    )
