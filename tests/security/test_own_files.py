"""Pipes, sockets, folders, devices and endless files in the place of what belongs to a publisher.

Whoever may write in the folder of a repository for a moment, or a script that went wrong, holds up
no command: each ends, and says what it expected, what is there, and what to do with it.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from slotcast_device.cli import main as device_main
from slotcast_device.storage.identity import DeviceIdentity
from slotcast_publisher.cli import app
from slotcast_schemas.broker import tls_context
from slotcast_schemas.enrolment import write_enrolment
from slotcast_schemas.errors import SlotcastError, UsageError
from slotcast_schemas.plain_files import open_regular, read_regular
from slotcast_schemas.states import State
from tests.support import models
from tests.support.cli_runner import CliRunner
from tests.support.fleet import Publisher

pytestmark = [pytest.mark.usefixtures("quick_probes"), pytest.mark.timeout(300)]

HUNG_S = 10.0
"""A command of these takes hundredths of a second."""
MEMORY_BYTES = 1 << 30
SPARSE_BYTES = 1 << 40

COMMANDS = (
    ("list",),
    ("keys", "list"),
    ("recipients", "list", "clf"),
    ("inspect", "clf"),
    ("fleet",),
    ("rollout", "status"),
    ("refresh",),
)
OF_CERTIFICATES = (
    ("certificates", "list"),
    ("certificates", "refresh"),
    ("devices", "list"),
    ("provision", "d2", "OUT", "--model", "clf"),
)
PUBLISH = ("publish", "clf", "1")
ROTATE = ("keys", "rotate", "online", "--no-passphrase")
COMMANDS_OF = {
    "certificates": OF_CERTIFICATES,
    "devices": OF_CERTIFICATES,
    "keys": (*COMMANDS, ROTATE),
    "models": (*COMMANDS, PUBLISH),
    "push": (PUBLISH,),
    "slotcast.toml": (*COMMANDS, *OF_CERTIFICATES, PUBLISH),
}
"""Those that read what lies in a folder of a repository; `COMMANDS` where nothing is said."""


class CommandHung(BaseException):
    """A command waited for what never comes."""


def run(repo: Path, command: tuple[str, ...]) -> BaseException | None:
    """Run a command of the repository; gives what it raised."""
    words = 2 if command[0] in {"keys", "certificates", "devices", "recipients", "rollout"} else 1
    out = str(repo.with_name("out"))
    given = [out if word == "OUT" else word for word in command[words:]]
    result = CliRunner().invoke(app, [*command[:words], str(repo), *given])
    return result.exception


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with each kind of file in it."""
    folder = tmp_path_factory.mktemp("whole")
    repo, model, request = folder / "repo", folder / "m.onnx", folder / "request"
    model.write_bytes(models.classifier(1, hidden=16))
    identity = DeviceIdentity(Ed25519PrivateKey.generate()).make_request("d")
    request.write_bytes(write_enrolment(identity))
    for words in (
        ("init", repo, "--no-passphrase", "--broker", "mqtt://127.0.0.1:1"),
        ("certificates", "init", repo, "--host", "localhost"),
        ("certificates", "publisher", repo, "me"),
        ("certificates", "renewals", repo),
        ("devices", "enrol", repo, request),
        ("release", repo, "clf", "1", model),
        ("publish", repo, "clf", "1"),
        ("rollout", "plan", repo, "clf", "1", "--out", folder / "plan.toml"),
        ("rollout", "start", repo, folder / "plan.toml"),
        ("rollout", "cancel", repo, "clf-1"),
    ):
        CliRunner().invoke(app, [str(word) for word in words])
    return repo


def kinds_of_files(repo: Path) -> list[Path]:
    """One file of each kind, by names without numbers and digests."""
    found: dict[str, Path] = {}
    for path in sorted(each for each in repo.rglob("*") if each.is_file()):
        name = str(path.relative_to(repo))
        found[re.sub(r"[0-9a-f]{6,}|\d+", "#", name)] = Path(name)
    return list(found.values())


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Raise `CommandHung` where a command waits, MemoryError where it takes a gigabyte more."""

    def hung(number: int, frame: FrameType | None) -> None:
        raise CommandHung

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY_BYTES
    before = signal.signal(signal.SIGALRM, hung)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    signal.setitimer(signal.ITIMER_REAL, HUNG_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGALRM, before)


def make_socket(path: Path) -> None:
    place, before = path.parent, Path.cwd()
    os.chdir(place)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path.name[-80:])
        Path(path.name[-80:]).rename(path.name)
    finally:
        os.chdir(before)


def link_to_pipe(path: Path) -> None:
    os.mkfifo(f"{path}.x")
    path.symlink_to(f"{path}.x")


def make_sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(SPARSE_BYTES)


PLANTED: dict[str, Callable[[Path], None]] = {
    "a pipe": os.mkfifo,
    "a socket": make_socket,
    "a folder": Path.mkdir,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to a pipe": link_to_pipe,
    "a terabyte": make_sparse,
    "a link to itself": lambda path: path.symlink_to(path.name),
}


def try_all(whole: Path, folder: Path, name: Path, kind: str) -> list[str]:
    """Say what a command did that it must not, where `kind` lies in the place of a file."""
    repo = folder / "repo"
    shutil.copytree(whole, repo)
    if (repo / name).is_dir():
        shutil.rmtree(repo / name)
    else:
        (repo / name).unlink()
    PLANTED[kind](repo / name)
    wrong = []
    for command in COMMANDS_OF.get(name.parts[0], COMMANDS):
        try:
            with bounded():
                raised = run(repo, command)
        except CommandHung as exc:
            raised = exc
        if raised is not None and not isinstance(raised, SlotcastError | SystemExit):
            wrong.append(f"{' '.join(command)} with {kind} named {name}: {raised!r:.200}")
    shutil.rmtree(folder)
    return wrong


def test_no_pipe_in_the_place_of_any_file_of_a_repository_holds_up_a_command(
    whole: Path, tmp_path: Path
) -> None:
    names = kinds_of_files(whole)
    assert len(names) > 40, names
    wrong = [said for name in names for said in try_all(whole, tmp_path / "t", name, "a pipe")]
    assert wrong == []


def kinds_of_folders(repo: Path) -> list[Path]:
    """One folder of each kind, the outer ones first."""
    found: dict[str, Path] = {}
    for path in sorted(each for each in repo.rglob("*") if each.is_dir()):
        name = str(path.relative_to(repo))
        found.setdefault(re.sub(r"[0-9a-f]{6,}|\d+", "#", name), Path(name))
    return list(found.values())


@pytest.mark.parametrize("kind", ["a pipe", "a link to itself"])
def test_neither_does_anything_in_the_place_of_a_folder(
    whole: Path, tmp_path: Path, kind: str
) -> None:
    names = kinds_of_folders(whole)
    assert len(names) > 10, names
    assert [said for name in names for said in try_all(whole, tmp_path / "t", name, kind)] == []


READ_FIRST = ("slotcast.toml", "keys.json", "metadata/timestamp.json", "fleet.db")


@pytest.mark.parametrize(
    "kind", [kind for kind in PLANTED if kind not in {"a pipe", "a link to itself"}]
)
def test_neither_does_anything_else_that_is_no_file_of_its_size(
    whole: Path, tmp_path: Path, kind: str
) -> None:
    payload = next(whole.glob("models/clf/releases/1/payloads/*/payload.bin")).relative_to(whole)
    names = (*map(Path, READ_FIRST), payload)
    assert [said for name in names for said in try_all(whole, tmp_path / "t", name, kind)] == []


@pytest.mark.parametrize("name", ["slotcast.toml", "keys.json"])
@pytest.mark.parametrize("kind", [kind for kind in PLANTED if kind != "a link to itself"])
def test_it_is_said_what_was_expected_and_what_is_there(
    whole: Path, tmp_path: Path, name: str, kind: str
) -> None:
    repo = tmp_path / "repo"
    shutil.copytree(whole, repo)
    (repo / name).unlink()
    PLANTED[kind](repo / name)
    with bounded():
        said = str(run(repo, ("list",)))
    found = kind.removeprefix("a link to ")
    expected = "at most 67108864 bytes" if kind == "a terabyte" else f"a plain file, found {found}"
    assert f"expected {expected}" in said
    assert str(repo / name) in said


def test_a_link_to_a_file_is_followed_where_an_owner_may_have_put_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"bytes")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link") == b"bytes"
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"bytes"


@pytest.mark.parametrize("which", ["ca", "certificate", "key"])
@pytest.mark.parametrize("kind", ["a pipe", "a device"])
def test_no_file_of_tls_is_waited_at(whole: Path, tmp_path: Path, which: str, kind: str) -> None:
    given = {
        "ca": whole / "certificates/brokers-ca.pem",
        "certificate": whole / "certificates/publishers/me.pem",
        "key": whole / "certificates/publishers/me.key",
    }
    tls_context(**given)
    PLANTED[kind](tmp_path / "planted")
    with bounded(), pytest.raises(UsageError, match=f"found {kind}: remove"):
        tls_context(**{**given, which: tmp_path / "planted"})


DEVICE_COMMANDS = (("status",), ("check",), ("enrol",), ("rollback", "--model", "clf"))


def test_no_pipe_in_the_place_of_any_file_of_a_device_holds_up_a_command(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole"
    device = publisher.provision("cam-1", whole)
    publisher.publish("clf", "1")
    assert device.run_once().state is State.COMMITTED
    names = kinds_of_files(whole)
    assert len(names) > 8, names
    wrong = []
    for name in names:
        copied = tmp_path / "copied"
        shutil.copytree(whole, copied, symlinks=True)
        (copied / name).unlink()
        os.mkfifo(copied / name)
        for command in DEVICE_COMMANDS:
            try:
                with bounded():
                    device_main([*command, "--config", str(copied / "device.toml")])
            except (CommandHung, Exception) as exc:  # noqa: BLE001 - none of them is to be seen
                wrong.append(f"{' '.join(command)} with a pipe named {name}: {exc!r:.200}")
        shutil.rmtree(copied)
    assert wrong == []
