"""`slotcast config`: every key of slotcast.toml can be seen and set, and no password is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slotcast_publisher import settings as settings_file
from slotcast_publisher.cli import app
from slotcast_publisher.errors import NotFound
from slotcast_publisher.settings import Settings, change
from slotcast_schemas.describe import keys_of
from slotcast_schemas.errors import UsageError
from tests.support.cli_docs import documented
from tests.support.cli_runner import CliRunner

WRITTEN = """\
# Ours; ask Kim before you change it.
format = 1
prefix = "fleet/north"  # as on all devices

[[brokers]]
url = "mqtt://pub:Blue%23Harbor9@broker:1883"
"""

EVERY: dict[str, str] = {
    "format": "1",
    "prefix": "fleet/south",
    "chunk_size_bytes": "16384",
    "unused_grace_days": "0.5",
    "brokers[0].url": "mqtts://other:8884",
    "brokers[0].protocol": "3.1.1",
    "brokers[0].ca": "ca.pem",
    "brokers[0].certificate": "me.pem",
    "brokers[0].key": "me.key",
    "expiry.root_days": "10",
    "expiry.targets_days": "20.5",
    "expiry.release_days": "30",
    "expiry.offers_days": "40",
    "expiry.snapshot_days": "50",
    "expiry.timestamp_days": "1.5",
    "fleet.metrics_days": "1",
    "fleet.hours_days": "30",
    "fleet.history_days": "100",
    "fleet.devices_days": "200",
    "alarms.off": "disk_low,clock_off",
    "alarms.named_max": "5",
    "alarms.raised_per_hour_max": "6",
    "alarms.silent_s": "3600",
    "alarms.disk_free_min_bytes": "1000",
    "alarms.clock_off_max_s": "10",
    "alarms.failing_share": "0.1",
    "alarms.failing_devices_min": "3",
    "alarms.signature_left_days": "7",
    "alarms.certificate_left_days": "8",
    "alarms.support_left_days": "9",
    "alarms.webhook.url": "https://alarms.example/hook",
    "alarms.webhook.secret_file": "webhook.secret",
    "alarms.webhook.timeout_s": "5",
    "page.url": "https://fleet.example",
    "page.proxies": "127.0.0.1,10.0.0.0/24",
    "page.user_header": "X-Forwarded-User",  # needs the key above
    "serve.want_topics": "device",
    "serve.device_day_payloads": "2.5",
    "serve.claimed_day_payloads": "100",
    "serve.day_min_bytes": "1000",
    "serve.recheck_days": "0.5",
    "serve.reports": "signed",
}
SHOWN = {"alarms.webhook.url": "https://alarms.example/***"}  # whoever knows its path may post


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "slotcast.toml").write_text(WRITTEN)
    return tmp_path


def run(*words: object) -> str:
    done = CliRunner().invoke(app, ["config", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_every_key_can_be_set_and_is_read_again(folder: Path) -> None:
    assert {name.replace("[0]", "[]") for name in EVERY} == {k.name for k in keys_of(Settings)}
    for name, value in EVERY.items():
        shown = SHOWN.get(name, value)
        assert run("set", folder, name, value).strip() == shown
        assert run("get", folder, name).strip() == shown
    found = settings_file.load(folder)
    assert (found.brokers[0].protocol, found.expiry.timestamp_days) == ("3.1.1", 1.5)
    for name in reversed(EVERY):
        if name != "brokers[0].url":
            run("unset", folder, name)
    assert settings_file.load(folder) == Settings(
        brokers=(found.brokers[0].__class__(url="mqtts://other:8884"),)
    )


def test_what_people_wrote_around_it_stays(folder: Path) -> None:
    run("set", folder, "expiry.timestamp_days", 2)
    text = (folder / "slotcast.toml").read_text()
    assert text.startswith(WRITTEN)
    assert (folder / "slotcast.toml").stat().st_mode & 0o077 == 0


def test_brokers_are_added_and_taken_away(folder: Path) -> None:
    run("set", folder, "brokers[1].url", "mqtt://second")
    run("set", folder, "brokers.1.protocol", "5")
    assert [b.url for b in settings_file.load(folder).brokers][1] == "mqtt://second"
    assert settings_file.load(folder).brokers[1].protocol == "5"
    run("unset", folder, "brokers[0]")
    assert [b.url for b in settings_file.load(folder).brokers] == ["mqtt://second"]


def test_the_first_broker_can_be_added(tmp_path: Path) -> None:
    settings_file.save(tmp_path, Settings())
    run("set", tmp_path, "brokers[0].url", "mqtt://first")
    assert [b.url for b in settings_file.load(tmp_path).brokers] == ["mqtt://first"]


def test_the_way_to_the_first_broker_is_said(tmp_path: Path) -> None:
    (tmp_path / "slotcast.toml").write_text("format = 1\n")
    with pytest.raises(UsageError, match=r"such as brokers\[0\]\.url for the first$"):
        change(tmp_path, "brokers", "mqtt://h")


def test_no_password_is_shown(folder: Path) -> None:
    printed = run("list", folder) + run("list", folder, "--json")
    printed += run("get", folder, "brokers[0].url") + run("get", folder, "brokers.0.url", "--json")
    assert "Harbor9" not in printed
    assert "mqtt://***@broker:1883" in printed


def test_programs_get_what_is_documented(folder: Path) -> None:
    listed: dict[str, Any] = json.loads(run("list", folder, "--json"))
    assert set(listed["settings"][0]) == documented("config") - set(EVERY)
    limits = CliRunner().invoke(app, ["limits", "--json"], catch_exceptions=False)
    assert set(json.loads(limits.stdout)) == documented("limits")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("expiry.timestamp_dyas", "2", "the key 'timestamp_dyas' is not known; did you mean"),
        ("expiry.timestamp_days", "soon", "expiry.timestamp_days: expected a number, got 'soon'"),
        ("expiry.timestamp_days", "0", "expected a number of more than 0, got '0'"),
        ("expiry.timestamp_days", "1e9", "expected a number of at most 36500"),
        ("brokers[0].protocol", "6", "expected one of 3.1.1, 5, auto, got '6'"),
        ("brokers[0].url", "http://cam:Blue9@h", r"expected mqtt://"),
        ("brokers[7].url", "mqtt://h", "there is no key 'brokers.7.url'"),
        (
            "brokers",
            "mqtt://h",
            r"brokers is a list: name one key .* brokers\[1\]\.url",
        ),
        ("broker", "mqtt://h", r"no key 'broker': .* brokers\[0\]\.url, or"),
        ("broker[0].url", "mqtt://h", r"brokers\[1\]\.url for one more"),
        ("brokers[0]", "mqtt://h", r"brokers is a list: .* brokers\[0\]\.url"),
        ("brokers.url", "mqtt://h", r"brokers is a list: "),
        ("expiry", "5", "expiry: expected a table"),
        ("prefix.x", "5", "there is no key 'prefix.x'"),
        ("", "5", "expected a key such as"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    folder: Path, name: str, value: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        change(folder, name, value)
    assert "Blue9" not in str(refused.value)
    assert (folder / "slotcast.toml").read_text() == WRITTEN


@pytest.mark.parametrize("name", ["brokers", "broker", "brokers[0]", "brokers.url"])
def test_who_asks_for_a_list_is_told_its_keys(folder: Path, name: str) -> None:
    result = CliRunner().invoke(app, ["config", "get", str(folder), name])
    assert isinstance(result.exception, NotFound)
    assert "brokers[0].url" in str(result.exception)


def test_what_is_not_set_cannot_be_taken_away(folder: Path) -> None:
    with pytest.raises(NotFound, match="its default counts"):
        change(folder, "chunk_size_bytes", None)
    with pytest.raises(UsageError, match="url"):
        change(folder, "brokers[0].url", None)
    assert (folder / "slotcast.toml").read_text() == WRITTEN


def test_a_folder_that_is_no_repository_is_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        change(tmp_path, "prefix", "x")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_toml_is_left_as_it_is(folder: Path) -> None:
    (folder / "slotcast.toml").write_text("prefix = ")
    with pytest.raises(UsageError, match="is not TOML"):
        change(folder, "prefix", "x")


def test_brokers_that_are_written_in_one_line_can_be_changed(folder: Path) -> None:
    (folder / "slotcast.toml").write_text('brokers = [{url = "mqtt://a"}]  # one\n')
    run("set", folder, "brokers[0].protocol", "5")
    run("set", folder, "brokers[1].url", "mqtt://b")
    found = settings_file.load(folder).brokers
    assert [(b.url, b.protocol) for b in found] == [("mqtt://a", "5"), ("mqtt://b", "auto")]
    assert "# one" in (folder / "slotcast.toml").read_text()


def test_a_value_that_is_wrong_in_the_file_can_be_mended(folder: Path) -> None:
    (folder / "slotcast.toml").write_text(WRITTEN.replace("%23", "#"))
    with pytest.raises(UsageError, match="percent-encode"):
        settings_file.load(folder)
    run("set", folder, "brokers[0].url", "mqtt://broker")
    assert settings_file.load(folder).brokers[0].url == "mqtt://broker"
