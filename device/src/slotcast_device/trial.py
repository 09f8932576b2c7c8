"""Probe and trial as jobs: what the core asks, put to the probe's child process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slotcast_device.core.events import Probe, Verdict, Watch
from slotcast_device.probe import ProbeRequest, ProbeResult, SlotModel, run_probe
from slotcast_schemas.errors import StorageFailed

if TYPE_CHECKING:
    import threading
    from pathlib import Path

    from slotcast_device.slots import SlotStore
    from slotcast_device.state import SlotName
    from slotcast_schemas.messages import Release


def _model(store: SlotStore, slot: SlotName, entry: str) -> SlotModel:
    return SlotModel(str(store.path(slot).resolve()), entry)


def _beside(store: SlotStore, slot: SlotName | None) -> SlotModel | None:
    release = None if slot is None else store.release(slot)
    return None if slot is None or release is None else _model(store, slot, release.entry)


def _request(
    store: SlotStore, slot: SlotName, release: Release, beside: SlotName | None
) -> ProbeRequest:
    return ProbeRequest(
        candidate=_model(store, slot, release.entry),
        active=_beside(store, beside),
        inputs=release.inputs,
        outputs=release.outputs,
        probe=release.probe,
    )


def probe_slot(store: SlotStore, job: Probe, cancel: threading.Event) -> Verdict:
    """Probe a slot before the switch.

    Raises:
        StorageFailed: the probe could not be held; that says nothing against the model.
    """
    result = run_probe(_request(store, job.slot, job.release, job.beside), cancel=cancel)
    return _verdict(result)


def watch_trial(store: SlotStore, folder: Path, job: Watch, cancel: threading.Event) -> Verdict:
    """Look how the release on trial does; without an application, by probing it again.

    Raises:
        StorageFailed: the probe could not be held; that says nothing against the model.
    """
    del folder
    result = run_probe(_request(store, job.slot, job.release, None), cancel=cancel)
    verdict = _verdict(result)
    if verdict.passed and job.elapsed_s < job.release.trial.duration_s:
        return Verdict(passed=None, reason="on_trial", checks=verdict.checks)
    return verdict


def _verdict(result: ProbeResult) -> Verdict:
    if not result.passed and not result.blames_model:
        raise StorageFailed(f"the probe could not be held: {result.reason}: {result.detail}")
    return Verdict(result.passed, result.reason, result.detail, result.checks)
