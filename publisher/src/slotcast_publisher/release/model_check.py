"""Checks a model before it is released: onnx's checker, and one load in the runtime.

The work is done by `model_check_child`, in a process of its own with a limit on time, without
secrets in its environment, and closed in (`slotcast_schemas.confinement`).
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from slotcast_publisher.release.bounded_run import run_bounded
from slotcast_schemas.confinement.privileges import hide_memory
from slotcast_schemas.decode_errors import UNDECODABLE
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.environment import ONE_THREAD, child_environment
from slotcast_schemas.errors import ModelUnloadable, UsageError
from slotcast_schemas.messages.release import Probe, Tensor
from slotcast_schemas.model_formats import ONNX
from slotcast_schemas.probe import SlotModel
from slotcast_schemas.probe.waits import patience_s

_CHILD: Final = "slotcast_publisher.release.model_check_child"
"""The module that loads and runs the model in a process of its own."""

_ERROR_MAX_CHARS: Final = 8_000
"""The most characters of what the child says is wrong; a model may have taken it over."""

TIMEOUT_S: Final = 900.0
"""The seconds after which a model that is still being checked is given up: a large one on a slow
machine takes minutes. Where a device's limit was chosen, it is what a busy device waits."""

_NO_SUCH_OPERATOR: Final = re.compile(
    r"operators of domain|No Op registered|not a registered function/op|unresolved custom op"
)
"""How the scan, onnxruntime and LiteRT say that they do not have one of a model's operators."""

_OWN_RUNTIME: Final = (
    "; what helps: an operator that the runtime has, or --format opaque for devices whose owner has"
    " a command that runs this model"
)

_EXTERNAL: Final = re.compile(r"external data .* is not a file of the release")
"""How the scan says that a model's weights lie in a file that was not given."""

_GIVE_IT_TOO: Final = "; what helps: give that file, too, after the model's"


class SamplesWanted(msgspec.Struct, frozen=True, kw_only=True):
    """Golden samples to make: of the user's file, or of inputs made from a seed.

    Attributes:
        out: the path of the samples file in the release.
        user: the user's file.
        seed: of made inputs.
        only_if_needed: make none where the inputs do that devices make by themselves.
        shapes, ranges: what made inputs shall be like, by their names.
        label_output: the output that labels are compared with; None for the first.
        allow_nonfinite, allow_constant: what the publisher lets devices accept.
    """

    out: str
    user: str | None = None
    seed: int = 0
    only_if_needed: bool = False
    shapes: dict[str, tuple[int, ...]] = {}
    ranges: dict[str, tuple[float, float]] = {}
    label_output: str | None = None
    allow_nonfinite: bool = False
    allow_constant: bool = False


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a sound model declares, or does where it was run.

    Attributes:
        external: files beside it that hold its tensors.
        is_corrected: whether outputs come otherwise than the file declares them.
    """

    opsets: dict[str, int]
    external: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    load_s: float
    probe: Probe = Probe()
    warnings: tuple[str, ...] = ()
    is_corrected: bool = False


make_decoders(ModelFacts, SamplesWanted)


def check_model(
    model_dir: Path,
    entry: str,
    *,
    samples: SamplesWanted | None = None,
    model_format: str = ONNX,
    is_compiled: bool = False,
    chosen_timeout_s: float | None = None,
) -> ModelFacts:
    """Check a model, make its samples, and say what it declares.

    From then on no process of this user reads this one's memory, in which passphrases are.

    Args:
        model_dir: folder of the release's files.
        entry: the one in it that the runtime opens.
        samples: which golden samples to make, if any.
        model_format: what kind of file it is.
        is_compiled: whether a runtime prepared it for itself, and it may be loaded unseen.
        chosen_timeout_s: what a device's probe may take, where somebody chose it.

    Raises:
        ModelUnloadable: the checker or the runtime refuses it, it crashes, or takes too long.
        UsageError: the samples do not fit the model.
    """
    model = SlotModel(str(model_dir.absolute()), entry, model_format, is_compiled=is_compiled)
    request = {
        "model": msgspec.to_builtins(model),
        "parent_pid": os.getpid(),
        "samples": None if samples is None else msgspec.to_builtins(samples),
    }
    command = [
        sys.executable,
        "-P",
        "-m",
        "slotcast_publisher.release.model_check_child",
        json.dumps(request),
    ]
    hide_memory()
    timeout_s = TIMEOUT_S if chosen_timeout_s is None else patience_s(chosen_timeout_s)
    try:
        done = run_bounded(command, timeout=timeout_s, env={**child_environment(), ONE_THREAD: "1"})
    except subprocess.TimeoutExpired as exc:
        raise ModelUnloadable(
            f"{entry}: not loaded, and run on its samples, within {timeout_s:.0f} s;"
            " what helps: --probe-timeout-s, by which this wait goes, too"
        ) from exc
    report = _report(done, entry)
    _forget_empty_samples(model_dir, samples)
    if "error" in report:
        kind = UsageError if report.get("reason") == UsageError.reason else ModelUnloadable
        error = str(report["error"])[:_ERROR_MAX_CHARS]
        raise kind(f"{entry}: {error}{what_helps(error)}")
    try:
        return msgspec.convert(report, ModelFacts)
    except msgspec.ValidationError as exc:
        raise ModelUnloadable(f"{entry}: what it declares does not fit: {exc}") from exc


def what_helps(error: str) -> str:
    """Say which option helps against an error of the runtime, to be put after it; often none."""
    if _EXTERNAL.search(error):
        return _GIVE_IT_TOO
    return _OWN_RUNTIME if _NO_SUCH_OPERATOR.search(error) else ""


def _forget_empty_samples(model_dir: Path, samples: SamplesWanted | None) -> None:
    """Remove the samples file that the child opened, where it wrote nothing into it."""
    if samples is not None:
        out = model_dir / samples.out
        if out.exists() and out.stat().st_size == 0:
            out.unlink()


def _report(done: subprocess.CompletedProcess[bytes], entry: str) -> dict[str, Any]:
    try:
        return msgspec.convert(json.loads(done.stdout), dict[str, Any])
    except UNDECODABLE as exc:
        said = done.stderr.decode(errors="replace").strip()[-500:]
        how = (
            f"crashed with {signal.Signals(-done.returncode).name}"
            if done.returncode < 0
            else f"ended with {done.returncode}"
        )
        raise ModelUnloadable(f"{entry}: the process that loaded it {how}: {said}") from exc
