"""`python -m tests.simulation`: replay one seed with its story, or run many.

python -m tests.simulation --seed 17            one run, told line by line
python -m tests.simulation --first 0 --count 1000    many, with what happened in them
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.sweep import sweep
from tests.simulation.world import World


def main() -> int:
    """Run what the command line asks for; 1 after a failure."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one, told line by line")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    options = parser.parse_args()
    if options.seed is not None:
        counts = World(options.seed, print).run()
        print(counts)
        return 0
    start_s = time.monotonic()
    total = sweep(range(options.first, options.first + options.count))
    print(total.text())
    print(f"{time.monotonic() - start_s:.1f} s")
    return 0 if not total.failures else 1


if __name__ == "__main__":
    sys.exit(main())
