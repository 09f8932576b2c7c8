"""A model with an operator that no runtime has: refused by the release, which names the way out."""

from __future__ import annotations

import subprocess
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from slotcast_publisher.release import model_check
from slotcast_publisher.release.model_check import check_model, what_helps
from slotcast_schemas.errors import ModelUnloadable


def _model_with(operator: str, domain: str) -> bytes:
    """Make a model of one operator, which is in no runtime's book."""
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    node = helper.make_node(operator, ["x"], ["y"], domain=domain)
    versions = [helper.make_opsetid("", 17), helper.make_opsetid(domain or "ai.onnx", 1)]
    graph = helper.make_graph([node], "graph", tensors[:1], tensors[1:])
    model = helper.make_model(graph, opset_imports=versions[: 2 if domain else 1], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("operator", "domain"),
    [("Landmarks", "org.example"), ("NoSuchOperator", ""), ("NoSuchOperator", "com.microsoft")],
)
def test_a_missing_operator_is_told_with_the_option_that_helps(
    tmp_path: Path, operator: str, domain: str
) -> None:
    assert isinstance(onnx.load_from_string(_model_with(operator, domain)), onnx.ModelProto)
    (tmp_path / "model.onnx").write_bytes(_model_with(operator, domain))
    with pytest.raises(ModelUnloadable, match=r"what helps: .*--format opaque"):
        check_model(tmp_path, "model.onnx")


def test_litert_says_it_in_its_own_words() -> None:
    said = "Encountered unresolved custom op: Landmarks2TransformMatrix. See instructions: …"
    assert "--format opaque" in what_helps(said)
    assert what_helps("the file is cut short") == ""


@pytest.mark.parametrize(("chosen_s", "waited_s"), [(None, 900.0), (5.0, 125.0), (600.0, 3000.0)])
def test_how_long_a_model_is_looked_at_goes_by_the_limit_that_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen_s: float | None, waited_s: float
) -> None:
    def hang(command: list[str], *, timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(model_check, "run_bounded", hang)
    with pytest.raises(ModelUnloadable, match=f"within {waited_s:.0f} s.*--probe-timeout-s"):
        check_model(tmp_path, "model.onnx", chosen_timeout_s=chosen_s)
