"""Requests to the page's API, drawn from its own document: `python -m tests.soak.api SECONDS`.

None may be answered with a defect (500), whatever is sent.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support import large_fleet
from tests.support.api_fuzz import fuzz
from tests.support.page import running_page

_EXAMPLES: Final = 20
_DEVICES: Final = 200


@dataclass(slots=True)
class Result:
    """What came of it."""

    sent: int = 0
    failures: list[str] = field(default_factory=list)


def run(seconds: float, first_seed: int) -> Result:
    """Send requests for so long, at least once to each route.

    Args:
        seconds: how long.
        first_seed: of the first turn; each turn has the next one.
    """
    result, until_s, seed = Result(), time.monotonic() + seconds, first_seed
    while not result.failures and (seed == first_seed or time.monotonic() < until_s):
        # A database of its own for each turn: what a turn has removed is there for the next.
        with tempfile.TemporaryDirectory() as folder, running_page(Path(folder)) as page:
            large_fleet.fill(page.database, _DEVICES)
            try:
                result.sent += fuzz(page, _EXAMPLES, seed)
            except AssertionError as exc:
                result.failures.append(f"seed {seed}: {exc}")
        seed += 1
    return result


if __name__ == "__main__":
    found = run(float(sys.argv[1]), int(time.time()))
    print(f"requests to the API: {found.sent:,}", *found.failures, sep="\n")
    sys.exit(bool(found.failures))
