"""A publisher without checks: what a stolen release key, or a patched tool, could sign.

`slotcast release` runs a model before it signs it, so some bad models never get past it. To show
that devices do not rely on that, this signs a bad file with the facts and samples of a good one.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import msgspec

from slotcast_publisher.release import build as releasing
from slotcast_publisher.release.model_check import ModelFacts, SamplesWanted, check_model


@contextmanager
def without_checks(good: Path, *, probe_timeout_s: float) -> Iterator[None]:
    """Take every model for the one in the file `good`, which is checked in its place.

    Args:
        good: an ONNX file of the same signature.
        probe_timeout_s: how long a device lets the probe of such a release take.
    """

    def check(
        model_dir: Path,
        entry: str,
        *,
        samples: SamplesWanted | None = None,
        model_format: str = "onnx",
        is_compiled: bool = False,
    ) -> ModelFacts:
        stand_in = good.parent / "stand-in"
        shutil.rmtree(stand_in, ignore_errors=True)
        stand_in.mkdir()
        shutil.copyfile(good, stand_in / entry)
        facts = check_model(
            stand_in, entry, samples=samples, model_format=model_format, is_compiled=is_compiled
        )
        if samples is not None:
            shutil.copyfile(stand_in / samples.out, model_dir / samples.out)
        probe = msgspec.structs.replace(facts.probe, timeout_s=probe_timeout_s)
        return msgspec.structs.replace(facts, probe=probe)

    with patch.object(releasing, "check_model", check):
        yield
