"""The notice that is kept beside a slot proves its release: for years, and it alone.

Where it is gone, what the device has seen before may prove the same.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import msgspec
import pytest

from slotcast_publisher.repository import Repository
from slotcast_publisher.trust.ceremonies import rotate_keys
from slotcast_schemas import wire
from slotcast_schemas.errors import BadSignature, RefusedRelease
from slotcast_schemas.messages import Notice
from slotcast_schemas.release_proof import prove_release
from slotcast_schemas.trust import release_target
from tests.support.fleet import Device, Publisher, model_bytes
from tests.support.fleet_fixtures import serves
from tests.support.powered_off import assert_nothing_serves, start_alone

pytestmark = pytest.mark.usefixtures("quick_probes")

YEARS_S = 20 * 365 * 86400.0


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    """Two models with a release each."""
    made = Publisher.make(tmp_path_factory.mktemp("proof") / "repo")
    for model in ("clf", "det"):
        made.release(model, "1", {"model.onnx": model_bytes(1, 1 << 16)})
    return made


def release_in(notice: bytes, model: str = "clf") -> bytes:
    return wire.decode(notice, Notice).targets[release_target(model, "1")]


def altered(data: bytes) -> bytes:
    return data.replace(b"model.onnx", b"mabel.onnx")


def test_a_kept_notice_proves_its_release_when_all_its_dates_are_over(
    signed: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    notice, root = signed.repo.offer("clf", "1"), signed.repo.roles.root_bytes()
    monkeypatch.setattr(time, "time", lambda: YEARS_S + 1.8e9)
    prove_release(release_in(notice), notice, "clf", root)


def test_it_proves_it_across_changes_of_every_key(signed: Publisher, tmp_path: Path) -> None:
    pinned = signed.repo.roles.root_bytes()
    repo = signed.copy(tmp_path / "repo", prefix="t").repo
    for role in ("root", "targets", "online"):
        rotate_keys(repo.roles, role, lambda name: repo.ring.generate(name, encrypted=False))
    notice = Repository(repo.path).offer("clf", "1")
    assert "2.root.json" in wire.decode(notice, Notice).metadata
    prove_release(release_in(notice), notice, "clf", pinned)


def test_it_proves_no_other_bytes_and_no_other_model(signed: Publisher) -> None:
    notice, root = signed.repo.offer("clf", "1"), signed.repo.roles.root_bytes()
    other = signed.repo.offer("det", "1")
    for release, kept, model in (
        (altered(release_in(notice)), notice, "clf"),
        (release_in(other, "det"), notice, "det"),
        (release_in(other, "det"), notice, "clf"),
        (release_in(notice), other, "clf"),
    ):
        with pytest.raises(BadSignature):
            prove_release(release, kept, model, root)


def test_a_notice_by_a_stranger_or_with_one_signature_changed_proves_nothing(
    signed: Publisher, tmp_path: Path
) -> None:
    stranger = Publisher.make(tmp_path / "stranger")
    stranger.release("clf", "1", {"model.onnx": model_bytes(1, 1 << 16)})
    notice, root = stranger.repo.offer("clf", "1"), signed.repo.roles.root_bytes()
    with pytest.raises(RefusedRelease):
        prove_release(release_in(notice), notice, "clf", root)
    good = signed.repo.offer("clf", "1")
    parts = wire.decode(good, Notice)
    for name, data in parts.metadata.items():
        if not name.endswith((".targets.json", ".release-clf.json")):
            continue
        broken = data.replace(b'"sig":"', b'"sig":"00', 1).replace(b'"sig": "', b'"sig": "00', 1)
        assert broken != data
        changed = msgspec.structs.replace(parts, metadata={**parts.metadata, name: broken})
        with pytest.raises(RefusedRelease):
            prove_release(release_in(good), wire.encode(changed), "clf", root)


# --- where it is gone ----------------------------------------------------------------------------


@pytest.mark.broker
@pytest.mark.timeout(300)
def test_a_slot_whose_proof_is_gone_serves_again_with_the_next_notice_and_nothing_is_fetched(
    device: Device,
) -> None:
    slot = device.current().resolve().parent.name
    proof = device.folder() / f"slots/{slot}.notice"
    kept = proof.read_bytes()
    proof.unlink()
    shutil.rmtree(device.folder() / "trust")
    shutil.rmtree(device.folder() / "provisioned")
    began_ns = (device.folder() / f"slots/{slot}/model.onnx").stat().st_ctime_ns
    device.run_once()
    assert serves(device, 1)
    assert device.current().resolve().parent.name == slot
    assert (device.folder() / f"slots/{slot}/model.onnx").stat().st_ctime_ns == began_ns
    assert wire.decode(proof.read_bytes(), Notice).targets == wire.decode(kept, Notice).targets


@pytest.mark.parametrize("changed", [(), ("targets.json",), ("release-clf.json",)])
def test_a_slot_whose_proof_alone_is_gone_is_proven_by_what_the_device_has_seen(
    device: Device, changed: tuple[str, ...]
) -> None:
    """No broker is asked; what somebody changed of it, or a pipe in its place, proves nothing."""
    slot = device.current().resolve().parent.name
    proof = device.folder() / f"slots/{slot}.notice"
    proof.unlink()
    for name in changed:
        (device.folder() / "trust" / name).unlink()
        os.mkfifo(device.folder() / "trust" / name)
    if changed:
        assert_nothing_serves(device)
        assert not proof.exists()
        return
    start_alone(device)
    assert serves(device, 1)
    release_bytes = (device.folder() / f"slots/{slot}.release").read_bytes()
    prove_release(release_bytes, proof.read_bytes(), "clf", device.config.pinned_root)
