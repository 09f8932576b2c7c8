"""`current` is lost under a running agent that is offline: it must be there again by itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from slotcast_schemas.states import State
from tests.support.brokers import Broker
from tests.support.fleet import Device, Publisher, answers, model_bytes
from tests.support.ports import free_ports
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


def put_in_its_place(link: Path, folder: Path) -> bool:
    """Put a folder where a link is; false where the agent put the link back in between."""
    link.unlink()
    try:
        folder.rename(link)
    except NotADirectoryError:
        return False
    return True


def test_a_running_agent_puts_current_back_without_a_broker(device: Device, tmp_path: Path) -> None:
    """It looks once a second, in the middle of whatever is done here: so each is one step."""
    link = device.folder() / "current"
    copy, nowhere = tmp_path / "copy", tmp_path / "nowhere"
    shutil.copytree(link.resolve(), copy)
    nowhere.symlink_to("/nowhere")
    with device.running():
        link.unlink()
        wait_until(lambda: serves(device, 2), "2 serves again after its link was removed")
        wait_until(lambda: put_in_its_place(link, copy), "a folder is in its place")
        wait_until(link.is_symlink, "a folder in its place is replaced")
        nowhere.replace(link)
        wait_until(lambda: serves(device, 2), "2 serves again after its link led nowhere")
        (device.folder() / "slots" / "b").rename(tmp_path / "b")
        wait_until(lambda: serves(device, 1), "1 serves where 2 is lost")
    assert link.readlink() == Path("slots/a")
