"""Somebody changes a device's files while it is off, or plants links and pipes where it writes.

What a slot says it holds is held against the pinned root at each start. What was changed serves no
longer than that look takes, is named, and is mended by the next notice.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from slotcast_device.application.app_report import AppReport, write_report
from slotcast_device.config import DeviceConfig
from slotcast_device.core import actions as act
from slotcast_device.core.events import JobDone, Now
from slotcast_device.core.model import ModelCore
from slotcast_device.jobs import ModelJobs
from slotcast_device.operator_requests import Control, OperatorRequest
from slotcast_device.reporting import agent_view
from slotcast_device.reporting.agent_view import ViewWriter
from slotcast_device.reporting.metrics_collector import MetricsCollector
from slotcast_device.storage.lock import is_locked, locked
from slotcast_device.storage.os_disk import OsDisk
from slotcast_device.storage.provisioned import ProvisionedStore
from slotcast_device.storage.slots import SlotStore
from slotcast_device.storage.spool import Spool
from slotcast_publisher.repository import Repository
from slotcast_publisher.trust.ceremonies import rotate_keys
from slotcast_schemas import wire
from slotcast_schemas.errors import BadSignature, RefusedRelease, StorageFailed
from slotcast_schemas.messages import Notice, Release
from slotcast_schemas.release_proof import prove_release
from slotcast_schemas.states import State
from slotcast_schemas.trust import release_target
from tests.support import messages
from tests.support.fleet import Device, Observer, Publisher, answers, model_bytes
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("quick_probes")

YEARS_S = 20 * 365 * 86400.0
LARGE_BYTES = 1 << 21
"""More than any file beside a slot has."""


def evil_bytes() -> bytes:
    """A model that is as good as any, and that nobody signed."""
    return model_bytes(66)


def change_slot(device: Device, slot: str) -> None:
    """Put an unsigned model into a slot, with a release and a record that fit it to the byte."""
    folder, data = device.folder(), evil_bytes()
    model, release_file = folder / "slots" / slot / "model.onnx", folder / f"slots/{slot}.release"
    model.chmod(0o644)
    model.write_bytes(data)
    digest = hashlib.sha256(data).digest()
    release = wire.decode(release_file.read_bytes(), Release)
    file = msgspec.structs.replace(release.files[0], size_bytes=len(data), sha256=digest)
    release = msgspec.structs.replace(
        release, files=(file,), image_size_bytes=len(data), image_sha256=digest
    )
    release_file.chmod(0o644)
    release_file.write_bytes(wire.encode(release))
    record = json.loads((folder / "state.json").read_text())
    held = record["slots"][slot]
    held["sha256"] = held["files"][0]["sha256"] = _base64(digest)
    held["size_bytes"] = held["files"][0]["size_bytes"] = len(data)
    held["release_sha256"] = _base64(hashlib.sha256(wire.encode(release)).digest())
    (folder / "state.json").write_text(json.dumps(record))


def _base64(data: bytes) -> str:
    return str(msgspec.to_builtins(data))


def serves(device: Device, number: int) -> bool:
    """Whether what `current` opens answers exactly as the model of that number does."""
    return np.array_equal(device.answers(), answers(model_bytes(number)))


@pytest.fixture
def device(publisher: Publisher, tmp_path: Path) -> Device:
    """A device that runs v1."""
    device = publisher.provision("cam-1", tmp_path / "cam-1")
    publisher.publish("clf", "1")
    assert device.run_once().state is State.COMMITTED
    return device


def test_a_provisioned_copy_that_was_changed_is_never_served(
    device: Device, publisher: Publisher
) -> None:
    publisher.publish("clf", "2")
    assert device.run_once().state is State.COMMITTED
    kept = device.folder() / "provisioned"
    signed = (kept / "release").read_bytes()
    release = wire.decode(signed, Release)
    changed = msgspec.structs.replace(release, sequence=release.sequence + 1)
    for path, data in (
        (kept / "files/model.onnx", evil_bytes()),
        (kept / "release", wire.encode(changed)),
        (kept / "notice", b"\x80"),
    ):
        before = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(data)
        assert device.command("reset-to-provisioned").wait() == 0
        assert serves(device, 2), path
        path.write_bytes(before)
    assert device.command("reset-to-provisioned").wait() == 0
    assert serves(device, 1)


# --- slots ----------------------------------------------------------------------------------------


@pytest.mark.broker
@pytest.mark.timeout(300)
def test_a_changed_slot_gives_way_to_the_other_one_is_named_and_is_mended(
    publisher: Publisher, device: Device, observer: Observer
) -> None:
    publisher.publish("clf", "2")
    assert device.run_once().state is State.COMMITTED
    slot = device.current().resolve().parent.name
    change_slot(device, slot)
    observer.forget()
    with device.running():
        status = observer.wait_for_reason("clf", "slot_tampered")
        assert status.active is not None
        assert status.active.version == "1"
        assert f"slot {slot} was tampered with" in status.detail
        wait_until_mended(observer)
    assert serves(device, 2)


@pytest.mark.broker
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "large"])
@pytest.mark.parametrize("what", ["model.onnx", ".release", ".notice", "state.json"])
def test_a_slot_with_something_else_in_a_files_place_gives_way_or_is_mended(
    publisher: Publisher, device: Device, observer: Observer, tmp_path: Path, what: str, kind: str
) -> None:
    publisher.publish("clf", "2")
    assert device.run_once().state is State.COMMITTED
    folder = device.current().resolve().parent
    places = {"model.onnx": folder / what, "state.json": device.folder() / what}
    path = places.get(what, folder.with_name(folder.name + what))
    assert path.is_file()
    if what != "model.onnx":
        change_slot(device, folder.name)
    folder.chmod(0o755)
    path.unlink()
    victim = plant(path, kind, tmp_path)

    def is_ours() -> bool:
        return not path.is_symlink() and path.is_file() and path.stat().st_size < LARGE_BYTES

    observer.forget()
    with device.running():
        wait_until(is_ours, "it is mended")
        wait_until(lambda: serves(device, 2), "it serves")
    assert victim.read_bytes() == b"of somebody else"


def wait_until_mended(observer: Observer) -> None:
    """Wait for a commit that was told after the slot was found; the one before may come late."""

    def is_mended() -> bool:
        said = [(m.state, m.reason) for m in observer.of("clf")]
        reasons = [reason for _, reason in said]
        return State.COMMITTED in {s for s, _ in said[reasons.index("slot_tampered") :]}

    wait_until(is_mended, "what was said before it was found does not count")


@pytest.mark.broker
@pytest.mark.timeout(300)
def test_where_no_other_slot_is_sound_nothing_serves_until_the_release_came_again(
    device: Device, observer: Observer, caplog: pytest.LogCaptureFixture
) -> None:
    slot = device.current().resolve().parent.name
    change_slot(device, slot)
    shutil.rmtree(device.folder() / "provisioned")
    observer.forget()
    with device.running():
        status = observer.wait_for_reason("clf", "slot_tampered")
        assert status.active is None
        wait_until_mended(observer)
    assert "nothing serves until it is mended" in caplog.text
    assert serves(device, 1)


def without_link(folder: Path, slot: str) -> None:
    """A folder in the place of `current`, and no slot."""
    (folder / "current").unlink()
    (folder / f"slots/{slot}").rename(folder / "current")


def in_the_next_format(folder: Path, slot: str) -> None:
    """A record that this software does not read."""
    del slot
    (folder / "state.json").write_text(json.dumps({"format": 999}))


def without(*names: str) -> Callable[[Path, str], None]:
    """Delete files."""

    def delete(folder: Path, slot: str) -> None:
        for name in names:
            (folder / name.replace("SLOT", f"slots/{slot}")).unlink()

    return delete


RELEASE, PROOF, RECORD = "SLOT.release", "SLOT.notice", "state.json"
BESIDES = {
    "nothing": without(),
    "proof gone": without(PROOF),
    "release gone": without(RELEASE),
    "release and proof gone": without(RELEASE, PROOF),
    "record gone": without(RECORD),
    "proof and record gone": without(PROOF, RECORD),
    "release and record gone": without(RELEASE, RECORD),
    "all gone": without(RELEASE, PROOF, RECORD),
    "record of another format": in_the_next_format,
    "a folder for the link": without_link,
}
"""What is done beside the change of the slot, so that nothing tells of it."""


@pytest.mark.broker
@pytest.mark.timeout(300)
@pytest.mark.parametrize("besides", BESIDES)
def test_what_nobody_vouches_for_does_not_serve_whatever_else_was_taken_away(
    device: Device, besides: str
) -> None:
    """There is no other slot, and no broker is asked: what lies on the device must tell."""
    slot = device.current().resolve().parent.name
    change_slot(device, slot)
    BESIDES[besides](device.folder(), slot)
    assert_nothing_serves(device)


@pytest.mark.broker
@pytest.mark.timeout(300)
@pytest.mark.parametrize("besides", BESIDES)
def test_a_model_that_was_changed_under_its_true_release_does_not_serve_either(
    device: Device, besides: str
) -> None:
    folder, slot = device.folder(), device.current().resolve().parent.name
    kept = {path: path.read_bytes() for path in (folder / RECORD, folder / f"slots/{slot}.release")}
    change_slot(device, slot)
    for path, data in kept.items():
        path.write_bytes(data)
    BESIDES[besides](folder, slot)
    assert_nothing_serves(device)


@pytest.mark.broker
@pytest.mark.timeout(300)
def test_the_only_slot_is_mended_from_the_provisioned_release_and_nothing_is_fetched(
    device: Device, observer: Observer
) -> None:
    change_slot(device, device.current().resolve().parent.name)
    observer.forget()
    with device.running():
        mended = observer.wait_for("clf", lambda status: status.reason == "up_to_date")
    said = [status.reason for status in observer.of("clf")]
    after = said[said.index("slot_tampered") :]  # the commit before may come late
    assert "up_to_date" in after
    assert not {"downloading", "committed"} & set(after), "it lay on the device, and is not news"
    assert mended.active is not None
    assert serves(device, 1)


@pytest.mark.parametrize("besides", ["nothing", "all gone"])
def test_where_nothing_is_sound_the_provisioned_release_serves_and_no_broker_is_asked(
    device: Device, publisher: Publisher, observer: Observer, besides: str
) -> None:
    publisher.publish("clf", "2")
    assert device.run_once().state is State.COMMITTED
    for slot in "ab":
        change_slot(device, slot)
    BESIDES[besides](device.folder(), device.current().resolve().parent.name)
    start_alone(device)
    assert serves(device, 1)
    with device.running():
        observer.wait_for(
            "clf", lambda status: status.active is not None and status.active.version == "2"
        )
        wait_until(lambda: serves(device, 2))


def assert_nothing_serves(device: Device) -> None:
    """Start the core without a broker; nothing is opened, and the status says so.

    The provisioned release, which would serve instead, is not kept.
    """
    shutil.rmtree(device.folder() / "provisioned", ignore_errors=True)
    core = start_alone(device)
    assert not (device.folder() / "current").exists()
    assert core.status().active is None


def start_alone(device: Device) -> ModelCore:
    """Start the core without a broker, and carry out what it decides at once."""
    core = ModelCore("clf", "cam-1", device.config.topics, random.Random(1))
    jobs = ModelJobs(device.config, "clf", OsDisk())
    todo = core.start()
    while todo:
        action = todo.pop(0)
        if isinstance(action, (act.Inspect, act.BuildProvisioned)):
            todo += core.handle(JobDone(action, jobs.run(action)), Now(1.0, 1_800_000_000))
        elif isinstance(action, act.Step):
            jobs.carry_out(action)
    return core


@pytest.mark.broker
@pytest.mark.timeout(300)
def test_a_slot_whose_proof_is_gone_serves_again_with_the_next_notice_and_nothing_is_fetched(
    device: Device,
) -> None:
    slot = device.current().resolve().parent.name
    proof = device.folder() / f"slots/{slot}.notice"
    kept = proof.read_bytes()
    proof.unlink()
    shutil.rmtree(device.folder() / "trust")
    shutil.rmtree(device.folder() / "provisioned")
    began_ns = (device.folder() / f"slots/{slot}/model.onnx").stat().st_ctime_ns
    device.run_once()
    assert serves(device, 1)
    assert device.current().resolve().parent.name == slot
    assert (device.folder() / f"slots/{slot}/model.onnx").stat().st_ctime_ns == began_ns
    assert wire.decode(proof.read_bytes(), Notice).targets == wire.decode(kept, Notice).targets


@pytest.mark.parametrize("changed", [(), ("targets.json",), ("release-clf.json",)])
def test_a_slot_whose_proof_alone_is_gone_is_proven_by_what_the_device_has_seen(
    device: Device, changed: tuple[str, ...]
) -> None:
    """No broker is asked; what somebody changed of it, or a pipe in its place, proves nothing."""
    slot = device.current().resolve().parent.name
    proof = device.folder() / f"slots/{slot}.notice"
    proof.unlink()
    for name in changed:
        (device.folder() / "trust" / name).unlink()
        os.mkfifo(device.folder() / "trust" / name)
    if changed:
        assert_nothing_serves(device)
        assert not proof.exists()
        return
    start_alone(device)
    assert serves(device, 1)
    release_bytes = (device.folder() / f"slots/{slot}.release").read_bytes()
    prove_release(release_bytes, proof.read_bytes(), "clf", device.config.pinned_root)


# --- what a kept notice proves --------------------------------------------------------------------


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    """Two models with a release each."""
    made = Publisher.make(tmp_path_factory.mktemp("proof") / "repo")
    for model in ("clf", "det"):
        made.release(model, "1", {"model.onnx": model_bytes(1, 1 << 16)})
    return made


def release_in(notice: bytes, model: str = "clf") -> bytes:
    return wire.decode(notice, Notice).targets[release_target(model, "1")]


def test_a_kept_notice_proves_its_release_when_all_its_dates_are_over(
    signed: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    notice, root = signed.repo.offer("clf", "1"), signed.repo.roles.root_bytes()
    monkeypatch.setattr(time, "time", lambda: YEARS_S + 1.8e9)
    prove_release(release_in(notice), notice, "clf", root)


def test_it_proves_it_across_changes_of_every_key(signed: Publisher, tmp_path: Path) -> None:
    pinned = signed.repo.roles.root_bytes()
    repo = signed.copy(tmp_path / "repo", prefix="t").repo
    for role in ("root", "targets", "online"):
        rotate_keys(repo.roles, role, lambda name: repo.ring.generate(name, encrypted=False))
    notice = Repository(repo.path).offer("clf", "1")
    assert "2.root.json" in wire.decode(notice, Notice).metadata
    prove_release(release_in(notice), notice, "clf", pinned)


def altered(data: bytes) -> bytes:
    return data.replace(b"model.onnx", b"mabel.onnx")


def test_it_proves_no_other_bytes_and_no_other_model(signed: Publisher) -> None:
    notice, root = signed.repo.offer("clf", "1"), signed.repo.roles.root_bytes()
    other = signed.repo.offer("det", "1")
    for release, kept, model in (
        (altered(release_in(notice)), notice, "clf"),
        (release_in(other, "det"), notice, "det"),
        (release_in(other, "det"), notice, "clf"),
        (release_in(notice), other, "clf"),
    ):
        with pytest.raises(BadSignature):
            prove_release(release, kept, model, root)


def test_a_notice_by_a_stranger_or_with_one_signature_changed_proves_nothing(
    signed: Publisher, tmp_path: Path
) -> None:
    stranger = Publisher.make(tmp_path / "stranger")
    stranger.release("clf", "1", {"model.onnx": model_bytes(1, 1 << 16)})
    notice, root = stranger.repo.offer("clf", "1"), signed.repo.roles.root_bytes()
    with pytest.raises(RefusedRelease):
        prove_release(release_in(notice), notice, "clf", root)
    good = signed.repo.offer("clf", "1")
    parts = wire.decode(good, Notice)
    for name, data in parts.metadata.items():
        if not name.endswith((".targets.json", ".release-clf.json")):
            continue
        broken = data.replace(b'"sig":"', b'"sig":"00', 1).replace(b'"sig": "', b'"sig": "00', 1)
        assert broken != data
        changed = msgspec.structs.replace(parts, metadata={**parts.metadata, name: broken})
        with pytest.raises(RefusedRelease):
            prove_release(release_in(good), wire.encode(changed), "clf", root)


# --- links, pipes and other users -----------------------------------------------------------------


def test_only_the_agents_user_can_hold_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.touch(mode=0o666)
    lock.chmod(0o666)  # as a version before this one left it, or worse
    with locked(tmp_path):
        assert stat.S_IMODE(lock.stat().st_mode) == 0o600
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_another_user_cannot_hold_the_lock_and_still_sees_that_it_is_held(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    script = (
        "import os, sys; from pathlib import Path\n"
        "from slotcast_device.storage.lock import is_locked\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "print(is_locked(Path(sys.argv[1])))\n"
        "os.open(sys.argv[1] + '/lock', os.O_RDONLY)\n"
    )
    state_dir = Path("/tmp") / f"slotcast-lock-{os.getpid()}"  # where another user may go
    state_dir.mkdir(mode=0o755)
    try:
        with locked(state_dir):
            ran = subprocess.run(
                [sys.executable, "-c", script, str(state_dir)],
                capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
    finally:
        (state_dir / "lock").unlink()
        state_dir.rmdir()
    assert ran.stdout.strip() == "True"
    assert "PermissionError" in ran.stderr


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_lock_that_is_no_file_is_named_and_not_followed(tmp_path: Path, kind: str) -> None:
    victim = plant(tmp_path / "lock", kind, tmp_path)
    with pytest.raises(StorageFailed, match="lock"), locked(tmp_path):
        pass
    assert victim.read_bytes() == b"of somebody else"


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe"])
def test_what_is_planted_where_the_agent_writes_is_replaced_and_not_written_through(
    tmp_path: Path, kind: str
) -> None:
    disk, path = OsDisk(), tmp_path / "state" / "data"
    path.parent.mkdir()
    victim = plant(path, kind, tmp_path)
    writer = disk.create(path)
    writer.write(b"ours")
    writer.close_synced()
    assert path.read_bytes() == b"ours"
    path.unlink()
    victim = plant(path, kind, tmp_path)
    file = disk.open_random(path)
    file.write_at(0, b"ours")
    file.close()
    assert path.read_bytes() == b"ours"
    assert victim.read_bytes() == b"of somebody else"


def write_view(folder: Path) -> Path:
    ViewWriter(folder, 1).update(1.0, 1)
    return folder / agent_view.FILE_NAME


def write_openmetrics(folder: Path) -> Path:
    root = folder / "root.json"
    root.write_text("{}")
    (folder / "device.toml").write_text(
        'format = 1\ndevice = "d"\nmodels = ["m"]\nstate_dir = "."\n'
        '[[brokers]]\nurl = "mqtt://b"\n[metrics]\nopenmetrics = "metrics.prom"\n'
    )
    MetricsCollector(DeviceConfig(folder / "device.toml"), OsDisk()).collect_due([], Now(1.0, 1))
    return folder / "metrics.prom"


def write_application_report(folder: Path) -> Path:
    report = AppReport(slot="a", phase="serving", instance="one")
    write_report(folder, report)
    return folder / "report-one-a.json"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "write",
    [write_view, write_openmetrics, write_application_report],
    ids=["view", "openmetrics", "report"],
)
def test_what_is_replaced_now_and_then_goes_through_no_planted_name_and_waits_at_no_pipe(
    tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    for kind in ("link", "hard link", "pipe"):
        folder = tmp_path / kind
        folder.mkdir()
        path = write(folder)
        before = path.read_bytes()
        path.unlink()
        victim = plant(folder / f".{path.name}.tmp", kind, tmp_path)
        assert len(write(folder).read_bytes()) == len(before)
        assert victim.read_bytes() == b"of somebody else"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder that is not the agent's."""
    folder = tmp_path / "elsewhere"
    (folder / "below").mkdir(parents=True)
    for path in (folder / "release", folder / "a.json", folder / "below" / "letter"):
        path.write_bytes(b"of somebody else")
    return folder


def names_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("place", ["control", "incoming", "provisioned", "slots"])
def test_nothing_is_removed_or_written_through_a_folder_that_is_a_link(
    tmp_path: Path, elsewhere: Path, place: str
) -> None:
    home, before = tmp_path / "home", names_below(elsewhere)
    home.mkdir()
    (home / place).symlink_to(elsewhere)
    disk = OsDisk()
    match place:
        case "control":
            control = Control(disk, home)
            assert control.take() == []
            assert control.take() == []
            (home / place).symlink_to(elsewhere)
            control.answer_pings()
            control.ask(OperatorRequest(do="rollback", model="clf"))
        case "incoming":
            payload = messages.payload()
            Spool(disk, home, payload).open()
        case "provisioned":
            ProvisionedStore(disk, home).remove()
        case "slots":
            SlotStore(disk, home).clear("a")
    assert names_below(elsewhere) == before
    assert not (home / place).is_symlink()


@pytest.mark.broker
@pytest.mark.parametrize("place", ["slots", "slots/SLOT"])
def test_a_slot_that_is_a_link_does_not_serve_though_its_files_are_right(
    device: Device, tmp_path: Path, place: str
) -> None:
    """They lie where somebody else may change them a moment later."""
    slot = device.current().resolve().parent.name
    folder = device.folder() / place.replace("SLOT", slot)
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert_nothing_serves(device)


@pytest.mark.broker
def test_no_signed_metadata_is_written_through_a_folder_that_is_a_link(
    device: Device, publisher: Publisher, elsewhere: Path
) -> None:
    before = names_below(elsewhere)
    trust = device.folder() / "trust"
    shutil.rmtree(trust)
    trust.symlink_to(elsewhere)
    publisher.publish("clf", "2")
    assert device.run_once().state is State.COMMITTED
    assert names_below(elsewhere) == before


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_link_or_pipe_where_the_agent_reads_is_named_at_once(tmp_path: Path, kind: str) -> None:
    plant(tmp_path / "state.json", kind, tmp_path)
    with pytest.raises(StorageFailed, match=r"state\.json"):
        OsDisk().read(tmp_path / "state.json", 100)


@pytest.mark.parametrize("kind", ["link", "pipe", "long"])
def test_a_request_that_is_none_is_taken_away_and_the_next_one_is_heard(
    tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "control"
    folder.mkdir()
    if kind == "long":
        (folder / "a.json").write_bytes(b" " * 5000)
    else:
        plant(folder / "a.json", kind, tmp_path)
    (folder / "b.json").write_text('{"do": "rollback", "model": "clf"}')
    control = Control(OsDisk(), tmp_path)
    assert [request.model for request in control.take()] == ["clf"]
    assert list(folder.iterdir()) == []


def plant(path: Path, kind: str, folder: Path) -> Path:
    """Leave something in the place of a file; gives the file of somebody else that it leads to."""
    victim = folder / "victim"
    victim.write_bytes(b"of somebody else")
    match kind:
        case "link":
            path.symlink_to(victim)
        case "hard link":
            path.hardlink_to(victim)
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "large":
            path.write_bytes(bytes(LARGE_BYTES))
    return victim
