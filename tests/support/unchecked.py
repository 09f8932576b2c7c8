"""Releases whose models the publisher did not run: what a stolen key, or a patched tool, signs.

`slotcast release` runs a model before it signs it, so a model that crashes or hangs never gets
past it. Here every model is taken for `STAND_IN`, whose signature all of the zoo share: its facts
and golden samples are signed, found out once by the publisher's real check.
"""

from __future__ import annotations

import functools
from typing import Final

import msgspec

from examples.demo.careless import Answer, answering, check_stand_in
from slotcast_publisher.release.given_files import SAMPLES_PATH
from slotcast_publisher.release.model_check import SamplesWanted
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_schemas.messages import Release
from slotcast_schemas.messages.release import Trial
from tests.support import models
from tests.support.fleet import PATIENT, Publisher
from tests.support.packed_once import PackedOnce

STAND_IN: Final = models.classifier(1)


def release_unchecked(
    publisher: Publisher,
    version: str,
    model: bytes,
    *,
    probe_timeout_s: float = 20.0,
    runs: int = 10,
    trial: Trial = PATIENT,
    max_latency_ratio: float | None = 3.0,
    taken_for: bytes = STAND_IN,
) -> Release:
    """Release a model of the zoo as `clf`, with the facts and samples of another."""
    facts, golden = _facts(taken_for)
    probe = msgspec.structs.replace(
        facts.probe, timeout_s=probe_timeout_s, runs=runs, max_latency_ratio=max_latency_ratio
    )
    facts = msgspec.structs.replace(facts, probe=probe)
    folder = publisher.path / "given" / "clf" / version
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model)
    request = ReleaseRequest(
        model="clf", version=version, files=(folder,), seed=1, trial=trial, is_probed=False
    )
    with answering(lambda _: (facts, golden)):
        return publisher.repo.build_release(request, builders=(PackedOnce(),)).release


@functools.cache
def _facts(model: bytes) -> Answer:
    return check_stand_in(model, SamplesWanted(out=SAMPLES_PATH, seed=1))
