"""Several users share a device: what one writes the other can use, and nothing more."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slotcast_device import packaged_files
from slotcast_device.access_check import (
    application_problems,
    configuration_problems,
    owner_problems,
    state_problems,
)
from slotcast_device.application.app_report import (
    AppReport,
    make_reports_folder,
    read_reports,
    write_report,
)
from slotcast_device.config import DeviceConfig
from slotcast_device.jobs import ModelJobs
from slotcast_device.operator_requests import Control, OperatorRequest
from slotcast_device.self_check import check
from slotcast_device.storage.disk import as_storage_failure
from slotcast_device.storage.os_disk import OsDisk
from slotcast_schemas.errors import UsageError
from tests.support.engine import REPOSITORY
from tests.support.stranger import STRANGER, as_stranger, needs_root


@pytest.fixture(params=[0o022, 0o027, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.fixture
def config(tmp_path: Path) -> DeviceConfig:
    """A device as docs/install.md installs it, without a broker that is there."""
    (tmp_path / "root.json").write_text("{}")
    (tmp_path / "device.toml").write_text(
        'format = 1\ndevice = "d"\nmodels = ["m"]\n'
        '[[brokers]]\nurl = "mqtts://nowhere.invalid"\ncertificate = "device.pem"\n'
        'key = "device.key"\n'
    )
    (tmp_path / "device.pem").write_text("c")
    (tmp_path / "device.key").write_text("k")
    (tmp_path / "device.key").chmod(0o400)
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o2750)
    found = DeviceConfig(tmp_path / "device.toml")
    (found.model_dir("m") / "slots").mkdir(parents=True)
    make_reports_folder(found.model_dir("m") / "app")
    return found


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter; pytest's own are closed."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_reports_folder_is_the_groups_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    tmp_path.chmod(0o2750)
    make_reports_folder(tmp_path / "app")
    assert mode(tmp_path / "app") == 0o3770
    assert os.umask(umask) == umask


def test_a_reports_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app").chmod(0o755)
    make_reports_folder(tmp_path / "app")
    assert mode(tmp_path / "app") == 0o755
    (tmp_path / "on tmpfs").symlink_to(tmp_path / "not mounted yet")
    make_reports_folder(tmp_path / "on tmpfs")
    assert (tmp_path / "on tmpfs").is_symlink()


def test_two_devices_of_one_process_leave_its_umask_as_it_was(tmp_path: Path, umask: int) -> None:
    """As `slotcast simulate` has them; the last one to end must not keep the first one's 0."""

    def make_many(name: str) -> None:
        for number in range(200):
            make_reports_folder(tmp_path / f"{name}-{number}")

    threads = [threading.Thread(target=make_many, args=(name,)) for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert os.umask(umask) == umask


def test_a_report_can_be_read_by_the_agent_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    write_report(tmp_path, AppReport(slot="a", phase="serving", instance="1"))
    assert mode(tmp_path / "report-1-a.json") == 0o644


@needs_root
def test_reports_that_are_closed_to_the_agent_are_counted_apart(open_folder: Path) -> None:
    write_report(open_folder, AppReport(slot="a", phase="serving", instance="1"))
    (open_folder / "report-1-a.json").chmod(0o600)

    def look() -> str:
        found = read_reports(open_folder)
        return f"{found.unreadable} {found.malformed}"

    assert as_stranger(look) == "1 0"


def test_a_device_as_it_is_installed_has_no_problems(config: DeviceConfig) -> None:
    assert list(configuration_problems(config)) == []
    assert list(state_problems(config)) == []
    assert list(application_problems(config, "m")) == []


def test_a_key_that_everyone_can_read_is_found(config: DeviceConfig) -> None:
    (config.folder / "device.key").chmod(0o444)
    (problem,) = configuration_problems(config)
    assert problem.endswith(f"chmod o-rwx {config.folder / 'device.key'}")


def test_a_password_in_a_configuration_that_everyone_can_read_is_found(
    config: DeviceConfig,
) -> None:
    text = config.path.read_text().replace("mqtts://nowhere", "mqtts://d:hush@nowhere")
    config.path.write_text(text)
    config.path.chmod(0o644)
    (problem,) = configuration_problems(DeviceConfig(config.path))
    assert problem.startswith(f"{config.path} can be read by every user")
    assert "hush" not in problem


def test_a_file_that_is_missing_is_found(config: DeviceConfig) -> None:
    (config.folder / "device.pem").unlink()
    (problem,) = configuration_problems(config)
    assert "device.pem: No such file" in problem


@needs_root
def test_what_another_user_left_in_the_state_directory_is_found(config: DeviceConfig) -> None:
    for path in (config.model_dir("m") / "slots", config.state_dir / "lock"):
        path.touch()
        os.chown(path, STRANGER, STRANGER)
    (config.model_dir("m") / "app" / "report-1-a.json").write_text("{}")
    os.chown(config.model_dir("m") / "app" / "report-1-a.json", STRANGER, STRANGER)
    (problem,) = state_problems(config)
    assert "belongs to uid 12345, as do or may 1 more" in problem
    assert problem.endswith(f": {config.state_dir}")


@needs_root
def test_a_reports_folder_of_another_user_is_found(config: DeviceConfig) -> None:
    os.chown(config.model_dir("m") / "app", STRANGER, -1)
    (problem,) = application_problems(config, "m")
    assert "old reports cannot be removed" in problem


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda c: c.model_dir("m").chmod(0o2700), "chmod g+rx"),
        (lambda c: (c.model_dir("m") / "app").chmod(0o3750), "chmod 3770"),
        (lambda c: (c.model_dir("m") / "slots").chmod(0o2740), "is closed to the group"),
    ],
)
def test_what_is_closed_to_the_group_is_found(
    config: DeviceConfig, damage: Callable[[DeviceConfig], None], said: str
) -> None:
    damage(config)
    (problem,) = application_problems(config, "m")
    assert said in problem


def test_a_device_of_one_user_alone_is_not_told_of_groups(config: DeviceConfig) -> None:
    config.state_dir.chmod(0o700)
    (config.model_dir("m") / "app").chmod(0o755)
    assert list(application_problems(config, "m")) == []


def test_the_check_makes_no_state_directory(config: DeviceConfig) -> None:
    text = config.path.read_text().replace("models =", 'state_dir = "later/state"\nmodels =')
    config.path.write_text(text)
    findings = {finding.name: finding for finding in check(DeviceConfig(config.path))}
    assert not (config.folder / "later").exists()
    assert findings["disk"].passed
    assert "made at the first start" in findings["disk"].detail


@needs_root
@pytest.mark.parametrize("closed", ["folder", "device.toml", "root.json"])
def test_a_configuration_of_another_user_says_what_to_give_to_whom(
    config: DeviceConfig, open_folder: Path, closed: str
) -> None:
    folder = open_folder / "folder"
    folder.mkdir(mode=0o755)
    for name in ("device.toml", "root.json"):
        (folder / name).write_bytes((config.folder / name).read_bytes())
    target = folder if closed == "folder" else folder / closed
    target.chmod(0o700)

    def read() -> str:
        with pytest.raises(UsageError) as caught:
            DeviceConfig(folder / "device.toml")
        return str(caught.value)

    assert as_stranger(read).endswith(f": chown {STRANGER} {target}")


def test_hooks_that_are_missing_or_cannot_be_run_are_found(config: DeviceConfig) -> None:
    config.path.write_text(config.path.read_text() + '[update]\nhooks = "hooks"\n')
    config = DeviceConfig(config.path)
    (problem,) = owner_problems(config)
    assert "hooks is not there, so no hook is asked" in problem
    (config.folder / "hooks").mkdir()
    assert list(owner_problems(config)) == []
    (config.folder / "hooks" / "before-switch").write_text("#!/bin/sh\n")
    (problem,) = owner_problems(config)
    assert problem.endswith(f"chmod +rx {config.folder / 'hooks' / 'before-switch'}")


@needs_root
def test_files_of_the_owner_in_a_closed_folder_are_found(
    config: DeviceConfig, open_folder: Path
) -> None:
    (open_folder / "closed").mkdir(mode=0o700)
    words = f'consent = "{open_folder}/closed/yes"\nhooks = "{open_folder}/closed/hooks"\n'
    text = config.path.read_text()
    config.path.write_text(
        f'{text}[update]\n{words}[policy]\nmetered_file = "{open_folder}/closed/metered"\n'
    )
    config = DeviceConfig(config.path)

    def look() -> str:
        files = ModelJobs(config, "m", OsDisk())
        return f"{len(list(owner_problems(config)))} {files._is_metered()}"

    assert as_stranger(look) == "3 True"


BECOME = """
import os, sys
from pathlib import Path
from slotcast_device.access_check import become_agent_user
from slotcast_device.config import DeviceConfig
become_agent_user(DeviceConfig(Path(sys.argv[1])))
print(os.getuid(), os.geteuid(), os.getgid(), os.getgroups())
"""


@needs_root
@pytest.mark.parametrize(
    ("owners", "uid"),
    [
        ({}, 0),
        ({"": STRANGER}, STRANGER),
        ({"": STRANGER, "lock": 0}, 0),  # root's agent runs in a folder that was given away
        ({"": 0, "lock": STRANGER}, STRANGER),
        ({"": 0, "lock": 0, "device.json": STRANGER}, STRANGER),
    ],
)
def test_root_goes_on_as_the_user_whose_agent_wrote_last(
    config: DeviceConfig, owners: dict[str, int], uid: int
) -> None:
    for name, owner in owners.items():
        path = config.state_dir / name
        if name:
            path.touch()
        os.chown(path, owner, owner)
    command = [sys.executable, "-c", BECOME, str(config.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    if uid:
        assert done.stdout == f"{uid} {uid} {uid} [{uid}]\n"
    else:
        assert done.stdout.startswith("0 0 0 ")


def test_storage_that_cannot_be_written_is_told_with_what_to_do() -> None:
    denied = as_storage_failure("write x", PermissionError(13, "Permission denied"))
    assert f"writable by uid {os.geteuid()}" in str(denied)
    assert "ReadWritePaths" in str(as_storage_failure("write x", OSError(30, "Read-only")))


# --- a sign of life -------------------------------------------------------------------------------


def test_an_agent_that_looks_gives_a_sign_of_life(tmp_path: Path) -> None:
    control, stop = Control(OsDisk(), tmp_path), threading.Event()

    def loop() -> None:
        while not stop.wait(0.01):
            Control(OsDisk(), tmp_path).answer_pings()

    agent = threading.Thread(target=loop)
    agent.start()
    try:
        assert control.ping(60)
    finally:
        stop.set()
        agent.join()


def test_without_one_the_ping_fails_and_leaves_nothing(tmp_path: Path) -> None:
    assert not Control(OsDisk(), tmp_path).ping(0.05)
    assert list((tmp_path / "control").iterdir()) == []
    assert not Control(OsDisk(), tmp_path / "no state yet").ping(0.05)
    assert not (tmp_path / "no state yet").exists()


def test_signs_of_life_crowd_out_no_request(tmp_path: Path) -> None:
    control = Control(OsDisk(), tmp_path)
    control.ask(OperatorRequest(do="rollback", model="m"))
    for number in range(100):
        (tmp_path / "control" / f"ping-{number}").touch()
    assert [request.do for request in control.take()] == ["rollback"]
    control.answer_pings()
    assert list((tmp_path / "control").iterdir()) == []


# --- what pip installs ----------------------------------------------------------------------------


def test_every_file_that_comes_along_is_described_and_can_be_run_if_it_is_a_script(
    tmp_path: Path,
) -> None:
    assert {path.name for path in packaged_files.SHARE.iterdir() if path.is_file()} == set(
        packaged_files.DESCRIPTIONS
    )
    copied = packaged_files.copy_to(tmp_path / "a folder")
    modes = {path.name: mode(path) for path in copied}
    assert modes["follow.sh"] == modes["run-agent.sh"] == modes["slotcast-device.openrc"] == 0o755
    assert modes["slotcast-device.service"] == modes["service.py"] == 0o644
    assert packaged_files.copy_to(tmp_path / "a folder") == copied
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"--copy-to: .*/file"):
        packaged_files.copy_to(tmp_path / "file" / "x")


@pytest.mark.parametrize(
    "path",
    [
        "examples/follow.sh",
        "examples/service.py",
        "device/packaging/slotcast-device.service",
        "device/packaging/Containerfile",
    ],
)
def test_in_a_clone_they_are_where_they_were(path: str) -> None:
    found = REPOSITORY / path
    assert found.resolve().parent == packaged_files.SHARE.resolve()
    assert found.is_file()


def test_a_report_that_is_none_is_named_with_what_is_wrong(config: DeviceConfig) -> None:
    """Its author, who writes it in another language, sees only that it is ignored."""
    app = config.model_dir("m") / "app"
    app.mkdir(parents=True, exist_ok=True)
    (app / "report-1-a.json").write_text('{"format": 1, "slot": "A", "phase": "serving"}')
    (app / "report-2-a.json").write_text("{")
    (app / "report-3-a.json").write_text('{"format": 1, "slot": "a", "phase": "serving"}')
    said = sorted(application_problems(config, "m"))
    assert len(said) == 2
    assert "report-1-a.json: slot: expected a or b, got 'A'" in said[0]
    assert "report-2-a.json: " in said[1]
