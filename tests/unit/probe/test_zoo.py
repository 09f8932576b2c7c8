"""Every bad model of the zoo is refused for its own reason, by a child that may die of it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import msgspec
import psutil
import pytest

from slotcast_schemas import __version__, process_memory
from slotcast_schemas.errors import UsageError
from slotcast_schemas.messages.release import Probe
from slotcast_schemas.probe import ProbeRequest, SlotModel, run_probe, runner
from tests.support import models
from tests.support.probing import golden_samples, request

SHORT = Probe(timeout_s=2.0, runs=5)


def test_a_good_model_passes_with_evidence_beside_the_active_one(tmp_path: Path) -> None:
    good = models.classifier(1, drift=1e-7)
    result = run_probe(
        request(tmp_path, good, active=models.classifier(1), samples=golden_samples())
    )
    assert (result.passed, result.reason) == (True, "passed"), result.detail
    checks = {check.name: check for check in result.checks}
    assert {"loads", "contract", "finite", "varies", "golden", "accuracy"} <= checks.keys()
    assert checks["accuracy"].value == 1.0
    for name in ("latency_p50", "latency_p95", "memory"):
        assert checks[name].value is not None, name
        assert checks[name].reference is not None, name


def test_a_first_model_is_probed_alone_and_with_seeded_inputs(tmp_path: Path) -> None:
    result = run_probe(request(tmp_path, models.classifier()))
    assert result.passed, result.detail
    (finite,) = [check for check in result.checks if check.name == "finite"]
    assert "seed" in finite.detail
    assert all(check.reference is None for check in result.checks)


@pytest.mark.parametrize(
    ("model", "reason", "detail"),
    [
        (models.damaged_weights(), "golden_mismatch", "scores"),
        (models.not_a_number(), "nonfinite_output", "NaN"),
        (models.constant_output(), "constant_output", "16 different inputs"),
        (models.wrong_contract(), "contract_broken", "image"),
        (models.memory_hungry(), "too_much_memory", "past the memory limit"),
        (models.endless_allocation(), "too_much_memory", "past the memory limit"),
        (models.crashes_runtime(), "probe_crashed", f"{models.CRASH} at step 'load'"),
        (models.custom_operator(), "unsafe_model", "com.example.fast"),
        (models.classifier()[:-1000], "model_unloadable", "past its message's end"),
        (b"", "model_unloadable", "model.onnx"),
        (b"not a model at all", "model_unloadable", ""),
    ],
)
def test_a_bad_model_is_refused_for_its_own_reason(
    tmp_path: Path, model: bytes, reason: str, detail: str
) -> None:
    result = run_probe(
        request(tmp_path, model, active=models.classifier(), samples=golden_samples())
    )
    assert (result.passed, result.reason) == (False, reason), result.detail
    assert detail in result.detail
    assert result.blames_model
    assert not result.checks[-1].passed or any(not check.passed for check in result.checks)


def test_a_model_that_hangs_is_killed_when_its_time_is_over(tmp_path: Path) -> None:
    pids: list[int] = []
    result = run_probe(request(tmp_path, models.hangs(), probe=SHORT), on_start=pids.append)
    assert (result.reason, result.blames_model) == ("probe_timeout", True)
    assert "'run'" in result.detail
    assert not psutil.pid_exists(pids[0])


def test_a_slower_model_is_refused_beside_the_active_one_and_passes_alone(tmp_path: Path) -> None:
    probe = Probe(timeout_s=20.0, runs=5)
    beside = run_probe(request(tmp_path, models.slow(), active=models.classifier(), probe=probe))
    assert beside.reason == "too_slow"
    assert "latency_p50" in beside.detail
    assert run_probe(request(tmp_path, models.slow(), probe=probe)).passed


def test_memory_is_held_against_the_budget_and_the_active_model(tmp_path: Path) -> None:
    hungry = models.memory_hungry(size_bytes=200 << 20)
    budget = Probe(runs=5, max_memory_bytes=100 << 20)
    result = run_probe(request(tmp_path, hungry, probe=budget))
    assert result.reason == "too_much_memory"
    (check,) = [check for check in result.checks if not check.passed]
    assert check.value is not None
    assert 200 << 20 <= check.value < 260 << 20

    relative = Probe(runs=5, max_memory_ratio=2.0)
    result = run_probe(request(tmp_path, hungry, active=models.classifier(), probe=relative))
    assert result.reason == "too_much_memory"
    assert "memory_relative" in result.detail


def test_a_damaged_active_model_does_not_stop_its_replacement(tmp_path: Path) -> None:
    for broken in (models.crashes_runtime(), models.hangs(), b"damaged"):
        probe = Probe(timeout_s=3.0, runs=5)
        result = run_probe(request(tmp_path, models.classifier(), active=broken, probe=probe))
        assert result.passed, result.detail
        assert all(check.reference is None for check in result.checks)


def test_accuracy_below_the_least_is_refused(tmp_path: Path) -> None:
    samples = golden_samples()
    assert samples.labels is not None
    samples.labels[:8] += 1
    probe = Probe(samples="samples.npz", min_accuracy=0.9, label_output="scores")
    result = run_probe(request(tmp_path, models.classifier(), samples=samples, probe=probe))
    assert result.reason == "accuracy_low"
    assert "0.5" in result.detail


def test_weights_outside_the_slot_are_never_read(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(1 << 20))
    for location in ("../secret.bin", str(tmp_path / "secret.bin"), "missing.bin"):
        model = models.external_data_outside(location=location)
        result = run_probe(request(tmp_path, model))
        assert result.reason == "unsafe_model", location
        assert "external data" in result.detail


def test_a_probe_is_canceled_from_another_thread(tmp_path: Path) -> None:
    cancel = threading.Event()
    pids: list[int] = []

    def started(pid: int) -> None:
        pids.append(pid)
        cancel.set()

    result = run_probe(request(tmp_path, models.hangs()), cancel=cancel, on_start=started)
    assert (result.reason, result.blames_model) == ("probe_canceled", False)
    assert not psutil.pid_exists(pids[0])


def test_a_child_that_is_killed_from_outside_is_started_again(tmp_path: Path) -> None:
    pids: list[int] = []

    def kill_the_first(pid: int) -> None:
        pids.append(pid)
        if len(pids) == 1:
            os.kill(pid, 9)

    result = run_probe(request(tmp_path, models.classifier()), on_start=kill_the_first)
    assert result.passed, result.detail
    assert len(pids) == 2


def test_a_child_that_is_always_killed_says_nothing_about_the_model(tmp_path: Path) -> None:
    result = run_probe(request(tmp_path, models.classifier()), on_start=lambda pid: os.kill(pid, 9))
    assert (result.reason, result.blames_model) == ("probe_killed", False)


@pytest.mark.parametrize(("free_bytes", "reason"), [(1 << 40, "passed"), (0, "too_much_memory")])
def test_memory_that_others_take_is_not_held_against_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_bytes: int, reason: str
) -> None:
    """The kernel kills the child first; one that has taken little is started again."""
    kills = iter(range(100))
    monkeypatch.setattr(runner, "_oom_kills", lambda: next(kills))
    monkeypatch.setattr(process_memory, "available_bytes", lambda: free_bytes)
    pids: list[int] = []

    def kill_the_first(pid: int) -> None:
        pids.append(pid)
        if len(pids) == 1:
            os.kill(pid, 9)

    asked = msgspec.structs.replace(
        request(tmp_path, models.classifier()), memory_limit_bytes=1 << 30
    )
    result = run_probe(asked, on_start=kill_the_first)
    assert result.reason == reason, result.detail


def test_an_agent_that_was_upgraded_in_place_is_to_be_restarted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "__version__", "0.0.9")
    result = run_probe(request(tmp_path, models.classifier()))
    assert (result.reason, result.blames_model) == ("probe_not_started", False)
    assert f"the agent is 0.0.9, what is installed is {__version__}: restart" in result.detail


def test_a_relative_slot_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="absolute"):
        ProbeRequest(candidate=SlotModel("slots/b", "model.onnx"))
