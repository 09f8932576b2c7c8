"""So many keys must sign as a role says: none counts twice, and nothing else is counted."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from securesystemslib.signer import CryptoSigner, Key, Signature, Signer
from tuf.api.metadata import Metadata, Root

from slotcast_publisher.cli import app
from slotcast_publisher.errors import Conflict, KeyUnavailable
from slotcast_publisher.repository import Repository
from slotcast_publisher.trust import ceremonies
from slotcast_publisher.trust.notice_proof import verify_notice
from slotcast_schemas import wire
from slotcast_schemas.errors import RefusedRelease, UsageError
from slotcast_schemas.messages import Notice
from tests.support.cli_runner import CliRunner
from tests.support.role_sets import make_repository, new_key

pytestmark = pytest.mark.usefixtures("quick_probes")

NO_SECRET = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_repository(tmp_path_factory.mktemp("counted"))


@pytest.fixture
def repo(finished: Path, tmp_path: Path) -> Repository:
    shutil.copytree(finished, tmp_path / "repo")
    return Repository(tmp_path / "repo")


def key_files(repo: Repository) -> list[Path]:
    """Give the files of the root's keys, in the order of their ids in it."""
    entries = repo.ring.entries
    uris = (entries[keyid].uri for keyid in repo.roles.role_of("root").keyids)
    return [repo.path / uri.removeprefix("pem:") for uri in uris]


def signers(repo: Repository) -> list[Signer]:
    """Give the signers of the root."""
    return [repo.ring.signer(keyid) for keyid in repo.roles.role_of("root").keyids]


# --- at the publisher: files of keys --------------------------------------------------------------


def _a_copy_of_the_first(files: list[Path]) -> None:
    files[1].write_bytes(files[0].read_bytes())


def _another_key(files: list[Path]) -> None:
    files[1].write_bytes(Ed25519PrivateKey.generate().private_bytes(*NO_SECRET))


@pytest.mark.parametrize("swap", [_a_copy_of_the_first, _another_key])
def test_one_private_key_in_two_files_is_not_two_of_two(
    repo: Repository, swap: Callable[[list[Path]], None]
) -> None:
    """Counted by its name alone it would give a root that devices refuse, for ever."""
    files = key_files(repo)
    swap(files)
    files[2].unlink()
    before = repo.roles.root_bytes()
    again = Repository(repo.path)
    with pytest.raises(KeyUnavailable, match="expected 2 of 3 keys to sign, got 1"):
        ceremonies.rotate_keys(again.roles, "targets", new_key(again))
    assert Repository(repo.path).roles.root_bytes() == before


def test_a_key_that_the_key_ring_calls_another_is_not_counted_as_that(repo: Repository) -> None:
    """Who may write `keys.json` says that a key of his own is one of the root's."""
    own = Ed25519PrivateKey.generate()
    key_files(repo)[2].unlink()
    keyid = repo.roles.role_of("root").keyids[1]
    (repo.path / "keys/own.pem").write_bytes(own.private_bytes(*NO_SECRET))
    ring = json.loads((repo.path / "keys.json").read_text())
    ring[keyid]["uri"] = "pem:keys/own.pem"
    ring[keyid]["public"]["keyval"]["public"] = own.public_key().public_bytes_raw().hex()
    (repo.path / "keys.json").write_text(json.dumps(ring))
    before, again = repo.roles.root_bytes(), Repository(repo.path)
    with pytest.raises(KeyUnavailable, match="expected 2 of 3 keys to sign, got 1"):
        ceremonies.rotate_keys(again.roles, "targets", new_key(again))
    assert Repository(repo.path).roles.root_bytes() == before


def test_a_threshold_is_lowered_by_as_many_keys_as_it_asks_for(repo: Repository) -> None:
    for path in key_files(repo)[1:]:
        path.unlink()
    before, alone = repo.roles.root_bytes(), Repository(repo.path)
    with pytest.raises(KeyUnavailable, match="expected 2 of 3 keys to sign, got 1"):
        ceremonies.add_key(alone.roles, "root", new_key(alone), 1)
    with pytest.raises(KeyUnavailable, match="expected 2 of 3 keys to sign, got 1"):
        ceremonies.revoke_key(alone.roles, alone.ring, alone.roles.role_of("root").keyids[1], 1)
    assert Repository(repo.path).roles.root_bytes() == before


@pytest.mark.parametrize("threshold", [0, -1, -(10**9)])
def test_a_threshold_that_none_or_fewer_reach_is_refused(repo: Repository, threshold: int) -> None:
    before = repo.roles.root_bytes()
    for role in ("root", "release-clf"):
        words = ["keys", "add", str(repo.path), role, "--no-passphrase", "--threshold"]
        done = CliRunner().invoke(app, [*words, str(threshold)])
        assert done.exit_code != 0
        with pytest.raises(UsageError, match="at least one key"):
            ceremonies.add_key(repo.roles, role, new_key(repo), threshold)
    again = Repository(repo.path)
    assert again.roles.root_bytes() == before
    assert again.roles.role_of("release-clf").threshold == 1


@pytest.mark.parametrize("form", ["compressed", "named otherwise"])
def test_one_key_in_two_encodings_is_one_key(repo: Repository, form: str) -> None:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    other = pem if form == "named otherwise" else _compressed_pem(public)
    scheme = "ecdsa-sha2-nistp256" if form == "named otherwise" else None
    ceremonies.add_key(repo.roles, "root", lambda n: repo.ring.register(n, "hsm:1", pem, None))
    keys = len(repo.roles.role_of("root").keyids)
    with pytest.raises(Conflict):
        ceremonies.add_key(
            repo.roles, "root", lambda n: repo.ring.register(n, "hsm:2", other, scheme), keys + 1
        )
    assert len(repo.roles.role_of("root").keyids) == keys


def _compressed_pem(public: ec.EllipticCurvePublicKey) -> bytes:
    """Give SubjectPublicKeyInfo with the point in its short form, which OpenSSL reads as well."""
    point = public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    head = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    text = base64.encodebytes(head + point).decode()
    return f"-----BEGIN PUBLIC KEY-----\n{text}-----END PUBLIC KEY-----\n".encode()


# --- at a device: roots that a thief made ---------------------------------------------------------


class Thief:
    """Has one of the root's keys, all of its metadata, and time; makes roots of his own.

    Args:
        repo: whose root it is, two of three keys of which must sign.
    """

    def __init__(self, repo: Repository) -> None:
        self.repo = repo
        self.mine, *self.others = signers(repo)
        self.own = CryptoSigner.generate_ed25519()
        self.pinned = repo.roles.root_bytes(1)
        self.root = Metadata[Root].from_bytes(self.pinned)
        self.root.signed.version = 2

    def take_over(self, threshold: int = 1) -> None:
        """Have the next root name his own key for everything."""
        for name, role in self.root.signed.roles.items():
            for keyid in list(role.keyids):
                self.root.signed.revoke_key(keyid, name)
            self.root.signed.add_key(self.own.public_key, name)
            role.threshold = threshold

    def sign(self, *by: Signer) -> None:
        """Sign the root."""
        self.root.signatures.clear()
        for signer in by:
            self.root.sign(signer, append=True)

    def is_believed(self, name: str = "2.root.json", data: bytes | None = None) -> bool:
        """Whether a device that is pinned to the first root goes on to this one."""
        notice = wire.decode(self.repo.build_notice("clf"), Notice)
        made = self.root.to_bytes() if data is None else data
        forged = msgspec.structs.replace(notice, metadata={**notice.metadata, name: made})
        try:
            verify_notice(wire.encode(forged), self.pinned)
        except RefusedRelease:
            # Who went on to his root believes nothing of ours: is it for that, or for the root?
            return self._is_followed(wire.encode(forged))
        return False  # it verifies by our keys: his root was not taken

    def _is_followed(self, forged: bytes) -> bool:
        with TemporaryDirectory() as folder:
            store = Path(folder)
            with pytest.raises(RefusedRelease):
                verify_notice(forged, self.pinned, store=store)
            kept = [Root.from_dict(json.loads(p.read_bytes())["signed"]) for p in roots_in(store)]
            pinned = Metadata[Root].from_bytes(self.pinned).signed.version
            return any(root.version > pinned for root in kept)


def roots_in(store: Path) -> Sequence[Path]:
    return [path for path in store.rglob("*root.json") if path.is_file() and not path.is_symlink()]


@pytest.fixture
def thief(repo: Repository) -> Thief:
    return Thief(repo)


def test_a_root_that_two_of_three_signed_is_followed(thief: Thief) -> None:
    """What the others show is a refusal for want of keys, and not for the way it is made."""
    thief.take_over()
    thief.sign(thief.mine, thief.others[0], thief.own)
    assert thief.is_believed()


def _by_one(thief: Thief) -> bytes:
    thief.sign(thief.mine, thief.own)
    return thief.root.to_bytes()


def _one_signature_under_two_ids(thief: Thief) -> bytes:
    thief.sign(thief.mine, thief.own)
    signature = thief.root.signatures[thief.mine.public_key.keyid].signature
    other = thief.others[0].public_key.keyid
    thief.root.signatures[other] = Signature(other, signature)
    return thief.root.to_bytes()


def _one_id_twice(thief: Thief) -> bytes:
    thief.sign(thief.mine, thief.own)
    found: dict[str, Any] = json.loads(thief.root.to_bytes())
    found["signatures"] = [*found["signatures"], *found["signatures"]]
    return json.dumps(found).encode()


def _one_key_under_two_ids(thief: Thief) -> bytes:
    """His root calls the stolen key by a second id, and the first root's count is by ids."""
    key = thief.mine.public_key
    again = Key.from_dict("0" * 64, key.to_dict())
    thief.root.signed.add_key(again, Root.type)
    thief.sign(thief.mine, thief.own)
    signature = thief.root.signatures[key.keyid].signature
    thief.root.signatures[again.keyid] = Signature(again.keyid, signature)
    return thief.root.to_bytes()


def _over_other_bytes(thief: Thief) -> bytes:
    """The signatures of the first root, which are true ones of two keys, over his."""
    first = Metadata[Root].from_bytes(thief.pinned)
    thief.root.signatures = {**first.signatures}
    thief.root.sign(thief.own, append=True)
    return thief.root.to_bytes()


def _a_lower_threshold(thief: Thief) -> bytes:
    thief.root.signed.roles[Root.type].threshold = 1
    thief.sign(thief.mine)
    return thief.root.to_bytes()


@pytest.mark.parametrize(
    "make",
    [
        _by_one,
        _one_signature_under_two_ids,
        _one_id_twice,
        _one_key_under_two_ids,
        _over_other_bytes,
        _a_lower_threshold,
    ],
)
def test_a_root_that_fewer_keys_signed_than_must_is_not_followed(
    thief: Thief, make: Callable[[Thief], bytes]
) -> None:
    if make is not _a_lower_threshold:
        thief.take_over()
    assert not thief.is_believed(data=make(thief))


@pytest.mark.parametrize("name", ["2.root.json", "3.root.json"])
def test_a_root_that_leaves_one_out_is_not_followed(thief: Thief, name: str) -> None:
    """Signed by as many as must, but the third: a root of which the second would say more."""
    thief.take_over()
    thief.root.signed.version = 3
    thief.sign(thief.mine, thief.others[0], thief.own)
    assert not thief.is_believed(name)


def test_keys_that_were_revoked_sign_no_root_for_who_saw_that(repo: Repository) -> None:
    thief = Thief(repo)
    stolen = [thief.mine, thief.others[0]]
    for signer in stolen:
        ceremonies.add_key(repo.roles, "root", new_key(repo))
        ceremonies.revoke_key(repo.roles, repo.ring, signer.public_key.keyid)
    thief.pinned = repo.roles.root_bytes()
    version = thief.root.signed.version = repo.roles.root().signed.version + 1
    thief.take_over()
    thief.sign(*stolen, thief.own)
    assert not thief.is_believed(f"{version}.root.json")
