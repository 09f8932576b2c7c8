"""`make versions`: what cannot be had fails nothing, what fails always does, and nothing lasts."""

from __future__ import annotations

import contextlib
import re
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.support.waiting import WAIT_S
from tools import versions
from tools.versions import Broken, CannotHave, Outcome


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_the_versions_are_those_that_documents_and_tools_name() -> None:
    promised = versions.promised()
    assert promised[0] == "3.11"
    assert versions.OWN in promised
    first, last = promised[0], promised[-1]
    assert f"Python {first} to {last}" in (versions.ROOT / "README.md").read_text()
    low, high = re.findall(r"\((\d, \d+)\)", (versions.ROOT / "tools" / "dev").read_text())
    assert [low.replace(", ", "."), high.replace(", ", ".")] == [first, last]
    for name in versions.DISTRIBUTIONS:
        text = (versions.ROOT / name / "pyproject.toml").read_text()
        assert re.findall(r"Python :: (3\.\d+)", text) == promised, name


def test_a_python_is_taken_only_if_it_runs_and_is_what_it_is_called(tmp_path: Path) -> None:
    assert versions.is_version(sys.executable, versions.OWN)
    assert not versions.is_version(sys.executable, "3.99")
    assert not versions.is_version(str(tmp_path / "python3.12"), "3.12")
    shim = script(tmp_path / "shim", "echo 'python3.12: command not found'; exit 127")
    assert not versions.is_version(str(shim), "3.12")


def test_pythons_of_pyenv_and_of_uv_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes = {
        "PYENV_ROOT": tmp_path / "versions" / "3.12.1" / "bin",
        "XDG_DATA_HOME": tmp_path / "uv" / "python" / "cpython-3.12.9-linux" / "bin",
    }
    for name, folder in homes.items():
        monkeypatch.setenv(name, str(tmp_path))
        folder.mkdir(parents=True)
    assert {str(folder / "python3.12") for folder in homes.values()} <= set(
        versions.candidates("3.12")
    )


def test_what_cannot_be_had_fails_nothing_and_says_why(tmp_path: Path) -> None:
    refused = script(tmp_path / "refused", "echo 'ask an administrator' >&2; exit 77")
    with pytest.raises(CannotHave, match="ask an administrator"):
        versions.get([str(refused)])
    outcome = versions.outcome_of("Python 3.99", versions.check_python, "3.99")
    assert outcome.passed is None
    assert outcome.line() == (
        "Python 3.99      not run  no python3.99 on this machine, and no stable Debian has it"
    )
    assert versions.main(["3.99"]) == 0


def test_packages_that_do_not_install_are_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = script(tmp_path / "broken", "echo 'the hashes do not match' >&2; exit 1")

    def check(name: str) -> Outcome:
        versions.get([str(broken)])
        raise AssertionError(name)

    with pytest.raises(Broken):
        versions.get([str(broken)])
    assert versions.outcome_of("Python 3.12", check, "3.12").passed is False
    assert "the hashes do not match" in capsys.readouterr().out


@pytest.mark.parametrize(("code", "passes"), [(0, True), (1, False), (5, False)])
def test_tests_pass_only_if_they_end_with_zero(tmp_path: Path, code: int, passes: bool) -> None:
    assert versions.run_tests([str(script(tmp_path / "tests", f"exit {code}"))]) is passes


def run_out_of_time(
    tests: list[str],
    has_begun: Callable[[], bool],
    monkeypatch: pytest.MonkeyPatch,
    first_s: float,
) -> float:
    """Run tests that do not end, for longer and longer, until they had the time to begin.

    Args:
        tests: their command.
        has_begun: whether they did.
        monkeypatch: sets how long they have.
        first_s: how long they have at first.

    Returns:
        The seconds that they had at last.
    """
    timeout_s = first_s
    while True:
        monkeypatch.setattr(versions, "TESTS_TIMEOUT_S", timeout_s)
        assert versions.run_tests(tests) is False
        if has_begun() or timeout_s >= WAIT_S:
            return timeout_s
        timeout_s = min(3 * timeout_s, WAIT_S)


def test_what_takes_too_long_fails_and_leaves_nothing_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "pid"
    tests = script(tmp_path / "tests", f"sleep 600 & echo $! >{told}; wait")
    run_out_of_time(
        [str(tests)], lambda: told.exists() and told.read_text().endswith("\n"), monkeypatch, 0.2
    )
    pid = int(told.read_text())
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(WAIT_S)
    assert not psutil.pid_exists(pid)


def test_tests_that_do_not_end_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    begun = tmp_path / "begun"
    (tmp_path / "test_it.py").write_text(
        "import pathlib, time\n"
        "def test_that_waits():\n"
        f"    pathlib.Path({str(begun)!r}).touch()\n"
        "    time.sleep(600)\n"
    )
    worker = ("-n", "1", "-p", "no:cacheprovider")
    tests = [sys.executable, *versions.PYTEST, *worker, str(tmp_path)]
    timeout_s = run_out_of_time(tests, begun.exists, monkeypatch, 3.0)
    said = capfd.readouterr().out
    assert f"not done within {timeout_s:.0f} s" in said
    assert "test_it.py::test_that_waits\n" in said
