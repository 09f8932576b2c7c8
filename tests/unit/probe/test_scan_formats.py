"""What cannot be looked into is refused unless the release permits it; LiteRT's own rules."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from slotcast_schemas.model_formats import LITERT
from slotcast_schemas.probe.scan import UnsafeModel, scan
from slotcast_schemas.probe.spec import SlotModel
from tests.support import litert_models, models


def ort_bytes(folder: Path) -> bytes:
    """The zoo's classifier as onnxruntime writes it for itself."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "made.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(models.classifier(), options, providers=["CPUExecutionProvider"])
    return (folder / "made.ort").read_bytes()


def slot(folder: Path, name: str, content: bytes, **more: object) -> SlotModel:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return msgspec.convert({"slot": str(folder), "entry": name, **more}, SlotModel)


def context_node() -> bytes:
    node = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft")
    return bytes(helper.make_model(helper.make_graph([node], "g", [], [])).SerializeToString())


@pytest.mark.parametrize("name", ["model.ort", "model.onnx"])
def test_what_a_runtime_prepared_for_itself_needs_a_permission(tmp_path: Path, name: str) -> None:
    """Whatever it is called: a prepared file under an innocent name is one all the same."""
    content = ort_bytes(tmp_path)
    with pytest.raises(UnsafeModel, match="the release must permit it"):
        scan(slot(tmp_path / "a", name, content))
    scan(slot(tmp_path / "a", name, content, is_compiled=True))


def test_a_compiled_context_needs_a_permission(tmp_path: Path) -> None:
    with pytest.raises(UnsafeModel, match=r"EPContext.* the release must permit it"):
        scan(slot(tmp_path, "model.onnx", context_node()))
    scan(slot(tmp_path, "model.onnx", context_node(), is_compiled=True))


def test_a_permission_opens_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(UnsafeModel, match="custom operators"):
        scan(slot(tmp_path, "model.onnx", models.custom_operator(), is_compiled=True))


def test_litert_may_keep_no_tensors_in_other_files(tmp_path: Path) -> None:
    scan(slot(tmp_path, "m.tflite", litert_models.classifier(), format=LITERT))
    outside = litert_models.of_weights(models.weights(), external_groups=True)
    with pytest.raises(UnsafeModel, match="other files"):
        scan(slot(tmp_path, "m.tflite", outside, format=LITERT))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=60), where=st.integers(0, 2000))
def test_no_damage_makes_the_scan_of_litert_fail_otherwise(
    tmp_path: Path, data: bytes, where: int
) -> None:
    content = bytearray(litert_models.classifier())
    content[where : where + len(data)] = data
    with contextlib.suppress(UnsafeModel, ValueError):
        scan(slot(tmp_path, "m.tflite", bytes(content), format=LITERT))
