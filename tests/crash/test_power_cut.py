"""The power goes at every operation of the real process on its files; then it starts again.

A real `slotcast-device run` is traced (strace) while it installs a release. The disks that a power
cut after its operations may leave are built from the trace and given to the device's own recovery:
a sample of them (`replay.sample`), and with SLOTCAST_CUTS=all, as in `make soak`, those of every
operation; SLOTCAST_SEED=N draws another sample. To the real agent, with a real broker, that must
end committed, some are given here and as many as there is time for in `make soak`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec
import pytest

from slotcast_schemas.states import State as Phase
from tests.crash.replay import DRAWS, Distinct, State, sample
from tests.crash.starts import recover
from tests.crash.story import MODEL, Story, publisher, tell, tell_reset, tell_turned_on
from tests.simulation.ramdisk import Loss
from tests.support.at_rest import key_file
from tests.support.brokers import Broker
from tests.support.fleet import Device
from tests.support.recorder import shares_64_bytes

pytestmark = [
    pytest.mark.broker,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("quick_probes"),  # of devices in this process; the traced ones are real
    pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace (apt-get)"),
]

FULL_RUNS = 8
IS_WHOLE: Final = os.environ.get("SLOTCAST_CUTS") == "all"
SEED: Final = int(os.environ.get("SLOTCAST_SEED", "20261122"))


def _states(story: Story) -> Iterator[State]:
    """Give the disks to start on: of a sample of the cuts, or of all."""
    return story.states(None if IS_WHOLE else sample(story.ops, SEED))


@pytest.fixture(scope="module")
def first_install(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Story:
    folder = tmp_path_factory.mktemp("cut-first")
    return tell(publisher(folder, broker.url), folder, "1")


@pytest.fixture(scope="module")
def update(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Story:
    """Of a device that has a release in either slot, so that one must be given up."""
    folder = tmp_path_factory.mktemp("cut-update")
    return tell(publisher(folder, broker.url), folder, "1", "2", "3")


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Story:
    """Of a device that encrypts its slots, and must give one up."""
    folder = tmp_path_factory.mktemp("cut-encrypted")
    key = key_file(folder / "slots.key")
    return tell(publisher(folder, broker.url), folder, "1", "2", "3", key=key)


@pytest.fixture(scope="module")
def turned_on(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Story:
    """Of a device that encrypts two slots which lay in the clear."""
    folder = tmp_path_factory.mktemp("cut-turned-on")
    return tell_turned_on(publisher(folder, broker.url), folder, key_file(folder / "slots.key"))


@pytest.fixture(scope="module")
def reset(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Story:
    """Of a device that ran three releases and is set back to the first, which no slot holds."""
    folder = tmp_path_factory.mktemp("cut-reset")
    return tell_reset(publisher(folder, broker.url), folder, "1", "2", "3")


def test_the_trace_shows_every_step_of_an_update(update: Story) -> None:
    steps = {(op.what, op.path.name) for op in update.ops}

    assert {("rename", "current.tmp"), ("sync", "model.onnx"), ("sync", "a")} <= steps
    assert {("write", "data"), ("rename", "a.release.tmp"), ("sync", "slots")} <= steps
    assert sum(op == ("rename", "state.json.tmp") for op in steps) == 1
    assert len(update.ops) > 60


def test_a_sample_of_the_cuts_has_every_kind_of_operation_and_every_part_of_the_story(
    update: Story,
) -> None:
    cuts = sample(update.ops, SEED)
    after = {cut: update.ops[cut - 1].what for cut in cuts if cut}

    assert set(after.values()) == {op.what for op in update.ops}
    assert max(later - cut for cut, later in pairwise(cuts)) < 8
    assert min(cuts) < 4
    assert len(update.ops) in cuts
    renames = [cut for cut, op in enumerate(update.ops, 1) if op.what == "rename"]
    assert {cuts.get(cut) for cut in renames} == {DRAWS[Loss.TORN]}
    assert len(cuts) < len(update.ops) * 3 // 4


def test_a_replay_of_the_whole_trace_is_what_is_really_there(update: Story, tmp_path: Path) -> None:
    *_, last = (s for s in update.states({len(update.ops): 1}) if s.loss is Loss.EVERYTHING)
    update.put(last, tmp_path / "state")

    real = {p.relative_to(update.state_dir) for p in update.state_dir.rglob("*")}
    assert {p.relative_to(tmp_path / "state") for p in (tmp_path / "state").rglob("*")} == real
    for path in real:
        if (update.state_dir / path).is_file():
            assert (tmp_path / "state" / path).read_bytes() == (
                update.state_dir / path
            ).read_bytes(), path


@pytest.mark.parametrize("which", ["first_install", "update", "encrypted"])
def test_after_a_power_cut_anywhere_the_device_recovers(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    story: Story = request.getfixturevalue(which)
    distinct = Distinct()
    for state in _states(story):
        if not distinct.is_new(state, story.state_dir):
            continue
        faults = story.faults(state, tmp_path / "state")
        assert not faults, f"{state.name}: {faults}"

    assert distinct.seen > 2 * len(story.ops)
    assert distinct.new > len(story.ops)


def test_after_a_power_cut_while_slots_are_encrypted_each_file_is_whole(
    turned_on: Story, tmp_path: Path
) -> None:
    distinct = Distinct()
    for state in _states(turned_on):
        if distinct.is_new(state, turned_on.state_dir):
            faults = turned_on.faults(state, tmp_path / "state")
            assert not faults, f"{state.name}: {faults}"

    renamed = {op.path.name for op in turned_on.ops if op.what == "rename"}
    assert {"model.onnx.encrypted", "labels.txt.encrypted"} <= renamed
    assert distinct.new > len(turned_on.ops) // 2


def test_a_device_that_encrypts_its_slots_writes_no_model_in_the_clear(
    encrypted: Story, update: Story
) -> None:
    """But for the payload, which lies as it came: this release was not encrypted for its way."""
    model = (
        encrypted.device.config_path.parents[1] / f"repo/given/{MODEL}/3/model.onnx"
    ).read_bytes()

    def written(story: Story) -> list[bytes]:
        return [
            b"".join(op.data for op in story.ops if op.what == "write" and op.path == path)
            for path in {op.path for op in story.ops if op.path.name != "data"}
        ]

    assert shares_64_bytes([model], written(update))
    assert not shares_64_bytes([model], written(encrypted))


def test_after_a_power_cut_anywhere_a_device_is_set_back_or_not_at_all(
    reset: Story, tmp_path: Path
) -> None:
    distinct = Distinct()
    ends = set()
    for state in _states(reset):
        if not distinct.is_new(state, reset.state_dir):
            continue
        faults = reset.faults(state, tmp_path / "state")
        assert not faults, f"{state.name}: {faults}"
        core = recover(reset.put(state, tmp_path / "state"), MODEL).state
        assert core.active_record is not None, state.name
        assert core.provisioned is not None, state.name
        ends.add((core.active_record.version, core.set_back, core.floor))

    assert ends == {("3", "", 3), ("1", "done", 3)}
    assert distinct.new > len(reset.ops)


def test_after_a_power_cut_anywhere_a_lost_current_is_put_back(
    update: Story, tmp_path: Path
) -> None:
    """Of the disks that cuts leave, every fifth; then somebody takes `current` away."""
    distinct = Distinct()
    tried = 0
    for state in _states(update):
        if not distinct.is_new(state, update.state_dir) or distinct.new % 5:
            continue
        faults = update.faults(state, tmp_path / "state", lose="current")
        assert not faults, f"{state.name}: {faults}"
        tried += 1

    assert tried > len(update.ops) // 5


def test_after_a_power_cut_the_update_is_resumed_and_committed(
    update: Story, tmp_path: Path
) -> None:
    resumed = 0
    cuts = [len(update.ops) * i // FULL_RUNS for i in range(1, FULL_RUNS + 1)]
    losses = list(Loss)
    for number, cut in enumerate(cuts):
        loss = losses[number % len(losses)]
        state = next(s for s in update.states({cut: 1}) if s.loss is loss)
        device = update.moved(state, tmp_path / f"device-{cut}")
        resumed += _floor(device) < int(update.version)
        status = device.run_once()
        assert status.state in {Phase.COMMITTED, Phase.IDLE}, f"{state.name}: {status}"
        assert status.active is not None, state.name
        assert status.active.version == update.version, f"{state.name}: {status}"

    assert resumed >= FULL_RUNS // 2, "too few cuts fell before the commit to prove anything"


def _floor(device: Device) -> int:
    record = device.folder(MODEL) / "state.json"
    return int(msgspec.json.decode(record.read_bytes())["floor"])
