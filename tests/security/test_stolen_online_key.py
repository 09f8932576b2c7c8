"""Whoever has the online key can sign offers, and with them payloads: of that data comes little.

A payload is bounded by its image, whose size the release key has signed, before anything of it is
asked for; and payloads that come to nothing are counted by day, over restarts.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from slotcast_device.core import actions as act
from slotcast_device.core.benched_releases import RETRIES_PER_DAY_MAX
from slotcast_device.core.payload_bounds import (
    BROKEN_PER_DAY_MAX,
    PACKED_PART,
    PACKED_ROOM_BYTES,
)
from slotcast_device.core.plan import Facts
from slotcast_device.core.state import ModelState
from slotcast_schemas.errors import PayloadCorrupt
from slotcast_schemas.messages.offer import Base, Payload
from slotcast_schemas.messages.release import File
from slotcast_schemas.states import State
from slotcast_schemas.verify import Trusted
from tests.support import messages
from tests.support.core_story import (
    CHUNK,
    CONTENT,
    FACTS,
    IMAGE_BYTES,
    Content,
    Story,
    notice,
    release_of,
    sealed,
    serving,
)

DAY_S = 86_400
BASE = Base(
    sequence=1, version="1.0", image_sha256=sealed(1).sha256, size_bytes=sealed(1).size_bytes
)
PACKED_MOST_BYTES = IMAGE_BYTES + IMAGE_BYTES // PACKED_PART + PACKED_ROOM_BYTES


def large(codec: str, size_bytes: int) -> Payload:
    base = BASE if codec.startswith("delta") else None
    return messages.payload(size_bytes, sha256=messages.sha(codec), codec=codec, base=base)


def offered_broken(story: Story, number: int, **facts: Any) -> list[act.Action]:
    """Offer another delta that is signed and whole, and gives something else than the image."""
    content = Content(f"broken {number}", codec="delta+v1")
    payload = msgspec.structs.replace(content.payload, base=BASE)
    actions = story.offered(notice(2, payloads=(payload,)), msgspec.structs.replace(FACTS, **facts))
    if story.update.state is not State.DOWNLOADING:
        return actions
    story.done(act.Spooled({0: content.map}, is_empty=False))
    story.done(set())
    story.tell(content.came(0))
    return story.failed(PayloadCorrupt("not the image"))


@pytest.mark.parametrize(
    ("codec", "most_bytes"),
    [
        ("full+none", IMAGE_BYTES),
        ("full+zstd", PACKED_MOST_BYTES),
        ("full+weights", PACKED_MOST_BYTES),
        ("delta+v1", PACKED_MOST_BYTES),
        ("delta+v2", PACKED_MOST_BYTES),
        ("delta+v3", PACKED_MOST_BYTES),
    ],
    ids=["full+none", "full+zstd", "full+weights", "delta+v1", "delta+v2", "delta+v3"],
)
def test_no_chunk_is_asked_for_of_a_payload_larger_than_one_of_its_image_can_be(
    codec: str, most_bytes: int
) -> None:
    story = Story().begun(serving())
    actions = story.offered(notice(2, payloads=(large(codec, most_bytes + 1),)))
    assert not any(isinstance(action, act.OpenSpool) for action in actions)
    assert story.words[:2] == ("REJECTED", "inconsistent")
    assert f"expected at most {most_bytes} bytes of {codec}" in story.words[2]
    story.offered(notice(2, payloads=(large(codec, most_bytes),)))
    assert story.words[0] == "DOWNLOADING"


def test_one_that_is_too_large_is_passed_over_for_one_that_is_not() -> None:
    story = Story().begun(serving())
    whole = large("full+zstd", IMAGE_BYTES)
    story.offered(notice(2, payloads=(large("delta+v1", 3 * IMAGE_BYTES), whole)))
    assert story.asked(act.OpenSpool).payload == whole


def test_payloads_that_give_another_image_are_fetched_a_few_times_a_day_over_restarts_too() -> None:
    story = Story().begun(serving())
    for number in range(BROKEN_PER_DAY_MAX):
        assert story.core.state.broken_payloads == number
        offered_broken(story, number)
        assert story.words[:2] == ("FAILED", "payload_corrupt")
        if number == 1:
            story = Story().begun(story.core.state)
    offered_broken(story, BROKEN_PER_DAY_MAX)
    assert story.words[:2] == ("QUEUED", "payloads_broken")
    story.pass_s(DAY_S)
    offered_broken(story, BROKEN_PER_DAY_MAX + 1)
    assert story.words[:2] == ("FAILED", "payload_corrupt")


SMALL_BYTES = 8 * CHUNK
SMALL_FILE = File(path="model.onnx", size_bytes=SMALL_BYTES, sha256=messages.sha("s"), role="model")


def small(payload: Payload, number: int = 2, **offer: Any) -> Trusted:
    """Offer a release whose image is as small as a payload of eight chunks."""
    release = release_of(number, files=(SMALL_FILE,), image_size_bytes=SMALL_BYTES)
    return notice(release=release, payloads=(payload,), **offer)


def fetched_bytes(
    story: Story, content: Content, payload: Payload, facts: Facts, number: int = 2
) -> int:
    """Offer a payload, and have all of it come but the last chunk; gives how much that was."""
    story.offered(small(payload, number), facts)
    if story.update.state is not State.DOWNLOADING:
        return 0
    story.done(act.Spooled({0: content.map}, is_empty=False))
    story.done(set())
    for index in range(7):
        story.tell(content.came(index))
    return 7 * CHUNK


class Durable(Story):
    """A story that knows which record is on the disk."""

    record: ModelState | None = None

    def happened(self, actions: list[act.Action]) -> list[act.Action]:
        for action in actions:
            if isinstance(action, act.Save):
                self.record = action.state
        return super().happened(actions)

    def power_cut(self) -> Durable:
        """Give the story that follows a cut of the power, an hour later."""
        after = Durable()
        after.mono_s, after.wall_s = self.mono_s + 3600.0, self.wall_s
        after.record = self.record
        after.begun(self.record)
        return after


def drain(way: str, codec: str, facts: Facts, most_images: int, *, with_cuts: bool = False) -> None:
    """Offer thirty payloads, each taken back before it is whole; so many images come, no more."""
    story, total = Durable(), 0
    story.begun(serving())
    for number in range(30):
        content = Content("first" if way == "cancel" else f"{number}", 8, codec)
        base = BASE if codec.startswith("delta") else None
        payload = msgspec.structs.replace(content.payload, base=base)
        total += fetched_bytes(story, content, payload, facts)
        if with_cuts:
            story = story.power_cut()
        if way != "another":
            state = "paused" if way == "pause" else "canceled"
            story.offered(small(payload, state=state), facts)
    assert SMALL_BYTES < total <= most_images * SMALL_BYTES
    assert story.core.state.full_bytes >= total - SMALL_BYTES, "they count against a day's bound"
    story.pass_s(DAY_S)
    assert fetched_bytes(story, content, payload, facts), "the next day it is tried again"


WAYS = ["another", "pause", "cancel"]
"""What comes before a payload is whole; after a pause, it is another one."""


@pytest.mark.parametrize("way", WAYS)
def test_payloads_whose_place_others_take_before_they_are_whole_come_to_a_few_images_a_day(
    way: str,
) -> None:
    for codec in ("delta+v1", "full+zstd"):
        drain(way, codec, FACTS, BROKEN_PER_DAY_MAX + 2)


@pytest.mark.parametrize("way", WAYS)
def test_neither_do_more_come_of_a_device_whose_power_is_cut_each_time(way: str) -> None:
    """What was under way counts as if all of it had come: a cut saves nothing."""
    for codec in ("delta+v1", "full+zstd"):
        drain(way, codec, FACTS, BROKEN_PER_DAY_MAX + 2, with_cuts=True)


@pytest.mark.parametrize("end", ["probe", "trial", "cancel"])
def test_a_release_that_fails_is_tried_again_a_few_times_a_day_however_often_it_is_offered(
    end: str,
) -> None:
    story, tries = Durable(), 0
    story.begun(serving())
    for attempt in range(1, 40):
        story.offered(notice(2, attempt=attempt))
        if story.update.state is State.QUEUED:
            continue
        tries += 1
        try_out(story, end, attempt)
        if attempt % 5 == 0:
            story = story.power_cut()
    assert tries == 1 + RETRIES_PER_DAY_MAX
    assert story.words[:2] == ("QUEUED", "tried_enough")
    story.offered(notice(3))
    assert story.update.state is State.DOWNLOADING, "another release is not held up"
    story = story.power_cut()
    story.pass_s(DAY_S)
    story.offered(notice(2, attempt=40))
    assert story.update.state is not State.QUEUED, "the next day it is tried again"


def try_out(story: Story, end: str, attempt: int) -> None:
    """Have release 2 built, and fail."""
    if isinstance(story.job, act.OpenSpool):
        story.done(act.Spooled({0: CONTENT.map}, is_empty=False))
        story.done(set())
        for index in range(len(CONTENT.chunks)):
            story.tell(CONTENT.came(index))
    story.done()  # it is built
    assert isinstance(story.job, act.ProbeSlot)
    if end == "probe":
        story.done(act.Verdict(passed=False, reason="golden_mismatch"))
        return
    story.done(act.Verdict(passed=True, reason="fit"))
    if end == "trial":
        story.done(act.Verdict(passed=False, reason="errors"))
    else:
        story.done(act.Verdict(passed=None, reason="on_trial"))
        story.offered(notice(2, attempt=attempt, state="canceled"))
    story.done()  # the way back is whole
    assert story.update.state is State.ROLLED_BACK


def test_a_device_that_new_releases_overtake_all_day_takes_each_of_them() -> None:
    """Those the release key has signed; to go back and forth between two of them is no way out."""
    story = Story().begun(serving())
    contents = [Content(f"{number}", 8, "full+zstd") for number in range(12)]
    for number, content in enumerate(contents, start=2):
        assert fetched_bytes(story, content, content.payload, FACTS, number)
    total = 0
    for turn in range(20):
        content, number = contents[10 + turn % 2], 12 + turn % 2
        total += fetched_bytes(story, content, content.payload, FACTS, number)
    assert total <= (BROKEN_PER_DAY_MAX + 2) * SMALL_BYTES


@pytest.mark.parametrize("way", WAYS)
def test_over_a_link_that_costs_money_they_come_to_one_or_two(way: str) -> None:
    drain(way, "delta+v1", msgspec.structs.replace(FACTS, is_metered=True), 3)


def test_over_a_link_that_costs_money_one_a_day_is_enough() -> None:
    story = Story().begun(serving())
    offered_broken(story, 0, is_metered=True)
    offered_broken(story, 1, is_metered=True)
    assert story.words[:2] == ("QUEUED", "payloads_broken")


def test_a_delta_that_came_to_nothing_counts_against_the_days_bytes_like_a_whole_image() -> None:
    story = Story().begun(serving())
    offered_broken(story, 0)
    whole = large("full+zstd", IMAGE_BYTES)
    budget = msgspec.structs.replace(FACTS, full_bytes_per_day=IMAGE_BYTES)
    story.offered(notice(2, payloads=(whole,)), budget)
    assert story.words[:2] == ("QUEUED", "byte_budget")
