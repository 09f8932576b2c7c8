"""`slotcast check` names what a broker lacks, who must act, and leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from slotcast_publisher.cli import app, checking, exit_code
from slotcast_publisher.delivery.broker_check import BrokerReport, check_broker
from slotcast_publisher.delivery.readback import ReadbackWaits
from slotcast_schemas.errors import BrokerRefused, LinkDown, UsageError
from slotcast_schemas.topics import Topics
from tests.support.cli_docs import documented
from tests.support.cli_runner import CliRunner
from tests.support.limited_broker import LimitedBroker, LimitedLink

AT_ONCE = ReadbackWaits(quiet_s=0, answer_s=0, patience_s=0.01, again_s=0.001)


def report(broker: LimitedBroker, chunk_size_bytes: int = 32_768) -> BrokerReport:
    return check_broker(
        "broker", broker.connect, Topics(), chunk_size_bytes=chunk_size_bytes, waits=AT_ONCE
    )


def lacks(found: BrokerReport) -> dict[str, str]:
    return {check.name: check.result for check in found.checks if check.result != "ok"}


def test_a_broker_with_all_that_is_needed_is_ready_and_left_as_it_was() -> None:
    broker = LimitedBroker(kept={"other/topic": b"theirs"})
    found = report(broker)
    assert (found.verdict, lacks(found)) == ("ready", {})
    assert found.largest_message_bytes == 127_000
    assert broker.kept == {"other/topic": b"theirs"}


LIMITS: dict[str, tuple[Callable[[], LimitedBroker], str, dict[str, str], str]] = {
    "no wildcards": (
        lambda: LimitedBroker(wildcards="refused"),
        "limited",
        {"wildcards": "limited"},
        "one by one",
    ),
    "nothing retained for wildcards": (
        lambda: LimitedBroker(wildcards="empty"),
        "limited",
        {"wildcards": "limited"},
        "nothing retained",
    ),
    "few retained messages a filter": (
        lambda: LimitedBroker(retained_cap=10),
        "limited",
        {"retained_count": "limited"},
        "brings 10 of 128",
    ),
    "one filter a SUBSCRIBE": (
        lambda: LimitedBroker(filters_max=1),
        "limited",
        {"filters": "limited"},
        "one by one",
    ),
    "few subscriptions": (
        lambda: LimitedBroker(held_max=8),
        "limited",
        {"subscriptions": "limited"},
        "may hold 8",
    ),
    "small maps": (
        lambda: LimitedBroker(packet_max_bytes=40_000),
        "limited",
        {"message_size": "limited"},
        "larger chunk_size_bytes",
    ),
    "small messages": (
        lambda: LimitedBroker(packet_max_bytes=20_000),
        "unfit",
        {"message_size": "missing"},
        "chunk_size_bytes to at most 16384",
    ),
    "large ones are dropped in silence": (
        lambda: LimitedBroker(keeps=lambda _topic, data: len(data) < 20_000),
        "unfit",
        {"message_size": "missing"},
        "chunk_size_bytes to at most 16384",
    ),
    "few retained messages in all": (
        lambda: LimitedBroker(keeps=lambda topic, _data: not topic.endswith("/120")),
        "unfit",
        {"retained_count": "missing"},
        "1 do not come back",
    ),
    "nothing is kept": (
        lambda: LimitedBroker(keeps=lambda _topic, _data: False),
        "unfit",
        {"retained": "missing", "removal": "skipped"},
        "slotcast serve",
    ),
    "it says that nothing is kept": (
        lambda: LimitedBroker(announces_no_retained=True),
        "unfit",
        {"retained": "missing", "removal": "skipped"},
        "slotcast serve",
    ),
    "the retain flag is lost": (
        lambda: LimitedBroker(flags=False),
        "unfit",
        {"retained": "missing", "removal": "skipped"},
        "without the retain flag",
    ),
    "no right to read": (
        lambda: LimitedBroker(may_read=False),
        "unfit",
        {"messages": "missing"},
        "the right to read and write",
    ),
    "no right to write": (
        lambda: LimitedBroker(may_write=False),
        "unfit",
        {"messages": "missing"},
        "the right to read and write",
    ),
    "no right to write notices": (
        lambda: LimitedBroker(keeps=lambda topic, _data: not topic.endswith("/notice")),
        "unfit",
        {"notice": "missing"},
        "/notice cannot be written",
    ),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_each_lack_is_named_with_who_must_act(limit: str) -> None:
    make, verdict, expected, said = LIMITS[limit]
    found = report(make())
    assert (found.verdict, lacks(found)) == (verdict, expected)
    told = [c.detail + " " + c.act for c in found.checks if c.result in {"limited", "missing"}]
    assert any(said in line for line in told), told
    assert all(c.who for c in found.checks if c.result == "missing")


def test_smaller_chunks_make_do_with_smaller_messages() -> None:
    assert report(LimitedBroker(packet_max_bytes=20_000), 16_000).verdict == "limited"


def test_a_broker_that_is_not_there_says_so_and_ends_with_3() -> None:
    result = CliRunner().invoke(app, ["check", "--broker", "mqtt://127.0.0.1:1", "--json"])
    assert isinstance(result.exception, BrokerRefused)
    assert exit_code(result.exception) == 3
    fields = json.loads(result.stdout)
    assert set(fields) == documented("check")
    (found,) = fields["brokers"]
    assert (found["verdict"], [c["name"] for c in found["checks"]]) == ("unfit", ["connection"])


def test_the_command_takes_a_repositorys_brokers_prefix_and_chunk_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = LimitedBroker(packet_max_bytes=20_000)
    monkeypatch.setattr(checking, "open_link", lambda *_args, **_more: broker.connect())
    monkeypatch.setattr(checking, "WAITS", AT_ONCE)
    init = ["init", str(tmp_path / "r"), "--broker", "mqtt://one", "--no-passphrase"]
    CliRunner().invoke(app, [*init, "--prefix", "here", "--chunk-size", "4096"])
    result = CliRunner().invoke(app, ["check", str(tmp_path / "r")], catch_exceptions=False)
    assert "one:1883: limited" in result.stdout
    assert all(name.startswith("here/") for name in broker.asked)
    assert isinstance(CliRunner().invoke(app, ["check"]).exception, UsageError)


def test_a_link_that_dies_in_a_trial_is_what_the_trial_found() -> None:
    broker = LimitedBroker()
    calls = iter(range(1000))

    def connect() -> AbstractContextManager[LimitedLink]:
        if next(calls) >= 3:
            raise LinkDown("broker: gone")
        return broker.connect()

    found = check_broker("broker", connect, Topics(), chunk_size_bytes=32_768, waits=AT_ONCE)
    assert found.verdict == "unfit"
    assert any("gone" in check.detail for check in found.checks)
