"""What is signed and not yet vouched for by a snapshot changes no notice."""

from __future__ import annotations

from typing import Any

import pytest

from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.serve.catalog import look_at
from slotcast_publisher.trust.ceremonies import rotate_keys
from slotcast_publisher.trust.metadata_files import MetadataFiles
from slotcast_publisher.trust.notice_proof import verify_notice
from slotcast_publisher.trust.role_signing import Roles


def request(version: str) -> ReleaseRequest:
    """The files of 1.0 under another version."""
    return ReleaseRequest(model="clf", version=version, same_as="1.0")


def test_a_release_that_is_not_published_yet_leaves_the_present_notice_as_it_is(
    repo: Repository,
) -> None:
    repo.offer("clf", "1.0")
    present = repo.build_notice("clf")
    repo.build_release(request("1.1"))
    repo.build_release(request("1.2"))
    assert repo.build_notice("clf") == present
    assert look_at(repo, "clf")[0].notice == present
    repo.roles.renew(force=True)
    verified = verify_notice(repo.build_notice("clf"), repo.roles.root_bytes())
    assert verified.release.version == "1.0"


@pytest.mark.parametrize("stop_before", ["snapshot", "timestamp"])
def test_a_publish_that_was_stopped_between_two_signatures_leaves_the_present_notice(
    repo: Repository, monkeypatch: pytest.MonkeyPatch, stop_before: str
) -> None:
    repo.offer("clf", "1.0")
    present = repo.build_notice("clf")
    repo.build_release(request("1.1"))
    write = MetadataFiles.write

    def stopped(files: MetadataFiles, role: str, metadata: Any) -> None:
        if role == stop_before:
            raise KeyboardInterrupt
        write(files, role, metadata)

    with monkeypatch.context() as patch:
        patch.setattr(MetadataFiles, "write", stopped)
        with pytest.raises(KeyboardInterrupt):
            repo.offer("clf", "1.1")
    assert Repository(repo.path).build_notice("clf") == present
    verified = verify_notice(repo.offer("clf", "1.1"), repo.roles.root_bytes())
    assert verified.release.version == "1.1"


@pytest.mark.parametrize("role", ["online", "root", "targets", "release-clf"])
def test_a_ceremony_that_was_stopped_leaves_the_present_notice(
    repo: Repository, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    repo.offer("clf", "1.0")
    monkeypatch.setattr(Roles, "renew", stop)
    with pytest.raises(KeyboardInterrupt):
        rotate_keys(repo.roles, role, lambda name: repo.ring.generate(name, encrypted=False))
    verified = verify_notice(repo.build_notice("clf"), repo.roles.root_bytes(1))
    assert verified.release.version == "1.0"


def stop(*_args: object, **_options: object) -> None:
    raise KeyboardInterrupt
