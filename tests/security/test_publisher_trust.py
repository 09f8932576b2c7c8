"""The unmodified TUF client believes what the right keys signed, in order, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from securesystemslib.signer import Key
from tuf.api.metadata import Targets

from slotcast_publisher.errors import Conflict, KeyUnavailable
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.trust import ceremonies
from slotcast_publisher.trust.notice_proof import verify_notice
from slotcast_publisher.trust.role_signing import Roles
from slotcast_schemas import wire
from slotcast_schemas.errors import (
    BadSignature,
    Inconsistent,
    RefusedRelease,
    Replayed,
    UsageError,
)
from slotcast_schemas.messages import Notice
from tests.support.role_sets import make_repository, new_key

pytestmark = pytest.mark.usefixtures("quick_probes")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_repository(tmp_path_factory.mktemp("trust"))


@pytest.fixture
def repo(finished: Path, tmp_path: Path) -> Repository:
    shutil.copytree(finished, tmp_path / "repo")
    return Repository(tmp_path / "repo")


def lose(repo: Repository, name: str) -> Repository:
    """Take key files away, as if they lay on a medium elsewhere."""
    for path in (repo.path / "keys").glob(f"{name}-*.pem"):
        path.unlink()
    return Repository(repo.path)


def test_another_publishers_notice_is_not_believed(repo: Repository, tmp_path: Path) -> None:
    theirs = Repository.init(tmp_path / "theirs")
    with pytest.raises(BadSignature):
        verify_notice(repo.build_notice("clf"), theirs.roles.root_bytes())


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "offers", "release-clf"])
def test_one_changed_byte_in_any_role_is_noticed(repo: Repository, role: str) -> None:
    notice = wire.decode(repo.build_notice("clf"), Notice)
    name = next(n for n in notice.metadata if n.endswith(f"{role}.json"))
    changed = notice.metadata[name].replace(b'"expires":"2', b'"expires":"3')
    assert changed != notice.metadata[name]
    forged = msgspec.structs.replace(notice, metadata={**notice.metadata, name: changed})
    with pytest.raises(BadSignature):
        verify_notice(wire.encode(forged), repo.roles.root_bytes())


@pytest.mark.parametrize("suffix", [".release", ".offer"])
def test_one_changed_byte_in_a_target_is_noticed(repo: Repository, suffix: str) -> None:
    notice = wire.decode(repo.build_notice("clf"), Notice)
    name = next(n for n in notice.targets if n.endswith(suffix))
    data = bytearray(notice.targets[name])
    data[-1] ^= 1
    forged = msgspec.structs.replace(notice, targets={**notice.targets, name: bytes(data)})
    with pytest.raises(BadSignature):
        verify_notice(wire.encode(forged), repo.roles.root_bytes())


def test_a_target_that_nobody_signed_is_not_believed(repo: Repository) -> None:
    notice = wire.decode(repo.build_notice("clf"), Notice)
    forged = msgspec.structs.replace(
        notice, targets={**notice.targets, "models/clf/9.9.release": b"x"}
    )
    with pytest.raises(BadSignature, match="no trusted role vouches"):
        verify_notice(wire.encode(forged), repo.roles.root_bytes())


def test_missing_metadata_makes_a_notice_inconsistent(repo: Repository) -> None:
    notice = wire.decode(repo.build_notice("clf"), Notice)
    rest = {n: data for n, data in notice.metadata.items() if "snapshot" not in n}
    with pytest.raises(Inconsistent, match="snapshot"):
        verify_notice(
            wire.encode(msgspec.structs.replace(notice, metadata=rest)), repo.roles.root_bytes()
        )


def test_a_stolen_online_key_cannot_introduce_a_release(repo: Repository, tmp_path: Path) -> None:
    """Whoever has the online key signs a release with it: the client asks for the release key."""
    online = lose(lose(lose(repo, "root"), "targets"), "release-clf")
    keyid = online.roles.role_of("offers").keyids[0]
    notice = wire.decode(online.build_notice("clf"), Notice)
    role = online.roles.of("clf")._files.read("release-clf", Targets)
    role.signed.version += 1
    role.sign(online.ring.signer(keyid))
    online.roles.of("clf")._files.write("release-clf", role)
    online.roles.of("clf")._renew_snapshot(force=True)
    online.roles.of("clf")._renew_timestamp(force=True)
    forged = wire.encode(
        msgspec.structs.replace(notice, metadata=online.roles.of("clf").notice_metadata("clf"))
    )
    with pytest.raises(BadSignature, match="release-clf"):
        verify_notice(forged, repo.roles.root_bytes())


def test_an_older_notice_is_a_replay_to_whoever_saw_the_newer(
    repo: Repository, tmp_path: Path
) -> None:
    root, store = repo.roles.root_bytes(), tmp_path / "seen"
    store.mkdir()
    old = repo.build_notice("clf")
    new = repo.refresh()["clf"]
    verify_notice(old, root, store=store)
    verify_notice(new, root, store=store)
    with pytest.raises(Replayed):
        verify_notice(old, root, store=store)


@pytest.mark.parametrize("role", ["targets", "online", "offers", "release-clf", "snapshot"])
def test_a_rotated_key_is_followed_from_the_first_root(
    repo: Repository, tmp_path: Path, role: str
) -> None:
    first, store = repo.roles.root_bytes(1), tmp_path / "seen"
    store.mkdir()
    verify_notice(repo.build_notice("clf"), first, store=store)
    before = set(repo.roles.role_of("offers" if role == "online" else role).keyids)
    ceremonies.rotate_keys(repo.roles, role, new_key(repo))
    after = set(repo.roles.role_of("offers" if role == "online" else role).keyids)
    assert not before & after
    verify_notice(repo.build_notice("clf"), first, store=store)


def test_root_keys_are_exchanged_one_by_one_under_their_threshold(repo: Repository) -> None:
    first = repo.roles.root_bytes(1)
    with pytest.raises(UsageError, match="keys add"):
        ceremonies.rotate_keys(repo.roles, "root", new_key(repo))
    for old in list(repo.roles.role_of("root").keyids):
        ceremonies.add_key(repo.roles, "root", new_key(repo))
        assert ceremonies.revoke_key(repo.roles, repo.ring, old[:12]) == ["root"]
    assert repo.roles.root().signed.version == 7
    assert repo.roles.role_of("root").threshold == 2
    verify_notice(repo.build_notice("clf"), first)


def test_one_root_key_of_two_needed_changes_nothing(repo: Repository) -> None:
    alone = lose(lose(repo, "root-1"), "root-2")
    before = alone.roles.root_bytes()
    with pytest.raises(KeyUnavailable, match="expected 2 of 3 keys to sign, got 1"):
        ceremonies.rotate_keys(alone.roles, "targets", new_key(alone))
    assert alone.roles.root_bytes() == before


def test_two_root_keys_of_three_are_enough(repo: Repository) -> None:
    two = lose(repo, "root-2")
    ceremonies.rotate_keys(two.roles, "targets", new_key(two))
    verify_notice(two.build_notice("clf"), two.roles.root_bytes(1))


def test_what_a_revoked_key_signs_afterwards_is_refused(repo: Repository, tmp_path: Path) -> None:
    """The thief has a copy of the repository with the old release key; devices saw the new root."""
    shutil.copytree(repo.path, tmp_path / "thief")
    thief = Repository(tmp_path / "thief")
    root, store = repo.roles.root_bytes(1), tmp_path / "seen"
    store.mkdir()
    stolen = repo.roles.role_of("release-clf").keyids[0]
    ceremonies.rotate_keys(repo.roles, "release-clf", new_key(repo))
    assert stolen not in repo.roles.role_of("release-clf").keyids
    verify_notice(repo.build_notice("clf"), root, store=store)
    thief.build_release(ReleaseRequest(model="clf", version="6.6.6", same_as="1.0"))
    for _ in range(5):
        thief.refresh()
    forged = thief.offer("clf", "6.6.6")
    verify_notice(forged, root)  # a device that never saw the new root is still open to it
    with pytest.raises(RefusedRelease):
        verify_notice(forged, root, store=store)


def test_the_last_key_of_a_role_cannot_be_revoked(repo: Repository) -> None:
    keyid = repo.roles.role_of("targets").keyids[0]
    with pytest.raises(Conflict, match="add or rotate a key first"):
        ceremonies.revoke_key(repo.roles, repo.ring, keyid)


def registered(repo: Repository, pem: bytes, scheme: str | None) -> Callable[[str], Key]:
    return lambda name: repo.ring.register(name, "pkcs11:token=x", pem, scheme)


def public_pem(private: RSAPrivateKey | Ed25519PrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_one_key_that_signs_in_two_ways_is_not_two_of_two(repo: Repository) -> None:
    pem = public_pem(generate_private_key(65537, 2048))
    ceremonies.add_key(repo.roles, "root", registered(repo, pem, "rsassa-pss-sha256"))
    before = repo.roles.root_bytes()
    with pytest.raises(Conflict, match="one key that signs in two ways"):
        ceremonies.add_key(repo.roles, "root", registered(repo, pem, "rsa-pkcs1v15-sha256"), 2)
    assert repo.roles.root_bytes() == before


@pytest.mark.parametrize("role", ["root", "targets", "release-clf"])
def test_the_online_key_signs_for_nothing_that_is_kept_offline(repo: Repository, role: str) -> None:
    keyid = repo.roles.role_of("timestamp").keyids[0]
    online, before = repo.ring.entries[keyid], repo.roles.root_bytes()
    private = load_pem_private_key((repo.path / online.uri.removeprefix("pem:")).read_bytes(), None)
    assert isinstance(private, Ed25519PrivateKey)
    again = registered(repo, public_pem(private), None)
    for change in (ceremonies.add_key, ceremonies.rotate_keys):
        if role != "root" or change is ceremonies.add_key:
            refused = pytest.raises(Conflict, match="who stole the online key")
            with refused, repo.ring.unchanged_on_conflict():
                change(repo.roles, role, again)
    assert Repository(repo.path).ring.entries[keyid] == online
    assert repo.roles.root_bytes() == before
    assert keyid not in repo.roles.role_of(role).keyids


def test_neither_does_an_offline_key_sign_online(repo: Repository) -> None:
    keyid = repo.roles.role_of("release-clf").keyids[0]
    where = repo.ring.entries[keyid].uri.removeprefix("pem:")
    private = load_pem_private_key((repo.path / where).read_bytes(), None)
    assert isinstance(private, Ed25519PrivateKey)
    with pytest.raises(Conflict, match="signs for release-clf"):
        ceremonies.add_key(repo.roles, "online", registered(repo, public_pem(private), None))


def test_a_rotation_that_was_stopped_is_healed_by_the_next_command(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root N+1 is written, the process dies, and what the new root does not vouch for is left."""

    def die(*_: object, **__: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Roles, "renew", die)
        with pytest.raises(KeyboardInterrupt):
            ceremonies.rotate_keys(repo.roles, "online", new_key(repo))
    again = Repository(repo.path)
    verify_notice(again.refresh()["clf"], again.roles.root_bytes(1))


def test_a_role_lists_at_most_64_releases(repo: Repository) -> None:
    for number in range(2, 70):
        repo.roles.of("clf").add_release("clf", f"{number}.0", b"x" * number, number)
    assert repo.roles.of("clf").signed_release("clf", "1.0") is None
    assert repo.roles.of("clf").signed_release("clf", "69.0") is not None
    assert repo.roles.of("clf").signed_release("clf", "6.0") is not None
    assert repo.roles.of("clf").signed_release("clf", "5.0") is None


def test_a_stolen_online_key_cannot_put_one_models_roles_under_another(
    repo: Repository, tmp_path: Path
) -> None:
    """It signs what snapshot it likes; who may release a model is said by the targets key."""
    repo.build_release(
        ReleaseRequest(model="det", version="1.0", files=tuple(_files_of(repo)), is_probed=False)
    )
    repo.offer("det", "1.0")
    own = repo.build_notice("clf")
    store = tmp_path / "seen"
    store.mkdir()
    verify_notice(own, repo.roles.root_bytes(), store=store)
    thief = repo.roles.of("det")
    for _ in range(9):
        thief.renew(force=True)
    other = wire.decode(repo.build_notice("det"), Notice)
    mixed = msgspec.structs.replace(
        other, model="clf", targets={**other.targets, **wire.decode(own, Notice).targets}
    )
    with pytest.raises(RefusedRelease):
        verify_notice(wire.encode(mixed), repo.roles.root_bytes())


def test_a_stolen_online_key_cannot_roll_back_who_may_release(
    repo: Repository, tmp_path: Path
) -> None:
    root, store = repo.roles.root_bytes(1), tmp_path / "seen"
    store.mkdir()
    shutil.copytree(repo.path, tmp_path / "thief")
    ceremonies.rotate_keys(repo.roles, "release-clf", new_key(repo))
    verify_notice(repo.build_notice("clf"), root, store=store)
    thief = Repository(tmp_path / "thief")  # with the online key, and the targets of before
    for _ in range(9):
        thief.roles.of("clf").renew(force=True)
    with pytest.raises(Replayed, match=r"Expected .* version"):
        verify_notice(thief.build_notice("clf"), root, store=store)


def _files_of(repo: Repository) -> list[Path]:
    return [path for _, path in repo.store.folder("clf", "1.0").images() if path.suffix == ".onnx"]
