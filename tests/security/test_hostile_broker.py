"""A broker that lies in every packet type costs a device little, and is left for an honest one.

Each attack is a broker of its own, a device in a process of its own, and an honest Mosquitto that
the device finds afterwards; what it costs is bounded by `tests.support.attacked_device`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.attacked_device import Honest, attack, honest_broker
from tests.support.hostile_broker import drawn_plan
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Honest]:
    with honest_broker(tmp_path_factory.mktemp("honest")) as running:
        yield running


@pytest.mark.parametrize(
    ("lie", "protocol", "reason"),
    [
        pytest.param("publish_qos_2", "5", "protocol_violation", id="QoS 2"),
        pytest.param("publish_qos_2", "3.1.1", "protocol_violation", id="QoS 2 over 3.1.1"),
        pytest.param("publish_oversized", "5", "protocol_violation", id="oversized"),
        pytest.param("publish_oversized", "3.1.1", "", id="oversized over 3.1.1"),
        pytest.param("publish_odd_properties", "5", "", id="odd properties"),
        pytest.param("answer_odd_properties", "5", "", id="odd properties of answers"),
        pytest.param("pubrel", "5", "protocol_violation", id="a release of QoS 2"),
        pytest.param("connack_again", "5", "protocol_violation", id="a second CONNACK"),
        pytest.param("answer_oversized", "3.1.1", "protocol_violation", id="an answer of 200 kB"),
        pytest.param("publish_unsolicited", "5", "useless_traffic", id="unsolicited"),
        pytest.param("publish_duplicates", "3.1.1", "useless_traffic", id="duplicates"),
        pytest.param("publish_notices", "5", "useless_traffic", id="notices"),
        pytest.param("pingresp", "5", "useless_traffic", id="answers to no ping"),
        pytest.param("publish_false_map", "5", "stalled", id="false maps"),
        pytest.param("publish_false_chunk", "3.1.1", "chunk_corrupt", id="false chunks"),
        pytest.param("publish_dribbled", "5", "stalled", id="a byte now and then"),
    ],
)
def test_a_broker_is_left_for_what_it_does(
    honest: Honest, tmp_path: Path, lie: str, protocol: str, reason: str
) -> None:
    cost = attack(honest, tmp_path / "d", (lie,), protocol=protocol, lies_for_s=WAIT_S)
    print(lie, protocol, cost)
    assert cost.excesses() == []
    assert cost.was_left >= 1
    assert cost.broker == honest.broker.url.removeprefix("mqtt://")
    assert not reason or reason in cost.reasons


@pytest.mark.parametrize("first", range(0, 20, 5))
def test_seeds_that_draw_their_lies_keep_within_the_bounds(
    honest: Honest, tmp_path: Path, first: int
) -> None:
    for seed in range(first, first + 5):
        plan, protocol = drawn_plan(seed), ("5", "3.1.1")[seed % 2]
        cost = attack(honest, tmp_path / str(seed), plan, seed=seed, protocol=protocol)
        print(seed, plan, protocol, cost)
        assert cost.excesses() == [], f"seed {seed}: {plan} over MQTT {protocol}: {cost}"
