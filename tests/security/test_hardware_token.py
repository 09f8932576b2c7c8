"""A key that never leaves a token, a release's or a device's: PKCS#11, as HSM, TPM and card speak.

The token is SoftHSM (Debian's and Ubuntu's package `softhsm2`), reached by python-pkcs11 through
securesystemslib as any other would be; tools/test installs it where it may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib.signer import Key

from slotcast_device import cli
from slotcast_device.config import DeviceConfig
from slotcast_device.self_check import check
from slotcast_device.storage.identity import DeviceIdentity, load_own_identity
from slotcast_device.storage.os_disk import OsDisk
from slotcast_publisher.enrolment.request import read_request
from slotcast_publisher.errors import KeyUnavailable
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.trust import ceremonies
from slotcast_publisher.trust.keys import Passphrase
from slotcast_publisher.trust.notice_proof import verify_notice
from slotcast_schemas.errors import StorageFailed
from tests.support import messages as given
from tests.support import models
from tests.support.signing_devices import enrol, hearing_fleet
from tests.support.softhsm import MODULE, PIN, URI, needs_softhsm, token_with_key

pytestmark = [needs_softhsm, pytest.mark.usefixtures("quick_probes")]

OTHER_PEM = (
    ec.generate_private_key(ec.SECP256R1())
    .public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    .decode()
)


@pytest.fixture(scope="module")
def public_pem(tmp_path_factory: pytest.TempPathFactory) -> Iterator[bytes]:
    """Make a token with a key in it; give the key's public half."""
    with token_with_key(tmp_path_factory.mktemp("token")) as public:
        yield public


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(models.classifier())
    repo = Repository.init(tmp_path / "repo", encrypted=True, passphrase=_gives("correct horse"))
    _release(repo, tmp_path, "1.0")
    return tmp_path


def _gives(secret: str | None) -> Passphrase:
    return lambda _: secret


def _open(folder: Path, pin: Passphrase) -> Repository:
    return Repository(folder / "repo", passphrase=_gives("correct horse"), pin=pin)


def _release(repo: Repository, folder: Path, version: str) -> None:
    repo.build_release(ReleaseRequest(model="clf", version=version, files=(folder / "model.onnx",)))


def _on_token(repo: Repository, public_pem: bytes) -> Callable[[str], Key]:
    return lambda name: repo.ring.register(name, URI, public_pem, None)


def test_a_device_follows_to_a_key_on_a_token(folder: Path, public_pem: bytes) -> None:
    repo = _open(folder, _gives(PIN))
    first = repo.roles.root_bytes()
    ceremonies.rotate_keys(repo.roles, "release-clf", _on_token(repo, public_pem))
    _release(repo, folder, "2.0")
    repo.offer("clf", "2.0")
    assert verify_notice(repo.build_notice("clf"), first).release.version == "2.0"


@pytest.mark.parametrize(
    ("given", "said"),
    [(None, "release-clf: its token needs a PIN: set SLOTCAST_PIN"), ("0000", "PinIncorrect")],
)
def test_without_the_tokens_pin_nothing_is_signed(
    folder: Path, public_pem: bytes, given: str | None, said: str
) -> None:
    repo = _open(folder, _gives(PIN))
    ceremonies.rotate_keys(repo.roles, "release-clf", _on_token(repo, public_pem))
    with pytest.raises(KeyUnavailable, match=f"release-clf: expected 1 of 1 .*{said}"):
        _release(_open(folder, _gives(given)), folder, "2.0")


def test_a_token_is_never_tried_with_a_passphrase(folder: Path, public_pem: bytes) -> None:
    """A few wrong tries lock a token for good."""
    asked: list[str] = []

    def pin(purpose: str) -> str:
        asked.append(purpose)
        return PIN

    repo = _open(folder, pin)
    ceremonies.rotate_keys(repo.roles, "release-clf", _on_token(repo, public_pem))
    assert set(asked) == {f"key release-clf at {URI}"}


# --- a device's own key ---------------------------------------------------------------------------


@pytest.fixture
def device(tmp_path: Path, public_pem: bytes) -> Path:
    """The configuration of a device whose key is on the token."""
    (tmp_path / "root.json").write_text("{}")
    (tmp_path / "identity.pub.pem").write_bytes(public_pem)
    (tmp_path / "pin").write_text(f"{PIN}\n")
    path = tmp_path / "device.toml"
    path.write_text(
        'format = 1\ndevice = "cam-1"\nmodels = ["detector"]\n'
        '[[brokers]]\nurl = "mqtt://127.0.0.1:1"\n'
        f'[identity]\nuri = "{URI}"\nmodule = "{MODULE}"\n'
        'public_key = "identity.pub.pem"\npin_file = "pin"\n'
    )
    return path


def key_of(device: Path) -> DeviceIdentity:
    key = load_own_identity(DeviceConfig(device), OsDisk())
    assert key is not None
    return key


def test_a_devices_key_on_a_token_is_enrolled_and_signs_its_reports(
    device: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["enrol", "--config", str(device)]) == 0
    asked = read_request(capsys.readouterr().out.encode(), "request")
    key = key_of(device)
    assert (asked.device, asked.key_id) == ("cam-1", key.key_id)
    enrol(device.parent / "repo", "cam-1", key)
    with hearing_fleet(device.parent / "repo") as fleet:
        assert fleet.says(given.status(counter=1), key) is None
        assert fleet.says(given.metrics(counter=1), key) is None
        assert fleet.device()["signed"] == "yes"
    assert not (device.parent / "state" / "identity.key").exists()
    assert cli.main(["enrol", "--new-key", "--config", str(device)]) == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [("pin", "0000"), ("identity.pub.pem", "no key"), ("identity.pub.pem", OTHER_PEM)],
    ids=["wrong pin", "no public key", "another's public key"],
)
def test_a_token_that_is_no_use_is_said_and_asked_once(device: Path, name: str, text: str) -> None:
    (device.parent / name).write_text(text)
    found = next(one for one in check(DeviceConfig(device)) if one.name == "identity")
    assert not found.passed
    assert "not signed" in found.detail


def test_a_token_that_refused_is_not_asked_again(device: Path) -> None:
    key = key_of(device)
    (device.parent / "pin").unlink()
    with pytest.raises(StorageFailed):
        key.sign(b"a", b"b")
    (device.parent / "pin").write_text(PIN)
    with pytest.raises(StorageFailed, match="before"):  # it may count wrong PINs
        key.sign(b"a", b"b")
