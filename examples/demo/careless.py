"""A publisher without checks: what a stolen release key, or a patched tool, could sign.

`slotcast release` runs a model before it signs it, so some bad models never get past it. To show
that devices do not rely on that, this signs a bad file with the facts and samples of a good one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final
from unittest.mock import patch

import msgspec

from slotcast_publisher.release import take_in
from slotcast_publisher.release.model_check import ModelFacts, SamplesWanted, check_model
from slotcast_schemas.model_formats import ONNX

_ENTRY: Final = "model.onnx"
"""The name of a model that stands in for another."""

Answer = tuple[ModelFacts, bytes]
"""What a check says of a model, and the golden samples that it makes."""


def without_checks(good: Path, *, probe_timeout_s: float) -> AbstractContextManager[None]:
    """Take every model for the one in the file `good`, which is checked in its place.

    Args:
        good: an ONNX file of the same signature.
        probe_timeout_s: how long a device lets the probe of such a release take.
    """

    def answer(wanted: SamplesWanted) -> Answer:
        facts, golden = check_stand_in(good.read_bytes(), wanted)
        probe = msgspec.structs.replace(facts.probe, timeout_s=probe_timeout_s)
        return msgspec.structs.replace(facts, probe=probe), golden

    return answering(answer)


def check_stand_in(model: bytes, wanted: SamplesWanted) -> Answer:
    """Have the publisher's real check look at a model, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="slotcast-stand-in-") as made:
        folder = Path(made)
        (folder / _ENTRY).write_bytes(model)
        facts = check_model(folder, _ENTRY, samples=wanted)
        return facts, (folder / wanted.out).read_bytes()


@contextmanager
def answering(answer: Callable[[SamplesWanted], Answer]) -> Iterator[None]:
    """Sign what `answer` says of every model, whatever the model is."""

    def check(
        model_dir: Path,
        entry: str,
        *,
        samples: SamplesWanted | None = None,
        model_format: str = ONNX,
        is_compiled: bool = False,
        chosen_timeout_s: float | None = None,
    ) -> ModelFacts:
        del entry, chosen_timeout_s
        if samples is None or is_compiled or model_format != ONNX:
            raise AssertionError("expected a release of an ONNX model with samples")
        facts, golden = answer(samples)
        (model_dir / samples.out).write_bytes(golden)
        return facts

    with patch.object(take_in, "check_model", check):
        yield
