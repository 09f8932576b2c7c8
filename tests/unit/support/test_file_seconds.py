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
<testcase classname="tests.unit.test_engine" name="test_a" time="0.1"><skipped/></testcase>
<testcase name="a file that cannot be imported" time="9.0"/>
</testsuite></testsuites>"""


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A report, beside the files that it tells of."""
    folder = tmp_path / "tests" / "unit"
    folder.mkdir(parents=True)
    for name in ("short", "long", "middle", "engine"):
        (folder / f"test_{name}.py").touch()
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    return report


def test_the_tests_of_a_file_are_added_up_and_short_files_left_out(report: Path) -> None:
    measured = measure_files(report, {}, report.parent)

    assert measured == {"tests/unit/test_long.py": 3.2, "tests/unit/test_middle.py": 1.5}
    assert list(measured) == ["tests/unit/test_long.py", "tests/unit/test_middle.py"]


def test_a_file_whose_tests_were_skipped_keeps_its_time_and_one_that_is_gone_none(
    report: Path,
) -> None:
    known_s = {f"tests/unit/test_{name}.py": 50.0 for name in ("engine", "gone", "short")}

    measured = measure_files(report, known_s, report.parent)

    assert measured["tests/unit/test_engine.py"] == 50.0
    assert not {"tests/unit/test_gone.py", "tests/unit/test_short.py"} & measured.keys()


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
