"""One update from the notice to the commit, action by action, and one that never was."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.plan import Install
from slotcast_device.core.state import ModelState, Update
from slotcast_device.core.transfer.transfer_actions import (
    PublishWant,
    StoreChunk,
    Subscribe,
    Unsubscribe,
)
from slotcast_schemas.messages.status import Check, Evidence, SlotStatus, Target
from slotcast_schemas.messages.want import WantedBlock
from slotcast_schemas.states import State
from tests.support.core_story import (
    BROKER,
    CONTENT,
    FACTS,
    IMAGE_BYTES,
    ISSUED_S,
    MODEL,
    TOPICS,
    WALL_S,
    Content,
    Story,
    findings,
    notice,
    release_of,
    sealed,
    serving,
)

TWO = notice(2)
FILTER = TOPICS.block(CONTENT.sha256, 0)
CHECKS = (Check(name="golden", passed=True, value=0.5, limit=1.0),)
TRIAL_CHECKS = (Check(name="errors", passed=True, value=0.0, limit=0.01),)
PROBED_AT = WALL_S + 9
"""When the probe ends in the story of a whole update."""


def under_way(state: State, reason: str, **fields: Any) -> Update:
    """The record of the update to 2.0."""
    given: dict[str, Any] = {
        "version": "2.0",
        "sequence": 2,
        "release_sha256": TWO.release_sha256,
        "since": WALL_S,
        "attempt": 1,
        "deployment": "d-7",
        "group": "all",
    }
    return Update(state=state, reason=reason, **{**given, **fields})


def test_a_first_start_looks_at_the_disk_and_has_a_record_from_then_on() -> None:
    story = Story()
    assert story.job == act.Inspect()
    assert (story.core.is_ready, story.core.is_at_rest) == (False, False)
    assert story.done(findings(None, None)) == [
        act.Save(ModelState(model=MODEL)),
        act.PublishStatus(),
    ]
    assert (story.core.is_ready, story.core.is_at_rest) == (True, True)
    assert not story.core.is_unreadable
    assert story.core.deadline_s is None
    assert not story.core.is_settled, "no notice came yet"
    status = story.core.status()
    assert (status.state, status.reason, status.detail) == (State.IDLE, "no_notice", "")
    assert (status.model, status.since, status.floor) == (MODEL, 0, 0)
    assert (status.target, status.active, status.standby) == (None, None, None)
    assert (status.notice, status.notice_expires) == ("none", 0)
    assert (status.progress, status.evidence, status.benched) == (None, None, ())


def test_a_record_that_is_as_it_was_is_not_written_again() -> None:
    story = Story()
    assert story.done(findings(serving(), "a")) == [act.PublishStatus()]
    assert story.core.state == serving()


def test_a_release_is_collected_rebuilt_probed_switched_to_watched_and_committed() -> None:
    story = Story()
    story.done(findings(serving(), "a"))
    assert story.tell(ev.ConnectionMade(BROKER, 64)) == []
    _a_notice_is_verified_and_its_payload_asked_for(story)
    _its_chunks_are_collected(story)
    _the_image_is_rebuilt(story)
    _what_is_rebuilt_is_probed(story)
    _what_passed_is_switched_to(story)
    _what_passed_its_trial_is_committed(story)
    _the_status_says_so(story)


def _a_notice_is_verified_and_its_payload_asked_for(story: Story) -> None:
    assert story.tell(ev.NoticeArrived(b"two")) == [act.Verify(b"two", 0)]
    assert story.core.notices_seen == 1
    assert story.done(act.NoticeVerified(TWO, FACTS)) == [
        *story.saved,
        act.OpenSpool(CONTENT.payload, TWO.release),
    ]
    assert story.update == under_way(State.DOWNLOADING, "downloading", detail="full+none")
    assert story.core.state.signed_time == ISSUED_S
    assert (story.core.state.full_payload, story.core.state.full_bytes) == (CONTENT.sha256, 1024)
    assert story.core.state.full_day == WALL_S // 86400
    assert (story.core.is_fetching, story.core.is_settled) == (False, False)


def _its_chunks_are_collected(story: Story) -> None:
    assert story.done(act.Spooled({0: CONTENT.map}, is_empty=False)) == [
        act.Log("info", "collecting 2.0: 1024 bytes, full+none"),
        act.ScanSpool(CONTENT.payload, {0: CONTENT.digests}),
    ]
    assert story.done(set()) == [Subscribe((FILTER,))]
    assert (story.core.is_fetching, story.core.is_settled) == (True, False)


def _the_image_is_rebuilt(story: Story) -> None:
    story.pass_s(2)
    assert story.tell(CONTENT.came(0)) == [
        StoreChunk(0, CONTENT.chunks[0]),
        Unsubscribe((FILTER,)),
        act.Save(story.core.state),
        story.job,
        act.PublishStatus(),
    ]
    assert story.update == under_way(State.DOWNLOADED, "building", since=WALL_S + 2)
    build = story.asked(act.Build)
    assert build.install == Install(
        "b", "all", CONTENT.payload, None, {}, saved_bytes=IMAGE_BYTES - 1024
    )
    assert build.trusted is TWO
    assert (story.core.is_fetching, story.core.deadline_s) == (False, None)


def _what_is_rebuilt_is_probed(story: Story) -> None:
    story.pass_s(3)
    assert story.done() == [
        act.Log("info", "2.0 is verified in slot b"),
        act.Save(story.core.state),
        act.DropSpool(),
        act.PublishStatus(),
        act.ProbeSlot("b", TWO.release, "a"),
    ]
    assert story.update == under_way(State.VERIFIED, "probing", since=WALL_S + 5)
    assert story.core.state.slots == {"a": sealed(1), "b": sealed(2)}


def _what_passed_is_switched_to(story: Story) -> None:
    story.pass_s(4)
    actions = story.done(act.Verdict(passed=True, reason="fit", checks=CHECKS))
    switching = under_way(
        State.ACTIVATING,
        "switching",
        since=PROBED_AT,
        slot="b",
        fallback="a",
        evidence=Evidence(sequence=2, checks=CHECKS),
    )
    saved = [action.state for action in actions if isinstance(action, act.Save)]
    assert [type(action) for action in actions] == [
        act.Save, act.PublishStatus, act.Activate, act.Save, act.PublishStatus, act.Watch,
    ]  # fmt: skip
    assert actions[2] == act.Activate("b")
    assert (saved[0].update, saved[0].active) == (switching, "a")
    assert saved[1] == story.core.state
    assert story.core.state.active == "b"
    on_trial = under_way(
        State.TRIAL,
        "on_trial",
        since=PROBED_AT,
        slot="b",
        fallback="a",
        evidence=Evidence(sequence=2, checks=CHECKS),
        trial_began=PROBED_AT,
    )
    assert story.update == on_trial
    assert story.job == act.Watch("b", "a", TWO.release, 0.0, 0)


def _what_passed_its_trial_is_committed(story: Story) -> None:
    story.pass_s(12)
    assert story.done(act.Verdict(passed=True, reason="passed", checks=TRIAL_CHECKS)) == [
        *story.saved,
        act.Notify("after_commit", TWO.release),
    ]
    assert story.update == under_way(
        State.COMMITTED,
        "committed",
        since=PROBED_AT + 12,
        slot="b",
        fallback="a",
        trial_began=PROBED_AT,
        evidence=Evidence(sequence=2, checks=TRIAL_CHECKS),
    )
    assert (story.core.state.floor, story.core.state.active) == (2, "b")
    assert story.core.is_settled
    assert story.core.deadline_s is None


def _the_status_says_so(story: Story) -> None:
    status = story.core.status()
    assert (status.state, status.reason, status.detail) == (State.COMMITTED, "committed", "")
    assert (status.floor, status.since) == (2, PROBED_AT + 12)
    assert status.target == Target(
        version="2.0",
        sequence=2,
        deployment="d-7",
        group="all",
        release_sha256=TWO.release_sha256,
    )
    assert status.active == SlotStatus(slot="b", version="2.0", sequence=2, files=sealed(2).files)
    assert status.standby == SlotStatus(slot="a", version="1.0", sequence=1, files=sealed(1).files)
    assert status.evidence == Evidence(sequence=2, checks=TRIAL_CHECKS)


def test_a_first_release_has_nothing_beside_it_and_nothing_to_go_back_to() -> None:
    story = Story().begun()
    story.probing(TWO)
    assert story.asked(act.ProbeSlot) == act.ProbeSlot("a", TWO.release, None)
    story.done(act.Verdict(passed=True, reason="fit"))
    assert story.asked(act.Watch) == act.Watch("a", None, TWO.release, 0.0, 0)
    story.done(act.Verdict(passed=False, reason="errors", detail="all of them"))
    assert story.asked(act.CheckSlot) == act.CheckSlot(None)
    story.done()
    assert story.core.state.active is None
    assert story.words == ("ROLLED_BACK", "errors", "all of them")


def test_the_record_forgets_the_standby_slot_before_its_first_file_goes() -> None:
    story = Story().begun(serving(slots={"a": sealed(1), "b": sealed(9)}))
    before = story.core.state.slots
    actions = story.building(TWO)
    (save,) = [action for action in actions if isinstance(action, act.Save)]
    assert save.state.slots == {"a": sealed(1)}
    assert story.asked(act.Build).state.slots == before, "the build may take files of it"


def test_files_that_a_slot_holds_are_built_without_a_transfer() -> None:
    again = release_of(3, files=release_of(1).files, image_sha256=release_of(1).image_sha256)
    trusted = notice(3, release=again)
    story = Story().begun(serving())
    actions = story.offered(trusted)
    began = actions[0]
    assert isinstance(began, act.Save)
    saved = act.Save(story.core.state)
    assert actions == [began, act.PublishStatus(), saved, story.job, act.PublishStatus()]
    assert began.state.update is not None
    assert (began.state.update.state, began.state.update.detail) == (State.DOWNLOADING, "reuse")
    assert story.words == ("DOWNLOADED", "building", "")
    assert story.asked(act.Build).install == Install(
        "b", "all", None, None, {"model.onnx": ("a", "model.onnx")}, saved_bytes=IMAGE_BYTES
    )
    assert story.core.status().progress is None


def test_a_payload_that_does_not_bring_every_file_is_not_decoded_while_it_comes() -> None:
    one, other = release_of(1).files[0], release_of(5).files[0]
    both = release_of(
        2, files=(other, replace(one, path="labels.bin")), image_size_bytes=2 * IMAGE_BYTES
    )
    story = Story().begun(serving())
    framed = replace(CONTENT.payload, codec="full+zstd", frames=(1000, 24))
    story.offered(notice(2, release=both, payloads=(framed,)))
    assert story.job == act.OpenSpool(framed, None)


# --- how far it is --------------------------------------------------------------------------------


def test_the_status_says_how_far_a_transfer_is_and_how_fast() -> None:
    content = Content("ten", chunks=10)
    trusted = notice(2, payloads=(content.payload,))
    story = Story().begun(serving())
    story.offered(trusted)
    story.done(act.Spooled({0: content.map}, is_empty=False))
    story.done({0, 1})
    progress = story.core.status().progress
    assert progress is not None
    assert (progress.payload, progress.codec) == (content.sha256, "full+none")
    assert (progress.size_bytes, progress.verified_bytes) == (10 * 1024, 2 * 1024)
    assert (progress.received_bytes, progress.reused_bytes) == (0, 2 * 1024)
    assert (progress.saved_bytes, progress.rate_bytes_per_s) == (IMAGE_BYTES - 10 * 1024, 0)

    due_s = 1000.0 + 15.0
    for index in range(2, 6):  # so that nothing is missed for long
        story.pass_s(3)
        story.tell(content.came(index))
    story.mono_s = due_s
    assert act.PublishStatus() in story.tell(ev.Tick())
    for index in range(6, 9):
        story.pass_s(4)
        story.tell(content.came(index))
    story.mono_s = due_s + 15.0
    assert act.PublishStatus() in story.tell(ev.Tick())
    progress = story.core.status().progress
    assert progress is not None
    assert progress.verified_bytes == 9 * 1024
    assert progress.received_bytes == 7 * 1024
    assert progress.rate_bytes_per_s == 3 * 1024 // 15


def test_chunks_are_made_durable_now_and_then() -> None:
    content = Content("many", chunks=60)
    story = Story().begun(serving())
    story.collecting(notice(2, payloads=(content.payload,)), content)
    synced: list[float] = []
    for index in range(50):
        story.pass_s(2)
        story.tell(content.came(index))
        if act.SyncSpool() in story.tell(ev.Tick()):
            synced.append(story.mono_s - 1000.0)
    assert synced == [30.0, 60.0, 90.0]


def test_what_does_not_come_is_asked_for_again_and_then_wanted_of_the_publisher() -> None:
    story = Story().begun(serving())
    story.collecting(TWO)
    waited_s, actions = story.wait()
    assert (waited_s, actions) == (5.0, [Unsubscribe((FILTER,)), *actions[1:]])
    assert any(isinstance(action, Subscribe) for action in actions)
    assert story.core.deadline_s == story.mono_s + 10.0
    story.mono_s += 10.0
    wants = [action.want for action in story.tell(ev.Tick()) if isinstance(action, PublishWant)]
    (want,) = wants
    assert (want.device, want.payload, want.map_parts) == ("cam-1", CONTENT.sha256, ())
    assert want.blocks == (WantedBlock(block=0, missing=1),)


def test_a_transfer_goes_on_where_it_was_over_a_cut() -> None:
    content = Content("cut", chunks=3)
    story = Story().begun(serving())
    story.collecting(notice(2, payloads=(content.payload,)), content)
    story.tell(content.came(1))
    assert story.tell(ev.ConnectionLost()) == []
    assert story.core.is_fetching
    assert story.tell(ev.ConnectionMade(BROKER, 64)) == [
        Subscribe((TOPICS.chunk(content.sha256, 0), TOPICS.chunk(content.sha256, 2)))
    ]
    story.tell(content.came(0))
    assert isinstance(story.tell(content.came(2))[-2], act.Build)


def test_what_is_not_of_the_payload_under_way_changes_nothing() -> None:
    story = Story().begun(serving())
    story.collecting(TWO)
    before = story.core.status()
    stray = Content("stray")
    assert story.tell(stray.came(0)) == []
    assert story.tell(ev.MapArrived(stray.sha256, 0, stray.map)) == []
    assert story.core.status() == before


def test_without_a_transfer_nothing_that_comes_does_anything() -> None:
    story = Story().begun(serving())
    for event in (
        CONTENT.came(0),
        ev.MapArrived(CONTENT.sha256, 0, CONTENT.map),
        ev.BytesArrived(),
        ev.SubscriptionAnswered(1, 0.1),
        ev.SubscriptionRefused("f", "no", is_final=True),
        ev.SubscriptionUnanswered(("f",)),
        ev.ConnectionLost(),
        ev.ConnectionMade(BROKER, 64),
        ev.Tick(),
    ):
        assert story.tell(event) == []
    assert story.core.deadline_s is None


def test_a_map_that_is_missing_is_asked_for_kept_and_then_the_disk_is_hashed() -> None:
    story = Story().begun(serving())
    story.offered(TWO)
    topic = TOPICS.map_part(CONTENT.sha256, 0)
    assert story.done(act.Spooled({}, is_empty=False))[1:] == [Subscribe((topic,))]
    actions = story.tell(ev.MapArrived(CONTENT.sha256, 0, CONTENT.map))
    assert actions[-1] == act.ScanSpool(CONTENT.payload, {0: CONTENT.digests})


def test_an_empty_spool_is_not_hashed() -> None:
    story = Story().begun(serving())
    story.offered(TWO)
    actions = story.done(act.Spooled({0: CONTENT.map}, is_empty=True))
    assert actions[1:] == [Subscribe((FILTER,))]
    assert isinstance(story.tell(CONTENT.came(0))[-2], act.Build)
