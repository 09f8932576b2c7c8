"""A release has the same files wherever it is copied: both sides refuse names that do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from slotcast_publisher.release.given_files import GivenFile, collect
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_schemas.errors import Inconsistent, UsageError
from slotcast_schemas.file_names import find_unportable
from slotcast_schemas.verify import verify_notice
from tests.support import models

pytestmark = pytest.mark.usefixtures("quick_probes")

UNPORTABLE = [
    (("labels.txt", "Labels.txt"), "differ by case"),
    (("data/a.txt", "Data/b.txt"), "differ by case"),
    (("a/b/c", "a/B/d"), "differ by case"),
    (("CON",), "no name of a file"),
    (("data/nul.txt",), "no name of a file"),
    (("com1.tar.gz",), "no name of a file"),
    (("lpt9/labels.txt",), "no name of a file"),
    (("labels.",), "no name of a file"),
]


@pytest.mark.parametrize(("names", "why"), UNPORTABLE, ids=str)
def test_what_is_not_the_same_everywhere_is_named(names: tuple[str, ...], why: str) -> None:
    assert why in find_unportable(names)


def test_names_that_only_look_like_them_are_fine() -> None:
    good = ("console.txt", "auxiliary/com10.bin", "nulls", "data/a.txt", "data/b.txt", "prn_1")
    assert find_unportable(good) == ""


@pytest.mark.parametrize(("names", "why"), UNPORTABLE, ids=str)
def test_the_publisher_refuses_such_files_before_it_signs(
    names: tuple[str, ...], why: str, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    with pytest.raises(UsageError, match=why):
        collect([GivenFile(name=name, path=file) for name in names])


def test_a_device_refuses_what_another_publisher_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = Repository.init(tmp_path / "repo")
    monkeypatch.setattr("slotcast_publisher.release.given_files.find_unportable", lambda _: "")
    monkeypatch.setattr("slotcast_publisher.notice.verify_notice", lambda *_: None)
    (tmp_path / "model.onnx").write_bytes(models.classifier(1, hidden=16))
    (tmp_path / "text").write_bytes(b"x")
    names = ("labels.txt", "LABELS.txt")
    files = [GivenFile(name=name, path=tmp_path / "text") for name in names]
    request = ReleaseRequest(model="clf", version="1", files=(tmp_path / "model.onnx", *files))
    repo.build_release(request)
    notice = repo.offer("clf", "1")
    with pytest.raises(Inconsistent, match="differ by case alone"):
        verify_notice(notice, "clf", repo.roles.root_bytes(), tmp_path / "trust")
