"""`current`, a slot, the record: whatever is lost, the device opens a whole release again.

Real files in a real folder; the core and its file jobs, with no broker. Two releases were
committed, 1 in slot a and 2 in slot b; 2 is active unless a test says otherwise.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from slotcast_device.core import actions as act
from slotcast_device.core.model import ModelCore
from slotcast_device.self_check import check
from slotcast_schemas.states import State
from tests.support.lost_slots import (
    LOST,
    RELEASES,
    Home,
    believe_every_notice,
    home_of_two,
    lose_slot,
)


@pytest.fixture(autouse=True)
def _notices_are_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    believe_every_notice(monkeypatch)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_of_two(tmp_path)


# --- at a start -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", LOST)
def test_a_lost_link_is_put_back_where_the_record_says(home: Home, how: str) -> None:
    home.loses_current(how)
    core = home.start()
    assert home.current.readlink() == Path("slots/b")
    assert home.opens() == 2
    assert (core.state.active, core.state.floor) == ("b", 2)
    assert core.status().state is State.COMMITTED
    assert "lost" in core.status().detail


@pytest.mark.parametrize("record", ["kept", "gone", "torn"])
@pytest.mark.parametrize("b", ["whole", "folder", "release", "bytes"])
@pytest.mark.parametrize("a", ["whole", "folder", "release", "bytes"])
@pytest.mark.parametrize("link", ["kept", "nothing", "a folder of files, as cp -rL makes it"])
def test_current_opens_a_whole_release_whenever_any_slot_is_whole(
    home: Home, link: str, a: str, b: str, record: str
) -> None:
    if link != "kept":
        home.loses_current(link)
    lose_slot(home, "a", a)
    lose_slot(home, "b", b)
    if record == "torn":
        (home.folder / "state.json").write_bytes(b"{")
    elif record == "gone":
        (home.folder / "state.json").unlink()
    core = home.start()

    vouched = {"whole", "release"} if record == "kept" else {"whole"}
    whole = {number for number, how in ((1, a), (2, b)) if how in vouched}
    if not whole:
        assert not home.current.exists(), "nothing is known to be right, so nothing serves"
        return
    assert home.opens() in whole
    slot = "a" if home.opens() == 1 else "b"
    assert home.current.readlink() == Path(f"slots/{slot}")
    assert core.state.active == slot, "two truths"
    assert core.status().active is not None
    if record == "kept" and 2 in whole:
        assert slot == "b", "the record says what was active"


def test_a_record_that_earlier_software_left_with_nothing_active_is_mended(home: Home) -> None:
    """It took a lost link for the truth: committed, and nothing active."""
    home.current.unlink()
    home.save(active=None)
    core = home.start()
    assert home.opens() == 2
    assert core.state.active == "b"


def test_without_record_and_link_the_release_that_was_proven_first_serves(home: Home) -> None:
    """The newer one may have failed its probe; if it is good, the notice brings it again."""
    home.current.unlink()
    (home.folder / "state.json").unlink()
    core = home.start()
    assert (home.opens(), core.state.floor) == (1, 1)


def test_a_first_release_that_was_rolled_back_is_not_opened_again(home: Home) -> None:
    home.current.unlink()
    home.save(active=None, floor=0, state=State.ROLLED_BACK, reason="errors", fallback=None)
    core = home.start()
    assert not home.current.exists()
    assert core.state.active is None
    assert core.status().state is State.ROLLED_BACK


@pytest.mark.parametrize("how", LOST)
def test_a_trial_goes_on_where_its_link_was_lost(home: Home, how: str) -> None:
    home.save(floor=1, state=State.TRIAL, reason="on_trial")
    home.loses_current(how)
    core = home.start()
    assert home.opens() == 2
    assert core.status().state is State.TRIAL


def test_a_switch_whose_link_was_lost_is_made_again_from_the_old_release(home: Home) -> None:
    home.save(active="a", floor=1, state=State.ACTIVATING, reason="switching")
    home.current.unlink()
    core = home.start()
    assert home.opens() == 2
    assert core.status().state is State.TRIAL


def test_a_roll_back_whose_link_was_lost_ends_at_the_old_release(home: Home) -> None:
    home.save(floor=1, state=State.TRIAL, reason="on_trial", verdict="errors")
    home.current.unlink()
    core = home.start()
    assert home.opens() == 1
    assert (core.status().state, core.status().reason) == (State.ROLLED_BACK, "errors")


def test_a_plain_folder_does_not_serve_where_no_slot_is_sound_and_is_not_lost(home: Home) -> None:
    home.loses_current("a folder of files, as cp -rL makes it")
    lose_slot(home, "a", "folder")
    lose_slot(home, "b", "folder")
    home.start()
    assert not home.current.exists()
    assert (home.folder / "current.aside" / "model.onnx").is_file()


def test_what_was_in_the_place_of_current_is_kept_until_the_next_update(home: Home) -> None:
    home.loses_current("an empty folder")
    (home.current / "mine").write_bytes(b"mine")
    home.start()
    assert (home.folder / "current.aside" / "mine").read_bytes() == b"mine"
    home.files.carry_out(act.DropSpool())
    assert not (home.folder / "current.aside").exists()


@pytest.mark.parametrize(("lost", "order"), [("link", [act.Activate, act.Save]),
                                             ("slot", [act.Save, act.Activate])])  # fmt: skip
def test_what_a_power_cut_between_record_and_link_leaves_is_known(
    home: Home, lost: str, order: list[type]
) -> None:
    """A link is put back first, for the record says so already; a change of slot is saved first."""
    if lost == "link":
        home.current.unlink()
    else:
        lose_slot(home, "b", "folder")
    core = ModelCore("detector", "cam-1", home.config.topics, random.Random(1))
    asked = home.do(core, core.start())
    assert [type(a) for a in asked if isinstance(a, (act.Activate, act.Save))] == order


def test_a_record_that_cannot_be_used_does_not_keep_current_lost(home: Home) -> None:
    home.current.unlink()
    (home.folder / "state.json").write_bytes(b'{"format": 99, "model": "detector"}')
    core = home.start()
    assert core.is_unreadable
    assert core.status().reason == "state_too_new"
    assert home.opens() in {1, 2}


# --- the signed release of a slot -----------------------------------------------------------------


def test_the_way_back_is_clear_though_the_old_slot_lost_its_signed_release(home: Home) -> None:
    lose_slot(home, "a", "release")
    home.save(floor=1, state=State.TRIAL, reason="on_trial", verdict="errors")
    core = home.start()
    assert home.opens() == 1
    assert core.status().state is State.ROLLED_BACK


def test_a_lost_signed_release_is_written_again_from_the_notice_beside_it(home: Home) -> None:
    lose_slot(home, "b", "release")
    core = home.start()
    assert (core.status().state, home.opens()) == (State.COMMITTED, 2)
    assert home.store.release("b") == RELEASES[2]


def test_of_a_slot_that_the_record_does_not_speak_of_no_release_is_written(home: Home) -> None:
    """Its files were being removed; with a release it would be taken for one that is whole."""
    lose_slot(home, "a", "release")
    (home.folder / "state.json").unlink()
    home.start()
    assert home.store.release("a") is None


# --- what `check` says ----------------------------------------------------------------------------


def test_the_check_says_that_current_is_lost(home: Home) -> None:
    def of_current() -> list[tuple[bool, str]]:
        return [(f.passed, f.detail) for f in check(home.config) if f.name == "current_detector"]

    assert of_current() == [(True, "opens slots/b")]
    home.loses_current("nothing")
    ((passed, detail),) = of_current()
    assert not passed
    assert "found nothing" in detail
