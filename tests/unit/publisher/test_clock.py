"""A wrong clock signs nothing: neither decades off, nor set back behind the last signature."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from slotcast_publisher.errors import ClockWrong
from slotcast_publisher.notice import OfferWanted
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.trust.ceremonies import rotate_keys
from slotcast_publisher.trust.notice_proof import verify_notice
from tests.support.role_sets import new_key, signed_files


def request(version: str) -> ReleaseRequest:
    """The files of 1.0 under another version."""
    return ReleaseRequest(model="clf", version=version, same_as="1.0")


@pytest.mark.parametrize(
    ("year", "said"),
    [(1970, "expected a day from 2025"), (2056, "expected a day from 2025"), (2035, "last signed")],
)
def test_nothing_is_signed_by_a_clock_that_is_decades_off(
    repo: Repository, year: int, said: str
) -> None:
    repo.offer("clf", "1.0")
    before = signed_files(repo)
    wrong = Repository(repo.path, now_s=datetime(year, 3, 1, tzinfo=UTC).timestamp)
    commands: tuple[Callable[[], object], ...] = (
        lambda: wrong.build_release(request("1.1")),
        lambda: wrong.offer("clf", "1.0", OfferWanted(state="paused")),
        lambda: wrong.withdraw("clf"),
        wrong.refresh,
        lambda: rotate_keys(wrong.roles, "online", new_key(wrong)),
    )
    for command in commands:
        with pytest.raises(ClockWrong, match=said):
            command()
    assert signed_files(repo) == before
    assert wrong.store.versions("clf") == ["1.0"]


def test_no_repository_is_made_by_a_clock_that_starts_at_1970(tmp_path: Path) -> None:
    with pytest.raises(ClockWrong, match="1970-01-01"):
        Repository.init(tmp_path / "r", now_s=lambda: 42.0)


def test_a_clock_that_went_back_signs_nothing_unless_its_owner_says_that_it_is_right(
    repo: Repository,
) -> None:
    repo.offer("clf", "1.0")
    ahead_s = time.time() + 400 * 86400
    Repository(repo.path, now_s=lambda: ahead_s).refresh()
    with pytest.raises(ClockWrong, match="--clock-is-right"):
        repo.refresh()
    Repository(repo.path, clock_is_right=True).refresh()
    assert repo.roles.first_expiry().timestamp() < ahead_s
    verify_notice(repo.refresh()["clf"], repo.roles.root_bytes())


def test_a_clock_a_little_behind_the_last_signature_shortens_no_life(repo: Repository) -> None:
    repo.refresh()
    before = repo.roles.first_expiry()
    Repository(repo.path, now_s=lambda: time.time() - 7200).refresh()
    assert repo.roles.first_expiry() >= before
