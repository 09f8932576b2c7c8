"""What a notice does in each phase: it is refused, waits, cancels, settles, or changes nothing."""

from __future__ import annotations

import msgspec
import pytest

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.transfer.transfer_actions import Unsubscribe
from slotcast_schemas.errors import (
    BadSignature,
    DiskFull,
    PayloadCorrupt,
    SlotcastError,
    StorageFailed,
    WrongBase,
)
from slotcast_schemas.messages.status import BenchedRelease
from tests.support.core_story import (
    CONTENT,
    FACTS,
    ISSUED_S,
    SECOND,
    TOPICS,
    WALL_S,
    Content,
    Story,
    findings,
    notice,
    release_of,
    serving,
)

TWO = notice(2)
FILTER = TOPICS.block(CONTENT.sha256, 0)


def arrives(story: Story, data: bytes = b"another") -> list[act.Action]:
    """A notice comes; gives what the core asks."""
    return story.tell(ev.NoticeArrived(data))


# --- refused --------------------------------------------------------------------------------------


def test_a_refused_notice_is_said_and_kept_in_the_record() -> None:
    story = Story().begun(serving())
    arrives(story)
    assert story.failed(BadSignature("wrong key")) == [
        act.Log("warning", "refused: bad_signature: wrong key"),
        *story.saved,
    ]
    assert story.words == ("REJECTED", "bad_signature", "wrong key")
    assert (story.update.version, story.update.sequence) == ("0", 0)
    assert (story.update.release_sha256, story.update.attempt) == (b"", 1)
    assert (story.update.deployment, story.update.group) == ("", "")
    assert story.update.since == WALL_S
    assert story.core.status().target is None
    assert story.core.deadline_s is None, "only another notice can change it"
    assert story.core.is_settled


def test_the_same_refusal_again_is_not_written_again() -> None:
    story = Story().begun(serving())
    arrives(story)
    story.failed(BadSignature("wrong key"))
    story.pass_s(100)
    arrives(story)
    assert story.failed(BadSignature("wrong key")) == [
        act.Log("warning", "refused: bad_signature: wrong key")
    ]
    assert story.update.since == WALL_S
    arrives(story)
    assert story.failed(BadSignature("another wrong key"))[1:] == story.saved


def test_a_release_that_the_plan_refuses_is_named_in_the_record() -> None:
    story = Story().begun(serving())
    actions = story.offered(TWO, msgspec.structs.replace(FACTS, memory_bytes=1))
    assert story.words == (
        "REJECTED",
        "too_large",
        "needs 5000000 bytes of memory, this device has 1 available",
    )
    assert (story.update.version, story.update.sequence) == ("2.0", 2)
    assert story.update.release_sha256 == TWO.release_sha256
    assert actions == [
        act.Log("warning", f"refused: too_large: {story.update.detail}"),
        *story.saved,
    ]


def test_what_storage_refuses_is_a_failure_that_is_tried_again_after_waits_that_grow() -> None:
    story = Story().begun(serving())
    arrives(story)
    assert story.failed(StorageFailed("no folder")) == [
        act.Log("warning", "refused: storage_failed: no folder"),
        *story.saved,
    ]
    assert story.words == ("FAILED", "storage_failed", "no folder")
    for wait_s in (60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0, 3600.0):
        waited_s, actions = story.wait()
        assert (waited_s, actions) == (wait_s, [act.Verify(b"another", 0)])
        assert story.failed(StorageFailed("no folder")) == [
            act.Log("warning", "refused: storage_failed: no folder")
        ]


def test_waits_are_short_again_after_an_ending() -> None:
    story = Story().begun(serving())
    arrives(story)
    story.failed(StorageFailed("no folder"))
    story.wait()
    story.done(act.NoticeVerified(TWO, FACTS))
    story.done(act.Spooled({0: CONTENT.map}, is_empty=True))
    story.tell(CONTENT.came(0))
    story.done()
    story.done(act.Verdict(passed=False, reason="golden_mismatch"))
    arrives(story, b"a third")
    story.failed(StorageFailed("no folder"))
    assert story.wait()[0] == 60.0


def test_a_benched_release_leaves_the_reason_why_it_was_benched() -> None:
    entry = BenchedRelease(sequence=2, version="2.0", reason="golden_mismatch")
    story = Story().begun(serving(benched=(entry,)))
    story.offered(TWO)
    assert story.words[:2] == ("REJECTED", "benched")

    story = Story().begun(serving())
    story.probing(TWO)
    story.done(act.Verdict(passed=False, reason="golden_mismatch", detail="3 of 4"))
    before = story.core.state
    assert story.offered(notice(2, issued=ISSUED_S)) == []
    assert story.words == ("FAILED", "golden_mismatch", "3 of 4")
    assert story.core.state == before


@pytest.mark.parametrize(
    ("error", "wait_s"), [(BadSignature("no"), None), (DiskFull("no room"), 60.0)]
)
def test_what_is_under_way_goes_on_though_another_notice_is_refused(
    error: SlotcastError, wait_s: float | None
) -> None:
    story = Story().begun(serving())
    story.collecting(TWO)
    arrives(story)
    assert story.failed(error) == [
        act.Log("warning", f"refused: {error.reason}: {error}"),
        act.PublishStatus(),
    ]
    detail = f"another notice was refused: {error.reason}: {error}"
    assert story.words == ("DOWNLOADING", "downloading", detail)
    assert story.core.is_fetching
    story.tell(ev.ConnectionLost())  # so that only what is looked at later is due
    story.mono_s += 60.0
    assert any(isinstance(a, act.Verify) for a in story.tell(ev.Tick())) == (wait_s is not None)


def test_the_notice_under_way_is_looked_at_anew_after_another_was_refused() -> None:
    """It was not the last one: what the broker keeps now is another, and may change again."""
    story = Story().begun(serving())
    story.collecting(TWO)
    arrives(story)
    story.failed(BadSignature("no"))
    assert arrives(story) == [act.Verify(b"another", ISSUED_S)]


@pytest.mark.parametrize(
    ("error", "is_looked_at_again"), [(BadSignature("no"), False), (DiskFull("no room"), True)]
)
def test_a_notice_refused_on_trial_may_be_good_when_the_trial_is_over(
    error: SlotcastError, is_looked_at_again: bool
) -> None:
    story = Story().begun(serving())
    story.on_trial(TWO)
    story.done(act.Verdict(passed=None, reason="pending"))
    deadline_s = story.core.deadline_s
    arrives(story)
    assert story.failed(error) == [
        act.Log("warning", f"refused: {error.reason}: {error}"),
        act.PublishStatus(),
    ]
    assert story.words == (
        "TRIAL",
        "on_trial",
        f"another notice was refused: {error.reason}: {error}",
    )
    assert story.core.deadline_s == deadline_s
    story.wait()
    actions = story.done(act.Verdict(passed=True, reason="passed"))
    looked = [action for action in actions if isinstance(action, act.Verify)]
    assert looked == ([act.Verify(b"another", ISSUED_S)] if is_looked_at_again else [])


# --- the same, again ------------------------------------------------------------------------------


def test_the_notice_under_way_that_comes_again_is_passed_over() -> None:
    story = Story().begun(serving())
    arrives(story, b"two")
    story.done(act.NoticeVerified(TWO, FACTS))
    story.done(act.Spooled({0: CONTENT.map}, is_empty=True))
    assert arrives(story, b"two") == []
    assert story.core.notices_seen == 2
    story.tell(CONTENT.came(0))
    assert arrives(story, b"two") == []
    story.done()
    assert arrives(story, b"two") == []
    story.done(act.Verdict(passed=True, reason="fit"))
    assert arrives(story, b"two") == []
    assert not any(isinstance(a, act.Verify) for a in story.done(act.Verdict(None, "pending")))


def test_a_notice_that_comes_again_when_nothing_is_under_way_is_looked_at() -> None:
    story = Story().begun(serving())
    arrives(story, b"two")
    story.failed(BadSignature("no"))
    assert arrives(story, b"two") == [act.Verify(b"two", 0)]


def test_a_newer_notice_of_the_release_under_way_does_not_begin_it_again() -> None:
    story = Story().begun(serving())
    story.collecting(TWO)
    newer = notice(2, issued=ISSUED_S + 60)
    assert story.offered(newer) == story.saved, "the signed time is new"
    assert story.core.state.signed_time == ISSUED_S + 60
    assert story.core.is_fetching
    more = notice(2, issued=ISSUED_S + 60, payloads=(CONTENT.payload, SECOND.payload))
    assert story.offered(more) == [], "the same payload is the first of the cheapest"
    story.tell(CONTENT.came(0))
    assert story.asked(act.Build).trusted is more


def test_the_same_release_by_another_payload_begins_again() -> None:
    story = Story().begun(serving())
    story.collecting(TWO)
    actions = story.offered(notice(2, payloads=(SECOND.payload,)))
    assert actions[0] == Unsubscribe((FILTER,))
    assert story.job == act.OpenSpool(SECOND.payload, TWO.release)


def test_a_newer_release_takes_the_place_of_the_one_under_way() -> None:
    story = Story().begun(serving())
    story.collecting(TWO)
    three = notice(3, payloads=(SECOND.payload,))
    assert story.offered(three) == [
        Unsubscribe((FILTER,)),
        *story.saved,
        act.OpenSpool(SECOND.payload, three.release),
    ]
    assert (story.update.version, story.update.sequence) == ("3.0", 3)
    assert story.tell(CONTENT.came(0)) == [], "of the payload before"


def test_another_release_waits_for_the_end_of_the_trial() -> None:
    story = Story().begun(serving())
    story.on_trial(TWO)
    story.done(act.Verdict(passed=None, reason="pending"))
    three = notice(3, payloads=(SECOND.payload,))
    assert story.offered(three) == []
    assert story.words[0] == "TRIAL"
    story.wait()
    actions = story.done(act.Verdict(passed=True, reason="passed"))
    assert isinstance(actions[-1], act.Verify)
    assert not story.core.is_settled
    story.done(act.NoticeVerified(three, FACTS))
    assert story.job == act.OpenSpool(SECOND.payload, three.release)


def test_a_notice_waits_while_a_job_runs_and_only_the_last_one_counts() -> None:
    story = Story().begun(serving())
    story.building(TWO)
    assert arrives(story, b"third") == []
    assert arrives(story, b"fourth") == []
    assert not story.core.is_settled
    story.done()
    actions = story.done(act.Verdict(passed=False, reason="golden_mismatch"))
    assert actions[-1] == act.Verify(b"fourth", ISSUED_S)


# --- a slot for which nothing vouched -------------------------------------------------------------


def test_a_notice_that_proves_a_slot_is_looked_at_after_the_slots_are() -> None:
    story = Story().begun(serving())
    (verify,) = arrives(story, b"proof")
    assert story.done(act.NoticeVerified(notice(1), FACTS, proves_slot=True)) == [act.Inspect()]
    assert verify in story.done(findings(serving(), "a"))


def test_one_that_proves_a_slot_in_the_middle_of_an_update_changes_nothing_of_it() -> None:
    story = Story().begun(serving())
    story.offered(TWO)
    arrives(story, b"proof")
    story.done(act.Spooled({}, is_empty=True))
    story.done(act.NoticeVerified(TWO, FACTS, proves_slot=True))
    assert story.words[0] == "DOWNLOADING"


def test_a_payload_that_gives_another_image_is_passed_over_for_the_next() -> None:
    both = notice(2, payloads=(CONTENT.payload, SECOND.payload))
    story = Story().begun(serving())
    story.building(both)
    actions = story.failed(PayloadCorrupt("not the image"))
    text = "payload_corrupt: not the image; trying another payload"
    assert actions[:2] == [act.Log("warning", text), act.DropSpool()]
    assert isinstance(actions[-1], act.Verify)
    assert story.words == ("FAILED", "payload_corrupt", text)
    story.done(act.NoticeVerified(both, FACTS))
    assert story.job == act.OpenSpool(SECOND.payload, both.release)
    story.done(act.Spooled({0: SECOND.map}, is_empty=True))
    story.tell(SECOND.came(0))
    assert story.failed(PayloadCorrupt("nor this")) == [
        act.DropSpool(),
        act.Log("error", "failed: payload_corrupt: nor this"),
        act.PublishStatus(),
        act.Save(story.core.state),
    ]
    assert story.words == ("FAILED", "payload_corrupt", "nor this")
    assert story.core.deadline_s == story.mono_s + 60.0


def test_files_already_there_that_do_not_give_the_image_end_it() -> None:
    again = release_of(3, files=release_of(1).files)
    story = Story().begun(serving())
    story.offered(notice(3, release=again))
    assert isinstance(story.job, act.Build)
    actions = story.failed(WrongBase("changed"))
    text = "wrong_base: changed; trying another payload"
    assert actions[:2] == [act.Log("warning", text), act.DropSpool()]
    assert isinstance(actions[-1], act.Verify)


def test_two_notices_of_a_content_with_many_chunks_ask_for_no_chunk_twice() -> None:
    content = Content("twelve", chunks=12)
    trusted = notice(2, payloads=(content.payload,))
    story = Story().begun(serving())
    story.collecting(trusted, content)
    for index in range(6):
        story.tell(content.came(index))
    story.offered(notice(2, payloads=(content.payload,), issued=ISSUED_S + 5))
    progress = story.core.status().progress
    assert progress is not None
    assert progress.verified_bytes == 6 * 1024
