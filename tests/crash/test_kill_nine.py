"""kill -9 of the device at random moments of an update, again and again.

SLOTCAST_KILLS=500 makes it more; SLOTCAST_SEED=N repeats the moments (not, of course, what the
machine does in between).
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pytest

from slotcast_device.core.state import ModelState
from slotcast_device.exit_codes import OK
from slotcast_publisher.store import ReleaseFolder
from slotcast_schemas.limits import BLOCK_CHUNKS
from slotcast_schemas.states import State
from slotcast_schemas.topics import ChunkTopic
from tests.support.brokers import Broker
from tests.support.fleet import CHUNK_BYTES, Device, Publisher, answers, model_bytes
from tests.support.proxy import Packet, Plan, Proxy
from tests.support.quick import QuickProcess
from tests.support.waiting import WAIT_S

KILLS: Final = int(os.environ.get("SLOTCAST_KILLS", "20"))
SEED: Final = int(os.environ.get("SLOTCAST_SEED", "20261122"))
_IN_TRANSFER: Final = 0.6
_ANEW: Final = 0.6
_FILTER: Final = re.compile(rb"/payloads/[0-9a-f]{64}/([0-9]+)/([0-9]+|\+)")

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300 + 6 * KILLS)]


class Listener:
    """Notes which chunks a run of the device asks for, and which it is sent."""

    def __init__(self, publisher: Publisher) -> None:
        self._topics = publisher.topics
        self.asked: set[int] = set()
        self.sent: set[int] = set()

    def tap(self, way: str, packet: Packet) -> None:
        if packet.name == "SUBSCRIBE":
            for block, chunk in _FILTER.findall(packet.raw):
                first = int(block) * BLOCK_CHUNKS
                whole = range(first, first + BLOCK_CHUNKS)
                self.asked.update(whole if chunk == b"+" else {int(chunk)})
        elif packet.is_publish and way == "down":
            topic = self._topics.parse(packet.topic)
            if isinstance(topic, ChunkTopic):
                self.sent.add(topic.chunk)


class Payload:
    """The one payload of `clf` 2, and how much of it a device holds."""

    def __init__(self, folder: ReleaseFolder) -> None:
        (record,) = folder.payloads()
        data = folder.payload_file(record.payload).read_bytes()
        self.sha256 = record.payload.sha256
        self.size_bytes = len(data)
        self._digests = [hashlib.sha256(chunk).digest() for chunk in _cut(data)]

    @property
    def chunk_count(self) -> int:
        """Number of chunks."""
        return len(self._digests)

    def held_by(self, device: Device) -> set[int]:
        """Look for chunks where the device keeps them, or for the whole in a slot."""
        state = record_of(device)
        if any(record.version == "2" for record in state.slots.values()):
            return set(range(len(self._digests)))
        path = device.folder() / "incoming" / self.sha256.hex() / "data"
        chunks = _cut(path.read_bytes()) if path.exists() else iter(())
        pairs = enumerate(zip(chunks, self._digests, strict=False))
        return {n for n, (chunk, want) in pairs if hashlib.sha256(chunk).digest() == want}


def _cut(data: bytes) -> Iterator[bytes]:
    return (data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES))


def record_of(device: Device) -> ModelState:
    """Read the durable record as it is."""
    return msgspec.json.decode((device.folder() / "state.json").read_bytes(), type=ModelState)


def test_a_device_killed_at_any_moment_resumes_and_always_has_a_model(
    publisher: Publisher, broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listener = Listener(publisher)
    plan = Plan(tap=listener.tap, down_bits_per_s=24e6)
    with Proxy((broker.host, broker.port), plan) as proxy:
        device = publisher.provision("cam-1", tmp_path / "cam-1", f"mqtt://127.0.0.1:{proxy.port}")
        publisher.publish("clf", "1")
        assert device.run_once().state is State.COMMITTED
        before = tmp_path / "with-v1"
        shutil.copytree(device.config.state_dir, before, symlinks=True)
        publisher.publish("clf", "2")
        payload = Payload(publisher.repo.store.folder("clf", "2"))
        trial = Ordeal(device, proxy, listener, payload, before)
        trial.measure()
        rng = random.Random(SEED)
        while trial.kills < KILLS:
            trial.run_and_kill(rng.random())
            if trial.is_past_transfer and rng.random() < _ANEW:
                trial.start_over()  # or most kills would fall on the trial, which comes last
        trial.finish()
    with capsys.disabled():
        print(
            f"\n{trial.kills} kills in {trial.updates} updates, found in"
            f" {dict(trial.found)}; {trial.resumed} starts resumed a transfer"
        )
    assert trial.resumed


class Ordeal:
    """Runs updates from v1 to v2 and kills them; every look at the disk is an assertion."""

    def __init__(
        self, device: Device, proxy: Proxy, listener: Listener, payload: Payload, v1: Path
    ) -> None:
        self.kills = self.updates = self.resumed = 0
        self.found: Counter[str] = Counter()
        self._rest_s = 0.0
        self._device = device
        self._proxy = proxy
        self._listener = listener
        self._payload = payload
        self._v1 = v1
        self._log = device.config_path.with_name("log.txt")
        self._good = [answers(model_bytes(number)) for number in (1, 2)]

    @property
    def is_past_transfer(self) -> bool:
        """Whether the device holds all of v2."""
        return len(self._payload.held_by(self._device)) == self._payload.chunk_count

    def measure(self) -> None:
        """Learn how long an update takes here from the last chunk to the exit."""
        process = self._start()
        self._proxy.wait_for(lambda counters: counters.down_bytes >= self._payload.size_bytes)
        began_s = time.monotonic()
        assert process.wait(WAIT_S) == OK, self._log.read_text()
        self._rest_s = time.monotonic() - began_s
        self.start_over()

    def run_and_kill(self, moment: float) -> None:
        """Start, kill at a moment, and look; start over where the update was done already.

        Args:
            moment: in [0, 1]; the first 60 % lie in the transfer, by bytes, the rest after it.
        """
        held = self._payload.held_by(self._device)
        missing = self._payload.size_bytes - len(held) * CHUNK_BYTES
        before = self._proxy.counters.down_bytes  # on a busy machine the start may overtake us
        process = self._start()
        share = min(1.0, moment / _IN_TRANSFER)
        after_s = max(0.0, moment - _IN_TRANSFER) / (1 - _IN_TRANSFER) * self._rest_s
        self._await_bytes(before, max(0, int(missing * share)))
        code = process.wait(after_s)
        if code is None:
            process.kill()
            self.kills += 1
            update = record_of(self._device).update
            self.found["-" if update is None else update.state] += 1
            self._check(held)
            return
        self._check(held)
        update = record_of(self._device).update
        assert (code, update and update.state) == (OK, State.COMMITTED), self._log.read_text()
        self.updates += 1
        self.start_over()

    def finish(self) -> None:
        """Let the last one be: whatever the kills left, it ends in v2."""
        held = self._payload.held_by(self._device)
        assert self._start().wait(WAIT_S) == OK, self._log.read_text()
        self._check(held)
        assert np.array_equal(self._device.answers(), self._good[1])
        self.updates += 1

    def _start(self) -> QuickProcess:
        self._listener.asked, self._listener.sent = set(), set()
        arguments = ("run", "--once", "--log", "warning", "--config", self._device.config_path)
        return QuickProcess([str(word) for word in arguments], self._log)

    def _await_bytes(self, before: int, size_bytes: int) -> None:
        """Wait until this run was sent so much: at least the broker's greeting."""
        due = before + size_bytes + 1
        self._proxy.wait_for(lambda counters: counters.down_bytes >= due)

    def _check(self, held: set[int]) -> None:
        where = f"seed {SEED}, kill {self.kills}"
        again = self._listener.asked & held
        assert not again, f"{where}: asked again for {sorted(again)}"
        assert not self._listener.sent & held, where
        assert held <= self._payload.held_by(self._device), f"{where}: chunks were lost"
        self.resumed += bool(held and self._listener.asked)
        served = self._device.answers()
        assert any(np.array_equal(served, good) for good in self._good), where

    def start_over(self) -> None:
        """Put the device back to where v1 was committed."""
        shutil.rmtree(self._device.config.state_dir)
        shutil.copytree(self._v1, self._device.config.state_dir, symlinks=True)
