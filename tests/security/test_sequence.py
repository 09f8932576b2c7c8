"""A stolen release key signs a release, and cannot use up the sequences of those after it."""

from __future__ import annotations

from pathlib import Path

import pytest

from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_schemas import limits
from slotcast_schemas.errors import UsageError
from tests.support import models
from tests.support.core_story import Story, notice, release_of, serving

MOST = 7 + limits.SEQUENCE_JUMP_MAX


@pytest.mark.parametrize("sequence", [MOST + 1, 2**53 - 1])
def test_a_sequence_far_above_the_last_is_refused_and_the_next_release_is_taken(
    sequence: int,
) -> None:
    story = Story().begun(serving(7))
    story.offered(notice(release=release_of(sequence)))
    assert story.words[:2] == ("REJECTED", "inconsistent")
    assert f"at most {MOST}, got {sequence}" in story.words[2]
    story.offered(notice(8))
    assert story.words[0] == "DOWNLOADING"


def test_one_that_has_room_above_it_is_taken() -> None:
    story = Story().begun(serving(7))
    story.offered(notice(release=release_of(MOST)))
    assert story.words[0] == "DOWNLOADING"


def test_the_publisher_makes_no_release_that_devices_would_refuse(tmp_path: Path) -> None:
    repo = Repository.init(tmp_path / "repo")
    (tmp_path / "model.onnx").write_bytes(models.classifier(1, hidden=16))
    request = ReleaseRequest(
        model="clf",
        version="1",
        files=(tmp_path / "model.onnx",),
        sequence=limits.SEQUENCE_JUMP_MAX + 1,
    )
    with pytest.raises(UsageError, match=f"at most {limits.SEQUENCE_JUMP_MAX}"):
        repo.build_release(request)
