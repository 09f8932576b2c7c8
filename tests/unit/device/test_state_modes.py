"""The state directory is closed to all but the agent and the applications' group."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from slotcast_device.storage.state_modes import (
    close_if_nobody_is_locked_out,
    make_closed,
    open_folders,
)
from tests.support.stranger import STRANGER, as_stranger, needs_root


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def state(umask: None) -> Iterator[Path]:
    """One that was installed for a group and is open to all, in a folder that all may enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield make_open_state(Path(name))


def make_open_state(folder: Path) -> Path:
    state = folder / "state"
    (state / "models/m/slots").mkdir(parents=True)
    (state / "models/m/app").mkdir()
    (state / "models/m/app").chmod(0o3770)
    state.chmod(0o2755)
    return state


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_one_is_closed_and_one_that_is_there_stays(tmp_path: Path, umask: None) -> None:
    make_closed(tmp_path / "deep/state")
    assert mode(tmp_path / "deep/state") == 0o750
    (tmp_path / "deep/state").chmod(0o755)
    make_closed(tmp_path / "deep/state")
    assert mode(tmp_path / "deep/state") == 0o755


def test_one_for_a_group_is_closed_at_the_start(state: Path) -> None:
    assert close_if_nobody_is_locked_out(state) == ""
    assert mode(state) == 0o2750
    assert list(open_folders(state)) == []


def test_one_for_nobody_in_particular_stays_open_and_check_says_so(state: Path) -> None:
    state.chmod(0o755)
    assert close_if_nobody_is_locked_out(state) == ""
    assert mode(state) == 0o755
    (said,) = open_folders(state)
    assert f"then chmod o-rwx {state}" in said
    state.parent.chmod(0o700)  # a folder on the way is closed
    assert list(open_folders(state)) == []


@needs_root
def test_an_application_outside_the_group_is_not_locked_out(state: Path) -> None:
    (state / "models/m/app/1.json").write_text("{}")
    os.chown(state / "models/m/app/1.json", STRANGER, STRANGER)
    said = close_if_nobody_is_locked_out(state)
    assert f"uid {STRANGER} is not in the group" in said
    assert mode(state) == 0o2755
    assert len(list(open_folders(state))) == 1


@needs_root
def test_nobody_else_enters_a_closed_one_and_the_group_does(state: Path) -> None:
    close_if_nobody_is_locked_out(state)
    assert "PermissionError" in as_stranger(lambda: str(list(state.iterdir())))
    os.chown(state, -1, STRANGER)
    state.chmod(0o2750)
    assert "models" in as_stranger(lambda: str(list(state.iterdir())))


@pytest.mark.parametrize(("open_to", "who"), [(0o2775, "the group"), (0o2757, "every user")])
def test_folders_that_others_may_change_are_found(state: Path, open_to: int, who: str) -> None:
    (state / "models/m/slots").chmod(open_to)
    (said,) = (text for text in open_folders(state) if "slots" in text)
    assert f"can be changed by {who}" in said
    assert f"chmod go-w {state / 'models/m/slots'}" in said
