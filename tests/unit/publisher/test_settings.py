"""Settings survive writing and reading, and say what is wrong with them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from slotcast_publisher import settings
from slotcast_publisher.errors import NotFound
from slotcast_publisher.settings import Broker, Expiry, Settings
from slotcast_schemas.errors import UsageError


def test_settings_survive_writing_and_reading(tmp_path: Path) -> None:
    given = Settings(
        prefix="fleet/north",
        chunk_size_bytes=16384,
        brokers=(
            Broker(url="mqtts://me:p%40ss@[::1]:8884", ca="ca.pem", certificate="a", key="b"),
            Broker(url="mqtt://other", protocol="3.1.1"),
        ),
        expiry=Expiry(timestamp_days=0.5),
    )
    settings.save(tmp_path, given)
    assert settings.load(tmp_path) == given
    assert (tmp_path / "slotcast.toml").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("format = 2", "format"),
        ("colour = 'red'", "colour"),
        ("chunk_size_bytes = 500000", "chunk_size_bytes"),
        ("[[brokers]]\nurl = 'http://x'", r"slotcast.toml: brokers\[0\].url: expected mqtt://"),
        ("prefix = '#'", "prefix"),
        ("[expiry]\ntimestamp_days = 0", "timestamp_days"),
        ("= 1", "Invalid"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "slotcast.toml").write_text(text)
    with pytest.raises(UsageError, match=said):
        settings.load(tmp_path)


def test_no_repository_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="slotcast init"):
        settings.load(tmp_path)


def test_settings_of_another_user_say_as_whom_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(settings, "read_regular", refuse)
    with pytest.raises(UsageError, match=r"slotcast\.toml may not be read .* run this as the user"):
        settings.load(tmp_path)


def test_every_kind_of_value_is_toml() -> None:
    fields = {
        "text": 'a "quoted" \\ line\nand ü \x7f',
        "list": ["a", "b"],
        "flag": True,
        "none": None,
        "table": {"odd key": "v", "n": 1.5},
        "tables": [{"a": 1}, {"a": 2}],
    }
    expected = {key: value for key, value in fields.items() if value is not None}
    assert tomllib.loads(settings.to_toml(fields)) == expected
