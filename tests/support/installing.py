"""What is installed on a device, made as docs/install.md says: fixtures for tests that install it.

Import them in a folder's conftest.py.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from slotcast_publisher import settings as settings_file
from slotcast_publisher.settings import Settings
from slotcast_schemas.messages.release import Trial
from slotcast_schemas.topics import Topics
from tests.support import models
from tests.support.brokers import Broker, mosquitto
from tests.support.engine import REPOSITORY
from tests.support.fleet import Observer, Publisher
from tests.support.walkthrough import commands

MODEL: Final = "digits"
DEVICE: Final = "camera-7"
PAGE: Final = "install.md"


@dataclass(frozen=True)
class Stand:
    """A broker, a publisher in a clone, and what the device will get."""

    broker: Broker
    publisher: Publisher
    clone: Path

    def release(self, version: str, model: bytes, **trial: Any) -> None:
        """Release a model under the name that stays, and publish it."""
        files = {"digits.onnx": model}
        self.publisher.release(MODEL, version, files, trial=Trial(max_restarts=50, **trial))
        self.publisher.publish(MODEL, version)

    def observer(self, device: str = DEVICE) -> Observer:
        """Watch a device at the broker."""
        certificates = self.broker.certificates
        assert certificates is not None
        context = certificates.context(certificates.publisher())
        return Observer(self.broker.publisher_url, Topics(), device, tls=context)


def _check_environment() -> None:
    """The clone borrows this environment, and `make` there must find it in step and leave it."""
    check = ["sha256sum", "--check", "--status", f"{sys.prefix}/made-from"]
    if subprocess.run(check, cwd=REPOSITORY, check=False).returncode != 0:
        pytest.fail("the environment is not what `make dev` makes of this clone: run it first")


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """A clone with a repository in it, in which 1.0 is published."""
    _check_environment()
    clone = tmp_path_factory.mktemp("clone of slotcast")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (REPOSITORY / name).exists():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, clone / name, follow_symlinks=False)
    (clone / ".venv").symlink_to(Path(sys.prefix))
    with mosquitto("production") as broker:
        certificates = broker.certificates
        assert certificates is not None
        address = certificates.publisher_settings(broker.publisher_url)
        publisher = Publisher.make(clone / "repo", prefix="slotcast/v1", settings=Settings())
        settings_file.save(publisher.path, Settings(prefix=Topics().prefix, brokers=(address,)))
        certificates.give_devices_authority(publisher.path)
        made = Stand(broker, Publisher(publisher.path), clone)
        made.release("1.0", models.classifier(1))
        yield made


@pytest.fixture(scope="module")
def archive(stand: Stand) -> Path:
    """Section 1: what is carried to the device."""
    (script,) = commands(PAGE, "build").values()
    script = script.replace("mqtts://broker:8883", stand.broker.url)
    done = subprocess.run(
        ["/bin/sh", "-ec", script], cwd=stand.clone, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return stand.clone / f"{DEVICE}.tar"
