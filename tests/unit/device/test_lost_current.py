"""`current`, a slot, the record: whatever is lost, the device opens a whole release again.

Real files in a real folder; the core and its file jobs, with no broker. Two releases were
committed, 1 in slot a and 2 in slot b; 2 is active unless a test says otherwise.
"""

from __future__ import annotations

import hashlib
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from slotcast_device.config import DeviceConfig
from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.model import ModelCore
from slotcast_device.core.plan import Facts
from slotcast_device.core.state import ModelState, SlotName, Update, record_of
from slotcast_device.jobs import ModelJobs
from slotcast_device.self_check import check
from slotcast_device.storage import inspection
from slotcast_device.storage import state_file as records
from slotcast_device.storage.os_disk import OsDisk
from slotcast_device.storage.slots import SlotStore
from slotcast_schemas import wire
from slotcast_schemas.errors import StateUnwritable, StorageFailed
from slotcast_schemas.messages import Notice, Release
from slotcast_schemas.messages.offer import Group
from slotcast_schemas.messages.release import File, Probe, Trial
from slotcast_schemas.states import State
from slotcast_schemas.verify import Trusted
from tests.support import messages
from tests.support.core_shell import DATA, MAP, PAYLOAD

NOW = ev.Now(1000.0, 1_790_000_000)
DEVICE_TOML = """\
format = 1
device = "cam-1"
models = ["detector"]
[[brokers]]
url = "mqtt://127.0.0.1:9"
"""


def content(number: int) -> dict[str, bytes]:
    """The files of a release."""
    return {"model.onnx": bytes([number]) * 5000, "data/labels.txt": b"cat\n" * number}


def release(number: int) -> Release:
    files = tuple(
        File(path=path, size_bytes=len(data), sha256=hashlib.sha256(data).digest())
        for path, data in content(number).items()
    )
    image = b"".join(content(number).values())
    return messages.release(
        version=str(number),
        sequence=number,
        files=files,
        image_size_bytes=len(image),
        image_sha256=hashlib.sha256(image).digest(),
        rebased=None,
        requires=(),
        probe=Probe(),
        trial=Trial(max_restarts=2),
    )


def notice_of(signed: bytes) -> bytes:
    """The notice that is kept beside a slot, with nothing in it but the release."""
    metadata = {"1.root.json": b"{}"}
    return wire.encode(Notice(model="detector", metadata=metadata, targets={"release": signed}))


@pytest.fixture(autouse=True)
def _signatures_are_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a notice proves is tried in `security/test_kept_notices`; here it proves all."""

    def prove(release_bytes: bytes, notice: bytes, model: str, pinned_root: bytes) -> None:
        assert release_bytes in wire.decode(notice, Notice).targets.values()

    monkeypatch.setattr(inspection, "prove_release", prove)


RELEASES = {number: release(number) for number in (1, 2)}
RECORDS = {
    number: record_of(made, hashlib.sha256(wire.encode(made)).digest())
    for number, made in RELEASES.items()
}


class Home:
    """A device's folder, what is done to it, and what a start makes of it."""

    def __init__(self, folder: Path) -> None:
        (folder / "device.toml").write_text(DEVICE_TOML)
        (folder / "root.json").write_text("{}")
        self.config = DeviceConfig(folder / "device.toml")
        self.folder = self.config.model_dir("detector")
        self.current = self.folder / "current"
        self.store = SlotStore(OsDisk(), self.folder)
        self.files = ModelJobs(self.config, "detector", OsDisk())

    def build(self, slot: SlotName, number: int) -> None:
        """Put a release into a slot, as an update does."""
        self.store.clear(slot)
        writer = self.store.build(slot, RELEASES[number])
        writer.write(b"".join(content(number).values()))
        writer.finish()
        signed = wire.encode(RELEASES[number])
        self.store.seal(slot, signed, notice_of(signed))

    def save(self, active: SlotName | None = "b", floor: int = 2, **update: Any) -> None:
        """Write the record."""
        given: dict[str, Any] = {"state": State.COMMITTED, "reason": "committed"}
        given |= {"slot": "b", "fallback": "a"}
        state = ModelState(
            model="detector",
            floor=floor,
            active=active,
            slots={"a": RECORDS[1], "b": RECORDS[2]},
            update=Update(
                version="2",
                sequence=2,
                release_sha256=RECORDS[2].release_sha256,
                **{**given, **update},
            ),
        )
        records.save(OsDisk(), self.folder / "state.json", state)

    def start(self) -> ModelCore:
        """Start the core, and do what it asks of the disk until it wants a model to run."""
        core = ModelCore("detector", "cam-1", self.config.topics, random.Random(1))
        self.do(core, core.start())
        return core

    def do(self, core: ModelCore, actions: list[act.Action]) -> list[act.Action]:
        """Carry out what concerns the disk; give all that was asked, in order."""
        todo, asked = list(actions), []
        while todo:
            action = todo.pop(0)
            asked.append(action)
            if isinstance(action, (act.Inspect, act.CheckSlot)):
                todo += core.handle(ev.JobDone(action, self.files.run(action)), NOW)
            elif isinstance(action, act.Step):
                self.files.carry_out(action)
        return asked

    def glance(self, core: ModelCore) -> list[act.Action]:
        """Look as the running agent does every second, and do what follows."""
        found = self.files.glance(core.state)
        return [] if found is None else self.do(core, core.handle(found, NOW))

    def opens(self) -> int | None:
        """Give the release that an application finds, whole; None where there is none."""
        for number in RELEASES:
            for path, data in content(number).items():
                file = self.current / path
                if not file.is_file() or file.read_bytes() != data:
                    break
            else:
                return number
        return None

    def loses_current(self, how: str) -> None:
        """Do to `current` what a hand, a copy or a file system check does."""
        target = self.current.resolve()
        self.current.unlink()
        match how:
            case "a link to a folder elsewhere":
                elsewhere = self.folder.parents[2] / "elsewhere"
                shutil.copytree(target, elsewhere)
                self.current.symlink_to(elsewhere)
            case "a link to no slot":
                self.current.symlink_to("slots/c")
            case "the whole path of a slot":
                self.current.symlink_to(target)
            case "a folder of files, as cp -rL makes it":
                shutil.copytree(target, self.current)
            case "an empty folder":
                self.current.mkdir()
            case "a file, as a copy without links makes it":
                self.current.write_bytes(b"slots/b")


LOST = (
    "nothing",
    "a link to a folder elsewhere",
    "a link to no slot",
    "the whole path of a slot",
    "a folder of files, as cp -rL makes it",
    "an empty folder",
    "a file, as a copy without links makes it",
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path)
    made.build("a", 1)
    made.build("b", 2)
    made.store.activate("b")
    made.save()
    return made


def lose_slot(home: Home, slot: SlotName, how: str) -> None:
    """Take a slot's folder, its signed release, or change its bytes."""
    match how:
        case "folder":
            shutil.rmtree(home.store.path(slot))
        case "release":
            (home.store.folder / f"{slot}.release").unlink()
        case "bytes":
            file = home.store.path(slot) / "model.onnx"
            file.chmod(0o644)
            file.write_bytes(b"?" * 5000)


# --- at a start -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", LOST)
def test_a_lost_link_is_put_back_where_the_record_says(home: Home, how: str) -> None:
    home.loses_current(how)
    core = home.start()
    assert home.current.readlink() == Path("slots/b")
    assert home.opens() == 2
    assert (core.state.active, core.state.floor) == ("b", 2)
    assert core.status().state is State.COMMITTED
    assert "lost" in core.status().detail


@pytest.mark.parametrize("record", ["kept", "gone", "torn"])
@pytest.mark.parametrize("b", ["whole", "folder", "release", "bytes"])
@pytest.mark.parametrize("a", ["whole", "folder", "release", "bytes"])
@pytest.mark.parametrize("link", ["kept", "nothing", "a folder of files, as cp -rL makes it"])
def test_current_opens_a_whole_release_whenever_any_slot_is_whole(
    home: Home, link: str, a: str, b: str, record: str
) -> None:
    if link != "kept":
        home.loses_current(link)
    lose_slot(home, "a", a)
    lose_slot(home, "b", b)
    if record == "torn":
        (home.folder / "state.json").write_bytes(b"{")
    elif record == "gone":
        (home.folder / "state.json").unlink()
    core = home.start()

    vouched = {"whole", "release"} if record == "kept" else {"whole"}
    whole = {number for number, how in ((1, a), (2, b)) if how in vouched}
    if not whole:
        assert not home.current.exists(), "nothing is known to be right, so nothing serves"
        return
    assert home.opens() in whole
    slot = "a" if home.opens() == 1 else "b"
    assert home.current.readlink() == Path(f"slots/{slot}")
    assert core.state.active == slot, "two truths"
    assert core.status().active is not None
    if record == "kept" and 2 in whole:
        assert slot == "b", "the record says what was active"


def test_a_record_that_earlier_software_left_with_nothing_active_is_mended(home: Home) -> None:
    """It took a lost link for the truth: committed, and nothing active."""
    home.current.unlink()
    home.save(active=None)
    core = home.start()
    assert home.opens() == 2
    assert core.state.active == "b"


def test_without_record_and_link_the_release_that_was_proven_first_serves(home: Home) -> None:
    """The newer one may have failed its probe; if it is good, the notice brings it again."""
    home.current.unlink()
    (home.folder / "state.json").unlink()
    core = home.start()
    assert (home.opens(), core.state.floor) == (1, 1)


def test_a_first_release_that_was_rolled_back_is_not_opened_again(home: Home) -> None:
    home.current.unlink()
    home.save(active=None, floor=0, state=State.ROLLED_BACK, reason="errors", fallback=None)
    core = home.start()
    assert not home.current.exists()
    assert core.state.active is None
    assert core.status().state is State.ROLLED_BACK


@pytest.mark.parametrize("how", LOST)
def test_a_trial_goes_on_where_its_link_was_lost(home: Home, how: str) -> None:
    home.save(floor=1, state=State.TRIAL, reason="on_trial")
    home.loses_current(how)
    core = home.start()
    assert home.opens() == 2
    assert core.status().state is State.TRIAL


def test_a_switch_whose_link_was_lost_is_made_again_from_the_old_release(home: Home) -> None:
    home.save(active="a", floor=1, state=State.ACTIVATING, reason="switching")
    home.current.unlink()
    core = home.start()
    assert home.opens() == 2
    assert core.status().state is State.TRIAL


def test_a_roll_back_whose_link_was_lost_ends_at_the_old_release(home: Home) -> None:
    home.save(floor=1, state=State.TRIAL, reason="on_trial", verdict="errors")
    home.current.unlink()
    core = home.start()
    assert home.opens() == 1
    assert (core.status().state, core.status().reason) == (State.ROLLED_BACK, "errors")


def test_a_plain_folder_does_not_serve_where_no_slot_is_sound_and_is_not_lost(home: Home) -> None:
    home.loses_current("a folder of files, as cp -rL makes it")
    lose_slot(home, "a", "folder")
    lose_slot(home, "b", "folder")
    home.start()
    assert not home.current.exists()
    assert (home.folder / "current.aside" / "model.onnx").is_file()


def test_what_was_in_the_place_of_current_is_kept_until_the_next_update(home: Home) -> None:
    home.loses_current("an empty folder")
    (home.current / "mine").write_bytes(b"mine")
    home.start()
    assert (home.folder / "current.aside" / "mine").read_bytes() == b"mine"
    home.files.carry_out(act.DropSpool())
    assert not (home.folder / "current.aside").exists()


@pytest.mark.parametrize(("lost", "order"), [("link", [act.Activate, act.Save]),
                                             ("slot", [act.Save, act.Activate])])  # fmt: skip
def test_what_a_power_cut_between_record_and_link_leaves_is_known(
    home: Home, lost: str, order: list[type]
) -> None:
    """A link is put back first, for the record says so already; a change of slot is saved first."""
    if lost == "link":
        home.current.unlink()
    else:
        lose_slot(home, "b", "folder")
    core = ModelCore("detector", "cam-1", home.config.topics, random.Random(1))
    asked = home.do(core, core.start())
    assert [type(a) for a in asked if isinstance(a, (act.Activate, act.Save))] == order


def test_a_record_that_cannot_be_used_does_not_keep_current_lost(home: Home) -> None:
    home.current.unlink()
    (home.folder / "state.json").write_bytes(b'{"format": 99, "model": "detector"}')
    core = home.start()
    assert core.is_unreadable
    assert core.status().reason == "state_too_new"
    assert home.opens() in {1, 2}


# --- while the agent runs -------------------------------------------------------------------------


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


# --- the signed release of a slot -----------------------------------------------------------------


def test_the_way_back_is_clear_though_the_old_slot_lost_its_signed_release(home: Home) -> None:
    lose_slot(home, "a", "release")
    home.save(floor=1, state=State.TRIAL, reason="on_trial", verdict="errors")
    core = home.start()
    assert home.opens() == 1
    assert core.status().state is State.ROLLED_BACK


def test_a_lost_signed_release_is_written_again_from_the_notice_beside_it(home: Home) -> None:
    lose_slot(home, "b", "release")
    core = home.start()
    assert (core.status().state, home.opens()) == (State.COMMITTED, 2)
    assert home.store.release("b") == RELEASES[2]


def test_of_a_slot_that_the_record_does_not_speak_of_no_release_is_written(home: Home) -> None:
    """Its files were being removed; with a release it would be taken for one that is whole."""
    lose_slot(home, "a", "release")
    (home.folder / "state.json").unlink()
    home.start()
    assert home.store.release("a") is None


# --- what `check` says ----------------------------------------------------------------------------


def test_the_check_says_that_current_is_lost(home: Home) -> None:
    def of_current() -> list[tuple[bool, str]]:
        return [(f.passed, f.detail) for f in check(home.config) if f.name == "current_detector"]

    assert of_current() == [(True, "opens slots/b")]
    home.loses_current("nothing")
    ((passed, detail),) = of_current()
    assert not passed
    assert "found nothing" in detail
