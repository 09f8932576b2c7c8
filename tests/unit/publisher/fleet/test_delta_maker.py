"""Deltas that are made on demand: by a real child process, beside the repository's lock."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slotcast_publisher.fleet.steering.delta_maker import ChildDeltaMaker
from slotcast_publisher.fleet.steering.offer_payloads import choose_payloads
from slotcast_publisher.repository import Repository
from slotcast_publisher.store import PayloadRecord, ReleaseFolder
from slotcast_schemas.limits import PAYLOADS_MAX
from slotcast_schemas.messages.offer import Base, Payload
from tests.support import models
from tests.support.fleet import Publisher
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`clf` 1, 2, a delta from which to 3 pays, and 3: all with the full payload alone."""
    publisher = Publisher.make(tmp_path_factory.mktemp("released") / "repo")
    for version, data in (
        ("1", models.classifier(9, hidden=512)),
        ("2", models.classifier(1, hidden=512)),
        ("3", models.classifier(1, hidden=512, drift=1e-6)),
    ):
        publisher.release("clf", version, {"model.onnx": data})
    return publisher.path


@pytest.fixture
def repo(released: Path, tmp_path: Path) -> Repository:
    shutil.copytree(released, tmp_path / "repo")
    return Repository(tmp_path / "repo")


@pytest.fixture
def made() -> Iterator[Callable[..., ChildDeltaMaker]]:
    """Makes makers, and closes them in the end."""
    makers: list[ChildDeltaMaker] = []

    def make(*given: Any, **named: Any) -> ChildDeltaMaker:
        makers.append(ChildDeltaMaker(*given, **named))
        return makers[-1]

    yield make
    for maker in makers:
        maker.close()


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))


def bases(folder: ReleaseFolder) -> set[str]:
    return {r.payload.base.version for r in folder.payloads() if r.payload.base is not None}


def test_deltas_are_made_one_after_the_other_while_the_repository_is_free_for_others(
    repo: Repository, made: Callable[..., ChildDeltaMaker]
) -> None:
    log = Log()
    maker = made(repo, log, workers=1)
    assert not maker.want("clf", "3", ["2", "1"])
    with repo.locked(wait_s=0.0):
        pass  # whoever pauses a rollout now does not wait
    wait_until(lambda: maker.want("clf", "3", ["2", "1"]), "both are settled")
    folder = repo.store.folder("clf", "3")
    assert "2" in bases(folder)
    assert [(event, fields["base"]) for event, fields in log.lines] == [
        ("delta_made", "2"),
        ("delta_does_not_pay", "1"),
    ]

    again = made(repo, log)  # another process, later
    assert again.want("clf", "3", ["2", "1"])
    assert len(log.lines) == 2
    assert not (folder.path / ".deltas").exists()


def test_a_delta_that_cannot_be_made_is_said_and_not_tried_without_end(
    repo: Repository, made: Callable[..., ChildDeltaMaker]
) -> None:
    log = Log()
    maker = made(repo, log)
    (repo.store.folder("clf", "2").files_dir / "model.onnx").unlink()
    wait_until(lambda: maker.want("clf", "3", ["2"]), "it is settled")
    assert [event for event, _ in log.lines] == ["no_delta"]
    assert bases(repo.store.folder("clf", "3")) == set()


def test_a_delta_that_takes_too_long_is_ended_with_all_its_processes(
    repo: Repository, made: Callable[..., ChildDeltaMaker]
) -> None:
    log, now = Log(), [0.0]
    maker = made(repo, log, delta_max_s=60.0, clock=lambda: now[0])
    assert not maker.want("clf", "3", ["2"])
    work = maker._work
    assert work is not None
    now[0] = 61.0
    assert maker.want("clf", "3", ["2"])
    with pytest.raises(ProcessLookupError):
        os.killpg(work.process.pid, 0)
    assert log.lines[0][1]["detail"] == "not made in 60 s"


# --- which of them are offered --------------------------------------------------------------------


@dataclasses.dataclass
class Folder:
    """A release with a whole image and deltas from so many bases."""

    count: int

    def payloads(self) -> list[PayloadRecord]:
        return [self._record(number) for number in range(self.count + 1)]

    def _record(self, number: int) -> PayloadRecord:
        base = Base(sequence=number, version=str(number), image_sha256=bytes(32), size_bytes=9)
        payload = Payload(
            codec="delta+v1" if number else "full+zstd",
            sha256=number.to_bytes(32, "big"),
            size_bytes=100,
            chunk_size_bytes=4096,
            map_parts=(bytes(32),),
            base=base if number else None,
        )
        return PayloadRecord(payload=payload, image_size_bytes=1000, build_s=1.0)


def chosen(folder: Any, devices: dict[int, int], kept: Any = ()) -> list[int]:
    found = choose_payloads(folder, devices, kept)
    return [0 if payload.base is None else payload.base.sequence for payload in found]


def test_where_not_all_have_room_the_bases_of_most_devices_are_offered() -> None:
    devices = {number: number for number in range(1, 31)}
    assert chosen(Folder(30), devices) == [0, *range(30, 30 - PAYLOADS_MAX + 1, -1)]


def test_what_is_offered_stays_though_other_bases_become_more_common() -> None:
    folder: Any = Folder(30)
    kept = choose_payloads(folder, {number: number for number in range(1, 31)})
    assert set(chosen(folder, {1: 1000}, kept)) == set(chosen(folder, {}, kept))
    assert 1 in chosen(folder, {1: 1000})
