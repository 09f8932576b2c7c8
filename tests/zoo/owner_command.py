"""What the owner of a device would have for LiteRT files with operators of MediaPipe's own.

MediaPipe's runtime is not installed here, so it opens the file, reads its weights and answers with
their means: it shows that such a file is released, delivered, probed by a command and committed.
Told what to do as docs/formats.md says.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.zoo.weights import weights_of


def answer(told: dict[str, Any], means: dict[str, list[float]]) -> dict[str, Any]:
    """Do what a line tells; `means` holds what was found when the model was loaded."""
    if told["do"] == "load":
        arrays = dict(weights_of(Path(told["model"]).read_bytes()).arrays()).values()
        means["means"] = [float(array.mean(dtype="f8")) for array in arrays]
        return {}
    return {"outputs": means}


def main() -> None:
    """Answer each line until there are no more."""
    means: dict[str, list[float]] = {}
    for line in sys.stdin:
        try:
            said = answer(json.loads(line), means)
        except Exception as error:  # noqa: BLE001 (whatever it is, the agent is told)
            said = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
