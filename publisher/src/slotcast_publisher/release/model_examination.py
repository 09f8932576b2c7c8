"""What a model declares, how a device shall probe it, and what it answers: in a closed process.

Imported by `model_check_child` after that has closed itself in, since it imports the runtimes.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import IO, Any

import msgspec
import onnx

from slotcast_publisher.release.golden_samples import make_samples
from slotcast_publisher.release.made_inputs import InputsWanted
from slotcast_publisher.release.model_check import SamplesWanted
from slotcast_publisher.release.observed_outputs import (
    differences,
    observed_outputs,
    within_bounds,
)
from slotcast_publisher.release.repeatability import Run
from slotcast_schemas.errors import ModelUnloadable
from slotcast_schemas.messages.release import Probe
from slotcast_schemas.model_formats import ONNX
from slotcast_schemas.probe import SlotModel
from slotcast_schemas.probe.loading import open_model
from slotcast_schemas.probe.runtime import LoadedModel
from slotcast_schemas.probe.runtime_words import cause_of
from slotcast_schemas.probe.scan import is_prepared, scan
from slotcast_schemas.probe.spec import DEVICE_SEED
from slotcast_schemas.samples import Samples, read_samples
from slotcast_schemas.seeded_inputs import SEEDED_RUNS, seeded_inputs


def examine(
    model: SlotModel, wanted: SamplesWanted | None, out: IO[bytes] | None
) -> dict[str, Any]:
    """Say what a sound model declares, and of which samples devices probe it with.

    Args:
        model: the model.
        wanted: the golden samples to make, if any.
        out: the open file to write them to: none can be opened here.

    Raises:
        Exception: whatever is wrong with the model or the samples.
    """
    report = _look(model)
    faults = report["warnings"]
    if wanted is not None and report["load_s"] is not None:
        report |= _samples(model, wanted, out)
        report["warnings"] = [*faults, *report["warnings"]]
    report["load_s"] = report["load_s"] or 0.0
    return report


def _look(model: SlotModel) -> dict[str, Any]:
    scan(model)
    opsets, external, fault = _declared(model)
    declared = {"opsets": opsets, "external": external}
    start_s = time.monotonic()
    try:
        session = open_model(model, threads=1)
    except Exception as exc:
        if not model.is_compiled:
            said = "; ".join(filter(None, (fault, cause_of(exc, model.slot))))
            raise ModelUnloadable(said) from exc
        # Compiled for another machine's processor: that it does not load here says nothing.
        return {**declared, **_not_loaded(cause_of(exc, model.slot))}
    return {
        **declared,
        "inputs": msgspec.to_builtins(within_bounds(session.inputs)),
        "outputs": msgspec.to_builtins(within_bounds(session.outputs)),
        "load_s": round(time.monotonic() - start_s, 4),
        "warnings": [f"onnx finds fault with it ({fault}); the runtime loads it"] if fault else [],
    }


def _not_loaded(why: str) -> dict[str, Any]:
    said = f"this machine cannot load it ({why:.200}): only devices can say what it does"
    return {"inputs": [], "outputs": [], "load_s": None, "warnings": [said]}


def _declared(model: SlotModel) -> tuple[dict[str, int], list[str], str]:
    """What an ONNX file imports, which files it keeps tensors in, and what onnx finds wrong.

    Exporters write what onnx forbids and runtimes take, such as an output without a rank: the
    runtime decides.
    """
    if model.format != ONNX or is_prepared(model.path):
        return {}, [], ""
    proto = onnx.load(str(model.path), load_external_data=False)
    external = sorted({location for tensor in _tensors(proto) if (location := _external(tensor))})
    try:
        onnx.checker.check_model(str(model.path))
        fault = ""
    except onnx.checker.ValidationError as exc:
        fault = " ".join(str(exc).split())[:300]
    return {item.domain: item.version for item in proto.opset_import}, external, fault


def _tensors(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Every tensor that may lie in another file: of the graph, and of the graphs in its nodes."""
    graphs, found = [model.graph], []
    while graphs:
        graph = graphs.pop()
        found += list(graph.initializer)
        for node in graph.node:
            for attribute in node.attribute:
                found += [attribute.t, *attribute.tensors]
                graphs += [attribute.g, *attribute.graphs]
    return found


def _external(tensor: onnx.TensorProto) -> str | None:
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return None
    return next((item.value for item in tensor.external_data if item.key == "location"), None)


def _samples(model: SlotModel, wanted: SamplesWanted, out: IO[bytes] | None) -> dict[str, Any]:
    """Make samples where they are needed; say what devices probe with, and what was seen."""
    warnings: list[str] = []
    model_dir = Path(model.slot)
    probe = make_samples(
        model_dir,
        model.entry,
        Path(wanted.user) if wanted.user else None,
        model_dir / wanted.out,
        seed=wanted.seed,
        label_output=wanted.label_output,
        warn=warnings.append,
        wanted=InputsWanted(wanted.shapes, wanted.ranges),
        chosen=Probe(allow_nonfinite=wanted.allow_nonfinite, allow_constant=wanted.allow_constant),
        only_if_needed=wanted.only_if_needed,
        model_format=model.format,
        is_compiled=model.is_compiled,
        out_file=out,
    )
    if wanted.only_if_needed and probe.samples is not None:
        warnings.append(
            "the model does not run, or says nothing, on inputs that devices make by themselves:"
            " others were made, and go with it as golden samples; --samples with real ones say more"
        )
    session = open_model(model, threads=1)
    observed = observed_outputs(session.outputs, _runs(session, model_dir, probe))
    corrections = differences(session.outputs, observed)
    return {
        "probe": msgspec.to_builtins(probe),
        "warnings": [*warnings, *corrections],
        "outputs": msgspec.to_builtins(within_bounds(observed)),
        "is_corrected": bool(corrections),
    }


def _runs(session: LoadedModel, model_dir: Path, probe: Probe) -> list[Run]:
    """Run the model on what devices will probe it with; nothing where it cannot be run."""
    if probe.samples is not None:
        samples = read_samples(model_dir / probe.samples)
    elif session.cannot_be_fed():
        return []
    else:
        try:
            samples = Samples(seeded_inputs(session.inputs, runs=SEEDED_RUNS, seed=DEVICE_SEED))
            return [session.run(samples.feed(index)) for index in range(samples.runs)]
        except Exception:  # noqa: BLE001 (devices' probe says why)
            return []
    return [session.run(samples.feed(index)) for index in range(samples.runs)]
