"""What a device says, and what of it counts: lost, late, doubled and forged messages, two devices
under one id, clocks that are wrong."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from slotcast_publisher.fleet.intake.batch import Batch
from slotcast_publisher.fleet.intake.counters import LATE_MAX
from slotcast_publisher.fleet.intake.known_device import DeviceRecord
from slotcast_publisher.fleet.intake.messages import Drop, Message, read
from slotcast_publisher.fleet.intake.taking import Came, take_all
from slotcast_publisher.serve.companion import Heard
from slotcast_schemas import wire
from slotcast_schemas.limits import SAFE_INTEGER_MAX
from slotcast_schemas.messages.status import Progress
from slotcast_schemas.states import State
from slotcast_schemas.topics import Topics
from tests.support import messages as given
from tests.support.messages import sha

TOPICS = Topics("t")
NOW_S = 1_790_000_300.0


class World:
    """A fleet as a database would have it: one message after the other, each a batch."""

    def __init__(self) -> None:
        self.known: dict[str, DeviceRecord] = {}
        self.now_s = NOW_S
        self.last = Batch()

    @property
    def device(self) -> DeviceRecord:
        return self.known["cam-1"]

    def hear(self, message: Message, *, retained: bool = False) -> str | None:
        """Take a message now; gives why it changed nothing."""
        return self.hear_all([message], retained=retained)

    def hear_all(self, messages: list[Message], *, retained: bool = False) -> str | None:
        came = []
        for message in messages:
            heard = heard_of(message, retained=retained, at_s=self.now_s)
            found = read(heard, TOPICS)
            assert not isinstance(found, Drop)
            came.append(Came(found, heard))
        self.last = take_all(came, self.known, room=10)
        return next(iter(self.last.dropped), None)

    def says(self, counter: int, **changes: Any) -> str | None:
        """The device says its status, by a clock that is right."""
        self.now_s += 1
        return self.hear(given.status(counter=counter, time=int(self.now_s), **changes))

    def starts(self, session: str) -> str | None:
        """The device's software begins a connection."""
        self.now_s += 1
        return self.hear(given.presence(time=int(self.now_s), session=session))

    def counts(self, counter: int) -> str | None:
        """The device says metrics."""
        self.now_s += 1
        return self.hear(given.metrics(counter=counter, time=int(self.now_s)))

    def has_twins(self) -> bool:
        """Whether two devices were seen under the id."""
        return self.device.twins_seen_s is not None


def heard_of(message: Message, *, retained: bool = False, at_s: float = NOW_S) -> Heard:
    topic = TOPICS.device(message.device, message.KIND)
    return Heard(topic, wire.encode(message), retained, at_s, "broker")


@pytest.fixture
def world() -> World:
    return World()


# --- what is validated ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "data", "drop"),
    [
        ("t/devices/cam-1/status", b"", Drop.EMPTY),
        ("t/devices/cam-1/status", b"\xff" * 40, Drop.MALFORMED),
        ("t/devices/cam-1/status", bytes(70_000), Drop.OVERSIZED),
        ("t/devices/cam-1/status", wire.encode(given.metrics()), Drop.MALFORMED),
        ("t/devices/cam-2/status", wire.encode(given.status()), Drop.OTHER_DEVICE),
        ("t/devices/cam-1/metrics", wire.encode(given.metrics(device="x")), Drop.OTHER_DEVICE),
        ("t/devices/cam-1/order", b"x", Drop.OTHER_TOPIC),
        ("t/models/clf/notice", b"x", Drop.OTHER_TOPIC),
        ("elsewhere", b"x", Drop.OTHER_TOPIC),
    ],
)
def test_what_is_no_message_of_its_device_is_dropped_and_says_why(
    topic: str, data: bytes, drop: Drop
) -> None:
    assert read(Heard(topic, data, False, NOW_S, "b"), TOPICS) is drop


def test_a_message_that_needs_a_newer_reader_is_told_from_a_broken_one() -> None:
    data = wire.encode(given.status()).replace(b"\xa6format\x01", b"\xa6format\x02")
    assert read(Heard("t/devices/cam-1/status", data, False, NOW_S, "b"), TOPICS) is (
        Drop.UNSUPPORTED
    )


def test_there_is_room_for_so_many_devices_and_no_more() -> None:
    came = []
    for number in range(5):
        message = given.status(device=f"cam-{number}")
        came.append(Came(message, heard_of(message)))
    batch = take_all(came, {}, room=3)
    assert sorted(batch.records) == ["cam-0", "cam-1", "cam-2"]
    assert batch.dropped == {Drop.TOO_MANY_DEVICES: 2}


# --- counters ------------------------------------------------------------------------------------


def test_the_highest_counter_counts_in_whatever_order_statuses_come(world: World) -> None:
    words = ["fetching", "probing", "on_trial", "committed"]
    statuses = [given.status(counter=n, models=(said(word),)) for n, word in enumerate(words)]
    for order in itertools.permutations(statuses):
        fleet = World()
        for status in (*order, *order):
            fleet.hear(status)
        assert fleet.device.counter == 3
        assert fleet.device.models["detector"][1] == "committed"


def test_a_doubled_status_changes_nothing_and_is_counted(world: World) -> None:
    assert world.says(41) is None
    before = world.device.seen_s
    status = given.status(counter=41, time=int(world.now_s))
    world.now_s += 100
    assert world.hear(status) == Drop.REPEATED
    assert world.device.seen_s == before
    assert not world.last.records
    assert not world.has_twins()


def test_what_a_broker_had_kept_and_is_known_is_no_drop(world: World) -> None:
    assert world.hear(given.status()) is None
    assert world.hear(given.status(), retained=True) is None
    assert not world.last.records


@pytest.mark.parametrize("counter", [SAFE_INTEGER_MAX, 10**15, 10**12])
def test_a_counter_that_cannot_be_does_not_silence_the_device(world: World, counter: int) -> None:
    world.says(41)
    assert world.says(counter) == Drop.IMPOSSIBLE_COUNTER
    assert world.says(42) is None
    assert world.counts(7) is None
    assert world.counts(counter) == Drop.IMPOSSIBLE_COUNTER
    assert world.counts(8) is None


def test_a_device_whose_disk_fails_may_count_by_its_clock(world: World) -> None:
    world.says(41)
    assert world.says(int(world.now_s) * 1000) is None


def test_a_device_that_counts_microseconds_may(world: World) -> None:
    world.says(1)
    world.now_s += 3600
    assert world.says(3_601_000_000) is None


def test_metrics_count_once_each_in_any_order(world: World) -> None:
    for counter in (10, 12, 11, 9, 14):
        assert world.counts(counter) is None, counter
    for counter in (9, 10, 11, 12, 14):
        assert world.counts(counter) == Drop.REPEATED, counter
    assert world.counts(13) is None
    assert world.counts(14 + 2 * LATE_MAX) is None
    assert world.counts(14) == Drop.OLDER_COUNTER
    assert world.counts(14 + LATE_MAX) is None


# --- two devices under one id --------------------------------------------------------------------


def test_runs_that_take_turns_are_two_devices(world: World) -> None:
    world.starts("a")
    world.starts("b")
    assert not world.has_twins()  # restarted
    world.starts("a")
    assert world.has_twins()
    assert "turns" in world.device.twins_why


def test_restarts_and_reconnects_are_one_device(world: World) -> None:
    for session in ("a", "a", "b", "b", "c", "d", "e", "f", "f"):
        world.starts(session)
        world.hear(given.presence(online=False, time=int(world.now_s), session=session))
    assert not world.has_twins()


def test_the_last_will_of_an_earlier_connection_takes_nobody_offline(world: World) -> None:
    world.starts("a")
    began_s = int(world.now_s)
    world.starts("a")
    will = given.presence(online=False, time=began_s, session="a")
    assert world.hear(will) == Drop.OLDER_PRESENCE
    assert world.device.online
    will = given.presence(online=False, time=int(world.now_s), session="a")
    assert world.hear(will) is None
    assert not world.device.online


def test_what_another_broker_had_kept_takes_nobody_offline(world: World) -> None:
    world.starts("a")
    for online in (True, False):
        old = given.presence(online=online, time=int(NOW_S) - 5, session="old")
        world.hear(old, retained=True)
    assert world.device.online
    assert world.device.sessions == ("a",)


def test_a_clock_that_was_set_back_keeps_nobody_offline(world: World) -> None:
    world.starts("a")
    assert world.hear(given.presence(time=1000, session="b")) is None
    assert world.device.online
    assert world.hear(given.presence(time=1000, session="b", online=False)) is None
    assert not world.device.online


def test_one_counter_with_two_contents_is_two_devices(world: World) -> None:
    world.says(41)
    assert world.says(41, clock="behind") == Drop.CONTRADICTING
    assert world.has_twins()
    assert world.device.counter == 41


def test_a_counter_that_goes_back_without_a_new_start_is_two_devices(world: World) -> None:
    world.starts("a")
    world.says(5000)
    assert world.says(17) == Drop.OLDER_COUNTER
    assert world.has_twins()
    assert world.device.counter == 5000


def test_a_late_status_is_no_second_device(world: World) -> None:
    world.starts("a")
    world.says(5000)
    late = given.status(counter=4999, time=int(world.now_s) - 1)
    assert world.hear(late) == Drop.OLDER_COUNTER
    assert not world.has_twins()


def test_a_device_that_lost_its_state_is_believed_from_its_beginning(world: World) -> None:
    world.starts("a")
    world.says(5000)
    world.counts(300)
    world.starts("b")
    assert world.says(1) is None
    assert world.device.counter == 1
    assert world.device.began_anew_s == world.now_s
    assert world.counts(1) is None
    assert world.last.metrics[0].era == 1
    assert not world.has_twins()


def test_a_second_device_does_not_pass_for_one_that_lost_its_state(world: World) -> None:
    world.starts("a")
    world.says(5000)
    world.starts("b")
    assert world.says(1) is None  # nobody can know yet
    world.starts("a")
    assert world.has_twins()
    assert world.says(5001) is None
    world.starts("b")
    assert world.says(2) == Drop.OLDER_COUNTER
    assert world.device.counter == 5001


# --- clocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("off_s", "retained", "expected"),
    [
        (0, False, 0),
        (299, False, 0),
        (-299, False, 0),
        (3600, False, 3600),
        (-86_400, False, -86_400),
        (3600, True, 3600),
        (-86_400, True, None),
        (-10, True, 0),
    ],
)
def test_a_clock_that_is_off_is_kept_with_both_times(
    world: World, off_s: int, retained: bool, expected: int | None
) -> None:
    status = given.status(time=int(NOW_S) + off_s)
    world.hear(status, retained=retained)
    heard = world.last.statuses["cam-1"]
    assert heard.clock_off_s == expected
    assert heard.status.time == NOW_S + off_s
    assert heard.heard_s == (None if retained else NOW_S)


def test_a_device_is_seen_by_our_clock_and_never_in_the_future(world: World) -> None:
    world.hear(given.status(time=int(NOW_S) + 10**6))
    assert world.device.seen_s == NOW_S
    other = World()
    other.hear(given.status(time=int(NOW_S) + 10**6), retained=True)
    assert other.device.seen_s == NOW_S
    early = World()
    early.hear(given.status(time=int(NOW_S) - 500), retained=True)
    assert early.device.seen_s == NOW_S - 500


def test_what_is_said_now_counts_also_after_our_clock_was_set_back(world: World) -> None:
    world.hear(given.status(counter=1))
    world.now_s -= 90_000
    world.hear(given.status(counter=2))
    assert world.device.seen_s == world.now_s


# --- what happened -------------------------------------------------------------------------------


def said(reason: str, **changes: Any) -> Any:
    return given.model_status(reason=reason, **changes)


def test_each_step_is_history_and_progress_is_not(world: World) -> None:
    far = Progress(payload=sha("payload"), codec="full+zstd", size_bytes=9, verified_bytes=9)
    world.hear_all(
        [
            given.status(counter=1, models=(said("fetching"),)),
            given.status(counter=2, models=(said("fetching", progress=far),)),
            given.status(counter=3, models=(said("probing", state=State.VERIFIED),)),
            given.status(counter=4, models=(said("too_slow", state=State.FAILED),)),
        ]
    )
    assert [step.status.reason for step in world.last.happened] == [
        "fetching",
        "probing",
        "too_slow",
    ]
    assert world.last.statuses["cam-1"].status.counter == 4
    world.says(5, models=(said("too_slow", state=State.FAILED),))
    assert not world.last.happened


def test_a_model_that_a_device_has_no_more_is_gone(world: World) -> None:
    world.says(1, models=(said("fetching"), said("idle", model="other")))
    world.says(2, models=(said("fetching"),))
    assert world.last.gone == {("cam-1", "other")}
    world.hear_all(
        [
            given.status(counter=3, models=()),
            given.status(counter=4, models=(said("fetching"),)),
        ]
    )
    assert not world.last.gone


def test_what_a_payload_spares_is_kept_until_another_release_is_wanted(world: World) -> None:
    spared = Progress(
        payload=sha("p"), codec="delta+v1", size_bytes=9, verified_bytes=9, saved_bytes=700
    )
    world.says(1, models=(said("fetching", progress=spared),))
    assert world.last.statuses["cam-1"].saved_bytes == {"detector": 700}
    world.says(2, models=(said("committed", progress=None),))
    assert world.last.statuses["cam-1"].saved_bytes == {}
    world.says(3, models=(said("committed", progress=None, target=None),))
    assert world.last.statuses["cam-1"].saved_bytes == {"detector": 0}
