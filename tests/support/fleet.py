"""A small fleet for tests: a publisher's repository, provisioned devices, and who watches them.

    publisher = Publisher.make(tmp_path / "repo", broker_url)
    publisher.release("clf", "1.0", {"model.onnx": data})
    device = publisher.provision("cam-1", tmp_path / "cam-1")
    with Observer(broker_url, publisher.topics, "cam-1") as observer, device.running() as agent:
        publisher.publish("clf", "1.0")
        observer.wait_for_state("clf", State.COMMITTED)

Devices run in a thread of this process (`running`, `run_once`) or as a process of their own
(`spawn`); all that is waited for is an event: a status, a presence, an exit.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import msgspec
import numpy as np
import onnxruntime as ort
import paho.mqtt.client as paho
from numpy.typing import NDArray
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from slotcast_device.agent import Agent
from slotcast_device.config import DeviceConfig
from slotcast_device.core.waits import USUAL, Waits
from slotcast_device.storage.disk import Disk
from slotcast_device.storage.lock import locked
from slotcast_publisher import provision as provisioning
from slotcast_publisher import settings as settings_file
from slotcast_publisher.delivery import publish as publishing
from slotcast_publisher.delivery.readback import ReadbackWaits
from slotcast_publisher.notice import OfferWanted
from slotcast_publisher.release.payloads import Builder
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Settings
from slotcast_schemas import wire
from slotcast_schemas.messages import Metrics, Presence, Release, Status
from slotcast_schemas.messages.metrics import Summary
from slotcast_schemas.messages.release import Trial
from slotcast_schemas.messages.status import LinkStatus, ModelStatus
from slotcast_schemas.states import State
from slotcast_schemas.topics import Topics
from tests.support import models as zoo
from tests.support import mqtt_client
from tests.support.packed_once import PackedOnce
from tests.support.waiting import WAIT_S, wait_until

CHUNK_BYTES: Final = 4096
PATIENT: Final = Trial(max_restarts=1000)
"""Commits at the first good look, and is not rolled back by restarts."""
SOON_QUIET: Final = ReadbackWaits(quiet_s=0.1)
"""A broker on this machine sends what it retains with its answer; for one far away, `publish` waits
a second of silence for each topic that nothing is retained under, and there are four of them."""
_STAT_BLOCK_BYTES: Final = 512
_FAST: Final = "\n[timing]\nreconnect_first_s = 0.02\nreconnect_cap_s = 0.2\nkeepalive_s = 5\n"


class Publisher:
    """A repository and the brokers that it pushes to; everything is a call of the real thing.

    Attributes:
        waits: those of the devices that it provisions from now on.
    """

    waits: Waits = USUAL

    def __init__(self, path: Path) -> None:
        self.path = path
        self.repo = Repository(path)

    @classmethod
    def make(
        cls, path: Path, *urls: str, prefix: str = "t", settings: Settings | None = None
    ) -> Self:
        """Make a repository with small chunks that pushes to the brokers at `urls`."""
        chosen = settings or Settings(chunk_size_bytes=CHUNK_BYTES)
        Repository.init(
            path, msgspec.structs.replace(chosen, prefix=prefix, brokers=_brokers(urls))
        )
        return cls(path)

    def copy(self, path: Path, *brokers: str | settings_file.Broker, prefix: str) -> Publisher:
        """Give the same repository, keys and releases included, for other topics and brokers."""
        shutil.copytree(self.path, path, symlinks=True)
        settings = msgspec.structs.replace(
            self.repo.settings, prefix=prefix, brokers=_brokers(brokers)
        )
        settings_file.save(path, settings)
        return Publisher(path)

    def read_anew(self) -> None:
        """Know what another command has changed, such as that there is one more key."""
        self.repo = Repository(self.path)

    @property
    def topics(self) -> Topics:
        """The topics below the repository's prefix."""
        return self.repo.topics

    def release(
        self,
        model: str,
        version: str,
        files: Mapping[str, bytes] | None = None,
        *,
        same_as: str | None = None,
        trial: Trial = PATIENT,
        memory_bytes: int = 0,
        builders: Sequence[Builder] = (PackedOnce(),),
        encrypt: bool | None = None,
    ) -> Release:
        """Release files given by name; by default with the full payload only.

        What devices say of it is for the tests to see, so their probe is not asked beforehand.
        """
        folder = self.path / "given" / model / version
        for name, data in (files or {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        request = ReleaseRequest(
            model=model,
            version=version,
            files=(folder,) if files else (),
            same_as=same_as,
            trial=trial,
            memory_bytes=memory_bytes,
            is_probed=False,
            encrypt=encrypt,
        )
        return self.repo.build_release(request, builders=builders).release

    def publish(
        self, model: str, version: str, wanted: OfferWanted | None = None, *, send_all: bool = False
    ) -> None:
        """Offer a release and push it to the repository's brokers."""
        publishing.publish(
            self.repo, model, version, wanted, publishing.How(send_all=send_all, waits=SOON_QUIET)
        ).all_done()

    def withdraw(self, model: str) -> None:
        """Cancel what is offered."""
        publishing.withdraw(self.repo, model, publishing.How(waits=SOON_QUIET)).all_done()

    def provision(
        self,
        device: str,
        out: Path,
        *urls: str,
        models: Sequence[str] = ("clf",),
        tags: Mapping[str, str] | None = None,
        state_dir: Path | None = None,
        extra: str = "",
    ) -> Device:
        """Provision a device that reconnects fast; `extra` is more TOML for its configuration."""
        provisioning.provision(
            self.repo, device, out, models=models, brokers=urls, tags=tags, state_dir=state_dir
        )
        with (out / "device.toml").open("a") as file:
            file.write(_FAST + extra)
        return Device(out / "device.toml", self.waits)


def _brokers(given: Sequence[str | settings_file.Broker]) -> tuple[settings_file.Broker, ...]:
    return tuple(settings_file.Broker(url=b) if isinstance(b, str) else b for b in given)


class Device:
    """A provisioned device: its configuration, its folder, and ways to run it."""

    def __init__(self, config: Path, waits: Waits = USUAL) -> None:
        self.config_path = config
        self.waits = waits

    @property
    def config(self) -> DeviceConfig:
        """The configuration, read anew."""
        return DeviceConfig(self.config_path)

    def folder(self, model: str = "clf") -> Path:
        """Give the folder of a model's state."""
        return self.config.model_dir(model)

    def current(self, model: str = "clf", entry: str = "model.onnx") -> Path:
        """Give what an application opens."""
        return self.folder(model) / "current" / entry

    def wait_for_received(self, size_bytes: int, model: str = "clf") -> None:
        """Wait until so much of a payload is on the disk; what a proxy has passed on may not be.

        A process that is killed loses what the kernel had for it: on a busy machine, all of it.
        """
        incoming = self.folder(model) / "incoming"

        def is_there() -> bool:
            return any(
                data.stat().st_blocks * _STAT_BLOCK_BYTES >= size_bytes
                for data in incoming.glob("*/data")
            )

        wait_until(is_there, f"{size_bytes} bytes in {incoming}")

    def answers(self, model: str = "clf") -> NDArray[np.float32]:
        """Open what `current` opens, and run it."""
        return answers(self.current(model).read_bytes())

    def change(self, old: str, new: str) -> None:
        """Edit the configuration; the old text must be there."""
        text = self.config_path.read_text()
        if old not in text:
            raise AssertionError(f"{old!r} is not in\n{text}")
        self.config_path.write_text(text.replace(old, new))

    @contextlib.contextmanager
    def running(self, disk: Disk | None = None, seed: int = 1) -> Iterator[Agent]:
        """Run the device in a thread for the length of the block; what it raises is raised."""
        agent = Agent(self.config, random.Random(seed), disk, waits=self.waits)
        thread, failures = _in_thread(agent.run)
        try:
            yield agent
        finally:
            agent.stop()
            thread.join(WAIT_S)
        if failures:
            raise failures[0]
        if thread.is_alive():
            raise AssertionError("the agent does not stop")

    def run_once(self, disk: Disk | None = None, seed: int = 1) -> ModelStatus:
        """Run in this thread until the present notice of the first model is settled."""
        agent = Agent(self.config, random.Random(seed), disk, waits=self.waits)
        with locked(self.config.state_dir):
            agent.run(lambda a: all(c.is_settled or c.is_unreadable for c in a.cores))
        return agent.cores[0].status()

    def spawn(self, *arguments: str) -> Process:
        """Run `slotcast-device run` as a process of its own."""
        return Process([str(a) for a in ("run", "--config", self.config_path, *arguments)])

    def command(self, *arguments: str) -> Process:
        """Run another command of `slotcast-device`."""
        return Process([arguments[0], "--config", str(self.config_path), *arguments[1:]])


class Process:
    """`slotcast-device` as a child process."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "slotcast_device", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that `kill` takes a probe's child with it
        )
        self.stdout = self.stderr = ""

    def wait(self, timeout_s: float = WAIT_S) -> int:
        """Wait for its end; give the exit code, and keep what it wrote."""
        try:
            self.stdout, self.stderr = self._process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        return self._process.returncode

    def ends_within(self, timeout_s: float) -> bool:
        """Wait so long for its end at most; say whether it came."""
        try:
            self.wait_quietly(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def wait_quietly(self, timeout_s: float) -> int:
        """Wait for its end without taking its output.

        Raises:
            subprocess.TimeoutExpired: it runs on.
        """
        return self._process.wait(timeout_s)

    def terminate(self) -> None:
        """Ask it to stop."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it and its children as a power cut would, and reap it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.stdout, self.stderr = self._process.communicate()


class Observer:
    """Reads what a device says, from the broker, as any fleet view would."""

    def __init__(
        self, url: str, topics: Topics, device: str, *, tls: ssl.SSLContext | None = None
    ) -> None:
        parts = urlsplit(url)
        self.statuses: list[Status] = []
        self.presences: list[Presence] = []
        self.metrics: dict[int, Metrics] = {}
        self.contradictions: list[tuple[Metrics, Metrics]] = []
        self.wants = 0
        self._changed = threading.Condition()
        self._topics = topics
        self._device = device
        self._mqtt = mqtt_client.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"observer-{uuid.uuid4().hex}",
            protocol=MQTTProtocolVersion.MQTTv5,
        )
        if tls is not None:
            self._mqtt.tls_set_context(tls)
        if parts.username:
            self._mqtt.username_pw_set(parts.username, parts.password)
        self._ready = threading.Event()
        self._mqtt.on_connect = lambda c, *_: c.subscribe(
            [(topics.device(device, "+"), 1), (topics.wants(), 1)]
        )
        self._mqtt.on_subscribe = lambda *_: self._ready.set()
        self._mqtt.on_message = self._received
        self._address = (parts.hostname or "", parts.port or 1883)

    def __enter__(self) -> Self:
        self._mqtt.connect(*self._address)
        self._mqtt.loop_start()
        if not self._ready.wait(WAIT_S):
            raise AssertionError("the observer could not subscribe")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._mqtt.disconnect()
        self._mqtt.loop_stop()

    def put(self, topic: str, data: bytes, *, retain: bool = True) -> None:
        """Publish anything, as whoever owns the broker can; returns when the broker has it."""
        self._mqtt.publish(topic, data, qos=1, retain=retain).wait_for_publish(WAIT_S)

    def wait_for(
        self, model: str, condition: Callable[[ModelStatus], bool], timeout_s: float = WAIT_S
    ) -> ModelStatus:
        """Wait until some status of the model, from now or before, fulfils a condition."""
        with self._changed:
            found: list[ModelStatus] = []

            def look() -> bool:
                found[:] = [m for m in self.of(model) if condition(m)]
                return bool(found)

            if not self._changed.wait_for(look, timeout_s):
                raise AssertionError(f"never came; came: {[_brief(m) for m in self.of(model)]}")
            return found[0]

    def wait_for_state(self, model: str, state: State, version: str | None = None) -> ModelStatus:
        """Wait for a state, of a version if one is given."""
        return self.wait_for(
            model,
            lambda m: (
                m.state is state
                and (version is None or (m.target is not None and m.target.version == version))
            ),
        )

    def wait_for_reason(self, model: str, reason: str) -> ModelStatus:
        """Wait for a reason."""
        return self.wait_for(model, lambda m: m.reason == reason)

    def wait_for_clock(self, word: str) -> None:
        """Wait until the device judges its own clock so."""
        with self._changed:
            if not self._changed.wait_for(
                lambda: bool(self.statuses) and self.statuses[-1].clock == word, WAIT_S
            ):
                raise AssertionError(f"expected {word}, came {[s.clock for s in self.statuses]}")

    def wait_for_link(self, reason: str) -> LinkStatus:
        """Wait until a status says this of the link."""
        with self._changed:
            found: list[LinkStatus] = []

            def look() -> bool:
                links = [s.link for s in self.statuses if s.link is not None]
                found[:] = [link for link in links if link.reason == reason]
                return bool(found)

            if not self._changed.wait_for(look, WAIT_S):
                raise AssertionError(f"never came; came: {[s.link for s in self.statuses]}")
            return found[0]

    def wait_for_presence(self, online: bool) -> None:
        """Wait until the last word on the device's presence is this."""
        with self._changed:
            if not self._changed.wait_for(
                lambda: bool(self.presences) and self.presences[-1].online is online, WAIT_S
            ):
                raise AssertionError(f"presence: {self.presences}")

    def wait_for_figures(
        self, condition: Callable[[list[Summary]], bool], timeout_s: float = WAIT_S
    ) -> list[Summary]:
        """Wait until the summaries of all metrics messages fulfil a condition; give them.

        A message that came twice has the same counter, and counts once.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self.figures()), timeout_s):
                came = [(s.version, s.requests, s.on_trial) for s in self.figures()]
                raise AssertionError(f"never came; came: {came}")
            return self.figures()

    def figures(self) -> list[Summary]:
        """Give all summaries that came, by the counters of their messages."""
        return [s for counter in sorted(self.metrics) for s in self.metrics[counter].summaries]

    def forget(self) -> None:
        """Begin to wait anew: what was said before does not count."""
        with self._changed:
            self.statuses.clear()
            self.presences.clear()

    def of(self, model: str) -> list[ModelStatus]:
        """Give all that was said of a model, in order."""
        return [m for status in self.statuses for m in status.models if m.model == model]

    def _received(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        with self._changed:
            data = bytes(message.payload)
            if message.topic == self._topics.device(self._device, "status"):
                self.statuses.append(wire.decode(data, Status))
            elif message.topic == self._topics.device(self._device, "presence"):
                self.presences.append(wire.decode(data, Presence))
            elif message.topic == self._topics.device(self._device, "metrics"):
                metrics = wire.decode(data, Metrics)
                first = self.metrics.setdefault(metrics.counter, metrics)
                if first != metrics:
                    self.contradictions.append((first, metrics))
            elif self._topics.is_like_want(message.topic):
                self.wants += 1
            self._changed.notify_all()


def _brief(status: ModelStatus) -> str:
    return f"{status.state} ({status.reason}) {status.detail}"


def _in_thread(work: Callable[[], None]) -> tuple[threading.Thread, list[BaseException]]:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as exc:  # noqa: BLE001 - handed to the thread that waits
            failures.append(exc)

    thread = threading.Thread(target=run, name="device", daemon=True)
    thread.start()
    return thread, failures


# --- models ---------------------------------------------------------------------------------------


@functools.cache
def model_bytes(number: int, size_bytes: int = 1 << 20) -> bytes:
    """Give a good model of about a size; each number is another one."""
    return zoo.large(number, size_bytes=size_bytes)


def answers(data: bytes) -> NDArray[np.float32]:
    """Load a model from its bytes and run it on the zoo's inputs."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": zoo.inputs()})[0], dtype=np.float32)
