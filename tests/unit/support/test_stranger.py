"""Doing something as another user."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.stranger import STRANGER, as_stranger, needs_root

pytestmark = needs_root


def test_it_is_another_user_and_what_it_raises_is_told() -> None:
    said = as_stranger(lambda: f"{os.getresuid()} {os.getresgid()} {os.getgroups()}")
    assert said == f"{(STRANGER,) * 3} {(STRANGER,) * 3} []"
    assert "ZeroDivisionError" in as_stranger(lambda: str(1 / 0))


def test_it_has_no_rights_of_root_and_everybody_else_keeps_theirs(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert "PermissionError" in as_stranger(lambda: str(list(closed.iterdir())))
    assert os.getresuid() == (0, 0, 0)
    assert list(closed.iterdir()) == []
