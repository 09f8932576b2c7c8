"""`python -m tests.simulation`: replay one seed with its story, or run many.

python -m tests.simulation --seed 17            one run, told line by line
python -m tests.simulation --first 0 --count 1000    many, with what happened in them
python -m tests.simulation --trial 17          one trial with an application, told line by line
python -m tests.simulation --trials 1000       many of them
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.sweep import sweep
from tests.simulation.trial_sweep import sweep_trials
from tests.simulation.trial_world import TrialWorld
from tests.simulation.world import World


def main() -> int:
    """Run what the command line asks for; 1 after a failure."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one, told line by line")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--trial", type=int, help="replay this trial, told line by line")
    parser.add_argument("--trials", type=int, help="so many trials with an application")
    options = parser.parse_args()
    if options.trial is not None or options.trials is not None:
        return _trials(options)
    if options.seed is not None:
        counts = World(options.seed, print).run()
        print(counts)
        return 0
    start_s = time.monotonic()
    total = sweep(range(options.first, options.first + options.count))
    print(total.text())
    print(f"{time.monotonic() - start_s:.1f} s")
    return 0 if not total.failures else 1


def _trials(options: argparse.Namespace) -> int:
    if options.trial is not None:
        print(TrialWorld(options.trial, print).run())
        return 0
    start_s = time.monotonic()
    total = sweep_trials(range(options.first, options.first + options.trials))
    print(total.text())
    print(f"{time.monotonic() - start_s:.1f} s")
    return 0 if not total.failures else 1


if __name__ == "__main__":
    sys.exit(main())
