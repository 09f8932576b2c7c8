"""Which releases a new one is offered as a delta from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from slotcast_publisher.errors import NotFound
from slotcast_publisher.notice import OfferWanted
from slotcast_publisher.release.delta_payloads import WORTH_FEATURES, DeltaBuilder
from slotcast_publisher.release.payloads import FullBuilder
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Settings
from tests.support.fleet import model_bytes
from tests.support.packed_once import PackedOnce


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return Repository.init(tmp_path / "repo", Settings(), encrypted=False)


def release(repo: Repository, tmp_path: Path, number: int, builder: DeltaBuilder) -> list[str]:
    """Release a model of its own weights; give the versions that it has deltas from."""
    file = tmp_path / "model.onnx"
    file.write_bytes(model_bytes(number, 1 << 14))
    request = ReleaseRequest(model="clf", version=str(number), files=(file,), is_probed=False)
    done = repo.build_release(request, builders=(PackedOnce(), builder))
    bases = [r.payload.base.version for r in done.payloads if r.payload.base is not None]
    return list(dict.fromkeys(bases))


ANY = DeltaBuilder(worth=1e9)


def test_where_lines_moved_devices_of_before_are_offered_a_delta_too(
    repo: Repository, tmp_path: Path
) -> None:
    """A device passes over codecs that it does not know: it must never need one."""
    file = tmp_path / "model.onnx"
    model = onnx.load_from_string(model_bytes(1, 1 << 14))
    for version, builder in (("1", ANY), ("2", ANY), ("3", DeltaBuilder())):
        file.write_bytes(model.SerializeToString())
        request = ReleaseRequest(model="clf", version=version, files=(file,), is_probed=False)
        done = repo.build_release(request, builders=(PackedOnce(), builder))
        deltas = [each.payload for each in done.payloads if each.payload.base is not None]
        if version == "2":
            plain, mapped, short = sorted(deltas, key=lambda each: each.codec)
            assert (plain.codec, mapped.codec) == ("delta+v1", "delta+v2")
            assert mapped.size_bytes < 0.1 * plain.size_bytes
            assert short.codec == "delta+v3"
            assert short.size_bytes <= WORTH_FEATURES * mapped.size_bytes
        if version == "3":
            # One that does not pay is left out, as ever.
            assert {each.codec for each in deltas} == {"delta+v2", "delta+v3"}
        weights = model.graph.initializer[1]
        array = numpy_helper.to_array(weights)
        order = np.random.default_rng(int(version)).permutation(array.shape[1])
        weights.CopyFrom(numpy_helper.from_array(array[:, order], weights.name))


def test_deltas_start_from_the_last_three(repo: Repository, tmp_path: Path) -> None:
    assert release(repo, tmp_path, 1, ANY) == []
    assert release(repo, tmp_path, 2, ANY) == ["1"]
    for number in (3, 4):
        release(repo, tmp_path, number, DeltaBuilder(count=0))
    assert release(repo, tmp_path, 5, ANY) == ["4", "3", "2"]


def test_what_devices_hold_comes_before_what_was_taken_back(
    repo: Repository, tmp_path: Path
) -> None:
    for number in (1, 2, 3, 4):
        release(repo, tmp_path, number, DeltaBuilder(count=0))
        if number in {1, 4}:
            repo.offer("clf", str(number), OfferWanted())
    repo.withdraw("clf")  # 4 turned out bad: devices are back on 1
    assert release(repo, tmp_path, 5, DeltaBuilder(count=2, worth=1e9)) == ["1", "4"]


def test_a_delta_that_does_not_pay_is_not_offered(repo: Repository, tmp_path: Path) -> None:
    release(repo, tmp_path, 1, ANY)
    assert release(repo, tmp_path, 2, DeltaBuilder(worth=0.0)) == []


def test_a_base_that_does_not_exist_is_refused_with_those_that_do(
    repo: Repository, tmp_path: Path
) -> None:
    release(repo, tmp_path, 1, ANY)
    with pytest.raises(NotFound, match=r"got '0\.9'; there are 1"):
        release(repo, tmp_path, 2, DeltaBuilder(("0.9",)))


def test_what_an_older_repository_remembers_as_done_is_not_done_again(
    repo: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names are in every repository that there is: a changed one would pack all of it again."""
    release(repo, tmp_path, 1, ANY)
    folder = repo.store.folder("clf", "1")
    assert json.loads((folder.path / "payloads.json").read_bytes())["done"] == [
        "build_full",
        "deltas",
    ]
    monkeypatch.setattr(FullBuilder, "build", None)
    monkeypatch.setattr(DeltaBuilder, "build", None)
    release(repo, tmp_path, 1, ANY)


def test_where_a_delta_asks_for_a_feature_devices_of_before_have_a_plain_one(
    repo: Repository, tmp_path: Path
) -> None:
    """The two models have nothing in common: all weights of the second are without an old self."""
    release(repo, tmp_path, 1, ANY)
    release(repo, tmp_path, 2, ANY)
    payloads = [record.payload for record in repo.store.folder("clf", "2").payloads()]
    sizes = {each.codec: each.size_bytes for each in payloads if each.base is not None}
    assert list(sizes) == ["delta+v1", "delta+v2"]
    assert sizes["delta+v2"] < 0.95 * sizes["delta+v1"]
