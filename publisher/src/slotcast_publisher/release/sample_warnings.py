"""What the publisher is told of samples and outputs that devices will refuse, or not compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from slotcast_publisher.release.repeatability import Run, tell_nothing
from slotcast_schemas import outputs
from slotcast_schemas.messages.release import Probe
from slotcast_schemas.samples import Samples
from slotcast_schemas.value_types import Array, Rows

Warn = Callable[[str], None]
"""Told what may be a mistake, a sentence each time."""


def warn_of_outputs(
    kept: Samples, runs: Sequence[Run], probe: Probe, chosen: Probe, warn: Warn
) -> None:
    """Say which outputs devices will refuse, or learn nothing from.

    Args:
        kept: the samples that devices compare with.
        runs: what the model said to them.
        probe: the limits that go with them.
        chosen: what the publisher lets devices accept.
        warn: told, in a sentence each.
    """
    nonfinite = next((text for run in runs if (text := outputs.nonfinite(run))), "")
    for text, name in (
        (nonfinite, "allow_nonfinite"),
        (outputs.constant(runs), "allow_constant"),
    ):
        if text and getattr(chosen, name):
            warn(f"{text}; probe.{name} was chosen, so devices accept it")
        elif text and getattr(probe, name):
            warn(f"{text}; so are the outputs given, so devices accept it")
        elif text:
            warn(f"{text}; devices refuse this unless probe.{name} is chosen")
    if tell_nothing(kept, probe):
        warn(
            f"the outputs of all {kept.runs} samples are the same within what devices let pass, so"
            " a damaged model may pass too: give inputs that it answers otherwise with --samples"
            " FILE, or say what inputs are like with --range NAME=LOW:HIGH"
        )
    for name, want in kept.outputs.items():
        if name not in runs[0]:
            warn(f"the model has no output {name!r}; devices will refuse it")
        elif _differ([run[name] for run in runs], want):
            warn(f"output {name!r} differs from the one given; devices may refuse this model")


def say_none_is_right(labels: Array, runs: Sequence[Run], output: str) -> str:
    """Say that no label is right, with the first as an example.

    Args:
        labels: as they were given.
        runs: what the model said to their samples.
        output: the one that is held against them.
    """
    said = outputs.predictions(runs[:1], output)[:1].tolist()
    return (
        f"not one of the {labels.size} labels is right, so devices will not hold the model to them:"
        f" the first is {labels.ravel()[0].item()!r}, and output {output!r} says {said[0]!r};"
        " --label-output names another output"
    )


def _differ(got: Sequence[object], want: Rows) -> bool:
    """Whether floats are far from those given."""
    if not isinstance(want, np.ndarray) or want.dtype.kind != "f":
        return False
    return any(
        isinstance(one, np.ndarray)
        and one.shape == row.shape
        and not np.allclose(one, row, rtol=1e-2, atol=1e-3, equal_nan=True)
        for one, row in zip(got, want, strict=True)
    )
