"""Somebody leaves links in circles, files and what nobody may read in a device's folders.

They are no way to have the agent look at nothing, so that a slot that he changed serves on; nor to
have it begin nothing any more.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from slotcast_device.storage.disk import RandomFile, storage_errors
from slotcast_device.storage.os_disk import OsDisk
from slotcast_schemas.errors import StorageFailed
from slotcast_schemas.states import State
from tests.support.fleet import Device, Publisher
from tests.support.fleet_fixtures import serves
from tests.support.powered_off import assert_nothing_serves, change_slot, start_alone

pytestmark = [
    pytest.mark.broker,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("quick_probes"),
]


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def links_in_a_circle(path: Path) -> None:
    path.symlink_to(f"{path.name}.back")
    path.with_name(f"{path.name}.back").symlink_to(path.name)


def link_to_a_long_name(path: Path) -> None:
    path.symlink_to("n" * 1000)


def link_to_nothing(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


def file(path: Path) -> None:
    path.write_bytes(b"of somebody else")


PLANTED: dict[str, Callable[[Path], None]] = {
    "a link to itself": link_to_itself,
    "links in a circle": links_in_a_circle,
    "a link to a long name": link_to_a_long_name,
    "a link to nothing": link_to_nothing,
    "a pipe": os.mkfifo,
    "a file": file,
}


def put_in_place(path: Path, kind: str) -> None:
    if path.exists():
        shutil.rmtree(path)
    PLANTED[kind](path)


@pytest.fixture
def slots(publisher: Publisher, device: Device) -> tuple[str, str]:
    """The names of two slots of a device that runs v2: the active one, and the other."""
    publisher.publish("clf", "2")
    assert device.run_once().state is State.COMMITTED
    active = device.current().resolve().parent.name
    return active, "a" if active == "b" else "b"


@pytest.mark.parametrize("kind", PLANTED)
def test_what_lies_in_the_place_of_the_other_slot_does_not_keep_a_changed_one_in_service(
    device: Device, slots: tuple[str, str], kind: str
) -> None:
    active, other = slots
    change_slot(device, active)
    put_in_place(device.folder() / "slots" / other, kind)
    assert_nothing_serves(device)


@pytest.mark.parametrize("kind", ["a link to itself", "a file"])
def test_what_lies_in_the_place_of_a_slot_is_no_slot_and_the_other_one_serves(
    device: Device, slots: tuple[str, str], kind: str
) -> None:
    put_in_place(device.folder() / "slots" / slots[0], kind)
    start_alone(device)
    assert serves(device, 1)


@pytest.mark.parametrize("kind", ["a link to itself", "a file", "a pipe"])
def test_what_lies_in_the_place_of_all_slots_gives_way_to_them(device: Device, kind: str) -> None:
    shutil.rmtree(device.folder() / "provisioned")
    put_in_place(device.folder() / "slots", kind)
    assert device.run_once().state is State.COMMITTED
    assert serves(device, 1)


@pytest.mark.parametrize("place", ["models", "models/clf"])
def test_what_lies_in_the_place_of_a_models_folder_is_moved_aside(
    device: Device, place: str
) -> None:
    path = device.config.state_dir / place
    put_in_place(path, "a file")
    assert device.run_once().state is State.COMMITTED
    assert serves(device, 1)
    assert path.with_name(f"{path.name}.aside").exists()


@pytest.mark.parametrize("place", ["models", "models/clf"])
def test_a_link_to_no_folder_there_may_be_the_owners_and_is_named(
    device: Device, place: str
) -> None:
    """His other disk may not be there just now."""
    path = device.config.state_dir / place
    for kind in ("a link to nothing", "a link to itself"):
        put_in_place(path, kind)
        status = device.run_once()
        assert (status.state, status.reason) == (State.FAILED, "storage_failed")
        assert f"{path}: expected a folder, or a link to one" in status.detail
        assert path.is_symlink()
        path.unlink()


class UnreadableDisk(OsDisk):
    """A real disk on which one slot's model cannot be read.

    Args:
        slot: its folder.
        number: what the system says of it.
    """

    def __init__(self, slot: Path, number: int) -> None:
        super().__init__()
        self._slot, self._number = slot, number

    def open_read(self, path: Path) -> RandomFile:
        with storage_errors(f"open {path}"):
            if path.is_relative_to(self._slot):
                raise OSError(self._number, os.strerror(self._number))
        return super().open_read(path)


def test_a_slot_that_may_not_be_read_does_not_keep_a_changed_one_in_service(
    device: Device, slots: tuple[str, str]
) -> None:
    active, other = slots
    change_slot(device, active)
    disk = UnreadableDisk(device.folder() / "slots" / other, errno.EACCES)
    assert_nothing_serves(device, disk)


def test_a_slot_that_another_user_keeps_from_the_agent_does_not_serve_either(
    device: Device, slots: tuple[str, str]
) -> None:
    """Applications might read it, and nobody has looked what it is."""
    start_alone(device, UnreadableDisk(device.folder() / "slots" / slots[0], errno.EACCES))
    assert serves(device, 1)


def test_a_slot_that_storage_fails_to_read_is_not_given_up_for_that(
    device: Device, slots: tuple[str, str]
) -> None:
    with pytest.raises(StorageFailed, match="Input/output error"):
        start_alone(device, UnreadableDisk(device.folder() / "slots" / slots[0], errno.EIO))
    assert serves(device, 2)
