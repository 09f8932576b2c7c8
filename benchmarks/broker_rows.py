"""The brokers and limits that `benchmarks.brokers` runs an update through, one row each.

A row is a broker as a device meets it, and what is to come of an update there: it finishes, or the
device says within a minute, in its status and in its log, why it cannot.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support import other_brokers
from tests.support.broker_rules import Rules
from tests.support.brokers import mosquitto
from tests.support.limiting_proxy import LimitingProxy


@dataclass(frozen=True, slots=True)
class Met:
    """A running broker: where it is published to, and the proxy that the device comes in by."""

    publisher_url: str
    proxy: LimitingProxy
    user: str = ""

    @property
    def device_url(self) -> str:
        """Where the device connects."""
        return f"mqtt://{self.user}127.0.0.1:{self.proxy.port}"


@dataclass(frozen=True, slots=True)
class Row:
    """One broker or limit.

    Attributes:
        name: what a reader knows it by.
        meet: runs it in a folder.
        reason: the word that the device is to say; empty where the update finishes.
        serves: whether `slotcast serve` runs for it, where the broker keeps nothing.
        is_quick: whether it is among those of `--quick`.
        toml: added to the device's broker.
    """

    name: str
    meet: Callable[[Path], contextlib.AbstractContextManager[Met]]
    reason: str = ""
    serves: bool = False
    is_quick: bool = False
    toml: str = ""


def _limited(rules: Rules, *lines: str) -> Callable[[Path], contextlib.AbstractContextManager[Met]]:
    """Mosquitto behind a proxy that makes it another broker.

    What was published before the limit was there is kept, and the limit is the device's; but where
    nothing is kept the publisher meets a broker that says so.
    """
    told = Rules(retain="announced") if rules.retain else Rules()

    @contextlib.contextmanager
    def meet(_folder: Path) -> Iterator[Met]:
        with (
            mosquitto("development", extra=lines) as broker,
            LimitingProxy((broker.host, broker.port), rules) as proxy,
            LimitingProxy((broker.host, broker.port), told) as for_publisher,
        ):
            yield Met(for_publisher.url, proxy)

    return meet


def _configured(*lines: str) -> Callable[[Path], contextlib.AbstractContextManager[Met]]:
    """Mosquitto itself, with these lines in its configuration."""
    return _limited(Rules(), *lines)


def _other(
    start: Callable[[Path], contextlib.AbstractContextManager[other_brokers.OtherBroker]],
) -> Callable[[Path], contextlib.AbstractContextManager[Met]]:
    @contextlib.contextmanager
    def meet(folder: Path) -> Iterator[Met]:
        with start(folder) as broker, LimitingProxy(broker.address, Rules()) as proxy:
            user, at, _ = broker.url.removeprefix("mqtt://").rpartition("@")
            yield Met(broker.url, proxy, user + at)

    return meet


_PAYLOADS: Final = r"/payloads/"
CLEAN: Final = Row("Mosquitto, no limit", _limited(Rules()), is_quick=True)
ROWS: Final = (
    CLEAN,
    # --- other brokers
    Row("RabbitMQ", _other(other_brokers.rabbitmq)),
    Row("aedes", _other(other_brokers.aedes)),
    Row("ejabberd", _other(other_brokers.ejabberd)),
    Row("NATS, one server", _other(other_brokers.nats)),
    Row("amqtt", _other(other_brokers.amqtt)),
    # --- Mosquitto with limits of its own
    Row("Mosquitto, MQTT 3.1.1 only", _limited(Rules(version="refused")), is_quick=True),
    Row("Mosquitto, max_inflight_messages 1", _configured("max_inflight_messages 1")),
    Row("Mosquitto, max_queued_messages 10", _configured("max_queued_messages 10")),
    Row("Mosquitto, max_qos 0", _configured("max_qos 0"), reason="broker_refused"),
    Row(
        "Mosquitto, retain_available false, serve",
        _configured("retain_available false"),
        serves=True,
    ),
    # --- protocols
    Row("hangs up on MQTT 5", _limited(Rules(version="hangs_up"))),
    Row("answers nothing to MQTT 5", _limited(Rules(version="silent"))),
    # --- wildcards
    Row("wildcards refused", _limited(Rules(wildcards="refused")), is_quick=True),
    Row("wildcards refused, 3.1.1", _limited(Rules(wildcards="refused", version="refused"))),
    Row("wildcards unavailable, said so", _limited(Rules(wildcards="announced"))),
    Row("nothing kept for a wildcard", _limited(Rules(wildcards="ignored")), is_quick=True),
    # --- retained messages
    Row("1 retained message a filter", _limited(Rules(retained_per_filter=1))),
    Row("5 retained messages a filter", _limited(Rules(retained_per_filter=5))),
    Row("10 retained messages a filter", _limited(Rules(retained_per_filter=10))),
    Row("20 retained messages a second", _limited(Rules(retained_per_s=20))),
    Row("the same, past that lost", _limited(Rules(retained_per_s=20, loses=True))),
    Row("retain unavailable, said so, serve", _limited(Rules(retain="announced")), serves=True),
    Row(
        "hangs up on what is retained, 3.1.1, serve",
        _limited(Rules(retain="closes", version="refused")),
        serves=True,
    ),
    Row("takes the retain flag away, serve", _limited(Rules(retain="stripped")), serves=True),
    Row(
        "retain unavailable, said so, nobody serves",
        _limited(Rules(retain="announced")),
        reason="no_notice",
    ),
    # --- subscriptions
    Row("1 subscription", _limited(Rules(subscriptions_max=1))),
    Row("2 subscriptions, 3.1.1", _limited(Rules(subscriptions_max=2, version="refused"))),
    Row("5 subscriptions", _limited(Rules(subscriptions_max=5)), is_quick=True),
    Row("1 filter in a SUBSCRIBE, else hangs up", _limited(Rules(filters_max=1))),
    Row(
        "3 filters, wildcards refused, 3.1.1",
        _limited(Rules(filters_max=3, wildcards="refused", version="refused")),
    ),
    Row("each SUBACK 1 s late, one by one", _limited(Rules(suback_delay_s=1, suback_serial=True))),
    Row("each SUBACK 3 s late, overtaken", _limited(Rules(suback_delay_s=3, suback_alone=True))),
    Row("SUBSCRIBE of blocks never answered", _limited(Rules(unanswered=r"/\+$"))),
    # --- links
    Row("each connection lasts 2 s", _limited(Rules(close_every_s=2.0))),
    # --- packets
    Row(
        "packets of 20 kB, said so",
        _limited(Rules(packet_max_bytes=20_000)),
        reason="packet_limit",
        is_quick=True,
    ),
    Row(
        "packets of 20 kB, not said",
        _limited(Rules(packet_max_bytes=20_000, says_nothing=True)),
        reason="stalled",
    ),
    # --- rights
    Row(
        "may not read payloads",
        _limited(Rules(refused=_PAYLOADS)),
        reason="broker_refused",
        is_quick=True,
    ),
    Row(
        "may not read payloads, 3.1.1",
        _limited(Rules(refused=_PAYLOADS, version="refused")),
        reason="broker_refused",
    ),
    Row(
        "may not read payloads, hangs up",
        _limited(Rules(refused=_PAYLOADS, refusal_closes=True)),
        reason="broker_refused",
    ),
    Row("may not read notices", _limited(Rules(refused="/notice$")), reason="broker_refused"),
    Row(
        "SUBSCRIBE of payloads never answered",
        _limited(Rules(unanswered=_PAYLOADS)),
        reason="broker_refused",
    ),
    Row("hangs up when a status is published", _limited(Rules(publishing_closes="/status$"))),
    Row("hangs up when a presence is published", _limited(Rules(publishing_closes="/presence$"))),
)
