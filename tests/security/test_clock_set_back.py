"""A device's clock is set back, over a restart, and a broker shows what has expired.

A device of two models: one has heard of a later time, the other's notices were held back.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from slotcast_device.commands import read_status
from slotcast_device.core import events as ev
from slotcast_device.notice_times import NoticeTimes
from slotcast_device.storage.os_disk import OsDisk
from slotcast_schemas.states import State
from tests.support.fleet import Device, Observer, Publisher, model_bytes

pytestmark = [pytest.mark.broker, pytest.mark.usefixtures("quick_probes")]

DAY_S = 86400


@pytest.fixture
def device(publisher: Publisher, tmp_path: Path) -> Device:
    """A device that runs both models."""
    device = publisher.provision("cam-1", tmp_path / "cam-1", models=("clf", "det"))
    for number in (1, 2):
        publisher.release("det", str(number), {"model.onnx": model_bytes(number, 1 << 12)})
    for model in ("clf", "det"):
        publisher.publish(model, "1")
    assert device.run_once().state is State.COMMITTED
    return device


def note_signed(device: Device, model: str, signed_s: int) -> None:
    """Have a record say that a notice was seen that was signed then."""
    path = device.folder(model) / "state.json"
    record = json.loads(path.read_text()) | {"signed_time": signed_s}
    path.write_text(json.dumps(record))


def test_what_one_model_heard_of_the_time_makes_the_others_expired_notices_so(
    publisher: Publisher, device: Device
) -> None:
    publisher.publish("clf", "2")
    now_s = int(time.time())
    note_signed(device, "det", now_s + 100 * DAY_S)
    status = device.run_once()
    assert (status.state, status.reason) == (State.REJECTED, "expired")
    assert status.active is not None
    assert status.active.version == "1"
    note_signed(device, "det", now_s)
    assert device.run_once().state is State.COMMITTED


def test_status_calls_a_notice_stale_that_is_past_its_end_by_what_another_model_heard(
    device: Device,
) -> None:
    """The agent says so, and does not run just now."""
    assert {model.notice for model in read_status(device.config).models} == {"valid"}
    path = device.folder("det") / "state.json"
    later_s = json.loads(path.read_text())["notice_expires"] + DAY_S
    path.write_text(json.dumps(json.loads(path.read_text()) | {"notice_expires": later_s + DAY_S}))
    note_signed(device, "det", later_s)
    said = {model.model: model.notice for model in read_status(device.config).models}
    assert said == {"clf": "stale", "det": "valid"}


def test_a_time_that_was_said_in_error_binds_the_others_until_a_newer_notice_and_no_longer(
    publisher: Publisher, device: Device, observer: Observer
) -> None:
    publisher.publish("clf", "2")
    note_signed(device, "det", int(time.time()) + 100 * DAY_S)
    with device.running():
        observer.wait_for_reason("clf", "expired")
        publisher.publish("det", "2")
        observer.wait_for_state("clf", State.COMMITTED, "2")


def test_the_time_of_a_model_whose_record_was_not_read_yet_counts_for_the_others(
    device: Device,
) -> None:
    later_s = int(time.time()) + 100 * DAY_S
    note_signed(device, "det", later_s)
    times = NoticeTimes(device.config, OsDisk())
    assert times.elsewhere_s("clf", ev.Now(0.0, 0)) == later_s
    assert times.elsewhere_s("det", ev.Now(0.0, 0)) < later_s


def test_a_record_that_cannot_be_read_says_nothing_of_the_time(device: Device) -> None:
    (device.folder("det") / "state.json").write_text("[" * 100_000)
    assert NoticeTimes(device.config, OsDisk()).elsewhere_s("clf", ev.Now(0.0, 0)) == 0
