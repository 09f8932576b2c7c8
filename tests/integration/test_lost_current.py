"""`current` is lost under a running agent that is offline: it must be there again by itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from slotcast_schemas.states import State
from tests.support.brokers import Broker, free_ports
from tests.support.fleet import Device, Publisher, answers, model_bytes
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]


@pytest.fixture
def device(publisher: Publisher, broker: Broker, tmp_path: Path) -> Device:
    """A device with 1 in slot a and 2 in slot b, whose broker is away."""
    made = publisher.provision("cam-1", tmp_path / "cam-1")
    for version in ("1", "2"):
        publisher.publish("clf", version)
        assert made.run_once().state is State.COMMITTED
    made.change(broker.url, f"mqtt://127.0.0.1:{free_ports(1)[0]}")
    return made


def serves(device: Device, number: int) -> bool:
    """Whether what `current` opens answers as the model of that number does."""
    try:
        return np.array_equal(device.answers(), answers(model_bytes(number)))
    except OSError:
        return False


def test_a_running_agent_puts_current_back_without_a_broker(device: Device) -> None:
    link = device.folder() / "current"
    with device.running():
        link.unlink()
        wait_until(lambda: serves(device, 2), "2 serves again after its link was removed")
        target = link.resolve()
        link.unlink()
        shutil.copytree(target, link)
        wait_until(link.is_symlink, "a folder in its place is replaced")
        link.unlink()
        link.symlink_to("/nowhere")
        wait_until(lambda: serves(device, 2), "2 serves again after its link led nowhere")
        shutil.rmtree(device.folder() / "slots" / "b")
        wait_until(lambda: serves(device, 1), "1 serves where 2 is lost")
    assert link.readlink() == Path("slots/a")
