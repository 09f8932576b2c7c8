"""Finders: tensors are found in files of every kind, and a delta of them costs what ONNX's does."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper

from slotcast_publisher.delta.layout import find_tensors
from slotcast_publisher.delta.match import match_tensors
from slotcast_publisher.delta.place import TensorPlace
from slotcast_publisher.release.weights_payload import encode_weights_payload
from slotcast_schemas.codecs.delta.elements import BFLOAT16, FLOAT16, FLOAT32
from slotcast_schemas.codecs.source import MemorySource
from tests.support.deltas import kinds_of, model_bytes, round_trip, write_image
from tests.support.model_files import (
    gguf_bytes,
    safetensors_bytes,
    tflite_bytes,
    torchscript_bytes,
)
from tests.support.trees import draw_tree, tree_model

Weights = dict[str, NDArray[Any]]
ONNX_FACTOR = 1.1
"""What a delta in another format may cost, by the issue, of the same weights in ONNX."""


def _weights(seed: int = 1) -> Weights:
    """Tensors as a network has them: matrices of different scales, vectors between them."""
    rng = np.random.default_rng(seed)
    shapes = {"embed": (300, 96), "q": (96, 96), "q.bias": (96,), "up": (384, 96), "head": (96, 10)}
    return {
        name: (rng.standard_normal(shape) * 0.5 / 2**number).astype(np.float32)
        for number, (name, shape) in enumerate(shapes.items())
    }


def _tuned(weights: Weights, by: float = 0.01) -> Weights:
    rng = np.random.default_rng(2)
    return {
        name: (each + each.std() * by * rng.standard_normal(each.shape)).astype(each.dtype)
        for name, each in weights.items()
    }


def _unknown(weights: Weights) -> bytes:
    """A format of somebody's own: names and sizes between the arrays, which are not aligned."""
    parts = [b"NET7"]
    for name, each in weights.items():
        parts += [name.encode(), b"\0", struct.pack("<I", each.size), each.tobytes()]
    return b"".join(parts)


FORMATS: dict[str, Callable[[Weights], bytes]] = {
    "m.gguf": gguf_bytes,
    "m.safetensors": safetensors_bytes,
    "m.tflite": tflite_bytes,
    "m.pt": torchscript_bytes,
    "m.bin": _unknown,
}
TOLD = ("m.gguf", "m.safetensors", "m.tflite", "m.pt")
"""Formats that say where their tensors lie."""


def _cost(folder: Path, name: str, old: bytes, new: bytes) -> int:
    return len(round_trip(folder, {name: old}, {name: new})[1])


@pytest.mark.parametrize("name", FORMATS)
def test_a_fine_tune_costs_no_more_than_in_onnx(tmp_path: Path, name: str) -> None:
    old, new = _weights(), _tuned(_weights())
    onnx = _cost(tmp_path / "onnx", "m.onnx", model_bytes(old), model_bytes(new))
    write = FORMATS[name]
    assert _cost(tmp_path / "other", name, write(old), write(new)) < ONNX_FACTOR * onnx


@pytest.mark.parametrize("name", TOLD)
def test_each_tensor_is_found_where_it_lies(tmp_path: Path, name: str) -> None:
    weights = _weights()
    image = write_image(tmp_path, **{name: FORMATS[name](weights)})
    data = image[0][1].read_bytes()
    found = {data[place.offset : place.end]: place.dims for place in find_tensors(image)}
    assert found == {each.tobytes(): each.shape for each in weights.values()}


def test_a_bundle_has_the_tensors_of_the_models_in_it(tmp_path: Path) -> None:
    """As MediaPipe's .task files: stored members that are models themselves."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("detector.tflite", tflite_bytes(_weights(1)))
        archive.writestr("landmarks.tflite", tflite_bytes(_weights(2)))
    places = find_tensors(write_image(tmp_path, m__task=out.getvalue()))
    assert [place.name for place in places if "head" in place.name] == [
        "detector.tflite:head",
        "landmarks.tflite:head",
    ]


def test_a_pickle_that_names_a_function_runs_nothing(tmp_path: Path) -> None:
    """The file of somebody else may hold any pickle; finding tensors must not execute it."""
    out, witness = io.BytesIO(), tmp_path / "witness"
    evil = b"cpathlib\nPath.touch\ncpathlib\nPath\nX" + struct.pack("<I", len(str(witness)))
    evil += str(witness).encode() + b"\x85R\x85R."
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("net/data.pkl", evil)
    find_tensors(write_image(tmp_path / "image", m__pt=out.getvalue()))
    assert not witness.exists()


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [(np.float32, FLOAT32), (np.float16, FLOAT16), (ml_dtypes.bfloat16, BFLOAT16)],
)
def test_floats_are_known_by_their_looks(tmp_path: Path, dtype: Any, kind: Any) -> None:
    """Wherever they begin, between text and numbers, each kind of float is known to a block."""
    weights = _weights()["embed"].astype(dtype)
    before = b"vocabulary: " + b" ".join(b"token%d" % number for number in range(9000))
    after = np.arange(9000, dtype=np.int32).tobytes()
    image = write_image(tmp_path, m__bin=before + b"\0" + weights.tobytes() + after)
    (place,) = find_tensors(image)
    start, end = len(before) + 1, len(before) + 1 + weights.nbytes
    assert place.kind == kind
    assert (place.offset - start) % weights.itemsize == 0
    assert max(abs(place.offset - start), abs(place.end - end)) < 4096


@pytest.mark.parametrize(
    "data",
    [
        np.random.default_rng(1).bytes(200_000),
        bytes(200_000),
        b"the quick brown fox 0123456789, " * 6000,
        np.arange(50_000, dtype="<i4").tobytes(),
        (np.random.default_rng(1).standard_normal(200_000) * 30).astype(np.int8).tobytes(),
    ],
    ids=["noise", "zeros", "text", "counters", "int8"],
)
def test_what_is_no_array_of_floats_is_not_taken_for_one(tmp_path: Path, data: bytes) -> None:
    assert find_tensors(write_image(tmp_path, m__bin=data)) == []


def test_a_grown_array_in_an_unknown_file_is_found_again(tmp_path: Path) -> None:
    """A vocabulary gained rows: everything behind them moved, and has its old self all the same."""
    old, new = _weights(), _tuned(_weights())
    rows = (np.random.default_rng(3).standard_normal((7, 96)) * 0.5).astype(np.float32)
    same = _cost(tmp_path / "same", "m.bin", _unknown(old), _unknown(new))
    new["embed"] = np.concatenate([new["embed"][:111], rows, new["embed"][111:]])
    grown = _cost(tmp_path / "grown", "m.bin", _unknown(old), _unknown(new))
    assert grown < same + 1.2 * rows.nbytes


@pytest.mark.parametrize("kind", ["<f4", "<f2"])
def test_shuffled_rows_in_an_unknown_file_cost_a_number_a_row(tmp_path: Path, kind: str) -> None:
    """Where stretches of the base begin says how long the rows are that nothing tells of."""
    rows = (np.random.default_rng(1).standard_normal((1500, 160)) * 0.02).astype(kind)
    order = np.random.default_rng(2).permutation(len(rows))
    old, new = (b"NET7" + bytes(8) + each.tobytes() + b"end." for each in (rows, rows[order]))
    assert _cost(tmp_path, "m.bin", old, new) < 2 * len(rows) + 900


def test_quantised_tensors_in_an_unknown_file_cost_about_as_much_as_in_onnx(tmp_path: Path) -> None:
    """Integers held in floats, each tensor with a scale of its own, and nobody says where."""
    rng = np.random.default_rng(1)
    sizes = [(300, 200), (1, 700), (250, 310), (64, 900), (1, 333)]
    weights = {
        f"w{at}": np.rint(rng.standard_normal(size) * 25).clip(-127, 127).astype(np.float32)
        * np.float32(0.0007 * (at + 1.3))
        for at, size in enumerate(sizes)
    }
    data = b"NET7" + bytes(8) + b"".join(each.tobytes() for each in weights.values())
    told = encode_weights_payload(
        write_image(tmp_path / "a", m__onnx=model_bytes(weights)), tmp_path / "told"
    )
    found = encode_weights_payload(write_image(tmp_path / "b", m__bin=data), tmp_path / "found")
    assert sum(found) < 1.1 * sum(told)
    assert _cost(tmp_path, "m.bin", b"another text " * 1000, data) < 1.1 * sum(told)


def test_a_merged_lora_in_an_unknown_file_travels_as_its_factors(tmp_path: Path) -> None:
    """Rows that no header tells of are found by the rank of what moved."""
    old = {"a": _weights()["up"], "w": (np.random.default_rng(4).random((192, 160)) - 0.5)}
    old["w"] = old["w"].astype(np.float32)
    rng = np.random.default_rng(5)
    factors = rng.standard_normal((192, 4)) @ rng.standard_normal((4, 160)) * 1e-3
    new = dict(old, w=(old["w"] + factors).astype(np.float32))
    report, payload = round_trip(tmp_path, {"m.bin": _unknown(old)}, {"m.bin": _unknown(new)})
    assert "float32 low rank 4" in kinds_of(report)
    assert len(payload) < 0.15 * old["w"].nbytes


def test_reordered_arrays_in_an_unknown_file_are_found_again(tmp_path: Path) -> None:
    old, new = _weights(), _tuned(_weights())
    same = _cost(tmp_path / "same", "m.bin", _unknown(old), _unknown(new))
    turned = dict(reversed(new.items()))
    assert _cost(tmp_path / "turned", "m.bin", _unknown(old), _unknown(turned)) < 1.05 * same


@pytest.mark.parametrize(
    "old",
    [b"a text of another file " * 1000, _unknown(_weights(7)), b"NET7" + bytes(4)],
    ids=["text", "other weights", "next to nothing"],
)
def test_an_unknown_file_of_which_the_base_has_nothing_costs_no_more(
    tmp_path: Path, old: bytes
) -> None:
    """No stretch of signs comes twice, and none can be held against another."""
    new = _unknown(_weights())
    assert _cost(tmp_path, "m.bin", old, new) < 0.95 * len(new)


def test_arrays_that_begin_together_are_told_apart() -> None:
    """Pieces of a base may overlap: the samples of one are not those of the other."""
    short, weights = 8, _weights()["q"]
    old = [_guessed("short", 0, short), _guessed("long", 0, weights.size)]
    new = [_guessed("short", 0, short), _guessed("long", 4 * short, weights.size)]
    data = weights.tobytes()
    matches = match_tensors(MemorySource(data), old, MemorySource(data[: 4 * short] + data), new)
    assert [(match.new, match.old, match.doubt) for match in matches] == [
        (new[0], old[0], 0.0),
        (new[1], old[1], 0.0),
    ]


def _guessed(name: str, offset: int, count: int) -> TensorPlace:
    return TensorPlace(name, FLOAT32, (count,), offset, 4 * count, is_guess=True)


@pytest.mark.parametrize("name", TOLD)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_file_has_no_tensors_outside_itself(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    """Whatever bytes are changed or cut off, finding ends, and what it finds lies in the file."""
    whole = bytearray(FORMATS[name]({"w": _weights()["head"], "b": _weights()["q.bias"]}))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, min(len(whole), 700) - 1))] = data.draw(st.integers(0, 255))
    whole = whole[: data.draw(st.integers(0, len(whole)))]
    folder = tmp_path_factory.mktemp("damaged")
    end = 0
    for place in find_tensors(write_image(folder, **{name: bytes(whole)})):
        assert end <= place.offset
        end = place.end
        assert isinstance(place, TensorPlace)
        assert end <= len(whole)


def test_numbers_of_trees_are_not_taken_for_arrays(tmp_path: Path) -> None:
    """A tag of a number looks like the exponent of a float16."""
    rng = np.random.default_rng(1)
    model = tree_model([draw_tree(rng, 400) for _ in range(5)])
    assert not find_tensors(write_image(tmp_path / "told", m__onnx=model))
    assert find_tensors(write_image(tmp_path / "opaque", m__bin=model)), "it says nothing else"


def test_arrays_beside_numbers_of_trees_are_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    model = onnx.load_from_string(tree_model([draw_tree(rng, 400)]))
    weights = (rng.standard_normal(20_000) * 0.05).astype("<f4").tobytes()
    model.graph.node.append(helper.make_node("Custom", ["x"], ["z"], domain="d", blob=weights))
    image = write_image(tmp_path / "m", m__onnx=model.SerializeToString())
    assert sum(place.size_bytes for place in find_tensors(image)) > 0.95 * len(weights)
