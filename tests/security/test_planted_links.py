"""Where others may write, a planted link chooses neither what is signed nor where keys go."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from slotcast_publisher.durable import copy_file, write_atomic
from slotcast_publisher.provision import provision
from slotcast_publisher.release.given_files import GivenFile, collect
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Broker, Settings
from slotcast_schemas.errors import StorageFailed, UsageError
from tests.support import models

SECRET = b"a key that is nobody's business"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.key"
    path.write_bytes(SECRET)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "data").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(models.classifier(1, hidden=16))
    return folder


def test_a_link_in_a_folder_is_not_shipped(folder: Path, secret: Path) -> None:
    (folder / "data" / "labels.txt").symlink_to(secret)
    with pytest.raises(UsageError, match=r"labels\.txt \(to .*secret\.key\)"):
        collect([folder])


def test_a_linked_folder_is_named_and_not_left_out_silently(folder: Path, tmp_path: Path) -> None:
    (folder / "more").symlink_to(tmp_path)
    with pytest.raises(UsageError, match=r"links are not followed: .*more"):
        collect([folder])


@pytest.mark.parametrize("is_named", [False, True])
def test_a_file_that_is_a_link_is_not_shipped(folder: Path, secret: Path, is_named: bool) -> None:
    link = folder / "labels.txt"
    link.symlink_to(secret)
    given = GivenFile(name="labels.txt", path=link) if is_named else link
    with pytest.raises(UsageError, match="give the files themselves"):
        collect([folder / "model.onnx", given])


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_takes_a_files_place_after_it_was_looked_at_is_not_shipped(
    folder: Path, secret: Path, tmp_path: Path, kind: str
) -> None:
    found = collect([folder])
    model = found["model.onnx"]
    model.unlink()
    if kind == "link":
        model.symlink_to(secret)
    else:
        os.mkfifo(model)
    with pytest.raises(StorageFailed):
        copy_file(model, tmp_path / "copied")
    assert not (tmp_path / "copied").exists()


def test_nothing_is_signed_where_a_link_was_given(
    folder: Path, secret: Path, tmp_path: Path
) -> None:
    repo = Repository.init(tmp_path / "repo")
    (folder / "labels.txt").symlink_to(secret)
    with pytest.raises(UsageError, match="links are not followed"):
        repo.build_release(ReleaseRequest(model="clf", version="1", files=(folder,), seed=1))
    assert not any(SECRET in path.read_bytes() for path in repo.path.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["device.key", "device.pem", "device.toml", "root.json", "ca.pem"])
@pytest.mark.parametrize("temporary", [False, True])
def test_provision_writes_through_no_link(
    secret: Path, tmp_path: Path, name: str, temporary: bool
) -> None:
    settings = Settings(brokers=(Broker(url="mqtts://broker.test", ca="ca.pem"),))
    repo = Repository.init(tmp_path / "repo", settings)
    (repo.path / "ca.pem").write_bytes(b"the broker's CA")
    out = tmp_path / "out"
    out.mkdir()
    (out / (f".{name}.tmp" if temporary else name)).symlink_to(secret)
    provision(repo, "cam-1", out, models=["clf"])
    assert secret.read_bytes() == SECRET
    assert not (out / name).is_symlink()
    assert (out / name).stat().st_size > 0


def test_provision_writes_no_key_into_a_folder_that_is_a_link(tmp_path: Path) -> None:
    settings = Settings(brokers=(Broker(url="mqtts://broker.test"),))
    repo = Repository.init(tmp_path / "repo", settings)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (tmp_path / "out").symlink_to(theirs)
    with pytest.raises(UsageError, match=r"is a link to .*theirs"):
        provision(repo, "cam-1", tmp_path / "out", models=["clf"])
    assert list(theirs.iterdir()) == []


def test_a_file_with_a_second_name_elsewhere_is_replaced_and_not_written(
    secret: Path, tmp_path: Path
) -> None:
    writes: tuple[Callable[[Path, bytes], None], ...] = (write_atomic, _copy)
    for number, write in enumerate(writes):
        target = tmp_path / f"{number}"
        temporary = target.with_name(f".{number}.tmp")
        for path in (target, temporary):
            path.hardlink_to(secret)
        write(target, b"ours")
        assert target.read_bytes() == b"ours"
        temporary.unlink(missing_ok=True)
    assert secret.read_bytes() == SECRET


def _copy(target: Path, data: bytes) -> None:
    source = target.with_name("source")
    source.write_bytes(data)
    copy_file(source, target)
