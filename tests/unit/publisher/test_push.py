"""A push sends each message once, in order of the stages, whatever happens to the link."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slotcast_publisher.delivery.broker_link import Acked, Event, Lost
from slotcast_publisher.delivery.push import Item, Journal, Tally, push
from slotcast_schemas.errors import BrokerRefused, LinkDown


class Broker:
    """Keeps what it is sent; loses the link, or refuses, when told to."""

    def __init__(self, window: int = 4, cut_after: tuple[int, ...] = ()) -> None:
        self.window = window
        self.kept: dict[str, bytes] = {}
        self.order: list[str] = []
        self.published = 0
        self.most_in_flight = 0
        self.refuse: str | None = None
        self._cuts = deque(cut_after)

    @contextlib.contextmanager
    def connect(self) -> Iterator[Channel]:
        yield Channel(self, self._cuts.popleft() if self._cuts else None)


class Channel:
    name = "broker"
    protocol = "5"

    def __init__(self, broker: Broker, cut_after: int | None) -> None:
        self.window = broker.window
        self._broker = broker
        self._left = cut_after
        self._queue: deque[Event] = deque()
        self._mid = 0

    def publish(self, topic: str, data: bytes) -> int:
        self._mid += 1
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise LinkDown("broker: gone")
        self._broker.published += 1
        if topic == self._broker.refuse:
            self._queue.append(Acked(self._mid, "Not authorized"))
        else:
            self._broker.kept[topic] = data
            self._broker.order.append(topic)
            self._queue.append(Acked(self._mid, None))
        self._broker.most_in_flight = max(self._broker.most_in_flight, len(self._queue))
        return self._mid

    def next_event(self, timeout_s: float) -> Event | None:
        if self._left == 0:  # the last PUBACKs are lost with the link
            return Lost("gone")
        return self._queue.popleft() if self._queue else None


def items(count: int, journal: Journal | None, prefix: str = "c") -> list[Item]:
    def reader(n: int) -> Callable[[], bytes]:
        return lambda: b"%d" % n

    return [Item(f"{prefix}/{n}", 10, reader(n), journal, n) for n in range(count)]


def run(broker: Broker, *stages: list[Item]) -> Tally:
    return push(broker.connect, stages, sleep=lambda _: None)


def test_the_notice_is_sent_when_all_chunks_are_acknowledged(tmp_path: Path) -> None:
    broker = Broker()
    with Journal(tmp_path / "j", 50) as journal:
        tally = run(broker, items(50, journal), items(1, None, "notice"))
    assert broker.order[-1] == "notice/0"
    assert (tally.sent, tally.done_bytes) == (51, 510)


def test_never_more_on_the_way_than_the_window() -> None:
    broker = Broker(window=3)
    run(broker, items(20, None))
    assert broker.most_in_flight == 3


def test_a_second_push_sends_only_what_has_no_journal(tmp_path: Path) -> None:
    broker = Broker()
    with Journal(tmp_path / "j", 30) as journal:
        run(broker, items(30, journal), items(1, None, "notice"))
    first = broker.published
    with Journal(tmp_path / "j", 30) as journal:
        tally = run(broker, items(30, journal), items(1, None, "notice"))
    assert broker.published - first == 1
    assert (tally.sent, tally.skipped) == (1, 30)


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_link_that_is_cut_costs_at_most_a_window(tmp_path: Path, cut: int) -> None:
    broker = Broker(window=4, cut_after=(cut, cut))
    with Journal(tmp_path / "j", 30) as journal:
        tally = run(broker, items(30, journal), items(1, None, "notice"))
    assert set(broker.kept) == {f"c/{n}" for n in range(30)} | {"notice/0"}
    assert broker.order[-1] == "notice/0"
    assert 31 <= broker.published <= 31 + 2 * broker.window
    assert (tally.sent, tally.reconnects) == (31, 2)


def test_a_broker_that_stays_away_ends_the_push_with_what_is_there(tmp_path: Path) -> None:
    broker = Broker(window=1, cut_after=(10, *[0] * 50))
    with (
        Journal(tmp_path / "j", 30) as journal,
        pytest.raises(LinkDown, match="90 of 300 bytes are there: run it again"),
    ):
        run(broker, items(30, journal))
    with Journal(tmp_path / "j", 30) as journal:
        assert len(journal.acked) == 9


def test_what_the_broker_refuses_is_named(tmp_path: Path) -> None:
    broker = Broker()
    broker.refuse = "c/7"
    with (
        Journal(tmp_path / "j", 30) as journal,
        pytest.raises(BrokerRefused, match="refused c/7: Not authorized"),
    ):
        run(broker, items(30, journal))
    with Journal(tmp_path / "j", 30) as journal:
        assert 7 not in journal.acked


def test_a_torn_or_foreign_journal_is_read_as_far_as_it_makes_sense(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(b"\x02\0\0\0" + b"\xff\xff\0\0" + b"\x05\0")
    with Journal(path, 10) as journal:
        assert journal.acked == {2}
        journal.add(3)
    with Journal(path, 10) as journal:
        assert journal.acked == {2, 3}
        journal.clear()
    with Journal(path, 10) as journal:
        assert journal.acked == set()
