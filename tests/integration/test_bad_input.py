"""Bad input of every kind: named in the status, told in the log, and it passes.

In each story the device runs v1. Something bad comes; the retained status gives its own reason
for it, v1 goes on serving with the same answers, and the next good notice is taken.
"""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgpack
import msgspec
import pytest

from slotcast_device.core.waits import Waits
from slotcast_device.exit_codes import STORAGE
from slotcast_publisher.notice import OfferWanted
from slotcast_publisher.repository import Repository
from slotcast_schemas import wire
from slotcast_schemas.limits import NOTICE_MAX_BYTES
from slotcast_schemas.messages import Notice
from slotcast_schemas.states import State
from tests.support.brokers import Broker, mosquitto
from tests.support.faulty_disk import FaultyDisk
from tests.support.fleet import Device, Observer, Publisher, model_bytes
from tests.support.fleet_fixtures import new_prefix, serves
from tests.support.proxy import Plan, Proxy

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]

DAY_S = 86400.0


@pytest.fixture
def device(publisher: Publisher, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Device:
    """A device that runs v1."""
    caplog.set_level("INFO", "slotcast.device")
    device = publisher.provision("cam-1", tmp_path / "cam-1")
    publisher.publish("clf", "1")
    assert device.run_once().state is State.COMMITTED
    return device


# --- notices that are refused ---------------------------------------------------------------------


def by_a_stranger(publisher: Publisher, folder: Path) -> bytes:
    """Signed, for the same model, by keys that this device was never told to trust."""
    stranger = Publisher.make(folder / "stranger")
    stranger.release("clf", "1", {"model.onnx": model_bytes(8, 1 << 18)})
    return stranger.repo.offer("clf", "1")


def past_its_date(publisher: Publisher, folder: Path) -> bytes:
    """Signed by the right keys, a hundred days ago."""
    old = publisher.copy(folder / "old", prefix="unused").path
    repo = Repository(old, now_s=lambda: time.time() - 100 * DAY_S, clock_is_right=True)
    with pytest.MonkeyPatch.context() as patch:  # our own publisher would refuse to send it
        patch.setattr("slotcast_publisher.notice.verify_notice", lambda *_: None)
        return repo.offer("clf", "2")


def for_another_model(publisher: Publisher, folder: Path) -> bytes:
    """Good, signed and true, of a model that this topic is not for."""
    publisher.release("det", "1", {"model.onnx": model_bytes(8, 1 << 18)})
    return publisher.repo.offer("det", "1")


def truncated(publisher: Publisher, folder: Path) -> bytes:
    """Half of a good one."""
    good = publisher.copy(folder / "other", prefix="unused").repo.offer("clf", "2")
    return good[: len(good) // 2]


def oversized(publisher: Publisher, folder: Path) -> bytes:
    """A good one with more behind it than any notice may have."""
    return (
        publisher.copy(folder / "other", prefix="unused")
        .repo.offer("clf", "2")
        .ljust(NOTICE_MAX_BYTES + 1, b"\0")
    )


def from_the_future(publisher: Publisher, folder: Path) -> bytes:
    """A good one that requires what this software does not know."""
    good = publisher.copy(folder / "other", prefix="unused").repo.offer("clf", "2")
    return bytes(msgpack.packb({**msgpack.unpackb(good), "requires": ["telepathy"]}))


def with_a_changed_bit(publisher: Publisher, folder: Path) -> bytes:
    """A good one of which one signed byte was changed on the way."""
    good = publisher.copy(folder / "other", prefix="unused").repo.offer("clf", "2")
    notice = wire.decode(good, Notice)
    data = bytearray(notice.metadata["timestamp.json"])
    place = data.index(b'"expires"')
    data[place + 13] ^= 1
    changed = {**notice.metadata, "timestamp.json": bytes(data)}
    return wire.encode(msgspec.structs.replace(notice, metadata=changed))


Make = Callable[[Publisher, Path], bytes]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (by_a_stranger, "bad_signature"),
        (past_its_date, "expired"),
        (for_another_model, "wrong_model"),
        (truncated, "malformed"),
        (oversized, "oversized"),
        (from_the_future, "unsupported_feature"),
        (with_a_changed_bit, "bad_signature"),
    ],
)
def test_a_bad_notice_is_refused_by_name_and_the_next_good_one_is_taken(
    publisher: Publisher,
    device: Device,
    observer: Observer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    make: Make,
    reason: str,
) -> None:
    bad = make(publisher, tmp_path)
    with device.running():
        observer.put(publisher.topics.notice("clf"), bad)
        status = observer.wait_for_reason("clf", reason)
        assert status.state is State.REJECTED
        assert status.detail
        assert status.active is not None
        assert status.active.version == "1"
        assert f"refused: {reason}: " in caplog.text
        assert serves(device, 1)
        observer.put(publisher.topics.notice("clf"), b"")  # else `publish` takes it for a newer one
        publisher.publish("clf", "3")
        observer.wait_for_state("clf", State.COMMITTED, "3")
    assert serves(device, 3)


def test_an_old_notice_played_again_is_refused_and_the_present_one_taken(
    publisher: Publisher, device: Device, observer: Observer, caplog: pytest.LogCaptureFixture
) -> None:
    old = publisher.repo.build_notice("clf")
    with device.running():
        publisher.publish("clf", "2")
        observer.wait_for_state("clf", State.COMMITTED, "2")
        observer.put(publisher.topics.notice("clf"), old)
        status = observer.wait_for_reason("clf", "replayed")
        assert status.active is not None
        assert status.active.version == "2"
        assert "refused: replayed: " in caplog.text
        assert serves(device, 2)
        publisher.publish("clf", "3")
        observer.wait_for_state("clf", State.COMMITTED, "3")


def test_a_bad_notice_in_mid_transfer_does_not_stop_the_good_one(
    publisher: Publisher, broker: Broker, device: Device, observer: Observer
) -> None:
    with Proxy((broker.host, broker.port), Plan(stall_at_bytes=200_000)) as proxy:
        device.change(f":{broker.port}", f":{proxy.port}")
        device.change("full_allowed = true", "full_allowed = true\ncredit_max_chunks = 8")
        with device.running():
            publisher.publish("clf", "2")
            proxy.wait_for(lambda c: c.down_bytes >= 200_000)
            observer.put(publisher.topics.notice("clf"), b"nonsense", retain=False)
            proxy.resume()
            status = observer.wait_for("clf", lambda m: "malformed" in m.detail)
            assert status.state is State.DOWNLOADING
            observer.wait_for_state("clf", State.COMMITTED, "2")


# --- payloads -------------------------------------------------------------------------------------


def test_a_chunk_that_the_broker_holds_with_a_flipped_bit_is_reported_and_never_used(
    publisher: Publisher,
    device: Device,
    observer: Observer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    device.waits = Waits(first_wait_s=0.2)
    publisher.publish("clf", "2")
    folder = publisher.repo.store.folder("clf", "2")
    (record,) = folder.payloads()
    size = record.payload.chunk_size_bytes
    chunk = bytearray(folder.payload_file(record.payload).read_bytes()[3 * size : 4 * size])
    chunk[100] ^= 4
    observer.put(publisher.topics.chunk(record.payload.sha256, 3), bytes(chunk))
    with device.running():
        status = observer.wait_for_reason("clf", "chunk_corrupt")
        assert status.state is State.FAILED
        assert status.active is not None
        assert status.active.version == "1"
        assert "failed: chunk_corrupt: chunk 3 " in caplog.text
        assert observer.wants
        assert serves(device, 1)
        publisher.publish("clf", "2", send_all=True)
        observer.wait_for_state("clf", State.COMMITTED, "2")
    assert serves(device, 2)


# --- this device's storage ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "reason"), [(errno.ENOSPC, "disk_full"), (errno.EROFS, "state_unwritable")]
)
def test_a_disk_that_fails_in_mid_transfer_is_named_and_what_came_is_kept(
    publisher: Publisher,
    broker: Broker,
    device: Device,
    observer: Observer,
    caplog: pytest.LogCaptureFixture,
    fault: int,
    reason: str,
) -> None:
    disk = FaultyDisk()
    with Proxy((broker.host, broker.port), Plan(stall_at_bytes=500_000)) as proxy:
        device.change(f":{broker.port}", f":{proxy.port}")
        device.change("full_allowed = true", "full_allowed = true\ncredit_max_chunks = 8")
        with device.running(disk):
            publisher.publish("clf", "2")
            proxy.wait_for(lambda c: c.down_bytes >= 500_000)
            disk.errno = fault
            proxy.resume()
            status = observer.wait_for_reason("clf", reason)
            assert status.state is State.FAILED
            assert status.active is not None
            assert status.active.version == "1"
            assert f"failed: {reason}: " in caplog.text
            assert serves(device, 1)
            disk.errno = 0
            before = proxy.counters.down_bytes
            publisher.publish("clf", "2")
            observer.wait_for_state("clf", State.COMMITTED, "2")
            assert proxy.counters.down_bytes - before < len(model_bytes(2)) - 200_000
    assert serves(device, 2)


@contextlib.contextmanager
def small_file_system(folder: Path, size_bytes: int) -> Iterator[Path]:
    """Mount a file system of a size; only root may."""
    folder.mkdir()
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "slotcast-test", str(folder)],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError) as exc:
        pytest.skip(f"cannot mount a small file system here: {exc}; run as root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_named_before_anything_is_fetched(
    publisher: Publisher, observer: Observer, tmp_path: Path
) -> None:
    publisher.publish("clf", "1")
    with small_file_system(tmp_path / "small", 14 << 20) as folder:
        device = publisher.provision("cam-1", tmp_path / "cam-1", state_dir=folder / "state")
        with device.running():
            observer.wait_for_state("clf", State.COMMITTED, "1")
            filler = folder / "filler"
            fill(filler)
            publisher.publish("clf", "2")
            status = observer.wait_for_reason("clf", "disk_full")
            assert status.active is not None
            assert status.active.version == "1"
            assert "free" in status.detail
            assert serves(device, 1)
            filler.unlink()
            publisher.publish("clf", "3")
            observer.wait_for_state("clf", State.COMMITTED, "3")
        assert serves(device, 3)


def fill(path: Path) -> None:
    """Write until there is no room for another byte."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_read_only_state_directory_is_named_on_the_topic_and_the_model_serves(
    publisher: Publisher, observer: Observer, tmp_path: Path
) -> None:
    publisher.publish("clf", "1")
    with small_file_system(tmp_path / "small", 14 << 20) as folder:
        device = publisher.provision("cam-1", tmp_path / "cam-1", state_dir=folder / "state")
        assert device.run_once().state is State.COMMITTED
        publisher.publish("clf", "2")
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        process = device.spawn("--once", "--timeout", "30")
        assert process.wait() != 0
        assert "state_unwritable" in process.stderr
        status = observer.wait_for_reason("clf", "state_unwritable")
        assert status.active is not None
        assert status.active.version == "1"
        assert serves(device, 1)
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
        assert device.run_once().state is State.COMMITTED
        assert serves(device, 2)


def test_a_record_of_a_newer_version_is_left_alone_and_named(
    publisher: Publisher,
    device: Device,
    observer: Observer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = device.folder() / "state.json"
    newer = {**json.loads(path.read_text()), "format": 99, "unheard_of": True}
    path.write_text(json.dumps(newer))
    with device.running():
        status = observer.wait_for_reason("clf", "state_too_new")
        assert status.active is not None
        assert status.active.version == "1"
        assert "state_too_new: " in caplog.text
        publisher.publish("clf", "2")
        assert serves(device, 1)
        assert json.loads(path.read_text()) == newer
        path.rename(path.with_name("put-away"))  # as the message says
        publisher.publish("clf", "3")
        observer.wait_for_state("clf", State.COMMITTED, "3")
    assert serves(device, 3)


def test_a_newer_record_ends_the_status_command_with_the_code_for_storage(device: Device) -> None:
    path = device.folder() / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    process = device.command("status", "--json")
    assert process.wait() == STORAGE
    assert "state_too_new" in process.stderr


def test_a_damaged_record_is_rebuilt_from_the_slots_and_kept_aside(
    publisher: Publisher, device: Device, observer: Observer, caplog: pytest.LogCaptureFixture
) -> None:
    path = device.folder() / "state.json"
    path.write_bytes(b'{"format": 1, "mod')
    with device.running():
        publisher.publish("clf", "2")
        observer.wait_for_state("clf", State.COMMITTED, "2")
    assert "is damaged" in caplog.text
    assert path.with_name("state.json.damaged").read_bytes() == b'{"format": 1, "mod'
    assert serves(device, 2)


def test_files_changed_in_the_active_slot_are_found_at_the_next_start(
    publisher: Publisher, device: Device, observer: Observer
) -> None:
    publisher.publish("clf", "2")
    assert device.run_once().state is State.COMMITTED
    file = device.current().resolve()
    file.chmod(0o644)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with device.running():
        status = observer.wait_for_reason("clf", "slot_damaged")
        assert status.active is not None
        assert status.active.version == "1"
        assert serves(device, 1)
        publisher.publish("clf", "3")
        observer.wait_for_state("clf", State.COMMITTED, "3")


# --- the device's software ------------------------------------------------------------------------


def test_a_runtime_that_cannot_be_imported_is_named_and_the_update_waits_for_it(
    publisher: Publisher,
    device: Device,
    observer: Observer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = tmp_path / "broken" / "onnxruntime"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('libgomp.so.1: cannot open it')")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    with device.running():
        publisher.publish("clf", "2")
        status = observer.wait_for_reason("clf", "software_broken")
        assert "libgomp.so.1" in status.detail
        assert status.benched == ()
        assert serves(device, 1)
        shutil.rmtree(broken)
        publisher.publish("clf", "2", OfferWanted(again=True))
        observer.wait_for_state("clf", State.COMMITTED, "2")


# --- the broker -----------------------------------------------------------------------------------


def test_a_broker_that_is_gone_costs_nothing_but_time(
    catalogue: Publisher, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "slotcast.device")
    with mosquitto() as broker:
        publisher = catalogue.copy(tmp_path / "repo", broker.url, prefix=new_prefix())
        publisher.publish("clf", "1")
        device = publisher.provision("cam-1", tmp_path / "cam-1")
        with device.running() as agent:
            with Observer(broker.url, publisher.topics, "cam-1") as observer:
                observer.wait_for_state("clf", State.COMMITTED, "1")
            broker.kill()
            assert serves(device, 1)
            broker.start()
            with Observer(broker.url, publisher.topics, "cam-1") as observer:
                observer.wait_for_presence(online=True)
                publisher.publish("clf", "2")
                observer.wait_for_state("clf", State.COMMITTED, "2")
            assert agent.last_error is not None
            assert agent.last_error.reason == "link_down"
        assert "link_down: " in caplog.text
        assert serves(device, 2)
