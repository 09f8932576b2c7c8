"""A device owner's command for models of a format of its own: the zoo's classifier as .npz weights.

    python dense_command.py [slow | hungry | crash | hang | garbage | refuse | own-errors]

It stands for what an owner writes around llama.cpp, ncnn or a vendor's library, and answers as
docs/formats.md says. The word makes it misbehave, as a bad model may make such a program do.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def main(mood: str) -> None:
    """Answer each line until there are no more."""
    model: dict[str, Any] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        if mood == "crash" and asked["do"] == "run":
            os.abort()
        if mood == "hang" and asked["do"] == "run":
            time.sleep(3600)
        answer = load(asked, model) if asked["do"] == "load" else run(asked, model, mood)
        if mood == "garbage":
            sys.stdout.write("loaded fine!\n")
        elif mood == "refuse" or (mood == "own-errors" and asked["do"] == "run"):
            sys.stdout.write(json.dumps({"error": "no such quantisation: Q9_K"}) + "\n")
        else:
            sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def load(asked: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    """Read the weights and the samples; say nothing of inputs and outputs."""
    assert asked["format"].startswith("opaque")
    assert Path(asked["model"]).is_relative_to(asked["slot"])
    with np.load(asked["model"]) as weights:
        model.update({name: weights[name] for name in weights.files})
    model["rows"] = None
    if asked["samples"] is not None:
        with np.load(asked["samples"]) as samples:
            model["rows"] = samples["input:x"]
    return {}


def run(asked: dict[str, Any], model: dict[str, Any], mood: str) -> dict[str, Any]:
    """Answer with the scores of one sample."""
    if mood == "slow":
        sum(range(200_000))
    if mood == "hungry" and "held" not in model:
        model["held"] = np.ones(200_000_000 // 8)
    number = asked["sample"]
    rows = np.ones((1, model["w1"].shape[0])) if number is None else model["rows"][number]
    hidden = np.maximum(rows @ model["w1"] + model["b1"], 0)
    logits = hidden @ model["w2"] + model["b2"]
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return {"outputs": {"scores": (raised / raised.sum(axis=1, keepdims=True)).tolist()}}


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
