"""The A/B slots on a real disk: what is written, sealed, believed, and never touched."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path

import pytest

from slotcast_device.core.state import SlotName, SlotRecord, record_of
from slotcast_device.storage.os_disk import OsDisk
from slotcast_device.storage.slots import SlotStore
from slotcast_schemas import wire
from slotcast_schemas.errors import PayloadCorrupt, SlotDamaged
from slotcast_schemas.messages import Release
from slotcast_schemas.messages.release import File, Probe
from tests.support import messages

CONTENT = {"model.onnx": b"m" * 700_000, "data/labels.txt": b"cat\ndog\n", "data/empty": b""}
IMAGE = b"".join(CONTENT.values())


def release_of(content: dict[str, bytes]) -> Release:
    files = tuple(
        File(path=path, size_bytes=len(data), sha256=hashlib.sha256(data).digest())
        for path, data in content.items()
    )
    return messages.release(
        files=files,
        image_size_bytes=sum(map(len, content.values())),
        image_sha256=hashlib.sha256(b"".join(content.values())).digest(),
        rebased=None,
        requires=(),
        probe=Probe(),
    )


RELEASE = release_of(CONTENT)


@pytest.fixture
def store(tmp_path: Path) -> SlotStore:
    return SlotStore(OsDisk(), tmp_path)


def build(store: SlotStore, slot: SlotName, image: bytes = IMAGE, step: int = 9999) -> SlotRecord:
    """Write an image into a slot piece by piece, and seal it."""
    store.clear(slot)
    writer = store.build(slot, RELEASE)
    try:
        for at in range(0, len(image), step):
            writer.write(image[at : at + step])
        writer.finish()
    finally:
        writer.abort()
    store.seal(slot, wire.encode(RELEASE))
    return record_of(RELEASE, hashlib.sha256(wire.encode(RELEASE)).digest())


@pytest.mark.parametrize("step", [1 << 20, 65_537])
def test_an_image_is_cut_into_its_files_wherever_its_pieces_end(
    store: SlotStore, step: int
) -> None:
    record = build(store, "a", step=step)
    for path, data in CONTENT.items():
        assert (store.path("a") / path).read_bytes() == data
    store.verify("a", record)
    assert store.found("a") == record
    assert store.release("a") == RELEASE


def test_what_was_prepared_says_nothing_of_the_slot_until_it_is_sealed(store: SlotStore) -> None:
    release = wire.encode(RELEASE)
    store.prepare_seal("a", release, b"the notice")
    written = (store.folder / "a.release.tmp").stat().st_ino

    assert (store.release_bytes("a"), store.proof("a")) == (None, None)

    store.clear("a")
    store.build("a", RELEASE).write(IMAGE)
    store.seal("a", release, b"the notice")

    assert (store.release_bytes("a"), store.proof("a")) == (release, b"the notice")
    assert (store.folder / "a.release").stat().st_ino == written


def test_what_was_prepared_for_another_release_is_not_what_seals(store: SlotStore) -> None:
    store.prepare_seal("a", b"another release", b"its notice")
    build(store, "a")

    assert store.release("a") == RELEASE
    assert store.proof("a") is None


def test_sealed_files_are_read_only(store: SlotStore) -> None:
    build(store, "a")
    modes = {(store.path("a") / path).stat().st_mode for path in CONTENT}
    assert all(not mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH) for mode in modes)


def test_current_is_a_relative_link_and_moves_in_one_step(store: SlotStore, tmp_path: Path) -> None:
    assert store.current() is None
    build(store, "a")
    store.activate("a")
    assert (tmp_path / "current").readlink() == Path("slots/a")
    assert (tmp_path / "current" / "data/labels.txt").read_bytes() == b"cat\ndog\n"
    build(store, "b")
    store.activate("b")
    assert store.current() == "b"
    store.activate(None)
    assert store.current() is None


def test_the_slot_that_current_opens_is_never_cleared(store: SlotStore, tmp_path: Path) -> None:
    record = build(store, "a")
    store.activate("a")
    with pytest.raises(SlotDamaged, match="active"):
        store.clear("a")
    with pytest.raises(SlotDamaged, match="active"):
        store.adopt("a", tmp_path / "elsewhere")
    store.verify("a", record)


def test_files_made_elsewhere_take_the_place_of_what_a_slot_held(
    store: SlotStore, tmp_path: Path
) -> None:
    record = build(store, "a")
    made = tmp_path / "made"
    store.path("a").rename(made)
    store.path("a").mkdir()
    (store.path("a") / "old.onnx").write_bytes(b"old")
    store.adopt("a", made)
    assert store.release("a") is None
    store.seal("a", wire.encode(RELEASE))
    store.verify("a", record)
    assert not (store.path("a") / "old.onnx").exists()
    assert not made.exists()


@pytest.mark.parametrize(
    ("target", "slot"),
    [
        ("slots/a", "a"),
        ("slots/b", "b"),
        ("{here}/slots/a", "a"),
        ("/etc", None),
        ("slots/c", None),
        ("../other/slots/a", None),
        ("slots/a/../..", None),
    ],
)
def test_a_link_names_a_slot_of_this_model_or_none(
    store: SlotStore, tmp_path: Path, target: str, slot: str | None
) -> None:
    target = target.format(here=tmp_path)
    (tmp_path / "current").symlink_to(target)
    found = store.link()
    assert found.slot == slot
    assert found.is_right == (target in {"slots/a", "slots/b"})
    assert repr(target) in found.text


def test_what_is_in_the_place_of_current_is_said(store: SlotStore, tmp_path: Path) -> None:
    current = tmp_path / "current"
    assert (store.link().text, store.link().has_files) == ("nothing", False)
    current.write_bytes(b"slots/a")
    assert (store.link().text, store.link().has_files) == ("a file", True)
    current.unlink()
    current.mkdir()
    assert (store.link().text, store.link().has_files) == ("a folder", True)


@pytest.mark.parametrize("before", ["nothing", "file", "folder", "link", "dangling"])
def test_current_takes_the_place_of_whatever_is_there(
    store: SlotStore, tmp_path: Path, before: str
) -> None:
    build(store, "a")
    current = tmp_path / "current"
    match before:
        case "file":
            current.write_bytes(b"slots/a")
        case "folder":
            (current / "data").mkdir(parents=True)
            (current / "data" / "labels.txt").write_bytes(b"mine")
        case "link":
            current.symlink_to("/etc")
        case "dangling":
            current.symlink_to("slots/c")
    for _ in range(2):  # the second time there is something aside already
        store.activate("a")
        assert current.readlink() == Path("slots/a")
        if before != "folder":
            break
        assert (tmp_path / "current.aside" / "data/labels.txt").read_bytes() == b"mine"
        current.unlink()
        shutil.copytree(tmp_path / "current.aside", current)
    store.drop_current_aside()
    assert not (tmp_path / "current.aside").exists()


@pytest.mark.parametrize("left", ["file", "folder", "link"])
def test_what_lies_where_the_new_link_is_made_is_not_in_its_way(
    store: SlotStore, tmp_path: Path, left: str
) -> None:
    """A power cut leaves `current.tmp`; a copy that follows links makes a folder of it."""
    build(store, "a")
    temporary = tmp_path / "current.tmp"
    match left:
        case "file":
            temporary.write_bytes(b"slots/a")
        case "folder":
            shutil.copytree(tmp_path / "slots" / "a", temporary)
        case "link":
            temporary.symlink_to("slots/a")
    store.activate("a")
    assert (tmp_path / "current").readlink() == Path("slots/a")
    assert (tmp_path / "slots/a").is_dir()
    assert not os.path.lexists(temporary)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (IMAGE[:-1], "expected 1 more bytes"),
        (IMAGE + b"x", "expected the image to end"),
        (b"X" + IMAGE[1:], "not the signed ones"),
    ],
)
def test_an_image_that_is_not_the_signed_one_is_never_sealed(
    store: SlotStore, image: bytes, message: str
) -> None:
    with pytest.raises(PayloadCorrupt, match=message):
        build(store, "a", image)
    assert store.found("a") is None


def test_half_a_slot_is_not_believed(store: SlotStore) -> None:
    build(store, "a")
    store.clear("a")
    store.build("a", RELEASE).abort()
    assert store.found("a") is None


@pytest.mark.parametrize("change", ["missing", "longer", "other"])
def test_a_changed_file_is_found(store: SlotStore, change: str) -> None:
    record = build(store, "a")
    path = store.path("a") / "data/labels.txt"
    path.unlink()
    if change != "missing":
        path.write_bytes({"longer": b"cat\ndog\ncow\n", "other": b"cat\nd0g\n"}[change])
    with pytest.raises(SlotDamaged, match=r"slot a, data/labels\.txt"):
        store.verify("a", record)


def test_a_release_beside_the_slot_that_cannot_be_read_counts_as_none(
    store: SlotStore, tmp_path: Path
) -> None:
    build(store, "a")
    (tmp_path / "slots/a.release").write_bytes(b"\x81\xa4half")
    assert store.found("a") is None
