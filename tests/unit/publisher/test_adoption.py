"""A backup was put back and the newer copy is lost: this one goes on above what devices saw."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from slotcast_publisher.errors import Conflict, KeyUnavailable, NotFound
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.serve.catalog import look_at
from slotcast_publisher.trust.ceremonies import rotate_keys
from slotcast_publisher.trust.notice_proof import verify_notice
from slotcast_publisher.trust.precedence import Standing, compare
from tests.support.role_sets import RememberingFleet, signed_files


def again(repo: Repository, version: str, model: str = "clf") -> None:
    """Release the files of 1.0 under another version."""
    repo.build_release(ReleaseRequest(model=model, version=version, same_as="1.0", is_probed=False))


@pytest.fixture
def backup(repo: Repository, tmp_path: Path) -> Repository:
    """A copy of the repository, from when 1.0 was offered."""
    repo.offer("clf", "1.0")
    shutil.copytree(repo.path, tmp_path / "backup")
    return Repository(tmp_path / "backup")


@pytest.fixture
def fleet(repo: Repository, tmp_path: Path) -> RememberingFleet:
    return RememberingFleet(tmp_path / "fleet", repo.roles.root_bytes(1))


def test_a_backup_goes_on_above_what_was_published_since(
    repo: Repository, backup: Repository, fleet: RememberingFleet
) -> None:
    for version in ("2.0", "3.0"):
        again(repo, version)
        notice = repo.offer("clf", version)
        fleet.hear("clf", notice)
    (done,) = backup.adopt({"clf": notice})
    assert (done.version, done.sequence, done.has_files) == ("3.0", 3, False)
    assert compare(notice, "clf", backup.roles).standing is Standing.OLDER
    assert fleet.hear("clf", backup.build_notice("clf")) == "3.0"
    assert look_at(backup, "clf")[1] == {}  # `serve` announces it, and has none of its chunks
    with pytest.raises(NotFound, match="was taken over"):
        backup.offer("clf", "3.0")
    again(backup, "4.0")
    assert backup.store.folder("clf", "4.0").load().sequence == 4
    assert fleet.hear("clf", backup.offer("clf", "4.0")) == "4.0"
    assert backup.adopt({"clf": notice}) == []


def test_renewals_alone_are_taken_over_without_a_loss(
    repo: Repository, backup: Repository, fleet: RememberingFleet
) -> None:
    for _ in range(3):
        notice = repo.refresh()["clf"]
    fleet.hear("clf", notice)
    (done,) = backup.adopt({"clf": notice})
    assert done.has_files
    assert fleet.hear("clf", backup.offer("clf", "1.0")) == "1.0"


@pytest.mark.parametrize("renewals", [0, 3])
def test_where_both_signed_the_published_one_counts(
    repo: Repository, backup: Repository, fleet: RememberingFleet, renewals: int
) -> None:
    again(repo, "2.0")
    notice = repo.offer("clf", "2.0")
    fleet.hear("clf", notice)
    again(backup, "1.1")
    backup.offer("clf", "1.1")
    for _ in range(renewals):
        backup.refresh()
    backup.adopt({"clf": notice})
    assert compare(notice, "clf", backup.roles).standing is Standing.OLDER
    assert fleet.hear("clf", backup.build_notice("clf")) == "2.0"
    with pytest.raises(Conflict, match="sequence 2"):
        again(backup, "1.1")  # it has 2.0's sequence
    again(backup, "1.2")
    assert fleet.hear("clf", backup.offer("clf", "1.2")) == "1.2"


def test_models_that_were_published_at_different_times_are_taken_together(
    repo: Repository, backup: Repository, fleet: RememberingFleet, model_file: Path
) -> None:
    """Each model's notice is from when it was published; `det` was released on since."""
    repo.build_release(ReleaseRequest(model="det", version="1.0", files=(model_file,)))
    notices = {"det": repo.offer("det", "1.0")}
    again(repo, "2.0", "det")
    again(repo, "2.0")
    notices["clf"] = repo.offer("clf", "2.0")
    for model, notice in notices.items():
        fleet.hear(model, notice)
    done = {item.model: item for item in backup.adopt(notices)}
    assert {item.model: item.version for item in done.values()} == {"clf": "2.0", "det": "1.0"}
    assert backup.offered() == ["clf", "det"]
    again(backup, "3.0")
    assert fleet.hear("clf", backup.offer("clf", "3.0")) == "3.0"
    assert not done["det"].has_key  # it was made after the backup, and is lost
    rotate_keys(
        backup.roles, "release-det", lambda name: backup.ring.generate(name, encrypted=False)
    )
    assert fleet.hear("det", backup.refresh()["det"]) == "1.0"


def test_a_model_whose_notice_is_lost_still_counts_for_the_snapshot(
    repo: Repository, backup: Repository, fleet: RememberingFleet, model_file: Path
) -> None:
    repo.build_release(ReleaseRequest(model="det", version="1.0", files=(model_file,)))
    notice = repo.offer("clf", "1.0")
    notice = repo.refresh()["clf"]
    fleet.hear("clf", notice)
    backup.adopt({"clf": notice})
    again(backup, "2.0")
    assert fleet.hear("clf", backup.offer("clf", "2.0")) == "2.0"


def test_keys_that_were_made_elsewhere_are_asked_for(repo: Repository, backup: Repository) -> None:
    rotate_keys(repo.roles, "online", lambda name: repo.ring.generate(name, encrypted=False))
    notice = repo.refresh()["clf"]
    with pytest.raises(KeyUnavailable, match="expected 1 of 1"):
        backup.adopt({"clf": notice})
    shutil.copytree(repo.path / "keys", backup.path / "keys", dirs_exist_ok=True)
    shutil.copy(repo.path / "keys.json", backup.path / "keys.json")
    found = Repository(backup.path)
    found.adopt({"clf": notice})
    verify_notice(found.refresh()["clf"], repo.roles.root_bytes(1))


def test_an_online_key_that_is_lost_is_rotated_with_the_root_keys(
    repo: Repository, backup: Repository, fleet: RememberingFleet
) -> None:
    rotate_keys(repo.roles, "online", lambda name: repo.ring.generate(name, encrypted=False))
    notice = repo.refresh()["clf"]
    fleet.hear("clf", notice)
    with pytest.raises(KeyUnavailable):
        backup.adopt({"clf": notice})
    rotate_keys(backup.roles, "online", lambda name: backup.ring.generate(name, encrypted=False))
    assert fleet.hear("clf", backup.refresh()["clf"]) == "1.0"


def test_what_others_signed_is_not_taken_over(
    repo: Repository, tmp_path: Path, model_file: Path
) -> None:
    repo.offer("clf", "1.0")
    other = Repository.init(tmp_path / "other")
    other.build_release(ReleaseRequest(model="clf", version="9.0", files=(model_file,)))
    before = signed_files(repo)
    assert repo.adopt({"clf": other.offer("clf", "9.0"), "junk": b"junk"}) == []
    assert signed_files(repo) == before
