"""A fleet to look at on a machine that has nothing: two rollouts, of which one stops.

`meter` 1.1 is good, and is let in a few devices at a time. `detector` 2.0 passes every probe and
every trial, and is slow on some of the canaries as their live figures say, so that its rollout
pauses by itself and waits for whoever looks at it.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from slotcast_publisher.delivery.publish import publish
from slotcast_publisher.fleet.simulate.population import parse_tags
from slotcast_publisher.fleet.simulate.script import parse_script
from slotcast_publisher.fleet.simulate.simulation import Simulation, SimulationWanted
from slotcast_publisher.fleet.steering import requests
from slotcast_publisher.fleet.steering.rollout_files import RolloutFiles
from slotcast_publisher.release.delta_payloads import all_builders
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.release.statement import make_statement
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Broker, Settings
from slotcast_schemas.messages.release import Trial

DEVICES: Final = 40
"""The number of simulated devices, unless another is asked for."""
WHO: Final = "demo"
"""Who started the rollouts, and may sign in."""
STOP_S: Final = 10.0
"""The seconds that `serve` has to end before it is killed."""
_OPSET: Final = 17
_TAGS: Final = (
    "ring=canary:0.2,field:0.8",
    "board=rev-a:0.6,rev-b:0.4",
    "site=lisbon:0.5,porto:0.3,braga:0.2",
)
_TRIAL: Final = Trial(min_requests=20, max_restarts=1000, max_latency_ratio=None)
"""A model that was asked twenty times has passed; the rest is for the rollout to see."""
SCRIPT: Final = b"""
[device]
metrics_interval_s = 5
reconnect_cap_s = 5
[application]
requests_per_s = 10
latency_s = 0.012
load_s = 0.2
report_s = 2
[[releases]]
models = ["detector"]
versions = ["2.0"]
tags = { board = "rev-b" }
latency_factor = 3
[[releases]]
models = ["detector"]
versions = ["2.0"]
tags = { ring = "canary" }
share = 0.15
fails_probe = "golden_mismatch"
[[faults]]
kind = "bad_link"
share = 0.1
every_s = 60
down_s = 10
[[faults]]
kind = "vanishes"
share = 0.03
after_s = 45
[[faults]]
kind = "wrong_clock"
share = 0.03
off_s = -7200
"""
PLANS: Final = (
    b"""format = 1
model = "detector"
version = "2.0"
name = "detector-2.0"
soak_s = 120
listen_s = 5

[limits]
max_failed_share = 0.3

[[groups]]
name = "canary"
tags = { ring = "canary" }

[[groups]]
name = "everyone"
steps = [25, 100]
""",
    b"""format = 1
model = "meter"
version = "1.1"
name = "meter-1.1"
soak_s = 60
listen_s = 5
max_under_way = 4

[[groups]]
name = "canary"
tags = { ring = "canary" }

[[groups]]
name = "lisbon"
tags = { site = "lisbon" }
gate = { person = true }

[[groups]]
name = "everyone"
""",
)
"""The rollouts; both begin once every device runs what was released before."""


def make_demo(folder: Path, broker: str) -> Repository:
    """Make a repository with two releases of two models each; the older ones are published.

    Args:
        folder: where it is made; must not be there.
        broker: its address.
    """
    repo = Repository.init(folder, Settings(brokers=(Broker(url=broker, protocol="3.1.1"),)))
    _release(repo, "detector", "1.0", seed=1)
    _release(
        repo,
        "detector",
        "2.0",
        seed=1,
        moved=0.02,
        advisory="Finds people in low light that 1.0 misses.",
        changes=("mends_fault", "adds_function"),
    )
    _release(repo, "meter", "1.0", seed=2)
    _release(repo, "meter", "1.1", seed=2, moved=0.002, changes=("mends_fault",))
    for model in ("detector", "meter"):
        publish(repo, model, "1.0").all_done()
    return repo


def _release(
    repo: Repository,
    model: str,
    version: str,
    *,
    seed: int,
    moved: float = 0.0,
    advisory: str = "",
    changes: tuple[str, ...] = (),
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{model}.onnx"
        file.write_bytes(network(seed, moved))
        request = ReleaseRequest(
            model=model,
            version=version,
            files=(file,),
            trial=_TRIAL,
            is_probed=False,
            statement=make_statement(advisory, changes, None),
        )
        repo.build_release(request, builders=all_builders(None))


def network(seed: int, moved: float) -> bytes:
    """Give a small network as ONNX, of weights that mean nothing.

    Args:
        seed: of its weights.
        moved: which share of them is another than in the network of 0.
    """
    chance = np.random.default_rng(seed)
    shapes = ((64, 256), (256, 10))
    layers = [chance.standard_normal(shape).astype(np.float32) for shape in shapes]
    for weights in layers:
        where = chance.random(weights.shape) < moved
        weights[where] *= np.float32(1.01)
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["h0"]),
        helper.make_node("Relu", ["h0"], ["h1"]),
        helper.make_node("MatMul", ["h1", "w1"], ["y"]),
    ]
    tensors = [numpy_helper.from_array(weights, f"w{n}") for n, weights in enumerate(layers)]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 64])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 10])
    graph = helper.make_graph(nodes, "demo", [given], [answer], tensors)
    opsets = [helper.make_opsetid("", _OPSET)]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return bytes(model.SerializeToString())


def wanted_fleet(count: int, seed: int) -> SimulationWanted:
    """Say what devices the demonstration has.

    Args:
        count: how many.
        seed: chooses who is what, and all chance.
    """
    return SimulationWanted(
        count=count,
        prefix="cam",
        tags=parse_tags(list(_TAGS)),
        script=parse_script(SCRIPT, "the demonstration's script"),
        seed=seed,
    )


class Rollouts:
    """Starts the rollouts once every device that is up runs the older releases.

    Args:
        repo: the demonstration's.
        say: is told what happens, a line each.
    """

    def __init__(self, repo: Repository, say: Callable[[str], None]) -> None:
        self._files = RolloutFiles(repo.path)
        self._say = say
        self._are_started = False

    def look(self, simulation: Simulation) -> bool:
        """Start them if it is time; gives False, so that the fleet goes on."""
        if not self._are_started and _most_run(simulation):
            self._are_started = True
            for plan in PLANS:
                begun, _, _ = requests.start(self._files, plan, "plan.toml", WHO)
                self._say(f"rollout {begun.name} begins")
        return False


def _most_run(simulation: Simulation) -> bool:
    """Say whether 9 of 10 devices run both of the older releases: some are always away."""
    point = simulation.present
    if point is None:
        return False
    needed = 0.9 * len(simulation.ids)
    return all(
        dict(point.versions.get(model, {})).get("1.0", 0) >= needed
        for model in ("detector", "meter")
    )


@contextlib.contextmanager
def beside(*commands: Sequence[str], log: Path) -> Iterator[None]:
    """Run commands of `slotcast` beside this one; they end with it.

    Args:
        commands: the words behind `slotcast` of each.
        log: what they write goes here.
    """
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(log.open("ab"))
        for words in commands:
            stack.enter_context(_running(words, out.fileno()))
        yield


@contextlib.contextmanager
def _running(words: Sequence[str], out: int) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", "slotcast_publisher", *words],
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=out,
        start_new_session=True,  # Ctrl-C is for us; we end it in order
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
