"""A worker of pytest-xdist that dies is named, and nobody waits for what it had left to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.engine import REPOSITORY
from tests.support.waiting import WAIT_S

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
    settings = ["-c", str(REPOSITORY / "pyproject.toml"), "--rootdir", str(tmp_path)]
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *settings]
    done = subprocess.run(
        [*run, "-n", "1", "--dist", "loadfile", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode != 0
    assert "crashed while running 'test_1.py::test_one[3]'" in done.stdout
