"""Four thousand refused notices at a real Mosquitto cost a device few writes and few statuses."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import pytest

from slotcast_device.core import broker_budget
from slotcast_device.core.notice_writes import AT_ONCE_MAX
from slotcast_device.storage.trust_store import verify_notice
from slotcast_schemas import wire
from slotcast_schemas.messages import Notice
from slotcast_schemas.states import State
from slotcast_schemas.verify import Trusted
from tests.support.fleet import Observer, Publisher, model_bytes
from tests.support.waiting import WAIT_S

pytestmark = [
    pytest.mark.broker,
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("quick_probes"),
]

FLOOD: Final = 4000
SYNCS_MAX: Final = 3 * AT_ONCE_MAX
"""The fsyncs at most: two, of a file and its folder, for each refusal that is written at once, and
room for those that a slow machine is late enough for."""
STATUS_MAX_BYTES: Final = 2 * AT_ONCE_MAX * 1024
"""The bytes of status at most, of which one has a little more than a thousand."""


class Refusals:
    """Counts what is verified, so that each notice is sent when the one before it was refused."""

    def __init__(self, verify: Callable[..., Trusted]) -> None:
        self._verify = verify
        self._one = threading.Semaphore(0)
        self.count = 0

    def verify(self, *arguments: object) -> Trusted:
        """Verify as ever."""
        try:
            return self._verify(*arguments)
        finally:
            self.count += 1
            self._one.release()

    def wait_for_one(self) -> None:
        """Wait until one more was looked at."""
        assert self._one.acquire(timeout=WAIT_S)


def false_notices(publisher: Publisher, folder: Path) -> list[bytes]:
    """Give one by a stranger's keys, and ever others for another model: no two words are alike."""
    stranger = Publisher.make(folder / "stranger")
    stranger.release("clf", "1", {"model.onnx": model_bytes(8)})
    signed = stranger.repo.offer("clf", "1")
    notice = wire.decode(signed, Notice)
    others = [
        wire.encode(msgspec.structs.replace(notice, model=f"other-{number}"))
        for number in range(FLOOD // 2)
    ]
    return [data for other in others for data in (signed, other)]


def count_syncs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give a list that grows with each fsync and fdatasync of this process."""
    syncs: list[int] = []
    for name in ("fsync", "fdatasync"):
        real = getattr(os, name)

        def counted(fd: int, real: Callable[[int], None] = real) -> None:
            syncs.append(fd)
            real(fd)

        monkeypatch.setattr(os, name, counted)
    return syncs


def test_thousands_at_a_real_broker_cost_few_fsyncs_and_few_bytes_of_status(
    publisher: Publisher, observer: Observer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The device would leave the broker after a thousand: here it has to look at all of them.
    monkeypatch.setattr(broker_budget, "USELESS_MAX_BYTES", 1 << 40)
    device = publisher.provision("cam-1", tmp_path / "cam-1")
    publisher.publish("clf", "1")
    assert device.run_once().state is State.COMMITTED
    flood = false_notices(publisher, tmp_path)
    refusals = Refusals(verify_notice)
    monkeypatch.setattr("slotcast_device.jobs.verify_notice", refusals.verify)
    with device.running():
        refusals.wait_for_one()  # the true one, which the broker keeps
        observer.wait_for_state("clf", State.COMMITTED)
        observer.forget()
        syncs = count_syncs(monkeypatch)
        for data in flood:
            observer.put(publisher.topics.notice("clf"), data, retain=False)
            refusals.wait_for_one()
        observer.wait_for_reason("clf", "wrong_model")
        said = list(observer.statuses)
        status_bytes = sum(len(wire.encode(status)) for status in said)
        print(f"{len(syncs)} fsyncs, {len(said)} statuses of {status_bytes} bytes")
        assert 0 < len(syncs) <= SYNCS_MAX
        assert 0 < status_bytes <= STATUS_MAX_BYTES
        publisher.publish("clf", "2")
        observer.wait_for_state("clf", State.COMMITTED, "2")
