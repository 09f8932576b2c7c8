"""Asks before a release is signed what devices will say of it: by the probe that they hold.

The very same code (`slotcast_schemas.probe`), with the limits of the release, in a child that has
no secrets in its environment and no network, on the files under the names that devices will give
them; beside the release before, which devices have now. What it refuses is refused here, in its
words, with the option that helps where one does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from slotcast_schemas.errors import ModelFailed, ProbeNotHeld
from slotcast_schemas.messages import Release
from slotcast_schemas.messages.status import Check
from slotcast_schemas.probe import DEVICE_BUSY, ProbeRequest, ProbeResult, SlotModel, run_probe
from slotcast_schemas.reasons import Reason

_SAMPLES: Final = "--samples with inputs that it is made for, or --shape and --range for made ones"
_MEANT: Final = "if it is meant to"

_GOLDEN: Final = (
    "if the outputs in --samples are right, the export is not; --probe-rtol, --probe-atol and"
    " --probe-min-cosine say how near is near enough"
)

_HELP: Final[Mapping[str, str]] = {
    "finite": f"--probe-allow-nonfinite {_MEANT}; else {_SAMPLES}",
    "varies": f"--probe-allow-constant {_MEANT}; else {_SAMPLES}",
    "golden": _GOLDEN,
    "cosine": _GOLDEN,
    "golden_spread": _GOLDEN,
    "accuracy": "--probe-min-accuracy",
    "memory": "--probe-max-memory-bytes",
    "memory_relative": "--probe-max-memory-ratio",
    "load_time": "--probe-max-load-s",
    "latency_p95": "--probe-max-latency-p95-s",
    "latency_p50": "--probe-max-latency-ratio, or none for it, if it may be slower",
}
"""What helps against a check that failed."""

_HELP_BY_REASON: Final[Mapping[str, str]] = {
    Reason.PROBE_TIMEOUT: "--probe-timeout-s",
    Reason.RUN_FAILED: _SAMPLES,
    Reason.SAMPLES_MISSING: _SAMPLES,
    Reason.UNSAFE_MODEL: "give every file that it keeps tensors in; no option lets it load others",
}


def probe_as_devices_do(
    release: Release, files_dir: Path, active: SlotModel | None
) -> tuple[str, ...]:
    """Probe a release's files; give what a person should know of a release that passes.

    Args:
        release: what will be signed.
        files_dir: folder of its files.
        active: the release before, which devices compare with; None where there is none.

    Raises:
        ModelFailed: devices would refuse it.
        ProbeNotHeld: no process could be started for it, or it was ended from outside.
    """
    result = run_probe(
        ProbeRequest(
            candidate=SlotModel(
                str(files_dir.absolute()),
                release.entry,
                release.runtime.format,
                is_compiled=release.runtime.compiled,
            ),
            active=active,
            inputs=release.inputs,
            outputs=release.outputs,
            probe=release.probe,
        )
    )
    if result.passed:
        return _notes(result)
    if result.reason == DEVICE_BUSY:
        return (f"this machine is too busy to say how fast the model is: {result.detail}",)
    if not result.blames_model:
        raise ProbeNotHeld(
            f"{release.entry} could not be probed ({result.reason}): {result.detail}"
        )
    raise ModelFailed(
        f"{release.entry}: devices would refuse it ({result.reason}): {result.detail}"
        f"{_help(result)}"
    )


def _notes(result: ProbeResult) -> tuple[str, ...]:
    return tuple(
        f"{check.detail}; devices judge the rest: that it loads, its contract, its memory"
        for check in result.checks
        if check.name == "runs"
    )


def _help(result: ProbeResult) -> str:
    failed: Check | None = next((check for check in result.checks if not check.passed), None)
    text = _HELP_BY_REASON.get(result.reason) or (_HELP.get(failed.name) if failed else None)
    return f"; what helps: {text}" if text else ""
