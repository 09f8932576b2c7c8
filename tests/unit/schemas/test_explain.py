"""What is said of a value that cannot be: where it is, what is allowed, and what came."""

from __future__ import annotations

import contextlib
import functools
import re
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect

from slotcast_device.config import Config
from slotcast_schemas import explain, fields
from slotcast_schemas.errors import UsageError
from slotcast_schemas.explain import convert
from slotcast_schemas.messages import Release
from slotcast_schemas.messages.offer import Group

GOOD: dict[str, Any] = {
    "format": 1,
    "device": "cam-1",
    "models": ["clf"],
    "brokers": [{"url": "mqtt://broker"}],
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"models": ["clf", "My Model"]},
            f"models[1]: expected {fields.ALLOWED[fields.MODEL_PATTERN]}, got 'My Model'",
        ),
        ({"device": "cam 1"}, "device: expected up to 64 of A-Z, a-z, 0-9, '.', '_', '-'"),
        ({"tags": {"ok": "", "a b": ""}}, "tags: key: expected up to 64 of A-Z, a-z, 0-9"),
        ({"tags": {"ok": "", "a b": ""}}, "got 'a b'"),
        ({"tags": {"ok": "", "site": 5}}, "tags.site: expected text, got 5"),
        ({"tags": {"ok": "", "site": "x" * 129}}, "tags.site: expected at most 128 characters"),
        ({"timing": {"keepalive_s": 1}}, "timing.keepalive_s: expected a whole number of at least"),
        ({"timing": {"keepalive_s": "1"}}, "timing.keepalive_s: expected a whole number, got '1'"),
        ({"policy": {"full_allowed": "no"}}, "policy.full_allowed: expected true or false, got"),
        ({"models": []}, "models: expected at least 1 entries, got 0 entries"),
        ({"models": "clf"}, "models: expected a list, got 'clf'"),
        ({"update": ["x"]}, "update: expected a table, got 1 entries"),
        ({"colour": 1}, "the key 'colour' is not known; known here: at_rest, brokers, device"),
        ({"modles": 1}, "the key 'modles' is not known; did you mean 'models'?"),
        ({"timing": {"keepalive": 1}}, "timing: the key 'keepalive' is not known; did you mean"),
        ({"format": 2}, "format: expected one of 1, got 2"),
        (
            {"brokers": [{"url": "mqtt://b"}, {"url": "mqtt://c", "protocol": "6"}]},
            "brokers[1].protocol: expected one of 3.1.1, 5, auto, got '6'",
        ),
        ({"brokers": [{"ca": "x"}]}, "brokers[0]: expected the key 'url', which is missing"),
        ({"metrics": {"openmetrics": "a/b"}}, "metrics.openmetrics: expected a file name of"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        convert({**GOOD, **change}, Config, "device.toml")
    assert said in str(refused.value)
    assert "regex" not in str(refused.value)


@pytest.mark.parametrize("url", ["Blue9", "mqtt://cam:Blue9@" + "h" * 600])
def test_the_value_of_an_address_is_not_shown(url: str) -> None:
    with pytest.raises(UsageError, match=r"brokers\[0\].url: expected at") as refused:
        convert({**GOOD, "brokers": [{"url": url}]}, Config, "device.toml")
    assert "Blue9" not in str(refused.value)


def test_a_group_is_told_which_of_its_devices_cannot_be() -> None:
    with pytest.raises(UsageError, match=r"group 'a': ids\[1\]: expected up to 64 .* got '\.\./x'"):
        convert({"name": "a", "ids": ["ok", "../x"]}, Group, "group 'a'")


@pytest.mark.parametrize(
    "pattern", [value for name, value in vars(fields).items() if name.endswith("_PATTERN")]
)
def test_every_pattern_of_a_field_has_words(pattern: str) -> None:
    kind: Any = Annotated[str, msgspec.Meta(pattern=pattern)]
    with pytest.raises(UsageError, match=re.escape(f"x: expected {fields.ALLOWED[pattern]}, got")):
        convert("?", kind, "x")


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(Config.__struct_fields__), _JUNK, max_size=4))
def test_whatever_is_wrong_the_message_can_be_made(change: dict[str, Any]) -> None:
    with contextlib.suppress(UsageError):
        convert({**GOOD, **change}, Config, "device.toml")


def test_of_many_wrong_messages_the_type_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes milliseconds of a processor, that of a device included, and a thief sends many."""
    read: list[object] = []

    def type_info(kind: object) -> inspect.Type:
        read.append(kind)
        return inspect.type_info(kind)

    monkeypatch.setattr(explain, "_type_info", functools.cache(type_info))
    for number in range(50):
        with pytest.raises(UsageError, match="sequence"):
            convert({"sequence": f"no number {number}"}, Release, "a release")
    assert read == [Release]
