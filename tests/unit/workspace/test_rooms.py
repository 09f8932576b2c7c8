"""What `tools/rooms.py` and `tools/chunk_way.py` count."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tools.chunk_way import Watcher
from tools.rooms import DISTRIBUTIONS, ROOT, arrows, modules, report, rooms

LINK = "from package.core import store\n\n\ndef _take() -> None:\n    store.store_chunk()\n"
STORE = (
    "class Store: ...\n\n\ndef store_chunk() -> None:\n    again()\n\n\ndef again() -> None: ...\n"
)


def package(folder: Path) -> Path:
    """Two rooms, of which one imports from the other, and a name that stands for two things."""
    found = folder / "package"
    (found / "core").mkdir(parents=True)
    (found / "__init__.py").write_text("")
    (found / "core" / "__init__.py").write_text("")
    (found / "core" / "store.py").write_text(STORE)
    (found / "link.py").write_text(LINK)
    (found / "store.py").write_text("class Store: ...\n")
    return found


def test_it_counts_rooms_arrows_and_names_that_stand_for_two_things(tmp_path: Path) -> None:
    made = package(tmp_path)
    assert rooms(made) == {"core", "link", "store"}
    assert arrows(made, modules(made)) == {("link", "core")}
    said = report(made)
    assert "file names used twice or more: 1 store" in said
    assert "public class names used twice or more: 1 Store" in said


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_no_public_class_has_the_name_of_another_one(distribution: str) -> None:
    said = report(ROOT / distribution / "src" / f"slotcast_{distribution}")
    assert "public class names used twice or more: 0 " in said, said


def test_a_chunks_way_is_the_files_that_are_entered_until_its_packet_is_taken(
    tmp_path: Path,
) -> None:
    made = package(tmp_path)
    watcher = Watcher(made)
    sys.path.insert(0, str(tmp_path))
    try:
        from package import link  # type: ignore[import-not-found] # made above

        before = sys.getprofile()
        sys.setprofile(watcher)
        link._take()
        link.store.again()  # no part of a packet
        sys.setprofile(before)
    finally:
        sys.path.remove(str(tmp_path))
    assert watcher.ways == {("link", "core/store"): 1}
