"""A device with encrypted slots, over a real broker: what it installs, what lies on its disk."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from slotcast_device import cli
from slotcast_device.hotmodel import HotModel
from slotcast_publisher.release.delta_payloads import all_builders
from slotcast_schemas.messages.release import Trial
from slotcast_schemas.reasons import Reason
from slotcast_schemas.states import State
from tests.support import models, recipients
from tests.support.at_rest import contents, key_file, turn_on
from tests.support.brokers import Broker
from tests.support.fleet import PATIENT, Device, Observer, Publisher
from tests.support.proxy import Plan, Proxy
from tests.support.recorder import shares_64_bytes

pytest.importorskip("cryptography.hazmat.primitives.hpke")
pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]
MODEL = "rest"
LABELS = random.Random(1).randbytes(40_000)
ROWS = models.inputs(1)


def files(number: int) -> dict[str, bytes]:
    """Give the files of a release, one of which stays."""
    model = models.classifier(1, hidden=1024, drift=0.001 * number)
    return {"model.onnx": model, "labels/names.bin": LABELS}


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The slots' key, beside the device and not in its state directory."""
    return key_file(tmp_path / "slots.key")


@pytest.fixture
def device(publisher: Publisher, tmp_path: Path) -> Device:
    """An enrolled device, a recipient, whose slots lie in the clear up to now."""
    made = publisher.provision("cam-1", tmp_path / "cam-1", models=[MODEL])
    recipients.enrol(publisher, made)
    recipients.add(publisher, made, model=MODEL)
    return made


def offer(publisher: Publisher, number: int, *, trial: Trial = PATIENT) -> None:
    version = str(number)
    publisher.release(
        MODEL, version, files(number), trial=trial, encrypt=True, builders=all_builders()
    )
    publisher.publish(MODEL, version)


def answers_at(device: Device) -> np.ndarray:
    """Answer as an application does, which finds the key by the agent's word."""
    with HotModel(device.current(MODEL).parent, report_s=0) as model:
        assert model.read_file("labels/names.bin") == LABELS
        return np.asarray(model.run(None, {"x": ROWS})[0])


def lies_in_the_clear(device: Device, *numbers: int) -> bool:
    """Say whether 64 bytes of a model are anywhere in the device's state directory."""
    secrets = [data for number in numbers for data in files(number).values()]
    return shares_64_bytes(secrets, contents(device.config.state_dir))


def test_an_encrypted_release_is_installed_served_and_updated_and_never_lies_in_the_clear(
    publisher: Publisher,
    broker: Broker,
    device: Device,
    key: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    turn_on(device, key)
    offer(publisher, 1)
    with Proxy((broker.host, broker.port), Plan(stall_at_bytes=60_000)) as proxy:
        device.change(broker.url, f"mqtt://127.0.0.1:{proxy.port}")
        process = device.spawn()
        device.wait_for_received(40_000, MODEL)
        process.kill()
        assert (device.folder(MODEL) / "content.key").exists()
        assert not lies_in_the_clear(device, 1)
        device.change(f"mqtt://127.0.0.1:{proxy.port}", broker.url)
    assert device.run_once().state is State.COMMITTED
    np.testing.assert_array_equal(answers_at(device), expected(1))

    offer(publisher, 2)
    delta = device.run_once()
    assert delta.state is State.COMMITTED
    assert (device.folder(MODEL) / "state.json").read_bytes()
    np.testing.assert_array_equal(answers_at(device), expected(2))
    assert not lies_in_the_clear(device, 1, 2)

    capsys.readouterr()
    cli.main(["status", "--config", str(device.config_path)])
    assert "at rest   slot a encrypted, slot b encrypted" in capsys.readouterr().out
    cli.main(["check", "--config", str(device.config_path)])
    said = capsys.readouterr().out
    assert "lies on the same file system as the slots" in said
    assert "encrypted releases are read with key" in said


def expected(number: int) -> np.ndarray:
    """What a release answers."""
    import onnxruntime

    session = onnxruntime.InferenceSession(files(number)["model.onnx"])
    return np.asarray(session.run(None, {"x": ROWS})[0])


def test_a_delta_reads_its_base_from_an_encrypted_slot(
    publisher: Publisher, broker: Broker, device: Device, key: Path
) -> None:
    turn_on(device, key)
    offer(publisher, 1)
    assert device.run_once().state is State.COMMITTED
    offer(publisher, 2)
    with Proxy((broker.host, broker.port), Plan()) as proxy:
        device.change(broker.url, f"mqtt://127.0.0.1:{proxy.port}")
        assert device.run_once().state is State.COMMITTED
        fetched = proxy.counters.down_bytes
    assert fetched < 0.7 * len(files(2)["model.onnx"])
    np.testing.assert_array_equal(answers_at(device), expected(2))


def test_a_release_that_is_rolled_back_leaves_the_encrypted_one_before_it(
    publisher: Publisher, broker: Broker, device: Device, key: Path
) -> None:
    turn_on(device, key)
    offer(publisher, 1)
    assert device.run_once().state is State.COMMITTED
    offer(publisher, 2, trial=Trial(duration_s=600.0, max_restarts=1))
    with (
        Observer(broker.url, publisher.topics, "cam-1") as observer,
        device.running(),
    ):
        observer.wait_for_state(MODEL, State.TRIAL, "2")
        publisher.withdraw(MODEL)
        observer.wait_for_state(MODEL, State.ROLLED_BACK, "2")
    np.testing.assert_array_equal(answers_at(device), expected(1))
    assert not lies_in_the_clear(device, 1, 2)


def test_a_device_of_before_goes_on_and_its_slots_are_encrypted_at_its_next_start(
    publisher: Publisher, device: Device, key: Path
) -> None:
    offer(publisher, 1)
    assert device.run_once().state is State.COMMITTED
    assert lies_in_the_clear(device, 1)
    private = (device.config.state_dir / "encryption.key").read_bytes()
    turn_on(device, key)
    assert device.run_once().reason in {Reason.UP_TO_DATE, Reason.COMMITTED}
    assert not lies_in_the_clear(device, 1)
    assert private not in contents(device.config.state_dir)
    np.testing.assert_array_equal(answers_at(device), expected(1))
    offer(publisher, 2)
    assert device.run_once().state is State.COMMITTED

    device.change("encrypt = true", "encrypt = false")
    offer(publisher, 3)
    assert device.run_once().state is State.COMMITTED
    assert device.current(MODEL).read_bytes() == files(3)["model.onnx"]


def test_without_its_key_a_device_says_so_and_goes_on_once_it_has_it(
    publisher: Publisher, device: Device, key: Path
) -> None:
    turn_on(device, key)
    offer(publisher, 1)
    assert device.run_once().state is State.COMMITTED
    kept = contents(device.folder(MODEL) / "slots")
    offer(publisher, 2)
    for wrong in (None, bytes(32)):
        key.unlink()
        if wrong is not None:
            key_file(key, wrong)
        status = device.run_once()
        assert status.reason == Reason.SLOTS_KEY_MISSING
        assert contents(device.folder(MODEL) / "slots") == kept
        key_file(key)
    assert device.run_once().state is State.COMMITTED
    np.testing.assert_array_equal(answers_at(device), expected(2))
