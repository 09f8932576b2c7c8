"""A model that the device owner's command runs: judged as any other, and its command never blamed
on the model where it is not there."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slotcast_schemas.messages.release import Probe
from slotcast_schemas.probe import ProbeRequest, ProbeResult, SlotModel, owner_command, run_probe
from slotcast_schemas.probe.owner_command import CommandFailed
from slotcast_schemas.samples import Samples, write_samples
from tests.support import litert_models, models, opaque_models
from tests.support.probing import MEMORY_LIMIT_BYTES, golden_samples

GOOD = opaque_models.classifier(1)
pytestmark = pytest.mark.usefixtures("quick_probes")


def slot(
    folder: Path,
    content: bytes,
    *,
    samples: Samples | None = None,
    mood: str = "",
    command: tuple[str, ...] | None = None,
) -> SlotModel:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.dense").write_bytes(content)
    if samples is not None:
        write_samples(folder / "samples.npz", samples)
    said = opaque_models.command(mood) if command is None else command
    return SlotModel(str(folder), "model.dense", "opaque_dense", said)


def probe(candidate: SlotModel, *, active: SlotModel | None = None, **limits: Any) -> ProbeResult:
    has_samples = (Path(candidate.slot) / "samples.npz").exists()
    fields = {"samples": "samples.npz" if has_samples else None, "timeout_s": 30.0, "runs": 5}
    return run_probe(
        ProbeRequest(
            candidate=candidate,
            active=active,
            probe=Probe(**{**fields, **limits}),
            memory_limit_bytes=MEMORY_LIMIT_BYTES,
        )
    )


def evidence(result: ProbeResult) -> dict[str, float | None]:
    return {check.name: check.value for check in result.checks}


def test_a_good_model_passes_with_the_same_evidence_as_any_other(tmp_path: Path) -> None:
    result = probe(
        slot(tmp_path / "b", opaque_models.classifier(1), samples=golden_samples()),
        active=slot(tmp_path / "a", GOOD),
        label_output="scores",
        min_accuracy=0.9,
    )
    assert (result.passed, result.reason) == (True, "passed"), result.detail
    found = evidence(result)
    assert {"loads", "golden", "accuracy", "memory", "latency_p95", "latency_p50"} <= found.keys()
    # The command's own interpreter with numpy, not the probe's child alone.
    assert (found["memory"] or 0) > 15_000_000
    assert next(check for check in result.checks if check.name == "memory").reference


def test_damaged_weights_are_refused_by_their_answers(tmp_path: Path) -> None:
    weights = models.weights(1)
    weights[0][: len(weights[0]) // 2] = np.random.default_rng(9).standard_normal(
        weights[0][: len(weights[0]) // 2].shape
    )
    bad = slot(tmp_path / "b", opaque_models.of_weights(weights), samples=golden_samples())
    result = probe(bad)
    assert (result.passed, result.reason) == (False, "golden_mismatch")


def test_nan_in_its_answers_is_seen(tmp_path: Path) -> None:
    weights = models.weights(1)
    weights[2][0, :] = np.nan
    result = probe(
        slot(tmp_path / "b", opaque_models.of_weights(weights), samples=golden_samples())
    )
    assert result.reason == "nonfinite_output"


@pytest.mark.parametrize(
    ("mood", "reason", "said"),
    [
        ("refuse", "model_unloadable", "no such quantisation: Q9_K"),
        ("own-errors", "run_failed", "no such quantisation: Q9_K"),
        ("crash", "run_failed", "ended by SIGABRT"),
        ("garbage", "model_unloadable", "expected JSON of docs/formats.md, got 'loaded fine!"),
    ],
)
def test_what_a_model_does_to_its_command_is_told(
    tmp_path: Path, mood: str, reason: str, said: str
) -> None:
    bad = slot(tmp_path / "b", GOOD, samples=golden_samples(), mood=mood)
    result = probe(bad)
    assert (result.reason, result.blames_model) == (reason, True)
    assert said in result.detail


def test_one_that_never_answers_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    bad = slot(tmp_path / "b", GOOD, samples=golden_samples(), mood="hang")
    result = probe(bad, timeout_s=1.5)
    assert result.reason == "probe_timeout"


def test_one_that_takes_too_long_beside_the_active_one_is_refused(tmp_path: Path) -> None:
    """Comparison works across processes: what counts is the command's processor time."""
    result = probe(
        slot(tmp_path / "b", GOOD, samples=golden_samples(), mood="slow"),
        active=slot(tmp_path / "a", GOOD),
        max_latency_ratio=2.0,
    )
    assert result.reason == "too_slow"


def test_memory_that_the_command_takes_is_the_models(tmp_path: Path) -> None:
    hungry = slot(tmp_path / "b", GOOD, samples=golden_samples(), mood="hungry")
    result = probe(hungry, max_memory_bytes=150_000_000)
    assert result.reason == "too_much_memory"
    assert (evidence(result)["memory"] or 0) > 200_000_000


def test_a_command_that_is_not_there_says_nothing_against_the_model(tmp_path: Path) -> None:
    absent = slot(tmp_path / "b", GOOD, command=("/nowhere/probe",))
    result = probe(absent)
    assert (result.passed, result.blames_model) == (False, False)
    assert "'/nowhere/probe' cannot be started" in result.detail


def test_without_samples_the_command_runs_what_it_likes(tmp_path: Path) -> None:
    result = probe(slot(tmp_path / "b", GOOD))
    assert (result.passed, result.reason) == (True, "passed"), result.detail
    assert "golden" not in evidence(result)


def test_a_model_of_another_format_may_be_active(tmp_path: Path) -> None:
    """A move from ONNX or LiteRT to a format of one's own is compared like any update."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "m.tflite").write_bytes(litert_models.classifier(1))
    candidate = slot(tmp_path / "b", GOOD, samples=golden_samples())
    litert = SlotModel(str(tmp_path / "a"), "m.tflite", "litert")
    result = probe(candidate, active=litert, max_latency_ratio=None)
    assert result.passed, result.detail
    assert next(check for check in result.checks if check.name == "latency_p50").reference
    back = probe(
        msgspec.structs.replace(litert, slot=str(_with_samples(tmp_path / "a"))),
        active=candidate,
        max_latency_ratio=None,
        max_memory_ratio=None,
    )
    assert back.passed, back.detail


def _with_samples(folder: Path) -> Path:
    write_samples(folder / "samples.npz", golden_samples())
    return folder


@settings(max_examples=200, deadline=None)
@given(line=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_whatever_a_command_prints_is_an_answer_or_its_failure(line: bytes) -> None:
    with contextlib.suppress(CommandFailed):
        answer = owner_command._read(line)
        owner_command._signature(answer.outputs)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(value=JSON)
def test_whatever_stands_for_an_output_is_numbers_texts_or_refused(value: object) -> None:
    with contextlib.suppress(CommandFailed):
        assert owner_command._array("y", value).dtype.kind in "biufU"


@pytest.mark.parametrize(
    "line", [rb'{"error": "no \ud800 tensor"}', rb'{"outputs": {"y\uDFFF": [1.5, NaN]}}']
)
def test_half_a_surrogate_pair_in_an_answer_can_be_told_on(line: bytes) -> None:
    """Said as it is, it would end the probe's child, which says all by JSON."""
    answer = owner_command._read(line)
    said = answer.error or next(iter(answer.outputs))
    assert "?" in said
    assert msgspec.json.encode(said)


def test_null_stands_for_nan() -> None:
    array = owner_command._array("y", [[1.5, None], [2, 3]])
    assert array.shape == (2, 2)
    assert np.isnan(array[0, 1])
