"""A transfer inside a model's core: how it begins, what is known of a broker, what is measured."""

from __future__ import annotations

import random

import msgspec
import pytest

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.record import UpdateRecord
from slotcast_device.core.transfer.broker_limits import Allowance
from slotcast_device.core.transfer.slow_link import SlowLimit
from slotcast_device.core.transfer.transfer_actions import StoreMap, Subscribe, Unsubscribe
from slotcast_device.core.transfer_progress import TransferWatch
from slotcast_schemas.backoff import Backoff
from slotcast_schemas.messages.release import File
from tests.support import messages
from tests.support.core_story import (
    BROKER,
    CHUNK,
    CONTENT,
    IMAGE_BYTES,
    TOPICS,
    WALL_S,
    Content,
    Story,
    notice,
    release_of,
    sealed,
    serving,
)
from tests.support.transfer_story import TransferStory

TWO = notice(2)
LONG = Content("long", chunks=16)
OF_LONG = notice(2, payloads=(LONG.payload,))


def filters(actions: list[act.Action]) -> list[str]:
    """Give the filters that are subscribed to."""
    return [name for a in actions if isinstance(a, Subscribe) for name in a.filters]


# --- the first steps ------------------------------------------------------------------------------


def test_the_map_is_stored_before_the_disk_is_looked_at() -> None:
    story = Story().begun(serving())
    story.offered(TWO)
    story.done(act.Spooled({}, is_empty=False))
    name = TOPICS.map_part(CONTENT.sha256, 0)
    assert story.tell(ev.MapArrived(CONTENT.sha256, 0, CONTENT.map)) == [
        StoreMap(0, CONTENT.map),
        Unsubscribe((name,)),
        act.ScanSpool(CONTENT.payload, {0: CONTENT.digests}),
    ]


def test_what_the_disk_holds_whole_is_built_at_once() -> None:
    story = Story().begun(serving())
    story.offered(TWO)
    story.done(act.Spooled({0: CONTENT.map}, is_empty=False))
    story.pass_s(9)
    story.done({0})
    assert isinstance(story.job, act.Build)
    assert story.words[:2] == ("DOWNLOADED", "building")
    assert story.update.since == WALL_S + 9


def test_without_a_connection_a_spool_is_opened_and_nothing_asked_until_there_is_one() -> None:
    story = Story(slow=SlowLimit(bytes_per_s=1000.0, window_s=1.0)).begun(serving())
    story.offered(TWO)
    story.tell(ev.ConnectionLost())
    actions = story.done(act.Spooled({0: CONTENT.map}, is_empty=True))
    assert filters(actions) == []
    assert story.core.deadline_s is not None
    assert story.core.deadline_s > story.mono_s + 1.0, "nor is its pace measured"
    actions = story.tell(ev.ConnectionMade(BROKER, 64))
    assert filters(actions) == [TOPICS.block(CONTENT.sha256, 0)]
    assert story.core.deadline_s == story.mono_s + 1.0


def test_a_connection_without_a_transfer_measures_nothing() -> None:
    story = Story(slow=SlowLimit(bytes_per_s=1000.0, window_s=1.0)).begun(serving())
    assert story.tell(ev.ConnectionMade(BROKER, 64)) == []
    assert story.core.deadline_s is None


def test_of_a_file_that_a_slot_holds_no_frame_is_fetched() -> None:
    labels = File(path="labels.txt", size_bytes=1, sha256=messages.sha("labels"))
    model = msgspec.structs.replace(release_of(1).files[0], sha256=messages.sha("new"))
    one = release_of(1, files=(*release_of(1).files, labels), image_size_bytes=IMAGE_BYTES + 1)
    two = release_of(2, files=(model, labels), image_size_bytes=IMAGE_BYTES + 1)
    content = Content("frames", chunks=4)
    payload = msgspec.structs.replace(content.payload, frames=(2 * CHUNK, 2 * CHUNK))
    held = sealed(1, files=one.files, image_size_bytes=IMAGE_BYTES + 1)
    story = Story().begun(serving(slots={"a": held}))
    actions = story.collecting(notice(release=two, payloads=(payload,)), content)
    assert filters(actions) == [TOPICS.chunk(content.sha256, n) for n in (0, 1)]


def test_a_probe_has_nothing_beside_it_where_what_served_is_lost() -> None:
    story = Story().begun(serving(slots={}), "a")
    story.probing(TWO)
    assert story.asked(act.ProbeSlot).beside is None
    story = Story().begun(serving())
    story.probing(TWO)
    assert story.asked(act.ProbeSlot).beside == "a"


# --- what is known of a broker --------------------------------------------------------------------


@pytest.mark.parametrize("broker", [BROKER, "mqtt://another"])
def test_how_fast_a_broker_takes_filters_is_known_of_that_broker_alone(broker: str) -> None:
    story = Story().begun(serving())
    story.tell(ev.SubscriptionAnswered(1, 0.001))
    story.tell(ev.ConnectionMade(broker, 64))
    story.tell(ev.SubscriptionAnswered(1, 2.0))
    everything = TOPICS.everything(LONG.sha256)
    is_slow = filters(story.collecting(OF_LONG, LONG)) == [everything]
    assert is_slow is (broker != BROKER)


@pytest.mark.parametrize("broker", [BROKER, "mqtt://another"])
def test_what_a_broker_gives_for_a_wildcard_is_known_of_that_broker_alone(broker: str) -> None:
    """Proven, a block of which nothing comes is asked for again; in doubt, chunk by chunk."""
    story = Story().begun(serving())
    story.collecting(OF_LONG, LONG)
    for index in range(8):
        story.pass_s(1)
        story.tell(LONG.came(index))
    story.tell(ev.ConnectionLost())
    assert filters(story.tell(ev.ConnectionMade(broker, 64))) == [TOPICS.block(LONG.sha256, 1)]
    asked = filters(story.wait()[1])
    is_proven = asked == [TOPICS.block(LONG.sha256, 1)]
    assert is_proven is (broker == BROKER)


# --- what is measured -----------------------------------------------------------------------------


@pytest.mark.parametrize(("chunks", "known"), [(255, 7), (256, 2048)])
def test_how_fast_a_link_was_is_remembered_where_enough_came_to_tell(
    chunks: int, known: int
) -> None:
    """From the beginning to the last chunk, waits and all: 256 KiB in 128 s."""
    content = Content("a quarter", chunks)
    story = Story().begun(serving(link_bytes_per_s=7))
    story.collecting(notice(2, payloads=(content.payload,)), content)
    for index in range(chunks):
        story.pass_s(0.5)
        story.tell(content.came(index))
    assert isinstance(story.job, act.Build)
    assert story.core.state.link_bytes_per_s == known


def test_files_that_are_here_already_say_nothing_of_the_link() -> None:
    story = Story().begun(serving(link_bytes_per_s=7))
    story.offered(notice(2, release=release_of(2, files=release_of(1).files)))
    assert isinstance(story.job, act.Build)
    assert story.core.state.link_bytes_per_s == 7


def test_which_of_two_whole_images_is_fetched_is_said_with_the_reason() -> None:
    small = msgspec.structs.replace(LONG.payload, codec="full+weights", memory_bytes=1)
    larger = msgspec.structs.replace(
        Content("larger", chunks=17).payload, map_parts=LONG.payload.map_parts
    )
    story = Story().begun(serving())
    story.offered(notice(2, payloads=(larger, small)))
    assert story.words[2] == "full+weights: the fewest bytes"
    said = story.done(act.Spooled({0: LONG.map}, is_empty=True))[0]
    text = "collecting 2.0: 16384 bytes, full+weights: the fewest bytes"
    assert said == act.Log("info", text)


def test_the_rate_is_of_the_time_between_two_reports() -> None:
    record = UpdateRecord("clf", Backoff(random.Random(1)))
    measured = TransferWatch(record, Allowance(), SlowLimit())
    transfer = TransferStory().transfer
    rates = []
    for mono_s, verified_bytes in [(0.0, 500), (0.5, 501), (10.5, 501), (20.5, 521)]:
        transfer.counters.verified_bytes = verified_bytes
        measured.measure_rate(transfer, ev.Now(mono_s, 0))
        rates.append(measured.rate_bytes_per_s)
    assert rates == [0, 2, 0, 2], "of the first nothing is known yet"
    measured.begin()
    assert measured.rate_bytes_per_s == 0


def test_exactly_the_pace_that_is_asked_for_is_not_too_slow() -> None:
    reasons = []
    for bytes_per_s in (10 * CHUNK / 60, 10 * CHUNK / 60 + 0.01):
        story = Story(slow=SlowLimit(bytes_per_s=bytes_per_s, window_s=60.0)).begun(serving())
        story.collecting(OF_LONG, LONG)
        for index in range(10):
            story.pass_s(6)
            story.tell(LONG.came(index))
        story.tell(ev.Tick())
        reasons.append(story.words[1])
    assert reasons == ["downloading", "slow"]
