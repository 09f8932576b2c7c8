"""What a person asks on the device: going back by hand, and letting a release be tried again."""

import random
from pathlib import Path

import pytest

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.model import ModelCore
from slotcast_device.core.recovery import Findings
from slotcast_device.core.state import ModelState, SlotRecord
from slotcast_device.operator_requests import Control, OperatorRequest
from slotcast_device.storage.os_disk import OsDisk
from slotcast_schemas.messages.status import BenchedRelease
from slotcast_schemas.states import State
from slotcast_schemas.topics import Topics

NOW = ev.Now(1.0, 1_700_000_000)


def record(sequence: int) -> SlotRecord:
    return SlotRecord(
        version=f"{sequence}.0",
        sequence=sequence,
        release_sha256=bytes([sequence]) * 32,
        sha256=bytes([sequence]) * 32,
        size_bytes=1,
        entry="m.onnx",
        files=(),
    )


def core_of(state: ModelState) -> ModelCore:
    """Give a core that has looked at its disk and found this."""
    core = ModelCore("m", "dev", Topics(), random.Random(1))
    (look,) = core.start()
    assert isinstance(look, act.Inspect)
    found = Findings(
        state=state,
        current=state.active,
        sealed=dict(state.slots),
        releases={},
        sound=frozenset(state.slots),
    )
    core.handle(ev.JobDone(look, found), NOW)
    return core


@pytest.fixture
def committed() -> ModelCore:
    return core_of(
        ModelState(model="m", floor=2, active="b", slots={"a": record(1), "b": record(2)})
    )


def test_a_recall_saves_its_verdict_before_it_moves_anything(committed: ModelCore) -> None:
    actions = committed.handle(ev.RollBackAsked("the new one misreads plates"), NOW)
    saved = next(a for a in actions if isinstance(a, act.Save))
    assert saved.state.update is not None
    assert (saved.state.update.state, saved.state.update.verdict) == (State.TRIAL, "by_hand")
    assert not any(isinstance(a, act.Activate) for a in actions)
    check = actions[-1]
    assert check == act.CheckSlot("a")


def test_a_recall_ends_on_the_other_release_and_benches_the_one_it_left(
    committed: ModelCore,
) -> None:
    check = committed.handle(ev.RollBackAsked(), NOW)[-1]
    assert isinstance(check, act.CheckSlot)
    actions = committed.handle(ev.JobDone(check, None), NOW)
    assert act.Activate("a") in actions
    assert committed.state.active == "a"
    assert [b.sequence for b in committed.state.benched] == [2]
    assert committed.state.floor == 2, "an older release must not be accepted after a recall"


def test_without_another_release_a_recall_changes_nothing() -> None:
    core = core_of(ModelState(model="m", floor=2, active="b", slots={"b": record(2)}))
    before = core.state
    actions = core.handle(ev.RollBackAsked(), NOW)
    assert [type(a) for a in actions] == [act.Log]
    assert core.state == before


def test_before_the_state_is_read_a_request_changes_nothing() -> None:
    core = ModelCore("m", "dev", Topics(), random.Random(1))
    core.start()
    assert [type(a) for a in core.handle(ev.UnbenchAsked(None), NOW)] == [act.Log]


def test_unbench_forgets_one_release_or_all(committed: ModelCore) -> None:
    entries = tuple(BenchedRelease(sequence=n, version=f"{n}.0", reason="by_hand") for n in (1, 2))
    state = ModelState(model="m", active="b", slots={"b": record(2)}, benched=entries)
    core = core_of(state)
    core.handle(ev.UnbenchAsked(1), NOW)
    assert [b.sequence for b in core.state.benched] == [2]
    core.handle(ev.UnbenchAsked(None), NOW)
    assert core.state.benched == ()


def test_a_request_is_taken_once(tmp_path: Path) -> None:
    control = Control(OsDisk(), tmp_path)
    control.ask(OperatorRequest(do="rollback", model="m", detail="because"))
    assert [r.event() for r in control.take()] == [ev.RollBackAsked("because")]
    assert control.take() == []


def test_a_request_that_cannot_be_read_is_removed_and_does_not_stop_others(tmp_path: Path) -> None:
    control = Control(OsDisk(), tmp_path)
    control.ask(OperatorRequest(do="unbench", model="m"))
    (tmp_path / "control" / "a.json").write_text('{"do": "explode"}')
    assert [r.do for r in control.take()] == ["unbench"]
    assert list((tmp_path / "control").iterdir()) == []
