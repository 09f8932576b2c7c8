"""Somebody changes a device's files while it is off.

What a slot says it holds is held against the pinned root at each start. What was changed serves no
longer than that look takes, is named, and is mended by the next notice.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from slotcast_schemas import wire
from slotcast_schemas.messages import Release
from slotcast_schemas.states import State
from tests.support.fleet import Device, Observer, Publisher
from tests.support.fleet_fixtures import serves
from tests.support.powered_off import (
    LARGE_BYTES,
    assert_nothing_serves,
    change_slot,
    evil_bytes,
    plant,
    start_alone,
)
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("quick_probes")


def test_a_provisioned_copy_that_was_changed_is_never_served(
    device: Device, publisher: Publisher
) -> None:
    publisher.publish("clf", "2")
    assert device.run_once().state is State.COMMITTED
    kept = device.folder() / "provisioned"
    signed = (kept / "release").read_bytes()
    release = wire.decode(signed, Release)
    changed = msgspec.structs.replace(release, sequence=release.sequence + 1)
    for path, data in (
        (kept / "files/model.onnx", evil_bytes()),
        (kept / "release", wire.encode(changed)),
        (kept / "notice", b"\x80"),
    ):
        before = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(data)
        assert device.command("reset-to-provisioned").wait() == 0
        assert serves(device, 2), path
        path.write_bytes(before)
    assert device.command("reset-to-provisioned").wait() == 0
    assert serves(device, 1)


@pytest.mark.broker
@pytest.mark.timeout(300)
def test_a_changed_slot_gives_way_to_the_other_one_is_named_and_is_mended(
    publisher: Publisher, device: Device, observer: Observer
) -> None:
    publisher.publish("clf", "2")
    assert device.run_once().state is State.COMMITTED
    slot = device.current().resolve().parent.name
    change_slot(device, slot)
    observer.forget()
    with device.running():
        status = observer.wait_for_reason("clf", "slot_tampered")
        assert status.active is not None
        assert status.active.version == "1"
        assert f"slot {slot} was tampered with" in status.detail
        wait_until_mended(observer)
    assert serves(device, 2)


@pytest.mark.broker
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "large"])
@pytest.mark.parametrize("what", ["model.onnx", ".release", ".notice", "state.json"])
def test_a_slot_with_something_else_in_a_files_place_gives_way_or_is_mended(
    publisher: Publisher, device: Device, observer: Observer, tmp_path: Path, what: str, kind: str
) -> None:
    publisher.publish("clf", "2")
    assert device.run_once().state is State.COMMITTED
    folder = device.current().resolve().parent
    places = {"model.onnx": folder / what, "state.json": device.folder() / what}
    path = places.get(what, folder.with_name(folder.name + what))
    assert path.is_file()
    if what != "model.onnx":
        change_slot(device, folder.name)
    folder.chmod(0o755)
    path.unlink()
    victim = plant(path, kind, tmp_path)

    def is_ours() -> bool:
        return not path.is_symlink() and path.is_file() and path.stat().st_size < LARGE_BYTES

    observer.forget()
    with device.running():
        wait_until(is_ours, "it is mended")
        wait_until(lambda: serves(device, 2), "it serves")
    assert victim.read_bytes() == b"of somebody else"


def wait_until_mended(observer: Observer) -> None:
    """Wait for a commit that was told after the slot was found; the one before may come late."""

    def is_mended() -> bool:
        said = [(m.state, m.reason) for m in observer.of("clf")]
        reasons = [reason for _, reason in said]
        return State.COMMITTED in {s for s, _ in said[reasons.index("slot_tampered") :]}

    wait_until(is_mended, "what was said before it was found does not count")


@pytest.mark.broker
@pytest.mark.timeout(300)
def test_where_no_other_slot_is_sound_nothing_serves_until_the_release_came_again(
    device: Device, observer: Observer, caplog: pytest.LogCaptureFixture
) -> None:
    slot = device.current().resolve().parent.name
    change_slot(device, slot)
    shutil.rmtree(device.folder() / "provisioned")
    observer.forget()
    with device.running():
        status = observer.wait_for_reason("clf", "slot_tampered")
        assert status.active is None
        wait_until_mended(observer)
    assert "nothing serves until it is mended" in caplog.text
    assert serves(device, 1)


def without_link(folder: Path, slot: str) -> None:
    """A folder in the place of `current`, and no slot."""
    (folder / "current").unlink()
    (folder / f"slots/{slot}").rename(folder / "current")


def in_the_next_format(folder: Path, slot: str) -> None:
    """A record that this software does not read."""
    del slot
    (folder / "state.json").write_text(json.dumps({"format": 999}))


def without(*names: str) -> Callable[[Path, str], None]:
    """Delete files."""

    def delete(folder: Path, slot: str) -> None:
        for name in names:
            (folder / name.replace("SLOT", f"slots/{slot}")).unlink()

    return delete


RELEASE, PROOF, RECORD = "SLOT.release", "SLOT.notice", "state.json"
BESIDES = {
    "nothing": without(),
    "proof gone": without(PROOF),
    "release gone": without(RELEASE),
    "release and proof gone": without(RELEASE, PROOF),
    "record gone": without(RECORD),
    "proof and record gone": without(PROOF, RECORD),
    "release and record gone": without(RELEASE, RECORD),
    "all gone": without(RELEASE, PROOF, RECORD),
    "record of another format": in_the_next_format,
    "a folder for the link": without_link,
}
"""What is done beside the change of the slot, so that nothing tells of it."""


@pytest.mark.broker
@pytest.mark.timeout(300)
@pytest.mark.parametrize("besides", BESIDES)
def test_what_nobody_vouches_for_does_not_serve_whatever_else_was_taken_away(
    device: Device, besides: str
) -> None:
    """There is no other slot, and no broker is asked: what lies on the device must tell."""
    slot = device.current().resolve().parent.name
    change_slot(device, slot)
    BESIDES[besides](device.folder(), slot)
    assert_nothing_serves(device)


@pytest.mark.broker
@pytest.mark.timeout(300)
@pytest.mark.parametrize("besides", BESIDES)
def test_a_model_that_was_changed_under_its_true_release_does_not_serve_either(
    device: Device, besides: str
) -> None:
    folder, slot = device.folder(), device.current().resolve().parent.name
    kept = {path: path.read_bytes() for path in (folder / RECORD, folder / f"slots/{slot}.release")}
    change_slot(device, slot)
    for path, data in kept.items():
        path.write_bytes(data)
    BESIDES[besides](folder, slot)
    assert_nothing_serves(device)


@pytest.mark.broker
@pytest.mark.timeout(300)
def test_the_only_slot_is_mended_from_the_provisioned_release_and_nothing_is_fetched(
    device: Device, observer: Observer
) -> None:
    change_slot(device, device.current().resolve().parent.name)
    observer.forget()
    with device.running():
        mended = observer.wait_for("clf", lambda status: status.reason == "up_to_date")
    said = [status.reason for status in observer.of("clf")]
    after = said[said.index("slot_tampered") :]  # the commit before may come late
    assert "up_to_date" in after
    assert not {"downloading", "committed"} & set(after), "it lay on the device, and is not news"
    assert mended.active is not None
    assert serves(device, 1)


@pytest.mark.parametrize("besides", ["nothing", "all gone"])
def test_where_nothing_is_sound_the_provisioned_release_serves_and_no_broker_is_asked(
    device: Device, publisher: Publisher, observer: Observer, besides: str
) -> None:
    publisher.publish("clf", "2")
    assert device.run_once().state is State.COMMITTED
    for slot in "ab":
        change_slot(device, slot)
    BESIDES[besides](device.folder(), device.current().resolve().parent.name)
    start_alone(device)
    assert serves(device, 1)
    with device.running():
        observer.wait_for(
            "clf", lambda status: status.active is not None and status.active.version == "2"
        )
        wait_until(lambda: serves(device, 2))
