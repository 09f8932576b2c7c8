"""Runs pytest on files that a test has made, with the settings that all tests have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.engine import REPOSITORY
from tests.support.waiting import WAIT_S


def run_pytest(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the tests of a folder in one worker, which takes files as a whole.

    Raises:
        subprocess.TimeoutExpired: it does not end.
    """
    settings = ("-c", str(REPOSITORY / "pyproject.toml"), "--rootdir", str(folder))
    worker = ("-n", "1", "--dist", "loadfile", "-p", "no:cacheprovider")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *worker, *settings, *options, str(folder)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
