"""What follows from the durable record of a model: slots, whole images counted, what is benched."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from slotcast_device.core.state import (
    BENCHED_MAX,
    ModelState,
    SlotName,
    SlotRecord,
    other_slot,
    record_of,
    unknown_release,
)
from slotcast_schemas.messages.status import BenchedRelease, StatusFile
from slotcast_schemas.states import State
from tests.support import messages
from tests.support.core_story import release_of, sealed

EMPTY = ModelState(model="clf")


@pytest.mark.parametrize(("active", "standby"), [(None, "a"), ("a", "b"), ("b", "a")])
def test_the_slot_that_may_be_written_is_the_one_that_does_not_serve(
    active: SlotName | None, standby: SlotName
) -> None:
    assert replace(EMPTY, active=active).standby == standby
    assert active is None or other_slot(active) == standby


def test_the_active_record_is_what_the_active_slot_holds() -> None:
    both = replace(EMPTY, slots={"a": sealed(1), "b": sealed(2)})
    assert both.active_record is None
    assert replace(both, active="b").active_record == sealed(2)
    assert replace(EMPTY, active="b").active_record is None


def test_a_slots_record_is_set_and_taken_away_and_the_other_stays() -> None:
    one = EMPTY.with_slot("a", sealed(1))
    both = one.with_slot("b", sealed(2))
    assert both.slots == {"a": sealed(1), "b": sealed(2)}
    assert both.with_slot("a", None).slots == {"b": sealed(2)}
    assert both.with_slot("a", sealed(3)).slots == {"a": sealed(3), "b": sealed(2)}
    assert one.slots == {"a": sealed(1)}, "a record is never changed in place"


def test_whole_images_of_a_day_add_up_and_a_new_day_begins_at_nothing() -> None:
    first = EMPTY.counting_full(b"one", 100, 20_000)
    assert (first.full_payload, first.full_bytes, first.full_day) == (b"one", 100, 20_000)
    assert first.counting_full(b"one", 100, 20_001) is first, "gone on with"
    second = first.counting_full(b"two", 30, 20_000)
    assert (second.full_payload, second.full_bytes) == (b"two", 130)
    third = second.counting_full(b"three", 7, 20_001)
    assert (third.full_bytes, third.full_day) == (7, 20_001)


def entry(sequence: int, reason: str = "errors") -> BenchedRelease:
    return BenchedRelease(sequence=sequence, version=f"{sequence}.0", reason=reason)


def test_a_release_is_benched_once_and_the_oldest_is_forgotten() -> None:
    state = EMPTY
    for sequence in range(1, BENCHED_MAX + 2):
        state = state.benching(entry(sequence))
    assert [b.sequence for b in state.benched] == list(range(2, BENCHED_MAX + 2))
    again = state.benching(entry(5, "latency")).benched
    assert len(again) == BENCHED_MAX
    assert again[-1] == entry(5, "latency")
    assert [b.sequence for b in again].count(5) == 1


def test_a_release_whose_notice_is_not_known_says_so() -> None:
    update = unknown_release(State.FAILED, "slot_damaged", "slot a was damaged")
    assert (update.version, update.sequence, update.release_sha256) == ("0", 0, b"")
    assert (update.state, update.reason) == (State.FAILED, "slot_damaged")
    assert (update.detail, update.since) == ("slot a was damaged", 0)
    assert unknown_release(State.FAILED, "x", "y", since=7).since == 7


def test_an_update_is_benched_with_the_attempt_that_failed() -> None:
    update = replace(
        unknown_release(State.TRIAL, "on_trial", ""), version="2.0", sequence=2, attempt=3
    )
    expected = BenchedRelease(sequence=2, version="2.0", reason="errors", attempt=3)
    assert update.benched("errors") == expected


def test_the_record_of_a_slot_is_the_releases_own_figures() -> None:
    release = release_of(2)
    (file,) = release.files
    assert record_of(release, messages.sha("signed")) == SlotRecord(
        version="2.0",
        sequence=2,
        release_sha256=messages.sha("signed"),
        sha256=release.image_sha256,
        size_bytes=release.image_size_bytes,
        entry=release.entry,
        files=(StatusFile(path=file.path, size_bytes=file.size_bytes, sha256=file.sha256),),
    )
