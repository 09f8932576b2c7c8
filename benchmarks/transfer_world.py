"""What `benchmarks.transfer` stands on: models, a repository, device processes, an observer.

Everything goes through the commands that a user types, `slotcast` and `slotcast-device`, so that
the figures are those of the whole; only the looking on is done here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks.device_run import Run, children_processor_s, note_lines, peak_rss_bytes
from benchmarks.report import CannotRun, Options
from slotcast_device.core.state import ModelState
from slotcast_device.storage import state_file
from slotcast_device.storage.os_disk import OsDisk
from slotcast_schemas.errors import RefusedRelease
from slotcast_schemas.messages import Notice, Offer, Status
from slotcast_schemas.states import SETTLED, State
from slotcast_schemas.topics import ChunkTopic, Topics
from slotcast_schemas.trust import offer_target
from slotcast_schemas.wire import decode

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

    from slotcast_schemas.messages.offer import Payload
    from tests.support.brokers import Broker

MODEL: Final = "bench"
TOPICS: Final = Topics()
DEVICE_TIMEOUT_S: Final = 600.0
FAST_BYTES_PER_S: Final = 500_000_000
"""What a device remembers of a link on this machine, in bytes per second."""
_PROGRESS_S: Final = 0.01


OWN_COMMANDS: Final = Path(sys.executable).parent
"""Where our commands are: beside this interpreter."""


def command(name: str, folder: Path = OWN_COMMANDS) -> str:
    """Find one of our commands.

    Raises:
        CannotRun: it is not installed.
    """
    path = folder / name
    if not path.exists():
        raise CannotRun(f"{path} is not there; `make dev` installs it")
    return str(path)


def run_json(*words: str | Path, commands: Path = OWN_COMMANDS) -> dict[str, Any]:
    """Run `slotcast ... --json` and give what it prints.

    Raises:
        CannotRun: it failed; the message has what it said.
    """
    done = subprocess.run(
        [command("slotcast", commands), *map(str, words), "--json"],
        capture_output=True,
        text=True,
        check=False,  # what it says on failure is put into the error
    )
    if done.returncode:
        raise CannotRun(f"slotcast {words[0]} failed: {done.stderr or done.stdout}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def generated_model(path: Path, size_bytes: int, seed: int) -> Path:
    """Write an ONNX model of about this size: one layer after the other, noise for weights."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    width = 512
    layers = max(1, round(size_bytes / (width * width * 4)))
    rng = np.random.default_rng(seed)
    weights = [
        numpy_helper.from_array(
            (rng.standard_normal((width, width)) / np.sqrt(width)).astype(np.float32), f"w{i}"
        )
        for i in range(layers)
    ]
    nodes = [helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"]) for i in range(layers)]
    shape: list[str | int | None] = ["batch", width]
    graph = helper.make_graph(
        nodes,
        "bench",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(f"x{layers}", TensorProto.FLOAT, shape)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


class World:
    """A repository and its broker; releases are published once, devices come and go.

    Args:
        options: what was asked for.
        broker: one that keeps nothing yet.
        commands: the folder with the commands of the version that is measured.
    """

    def __init__(self, options: Options, broker: Broker, commands: Path = OWN_COMMANDS) -> None:
        self.options = options
        self.broker = broker
        self.repo = options.work / "repo"
        self._commands = commands
        self._devices = 0
        self._last: Path | None = None
        self._run_json("init", self.repo, "--broker", broker.url, "--no-passphrase")

    def _run_json(self, *words: str | Path) -> dict[str, Any]:
        return run_json(*words, commands=self._commands)

    def publish(self, version: str, file: Path) -> None:
        """Release one file and push it."""
        plain = ("--no-passphrase",)
        named = shutil.copy(file, self.options.work / "model.onnx")
        self._run_json("release", self.repo, MODEL, version, named, *plain)
        self._run_json("publish", self.repo, MODEL, version)

    def offered(self, codec: str | None = None) -> Payload:
        """Give the whole image that is offered in this codec, or the smallest.

        A device takes the smallest until it knows how fast its link is.

        Raises:
            CannotRun: none is offered.
        """
        notice = decode(retained(self.broker, TOPICS.notice(MODEL)), Notice)
        offer = decode(notice.targets[offer_target(MODEL)], Offer)
        found = [one for one in offer.payloads if codec in {None, one.codec} and one.base is None]
        if not found:
            raise CannotRun(f"no payload {codec or ''} is offered")
        return min(found, key=lambda payload: payload.size_bytes)

    def run_device(self, port: int, *, is_observed: bool = True, link_bytes_per_s: int = 0) -> Run:
        """Let a new device fetch what is offered, through this port; it must commit.

        Args:
            port: where the device finds its broker.
            link_bytes_per_s: what it remembers of its link; 0 for nothing.
            is_observed: note the states that it reports, which takes a client of its own: some
                milliseconds of a core that the device and the broker would use.

        Raises:
            CannotRun: it did not, and so there is nothing to measure.
        """
        self._devices += 1
        name = f"bench-{self._devices}"
        out = self.options.work / name
        url = f"mqtt://127.0.0.1:{port}"
        self._run_json("provision", self.repo, name, out, "--model", MODEL, "--broker", url)
        self._make_way(out)
        if link_bytes_per_s:
            known = ModelState(model=MODEL, link_bytes_per_s=link_bytes_per_s)
            folder = out / "state" / "models" / MODEL
            folder.mkdir(parents=True)
            state_file.save(OsDisk(), folder / "state.json", known)
        run = Run()
        with observed(self.broker, name, run) if is_observed else nullcontext():
            self._run_process(out, run)
        if run.exit_code != 0:
            raise CannotRun(f"the device ended with {run.exit_code}:\n{run.log[-2000:]}")
        run.logged(f"{MODEL}: COMMITTED")
        return run

    def _make_way(self, out: Path) -> None:
        """Remove the last device, just before the next one takes the memory that this frees.

        A hypervisor takes back what is free for some seconds, and to touch it again costs up to
        ten microseconds a page: more than all that a device does with it.
        """
        if self._last is not None:
            shutil.rmtree(self._last)
        self._last = out

    def _device_environment(self) -> dict[str, str]:
        """Give what a device's process has, which sees no dnspython.

        No package of a device needs it, but paho imports it where it is, as beside the tools of a
        checkout: 5 MB that no device has.
        """
        hidden = self.options.work / "hidden"
        (hidden / "dns").mkdir(parents=True, exist_ok=True)
        (hidden / "dns" / "__init__.py").write_text("raise ImportError('no device has it')\n")
        return {**os.environ, "PYTHONPATH": str(hidden)}

    def _run_process(self, out: Path, run: Run) -> None:
        words = ["run", "--config", str(out / "device.toml"), "--once"]
        words += ["--timeout", str(DEVICE_TIMEOUT_S)]
        before_s = children_processor_s()
        with subprocess.Popen(
            [command("slotcast-device", self._commands), *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=self._device_environment(),
        ) as process:
            reader = threading.Thread(target=note_lines, args=(process, run))
            reader.start()
            try:
                while process.poll() is None:
                    run.peak_rss_bytes = max(run.peak_rss_bytes, peak_rss_bytes(process.pid))
                    time.sleep(_PROGRESS_S)
            finally:
                process.kill()
                reader.join()
        run.exit_code = process.returncode
        run.processor_s = children_processor_s() - before_s


@contextmanager
def client(broker: Broker, name: str) -> Iterator[Client]:
    """Give a connected paho client with its own thread."""
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    made = Client(CallbackAPIVersion.VERSION2, client_id=f"{name}-{os.getpid()}")
    made.connect(broker.host, broker.port)
    made.loop_start()
    try:
        yield made
    finally:
        made.disconnect()
        made.loop_stop()


@contextmanager
def observed(broker: Broker, device: str, run: Run) -> Iterator[None]:
    """Note when a device's status first says each state, and wait for a settled one at the end."""
    settled, subscribed = threading.Event(), threading.Event()

    def note(_client: Client, _data: object, message: MQTTMessage) -> None:
        try:
            status = decode(bytes(message.payload), Status)
        except RefusedRelease:
            return
        for model in status.models:
            run.states.setdefault(model.state, time.monotonic())
            if model.state in SETTLED - {State.IDLE}:
                settled.set()

    with client(broker, "observer") as looking:
        looking.on_message = note
        looking.on_subscribe = lambda *_: subscribed.set()
        looking.subscribe(TOPICS.device(device, "status"), qos=1)
        if not subscribed.wait(10):
            raise CannotRun("the broker did not answer a SUBSCRIBE within 10 s")
        yield
        settled.wait(10)


@dataclass(frozen=True, slots=True)
class Bare:
    """What a bare subscriber got: the chunks' bytes, and the seconds from SUBSCRIBE to the last."""

    payload_bytes: int
    seconds: float


def retained(broker: Broker, topic: str) -> bytes:
    """Give what a broker keeps of a topic.

    Raises:
        CannotRun: nothing came within ten seconds.
    """
    came = threading.Event()
    got: list[bytes] = []

    def take(_client: Client, _data: object, message: MQTTMessage) -> None:
        got.append(bytes(message.payload))
        came.set()

    with client(broker, "reader") as reader:
        reader.on_message = take
        reader.subscribe(topic, qos=1)
        if not came.wait(10):
            raise CannotRun(f"the broker keeps nothing of {topic}")
    return got[0]


def bare_subscriber(broker: Broker, payload: Payload) -> Bare:
    """Receive the retained chunks of one payload, with paho and nothing else.

    The end is when no chunk has come for a second; the time is that of the last one.

    Raises:
        CannotRun: no chunk came.
    """
    sizes: dict[str, int] = {}
    last_s = [0.0]

    def take(_client: Client, _data: object, message: MQTTMessage) -> None:
        sizes[message.topic] = len(message.payload)
        last_s[0] = time.monotonic()

    with client(broker, "bare") as bare:
        bare.on_message = take
        start_s = time.monotonic()
        bare.subscribe(f"{TOPICS.prefix}/payloads/{payload.sha256.hex()}/+/+", qos=1)
        while not last_s[0] or time.monotonic() - last_s[0] < 1.0:
            if time.monotonic() - start_s > DEVICE_TIMEOUT_S:
                raise CannotRun("no retained chunks came to a bare subscriber")
            time.sleep(0.05)
    payload_bytes = sum(
        size for topic, size in sizes.items() if isinstance(TOPICS.parse(topic), ChunkTopic)
    )
    return Bare(payload_bytes, last_s[0] - start_s)
