"""`slotcast simulate`: wrong options are refused before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from slotcast_publisher.cli import app
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Settings
from slotcast_schemas.errors import UsageError
from tests.support.cli_runner import CliRunner


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "repo"
    Repository.init(path, Settings())
    return path


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model", "m", "--tag", "board=a:0.5"], "--tag: expected NAME=VALUE"),
        (["--model", "m", "--until", "sim"], "--until: expected MODEL=VERSION"),
        (["--model", "m", "--devices", "0"], "--devices: expected 1 to"),
        (["--model", "m", "--script", "none.toml"], "script none.toml: No such file"),
        (["--model", "No Such"], "model"),
        (["--model", "m"], "no broker"),
        ([], "no model"),
    ],
)
def test_wrong_options_say_what_was_expected(empty: Path, options: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["simulate", str(empty), *options, "--for", "1"])
    assert isinstance(done.exception, UsageError)
    assert said in str(done.exception)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "which repository"),
        (["--page", "--tag", "board=a:1", "--model", "m"], "--tag, --model: without REPO"),
        (["--page", "--listen", "nowhere"], "listen: expected HOST:PORT"),
    ],
)
def test_a_demonstration_makes_everything_or_says_what_it_cannot(
    words: list[str], said: str
) -> None:
    done = CliRunner().invoke(app, ["simulate", *words, "--for", "1"])
    assert isinstance(done.exception, UsageError)
    assert said in str(done.exception)
