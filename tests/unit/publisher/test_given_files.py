"""A program opens its model by name: the name stays, or the publisher is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from slotcast_publisher.cli import app
from slotcast_publisher.release.build import Released
from slotcast_publisher.release.given_files import GivenFile, collect, parse_given
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_schemas.errors import UsageError
from tests.support import models
from tests.support.cli_runner import CliRunner


def trained(folder: Path, name: str, seed: int) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(models.classifier(seed, hidden=16))
    return path


def release(repo: Repository, version: str, *files: Path | GivenFile) -> Released:
    request = ReleaseRequest(model="digits", version=version, files=files, is_probed=False)
    return repo.build_release(request)


def test_a_trainers_file_gets_the_name_that_stays(repo: Repository, tmp_path: Path) -> None:
    for version in ("1", "2"):
        file = trained(tmp_path, f"digits-v{version}.onnx", int(version))
        done = release(repo, version, GivenFile(name="digits.onnx", path=file))
        assert [f.path for f in done.release.files] == ["digits.onnx"]
        assert done.release.entry == "digits.onnx"
        assert done.warnings == ()


def test_the_command_takes_name_and_file_and_the_same_again_is_nothing_new(
    repo: Repository, tmp_path: Path
) -> None:
    file = trained(tmp_path, "digits-v2.onnx", 2)
    command = ["release", str(repo.path), "digits", "2.0", f"digits.onnx={file}"]
    first = CliRunner().invoke(app, command, catch_exceptions=False)
    assert "Released digits 2.0" in first.output
    assert repo.store.folder("digits", "2.0").load().entry == "digits.onnx"
    again = CliRunner().invoke(app, command, catch_exceptions=False)
    assert "Nothing new: digits 2.0" in again.output


def test_another_name_of_the_model_is_warned_of_with_what_keeps_it(
    repo: Repository, tmp_path: Path
) -> None:
    release(repo, "1.0", trained(tmp_path, "digits-v1.onnx", 1))
    (warning,) = release(repo, "2.0", trained(tmp_path, "digits-v2.onnx", 2)).warnings
    assert "'digits-v2.onnx', and was 'digits-v1.onnx' in 1.0" in warning
    assert warning.endswith("digits-v1.onnx=digits-v2.onnx")


def test_another_file_that_is_no_longer_there_is_warned_of(
    repo: Repository, tmp_path: Path
) -> None:
    model, labels = trained(tmp_path, "digits.onnx", 1), tmp_path / "labels-v1.txt"
    labels.write_text("0 1 2")
    release(repo, "1.0", model, labels)
    (warning,) = release(repo, "1.1", model).warnings
    assert warning.startswith("labels-v1.txt of 1.0 is not in this release")
    more = tmp_path / "vocabulary.txt"
    more.write_text("one more is no harm")
    assert release(repo, "1.2", model, more).warnings == ()


def test_going_back_to_files_of_another_name_is_warned_of_too(
    repo: Repository, tmp_path: Path
) -> None:
    release(repo, "1.0", trained(tmp_path, "old.onnx", 1))
    release(repo, "2.0", trained(tmp_path, "new.onnx", 2))
    back = repo.build_release(
        ReleaseRequest(model="digits", version="3.0", same_as="1.0", is_probed=False)
    )
    assert "'old.onnx', and was 'new.onnx' in 2.0" in back.warnings[0]


def test_a_folder_may_get_a_name_too(tmp_path: Path) -> None:
    trained(tmp_path / "export-17", "model.onnx", 1)
    (tmp_path / "export-17" / "tokens").mkdir()
    (tmp_path / "export-17" / "tokens" / "t.txt").write_text("x")
    found = collect([parse_given(f"net/={tmp_path / 'export-17'}")])
    assert list(found) == ["net/model.onnx", "net/tokens/t.txt"]


def test_a_file_that_has_an_equals_sign_in_its_name_is_that_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(tmp_path, "lr=0.1.onnx", 1)
    monkeypatch.chdir(tmp_path)
    assert parse_given("lr=0.1.onnx") == Path("lr=0.1.onnx")
    named = parse_given("model.onnx=lr=0.1.onnx")
    assert named == GivenFile(name="model.onnx", path=Path("lr=0.1.onnx"))
    assert collect([named]) == {"model.onnx": Path("lr=0.1.onnx")}
    with pytest.raises(UsageError, match=r"'lr=0\.1\.onnx'.*NAME=FILE"):
        collect([Path("lr=0.1.onnx")])


@pytest.mark.parametrize(
    "name", ["../model.onnx", "/model.onnx", ".model.onnx", "a b.onnx", "a/" * 8 + "m.onnx"]
)
def test_a_name_that_no_device_takes_is_refused_with_the_file(tmp_path: Path, name: str) -> None:
    file = trained(tmp_path, "model.onnx", 1)
    with pytest.raises(UsageError, match=r"called so: \S*model\.onnx \(as '.*'\); expected up to"):
        collect([GivenFile(name=name, path=file)])


def test_all_files_of_a_folder_that_no_device_takes_are_named_at_once(tmp_path: Path) -> None:
    trained(tmp_path, "model.onnx", 1)
    for name in (".DS_Store", "my labels.txt", "ü.txt"):
        (tmp_path / name).write_text("x")
    with pytest.raises(UsageError) as refused:
        collect([tmp_path])
    assert all(name in str(refused.value) for name in (".DS_Store", "my labels.txt", "ü.txt"))
    for number in range(20):
        (tmp_path / f"a {number}.txt").write_text("x")
    with pytest.raises(UsageError, match="and 18 more; expected"):
        collect([tmp_path])


@pytest.mark.parametrize("text", ["=model.onnx", "model.onnx="])
def test_half_a_pair_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected FILE or NAME=FILE"):
        parse_given(text)


def test_two_files_of_one_name_are_both_named(tmp_path: Path) -> None:
    first, second = (trained(tmp_path / where, "m.onnx", 1) for where in ("one", "two"))
    with pytest.raises(UsageError, match=r"'m\.onnx': .*one/m\.onnx and .*two/m\.onnx"):
        collect([first, second])
