"""Where the tests' files go: into memory, and out of it again."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import memory_folder
from tests.support.memory_folder import TestFolder


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that stands for memory with room enough."""
    monkeypatch.setattr(memory_folder, "FOLDER_MIN_BYTES", 0)
    monkeypatch.setattr(memory_folder, "AVAILABLE_MIN_BYTES", 0)
    monkeypatch.setattr(tempfile, "tempdir", tempfile.gettempdir())
    monkeypatch.delenv("TMPDIR", raising=False)
    yield tmp_path
    os.environ.pop("TMPDIR", None)


def age(folder: TestFolder) -> None:
    os.utime(folder.path / ".in-use", (0, 0))


def test_temporary_files_go_there_until_the_run_ends(memory: Path) -> None:
    folder = memory_folder.take(memory)
    assert folder is not None
    assert Path(tempfile.mkdtemp()).parent == folder.path == Path(os.environ["TMPDIR"])
    folder.close()
    assert list(memory.iterdir()) == []


def test_a_second_run_of_one_process_finds_a_folder_again(memory: Path) -> None:
    for _ in range(2):
        folder = memory_folder.take(memory)
        assert folder is not None
        assert Path(tempfile.mkdtemp()).parent == folder.path
        folder.close()
        assert Path(tempfile.gettempdir()).exists()


def test_who_has_set_tmpdir_gets_that_one(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    assert memory_folder.take(memory) is None
    assert list(memory.iterdir()) == []


@pytest.mark.parametrize("what", ["FOLDER_MIN_BYTES", "AVAILABLE_MIN_BYTES"])
def test_where_there_is_no_room_files_stay_on_the_disk(
    memory: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(memory_folder, what, 1 << 60)
    assert memory_folder.take(memory) is None
    assert "TMPDIR" not in os.environ


def test_where_memory_is_no_folder_files_stay_on_the_disk(memory: Path) -> None:
    assert memory_folder.take(memory / "missing") is None


def test_what_a_failed_run_kept_is_removed_by_the_next_and_what_runs_stays(memory: Path) -> None:
    first, running = (TestFolder(Path(tempfile.mkdtemp(prefix="slotcast-test-", dir=memory)))
                      for _ in range(2))  # fmt: skip
    (first.path / "log").write_text("why")
    first.is_kept = True
    first.close()
    memory_folder.remove_left(memory)
    assert (first.path / "log").exists(), "it is young, and its run may be about to lock it"
    age(first)
    age(running)
    memory_folder.remove_left(memory)
    assert list(memory.iterdir()) == [running.path]
    running.close()
