"""What an older version wrote is gone on with: its repository, and devices in the middle of things.

`tests/assets/formats/make.py` says how the archive was made.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from slotcast_schemas.states import State
from tests.support import models
from tests.support.brokers import Broker
from tests.support.fleet import Device, Observer, Publisher
from tests.support.fleet_fixtures import new_prefix

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]
ARCHIVE = Path(__file__).parents[1] / "assets" / "formats" / "v1.tar.gz"
WRITTEN_BROKER = "mqtt://127.0.0.1:21999"
CHUNK_BYTES = 2048
CHUNKS_ON_DISK = 6


class Older:
    """The archive, unpacked, with topics of its own at a broker of today."""

    def __init__(self, folder: Path, url: str) -> None:
        with tarfile.open(ARCHIVE) as archive:
            # Debian 12 has Python 3.11.2, whose `extractall` takes no filter yet.
            archive.extraction_filter = getattr(tarfile, "tar_filter", None)
            archive.extractall(folder)
        self.folder = folder
        self.url = url
        self.publisher = Publisher(folder / "repo").copy(folder / "today", url, prefix=new_prefix())

    def device(self, name: str) -> Device:
        device = Device(self.folder / name / "device.toml")
        device.change(f'url = "{WRITTEN_BROKER}"', f'url = "{self.url}"')
        device.change('prefix = "t"', f'prefix = "{self.publisher.repo.settings.prefix}"')
        return device


@pytest.fixture
def older(tmp_path: Path, broker: Broker) -> Older:
    return Older(tmp_path, broker.url)


def model_of(number: int) -> bytes:
    """The models of the archive's releases."""
    return models.classifier(hidden=256, drift=0.01 * number)


def test_a_repository_is_gone_on_with(older: Older) -> None:
    device = older.device("cut-off")
    older.publisher.release("clf", "4.0", {"model.onnx": model_of(4)})
    older.publisher.publish("clf", "4.0")
    status = device.run_once()
    assert (status.state, status.floor) == (State.COMMITTED, 4)
    assert device.current().read_bytes() == model_of(4)


def test_a_transfer_goes_on_with_what_was_on_disk(older: Older) -> None:
    device = older.device("cut-off")
    on_disk = sum(file.stat().st_size for file in device.folder().glob("incoming/*/data"))
    assert on_disk == CHUNKS_ON_DISK * CHUNK_BYTES
    older.publisher.publish("clf", "2.0")
    with Observer(older.url, older.publisher.topics, "cut-off") as observer, device.running():
        observer.wait_for_state("clf", State.COMMITTED, "2.0")
        said = [status.progress for status in observer.of("clf") if status.progress is not None]
    assert max(progress.reused_bytes for progress in said) == on_disk
    assert device.current().read_bytes() == model_of(2)


def test_a_trial_goes_on_and_ends(older: Older) -> None:
    device = older.device("on-trial")
    assert device.current().read_bytes() == model_of(3)
    with Observer(older.url, older.publisher.topics, "on-trial") as observer, device.running():
        status = observer.wait_for_state("clf", State.COMMITTED, "3.0")
    assert status.floor == 3


def test_a_delta_of_before_is_applied_to_a_slot_of_before(older: Older) -> None:
    device = older.device("cut-off")
    older.publisher.publish("clf", "3.0")
    status = device.run_once()
    assert (status.state, status.reason) == (State.COMMITTED, "committed")
    assert device.current().read_bytes() == model_of(3)
