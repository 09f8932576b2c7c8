"""The image that the device's container is built on: one with Python, from a registry or from here.

Environment:
    SLOTCAST_PYTHON_IMAGE: this image instead.
"""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.support.engine import NoImage, choose_image

OFFICIAL_IMAGE: Final = "python:3.11-slim"
LOCAL_IMAGE: Final = "slotcast/python:local"


@functools.cache
def image() -> str:
    """Give the image: the one asked for, else one that is here, else pulled, else made.

    Raises:
        NoImage: none of that.
    """
    return choose_image("SLOTCAST_PYTHON_IMAGE", OFFICIAL_IMAGE, LOCAL_IMAGE, _make)


def _make() -> None:
    """Make a small root of the distribution's own packages, as debootstrap does."""
    if shutil.which("debootstrap", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        raise NoImage(f"{OFFICIAL_IMAGE} cannot be pulled, and debootstrap is not installed")
    if os.geteuid() != 0:
        raise NoImage(f"{OFFICIAL_IMAGE} cannot be pulled, and debootstrap needs root")
    suite = platform.freedesktop_os_release().get("VERSION_CODENAME", "stable")
    with tempfile.TemporaryDirectory(prefix="slotcast-python-") as name:
        root = Path(name) / "root"
        command = ["debootstrap", "--variant=minbase", "--include=python3,python3-venv"]
        made = subprocess.run([*command, suite, str(root)], capture_output=True, check=False)
        if made.returncode != 0:
            raise NoImage(f"debootstrap failed: {made.stdout.decode(errors='replace')[-500:]}")
        packed = ["tar", "-C", str(root), "--exclude=./var/cache/apt", "-c", "."]
        with subprocess.Popen(packed, stdout=subprocess.PIPE) as tar:
            taken = ["docker", "import", "-", LOCAL_IMAGE]
            done = subprocess.run(taken, stdin=tar.stdout, capture_output=True, check=False)
        if done.returncode != 0:
            raise NoImage(f"docker import failed: {done.stderr.decode(errors='replace')}")
