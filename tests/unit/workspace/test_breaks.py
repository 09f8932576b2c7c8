"""The breaks of the soak are made in text that is still there; the soak itself takes an hour."""

from __future__ import annotations

import pytest

from tests.soak.breaks import BREAKS, ROOT, Break


@pytest.mark.parametrize("broken", BREAKS, ids=lambda broken: broken.name)
def test_each_break_finds_its_text_once(broken: Break) -> None:
    assert (ROOT / broken.path).read_text().count(broken.old) == 1
