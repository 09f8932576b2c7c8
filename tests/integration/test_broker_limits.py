"""Brokers that allow less: an update finishes all the same, or says why it cannot."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from slotcast_device.core.waits import Waits
from slotcast_device.exit_codes import ENDED_OTHERWISE, OK
from slotcast_device.storage.broker_book import BrokerBook
from slotcast_device.storage.os_disk import OsDisk
from slotcast_publisher.settings import Settings
from slotcast_schemas.states import State
from tests.support.broker_rules import Rules
from tests.support.brokers import Broker, mosquitto
from tests.support.fleet import Device, Observer, Publisher, model_bytes
from tests.support.fleet_fixtures import new_prefix
from tests.support.limiting_proxy import LimitingProxy
from tests.support.proxy import Proxy
from tests.support.waiting import WAIT_S

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]


SHORT: Final = Waits(first_wait_s=0.5)
"""Devices ask again soon for what does not come: these brokers let much of it not come."""


@contextmanager
def met(
    publisher: Publisher, broker: Broker, folder: Path, rules: Rules
) -> Iterator[tuple[Device, LimitingProxy]]:
    """Give a device that meets the broker with these rules."""
    publisher.waits = SHORT
    with LimitingProxy((broker.host, broker.port), rules) as proxy:
        yield publisher.provision("cam-1", folder / "cam-1", proxy.url), proxy


FINISHES = {
    "wildcards refused": Rules(wildcards="refused"),
    "wildcards refused, 3.1.1": Rules(wildcards="refused", version="refused"),
    "wildcards unavailable": Rules(wildcards="announced"),
    "nothing kept for a wildcard": Rules(wildcards="ignored"),
    "1 retained message a filter": Rules(retained_per_filter=1),
    "1 subscription": Rules(subscriptions_max=1),
    "3 subscriptions, 3.1.1": Rules(subscriptions_max=3, version="refused"),
    "1 filter in a SUBSCRIBE": Rules(filters_max=1, wildcards="announced"),
    "hangs up on a status": Rules(publishing_closes="/status$"),
}


@pytest.mark.parametrize("name", FINISHES)
def test_what_mqtt_allows_finishes_and_is_known_the_next_time(
    publisher: Publisher, broker: Broker, tmp_path: Path, name: str
) -> None:
    publisher.publish("clf", "1")
    with met(publisher, broker, tmp_path, FINISHES[name]) as (device, proxy):
        assert device.run_once().state is State.COMMITTED
        met_before = dict(proxy.counts)
        publisher.publish("clf", "2")
        status = device.run_once()
        assert status.state is State.COMMITTED
        assert status.active is not None
        assert status.active.version == "2"
        lost = {word for word in proxy.counts if word.startswith(("lost", "filters refused"))}
        if name != "3 subscriptions, 3.1.1":  # what was held then is known, not the quota
            assert {word: proxy.counts[word] for word in lost} == {
                word: met_before.get(word, 0) for word in lost
            }


LIMIT_BYTES = 12_000
"""Of packets: above a notice, below a chunk of `large_chunks`."""


@pytest.fixture(scope="module")
def large_chunks(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    """A repository whose chunks are larger than its notices."""
    settings = Settings(chunk_size_bytes=32_768)
    publisher = Publisher.make(tmp_path_factory.mktemp("large") / "repo", settings=settings)
    publisher.release("clf", "1", {"model.onnx": model_bytes(1)})
    return publisher


SAYS_WHY = {
    "may not read payloads": (Rules(refused="/payloads/"), "broker_refused", "/payloads/"),
    "may not read payloads, 3.1.1": (
        Rules(refused="/payloads/", version="refused"),
        "broker_refused",
        "/payloads/",
    ),
    "packets below a chunk": (
        Rules(packet_max_bytes=LIMIT_BYTES),
        "packet_limit",
        f"{LIMIT_BYTES} bytes",
    ),
    "packets below a chunk, not said": (
        Rules(packet_max_bytes=LIMIT_BYTES, says_nothing=True),
        "stalled",
        "perhaps the broker's packet limit",
    ),
    "nothing is kept and nobody serves": (
        Rules(retain="announced"),
        "stalled",
        "`slotcast serve` must run",
    ),
}


@pytest.mark.parametrize("name", SAYS_WHY)
def test_what_cannot_finish_says_why_in_status_and_log(
    large_chunks: Publisher,
    broker: Broker,
    tmp_path: Path,
    name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rules, reason, words = SAYS_WHY[name]
    caplog.set_level(logging.INFO)
    publisher = large_chunks.copy(tmp_path / "repo", broker.url, prefix=new_prefix())
    publisher.publish("clf", "1")
    with (
        met(publisher, broker, tmp_path, rules) as (device, proxy),
        Observer(broker.url, publisher.topics, "cam-1") as observer,
        device.running(),
    ):
        if rules.retain:  # so that there is a notice to begin with
            observer.wait_for_link("connected")
            notice = publisher.repo.build_notice("clf")
            observer.put(publisher.topics.notice("clf"), notice, retain=False)
        status = observer.wait_for_reason("clf", reason)
        assert words in status.detail
        assert proxy.connections <= 4, "it stays, or comes back seldom"
    assert f"{reason}: " in caplog.text
    command = device.command("status", "--json")
    assert command.wait() == OK
    (model,) = json.loads(command.stdout)["models"]
    assert (model["reason"], words in model["detail"]) == (reason, True)


def test_a_notice_that_may_not_be_read_is_asked_for_seldom_and_said(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    publisher.publish("clf", "1")
    rules = Rules(refused="/notice$")
    with (
        met(publisher, broker, tmp_path, rules) as (device, proxy),
        Observer(broker.url, publisher.topics, "cam-1") as observer,
        device.running(),
    ):
        status = observer.wait_for_reason("clf", "broker_refused")
        assert "/models/clf/notice" in status.detail
        assert proxy.connections == 1
    link = observer.statuses[-1].link
    assert link is not None
    assert link.reason == "broker_refused"


# --- which protocol ---


@pytest.mark.parametrize("how", ["refused", "hangs_up", "silent"])
def test_a_broker_of_mqtt_311_is_no_error_and_is_asked_right_at_the_next_start(
    publisher: Publisher,
    broker: Broker,
    tmp_path: Path,
    how: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    publisher.publish("clf", "1")
    rules = Rules(version=how)  # type: ignore[arg-type] # pytest's parameters are plain texts
    with met(publisher, broker, tmp_path, rules) as (device, proxy):
        if how == "silent":  # no longer than the test must; the next way may take its time, too
            with device.config_path.open("a") as file:
                file.write("connect_timeout_s = 4\n")
        assert device.run_once().state is State.COMMITTED
        assert device.run_once().state is State.COMMITTED
        assert proxy.counts["MQTT 5 turned away"] == 1
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


# --- presence ---


def test_a_device_that_hangs_up_by_itself_is_offline(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    """With two brokers, one that refuses the payloads is left; its presence must not lie."""
    with ExitStack() as stack:
        other = stack.enter_context(mosquitto("development"))
        rules = Rules(refused="/notice$")
        proxy = stack.enter_context(LimitingProxy((broker.host, broker.port), rules))
        device = publisher.provision("cam-1", tmp_path / "cam-1", proxy.url, other.url)
        observer = stack.enter_context(Observer(broker.url, publisher.topics, "cam-1"))
        with device.running():
            observer.wait_for_presence(online=False)  # the word before may be seen with it
        assert [word.online for word in observer.presences[:2]] == [True, False]


def test_a_device_whose_keep_alive_fails_is_offline(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    with Proxy((broker.host, broker.port)) as proxy:
        device = publisher.provision("cam-1", tmp_path / "d", f"mqtt://127.0.0.1:{proxy.port}")
        with Observer(broker.url, publisher.topics, "cam-1") as observer, device.running():
            observer.wait_for_presence(online=True)
            proxy.refuse()
            proxy.stall()  # it answers nothing; after 5 s the device hangs up
            observer.wait_for_presence(online=False)
            proxy.resume()


def test_a_goodbye_that_is_not_confirmed_leaves_it_to_the_last_will(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    publisher.waits = Waits(goodbye_s=0.0)
    device = publisher.provision("cam-1", tmp_path / "cam-1")
    with Observer(broker.url, publisher.topics, "cam-1") as observer:
        with device.running():
            observer.wait_for_presence(online=True)
        observer.wait_for_presence(online=False)


# --- two with one id ---


@pytest.mark.parametrize("version", ["", "refused"])
def test_two_devices_with_one_id_say_so_and_slow_down(
    publisher: Publisher, broker: Broker, tmp_path: Path, version: str
) -> None:
    publisher.publish("clf", "1")
    rules = Rules(version=version)  # type: ignore[arg-type] # pytest's parameters are plain texts
    with ExitStack() as stack:
        proxy = stack.enter_context(LimitingProxy((broker.host, broker.port), rules))
        first, twin = (
            publisher.provision("cam-1", tmp_path / name, proxy.url) for name in ("one", "two")
        )
        for device in (first, twin):
            device.change("reconnect_cap_s = 0.2", "reconnect_cap_s = 60")
        observer = stack.enter_context(Observer(broker.url, publisher.topics, "cam-1"))
        stack.enter_context(first.running(seed=1))
        stack.enter_context(twin.running(seed=2))
        observer.wait_for_link("id_in_use")
        sessions = {presence.session for presence in observer.presences}
        assert len(sessions) == 2, "who reads presences sees that there are two"
        assert proxy.connections < 60


# --- check ---


def test_check_beside_the_agent_asks_the_agent_and_not_the_broker(
    publisher: Publisher, tmp_path: Path
) -> None:
    with mosquitto("development", extra=["use_username_as_clientid true"]) as broker:
        url = f"mqtt://cam-1:x@{broker.host}:{broker.port}"
        copy = publisher.copy(tmp_path / "copy", broker.url.replace("//", "//p:x@"), prefix="c")
        device = copy.provision("cam-1", tmp_path / "cam-1", url)
        agent = device.spawn()
        try:
            with Observer(broker.url.replace("//", "//o:x@"), copy.topics, "cam-1") as observer:
                observer.wait_for_link("connected")
                before = len(observer.presences)
                for _ in range(3):
                    command = device.command("check", "--json")
                    assert command.wait() == OK, command.stdout
                assert len(observer.presences) == before
        finally:
            agent.terminate()
            agent.wait()
    said = {finding["name"]: finding["detail"] for finding in json.loads(command.stdout)}
    assert "as the running agent says: connected" in said["broker"]
    assert "link_down" not in agent.stderr


@pytest.mark.parametrize(
    ("rules", "name", "words", "is_well"),
    [
        (Rules(), "broker_chunks", "gives what it keeps for both", True),
        (Rules(wildcards="refused"), "broker_chunks", "missing: wildcards", True),
        (Rules(wildcards="ignored"), "broker_chunks", "missing: retained messages for a", True),
        (Rules(retain="stripped"), "broker_retained", "missing: what was to be retained", True),
        (Rules(retain="announced"), "broker_retained", "missing: it keeps no", True),
        (Rules(filters_max=2), "broker_filters", "missing: 8 filters at once", False),
        (Rules(refused="/notice$"), "broker_notices", "/models/clf/notice", False),
        (Rules(refused="/payloads/"), "broker_chunks", "/payloads/", False),
        (Rules(packet_max_bytes=5000), "broker_packets", "at most 5000 bytes", False),
    ],
)
def test_check_tries_what_is_needed_and_names_what_is_missing(
    publisher: Publisher,
    broker: Broker,
    tmp_path: Path,
    rules: Rules,
    name: str,
    words: str,
    is_well: bool,
) -> None:
    publisher.publish("clf", "1")
    with met(publisher, broker, tmp_path, rules) as (device, _):
        command = device.command("check", "--json")
        code = command.wait(WAIT_S)
    said = {finding["name"]: finding["detail"] for finding in json.loads(command.stdout)}
    assert words in said[name]
    assert code == (OK if is_well else ENDED_OTHERWISE), command.stdout


def test_what_was_learnt_is_in_the_book(
    publisher: Publisher, broker: Broker, tmp_path: Path
) -> None:
    publisher.publish("clf", "1")
    with met(publisher, broker, tmp_path, Rules(retained_per_filter=3)) as (device, proxy):
        assert device.run_once().state is State.COMMITTED
        book = BrokerBook(device.config, OsDisk(), 0)
        limits = book.of(f"127.0.0.1:{proxy.port}")
    assert limits.wildcard_messages_max == 3
    assert re.fullmatch("gives no retained messages, or too few.*", limits.words()[0])
