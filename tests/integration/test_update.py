"""A whole update through a real Mosquitto: taken, cut, disturbed, paused, canceled, reported."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from slotcast_device.core.waits import Waits
from slotcast_device.exit_codes import ENDED_OTHERWISE, NO_BROKER, OK, USAGE
from slotcast_publisher.notice import OfferWanted
from slotcast_schemas.messages.offer import Group
from slotcast_schemas.states import State
from slotcast_schemas.topics import DEFAULT_PREFIX
from tests.support.brokers import Broker, mosquitto
from tests.support.fleet import Device, Observer, Publisher, model_bytes
from tests.support.fleet_fixtures import behind, new_prefix, serves
from tests.support.packed_once import PackedOnce
from tests.support.ports import free_ports
from tests.support.proxy import Packet, Plan, Proxy

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]


@pytest.fixture
def device(publisher: Publisher, tmp_path: Path) -> Device:
    """A device that talks to the broker directly."""
    return publisher.provision("cam-1", tmp_path / "cam-1", tags={"site": "north"})


def modest(device: Device) -> Device:
    """Have a device ask for little at once, so that a notice need not queue behind chunks."""
    device.change("full_allowed = true", "full_allowed = true\ncredit_max_chunks = 8")
    return device


# --- the main path --------------------------------------------------------------------------------


def test_a_device_takes_v1_and_then_v2_and_says_so(
    publisher: Publisher, device: Device, broker: Broker
) -> None:
    publisher.publish("clf", "1")
    with (
        Observer(broker.url, publisher.topics, "cam-1") as observer,
        device.running(),
    ):
        observer.wait_for_presence(online=True)
        observer.wait_for_state("clf", State.COMMITTED, "1")
        assert serves(device, 1)
        publisher.publish("clf", "2")
        status = observer.wait_for_state("clf", State.COMMITTED, "2")
        assert serves(device, 2)
    assert status.floor == 2
    assert status.active is not None
    assert status.standby is not None
    assert (status.active.version, status.standby.version) == ("2", "1")
    states = [m.state for m in observer.of("clf") if m.target and m.target.version == "2"]
    order = [state for state, _ in itertools.groupby(states)]
    assert order[0] is State.DOWNLOADING
    assert order[-2:] == [State.TRIAL, State.COMMITTED]
    counters = [status.counter for status in observer.statuses]
    assert counters == sorted(set(counters))


def test_a_device_that_vanishes_is_offline_by_its_last_will(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    with Proxy((broker.host, broker.port)) as proxy:
        device = behind(proxy, publisher, tmp_path / "cam-1")
        with Observer(broker.url, publisher.topics, "cam-1") as observer:
            with device.running():
                observer.wait_for_presence(online=True)
                proxy.refuse()
                proxy.sever()
                observer.wait_for_presence(online=False)
                proxy.accept()
                observer.wait_for_presence(online=True)
            observer.wait_for_presence(online=False)  # it said goodbye


def test_the_status_is_kept_at_the_broker_for_who_comes_later(
    publisher: Publisher, device: Device, broker: Broker
) -> None:
    publisher.publish("clf", "1")
    device.run_once()
    with Observer(broker.url, publisher.topics, "cam-1") as late:
        status = late.wait_for_state("clf", State.COMMITTED)
    assert status.active is not None
    assert [f.path for f in status.active.files] == ["model.onnx"]


def test_progress_is_published_while_chunks_come(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    publisher.waits = Waits(progress_every_s=0.05)
    publisher.publish("clf", "1")
    with (
        Proxy((broker.host, broker.port), Plan(down_bits_per_s=8e6)) as proxy,
        Observer(broker.url, publisher.topics, "cam-1") as observer,
    ):
        device = behind(proxy, publisher, tmp_path / "cam-1")
        with device.running():
            status = observer.wait_for(
                "clf", lambda m: m.progress is not None and m.progress.verified_bytes > 300_000
            )
            observer.wait_for_state("clf", State.COMMITTED)
    assert status.progress is not None
    assert status.progress.verified_bytes < status.progress.size_bytes
    assert status.progress.codec == "full+zstd"


# --- brokers and protocols ------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_either_protocol_carries_the_same_update(
    publisher: Publisher, device: Device, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "slotcast.device")
    publisher.publish("clf", "1")
    device.change('protocol = "auto"', f'protocol = "{protocol}"')
    assert device.run_once().state is State.COMMITTED
    assert f"(MQTT {protocol})" in caplog.text


def test_a_broker_that_hangs_up_on_mqtt_5_is_asked_in_3_1_1(
    publisher: Publisher, broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "slotcast.device")
    publisher.publish("clf", "1")

    def hang_up(way: str, packet: Packet) -> None:
        # The protocol level follows the six bytes of "MQTT" in the CONNECT (3.1.2.2).
        if packet.name == "CONNECT" and b"MQTT\x05" in packet.raw[:16]:
            raise ConnectionResetError

    with Proxy((broker.host, broker.port), Plan(tap=hang_up)) as proxy:
        device = behind(proxy, publisher, tmp_path / "cam-1")
        assert device.run_once().state is State.COMMITTED
    assert "(MQTT 3.1.1)" in caplog.text


def test_tls_with_a_client_certificate_at_the_production_broker(
    catalogue: Publisher, production_broker: Broker, tmp_path: Path
) -> None:
    certificates = production_broker.certificates
    assert certificates is not None
    owner = certificates.publisher()
    settings = certificates.publisher_settings(production_broker.publisher_url)
    # The shipped ACL names the default prefix.
    publisher = catalogue.copy(tmp_path / "repo", settings, prefix=DEFAULT_PREFIX)
    # The broker trusts the CA of devices; provisioning signs with it.
    certificates.give_devices_authority(publisher.path)
    publisher.publish("clf", "1")
    device = publisher.provision("cam-tls", tmp_path / "cam-tls", production_broker.url)
    context = certificates.context(owner)
    url = production_broker.publisher_url
    with Observer(url, publisher.topics, "cam-tls", tls=context) as observer:
        assert device.run_once().state is State.COMMITTED
        observer.wait_for_state("clf", State.COMMITTED)
        observer.wait_for_presence(online=False)
    assert serves(device, 1)


@pytest.fixture(scope="module")
def guarded_broker() -> Iterator[Broker]:
    """A Mosquitto that knows one user, `cam`, and its password."""
    users = f"cam:{mosquitto_hash('s3cret/word')}\n".encode()
    with mosquitto(
        extra=["password_file /mosquitto/config/users"],
        extra_files={"config/users": users},
    ) as running:
        yield running


def mosquitto_hash(password: str) -> str:
    """Hash a password as mosquitto_passwd does: PBKDF2 with SHA-512, `$7$rounds$salt$hash`."""
    salt = b"twelve bytes"
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    return f"$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def test_user_and_password_of_the_address_are_given_to_the_broker(
    catalogue: Publisher, guarded_broker: Broker, tmp_path: Path
) -> None:
    at = f"{guarded_broker.host}:{guarded_broker.port}"
    publisher = catalogue.copy(tmp_path / "repo", f"mqtt://{at}", prefix=new_prefix())
    publisher.publish("clf", "1")
    device = publisher.provision("cam-1", tmp_path / "cam-1", f"mqtt://cam:s3cret%2Fword@{at}")
    assert device.run_once().state is State.COMMITTED


def test_a_wrong_password_is_said_and_not_shown(
    catalogue: Publisher, guarded_broker: Broker, tmp_path: Path
) -> None:
    at = f"{guarded_broker.host}:{guarded_broker.port}"
    publisher = catalogue.copy(tmp_path / "repo", f"mqtt://{at}", prefix=new_prefix())
    device = publisher.provision("cam-1", tmp_path / "cam-1", f"mqtt://cam:wr0ng@{at}")
    process = device.spawn("--once", "--timeout", "1.5")
    assert process.wait() == NO_BROKER
    assert "broker_refused" in process.stderr
    assert "wr0ng" not in process.stderr


# --- what the publisher decides -------------------------------------------------------------------


def test_a_paused_offer_waits_and_an_active_one_begins(
    publisher: Publisher, device: Device, broker: Broker
) -> None:
    publisher.publish("clf", "1", OfferWanted(state="paused"))
    with Observer(broker.url, publisher.topics, "cam-1") as observer, device.running():
        waiting = observer.wait_for_state("clf", State.QUEUED, "1")
        assert waiting.reason == "paused"
        assert waiting.target is not None
        assert waiting.target.group == "everyone"
        publisher.publish("clf", "1")
        observer.wait_for_state("clf", State.COMMITTED, "1")


def test_a_pause_in_mid_transfer_stops_it_and_what_came_is_kept(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    publisher.publish("clf", "1")
    with (
        Proxy((broker.host, broker.port), Plan(stall_at_bytes=200_000)) as proxy,
        Observer(broker.url, publisher.topics, "cam-1") as observer,
    ):
        device = modest(behind(proxy, publisher, tmp_path / "cam-1"))
        with device.running() as agent:
            proxy.wait_for(lambda c: c.down_bytes >= 200_000)
            publisher.publish("clf", "1", OfferWanted(state="paused"))
            proxy.resume()
            observer.wait_for_reason("clf", "paused")
            assert agent.cores[0].transfer is None
            publisher.publish("clf", "1")
            observer.wait_for_state("clf", State.COMMITTED)
        assert proxy.counters.down_bytes < 1.3 * len(model_bytes(1))


def test_a_cancel_in_mid_transfer_leaves_the_old_release_serving(
    publisher: Publisher, device: Device, broker: Broker
) -> None:
    publisher.publish("clf", "1")
    assert device.run_once().state is State.COMMITTED
    with (
        Proxy((broker.host, broker.port), Plan(stall_at_bytes=200_000)) as proxy,
        Observer(broker.url, publisher.topics, "cam-1") as observer,
    ):
        modest(device).change(f":{broker.port}", f":{proxy.port}")
        with device.running():
            publisher.publish("clf", "2")
            proxy.wait_for(lambda c: c.down_bytes >= 200_000)
            publisher.withdraw("clf")
            proxy.resume()
            status = observer.wait_for_state("clf", State.CANCELED)
    assert status.active is not None
    assert status.active.version == "1"
    assert serves(device, 1)
    assert not (device.folder() / "incoming").exists()


def test_an_offer_for_other_devices_is_not_taken(publisher: Publisher, device: Device) -> None:
    publisher.publish(
        "clf", "1", OfferWanted(groups=(Group(name="south", tags={"site": "south"}),))
    )
    status = device.run_once()
    assert (status.state, status.reason) == (State.IDLE, "not_in_group")
    assert not device.current().exists()
    publisher.publish(
        "clf", "1", OfferWanted(groups=(Group(name="north", tags={"site": "north"}),))
    )
    assert device.run_once().state is State.COMMITTED


def test_going_back_on_purpose_costs_no_download(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    with Proxy((broker.host, broker.port)) as proxy:
        device = behind(proxy, publisher, tmp_path / "cam-1")
        for version in ("1", "2"):
            publisher.publish("clf", version)
            assert device.run_once().state is State.COMMITTED
        publisher.release("clf", "4", same_as="1")
        publisher.publish("clf", "4")
        before = proxy.counters.down_bytes
        status = device.run_once()
        assert proxy.counters.down_bytes - before < 20_000  # a notice or two
    assert status.active is not None
    assert (status.active.version, status.floor) == ("4", 4)
    assert serves(device, 1)


# --- several files, several models ----------------------------------------------------------------


def test_labels_that_did_not_change_are_not_fetched_again(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    labels = random.Random(1).randbytes(300_000)
    for number in (1, 2):
        files = {"model.onnx": model_bytes(number, 1 << 18), "labels/names.bin": labels}
        publisher.release("multi", str(number), files, builders=(PackedOnce(),))
    with Proxy((broker.host, broker.port)) as proxy:
        device = publisher.provision(
            "cam-1", tmp_path / "cam-1", f"mqtt://127.0.0.1:{proxy.port}", models=["multi"]
        )
        publisher.publish("multi", "1")
        assert device.run_once().state is State.COMMITTED
        before = proxy.counters.down_bytes
        publisher.publish("multi", "2")
        assert device.run_once().state is State.COMMITTED
        assert proxy.counters.down_bytes - before < len(model_bytes(2, 1 << 18)) + 50_000
    assert device.current("multi", "labels/names.bin").read_bytes() == labels
    assert device.current("multi").read_bytes() == model_bytes(2, 1 << 18)


def test_two_models_on_one_device_do_not_stand_in_each_others_way(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    publisher.release("det", "1", {"model.onnx": model_bytes(9, 1 << 18)})
    device = publisher.provision("cam-1", tmp_path / "cam-1", models=["clf", "det"])
    publisher.publish("clf", "1")
    publisher.publish("det", "1")
    with Observer(broker.url, publisher.topics, "cam-1") as observer:
        assert device.spawn("--once", "--timeout", "60").wait() == OK
        observer.wait_for_state("clf", State.COMMITTED)
        observer.wait_for_state("det", State.COMMITTED)
    assert serves(device, 1)
    assert device.current("det").read_bytes() == model_bytes(9, 1 << 18)


# --- the command line -----------------------------------------------------------------------------


def test_once_says_by_its_exit_code_how_it_ended(
    publisher: Publisher, device: Device, broker: Broker
) -> None:
    publisher.publish("clf", "1")
    assert device.spawn("--once", "--timeout", "60").wait() == OK
    assert device.spawn("--once", "--timeout", "60").wait() == OK  # it is there already
    publisher.withdraw("clf")
    publisher.publish("clf", "2", OfferWanted(groups=(Group(name="none", percent=0),)))
    assert device.spawn("--once", "--timeout", "60").wait() == ENDED_OTHERWISE
    device.change(f":{broker.port}", f":{free_ports(1)[0]}")
    assert device.spawn("--once", "--timeout", "1").wait() == NO_BROKER
    device.change("format = 1", "format = 2")
    assert device.spawn("--once").wait() == USAGE


def test_the_status_command_tells_what_the_device_holds(
    publisher: Publisher, device: Device
) -> None:
    publisher.publish("clf", "1")
    device.run_once()
    process = device.command("status", "--json")
    assert process.wait() == OK
    said = json.loads(process.stdout)
    assert said["device"] == "cam-1"
    (model,) = said["models"]
    assert (model["state"], model["reason"], model["standby"]) == ("COMMITTED", "committed", None)
    digest = hashlib.sha256(model_bytes(1)).hexdigest()
    assert model["active"]["files"][0]["sha256"] == digest
    assert {"version", "sequence", "slot", "files"} <= set(model["active"])


def test_check_names_what_is_wrong(publisher: Publisher, device: Device, broker: Broker) -> None:
    process = device.command("check", "--json")
    assert process.wait() == OK, process.stdout
    device.change(f":{broker.port}", f":{free_ports(1)[0]}")
    process = device.command("check", "--json")
    assert process.wait() == ENDED_OTHERWISE
    failed = [finding["name"] for finding in json.loads(process.stdout) if not finding["passed"]]
    assert failed == ["broker"]
