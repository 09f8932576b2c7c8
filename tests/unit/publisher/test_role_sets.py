"""Each model has roles of its own; those that shared one set move out of it, and devices follow."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from slotcast_publisher.errors import KeyUnavailable
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.trust.ceremonies import add_key, list_roles, revoke_key, rotate_keys
from slotcast_publisher.trust.metadata_files import MetadataFiles
from slotcast_publisher.trust.notice_proof import verify_notice
from slotcast_publisher.trust.precedence import Standing, compare
from slotcast_schemas import wire
from slotcast_schemas.messages import Notice
from tests.support.role_sets import RememberingFleet, new_key, share_roles, signed_files

SHARED = ("a", "b", "c")


def release(repo: Repository, model: str, version: str, file: Path | None = None) -> None:
    """Release a file, or that of 1.0 again, without trying it out."""
    repo.build_release(
        ReleaseRequest(
            model=model,
            version=version,
            files=() if file is None else (file,),
            same_as="1.0" if file is None else None,
            is_probed=False,
        )
    )


@pytest.fixture
def old(tmp_path: Path, model_file: Path) -> Repository:
    """A repository as it was: three models in one set of roles, of which `c` is not published."""
    repo = Repository.init(tmp_path / "old")
    share_roles(repo, *SHARED)
    for model in SHARED:
        release(repo, model, "1.0", model_file)
    for model in "ab":
        repo.offer(model, "1.0")
    return Repository(repo.path)


@pytest.fixture
def fleet(old: Repository, tmp_path: Path) -> RememberingFleet:
    """Devices that have seen what the old repository published."""
    fleet = RememberingFleet(tmp_path / "fleet", old.roles.root_bytes(1))
    for model, notice in old.refresh().items():
        fleet.hear(model, notice)
    return fleet


def metadata_of(notice: bytes) -> dict[str, bytes]:
    return wire.decode(notice, Notice).metadata


def lose(repo: Repository, name: str) -> Repository:
    """Take a key to another machine."""
    for entry in repo.ring.entries.values():
        if entry.name == name:
            (repo.path / entry.uri.partition(":")[2]).unlink()
    return Repository(repo.path)


def test_an_old_repository_goes_on_in_its_shared_set(
    old: Repository, fleet: RememberingFleet
) -> None:
    release(old, "a", "2.0")
    assert fleet.hear("a", old.offer("a", "2.0")) == "2.0"
    assert old.roles.separate_models() == []
    assert "release-c" in str(metadata_of(old.build_notice("a")))


def test_a_new_model_of_an_old_repository_has_roles_of_its_own(
    old: Repository, fleet: RememberingFleet, model_file: Path
) -> None:
    before = signed_files(old)
    release(old, "new", "1.0", model_file)
    assert fleet.hear("new", old.offer("new", "1.0")) == "1.0"
    after = signed_files(old)
    changed = {path for path in after if after[path] != before.get(path)}
    # When something was signed last is known to the second: it may be the same one.
    assert {p for p in changed if not p.startswith("metadata/models/new/")} <= {
        "metadata/signed-at"
    }
    assert old.offered() == ["a", "b", "new"]
    assert set(old.refresh()) == {"a", "b", "new"}


def test_the_models_of_an_old_repository_move_and_devices_follow(
    old: Repository, fleet: RememberingFleet
) -> None:
    seen = old.build_notice("a")
    assert old.separate() == list(SHARED)
    assert old.roles.shared.models() == []
    assert old.offered() == ["a", "b"]
    assert compare(seen, "a", old.roles).standing is Standing.OLDER
    for model in "ab":
        assert fleet.hear(model, old.build_notice(model)) == "1.0"
        release(old, model, "2.0")
        assert fleet.hear(model, old.offer(model, "2.0")) == "2.0"
    assert fleet.hear("c", old.offer("c", "1.0")) == "1.0"
    assert old.separate() == []


def test_moving_needs_the_targets_key_and_no_release_key(
    old: Repository, fleet: RememberingFleet
) -> None:
    for name in ("release-a", "release-b", "release-c", "root-1"):
        old = lose(old, name)
    present = old.build_notice("a")
    alone = Repository(old.path)
    targets = next(e for e in old.ring.entries.values() if e.name == "targets")
    file = old.path / targets.uri.partition(":")[2]
    aside = file.rename(file.with_suffix(".away"))
    with pytest.raises(KeyUnavailable, match="targets"):
        alone.separate()
    assert Repository(old.path).build_notice("a") == present
    aside.rename(file)
    assert Repository(old.path).separate() == list(SHARED)
    assert fleet.hear("a", old.build_notice("a")) == "1.0"


@pytest.mark.parametrize("writes", range(0, 26, 5))
def test_a_move_that_was_stopped_leaves_good_notices_and_goes_on(
    old: Repository, fleet: RememberingFleet, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    write, left = MetadataFiles.write, writes

    def stopped(files: MetadataFiles, role: str, metadata: Any) -> None:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        write(files, role, metadata)

    with monkeypatch.context() as patch:
        patch.setattr(MetadataFiles, "write", stopped)
        try:
            old.separate()
        except KeyboardInterrupt:
            pass
        else:
            assert left > 0
    again = Repository(old.path)
    for model in "ab":
        fleet.hear(model, again.build_notice(model))
    release(again, "a", "1.5")  # in whichever set it is now
    assert fleet.hear("a", again.offer("a", "1.5")) == "1.5"
    again.separate()
    assert again.roles.shared.models() == []
    for model, version in (("a", "1.5"), ("b", "1.0")):
        assert fleet.hear(model, again.build_notice(model)) == version


def test_a_moved_model_names_what_devices_saw_until_the_online_key_is_rotated(
    old: Repository, fleet: RememberingFleet
) -> None:
    old.separate()
    notice = old.build_notice("a")
    assert b"release-c" in b"".join(metadata_of(notice).values())
    rotate_keys(old.roles, "online", new_key(old))
    lean = old.refresh()["a"]
    assert b"release-c" not in b"".join(metadata_of(lean).values())
    assert fleet.hear("a", lean) == "1.0"


def test_a_ceremony_reaches_every_model(
    old: Repository, fleet: RememberingFleet, model_file: Path
) -> None:
    release(old, "own", "1.0", model_file)
    old.offer("own", "1.0")
    for role in ("targets", "online", "offers"):
        before = set(old.roles.role_of("offers" if role == "online" else role).keyids)
        rotate_keys(old.roles, role, new_key(old))
        assert not before & set(old.roles.role_of("offers" if role == "online" else role).keyids)
        for model, notice in old.refresh().items():
            assert fleet.hear(model, notice) == "1.0"
    states = {state.role: state for state in list_roles(old.roles, old.ring)}
    assert {"release-a", "release-own", "offers", "root"} <= set(states)
    assert all(key.is_reachable for state in states.values() for key in state.keys)


def test_a_release_keys_ceremony_touches_its_own_model_only(
    old: Repository, model_file: Path
) -> None:
    for model in ("one", "two"):
        release(old, model, "1.0", model_file)
        old.offer(model, "1.0")
    before = old.build_notice("two"), old.build_notice("a")
    first = old.roles.role_of("release-one").keyids[0]
    add_key(old.roles, "release-one", new_key(old))
    assert revoke_key(old.roles, old.ring, first) == ["release-one"]
    assert (old.build_notice("two"), old.build_notice("a")) == before
    release(old, "one", "2.0")
    verify_notice(old.offer("one", "2.0"), old.roles.root_bytes(1))


def test_a_backup_from_before_the_move_adopts_what_moved(
    old: Repository, fleet: RememberingFleet, tmp_path: Path
) -> None:
    shutil.copytree(old.path, tmp_path / "backup")
    old.separate()
    release(old, "a", "2.0")
    notices = {"a": old.offer("a", "2.0"), "b": old.build_notice("b")}
    for model, notice in notices.items():
        fleet.hear(model, notice)
    backup = Repository(tmp_path / "backup")
    assert compare(notices["a"], "a", backup.roles).standing is Standing.NEWER
    done = {item.model: item.version for item in backup.adopt(notices)}
    assert done == {"a": "2.0", "b": "1.0"}
    assert backup.roles.separate_models() == ["a", "b"]
    release(backup, "a", "3.0")
    assert fleet.hear("a", backup.offer("a", "3.0")) == "3.0"
    assert fleet.hear("b", backup.offer("b", "1.0")) == "1.0"
    assert fleet.hear("c", backup.offer("c", "1.0")) == "1.0"
