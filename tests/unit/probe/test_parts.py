"""The probe's pure parts: what a file reaches for, how outputs differ, what the verdict is."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from slotcast_schemas import outputs
from slotcast_schemas.messages.release import Probe, Tensor
from slotcast_schemas.probe import SlotModel, compare
from slotcast_schemas.probe.judge import Death, judge
from slotcast_schemas.probe.scan import UnsafeModel, scan
from slotcast_schemas.probe.spec import (
    Golden,
    ProbeFailure,
    ProbeFigures,
    ProbeFindings,
    ProbeTiming,
)
from slotcast_schemas.probe.speed import NOISE_S
from tests.support import models


def slot(tmp_path: Path, content: bytes) -> SlotModel:
    folder = tmp_path / "slot"
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(content)
    return SlotModel(str(folder), "model.onnx")


def test_weights_beside_the_model_are_allowed(tmp_path: Path) -> None:
    model = slot(tmp_path, models.external_data_outside(location="data/weights.bin"))
    with pytest.raises(UnsafeModel, match="not a file of the release"):
        scan(model)
    weights = tmp_path / "slot" / "data" / "weights.bin"
    weights.parent.mkdir()
    weights.write_bytes(bytes(100))
    scan(model)


@pytest.mark.parametrize("location", ["../x", "/etc/passwd", "data/../../x", "", "link/x"])
def test_weights_elsewhere_are_not(tmp_path: Path, location: str) -> None:
    model = slot(tmp_path, models.external_data_outside(location=location))
    (tmp_path / "x").write_bytes(bytes(100))
    (tmp_path / "slot" / "link").symlink_to(tmp_path)
    with pytest.raises(UnsafeModel, match="external data"):
        scan(model)


def test_weights_are_found_in_every_corner_of_the_graph(tmp_path: Path) -> None:
    outside = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[1])
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="/etc/passwd")
    inner = helper.make_graph([], "inner", [], [], [outside])
    sparse = helper.make_sparse_tensor(
        outside, helper.make_tensor("i", TensorProto.INT64, [1], [0]), [1]
    )
    nodes = {
        "attribute": helper.make_node("Constant", [], ["c"], value=outside),
        "subgraph": helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner),
        "sparse": helper.make_node("Constant", [], ["c"], sparse_value=sparse),
    }
    for where, node in nodes.items():
        model = helper.make_model(helper.make_graph([node], "g", [], []))
        with pytest.raises(UnsafeModel, match="passwd"):
            scan(slot(tmp_path, model.SerializeToString()))
        opsets = [helper.make_opsetid("", 17)]
        function = helper.make_function("own", "F", [], [], [node], opsets)
        model = helper.make_model(helper.make_graph([], "g", [], []), functions=[function])
        with pytest.raises(UnsafeModel, match="passwd"):
            scan(slot(tmp_path, model.SerializeToString()))
        assert where


def test_functions_of_the_model_itself_are_no_custom_operators(tmp_path: Path) -> None:
    scan(slot(tmp_path, models.nested_functions(depth=3)))
    with pytest.raises(UnsafeModel, match="custom operators"):
        scan(slot(tmp_path, models.custom_operator()))


def test_compiled_contexts_are_refused(tmp_path: Path) -> None:
    node = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft")
    model = helper.make_model(helper.make_graph([node], "g", [], []))
    with pytest.raises(UnsafeModel, match="EPContext"):
        scan(slot(tmp_path, model.SerializeToString()))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=60), where=st.integers(0, 10_000))
def test_no_damage_makes_the_scan_fail_otherwise(tmp_path: Path, data: bytes, where: int) -> None:
    content = bytearray(models.classifier(hidden=4))
    at = min(where, len(content))
    content[at : at + len(data)] = data
    model = slot(tmp_path, bytes(content))
    with contextlib.suppress(UnsafeModel, ValueError):
        scan(model)


def test_the_zoo_of_good_models_passes_the_scan(tmp_path: Path) -> None:
    for model in (models.classifier(), models.large(), models.slow(), models.hangs()):
        onnx.checker.check_model(onnx.load_from_string(model))
        scan(slot(tmp_path, model))


def tensor(name: str, *shape: int | str | None, dtype: str = "tensor(float)") -> Tensor:
    return Tensor(name=name, dtype=dtype, shape=shape)


@pytest.mark.parametrize(
    ("found", "is_same"),
    [
        (tensor("x", "batch", 3), True),
        (tensor("x", None, 3), True),
        (tensor("x", 1, 3), False),
        (tensor("x", "N", 4), False),
        (tensor("x", "N", 3, 1), False),
        (tensor("y", "N", 3), False),
        (tensor("x", "N", 3, dtype="tensor(double)"), False),
    ],
)
def test_signatures_are_the_same_or_the_contract_is_broken(found: Tensor, is_same: bool) -> None:
    problems = compare.signature_problems("input", (tensor("x", "N", 3),), (found,))
    assert (problems == []) is is_same
    assert compare.signature_problems("input", (), (found,)) == []


def golden(got: Any, want: Any, *, rtol: float = 1e-3, atol: float = 1e-4) -> Golden:
    return compare.golden([{"y": np.array(got)}], [{"y": np.array(want)}], rtol=rtol, atol=atol)


def test_outputs_within_tolerance_are_golden() -> None:
    assert golden([1.0, 2.0], [1.0, 2.0]).worst == 0
    assert golden([1.0005, 2.0], [1.0, 2.0]).worst < 1
    assert golden([1.01, 2.0], [1.0, 2.0]).worst > 1
    assert golden([np.nan, 1.0], [np.nan, 1.0]).worst == 0
    assert golden([np.inf], [np.inf]).worst == 0
    assert golden([0.0, 0.0], [0.0, 0.0], rtol=0, atol=0).worst == 0


@pytest.mark.parametrize(
    ("got", "want"),
    [
        ([np.nan], [1.0]),
        ([1.0], [np.nan]),
        ([np.inf], [-np.inf]),
        ([1.0, 2.0], [1.0]),
        ([1e-9], [0.0]),
    ],
)
def test_everything_else_is_far_from_golden(got: Any, want: Any) -> None:
    found = golden(got, want, rtol=0, atol=0)
    assert 1 < found.worst < float("inf")
    assert found.cosine is not None
    assert np.isfinite(found.cosine)


def test_an_output_that_is_missing_is_not_golden() -> None:
    found = compare.golden([{}], [{"y": np.ones(2)}], rtol=1, atol=1)
    assert found.worst > 1


def test_constant_means_none_of_the_float_outputs_depends_on_the_input() -> None:
    one, two = {"y": np.array([1.0, 2.0])}, {"y": np.array([1.0, 3.0])}
    assert outputs.constant([one, one])
    assert not outputs.constant([one, two])
    assert not outputs.constant([one])
    assert outputs.constant([{"y": np.zeros(3)}])
    temperature = np.array([0.7])
    assert not outputs.constant([{**one, "t": temperature}, {**two, "t": temperature}])
    labels = {"label": np.array([4])}
    assert not outputs.constant([labels, labels])


def found(**more: Any) -> ProbeFindings:
    fields: dict[str, Any] = {
        "at": "done",
        "contract": (),
        "nonfinite": "",
        "constant": "",
        "golden": Golden(runs=4, worst=0.5, cosine=1.0),
        "accuracy": 1.0,
        "candidate": ProbeFigures(load_s=0.5, peak_memory_bytes=10**8),
        "active": ProbeFigures(load_s=0.5, peak_memory_bytes=10**8),
        "timing": timing(),
        **more,
    }
    return ProbeFindings(**fields)


ALL_LIMITS = Probe(
    min_cosine=0.99,
    min_accuracy=0.9,
    max_load_s=1.0,
    max_latency_p95_s=0.1,
    max_latency_ratio=2.0,
    max_memory_bytes=2 * 10**8,
    max_memory_ratio=1.5,
)


def figures(**more: Any) -> ProbeFigures:
    return ProbeFigures(**{"load_s": 0.5, "peak_memory_bytes": 10**8, **more})


def timing(candidate_s: float = 0.01, active_s: float = 0.01, **more: Any) -> ProbeTiming:
    """What a child says that held twenty rounds, all alike."""
    fields: dict[str, Any] = {
        "by": "clock",
        "threads": 1,
        "rounds": ((candidate_s, active_s),) * 20,
        "times_s": (candidate_s,) * 20,
        **more,
    }
    return ProbeTiming(**fields)


@pytest.mark.parametrize(
    ("findings", "reason"),
    [
        (found(), "passed"),
        (found(contract=("output gone",)), "contract_broken"),
        (found(nonfinite="output 'y': NaN"), "nonfinite_output"),
        (found(constant="all alike"), "constant_output"),
        (found(golden=Golden(runs=4, worst=1.1, cosine=1.0)), "golden_mismatch"),
        (found(golden=Golden(runs=4, worst=0.9, cosine=0.98)), "golden_mismatch"),
        (found(accuracy=0.89), "accuracy_low"),
        (found(candidate=figures(load_s=1.1)), "too_slow"),
        (found(timing=timing(times_s=(0.11,) * 20)), "too_slow"),
        (found(timing=timing(0.021)), "too_slow"),
        (found(timing=timing(0.021, by="processor")), "too_slow"),
        (found(candidate=figures(peak_memory_bytes=3 * 10**8)), "too_much_memory"),
        (found(candidate=figures(peak_memory_bytes=int(1.7 * 10**8))), "too_much_memory"),
        (
            found(failure=ProbeFailure(reason="samples_unreadable", detail="x")),
            "samples_unreadable",
        ),
    ],
)
def test_each_limit_has_its_reason(findings: ProbeFindings, reason: str) -> None:
    result = judge(ALL_LIMITS, findings, None)
    assert (result.passed, result.reason) == (reason == "passed", reason)
    assert all(check.passed for check in result.checks) == result.passed


def test_limits_that_are_not_set_are_not_checked() -> None:
    wild = figures(load_s=1e3, peak_memory_bytes=10**12)
    probe = Probe(max_latency_ratio=None, allow_nonfinite=True, allow_constant=True)
    findings = found(
        candidate=wild, timing=timing(1e3), accuracy=0.0, nonfinite="NaN", constant="alike"
    )
    assert judge(probe, findings, None).passed


def test_microseconds_more_are_noise() -> None:
    near = found(timing=timing(10e-6 + NOISE_S * 0.9, 10e-6))
    far = found(timing=timing(10e-6 + NOISE_S * 1.1, 10e-6))
    assert judge(ALL_LIMITS, near, None).passed
    assert judge(ALL_LIMITS, far, None).reason == "too_slow"


def test_what_rounds_do_not_decide_is_judged_on_a_free_device_only() -> None:
    rounds = ((0.019, 0.01), (0.022, 0.01), (0.022, 0.01)) * 20
    free = judge(ALL_LIMITS, found(timing=timing(rounds=rounds)), None)
    assert (free.reason, free.blames_model) == ("too_slow", True)
    quiet = timing(rounds=rounds, by="processor", waited_share=0.01)
    assert judge(ALL_LIMITS, found(timing=quiet), None).reason == "too_slow"
    contested = timing(rounds=rounds, by="processor", waited_share=0.6)
    busy = judge(ALL_LIMITS, found(timing=contested), None)
    assert (busy.passed, busy.reason, busy.blames_model) == (False, "device_busy", False)
    assert "too little processor" in busy.detail


def test_another_fault_is_found_on_a_busy_device_too() -> None:
    rounds = ((0.019, 0.01), (0.022, 0.01)) * 20
    findings = found(timing=timing(rounds=rounds, by="processor"), accuracy=0.1)
    assert judge(ALL_LIMITS, findings, None).reason == "accuracy_low"


@pytest.mark.parametrize(
    ("cores", "time_s", "reason"),
    [(1, 0.11, "too_slow"), (4, 0.09, "passed"), (4, 0.11, "device_busy"), (4, 0.5, "too_slow")],
)
def test_processor_time_of_one_thread_says_little_of_the_clock_with_more(
    cores: int, time_s: float, reason: str
) -> None:
    told = timing(by="processor", cores=cores, times_s=(time_s,) * 20)
    assert judge(ALL_LIMITS, found(timing=told), None).reason == reason


def test_dying_over_the_active_model_is_not_the_candidates_fault() -> None:
    death = Death("probe_crashed", "SIGSEGV")
    assert judge(Probe(), found(at="active_load", active=None), death).passed
    assert judge(Probe(), found(at="measure"), death).reason == "probe_crashed"
    canceled = Death("probe_canceled", "canceled", blames_model=False)
    result = judge(Probe(), found(at="active_load"), canceled)
    assert (result.passed, result.blames_model) == (False, False)


RTOL_INT8 = 0.05
"""What a publisher asks of int8 models (`probe_limits`)."""


def one_number(got: list[float], want: list[float]) -> tuple[bool, str]:
    """Judge the answers of one number each; whether it passes, and by which check if not."""
    scale = float(np.sqrt(np.mean(np.square(want))))
    found = compare.golden(
        [{"p": np.array([value])} for value in got],
        [{"p": np.array([value])} for value in want],
        rtol=RTOL_INT8,
        atol=RTOL_INT8 * scale,
    )
    result = judge(Probe(min_cosine=0.98), ProbeFindings(golden=found), None)
    return result.passed, next((check.name for check in result.checks if not check.passed), "")


def test_answers_of_one_number_have_no_direction_and_are_judged_all_the_same() -> None:
    want = [0.98, 0.03, 0.91, 0.4, 0.02, 0.97, 0.65, 0.1, 0.99, 0.95]
    # Another processor: with a kernel that saturates, 0.31 of the former limit, here and there.
    shifts = [0.05, 0, -0.02, 0.01, 0] * 2
    rounded = [value + shift for value, shift in zip(want, shifts, strict=True)]
    assert one_number(rounded, want) == (True, "")
    shuffled = [0.85, *want[1:]]
    assert one_number(shuffled, want) == (False, "golden")
    # A little wrong everywhere, and nowhere past the limit.
    shifted = [value - 0.025 - 0.025 * value for value in want]
    assert one_number(shifted, want) == (False, "golden_spread")
