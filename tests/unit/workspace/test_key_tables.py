"""The tables of keys in the documents are those of the code."""

from __future__ import annotations

import pytest

from tools.key_tables import DOCS, TABLES, page_with


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_keys_is_in_step_with_the_struct(name: str) -> None:
    page = (DOCS / TABLES[name][0]).read_text()
    assert page_with(name, page) == page, "run `python tools/key_tables.py`"
