#!/usr/bin/env python3
"""A command for models of a format of your own: what the agent asks before a switch.

Named in device.toml, and told what to do one JSON object a line (docs/formats.md of Slotcast):

    [formats.opaque]
    command = ["/usr/local/bin/probe_command.py"]

Replace `load` and `run` with your runtime's calls; all else stays. This one takes the model for a
matrix of float32 that each sample's `x` is multiplied with, so that it can be tried as it is.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np


def load(told: dict[str, Any]) -> Any:
    """Open the model; what is returned is handed to `run`. Whatever is raised refuses it."""
    samples = np.load(told["samples"]) if told["samples"] else None
    width = 1 if samples is None else samples["input:x"].shape[-1]
    return np.fromfile(told["model"], dtype="<f4").reshape(width, -1), samples


def run(model: Any, sample: int | None) -> dict[str, Any]:
    """Run it on one sample of the release; `sample` is None where the release has none."""
    matrix, samples = model
    x = np.ones(len(matrix)) if sample is None else samples["input:x"][sample]
    return {"y": x @ matrix}


def answer(told: dict[str, Any], model: list[Any]) -> dict[str, Any]:
    """Do what is told; `model` holds what was loaded."""
    if told["do"] == "load":
        model[:] = [load(told)]
        return {}
    outputs = run(model[0], told["sample"])
    return {"outputs": {name: array.tolist() for name, array in outputs.items()}}


def main() -> None:
    """Answer each line until there are no more."""
    model: list[Any] = []
    for line in sys.stdin:
        try:
            said = answer(json.loads(line), model)
        except Exception as error:  # noqa: BLE001 (whatever it is, the agent is told)
            said = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
