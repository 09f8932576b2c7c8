"""What is kept of how long files of tests take: written from a report, and allowed to be old."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.file_order import order_items
from tests.support.file_seconds import TABLE, measure_files, read_seconds

REPORT = """<testsuites><testsuite>
<testcase classname="tests.unit.test_short" name="test_a" time="0.9"/>
<testcase classname="tests.unit.test_long" name="test_a" time="1.25"/>
<testcase classname="tests.unit.test_long.TestClass" name="test_b" time="2.0"/>
<testcase classname="tests.unit.test_middle" name="test_a" time="1.5"/>
<testcase classname="tests.unit.test_gone" name="test_a" time="9.0"/>
<testcase name="a file that cannot be imported" time="9.0"/>
</testsuite></testsuites>"""


def test_the_tests_of_a_file_are_added_up_and_short_files_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "tests" / "unit"
    folder.mkdir(parents=True)
    for name in ("test_short.py", "test_long.py", "test_middle.py"):
        (folder / name).touch()
    (tmp_path / "report.xml").write_text(REPORT)

    measured = measure_files(tmp_path / "report.xml", tmp_path)

    assert measured == {"tests/unit/test_long.py": 3.2, "tests/unit/test_middle.py": 1.5}
    assert list(measured) == ["tests/unit/test_long.py", "tests/unit/test_middle.py"]


def test_what_is_kept_names_files_of_tests() -> None:
    known = read_seconds()

    assert known
    assert all(path.startswith("tests/") and seconds > 0 for path, seconds in known.items())
    assert TABLE.name == "file_seconds.json"


@pytest.mark.parametrize("measured_s", [{}, {"tests/unit/test_gone.py": 99.0}])
def test_files_that_are_not_measured_and_measures_without_a_file_do_no_harm(
    request: pytest.FixtureRequest, measured_s: dict[str, float]
) -> None:
    mine = [item for item in request.session.items if item.path == request.path]

    assert order_items(mine, measured_s) == mine
