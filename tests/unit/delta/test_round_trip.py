"""Deltas of models: every kind of change comes back bit for bit, at the price it should have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from slotcast_publisher.delta.known_moves import KnownMoves
from slotcast_publisher.delta.other import Packed, is_patch_worth_it
from slotcast_schemas.codecs.delta.headers import FEATURE_RECORDS, FEATURE_WEIGHTS
from slotcast_schemas.codecs.delta.segments import (
    MODE_PLAIN,
    OtherStreams,
    Rebase,
)
from tests.support.deltas import apply_delta, kinds_of, model_bytes, round_trip, small_weights
from tests.support.old_packages import NEEDS_ONNX_OF_TODAY
from tests.support.weights import as_bfloat16, trained

ROWS, COLUMNS = 192, 160


def _moved(weights: NDArray[np.float32], seed: int, by: float = 3e-4) -> NDArray[np.float32]:
    step = np.random.default_rng(seed).standard_normal(weights.shape) * by
    return (weights + step).astype(np.float32)


def _models(old: Any, new: Any) -> tuple[dict[str, bytes], dict[str, bytes]]:
    return {"m__onnx": model_bytes(old)}, {"m__onnx": model_bytes(new)}


def test_an_equal_model_costs_next_to_nothing(tmp_path: Path) -> None:
    weights = {"w": small_weights(1, ROWS, COLUMNS)}
    report, payload = round_trip(tmp_path, *_models(weights, weights))
    assert kinds_of(report) == {"copy", "other"}
    assert len(payload) < 400


def test_moved_float32_weights_cost_far_less_than_the_file(tmp_path: Path) -> None:
    old = small_weights(1, ROWS, COLUMNS)
    report, payload = round_trip(tmp_path, *_models({"w": old}, {"w": _moved(old, 2)}))
    assert kinds_of(report) == {"float32 difference", "other"}
    assert len(payload) < 0.62 * old.nbytes


def test_moved_float16_weights_cost_less_still(tmp_path: Path) -> None:
    old = small_weights(1, ROWS, COLUMNS)
    pair = {"w": old.astype(np.float16)}, {"w": _moved(old, 2).astype(np.float16)}
    report, payload = round_trip(tmp_path, *_models(*pair))
    assert kinds_of(report) == {"float16 difference", "other"}
    assert len(payload) < 0.40 * old.nbytes / 2


def _tensor(name: str, data_type: int, dims: tuple[int, ...], raw: bytes) -> TensorProto:
    return helper.make_tensor(name, data_type, dims, raw, raw=True)


def test_bfloat16_is_known(tmp_path: Path) -> None:
    old = small_weights(1, ROWS, COLUMNS)
    raws = [each.astype(ml_dtypes.bfloat16).tobytes() for each in (old, _moved(old, 2))]
    tensors = [{"w": _tensor("w", TensorProto.BFLOAT16, old.shape, raw)} for raw in raws]
    report, payload = round_trip(tmp_path, *_models(*tensors))
    assert kinds_of(report) == {"bfloat16 difference", "other"}
    assert len(payload) < 0.30 * len(raws[0])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32])
def test_integers_that_rarely_move_cost_little(
    tmp_path: Path, dtype: type[np.integer[Any]]
) -> None:
    rng = np.random.default_rng(3)
    old: NDArray[Any] = rng.integers(0, 100, (ROWS, COLUMNS)).astype(dtype)
    new: NDArray[Any] = (old + (rng.random(old.shape) < 0.02)).astype(dtype)
    report, payload = round_trip(tmp_path, *_models({"w": old}, {"w": new}))
    assert any("difference" in kind for kind in kinds_of(report))
    # The entropy of one in fifty is 0.14 bits an element; the rest is learning and description.
    assert len(payload) < old.size * 0.25 / 8 + 300


def test_packed_4_bit_weights_are_taken_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    old = rng.integers(0, 16, ROWS * COLUMNS)
    new = np.where(rng.random(old.shape) < 0.02, (old + 1) % 16, old)
    raws = [(each[0::2] | each[1::2] << 4).astype(np.uint8).tobytes() for each in (old, new)]
    tensors = [{"w": _tensor("w", TensorProto.INT4, (ROWS, COLUMNS), raw)} for raw in raws]
    report, payload = round_trip(tmp_path, *_models(*tensors))
    assert "int4 difference" in kinds_of(report)
    assert len(payload) < old.size * 0.25 / 8 + 300


def test_weights_in_typed_fields_are_found(tmp_path: Path) -> None:
    old = small_weights(1, ROWS, COLUMNS)
    pair = [
        {"w": helper.make_tensor("w", TensorProto.FLOAT, each.shape, each.ravel().tolist())}
        for each in (old, _moved(old, 2))
    ]
    report, _ = round_trip(tmp_path, *_models(*pair))
    assert "float32 difference" in kinds_of(report)


def test_a_merged_lora_travels_as_its_factors(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    old = small_weights(1, 256, 320)
    product = rng.standard_normal((256, 4)) @ rng.standard_normal((4, 320)) * 1e-3
    new = (old + product).astype(np.float32)
    report, payload = round_trip(tmp_path, *_models({"w": old}, {"w": new}))
    assert "float32 low rank 4" in kinds_of(report)
    assert len(payload) < 0.1 * old.nbytes


def _decayed(weights: NDArray[np.float32], steps: int) -> NDArray[np.float32]:
    for _ in range(steps):
        weights = (weights * np.float32(1 - 2e-7)).astype(np.float32)
    return weights


def test_rows_that_were_only_decayed_are_predicted(tmp_path: Path) -> None:
    old = small_weights(1, 2048, 128)
    new = _decayed(old, 100)
    new[::4] = _moved(old[::4], 2)
    report, payload = round_trip(tmp_path, *_models({"w": old}, {"w": new}))
    assert "float32 decay" in kinds_of(report)
    assert len(payload) < 0.30 * old.nbytes


def test_a_renamed_and_reordered_model_is_found_again(tmp_path: Path) -> None:
    tensors = {f"w{index}": small_weights(index, ROWS, COLUMNS) for index in range(4)}
    renamed = {f"layer.{name}": tensors[name] for name in reversed(tensors)}
    report, payload = round_trip(tmp_path, *_models(tensors, renamed))
    assert kinds_of(report) == {"copy", "other"}
    assert len(payload) < 1000


def test_swapped_names_are_not_believed(tmp_path: Path) -> None:
    first, second = small_weights(1, ROWS, COLUMNS), small_weights(2, ROWS, COLUMNS)
    pair = {"a": first, "b": second}, {"a": second, "b": first}
    report, _ = round_trip(tmp_path, *_models(*pair))
    assert kinds_of(report) == {"copy", "other"}


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
def test_a_transposed_matrix_is_found_again(tmp_path: Path, dtype: type[np.number[Any]]) -> None:
    old: NDArray[Any] = (small_weights(1, ROWS, COLUMNS) * 500).astype(dtype)
    turned = {"w/transposed": np.ascontiguousarray(old.T)}
    report, payload = round_trip(tmp_path, *_models({"w": old}, turned))
    assert kinds_of(report) == {"copy, transposed", "other"}
    assert len(payload) < 1000


def test_a_transposed_and_moved_matrix_costs_as_much_as_a_moved_one(tmp_path: Path) -> None:
    old = small_weights(1, 700, 90)
    new = _moved(old, 2)
    _, straight = round_trip(tmp_path / "straight", *_models({"w": old}, {"w": new}))
    turned = {"t": np.ascontiguousarray(new.T)}
    _, crossed = round_trip(tmp_path / "crossed", *_models({"w": old}, turned))
    assert len(crossed) < 1.02 * len(straight)


def test_external_data_is_read_from_its_file(tmp_path: Path) -> None:
    images = []
    for name, weights in (
        ("a", small_weights(1, ROWS, COLUMNS)),
        ("b", small_weights(1, ROWS, COLUMNS)),
    ):
        moved = weights if name == "a" else _moved(weights, 2)
        model = onnx.load_from_string(model_bytes({"w": moved, "v": moved[:4]}))
        path = tmp_path / name / "m.onnx"
        path.parent.mkdir()
        onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
        images.append(
            {"m__onnx": path.read_bytes(), "w__bin": path.with_name("w.bin").read_bytes()}
        )
    report, payload = round_trip(tmp_path / "images", *images)
    assert "float32 difference" in kinds_of(report)
    assert len(payload) < 0.63 * ROWS * COLUMNS * 4


def test_safetensors_are_known(tmp_path: Path) -> None:
    old = small_weights(1, ROWS, COLUMNS)
    files = []
    for weights in (old, _moved(old, 2)):
        entry = f'{{"dtype":"F32","shape":[{ROWS},{COLUMNS}],"data_offsets":[0,{old.nbytes}]}}'
        header = f'{{"__metadata__":{{"format":"pt"}},"w":{entry}}}'.encode()
        files.append(
            {"m__safetensors": len(header).to_bytes(8, "little") + header + weights.tobytes()}
        )
    report, _ = round_trip(tmp_path, *files)
    assert "float32 difference" in kinds_of(report)


def test_a_text_file_is_patched(tmp_path: Path) -> None:
    words = [f"token{index * 7919 % 10007}\n" for index in range(8000)]
    old = "".join(words).encode()
    new = "".join([*words[:3000], "new\n", *words[3050:], "more\n"]).encode()
    report, payload = round_trip(tmp_path, {"vocab__txt": old}, {"vocab__txt": new})
    assert kinds_of(report) == {"other"}
    assert len(payload) < 300


def test_a_file_with_scattered_changes_is_patched_byte_by_byte(tmp_path: Path) -> None:
    old = np.random.default_rng(1).integers(0, 256, 200_000).astype(np.uint8)
    new = old.copy()
    new[::997] += 1
    files = {"f__bin": old.tobytes()}, {"f__bin": new.tobytes()}
    _, payload = round_trip(tmp_path / "few", *files)
    assert len(payload) < 400
    new[::9] += np.random.default_rng(2).integers(0, 2, len(new[::9])).astype(np.uint8)
    files = {"f__bin": old.tobytes()}, {"f__bin": new.tobytes()}
    _, payload = round_trip(tmp_path / "many", *files)
    assert len(payload) < 200_000 / 9 / 2


def test_new_weights_without_an_old_self_cost_no_more_than_themselves(tmp_path: Path) -> None:
    old, new = small_weights(1, ROWS, COLUMNS), small_weights(2, ROWS + 1, COLUMNS)
    report, payload = round_trip(tmp_path, *_models({"w": old}, {"fresh": new}))
    assert kinds_of(report) == {"other"}
    assert len(payload) < new.nbytes + 400


def test_a_model_can_be_made_from_nothing_like_it(tmp_path: Path) -> None:
    round_trip(tmp_path / "a", {"x": b""}, {"y": b"something"})
    round_trip(tmp_path / "b", {"x": b"something"}, {"y": b""})
    round_trip(tmp_path / "c", {"x": b"\x08" * 500}, {"m__onnx": b"\xff" * 1000})


def test_several_workers_make_the_same_payload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of every predictor one: what a worker gets has been pickled, and must mean the same.
    old = {f"w{index}": small_weights(index, 512, 160) for index in range(4)}
    thin = np.outer(np.linspace(1, 2, 512), np.linspace(-1, 1, 160)).astype(np.float32) * 1e-3
    new = {
        "w0": _moved(old["w0"], 9),
        "w1": _decayed(old["w1"], 50),
        "w2": old["w2"] + thin,
        "w3": np.ascontiguousarray(old["w3"].T),
    }
    monkeypatch.setattr("slotcast_publisher.delta.sectioning.SECTION_BYTES", 340_000)
    monkeypatch.setattr("slotcast_publisher.delta.encode._POOL_FROM_BYTES", 1_000_000)
    calls: list[tuple[int, int]] = []
    pair = _models(old, new)
    report, alone = round_trip(tmp_path / "1", *pair, progress=lambda *at: calls.append(at))
    assert report.section_count >= 3
    assert kinds_of(report) >= {"float32 low rank 1", "float32 decay", "copy, transposed"}
    assert len(calls) == report.section_count
    assert calls[-1] == (report.image_size_bytes,) * 2
    _, shared = round_trip(tmp_path / "2", *pair, workers=2)
    assert alone == shared


def test_a_tensor_larger_than_a_section_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = small_weights(1, 640, 480)
    monkeypatch.setattr("slotcast_publisher.delta.sectioning.SECTION_BYTES", 300_000)
    monkeypatch.setattr("slotcast_publisher.delta.shorter.TRIED_MAX", 0)  # it joins sections
    for turned in (False, True):
        new = {"w": np.ascontiguousarray(old.T) if turned else _moved(old, 2)}
        report, _ = round_trip(tmp_path / str(turned), *_models({"w": old}, new))
        assert report.section_count >= 4
        assert kinds_of(report) == {
            "copy, transposed" if turned else "float32 difference",
            "other",
        }


def test_a_rebased_model_is_coded_in_its_steps(tmp_path: Path) -> None:
    old = small_weights(1, ROWS, COLUMNS)
    step = np.float32(2e-4)
    whole = np.rint(np.random.default_rng(6).standard_normal(old.shape) * 1.5).astype(np.float32)
    new = (old + (whole * step).astype(np.float32)).astype(np.float32)
    pair = _models({"w": old}, {"w": new})
    report, payload = round_trip(tmp_path / "known", *pair, known=KnownMoves(Rebase(step)))
    assert "float32 rebase" in kinds_of(report)
    assert len(payload) < 0.1 * old.nbytes
    _, unknown = round_trip(tmp_path / "unknown", *pair)
    assert len(payload) < 0.3 * len(unknown)


def test_a_delta_of_the_first_format_still_decodes() -> None:
    """Devices hold decoders of the format as it was; a change of it must get another name."""
    folder = Path(__file__).parents[2] / "assets" / "delta"
    base, image = (folder / "base.bin").read_bytes(), (folder / "image.bin").read_bytes()
    payload = (folder / "v1.delta").read_bytes()
    assert apply_delta(payload, base, len(image)) == image


@pytest.mark.parametrize(
    ("name", "feature"), [("weights", FEATURE_WEIGHTS), ("records", FEATURE_RECORDS)]
)
def test_a_delta_with_each_later_feature_still_decodes(name: str, feature: int) -> None:
    """Brokers hold what encoders of before made (`tests/assets/delta/make.py`)."""
    folder = Path(__file__).parents[2] / "assets" / "delta"
    base, image, payload = (
        (folder / f"{name}.{kind}").read_bytes() for kind in ("base", "image", "delta")
    )
    assert payload[8] == feature
    assert apply_delta(payload, base, len(image)) == image


def test_a_large_file_is_searched_piece_by_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slotcast_publisher.delta.sectioning.OTHER_WHOLE_BYTES", 60_000)
    monkeypatch.setattr("slotcast_publisher.delta.sectioning._OTHER_PIECE_BYTES", 40_000)
    monkeypatch.setattr("slotcast_publisher.delta.shorter.TRIED_MAX", 0)  # it joins sections
    old = np.random.default_rng(1).bytes(400_000)
    new = b"".join([old[:150_000], b"inserted" * 30, old[150_000:300_000], old[303_000:]])
    report, payload = round_trip(tmp_path, {"f__bin": old}, {"f__bin": new})
    assert report.section_count >= 8
    # Nearly all is found again, though no piece sees the whole of the old file.
    assert len(payload) < 3_000


def test_weights_without_an_old_self_cost_no_more_than_in_a_whole_image(tmp_path: Path) -> None:
    same = trained(200, 256)
    old = {"m__onnx": model_bytes({"same": same, "gone": trained(64, 64, seed=2)})}
    new = {"m__onnx": model_bytes({"same": same, "new": trained(900, 300, seed=3)})}
    report, payload = round_trip(tmp_path / "small", old, new)
    assert report.features == FEATURE_WEIGHTS
    assert len(payload) < 0.84 * 4 * 900 * 300
    plain, before = round_trip(tmp_path / "plain", old, new, features=0)
    assert plain.features == 0
    assert len(before) > 0.9 * 4 * 900 * 300


@NEEDS_ONNX_OF_TODAY
def test_few_moved_weights_cost_what_it_takes_to_tell_which(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    old = as_bfloat16(trained(3000, 128))
    is_moved = rng.random(old.shape) < 0.02
    steps = np.where(rng.random(old.shape) < 0.5, 1, -1)
    new = (old.astype(np.int32) + is_moved * steps).astype(np.uint16)
    files = [{"m__onnx": model_bytes({"w": each.view(ml_dtypes.bfloat16)})} for each in (old, new)]
    _, payload = round_trip(tmp_path, *files)
    p = is_moved.mean()
    bits = old.size * (-p * np.log2(p) - (1 - p) * np.log2(1 - p) + p)
    assert len(payload) < 1.1 * bits / 8


def test_old_bytes_are_sorted_only_where_they_helped_or_are_few() -> None:
    """A model's sections each have names of some bytes, and all of them the same old bytes."""

    def packed(size: int) -> Packed:
        return OtherStreams(MODE_PLAIN, [], []), bytes(size)

    few, many, old = bytes(1000), bytes(100_000), bytes(600_000)
    assert not is_patch_worth_it(few, old, packed(900), packed(880))
    assert is_patch_worth_it(few, old, packed(900), packed(300))
    assert is_patch_worth_it(many, old, packed(90_000), packed(89_900))
