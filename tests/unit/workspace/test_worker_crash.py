"""A worker of pytest-xdist that dies is named, and nobody waits for what it had left to do."""

from __future__ import annotations

from pathlib import Path

from tests.support.inner_pytest import run_pytest

TESTS = """
import os
import pytest

@pytest.mark.parametrize("n", range(6))
def test_one(n):
    if {dies} and n == 3:
        os.kill(os.getpid(), 9)
"""


def test_a_run_ends_with_the_name_of_the_test_in_which_a_worker_died(tmp_path: Path) -> None:
    """With the settings of all tests, and files that one worker runs as a whole."""
    for number in range(4):
        (tmp_path / f"test_{number}.py").write_text(TESTS.format(dies=number == 1))
    done = run_pytest(tmp_path)
    assert done.returncode != 0
    assert "crashed while running 'test_1.py::test_one[3]'" in done.stdout
