"""Writes `v1.tar.gz` of this folder: `python -m tests.assets.formats.make BROKER_URL`.

It is not run by the tests. What it holds was written by the commit before the modules moved into
folders: a repository with three releases and their deltas, and two state directories, one in the
middle of a transfer and one on trial. Later versions must go on from each of them. Run it again
only for a new format, with a new name.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

from slotcast_device.agent import Agent
from slotcast_publisher.settings import Expiry, Settings
from slotcast_schemas.states import State
from tests.support import models
from tests.support.fleet import Device, Observer, Publisher

HERE = Path(__file__).parent
BUILT = HERE / "build"
FOR_EVER = Expiry(
    **{
        f"{role}_days": 36500
        for role in ("root", "targets", "release", "offers", "snapshot", "timestamp")
    }
)
CHUNK_BYTES = 2048


def main(url: str) -> None:
    """Release 1.0 to both devices, 2.0 in part to one of them, and 3.0 on trial to the other."""
    settings = Settings(chunk_size_bytes=CHUNK_BYTES, expiry=FOR_EVER)
    publisher = Publisher.make(BUILT / "repo", url, settings=settings)
    for number in (1, 2, 3):
        file = BUILT / "model.onnx"
        file.write_bytes(models.classifier(hidden=256, drift=0.01 * number))
        # As a user does it, by the command, so that deltas are made.
        release = ("release", BUILT / "repo", "clf", f"{number}.0", file, "--trial-s", "1")
        subprocess.run([Path(sys.executable).with_name("slotcast"), *release], check=True)
    devices = [publisher.provision(name, BUILT / name) for name in ("cut-off", "on-trial")]
    publisher.publish("clf", "1.0")
    for device in devices:
        device.run_once()
    publisher.publish("clf", "2.0")
    lose_half_of_what_is_kept(publisher, url)
    run_until(devices[0], lambda agent: has_fetched(devices[0], 3))
    shutil.copytree(BUILT / "repo", BUILT / "kept")  # the archive's repository offers 2.0
    publisher.publish("clf", "3.0", send_all=True)
    run_until(devices[1], lambda agent: agent.cores[0].status().state is State.TRIAL)
    shutil.rmtree(BUILT / "repo")
    (BUILT / "kept").rename(BUILT / "repo")
    with tarfile.open(HERE / "v1.tar.gz", "w:gz") as archive:
        archive.add(BUILT, arcname=".")
    shutil.rmtree(BUILT)


def lose_half_of_what_is_kept(publisher: Publisher, url: str) -> None:
    """Take every second chunk off the broker, so that a transfer stays in its middle."""
    offer = publisher.repo.present_offer("clf")
    assert offer is not None
    with Observer(url, publisher.topics, "nobody") as observer:
        for payload in offer.payloads:
            for index in range(payload.chunk_count // 2, payload.chunk_count):
                observer.put(publisher.topics.chunk(payload.sha256, index), b"")


def has_fetched(device: Device, chunks: int) -> bool:
    """Whether so many chunks' worth of bytes are on the device's disk."""
    files = device.folder().glob("incoming/*/data")
    return sum(file.stat().st_size for file in files) >= chunks * CHUNK_BYTES


def run_until(device: Device, condition: Callable[[Agent], bool]) -> None:
    """Run a device until a condition holds, and stop it in order."""
    agent = Agent(device.config, random.Random(1))
    began_s = time.monotonic()
    agent.run(lambda a: condition(a) or time.monotonic() - began_s > 60)


if __name__ == "__main__":
    main(sys.argv[1])
