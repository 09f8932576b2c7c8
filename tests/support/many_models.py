"""Repositories of thousands of models, made without building each."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import msgspec

from slotcast_publisher.durable import link_tree
from slotcast_publisher.repository import Repository
from slotcast_schemas import wire


@contextlib.contextmanager
def not_durable() -> Iterator[None]:
    """Leave out what only a power cut would show; it is most of the time that making takes."""
    with patch.object(os, "fsync", lambda _fd: None):
        yield


def add_like(repo: Repository, model: str, version: str, names: Iterator[str]) -> None:
    """Release and offer a release again under other models' names, truly signed.

    Args:
        repo: the repository.
        model: the model to take it from.
        version: its version.
        names: the other models; they share one release key.
    """
    source = repo.store.folder(model, version)
    key = repo.ring.generate("release-many", encrypted=False)
    for name in names:
        release = msgspec.structs.replace(source.load(), model=name)
        folder = repo.path / "models" / name / "releases" / version
        folder.parent.mkdir(parents=True)
        link_tree(source.path, folder)
        (folder / "release.msgpack").unlink()
        (folder / "release.msgpack").write_bytes(wire.encode(release))
        repo.roles.ensure_model(name, lambda: key)
        data = (folder / "release.msgpack").read_bytes()
        repo.roles.of(name).add_release(name, version, data, release.sequence)
        repo.offer(name, version)


def lay_beside(repo: Repository, model: str, count: int) -> None:
    """Give a repository more models that look like one from outside, and are not to be read.

    Args:
        repo: the repository.
        model: the model that they are linked from.
        count: how many.
    """
    signed = repo.path / "metadata" / "models"
    for number in range(count):
        name = f"beside-{number}"
        (repo.path / "models" / name).symlink_to(model)
        (signed / name).mkdir()
        (signed / name / "timestamp.json").hardlink_to(signed / model / "timestamp.json")


class FileCount:
    """Counts the files that this process opens, and the folders that it lists, below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._is_on = False
        self.count = 0
        sys.addaudithook(self._hear)  # for good: it cannot be taken off, only told to be quiet

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if self._is_on and event in {"open", "os.listdir", "os.scandir", "os.rename"}:
            self.count += str(arguments[0]).startswith(self._folder)

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """Count what happens meanwhile, from 0."""
        self.count, self._is_on = 0, True
        try:
            yield
        finally:
            self._is_on = False
