"""A device gets what it needs, and nothing of the publisher's."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from slotcast_device.config import DeviceConfig
from slotcast_publisher.certificates.desk import open_desk
from slotcast_publisher.errors import KeyUnavailable
from slotcast_publisher.provision import provision
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Broker, Settings, save
from slotcast_publisher.trust import ceremonies
from slotcast_schemas.errors import UsageError


def with_brokers(repo: Repository, *brokers: Broker) -> Repository:
    save(repo.path, msgspec.structs.replace(repo.settings, brokers=brokers))
    return Repository(repo.path)


def test_the_configuration_says_all_that_a_device_must_know(
    repo: Repository, tmp_path: Path
) -> None:
    repo = with_brokers(repo, Broker(url="mqtt://127.0.0.1:1883", protocol="3.1.1"))
    done = provision(
        repo, "cam-1", tmp_path / "out", models=["clf", "det"], tags={"site.a": 'north "x"'}
    )
    config = tomllib.loads(done.config.read_text())
    assert config == {
        "format": 1,
        "device": "cam-1",
        "state_dir": "state",
        "root": "root.json",
        "models": ["clf", "det"],
        "prefix": repo.settings.prefix,
        "tags": {"site.a": 'north "x"'},
        "brokers": [{"url": "mqtt://127.0.0.1:1883", "protocol": "3.1.1"}],
        "policy": {"full_allowed": True},
    }


def test_a_model_that_has_no_release_beside_some_that_have_is_named(
    repo: Repository, tmp_path: Path
) -> None:
    repo = with_brokers(repo, Broker(url="mqtt://127.0.0.1:1883"))
    assert repo.store.models() == ["clf"]
    done = provision(repo, "cam-1", tmp_path / "out", models=["clf2", "clf", "birds"])
    assert done.warnings == (
        "no release of 'clf2' is here; did you mean 'clf'?",
        "no release of 'birds' is here; there are some of clf",
    )
    assert tomllib.loads(done.config.read_text())["models"] == ["clf2", "clf", "birds"]


def test_before_the_first_release_no_model_is_unknown(repo: Repository, tmp_path: Path) -> None:
    repo = with_brokers(repo, Broker(url="mqtt://127.0.0.1:1883"))
    shutil.rmtree(repo.path / "models" / "clf")
    assert provision(repo, "cam-1", tmp_path / "out", models=["digits"]).warnings == ()


@pytest.mark.parametrize(
    ("given", "on_the_device"),
    [
        (None, "/etc/slotcast/state"),
        ("state", "/etc/slotcast/state"),
        ("../data/my models", "/etc/data/my models"),
        ("/var/lib/slotcast", "/var/lib/slotcast"),
    ],
)
def test_a_state_directory_is_one_of_the_device_not_of_the_publisher(
    repo: Repository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: str | None,
    on_the_device: str,
) -> None:
    repo = with_brokers(repo, Broker(url="mqtt://b"))
    monkeypatch.chdir(tmp_path)
    provision(
        repo, "c", tmp_path / "out", models=["m"], state_dir=None if given is None else Path(given)
    )
    copied = tmp_path / "device" / "etc" / "slotcast"
    copied.parent.mkdir(parents=True)
    (tmp_path / "out").rename(copied)
    found = DeviceConfig(copied / "device.toml").state_dir.resolve()
    prefix = "" if given is not None and given.startswith("/") else str(tmp_path / "device")
    assert str(found) == prefix + on_the_device


def test_the_newest_root_is_pinned(repo: Repository, tmp_path: Path) -> None:
    repo = with_brokers(repo, Broker(url="mqtt://b"))
    ceremonies.rotate_keys(repo.roles, "targets", lambda n: repo.ring.generate(n, encrypted=False))
    done = provision(repo, "cam-1", tmp_path / "out", models=["clf"])
    assert done.root_version == 2
    assert (done.folder / "root.json").read_bytes() == repo.roles.root_bytes(2)


def test_the_publishers_password_stays_with_the_publisher(repo: Repository, tmp_path: Path) -> None:
    repo = with_brokers(repo, Broker(url="mqtt://boss:hush@b:1884"))
    done = provision(repo, "cam-1", tmp_path / "out", models=["clf"])
    assert tomllib.loads(done.config.read_text())["brokers"][0]["url"] == "mqtt://b:1884"
    for path in done.folder.rglob("*"):
        assert b"hush" not in path.read_bytes()


def test_with_tls_the_device_gets_a_certificate_of_its_own(
    repo: Repository, tmp_path: Path
) -> None:
    (repo.path / "broker-ca.pem").write_text("the broker's CA")
    ours = Broker(url="mqtts://b", ca="broker-ca.pem", certificate="pub.pem", key="pub.key")
    repo = with_brokers(repo, ours)
    done = provision(repo, "cam-1", tmp_path / "out", models=["clf"])
    entry = tomllib.loads(done.config.read_text())["brokers"][0]
    assert (entry["ca"], entry["certificate"], entry["key"]) == (
        "ca.pem",
        "device.pem",
        "device.key",
    )
    assert (done.folder / "ca.pem").read_text() == "the broker's CA"
    assert (done.folder / "device.key").stat().st_mode & 0o077 == 0
    certificate = x509.load_pem_x509_certificate((done.folder / "device.pem").read_bytes())
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert [name.value for name in names] == ["cam-1"]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_all_devices_are_of_one_ca(repo: Repository, tmp_path: Path) -> None:
    repo = with_brokers(repo, Broker(url="mqtts://b"))
    issuer = open_desk(repo.path, repo.ring).ensure_devices_authority()
    for device in ("cam-1", "cam-2"):
        done = provision(repo, device, tmp_path / device, models=["clf"])
        certificate = x509.load_pem_x509_certificate((done.folder / "device.pem").read_bytes())
        certificate.verify_directly_issued_by(issuer)


def test_the_device_ca_is_as_encrypted_as_the_other_keys(tmp_path: Path) -> None:
    made = Repository.init(
        tmp_path / "r",
        Settings(brokers=(Broker(url="mqtts://b"),)),
        encrypted=True,
        passphrase=lambda _: "correct horse",
    )
    provision(made, "cam-1", tmp_path / "out", models=["clf"])
    assert b"ENCRYPTED" in (made.path / "devices" / "ca.key").read_bytes()
    with pytest.raises(KeyUnavailable, match="wrong passphrase"):
        provision(
            Repository(made.path, passphrase=lambda _: "battery staple"),
            "cam-2",
            tmp_path / "out2",
            models=["clf"],
        )


@pytest.mark.parametrize(
    ("device", "models", "tags", "said"),
    [
        ("../cam", ["clf"], {}, "device id"),
        ("cam", [], {}, "give --model"),
        ("cam", ["CLF"], {}, "model name"),
        ("cam", ["clf"], {"bad key": "x"}, "--tag"),
    ],
)
def test_what_a_device_cannot_be_called_is_refused_before_anything_is_written(
    repo: Repository,
    tmp_path: Path,
    device: str,
    models: list[str],
    tags: dict[str, str],
    said: str,
) -> None:
    repo = with_brokers(repo, Broker(url="mqtt://b"))
    with pytest.raises(UsageError, match=said):
        provision(repo, device, tmp_path / "out", models=models, tags=tags)
    assert not (tmp_path / "out").exists()
