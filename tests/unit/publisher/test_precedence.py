"""Two copies of one repository: whose notice is newer, and where they went separate ways."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from slotcast_publisher.notice import OfferWanted
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.trust.ceremonies import rotate_keys
from slotcast_publisher.trust.precedence import Standing, compare
from tests.support.role_sets import share_roles

DAY_S = 86_400


def again(repo: Repository, version: str) -> None:
    """Release the files of 1.0 under another version."""
    request = ReleaseRequest(model="clf", version=version, same_as="1.0", is_probed=False)
    repo.build_release(request)


def publish(repo: Repository, version: str) -> bytes:
    again(repo, version)
    return repo.offer("clf", version)


def change_key(repo: Repository, role: str) -> None:
    rotate_keys(repo.roles, role, lambda name: repo.ring.generate(name, encrypted=False))


@pytest.fixture
def copy(repo: Repository, tmp_path: Path) -> Repository:
    """A copy of the repository, from when 1.0 was offered."""
    repo.offer("clf", "1.0")
    shutil.copytree(repo.path, tmp_path / "copy")
    return Repository(tmp_path / "copy")


def standing(data: bytes, repo: Repository) -> Standing:
    return compare(data, "clf", repo.roles).standing


def test_what_was_signed_last_is_ours_and_what_was_before_is_older(repo: Repository) -> None:
    first = repo.offer("clf", "1.0")
    assert standing(first, repo) is Standing.OURS
    publish(repo, "2.0")
    assert standing(first, repo) is Standing.OLDER


def test_what_the_newer_copy_published_is_newer_even_past_its_date(
    repo: Repository, copy: Repository
) -> None:
    newer = publish(repo, "2.0")
    again(copy, "1.1")
    found = compare(newer, "clf", copy.roles)
    assert found.standing in {Standing.NEWER, Standing.SPLIT}
    assert found.offer is not None
    assert found.offer.version == "2.0"
    late = Repository(copy.path, now_s=lambda: time.time() + 90 * DAY_S)
    assert standing(newer, late) is found.standing


def test_renewed_signatures_alone_are_newer(repo: Repository, copy: Repository) -> None:
    assert standing(repo.refresh()["clf"], copy) is Standing.NEWER


def test_both_copies_dated_the_same_again_and_agree(repo: Repository, copy: Repository) -> None:
    assert standing(repo.refresh()["clf"], copy) is Standing.NEWER
    copy.refresh()
    assert standing(repo.build_notice("clf"), copy) is Standing.OURS


def test_a_release_of_another_model_on_another_machine_is_newer(
    tmp_path: Path, model_file: Path
) -> None:
    """Where models share one set of roles; of those with roles of their own, each stands alone."""
    repo = Repository.init(tmp_path / "repo")
    share_roles(repo, "clf", "det")
    for model in ("clf", "det", "own"):
        repo.build_release(ReleaseRequest(model=model, version="1.0", files=(model_file,)))
        repo.offer(model, "1.0")
    shutil.copytree(repo.path, tmp_path / "copy")
    copy = Repository(tmp_path / "copy")
    repo.build_release(ReleaseRequest(model="det", version="2.0", same_as="1.0"))
    repo.offer("det", "2.0")
    assert standing(repo.build_notice("clf"), copy) is Standing.NEWER
    assert compare(repo.build_notice("own"), "own", copy.roles).standing is Standing.OURS


@pytest.mark.parametrize("renewals", [0, 1, 3])
def test_two_releases_under_one_sequence_are_found_however_the_numbers_went_on(
    repo: Repository, copy: Repository, renewals: int
) -> None:
    theirs = publish(repo, "2.0")
    publish(copy, "1.1")
    for _ in range(renewals):
        copy.refresh()
    assert standing(theirs, copy) is Standing.SPLIT


def test_two_offers_of_one_release_under_one_version_are_found(
    repo: Repository, copy: Repository
) -> None:
    theirs = repo.offer("clf", "1.0", OfferWanted(state="paused"))
    copy.offer("clf", "1.0", OfferWanted(full_allowed=False))
    assert standing(theirs, copy) is Standing.SPLIT


@pytest.mark.parametrize("role", ["root", "online", "targets", "release-clf"])
def test_keys_that_were_changed_on_another_machine_are_newer(
    repo: Repository, copy: Repository, role: str
) -> None:
    change_key(repo, role)
    assert standing(repo.refresh()["clf"], copy) is Standing.NEWER


def test_the_same_key_changed_on_both_machines_is_found(repo: Repository, copy: Repository) -> None:
    for each in (repo, copy):
        change_key(each, "online")
    assert standing(repo.refresh()["clf"], copy) is Standing.SPLIT


def test_what_a_revoked_online_key_signed_does_not_count(
    repo: Repository, copy: Repository
) -> None:
    """Whoever stole it could otherwise keep us from publishing for ever."""
    change_key(repo, "online")
    for _ in range(20):
        stolen = copy.refresh()["clf"]
    assert standing(stolen, repo) is Standing.FOREIGN


def test_another_repositorys_notice_and_junk_are_foreign(
    repo: Repository, tmp_path: Path, model_file: Path
) -> None:
    other = Repository.init(tmp_path / "other")
    other.build_release(ReleaseRequest(model="clf", version="9.0", files=(model_file,)))
    notice = other.offer("clf", "9.0")
    assert standing(notice, repo) is Standing.FOREIGN
    for junk in (b"", b"junk", notice[:500]):
        assert standing(junk, repo) is Standing.FOREIGN


def test_a_notice_from_before_a_key_was_changed_may_be_replaced(repo: Repository) -> None:
    before = repo.offer("clf", "1.0")
    change_key(repo, "online")
    assert standing(before, repo) in {Standing.OLDER, Standing.FOREIGN}
