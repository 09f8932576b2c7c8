"""Commands that were started with a umask of 000: other users still write into nothing they make.

A service manager, a container or a shell's profile may set it; whoever can write into a folder of
the repository or of a device's state replaces what lies there, whatever rights the files have.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="rights of POSIX")

BIN = Path(sys.executable).parent


def run(folder: Path, name: str, *arguments: str) -> None:
    command = [str(BIN / name), *arguments]
    done = subprocess.run(command, cwd=folder, umask=0, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def writable_by_others(folder: Path) -> list[str]:
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if not path.is_symlink() and path.stat().st_mode & 0o002
    ]


def test_nothing_that_a_command_makes_can_be_written_by_others(tmp_path: Path) -> None:
    address = "mqtt://127.0.0.1:1"
    run(tmp_path, "slotcast", "init", "repo", "--broker", address, "--no-passphrase")
    run(tmp_path, "slotcast", "provision", "repo", "cam-1", "device", "--model", "clf")
    run(tmp_path, "slotcast-device", "enrol", "--config", "device/device.toml")
    agent = subprocess.Popen(
        [str(BIN / "slotcast-device"), "run", "--config", "device/device.toml"],
        cwd=tmp_path,
        umask=0,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until((tmp_path / "device/state/models/clf/app").is_dir)
    finally:
        agent.terminate()
        agent.wait()
    assert writable_by_others(tmp_path) == []
