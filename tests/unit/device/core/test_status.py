"""What a model's core says of itself, field by field."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from slotcast_device.core.model_status import model_status, progress_of
from slotcast_device.core.state import ModelState, Update
from slotcast_schemas.limits import DETAIL_MAX_CHARS
from slotcast_schemas.messages.status import (
    BenchedRelease,
    Check,
    Evidence,
    ModelStatus,
    Progress,
    SlotStatus,
    Target,
)
from slotcast_schemas.states import State
from tests.support.core_story import sealed, serving
from tests.support.transfer_story import TransferStory

EVIDENCE = Evidence(sequence=2, checks=(Check(name="errors", passed=False),))
BENCHED = (BenchedRelease(sequence=3, version="3.0", reason="errors"),)
UPDATE = Update(
    version="2.0",
    sequence=2,
    release_sha256=b"",
    state=State.TRIAL,
    reason="on_trial",
    detail="3 of 10 requests",
    since=7,
    deployment="spring",
    group="canary",
    evidence=EVIDENCE,
)


def test_of_an_update_everything_is_said_that_the_record_has() -> None:
    both = serving(active="b", slots={"a": sealed(1), "b": sealed(2)})
    state = replace(both, update=UPDATE, benched=BENCHED, notice_expires=99)
    assert model_status(state) == ModelStatus(
        model="detector",
        state=State.TRIAL,
        reason="on_trial",
        detail="3 of 10 requests",
        since=7,
        floor=1,
        target=Target(version="2.0", sequence=2, deployment="spring", group="canary"),
        active=SlotStatus(slot="b", version="2.0", sequence=2, files=sealed(2).files),
        standby=SlotStatus(slot="a", version="1.0", sequence=1, files=sealed(1).files),
        progress=None,
        evidence=EVIDENCE,
        benched=BENCHED,
        notice="valid",
        notice_expires=99,
    )


def test_a_device_that_was_never_told_anything_says_just_that() -> None:
    assert model_status(ModelState(model="clf")) == ModelStatus(
        model="clf", state=State.IDLE, reason="no_notice", floor=0, notice="none"
    )


@pytest.mark.parametrize(
    ("expires", "is_stale", "word"),
    [(0, False, "none"), (0, True, "none"), (9, False, "valid"), (9, True, "stale")],
)
def test_the_last_good_notice_is_judged_in_a_word(expires: int, is_stale: bool, word: str) -> None:
    state = serving(notice_expires=expires)
    assert model_status(state, is_stale=is_stale).notice == word


def test_a_release_that_is_not_known_is_no_target_and_a_long_detail_is_cut() -> None:
    update = replace(UPDATE, sequence=0, detail="x" * 2 * DETAIL_MAX_CHARS)
    status = model_status(serving(update=update))
    assert status.target is None
    assert status.detail == "x" * DETAIL_MAX_CHARS


def test_an_active_slot_that_holds_nothing_whole_is_none() -> None:
    status = model_status(serving(slots={}))
    assert (status.active, status.standby) == (None, None)


def test_progress_is_counted_in_bytes_that_are_to_be_fetched() -> None:
    story = TransferStory(20, needed=range(4, 20))
    story.transfer.start({}, 0.0)
    story.connects()
    story.map_comes()
    story.scanned(4, 5)
    story.comes(6)
    progress = progress_of(story.transfer, saved_bytes=4096, rate_bytes_per_s=500)
    assert progress == Progress(
        payload=story.content.sha256,
        codec="full+none",
        size_bytes=16 * 1024,
        verified_bytes=3 * 1024,
        received_bytes=1024 + len(story.content.map),
        reused_bytes=2 * 1024,
        saved_bytes=4096,
        rate_bytes_per_s=500,
    )
    assert model_status(serving(), progress).progress == progress
