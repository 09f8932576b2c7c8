"""Links and pipes planted in a device's folders lead it nowhere else, and it waits at none of them.

Nor can another user hold its lock.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from slotcast_device.application.app_report import AppReport, write_report
from slotcast_device.config import DeviceConfig
from slotcast_device.core.events import Now
from slotcast_device.operator_requests import Control, OperatorRequest
from slotcast_device.reporting import agent_view
from slotcast_device.reporting.agent_view import ViewWriter
from slotcast_device.reporting.metrics_collector import MetricsCollector
from slotcast_device.storage.lock import is_locked, locked
from slotcast_device.storage.os_disk import OsDisk
from slotcast_device.storage.provisioned import ProvisionedStore
from slotcast_device.storage.slots import SlotStore
from slotcast_device.storage.spool import Spool
from slotcast_schemas.errors import StorageFailed
from slotcast_schemas.states import State
from tests.support import messages
from tests.support.fleet import Device, Publisher
from tests.support.powered_off import assert_nothing_serves, plant

pytestmark = pytest.mark.usefixtures("quick_probes")


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
