"""The breaks of the soak are made in text that is still there; the soak itself takes an hour."""

from __future__ import annotations

import pytest

from tests.soak.breaks import ATTACK_BREAKS, BREAKS, ROOT, Break
from tests.soak.breaks.__main__ import row_of
from tests.soak.breaks.attacks import GROUP

SECURITY_PAGE = (ROOT / "docs" / "security.md").read_text()


@pytest.mark.parametrize("broken", BREAKS, ids=lambda broken: broken.name)
def test_each_break_finds_its_text_once(broken: Break) -> None:
    assert (ROOT / broken.path).read_text().count(broken.old) == 1


@pytest.mark.parametrize("broken", ATTACK_BREAKS, ids=lambda broken: broken.name)
def test_a_check_is_taken_out_for_an_attack_of_the_page_by_its_test(broken: Break) -> None:
    attack, test = broken.name.removeprefix(GROUP), broken.test[-1].removeprefix("tests/")
    assert f"\n| {attack} | `{test}` | " in SECURITY_PAGE


def test_the_page_says_for_which_attacks_checks_are_taken_out() -> None:
    taken_out = SECURITY_PAGE.partition("## Checks taken out")[2]
    rows = [line for line in taken_out.splitlines() if "::" in line]
    assert rows == [row_of(broken, "noticed") for broken in ATTACK_BREAKS]
    assert f"{len(rows)} of {len(rows)} were noticed" in taken_out
    assert f"For {len(rows)} of the attacks" in taken_out
