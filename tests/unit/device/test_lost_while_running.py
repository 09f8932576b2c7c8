"""What is lost while the agent runs, as its glances at the disk find it, on real files."""

from __future__ import annotations

from pathlib import Path

import pytest

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.plan import Facts
from slotcast_device.storage import state_file as records
from slotcast_device.storage.os_disk import OsDisk
from slotcast_schemas import wire
from slotcast_schemas.errors import StateUnwritable, StorageFailed
from slotcast_schemas.messages.offer import Group
from slotcast_schemas.verify import Trusted
from tests.support import messages
from tests.support.core_shell import DATA, MAP, PAYLOAD
from tests.support.lost_slots import (
    LOST,
    NOW,
    RELEASES,
    Home,
    believe_every_notice,
    home_of_two,
    lose_slot,
)


@pytest.fixture(autouse=True)
def _notices_are_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    believe_every_notice(monkeypatch)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_of_two(tmp_path)


@pytest.mark.parametrize("how", [*LOST, "the other slot"])
def test_a_running_agent_puts_the_link_back_at_a_glance(home: Home, how: str) -> None:
    core = home.start()
    if how == "the other slot":
        home.store.activate("a")
    else:
        home.loses_current(how)
    asked = home.glance(core)
    assert home.current.readlink() == Path("slots/b")
    assert home.opens() == 2
    assert not any(isinstance(action, act.Job) for action in asked), "nothing need be hashed"
    assert "lost" in core.status().detail
    assert home.glance(core) == []


def test_a_glance_finds_nothing_where_all_is_well(home: Home) -> None:
    core = home.start()
    assert home.files.glance(core.state) is None


def test_where_the_active_slot_is_lost_the_other_one_serves(home: Home) -> None:
    core = home.start()
    lose_slot(home, "b", "folder")
    home.glance(core)
    assert home.opens() == 1
    assert core.state.active == "a"
    assert core.status().reason == "slot_damaged"
    assert home.glance(core) == []


def test_once_a_day_all_of_it_is_read_and_what_changed_serves_no_more(home: Home) -> None:
    """At a glance only the size is seen; an update under way is not disturbed."""
    core = home.start()
    file = home.store.path("b") / "model.onnx"
    file.chmod(0o644)
    file.write_bytes(bytes(len(file.read_bytes())))
    assert home.glance(core) == []
    home.do(core, core.handle(ev.LookDue(), NOW))
    assert home.opens() == 1
    assert core.status().reason == "slot_damaged"


def test_where_every_slot_is_lost_the_disk_is_not_read_again_and_again(home: Home) -> None:
    core = home.start()
    lose_slot(home, "a", "folder")
    lose_slot(home, "b", "folder")
    home.glance(core)
    assert home.glance(core) == []


def test_a_slot_lost_in_the_middle_of_a_job_is_looked_at_after_it(home: Home) -> None:
    core = home.start()
    (verify,) = core.handle(ev.NoticeArrived(b"a notice"), NOW)
    assert isinstance(verify, act.Verify)
    lose_slot(home, "b", "folder")
    assert not any(isinstance(action, act.Inspect) for action in home.glance(core))
    home.do(core, core.handle(ev.JobDone(verify, error=StateUnwritable("no")), NOW))
    assert home.opens() == 1


def test_a_lost_record_is_written_anew(home: Home) -> None:
    core = home.start()
    (home.folder / "state.json").unlink()
    home.glance(core)
    assert records.load(OsDisk(), home.folder / "state.json", "detector") == core.state


def test_what_cannot_be_put_back_is_said_and_tried_again_later(home: Home) -> None:
    core = home.start()
    home.current.unlink()
    found = home.files.glance(core.state)
    assert found is not None
    (put_back, *rest) = core.handle(found, NOW)
    failed = ev.ActionFailed(put_back, StateUnwritable("read-only"), tuple(rest))
    said = core.handle(failed, NOW)
    assert any(isinstance(action, act.PublishStatus) for action in said)
    assert "cannot be put back: state_unwritable: read-only" in core.status().detail
    assert core.handle(found, ev.Now(NOW.mono_s + 1, NOW.wall_s)) == []
    home.do(core, core.handle(found, ev.Now(NOW.mono_s + 60, NOW.wall_s)))
    assert home.opens() == 2


def test_a_release_that_was_built_anew_serves_though_its_probe_cannot_be_held(home: Home) -> None:
    """Nothing else is left: 2 was committed before, and is whole in the other slot again."""
    core = home.start()
    lose_slot(home, "a", "folder")
    lose_slot(home, "b", "folder")
    home.glance(core)
    offer = messages.offer(
        groups=(Group(name="all"),), payloads=(PAYLOAD,), version="2", sequence=2
    )
    trusted = Trusted(RELEASES[2], wire.encode(RELEASES[2]), offer, b"")
    facts = Facts("cam-1", {}, onnxruntime="1.20", memory_bytes=10**9, disk_bytes=10**9)

    def done(kind: type[act.Job], result: object, asked: list[act.Action]) -> list[act.Action]:
        (job,) = [action for action in asked if isinstance(action, kind)]
        return home.do(core, core.handle(ev.JobDone(job, result), NOW))

    asked = core.handle(ev.ConnectionMade("mqtt://a", 64), NOW)
    asked = core.handle(ev.NoticeArrived(b"a notice"), NOW)
    asked = done(act.Verify, act.NoticeVerified(trusted, facts), asked)
    asked = done(act.OpenSpool, act.Spooled({0: MAP}, is_empty=True), asked)
    asked = core.handle(ev.ChunkArrived(PAYLOAD.sha256, 0, DATA), NOW)
    home.build("a", 2)
    asked = done(act.Build, None, asked)
    (probe,) = [action for action in asked if isinstance(action, act.ProbeSlot)]
    home.do(core, core.handle(ev.JobDone(probe, error=StorageFailed("no memory")), NOW))
    assert home.opens() == 2
    assert core.state.active == "a"
