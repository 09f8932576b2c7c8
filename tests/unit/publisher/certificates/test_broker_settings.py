"""What is written for Mosquitto is what mosquitto/ ships."""

from __future__ import annotations

from pathlib import Path

import pytest

from slotcast_publisher.certificates import broker_settings as module
from slotcast_publisher.certificates.broker_settings import BrokerPlace, broker_settings

ROOT = Path(__file__).parents[4]
PLACE = BrokerPlace(Path("/srv/broker"), Path("/srv/data"), 1001, 1002)


@pytest.mark.parametrize("name", ["production.conf", "acl", "acl.publishers"])
def test_the_packaged_files_are_those_of_the_sources(name: str) -> None:
    packaged = Path(module.__file__).parent / "mosquitto" / name
    assert packaged.read_bytes() == (ROOT / "mosquitto" / name).read_bytes()


def test_every_path_and_port_is_of_its_place_and_both_lists_are_read() -> None:
    lines = broker_settings(PLACE, "slotcast/v1")["mosquitto.conf"].decode().splitlines()
    settings = [line.split(" ", 1) for line in lines if line and not line.startswith("#")]
    paths = [value for _, value in settings if value.startswith("/")]
    assert paths
    assert all(path.startswith(("/srv/broker/", "/srv/data/")) for path in paths)
    assert [v for k, v in settings if k == "listener"] == ["1001", "1002 127.0.0.1"]
    assert [v for k, v in settings if k == "crlfile"] == [
        "/srv/broker/devices.crl",
        "/srv/broker/publishers.crl",
    ]
    assert [v for k, v in settings if k == "require_certificate"] == ["true", "true"]


def test_the_access_files_are_of_the_repositorys_prefix() -> None:
    made = broker_settings(PLACE, "acme/models")
    rules = made["acl"].decode() + made["acl.publishers"].decode()
    assert "pattern write acme/models/devices/%u/status" in rules
    assert "topic readwrite acme/models/#" in rules
    assert "slotcast/v1" not in rules
