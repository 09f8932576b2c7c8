"""Shells ask the device command what may come next, and have its script where they look."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from slotcast_device import cli, completion, exit_codes
from slotcast_device.completion import VARIABLE, candidates


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=Path)
    common.add_argument("--log", choices=["info", "warning"])
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--version", action="store_true", help="the version")
    commands = parser.add_subparsers()
    run = commands.add_parser("run", parents=[common], add_help=False, help="receive updates")
    run.add_argument("--once", action="store_true", help="one: then\nend")
    commands.add_parser("status", parents=[common], add_help=False, help="where it stands")
    return parser


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ([], ["run", "status"]),
        (["s"], ["status"]),
        (["--"], ["--version"]),
        (["--version", "r"], ["run"]),
        (["run", ""], ["--config", "--log", "--once"]),
        (["run", "--o"], ["--once"]),
        (["status", "--o"], []),
        (["run", "--log", ""], ["info", "warning"]),
        (["run", "--log", "x"], []),
        (["run", "--config", ""], []),
        (["run", "--config", "status", "--o"], ["--once"]),
        (["run", "--once", "--l"], ["--log"]),
        (["run", "--config=a", "--l"], ["--log"]),
    ],
)
def test_what_may_come_next_is_offered(
    parser: argparse.ArgumentParser, words: list[str], offered: list[str]
) -> None:
    assert [one.word for one in candidates(parser, words)] == offered


@pytest.mark.parametrize(
    ("shell", "line"),
    [("bash", "--once\n"), ("zsh", "--once:one: then end\n"), ("fish", "--once\tone: then end\n")],
)
def test_each_shell_is_told_in_its_own_way(
    parser: argparse.ArgumentParser, monkeypatch: pytest.MonkeyPatch, shell: str, line: str
) -> None:
    monkeypatch.setenv(VARIABLE, shell)
    assert completion.answer(parser, ["run", "--on"]) == line


def test_only_a_shell_that_is_known_is_answered(
    parser: argparse.ArgumentParser, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert completion.answer(parser, ["run"]) is None
    monkeypatch.setenv(VARIABLE, "csh")
    assert completion.answer(parser, ["run"]) is None


@pytest.mark.parametrize("shell", completion.SCRIPTS)
def test_the_script_is_written_where_the_shell_looks(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    shell: str,
) -> None:
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "of user"))
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    with pytest.raises(SystemExit) as ended:
        cli.main(["--install-completion"])
    assert ended.value.code == 0
    (path,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert path.read_text() == completion.SCRIPTS[shell]
    assert str(path) in capsys.readouterr().out


def test_a_shell_that_is_not_known_and_a_home_that_is_not_writable_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHELL", "/bin/csh")
    assert cli.main(["--show-completion"]) == exit_codes.USAGE
    assert "expected one of bash, zsh, fish, got csh" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    assert cli.main(["--install-completion", "bash"]) == exit_codes.USAGE
    assert "cannot write" in capsys.readouterr().err
