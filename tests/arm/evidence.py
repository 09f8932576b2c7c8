"""`python -m tests.arm.evidence STATUS`: what a device's status says of the golden samples.

Prints it; 0 only if the release is committed and its golden samples were compared and held.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(path: Path) -> int:
    (model,) = json.loads(path.read_text())["models"]
    checks = {check["name"]: check for check in (model.get("evidence") or {}).get("checks", [])}
    golden = checks.get("golden")
    told = "not compared" if golden is None else f"{golden['value']:.3g} of {golden['limit']:g}"
    print(f"{model['state']} ({model['reason']}), golden samples {told}")
    return int(model["state"] != "COMMITTED" or golden is None or not golden["passed"])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
