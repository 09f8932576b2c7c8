"""A push sends each message once, in order of the stages, whatever happens to the link."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slotcast_publisher.delivery.link_events import Acked, Event, Lost
from slotcast_publisher.delivery.push import Item, Journal, PushTally, push
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
        self.packet_max_bytes = 1_000_000
        self.says = "Packet too large"
        self.connections = 0
        self._cuts = deque(cut_after)

    @contextlib.contextmanager
    def connect(self) -> Iterator[Channel]:
        self.connections += 1
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
        self._closes = False

    def publish(self, topic: str, data: bytes) -> int:
        if self._closes:
            raise LinkDown("broker: not connected")
        self._mid += 1
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise LinkDown("broker: gone")
        self._broker.published += 1
        if len(data) > self._broker.packet_max_bytes:
            self._closes = True
        elif topic == self._broker.refuse:
            self._queue.append(Acked(self._mid, "Not authorized"))
        else:
            self._broker.kept[topic] = data
            self._broker.order.append(topic)
            self._queue.append(Acked(self._mid, None))
        self._broker.most_in_flight = max(self._broker.most_in_flight, len(self._queue))
        return self._mid

    def next_event(self, timeout_s: float) -> Event | None:
        if self._closes and not self._queue:
            return Lost(self._broker.says)
        if self._left is not None and self._left <= 0:  # the last PUBACKs are lost with the link
            return Lost("gone")
        return self._queue.popleft() if self._queue else None


def items(count: int, journal: Journal | None, prefix: str = "c") -> list[Item]:
    def reader(n: int) -> Callable[[], bytes]:
        return lambda: b"%d" % n

    return [Item(f"{prefix}/{n}", 10, reader(n), journal, n) for n in range(count)]


def run(broker: Broker, *stages: list[Item]) -> PushTally:
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


def test_a_broker_that_is_never_reached_is_not_said_to_be_full(tmp_path: Path) -> None:
    def connect() -> contextlib.AbstractContextManager[Channel]:
        raise LinkDown("broker: cannot connect: Connection refused")

    with Journal(tmp_path / "j", 3) as journal, pytest.raises(LinkDown) as refused:
        push(connect, [items(3, journal)], sleep=lambda _: None)
    assert "0 of 30 bytes are there: check the address" in str(refused.value)
    assert "room" not in str(refused.value)


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


def sized(topic: str, size_bytes: int) -> Item:
    return Item(topic, size_bytes, lambda: bytes(size_bytes))


@pytest.mark.parametrize(
    ("says", "connections"),
    [("Packet too large", 1), ("Protocol error", 1), ("Unspecified error", 6)],
)
@pytest.mark.parametrize("window", [1, 4])
def test_a_connection_that_is_closed_at_the_first_large_message_names_the_limit(
    says: str, connections: int, window: int
) -> None:
    """MQTT 5 may say which limit was met, or `Protocol error`; 3.1.1 just hangs up.

    With a window, it may do so while the next message is being handed over.
    """
    broker = Broker(window)
    broker.packet_max_bytes, broker.says = 2000, says
    with pytest.raises(BrokerRefused, match=r"of 4096 bytes.*up to 10 bytes") as refused:
        run(broker, items(1, None), [sized(f"p/0/{n}", 4096) for n in range(3)])
    assert "set a smaller chunk_size_bytes" in str(refused.value)
    assert "run it again" not in str(refused.value)
    assert broker.connections == connections


def test_a_connection_that_ends_before_anything_is_on_its_way_hides_no_limit() -> None:
    """The last of six ended too early to tell; the five before it were closed at a message."""
    broker = Broker(window=1, cut_after=(*[9] * 5, 0))
    broker.packet_max_bytes, broker.says = 2000, "Unspecified error"
    with pytest.raises(BrokerRefused, match="set a smaller chunk_size_bytes"):
        run(broker, [sized("p/0/0", 4096)])
    away = Broker(window=1, cut_after=(9, *[0] * 50))
    away.packet_max_bytes, away.says = 2000, "Unspecified error"
    with pytest.raises(LinkDown, match="run it again"):
        run(away, [sized("p/0/0", 4096)])


def test_the_advice_fits_what_is_too_large() -> None:
    broker = Broker()
    broker.packet_max_bytes = 2000
    for topic, said in (("p/map/0", "set a larger chunk_size_bytes"), ("m/notice", "fewer")):
        with pytest.raises(BrokerRefused, match=said):
            run(broker, [sized(topic, 4096)])


def test_a_broker_that_says_that_it_keeps_nothing_is_not_asked_again() -> None:
    broker = Broker()
    broker.packet_max_bytes, broker.says = 2000, "Retain not supported"
    with pytest.raises(BrokerRefused, match="slotcast serve"):
        run(broker, [sized("p/0/0", 4096)])
    assert broker.connections == 1


def test_a_bad_link_is_not_taken_for_a_limit(tmp_path: Path) -> None:
    """What was acknowledged before was as large, so it is the link that is cut."""
    broker = Broker(window=1)
    with Journal(tmp_path / "j", 30) as journal:
        run(broker, items(5, journal))
        broker.packet_max_bytes = 0
        broker.says = "Protocol error"
        with pytest.raises(LinkDown, match="run it again"):
            run(broker, items(30, journal))


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
