"""Workers get the files of tests in an order that keeps all processors busy to the end."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.file_order import FileOfTests, order_files
from tests.support.inner_pytest import run_pytest

CRASH = FileOfTests("tests/crash/test_kill.py", 60.0, waits=True)
UPDATE = FileOfTests("tests/integration/test_update.py", 30.0, waits=True)
NATS = FileOfTests("tests/integration/test_nats.py", 10.0, waits=True)
SIMULATION = FileOfTests("tests/simulation/test_simulation.py", 20.0)
MANY = FileOfTests("tests/unit/schemas/test_wire.py", 15.0)
FEW = FileOfTests("tests/unit/zoo/test_damage.py", 5.0)
ALL = [FEW, NATS, MANY, CRASH, UPDATE, SIMULATION]


def test_of_each_kind_the_longest_is_begun_first() -> None:
    order = order_files(ALL)

    waits = [file.path for file in (CRASH, UPDATE, NATS)]
    computes = [file.path for file in (SIMULATION, MANY, FEW)]
    assert [path for path in order if path in waits] == waits
    assert [path for path in order if path in computes] == computes


def test_what_waits_and_what_computes_is_begun_at_the_same_pace() -> None:
    """By time: half of what computes has been begun (20 of 40) before 60 of 100 have waited."""
    assert order_files(ALL) == [file.path for file in (CRASH, SIMULATION, MANY, UPDATE, FEW, NATS)]


def test_the_order_is_the_same_whatever_order_the_files_are_found_in() -> None:
    """Each worker collects by itself, and pytest-xdist refuses workers that differ."""
    twin = FileOfTests("tests/crash/test_twin.py", CRASH.seconds, waits=True)

    assert order_files([*ALL, twin]) == order_files([twin, *ALL[::-1]])


def test_no_files_are_in_no_order() -> None:
    assert order_files([]) == []


TEST = """
import json, os, pathlib
import pytest

{marks}

@pytest.mark.parametrize("number", range({count}))
def test_one(number):
    with open({log!r}, "a") as log:
        log.write(json.dumps([__name__, number]) + chr(10))
"""


def test_workers_run_each_test_once_in_that_order(tmp_path: Path) -> None:
    """By the conftest.py that all tests have, with one worker, which takes one file at a time.

    None of them was ever measured: one with a broker is thought to take longer than a few without.
    """
    log = tmp_path / "log"
    for name, count, marks in (
        ("test_a_few.py", 1, ""),
        ("test_b_waits.py", 2, "pytestmark = pytest.mark.broker"),
        ("test_c_waits.py", 1, "pytestmark = pytest.mark.broker"),
        ("test_d_many.py", 3, ""),
    ):
        (tmp_path / name).write_text(TEST.format(marks=marks, count=count, log=str(log)))
    (tmp_path / "conftest.py").write_text(
        "from tests.conftest import pytest_collection_modifyitems\n"
    )
    done = run_pytest(tmp_path, "--no-loadscope-reorder")
    assert done.returncode == 0, done.stdout + done.stderr
    ran = [tuple(json.loads(line)) for line in log.read_text().splitlines()]
    assert ran == [
        ("test_b_waits", 0),
        ("test_b_waits", 1),
        ("test_d_many", 0),
        ("test_d_many", 1),
        ("test_d_many", 2),
        ("test_c_waits", 0),
        ("test_a_few", 0),
    ]
