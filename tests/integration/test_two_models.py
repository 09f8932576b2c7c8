"""Two models of one device that are the same files: their payload's chunks are each other's."""

from __future__ import annotations

from pathlib import Path

import pytest

from slotcast_device.shell import DeviceShell
from slotcast_schemas.states import State
from tests.support.fleet import Publisher, model_bytes

pytestmark = pytest.mark.broker


@pytest.mark.usefixtures("quick_probes")
def test_two_models_of_one_image_are_installed_and_their_bytes_counted_once(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    real = DeviceShell.take_turn

    def take_turn(shell: DeviceShell) -> None:
        real(shell)
        meter = shell.connection._meter
        counted.append(meter.budget.useless_bytes)

    monkeypatch.setattr(DeviceShell, "take_turn", take_turn)
    publisher.release("det", "1", {"model.onnx": model_bytes(1)})
    for model in ("clf", "det"):
        publisher.publish(model, "1")
    device = publisher.provision("cam-1", tmp_path / "cam-1", models=("clf", "det"))
    assert device.run_once().state is State.COMMITTED
    assert device.current("det").read_bytes() == model_bytes(1)
    assert min(counted) >= 0
