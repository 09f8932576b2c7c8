"""What a device will say, the release has said before: by the same probe, on the same files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from slotcast_publisher.cli import app
from slotcast_publisher.release import device_probe
from slotcast_publisher.release.chosen_limits import choose
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_schemas.errors import ModelFailed
from slotcast_schemas.messages.release import PROBE2, Release
from slotcast_schemas.probe import ProbeRequest, ProbeResult, SlotModel, run_probe
from tests.support import models, typed_models
from tests.support.cli_runner import CliRunner


def on_device(folder: Path, release: Release) -> ProbeResult:
    """Ask what a device asks, of the files as they were released."""
    candidate = SlotModel(str(folder), release.entry)
    return run_probe(
        ProbeRequest(
            candidate=candidate,
            inputs=release.inputs,
            outputs=release.outputs,
            probe=release.probe,
        )
    )


def request(folder: Path, model: bytes, version: str = "2.0", **options: object) -> ReleaseRequest:
    file = folder / "new.onnx"
    file.write_bytes(model)
    return ReleaseRequest(model="clf", version=version, files=(file,), **options)  # type: ignore[arg-type]  # the test's own


@pytest.mark.parametrize(
    ("model", "reason", "option", "limits"),
    [
        (models.not_a_number(), "nonfinite_output", "--probe-allow-nonfinite", "allow_nonfinite"),
        (models.constant_output(), "constant_output", "--probe-allow-constant", "allow_constant"),
    ],
)
def test_a_release_is_refused_with_the_devices_word_and_the_option_that_helps(
    repo: Repository, tmp_path: Path, model: bytes, reason: str, option: str, limits: str
) -> None:
    with pytest.raises(ModelFailed, match=reason) as refused:
        repo.build_release(request(tmp_path, model))
    assert option in str(refused.value)
    assert repo.store.versions("clf") == ["1.0"]
    chosen = choose({"probe": {limits: True, "allow_constant": True}}, "test")
    repo.build_release(request(tmp_path, model, limits=chosen))
    folder = repo.store.folder("clf", "2.0")
    result = on_device(folder.files_dir, folder.load())
    assert result.passed, result.detail


def test_a_model_that_is_slower_than_the_one_before_is_a_persons_decision(
    repo: Repository, tmp_path: Path
) -> None:
    with pytest.raises(ModelFailed, match="too_slow") as refused:
        repo.build_release(request(tmp_path, models.slow()))
    assert "--probe-max-latency-ratio" in str(refused.value)
    chosen = choose({"probe": {"max_latency_ratio": "none"}}, "test")
    assert repo.build_release(request(tmp_path, models.slow(), limits=chosen)).is_new


def test_a_command_says_it_and_ends_with_another_code_than_0(
    repo: Repository, tmp_path: Path
) -> None:
    file = tmp_path / "new.onnx"
    file.write_bytes(models.constant_output())
    words = ["release", str(repo.path), "clf", "2.0", str(file), "--no-passphrase"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code != 0
    done = CliRunner().invoke(app, [*words, "--no-probe", "--json"], catch_exceptions=False)
    assert json.loads(done.stdout)["new"] is True


def test_a_release_that_the_first_devices_cannot_take_says_so(
    repo: Repository, tmp_path: Path
) -> None:
    done = repo.build_release(request(tmp_path, typed_models.scalar()))
    assert done.release.requires == (PROBE2,)
    assert any("older slotcast-device" in warning for warning in done.warnings)
    assert repo.store.folder("clf", "1.0").load().requires == ()


def test_what_no_sample_can_hold_is_released_and_said(repo: Repository, tmp_path: Path) -> None:
    done = repo.build_release(request(tmp_path, typed_models.sparse()))
    assert [warning for warning in done.warnings if "which no sample can hold" in warning]


def test_the_model_runs_without_secrets_and_without_the_network(
    repo: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLOTCAST_PASSPHRASE", "four long words")
    seen: list[str] = []

    def look(asked: ProbeRequest) -> ProbeResult:
        def remember(pid: int) -> None:
            seen.append(Path(f"/proc/{pid}/environ").read_text())

        return run_probe(asked, on_start=remember)

    monkeypatch.setattr(device_probe, "run_probe", look)
    repo.build_release(request(tmp_path, models.classifier(2)))
    assert seen
    assert not any("four long words" in environment for environment in seen)
    assert "SLOTCAST_PASSPHRASE" in os.environ
