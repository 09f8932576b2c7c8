"""What onnxruntime says of an error: the cause first, and no path of ours."""

from __future__ import annotations

import pytest

from slotcast_schemas.probe.runtime_words import cause_of

SOURCES = "/onnxruntime_src/onnxruntime/core"
CASES = {
    "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from /r/staging/m.onnx failed:Protobuf"
    " parsing failed.": "Protobuf parsing failed.",
    "[ONNXRuntimeError] : 10 : INVALID_GRAPH : Load model from /r/staging/m.onnx failed:This is an"
    " invalid model. In Node, (n), Error No Op registered for Foo": "This is an invalid model. In"
    " Node, (n), Error No Op registered for Foo",
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running"
    f" Reshape node. Name:'r1' Status Message: {SOURCES}/providers/cpu/reshape_helper.h:28"
    " onnxruntime::ReshapeHelper::ReshapeHelper(const onnxruntime::TensorShape&,"
    " onnxruntime::TensorShapeVector&, bool) input_shape_size == size was false. The input tensor"
    " cannot be reshaped": "input_shape_size == size was false. The input tensor cannot be"
    " reshaped (at Reshape node 'r1')",
    "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running If node."
    " Name:'if0' Status Message: Non-zero status code returned while running Pad node. Name:'p'"
    " Status Message: axis length >= 2": "axis length >= 2 (at Pad node 'p')",
    "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input: x index: 0 Got:"
    " 3 Expected: 1 Please fix either the inputs/outputs or the model.": "Got invalid dimensions"
    " for input: x index: 0 Got: 3 Expected: 1",
    "concatbase.h:83 PrepareForComputeImpl Cannot add scalars": "Cannot add scalars",
    "no file at /r/staging/weights.bin": "no file at weights.bin",
    "": "RuntimeError",
}


@pytest.mark.parametrize("said", CASES)
def test_the_cause_comes_first(said: str) -> None:
    assert cause_of(RuntimeError(said), "/r/staging") == CASES[said]
