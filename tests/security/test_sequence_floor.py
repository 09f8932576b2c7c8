"""A stolen release key used up all sequences; the targets key brings the devices back, nobody else.

Devices of before the bound on jumps could be led to the highest sequence there is. The word that
brings them back is signed with the targets (ADR 0145): here its whole story on a real broker, and
what whoever has only the release and online keys can do with it, which is nothing.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import msgspec
import pytest
from tuf.api.metadata import Metadata, Targets

from slotcast_publisher.errors import KeyUnavailable
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.trust.ceremonies import rotate_keys
from slotcast_publisher.trust.metadata_files import to_bytes
from slotcast_publisher.trust.notice_proof import verify_notice
from slotcast_schemas import limits, verify, wire
from slotcast_schemas.errors import (
    BadSignature,
    Inconsistent,
    MalformedMessage,
    UsageError,
)
from slotcast_schemas.floor_word import FLOORS, ROOM, FloorWord, read_floor_word
from slotcast_schemas.messages import Notice
from slotcast_schemas.states import State
from tests.support import models
from tests.support.core_story import Story, notice, release_of, sealed, serving
from tests.support.fleet import Publisher, model_bytes
from tests.support.role_sets import new_key

HIGHEST = 2**53 - 1


def word(epoch: int = 10, root_version: int = 1, sequence: int = 8, most: int = 100) -> FloorWord:
    return FloorWord(root_version=root_version, epoch=epoch, sequence=sequence, sequence_max=most)


# --- the whole story ------------------------------------------------------------------------------


def steal(publisher: Publisher, path: Path) -> Publisher:
    """Give a copy that has the release and online keys, but not those that lie elsewhere."""
    shutil.copytree(publisher.path, path)
    for name in ("root", "targets"):
        for file in (path / "keys").glob(f"{name}*.pem"):
            file.unlink()
    return Publisher(path)


def use_up_sequences(thief: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Release the highest sequence, as could be done while devices had no bound on jumps."""
    monkeypatch.setattr(limits, "SEQUENCE_JUMP_MAX", HIGHEST)
    given = thief.path / "evil.onnx"
    given.write_bytes(model_bytes(66))
    thief.repo.build_release(
        ReleaseRequest(
            model="clf", version="6.6.6", files=(given,), sequence=HIGHEST, is_probed=False
        )
    )
    thief.publish("clf", "6.6.6")


@pytest.mark.broker
@pytest.mark.usefixtures("quick_probes")
@pytest.mark.timeout(300)
def test_a_device_without_a_sequence_left_takes_the_next_release_after_the_targets_key_said_so(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = publisher.provision("cam-1", tmp_path / "cam-1")
    publisher.publish("clf", "1")
    assert device.run_once().state is State.COMMITTED
    thief = steal(publisher, tmp_path / "thief")
    with monkeypatch.context() as before_the_bound:
        use_up_sequences(thief, before_the_bound)
        assert device.run_once().floor == HIGHEST

    for role in ("release-clf", "online"):
        rotate_keys(publisher.repo.roles, role, new_key(publisher.repo))
    publisher.publish("clf", "2")
    refused = device.run_once()
    assert (refused.reason, refused.floor) == ("downgrade", HIGHEST)

    signed = publisher.repo.move_floor("clf", sequence=1)
    publisher.publish("clf", "2")
    status = device.run_once()
    assert (status.state, status.floor) == (State.COMMITTED, 2)
    assert status.active is not None
    assert status.active.version == "2"
    kept = json.loads((device.folder() / "state.json").read_text())["floor_word"]
    assert kept == msgspec.to_builtins(signed)
    publisher.publish("clf", "3")
    assert device.run_once().floor == 3


# --- who can sign it ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("floor")
    (folder / "model.onnx").write_bytes(models.classifier(1, hidden=16))
    repo = Repository.init(folder / "repo")
    repo.build_release(
        ReleaseRequest(model="clf", version="1.0", files=(folder / "model.onnx",), is_probed=False)
    )
    repo.offer("clf", "1.0")
    return folder / "repo"


@pytest.fixture
def repo(finished: Path, tmp_path: Path) -> Repository:
    shutil.copytree(finished, tmp_path / "repo")
    return Repository(tmp_path / "repo")


def read_word(repo: Repository, data: bytes, root_version: int = 1) -> FloorWord | None:
    """Give the word of a notice that a device believes."""
    with tempfile.TemporaryDirectory() as fresh:
        return verify.verify_notice(
            data, "clf", repo.roles.root_bytes(root_version), Path(fresh)
        ).floor


def test_the_targets_key_signs_it_and_each_word_is_above_the_last(repo: Repository) -> None:
    assert read_word(repo, repo.build_notice("clf")) is None
    first = repo.move_floor("clf", sequence=3)
    second = repo.move_floor("clf", sequence=4, most=9)
    assert read_word(repo, repo.build_notice("clf")) == second
    assert second.is_above(first)
    assert (first.sequence_max, second.sequence_max) == (3 + ROOM, 9)


def test_a_word_of_a_new_targets_key_is_above_all_that_a_stolen_one_can_say(
    repo: Repository,
) -> None:
    stolen = FloorWord(root_version=1, epoch=limits.SAFE_INTEGER_MAX, sequence=0, sequence_max=1)
    rotate_keys(repo.roles, "targets", new_key(repo))
    assert repo.move_floor("clf").is_above(stolen)
    assert read_word(repo, repo.build_notice("clf")) is not None


def test_release_and_online_keys_cannot_sign_it(repo: Repository) -> None:
    """Neither by the command, nor with the word put by hand into targets that the keys sign."""
    for name in ("root", "targets"):
        for path in (repo.path / "keys").glob(f"{name}*.pem"):
            path.unlink()
    thief = Repository(repo.path)
    with pytest.raises(KeyUnavailable, match="targets"):
        thief.move_floor("clf", sequence=0)
    carried = wire.decode(thief.build_notice("clf"), Notice)
    name = next(name for name in carried.metadata if name.endswith(".targets.json"))
    roles = thief.roles.of("clf")
    for signer in ("offers", "release-clf"):
        forged = Metadata[Targets].from_bytes(carried.metadata[name])
        forged.signed.unrecognized_fields[FLOORS] = {"clf": msgspec.to_builtins(word())}
        forged.sign(thief.ring.signer(roles.role_of(signer).keyids[0]))
        data = msgspec.structs.replace(
            carried, metadata={**carried.metadata, name: to_bytes(forged)}
        )
        with pytest.raises(BadSignature, match="targets"):
            verify_notice(wire.encode(data), thief.roles.root_bytes())


def test_the_publisher_releases_again_after_its_own_copy_was_led_to_the_end(
    repo: Repository,
) -> None:
    """The thief worked on the publisher's own machine: what he signed there counts no more."""
    repo.roles.of("clf").add_release("clf", "6.6.6", b"x", HIGHEST)
    again = ReleaseRequest(model="clf", version="2.0", same_as="1.0", is_probed=False)
    above = msgspec.structs.replace(again, version="3.0", sequence=2 + ROOM)
    with pytest.raises(UsageError, match="slotcast keys floor REPO clf"):
        repo.build_release(again)
    with pytest.raises(UsageError, match="--sequence"):
        repo.move_floor("clf")
    repo.move_floor("clf", sequence=1)
    assert repo.build_release(again).release.sequence == 2
    with pytest.raises(UsageError, match=f"at most {1 + ROOM}"):
        repo.build_release(above)
    repo.offer("clf", "2.0")
    assert read_word(repo, repo.build_notice("clf")) is not None


@pytest.mark.parametrize(
    ("words", "error", "text"),
    [
        ([], MalformedMessage, "floor of 'clf'"),
        ({"clf": {"epoch": 1}}, MalformedMessage, "root_version"),
        ({"clf": {**msgspec.to_builtins(word()), "sequence": -1}}, MalformedMessage, ">= 0"),
        ({"clf": {**msgspec.to_builtins(word()), "root_version": 3}}, Inconsistent, "root 3"),
        ({"clf": {**msgspec.to_builtins(word()), "sequence": 101}}, Inconsistent, "101, above"),
    ],
)
def test_a_word_that_cannot_be_is_refused_with_its_notice(
    words: object, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        read_floor_word({FLOORS: words}, "clf", 2)


def test_a_word_on_another_model_says_nothing() -> None:
    words = {FLOORS: {"det": {**msgspec.to_builtins(word()), "later": "fields may come"}}}
    assert read_floor_word(words, "clf", 2) is None
    assert read_floor_word(words, "det", 2) == word()


# --- what a device makes of it --------------------------------------------------------------------


def used_up() -> Story:
    """A device that committed the highest sequence there is."""
    state = serving(7, floor=HIGHEST, slots={"a": sealed(HIGHEST)})
    return Story().begun(state)


def offered(story: Story, number: int, said: FloorWord | None) -> None:
    story.offered(msgspec.structs.replace(notice(release=release_of(number)), floor=said))


def test_without_a_word_nothing_is_left_to_accept() -> None:
    story = used_up()
    offered(story, 9, None)
    assert story.words[:2] == ("REJECTED", "downgrade")


def test_a_word_moves_the_floor_and_is_kept() -> None:
    story = used_up()
    offered(story, 9, word())
    assert story.words[0] == "DOWNLOADING"
    assert (story.core.state.floor, story.core.state.floor_word) == (8, word())


@pytest.mark.parametrize("old", [word(), word(9), word(11, root_version=1)])
def test_a_word_of_before_moves_nothing(old: FloorWord) -> None:
    """What whoever holds the link, or a stolen online key, can do: show an old word again."""
    newest = word(10 if old == word() else 3, root_version=1 if old == word() else 2, sequence=20)
    story = Story().begun(serving(30, floor=HIGHEST, floor_word=newest))
    offered(story, 9, old)
    assert story.words[:2] == ("REJECTED", "downgrade")
    assert (story.core.state.floor, story.core.state.floor_word) == (HIGHEST, newest)


def test_a_device_below_the_bound_keeps_its_floor() -> None:
    """So a word that it missed for years is no way to lead it back to old releases."""
    story = Story().begun(serving(30))
    offered(story, 9, word())
    assert story.words[:2] == ("REJECTED", "downgrade")
    assert (story.core.state.floor, story.core.state.floor_word) == (30, word())


def test_what_counts_no_more_is_refused_and_raises_no_floor() -> None:
    story = Story().begun(serving(7, floor_word=word()))
    offered(story, 101, None)
    assert story.words[:2] == ("REJECTED", "inconsistent")
    assert "at most 100, as the targets key has signed" in story.words[2]
    assert story.core.state.floor == 7
