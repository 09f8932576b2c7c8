"""`python -m tests.fleet_simulation`: replay one seed with its story, or run many.

python -m tests.fleet_simulation --seed 17                 one run, told line by line
python -m tests.fleet_simulation --first 0 --count 1000    many, with what happened in them
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.fleet_simulation.sweep import sweep
from tests.fleet_simulation.world import World


def main() -> int:
    """Run what the command line asks for; 1 after a failure."""
    parser = argparse.ArgumentParser(prog="python -m tests.fleet_simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one, told line by line")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--failures", type=int, default=5, help="end after so many")
    options = parser.parse_args()
    if options.seed is not None:
        world = World(options.seed, print)
        print(world.plan)
        print(world.run())
        return 0
    start_s = time.monotonic()
    seeds = range(options.first, options.first + options.count)
    total = sweep(seeds, failures_max=options.failures)
    print(total.text())
    print(f"{time.monotonic() - start_s:.1f} s")
    return 0 if not total.failures else 1


if __name__ == "__main__":
    sys.exit(main())
