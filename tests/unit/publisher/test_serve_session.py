"""A session with one broker: when its silence means that it is gone."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from slotcast_publisher.serve.catalog import Catalog
from slotcast_publisher.serve.notices import NoticeKind
from slotcast_publisher.serve.session import Session
from slotcast_publisher.settings import Broker
from slotcast_schemas.errors import LinkDown
from slotcast_schemas.topics import Topics


class Link:
    """A broker that answers nothing."""

    name, retains, window = "broker:1883", True, 10

    def publish(self, topic: str, data: bytes, *, retain: bool) -> int:
        return 1


def test_a_broker_that_had_nothing_to_say_is_not_gone_when_something_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr("slotcast_publisher.serve.session.time.monotonic", lambda: now[0])
    session = Session(
        Broker(url="mqtt://broker"),
        Path(),
        Topics("t"),
        Catalog({}, {}),
        lambda *_: NoticeKind.OURS,
        lambda *_, **__: None,
        random.Random(1),
    )
    link: Any = Link()
    session._heard_s = 1000.0
    now[0] += 600.0  # ten minutes of calm
    session._publish(link, "t/notice", b"")
    session._act(link)

    now[0] += 61.0
    with pytest.raises(LinkDown, match="no answer in 60 s"):
        session._act(link)
