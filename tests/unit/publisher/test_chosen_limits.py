"""Limits of probe and trial: chosen in a file or by options, refused where they cannot be."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slotcast_publisher.cli import app
from slotcast_publisher.cli.limit_options import option_of
from slotcast_publisher.errors import Conflict
from slotcast_publisher.release.chosen_limits import (
    ChosenLimits,
    choose,
    example,
    limit_keys,
    read_limits,
)
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_schemas.errors import UsageError
from slotcast_schemas.messages.release import Probe, Release, Runtime, Trial
from tests.support import typed_models
from tests.support.cli_runner import CliRunner

EVERY: dict[str, Any] = {
    "probe.rtol": 0.5,
    "probe.atol": 0.25,
    "probe.min_cosine": None,
    "probe.min_accuracy": 0.75,
    "probe.label_output": "scores",
    "probe.allow_nonfinite": True,
    "probe.allow_constant": True,
    "probe.runs": 7,
    "probe.timeout_s": 9.0,
    "probe.max_load_s": 4.0,
    "probe.max_latency_p95_s": 0.5,
    "probe.max_latency_ratio": None,
    "probe.max_memory_bytes": 1_000_000,
    "probe.max_memory_ratio": 1.5,
    "trial.duration_s": 300.0,
    "trial.min_requests": 40,
    "trial.deadline_s": 900.0,
    "trial.max_error_share": 0.02,
    "trial.max_nonfinite_share": 0.1,
    "trial.max_latency_ratio": None,
    "trial.max_memory_bytes": None,
    "trial.max_restarts": 5,
    "runtime.onnxruntime": ">=1.17",
    "runtime.memory_bytes": 5,
    "runtime.compiled": True,
}
"""A value that is not the default, for every limit that there is."""


def in_tables(values: dict[str, Any]) -> dict[str, Any]:
    tables: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        table, key = name.split(".")
        tables.setdefault(table, {})[key] = value
    return tables


def as_toml(values: dict[str, Any]) -> str:
    lines = []
    for table, keys in in_tables(values).items():
        lines.append(f"[{table}]")
        lines += [f"{k} = {json.dumps('none' if v is None else v)}" for k, v in keys.items()]
    return "\n".join(lines)


def as_options(values: dict[str, Any]) -> list[str]:
    options: list[str] = []
    for name, value in values.items():
        if isinstance(value, bool):
            options.append(option_of(name) if value else f"--no-{option_of(name)[2:]}")
        else:
            options += [option_of(name), "none" if value is None else str(value)]
    return options


def test_this_test_knows_every_limit() -> None:
    assert set(EVERY) == {key.name for key in limit_keys()}
    assert not [
        k.name
        for k in limit_keys()
        if k.name in EVERY and EVERY[k.name] == k.default and k.default is not None
    ]


def test_an_absolute_tolerance_that_was_chosen_is_that_of_every_output() -> None:
    found = Probe(atol=1.0, output_atol={"score": 0.001})
    kept, _, _ = ChosenLimits(probe={"rtol": 0.5}).apply_to(found, Trial(), Runtime())
    assert kept.output_atol == {"score": 0.001}
    chosen, _, _ = ChosenLimits(probe={"atol": 0.25}).apply_to(found, Trial(), Runtime())
    assert (chosen.atol, chosen.output_atol) == (0.25, {})


def test_every_limit_can_be_given_in_a_file_and_by_an_option(tmp_path: Path) -> None:
    (tmp_path / "release.toml").write_text(as_toml(EVERY))
    from_file = read_limits(tmp_path / "release.toml")
    assert from_file == ChosenLimits(**in_tables(EVERY))
    texts = {k: v if isinstance(v, bool) else str(v) for k, v in EVERY.items() if v is not None}
    from_texts = choose(in_tables(texts), "options")
    assert from_texts == ChosenLimits(
        **in_tables({k: v for k, v in EVERY.items() if v is not None})
    )


def test_what_is_chosen_is_signed_and_shown(
    repo: Repository, model_file: Path, tmp_path: Path
) -> None:
    """From the command line to the release that devices get, and back to whoever inspects it."""
    without_labels = {
        k: v for k, v in EVERY.items() if k not in {"probe.min_accuracy", "probe.label_output"}
    }
    options = as_options(without_labels)
    words = ["release", str(repo.path), "clf", "7.0", str(model_file), *options]
    words += ["--no-passphrase", "--no-probe"]  # these limits are for reading, not for keeping
    for is_new in (True, False):  # the same again is the same
        done = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
        assert json.loads(done.stdout)["new"] is is_new
    release = repo.store.folder("clf", "7.0").load()
    assert values_of(release).items() >= without_labels.items()
    repo.offer("clf", "7.0")
    shown = CliRunner().invoke(app, ["inspect", str(repo.path), "clf"], catch_exceptions=False)
    for text in (
        "max_restarts 5",
        "runs 7",
        "not checked: samples, min_cosine",
        "onnxruntime >=1.17",
    ):
        assert text in " ".join(shown.stdout.split())


def values_of(release: Release) -> dict[str, Any]:
    return {
        key.name: getattr(getattr(release, key.name.split(".")[0]), key.name.split(".")[1])
        for key in limit_keys()
    }


def test_an_option_wins_over_the_file_and_the_rest_stays_as_usual() -> None:
    file = choose({"trial": {"max_restarts": 5, "min_requests": 9}}, "file")
    option = choose({"trial": {"min_requests": "4"}}, "options")
    probe, trial, runtime = option.over(file).apply_to(Probe(rtol=0.5), Trial(), Runtime())
    assert (trial.max_restarts, trial.min_requests) == (5, 4)
    assert trial.duration_s == Trial().duration_s
    assert (probe, runtime) == (Probe(rtol=0.5), Runtime())


def test_files_of_an_earlier_release_can_have_other_limits(
    repo: Repository, model_file: Path
) -> None:
    first = choose({"trial": {"max_restarts": 5, "min_requests": 9}}, "x")
    repo.build_release(
        ReleaseRequest(model="clf", version="7.0", files=(model_file,), limits=first)
    )
    again = choose({"trial": {"min_requests": 2}}, "x")
    repo.build_release(ReleaseRequest(model="clf", version="8.0", same_as="7.0", limits=again))
    trial = repo.store.folder("clf", "8.0").load().trial
    assert (trial.max_restarts, trial.min_requests) == (5, 2)


def test_the_same_version_with_other_limits_is_another_release(
    repo: Repository, model_file: Path
) -> None:
    def release(limits: dict[str, Any]) -> None:
        chosen = choose(limits, "x")
        repo.build_release(
            ReleaseRequest(model="clf", version="7.0", files=(model_file,), limits=chosen)
        )

    release({"probe": {"runs": 7}})
    release({"probe": {"runs": 7}})
    for other in ({"probe": {"runs": 8}}, {}, {"probe": {"runs": 7}, "trial": {"duration_s": 1}}):
        with pytest.raises(Conflict, match="differs in options"):
            release(other)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[probe]\nmax_latency_ratoi = 2", "probe: the key 'max_latency_ratoi' is not known; did"),
        ("[prob]\nrtol = 2", "the key 'prob' is not known; did you mean 'probe'?"),
        ("[probe]\nsamples = 'x'", "probe: the key 'samples' is not known"),
        ("[trial]\nmax_error_share = 2", "trial.max_error_share: expected a number of at most 1"),
        ("[trial]\nmax_restarts = 'none'", "trial.max_restarts: expected a whole number, got"),
        ("[trial]\nduration_s = nan", "trial.duration_s: expected a number of at least 0"),
        ("probe = 5", "probe: expected a table, got 5"),
        ("[probe", "is not TOML"),
    ],
)
def test_a_wrong_file_is_told_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "release.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=rf"release.toml.*{re.escape(said)}"):
        read_limits(path)


@pytest.mark.parametrize(
    "limits",
    [{"probe": {"min_accuracy": 0.5}}, {"probe": {"label_output": "scores"}}],
)
def test_an_accuracy_without_labels_is_refused(
    repo: Repository, model_file: Path, limits: dict[str, Any]
) -> None:
    request = ReleaseRequest(
        model="clf", version="7.0", files=(model_file,), limits=choose(limits, "x")
    )
    with pytest.raises(UsageError, match="need --samples with `labels`"):
        repo.build_release(request)


def test_accuracy_is_measured_of_the_output_that_was_chosen(
    repo: Repository, tmp_path: Path
) -> None:
    """The first output of this model fits no labels at all."""
    file = tmp_path / "new.onnx"
    file.write_bytes(typed_models.features_before_scores())
    rows = np.random.default_rng(1).standard_normal((12, 1, 4)).astype(np.float32)
    np.savez(tmp_path / "user.npz", x=rows, labels=rows[:, 0].argmax(axis=1))
    request = ReleaseRequest(
        model="heads",
        version="1.0",
        files=(file,),
        samples=tmp_path / "user.npz",
        limits=choose({"probe": {"label_output": "scores"}}, "x"),
    )
    probe = repo.build_release(request).release.probe
    assert probe.label_output == "scores"
    assert probe.min_accuracy == pytest.approx(1 - 1 / 12)


def test_the_example_chooses_nothing_and_names_every_limit(tmp_path: Path) -> None:
    printed = CliRunner().invoke(app, ["limits"], catch_exceptions=False).stdout
    assert printed == example()
    (tmp_path / "release.toml").write_text(printed)
    assert read_limits(tmp_path / "release.toml") == ChosenLimits()
    for key in limit_keys():
        assert re.search(rf"^#= {key.name.split('.')[1]}\b", printed, re.MULTILINE), key.name


def test_the_defaults_of_the_example_are_values_that_can_be_given() -> None:
    given = tomllib.loads(re.sub(r"^#= (\w+ =)", r"\1", example(), flags=re.MULTILINE))
    chosen = choose(given, "example")
    for key in limit_keys():
        table, name = key.name.split(".")
        assert getattr(chosen, table).get(name, key.default) == key.default


@pytest.mark.parametrize(
    ("chosen", "trial_ratio"),
    [
        ({}, 3.0),
        ({"probe": {"max_latency_ratio": 2.5}}, 3.0),
        ({"probe": {"max_latency_ratio": 9}}, 9.0),
        ({"probe": {"max_latency_ratio": "none"}}, None),
        ({"probe": {"max_latency_ratio": 9}, "trial": {"max_latency_ratio": 4}}, 4.0),
    ],
)
def test_a_slower_model_is_one_decision_for_probe_and_trial(
    chosen: dict[str, Any], trial_ratio: float | None
) -> None:
    _, trial, _ = choose(chosen, "x").apply_to(Probe(), Trial(), Runtime())
    assert trial.max_latency_ratio == trial_ratio


def test_limits_of_the_probe_have_short_options(repo: Repository, model_file: Path) -> None:
    words = ["release", str(repo.path), "clf", "9.0", str(model_file), "--no-passphrase"]
    words += ["--rtol", "0.25", "--allow-nonfinite", "--timeout-s", "30", "--no-probe"]
    CliRunner().invoke(app, words, catch_exceptions=False)
    probe = repo.store.folder("clf", "9.0").load().probe
    assert (probe.rtol, probe.allow_nonfinite, probe.timeout_s) == (0.25, True, 30.0)
