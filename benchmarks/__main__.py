"""`python -m benchmarks [NAME...] [--quick] [--json FILE]`: run them, print tables, judge limits.

It decides which run, in which order, and the exit code; see benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol, cast

from benchmarks.report import CannotRun, Figure, Options, as_json, table, with_command

BENCHMARKS: Final = (
    "transfer",
    "encryption",
    "delta",
    "window",
    "hotswap",
    "faults",
    "nats",
    "verdicts",
    "brokers",
    "startup",
    "repository",
    "fleet",
    "page",
)
ALL_MET, MISSED, COULD_NOT_RUN = 0, 1, 2


class Benchmark(Protocol):
    """What a benchmark module offers."""

    def run(self, options: Options) -> list[Figure]:
        """Measure, and give the figures."""


def main(arguments: Sequence[str]) -> int:
    """Run the named benchmarks, or all; give the exit code."""
    asked = _parser().parse_args(arguments)
    results: list[dict[str, object]] = []
    worst = ALL_MET
    for name in asked.names or BENCHMARKS:
        sys.stderr.write(f"{name}: running\n")
        try:
            figures = _run(name, asked)
        except CannotRun as exc:
            sys.stdout.write(f"{name}: could not run: {exc}\n\n")
            results.append({"benchmark": name, "could_not_run": str(exc), "figures": []})
            worst = COULD_NOT_RUN
            continue
        sys.stdout.write(table(_title(name, asked), figures) + "\n")
        sys.stdout.flush()
        results.append(as_json(name, figures))
        if any(figure.is_met is False for figure in figures):
            worst = max(worst, MISSED)
    _say_verdict(results)
    if asked.json is not None:
        asked.json.write_text(json.dumps({"machine": _machine(), "results": results}, indent=1))
    return worst


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="smaller inputs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here")
    parser.add_argument("--models", type=Path, metavar="DIR", help="folder of real models")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--installs", type=int, metavar="N", help="of each kind in each cell")
    parser.add_argument(
        "--only", default="", metavar="REGEX", help="of `brokers`, `delta`, `fleet`, `page`: these"
    )
    parser.add_argument(
        "--table", type=Path, metavar="FILE", help="of `brokers`, `delta`, `page`: write it here"
    )
    parser.add_argument("--devices", type=int, metavar="N", help="of `page`: so many")
    parser.add_argument(
        "--against", type=Path, metavar="DIR", help="of `transfer`: another checkout, by turns"
    )
    parser.add_argument("--tries", type=int, metavar="N", help="with --against: so many turns")
    return parser


def _run(name: str, asked: argparse.Namespace) -> list[Figure]:
    if name not in BENCHMARKS:
        raise CannotRun(f"expected one of {', '.join(BENCHMARKS)}, got {name!r}")
    module_name = f"benchmarks.{name}"
    try:
        module = cast("Benchmark", importlib.import_module(module_name))
    except ModuleNotFoundError as exc:
        raise CannotRun(f"{exc}; `make dev` installs what the benchmarks need") from exc
    command = _command(name, asked)
    with tempfile.TemporaryDirectory(prefix=f"slotcast-{name}-") as folder:
        options = Options(
            work=Path(folder),
            quick=asked.quick,
            models=models_folder(asked.models),
            seed=asked.seed,
            installs=asked.installs,
            only=asked.only,
            table=asked.table,
            devices=asked.devices,
            against=asked.against,
            tries=asked.tries,
            command=command,
        )
        return with_command(module.run(options), command)


def models_folder(given: Path | None) -> Path | None:
    """Give the folder of real models: as given, else SLOTCAST_MODELS; None where neither is.

    Raises:
        CannotRun: a folder was named, and is not there.
    """
    named = given or (
        Path(os.environ["SLOTCAST_MODELS"]) if "SLOTCAST_MODELS" in os.environ else None
    )
    if named is not None and not named.is_dir():
        raise CannotRun(f"expected a folder of models at {named}, which is not one")
    return named


def _command(name: str, asked: argparse.Namespace) -> str:
    quick = " --quick" if asked.quick else ""
    seed = f" --seed {asked.seed}" if asked.seed != 1 else ""
    installs = f" --installs {asked.installs}" if asked.installs else ""
    against = f" --against {asked.against}" if asked.against else ""
    tries = f" --tries {asked.tries}" if asked.tries else ""
    return f"python -m benchmarks {name}{quick}{seed}{installs}{against}{tries}"


def _title(name: str, asked: argparse.Namespace) -> str:
    return f"{_command(name, asked)}   ({_machine()})"


def _machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def _say_verdict(results: Sequence[dict[str, object]]) -> None:
    figures = [f for result in results for f in cast("list[dict[str, object]]", result["figures"])]
    judged = [figure for figure in figures if figure["is_met"] is not None]
    missed = [str(figure["name"]) for figure in judged if not figure["is_met"]]
    sys.stdout.write(f"{len(judged) - len(missed)} of {len(judged)} limits met\n")
    for name in missed:
        sys.stdout.write(f"  missed: {name}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
