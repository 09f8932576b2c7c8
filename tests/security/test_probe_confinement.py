"""Code that runs inside the runtime, in the child that tries a model: what it can still do.

The whole of a taken over runtime is tried (`tests/support/hostile_runtime.py`), on the device's
probe and on the publisher's look at a model; and an owner's command that was taken over.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from slotcast_publisher.release.model_check import check_model
from slotcast_schemas.confinement import call_filter, call_numbers, kernel, landlock, privileges
from slotcast_schemas.confinement.trial import TrialReport, TrialRequest, hold_trial
from slotcast_schemas.errors import ModelUnloadable
from slotcast_schemas.probe import ProbeRequest, SlotModel, run_probe
from tests.support import hostile_runtime, models

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="layers of Linux's")


def has_filter() -> bool:
    """Whether this kernel filters calls, asked of it in a process that ends."""
    program = "from slotcast_schemas.confinement.call_filter import close_calls as c\n"
    program += "import ctypes; ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)\n"
    program += "c(starts_processes=False, opens_devices=False)"
    return subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


needs_filter = pytest.mark.skipif(not has_filter(), reason="this kernel filters no system calls")
needs_landlock = pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")
needs_root = pytest.mark.skipif(
    not privileges.can_change_user(), reason="only root changes its user"
)


IPC_REMOVE = 0


def shared_memory() -> int:
    """Make memory that processes of this user share, and give its number."""
    made = int(ctypes.CDLL(None).shmget(0, 4096, 0o1600))
    assert made >= 0
    return made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A device's state with two slots, a secret, and somebody else's process and socket."""
    root = tmp_path_factory.mktemp("device")
    state = root / "state/models/m"
    for slot in ("a", "b"):
        (state / "slots" / slot).mkdir(parents=True)
        (state / "slots" / slot / "m.onnx").write_bytes(models.classifier())
    (state / "state.json").write_text("{}")
    (root / "device.toml").write_text("secret")
    inherited = os.open(root / "device.toml", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    kept = ctypes.create_string_buffer(b"password")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(root / "socket"))
    listener.listen()
    datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    datagrams.bind(str(root / "datagrams"))
    shared = shared_memory()
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as victim:
        hostile_runtime.place(
            root / "hostile",
            state=state,
            secret=root / "device.toml",
            victim=victim.pid,
            listener=root / "socket",
            datagrams=root / "datagrams",
            shared=shared,
            address=ctypes.addressof(kept),
        )
        yield root
        assert victim.poll() is None
        victim.kill()
    listener.close()
    datagrams.close()
    assert ctypes.CDLL(None).shmctl(shared, IPC_REMOVE, None) == 0
    os.close(inherited)
    assert (state / "state.json").read_text() == "{}"


def slot(place: Path) -> Path:
    return place / "state/models/m/slots/a"


@pytest.fixture(scope="module", params=["probe", "publisher"])
def worked(place: Path, request: pytest.FixtureRequest) -> list[str]:
    """What worked of all attacks, in each of the two children that load unknown models."""
    with pytest.MonkeyPatch.context() as patch:
        # Before what is there already: a copy of the sources, where checks are taken out.
        patch.setenv("PYTHONPATH", str(place / "hostile"), prepend=os.pathsep)
        patch.setenv("SLOTCAST_PASSPHRASE", "horse")
        if request.param == "probe":
            closed = (str(place / "state"), str(place / "device.toml"))
            result = run_probe(
                ProbeRequest(candidate=SlotModel(str(slot(place)), "m.onnx"), closed=closed)
            )
            assert result.reason == "model_unloadable", result
            return hostile_runtime.attacks_that_worked(result.detail)
        with pytest.raises(ModelUnloadable) as said:
            check_model(slot(place), "m.onnx")
        return hostile_runtime.attacks_that_worked(str(said.value))


def of(kind: str, worked: list[str]) -> list[str]:
    return [name for name in worked if name.startswith(kind)]


@needs_filter
def test_it_reaches_no_network_and_no_service_of_the_device(worked: list[str]) -> None:
    assert of("network", worked) == []


@needs_landlock
def test_it_reads_no_secret_no_state_and_no_memory_of_others(worked: list[str]) -> None:
    assert of("reading", worked) == []


@needs_filter
def test_it_changes_makes_and_removes_nothing(worked: list[str]) -> None:
    assert of("changing", worked) == []


@needs_filter
def test_it_starts_no_process_and_so_outlives_nothing(worked: list[str]) -> None:
    assert of("processes", worked) == []


@needs_filter
def test_it_signals_traces_and_limits_no_other_process(worked: list[str]) -> None:
    assert of("others", worked) == []


@needs_filter
def test_it_gains_no_right_back(worked: list[str]) -> None:
    assert of("gaining", worked) == []


COMMAND = """
import os, pathlib, subprocess, sys, socket, threading
def tries(attack):
    try:
        attack()
        return True
    except OSError:
        return False
def daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            pathlib.Path("/proc/self/comm").read_text()
            print('{"error": "daemon %d %s"}' % (os.getpid(), done), flush=True)
            threading.Event().wait()
        os._exit(0)
STATE, SECRET, VICTIM = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
done = []
attacks = {
    "secret": lambda: open(SECRET).read(),
    "state": lambda: open(STATE / "state.json").read(),
    "remove": lambda: (STATE / "state.json").unlink(),
    "kill": lambda: os.kill(VICTIM, 0),
    "environ": lambda: open(f"/proc/{VICTIM}/environ").read(),
    "inet": lambda: socket.socket(socket.AF_INET),
}
sys.stdin.readline()
done = [name for name, attack in attacks.items() if tries(attack)]
subprocess.run(["true"], check=True)
daemon()
threading.Event().wait()
"""


@needs_landlock
@needs_filter
def test_an_owners_command_starts_processes_that_end_with_it_and_reads_no_state(
    place: Path,
) -> None:
    paths = (str(place / "state/models/m"), str(place / "device.toml"))
    command = (sys.executable, "-c", COMMAND, *paths, str(os.getpid()))
    result = run_probe(
        ProbeRequest(
            candidate=SlotModel(str(slot(place)), "m.onnx", "gguf", command),
            closed=(str(place / "state"), str(place / "device.toml")),
        )
    )
    assert "daemon" in result.detail, result
    words = result.detail[result.detail.index("daemon") :].split()
    assert words[2].startswith("[]"), result.detail
    assert not hostile_runtime.is_alive(int(words[1]))


# --- another user ---------------------------------------------------------------------------------

AS_NOBODY = """
import os, sys
from pathlib import Path
from slotcast_schemas.confinement import privileges
print(repr(privileges.become_nobody([Path(sys.argv[1])])), os.getresuid(), os.getgroups())
try:
    Path(sys.argv[2]).read_text()
    print("read")
except PermissionError:
    print("refused")
"""


@needs_root
def test_root_becomes_a_user_that_owns_nothing_if_the_model_stays_readable(
    place: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)

    def become(readable: Path) -> list[str]:
        command = [sys.executable, "-c", AS_NOBODY, str(readable), str(secret)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    other = privileges.UNUSED_USER
    assert become(Path("/usr")) == [f"'' ({other}, {other}, {other}) []", "refused"]
    closed, end = become(secret)
    assert closed.startswith(f"'{secret} is closed to other users' (0, 0, 0)")
    assert end == "read"


@needs_root
@needs_filter
def test_the_probe_of_an_agent_that_is_root_is_held_by_that_user(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as name:
        opened = Path(name)
        shutil.copytree(slot(place), opened / "a")
        shutil.copytree(place / "hostile", opened / "hostile")
        opened.chmod(0o755)
        monkeypatch.setenv("PYTHONPATH", str(opened / "hostile"))
        result = run_probe(ProbeRequest(candidate=SlotModel(str(opened / "a"), "m.onnx")))
    assert of("gaining", hostile_runtime.attacks_that_worked(result.detail)) == []
    closed = [path for path in map(Path, (sys.prefix, sys.base_prefix)) if not is_open(path)]
    if closed:
        pytest.skip(f"Python itself is closed to other users: {closed[0]}")
    assert f"as {privileges.UNUSED_USER}" in result.detail


def is_open(path: Path) -> bool:
    return all(each.stat().st_mode & 0o001 for each in (path.resolve(), *path.resolve().parents))


# --- memory that nobody reads ---------------------------------------------------------------------

AGENT = """
import argparse, ctypes, sys
from pathlib import Path
from slotcast_device import agent, commands
from slotcast_device.config import DeviceConfig
class Started:
    def __init__(self, config):
        print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)
        raise SystemExit
agent.Agent = Started
commands.run_agent(DeviceConfig(Path(sys.argv[1])), argparse.Namespace(once=True))
"""
CAN_BE_READ = "1"
"""What `PR_GET_DUMPABLE` says of a process that others of its user may look into."""


def test_an_agent_hides_its_memory_before_it_does_anything(tmp_path: Path) -> None:
    (tmp_path / "root.json").write_text("{}")
    (tmp_path / "device.toml").write_text(
        'format = 1\ndevice = "d"\nmodels = ["m"]\n[[brokers]]\nurl = "mqtt://nowhere.invalid"\n'
    )
    command = [sys.executable, "-c", AGENT, str(tmp_path / "device.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0", done


def test_a_publisher_hides_its_memory_before_a_model_is_loaded(place: Path) -> None:
    program = (
        "import ctypes, sys; from pathlib import Path\n"
        "from slotcast_publisher.release.model_check import check_model\n"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))\n"
        "check_model(Path(sys.argv[1]), 'm.onnx')\n"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))\n"
    )
    command = [sys.executable, "-c", program, str(slot(place))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [CAN_BE_READ, "0"]


# --- kernels that lack a layer --------------------------------------------------------------------

WITHOUT = """
import errno, json, sys
from slotcast_schemas.confinement import call_filter as f, call_numbers, kernel
known = call_numbers.numbers(kernel.machine())
kernel.process_control(kernel.PR_SET_NO_NEW_PRIVS, 1)
program = f._of_architecture(call_numbers.ARCHITECTURES[kernel.machine()])
refused = []
if "landlock" in sys.argv:
    refused += [(444, errno.ENOSYS), (445, errno.ENOSYS), (446, errno.ENOSYS)]
if "filter" in sys.argv:
    refused += [(known["seccomp"], errno.EPERM)]
for number, error in refused:
    program += f._refuse(number, error)
if "filter" in sys.argv:
    prctl = 157 if kernel.machine() == "x86_64" else 167
    program += [(0x15, 0, 4, prctl), f._argument(0), (0x15, 0, 1, 22), f._answer(errno.EINVAL),
                (0x06, 0, 0, 0x7FFF0000)]
f._install([*program, (0x06, 0, 0, 0x7FFF0000)])
import msgspec
from slotcast_schemas.confinement.trial import TrialRequest, hold_trial
from slotcast_schemas.probe import ProbeRequest, SlotModel, run_probe
result = run_probe(ProbeRequest(candidate=SlotModel(sys.argv[1], "m.onnx")))
print(result.passed, result.reason)
request = TrialRequest(readable=sys.argv[1], secret=sys.argv[2], changed=sys.argv[3])
print(msgspec.json.encode(hold_trial(request)).decode())
"""


def without(place: Path, tmp_path: Path, *layers: str) -> tuple[str, TrialReport]:
    """Probe a good model where the kernel refuses these layers; what `check` would then say."""
    folders = [str(slot(place)), str(place / "device.toml"), str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *folders, *layers],
        capture_output=True,
        text=True,
        check=True,
    )
    verdict, report = done.stdout.splitlines()
    return verdict, msgspec.json.decode(report, type=TrialReport)


@needs_filter
def test_a_good_model_passes_where_layers_are_missing_and_it_is_said(
    place: Path, tmp_path: Path
) -> None:
    verdict, report = without(place, tmp_path, "landlock")
    assert verdict == "True passed"
    assert "files" in report.lacks
    assert report.done == (f"read {place / 'device.toml'}",), report

    verdict, report = without(place, tmp_path, "landlock", "filter")
    assert verdict == "True passed"
    assert report.lacks.keys() >= {"files", "network", "calls"}
    assert "reach a network" in report.done
    assert "start a process" in report.done


@needs_filter
@needs_landlock
def test_check_tries_it_and_finds_nothing_that_works(place: Path, tmp_path: Path) -> None:
    report = hold_trial(
        TrialRequest(
            readable=str(slot(place)), secret=str(place / "device.toml"), changed=str(tmp_path)
        )
    )
    assert report.done == (), report
    assert report.lacks.keys() <= {"user"}, report


# --- the tables -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "header"),
    [
        ("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        ("aarch64", "/usr/include/asm-generic/unistd.h"),
    ],
)
def test_the_numbers_are_those_of_the_kernels_headers(machine: str, header: str) -> None:
    if not Path(header).exists():
        pytest.skip(f"{header} is not installed")
    pattern = r"#define __NR(?:3264)?_(\w+)\s+(\d+)"
    theirs = {name: int(text) for name, text in re.findall(pattern, Path(header).read_text())}
    ours = call_numbers.numbers(machine)
    assert {
        name: number for name, number in ours.items() if theirs.get(name, number) != number
    } == {}
    assert len(ours.keys() & theirs.keys()) > 80


def test_a_processor_whose_numbers_are_not_known_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "machine", lambda: "sparc64")
    with pytest.raises(call_filter.FilterRefused, match="sparc64"):
        call_filter.close_calls(starts_processes=False, opens_devices=False)
