"""Somebody puts something else where a device keeps what it has seen signed.

Metadata that is kept is a memory of versions and no trust: what is not a small file of TUF's client
is passed over, and gives way to the next notice. None of it keeps a good notice from being taken.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slotcast_device.storage.trust_store import verify_notice
from slotcast_schemas.errors import Replayed
from tests.support.fleet import Publisher, model_bytes

pytestmark = pytest.mark.usefixtures("quick_probes")

LARGE_BYTES = 1 << 40
"""Of a sparse file: more than any memory has."""


def _link(path: Path, _: Path) -> None:
    path.symlink_to("nowhere")


def _loop(path: Path, _: Path) -> None:
    path.symlink_to(path.name)


def _link_to_folder(path: Path, elsewhere: Path) -> None:
    path.symlink_to(elsewhere)


def _link_to_pipe(path: Path, elsewhere: Path) -> None:
    path.symlink_to(elsewhere.with_name("pipe"))


def _link_to_device(path: Path, _: Path) -> None:
    path.symlink_to("/dev/zero")


def _pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path, _: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # a socket's path has a hundred characters and no more
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(before)


def _folder(path: Path, _: Path) -> None:
    (path / "x").mkdir(parents=True)


def _file(path: Path, _: Path) -> None:
    path.write_bytes(b"{")


def _large(path: Path, _: Path) -> None:
    with path.open("wb") as file:
        file.truncate(LARGE_BYTES)


KINDS: dict[str, Callable[[Path, Path], None]] = {
    "link": _link,
    "loop": _loop,
    "link to a folder": _link_to_folder,
    "link to a pipe": _link_to_pipe,
    "link to a device": _link_to_device,
    "pipe": _pipe,
    "socket": _socket,
    "folder": _folder,
    "file": _file,
    "large": _large,
}
PLACES = (
    *(".", "root_history", "root_history/1.root.json", "root.json", "timestamp.json"),
    *("snapshot.json", "targets.json", "release-clf.json", "more.json"),
)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[bytes]]:
    """A repository's root, and its notices of two releases."""
    made = Publisher.make(tmp_path_factory.mktemp("seen") / "repo")
    for version in ("1", "2"):
        made.release("clf", version, {"model.onnx": model_bytes(int(version), 1 << 12)})
    notices = [made.repo.offer("clf", version) for version in ("1", "2")]
    return made.repo.roles.root_bytes(), notices


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """Let this process have half a GiB more and nothing beyond."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + (512 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_in_the_place_of_what_was_seen_keeps_a_good_notice_out(
    signed: tuple[bytes, list[bytes]], tmp_path: Path, kind: str
) -> None:
    root, notices = signed
    os.mkfifo(tmp_path / "pipe")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for number, place in enumerate(PLACES):
        trust = tmp_path / f"trust-{number}"
        verify_notice(notices[0], "clf", root, trust)
        _take_away(trust / place)
        KINDS[kind](trust / place, elsewhere)
        with little_memory():
            assert verify_notice(notices[1], "clf", root, trust).release.version == "2", place
        assert list(elsewhere.iterdir()) == [], place
        with pytest.raises(Replayed):  # and what it sees is remembered again
            verify_notice(notices[0], "clf", root, trust)


def _take_away(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
