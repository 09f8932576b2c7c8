"""What a release says to people is signed with it, bounded, shown, and changes nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgpack
import pytest

from slotcast_publisher.cli import app
from slotcast_publisher.errors import Conflict
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.release.statement import Statement, check_support, make_statement
from slotcast_publisher.repository import Repository
from slotcast_schemas import wire
from slotcast_schemas.errors import UsageError
from slotcast_schemas.messages import Release
from slotcast_schemas.messages.release import ADVISORY_MAX_CHARS
from tests.support.cli_runner import CliRunner

LAST_SECOND = int(datetime(2048, 11, 30, 23, 59, 59, tzinfo=UTC).timestamp())


def slotcast(*words: object) -> tuple[int, str]:
    found = CliRunner().invoke(app, [str(word) for word in words])
    return found.exit_code, found.output


def test_a_release_says_what_it_changes_and_inspect_shows_it(
    repo: Repository, model_file: Path
) -> None:
    asked = (
        "release", repo.path, "clf", "2.0", model_file, "--mends-fault", "--adds-function",
        "--advisory", "Finds people in low light.\n2.0 and older should go.",
        "--supported-until", "2048-11-30", "--no-probe",
    )  # fmt: skip
    code, said = slotcast(*asked)
    assert code == 0, said
    release = repo.store.folder("clf", "2.0").load()
    assert release.changes == ("mends_fault", "adds_function")
    assert release.supported_until == LAST_SECOND
    code, said = slotcast(*asked)
    assert code == 0, said  # the same again changes nothing
    repo.offer("clf", "2.0")
    _, shown = slotcast("inspect", repo.path, "clf")
    for line in (
        "changes mends fault, adds function",
        "support until 2048-11-30",
        "advice  Finds people in low light.",
        "        2.0 and older should go.",
    ):
        assert f"    {line}\n" in shown


def test_an_older_release_has_said_nothing_and_its_bytes_are_read_as_before(
    repo: Repository,
) -> None:
    release = repo.store.folder("clf", "1.0").load()
    fields = msgpack.unpackb(wire.encode(release))
    for name in ("advisory", "changes", "supported_until"):
        del fields[name]
    assert wire.decode(msgpack.packb(fields), Release) == release


def test_a_later_word_for_a_change_does_not_stop_a_device(repo: Repository) -> None:
    release = repo.store.folder("clf", "1.0").load()
    fields = msgpack.unpackb(wire.encode(release)) | {"changes": ["makes_coffee"]}
    assert wire.decode(msgpack.packb(fields), Release).changes == ("makes_coffee",)


def test_the_same_release_may_not_say_something_else(repo: Repository, model_file: Path) -> None:
    other = ReleaseRequest(
        model="clf", version="1.0", files=(model_file,), statement=Statement(advisory="new")
    )
    with pytest.raises(Conflict, match="differs in options"):
        repo.build_release(other)


@pytest.mark.parametrize(
    ("advisory", "changes", "until", "says"),
    [
        ("a" * (ADVISORY_MAX_CHARS + 1), (), None, "at most 2,000 characters, got 2,001"),
        ("see\x1b[2J", (), None, "nobody can see"),
        ("\u202eevil", (), None, "nobody can see"),
        ("", ("mends_all",), None, "expected one of mends_vulnerability"),
        ("", (), "30.11.2048", "such as 2028-11-30, got '30.11.2048'"),
        ("", (), "2048-02-30", "such as 2028-11-30"),
        ("", (), "9999-12-31x", "such as 2028-11-30"),
    ],
)
def test_what_cannot_be_said_is_refused_with_what_was_expected(
    advisory: str, changes: tuple[str, ...], until: str | None, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        make_statement(advisory, changes, until)


def test_support_lasts_to_the_end_of_its_last_day() -> None:
    statement = make_statement("", (), "2048-11-30")
    check_support(statement, LAST_SECOND)
    with pytest.raises(UsageError, match="has not gone by, got 2048-11-30"):
        check_support(statement, LAST_SECOND + 1)


def test_a_release_with_shapes_and_ranges_is_the_same_when_asked_for_again(
    repo: Repository, model_file: Path
) -> None:
    name = repo.store.folder("clf", "1.0").load().inputs[0]
    width = name.shape[-1]
    assert isinstance(width, int)
    asked = ReleaseRequest(
        model="clf", version="3.0", files=(model_file,), is_probed=False,
        shapes={name.name: (1, width)}, ranges={name.name: (0.0, 1.0)},
    )  # fmt: skip
    assert repo.build_release(asked).is_new
    assert not repo.build_release(asked).is_new
