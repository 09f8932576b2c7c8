"""A Linux machine of its own for a test, with systemd as its first process, in namespaces.

    with machine(tmp_path) as device:
        device.run("systemctl enable --now slotcast-device")

Its root is this machine's, laid under an empty writable layer in memory: whatever a test installs,
which users it makes and what it writes below `/` is gone with it. Processes, mounts, users' files
and services are its own; the network is shared, so that it reaches the brokers of the tests.
Nothing of this machine's own services is started: its units below `/etc` are hidden.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SYSTEMD: Final = Path("/lib/systemd/systemd")
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_START_TIMEOUT_S: Final = 180.0
_POLL_S: Final = 0.1
_ENVIRONMENT: Final = {
    "PATH": PATH,
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}
_TURNS: Final = Path("/run/slotcast-test-machine.lock")
"""Held by the machine that runs: two would have one tree of control groups, and take it away from
each other. Tests may be run twice at once here, from two clones."""
_UNSHARE: Final = (
    *("unshare", "--mount", "--pid", "--uts", "--ipc", "--cgroup"),
    *("--fork", "--kill-child", "--propagation", "private"),
)

_BOOT: Final = """
set -e
root=$1; shift
mount -t tmpfs -o mode=0755 tmpfs "$root"
mkdir "$root/upper" "$root/work" "$root/new"
chmod 0755 "$root/upper" "$root/new"
mount -t overlay -o lowerdir=/,upperdir="$root/upper",workdir="$root/work" overlay "$root/new"
new=$root/new
mount -t proc proc "$new/proc"
mount --bind "$new/proc/sys" "$new/proc/sys"
mount -o remount,ro,bind "$new/proc/sys" # the kernel's variables are this machine's
mount -t sysfs -o ro sysfs "$new/sys"
mount -t cgroup2 cgroup2 "$new/sys/fs/cgroup"
for folder in run dev etc/systemd/system; do mount -t tmpfs -o mode=0755 tmpfs "$new/$folder"; done
mount -t tmpfs -o mode=1777 tmpfs "$new/tmp"
for device in null zero full random urandom tty; do
    touch "$new/dev/$device"
    mount --bind "/dev/$device" "$new/dev/$device"
done
ln -s /proc/self/fd "$new/dev/fd"
mkdir -m 1777 "$new/dev/shm"
mkdir "$new/dev/pts"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$new/dev/pts"
ln -s pts/ptmx "$new/dev/ptmx"
while [ $# -gt 0 ]; do
    mkdir "$new/mnt/$1"
    mount --rbind "$2" "$new/mnt/$1"
    shift 2
done
mkdir "$new/run/old"
cd "$new"
pivot_root . run/old
umount -l /run/old
exec env -i container=slotcast-test PATH="$PATH" \
    /lib/systemd/systemd --unit=multi-user.target --log-target=journal --show-status=no
"""


class NoMachine(Exception):
    """No such machine can be made here; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a command in the machine did."""

    code: int
    out: str
    err: str


class Machine:
    """A machine that runs."""

    def __init__(self, init_pid: int) -> None:
        self._init_pid = init_pid

    def run(self, script: str, *, cwd: Path | str = "/", check: bool = True) -> Done:
        """Run a shell script as root in the machine, and give what it did.

        Raises:
            AssertionError: it failed, and `check` is true; with the journal's last words.
        """
        command = ["nsenter", "--target", str(self._init_pid), "--mount", "--pid", "--uts", "--ipc"]
        command += ["--cgroup", "--", "/bin/sh", "-ec", f"cd {shlex.quote(str(cwd))}\n{script}"]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            check=False,
        )
        found = Done(done.returncode, done.stdout, done.stderr)
        if check and found.code != 0:
            raise AssertionError(f"{script}\nexit code {found.code}\n{self._told(found)}")
        return found

    def wait_for(self, script: str, timeout_s: float = 120.0) -> Done:
        """Run a script again and again until it succeeds.

        Raises:
            AssertionError: it did not in time; the message has its last words and the journal's.
        """
        deadline_s = time.monotonic() + timeout_s
        while (done := self.run(script, check=False)).code != 0:
            if time.monotonic() > deadline_s:
                raise AssertionError(f"{script}\n{self._told(done)}")
            time.sleep(_POLL_S)
        return done

    def _told(self, done: Done) -> str:
        return done.out + done.err + self.run("journalctl --no-pager -n 60", check=False).out


def missing() -> str:
    """Say why no machine can be made here; empty where one can."""
    if os.geteuid() != 0:
        return "namespaces with a root of their own need root"
    if not SYSTEMD.exists():
        return "systemd is not installed"
    for tool in ("unshare", "nsenter", "pivot_root"):
        if shutil.which(tool, path=PATH) is None:
            return f"{tool} is not installed"
    return ""


@contextlib.contextmanager
def machine(folder: Path, shared: Mapping[str, Path] | None = None) -> Iterator[Machine]:
    """Boot a machine for the length of the block, when no other one runs here any more.

    Args:
        folder: an empty folder for its root's mounts.
        shared: folders of this machine that it sees, by their names below its /mnt.

    Raises:
        NoMachine: the kernel or this container does not allow it.
    """
    if missing():
        raise NoMachine(missing())
    root = folder / "root"
    root.mkdir(parents=True)
    pairs = [text for name, path in (shared or {}).items() for text in (name, str(path))]
    with _TURNS.open("wb") as turn, (folder / "boot.log").open("wb") as log:
        fcntl.flock(turn, fcntl.LOCK_EX)
        boot = subprocess.Popen(
            [*_UNSHARE, "/bin/sh", "-c", _BOOT, "boot", str(root), *pairs],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"PATH": PATH},
        )
        try:
            yield _booted(boot, folder / "boot.log")
        finally:
            # With unshare its child is killed, the machine's first process, and so are all others.
            boot.send_signal(signal.SIGKILL)
            boot.wait()


def _booted(boot: subprocess.Popen[bytes], log: Path) -> Machine:
    children = Path(f"/proc/{boot.pid}/task/{boot.pid}/children")
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    said = ""
    while time.monotonic() < deadline_s:
        if boot.poll() is not None:
            raise NoMachine(f"it did not boot: {log.read_text(errors='replace').strip()}")
        pids = children.read_text().split()
        if pids and Path(f"/proc/{pids[0]}/comm").read_text() == "systemd\n":
            found = Machine(int(pids[0]))
            # `degraded` is a machine some of whose services do not suit a container.
            said = found.run("systemctl is-system-running", check=False).out.strip()
            if said in {"running", "degraded"}:
                return found
        time.sleep(_POLL_S)
    raise NoMachine(f"it did not come up in {_START_TIMEOUT_S:.0f} s: {said}")
