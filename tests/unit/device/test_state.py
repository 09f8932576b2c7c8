"""The durable record: written whole, read with suspicion."""

from __future__ import annotations

from pathlib import Path

import pytest

from slotcast_device.core.state import BENCHED_MAX, ModelState, Update, record_of
from slotcast_device.storage import state_file as records
from slotcast_device.storage.os_disk import OsDisk
from slotcast_schemas.errors import StateTooNew, StateUnreadable
from slotcast_schemas.messages.status import BenchedRelease
from slotcast_schemas.states import State
from tests.support import messages

DISK = OsDisk()
UPDATE = Update(
    version="1.2.0", sequence=7, release_sha256=b"r" * 32, state=State.TRIAL, reason="x"
)
STATE = ModelState(
    model="detector",
    floor=6,
    active="a",
    slots={"a": record_of(messages.release(), b"r" * 32)},
    update=UPDATE,
    benched=(BenchedRelease(sequence=3, version="0.3", reason="latency", attempt=1),),
)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert records.load(DISK, path, "detector") is None
    records.save(DISK, path, STATE)
    assert records.load(DISK, path, "detector") == STATE
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize("format_", ["2", "99"])
def test_a_newer_record_is_refused_even_if_nothing_else_in_it_is_known(
    tmp_path: Path, format_: str
) -> None:
    path = tmp_path / "state.json"
    path.write_text(f'{{"format": {format_}, "models": ["other", "shape"]}}')
    with pytest.raises(StateTooNew, match=rf"expected format 1, got {format_}.*move the file"):
        records.load(DISK, path, "detector")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "\0" * 100,
        '{"format": "1"}',
        '{"format": 1}',
        '{"format": 1, "model": 7}',
    ],
)
def test_a_damaged_record_is_said_to_be_damaged(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(StateUnreadable):
        records.load(DISK, path, "detector")


def test_the_record_of_another_model_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    records.save(DISK, path, STATE)
    with pytest.raises(StateUnreadable, match="'segmenter', got 'detector'"):
        records.load(DISK, path, "segmenter")


def test_benched_releases_are_bounded_and_the_oldest_goes_first() -> None:
    state = ModelState(model="detector")
    for sequence in range(BENCHED_MAX + 5):
        state = state.benching(
            BenchedRelease(sequence=sequence, version=str(sequence), reason="x", attempt=1)
        )
    assert [b.sequence for b in state.benched] == list(range(5, BENCHED_MAX + 5))
    again = state.benching(BenchedRelease(sequence=9, version="9", reason="y", attempt=2))
    assert len(again.benched) == BENCHED_MAX
    assert again.benched[-1].attempt == 2


def test_the_standby_slot_is_never_the_active_one() -> None:
    assert ModelState(model="m").standby == "a"
    assert ModelState(model="m", active="a").standby == "b"
    assert ModelState(model="m", active="b").standby == "a"
