"""Releases whose models the publisher did not run: what a stolen key, or a patched tool, signs.

`slotcast release` runs a model before it signs it, so a model that crashes or hangs never gets
past it. Here every model is taken for `STAND_IN`, whose signature all of the zoo share: its facts
and golden samples are signed, found out once by the publisher's real check.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
from pathlib import Path
from typing import Final
from unittest.mock import patch

import msgspec

from slotcast_publisher.release import build as releasing
from slotcast_publisher.release.model_check import ModelFacts, SamplesWanted, check_model
from slotcast_publisher.release.payloads import FullBuilder
from slotcast_schemas.messages import Release
from slotcast_schemas.messages.release import Trial
from slotcast_schemas.model_formats import ONNX
from tests.support import models
from tests.support.fleet import PATIENT, Publisher

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

    def check(
        model_dir: Path,
        entry: str,
        *,
        samples: SamplesWanted | None = None,
        model_format: str = ONNX,
        is_compiled: bool = False,
    ) -> ModelFacts:
        assert (model_format, is_compiled) == (ONNX, False)
        if samples is None:
            raise AssertionError("expected a release with samples")
        (model_dir / samples.out).write_bytes(golden)
        return msgspec.structs.replace(facts, probe=probe)

    folder = publisher.path / "given" / "clf" / version
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model)
    request = releasing.ReleaseRequest(
        model="clf", version=version, files=(folder,), seed=1, trial=trial
    )
    request = msgspec.structs.replace(request, is_probed=False)
    with patch.object(releasing, "check_model", check):
        return publisher.repo.build_release(request, builders=(FullBuilder(),)).release


@functools.cache
def _facts(model: bytes) -> tuple[ModelFacts, bytes]:
    folder = Path(tempfile.mkdtemp(prefix="slotcast-stand-in-"))
    try:
        (folder / "model.onnx").write_bytes(model)
        wanted = SamplesWanted(out=releasing.SAMPLES_PATH, seed=1)
        facts = check_model(folder, "model.onnx", samples=wanted)
        return facts, (folder / releasing.SAMPLES_PATH).read_bytes()
    finally:
        shutil.rmtree(folder)
