"""The zoo: `make zoo`, or `make zoo ARGS="models --only silero"`, `make zoo ARGS=nodes`.

`models` takes each model of `models.toml` the whole way to a device, through a real Mosquitto, and
tries its damaged copies; `nodes` releases and probes every node test of the `onnx` package.
One line for each; the exit code is 0 if all is as it has to be. What was found is kept in
`build/zoo`, and a run that was ended goes on where it was, as long as the commit is the same.
`--table` writes both tables of docs/models.md.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from tests.support.brokers import mosquitto
from tests.zoo import nodes, tables
from tests.zoo.fetch import CannotFetch, fetch, path_of
from tests.zoo.forked import forked_children
from tests.zoo.install import Journey, travel
from tests.zoo.listing import ZooModel, read_list
from tests.zoo.nodes import NodeResult

ROOT: Final = Path(__file__).resolve().parents[2]
FOUND: Final = ROOT / "build" / "zoo"
"""What was found, a line of JSON each: `models.jsonl` and `nodes.jsonl`."""

_Found = TypeVar("_Found", Journey, NodeResult)

AS_IT_HAS_TO_BE, OTHERWISE, COULD_NOT_RUN = 0, 1, 2


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for; give the exit code."""
    asked = _parser().parse_args(arguments)
    FOUND.mkdir(parents=True, exist_ok=True)
    try:
        worst = max(
            _run_models(asked) if asked.what in {"models", "all"} else 0,
            _run_nodes(asked) if asked.what in {"nodes", "all"} else 0,
        )
    except CannotFetch as exc:
        print(f"could not run: {exc}")
        return COULD_NOT_RUN
    if asked.table:
        tables.write(
            read_list(),
            _kept("models", Journey, _commit()),
            _kept("nodes", NodeResult, _commit()),
        )
    return worst


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make zoo", description=__doc__)
    parser.add_argument("what", nargs="?", default="all", choices=("models", "nodes", "all"))
    parser.add_argument("--only", default="", metavar="REGEX", help="whose name has this in it")
    parser.add_argument("--again", action="store_true", help="also what was found before")
    parser.add_argument("--table", action="store_true", help="write docs/models.md")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N")
    return parser


# --- models -----------------------------------------------------------------------------------


def _run_models(asked: argparse.Namespace) -> int:
    known = {} if asked.again else _kept("models", Journey, _commit())
    chosen = [model for model in read_list() if re.search(asked.only, model.name)]
    todo = [m for m in chosen if m.name not in known or known[m.name].problems]
    print(f"{len(chosen)} models, {len(chosen) - len(todo)} of them tried before", flush=True)
    fetch(todo)
    for found in _journeys(todo, asked.workers):
        _keep("models", found.name, found)
        known[found.name] = found
        print(tables.line_of(found), flush=True)
    bad = [model.name for model in chosen if known[model.name].problems]
    print(f"{len(chosen) - len(bad)} of {len(chosen)} models are as they have to be")
    return OTHERWISE if bad else AS_IT_HAS_TO_BE


def _journeys(models: Sequence[ZooModel], workers: int) -> Iterator[Journey]:
    with (
        mosquitto("development") as broker,
        ProcessPoolExecutor(workers, get_context("fork")) as pool,
    ):
        under_way = [pool.submit(_travel, model, broker.url) for model in models]
        for done in as_completed(under_way):
            yield done.result()


def _travel(model: ZooModel, broker_url: str) -> Journey:
    with forked_children(), tempfile.TemporaryDirectory(prefix="slotcast-zoo-") as folder:
        try:
            return travel(model, path_of(model), broker_url, Path(folder))
        except Exception as exc:  # noqa: BLE001 (one model's failure must not end the others)
            return Journey(name=model.name, problems=(f"{type(exc).__name__}: {exc}"[-1000:],))


# --- node tests -------------------------------------------------------------------------------


def _run_nodes(asked: argparse.Namespace) -> int:
    known = {} if asked.again else _kept("nodes", NodeResult, _commit())
    print("node tests of onnx", flush=True)
    for found in nodes.try_all(asked.only, asked.workers, set(known)):
        _keep("nodes", found.name, found)
        known[found.name] = found
        if found.outcome not in {"accepted", "not_loaded"}:
            print(f"{found.name}: {found.outcome} ({found.reason}) {found.said}", flush=True)
    results = [found for found in known.values() if re.search(asked.only, found.name)]
    print(", ".join(f"{count} {name}" for name, count in nodes.counts(results).items()))
    bad = nodes.differences(results, nodes.read_reasons())
    print("\n".join(bad) or "all as listed")
    return OTHERWISE if bad else AS_IT_HAS_TO_BE


# --- what was found ---------------------------------------------------------------------------


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, check=False)
    return done.stdout.decode().strip()


def _keep(what: str, name: str, found: msgspec.Struct) -> None:
    line = {"commit": _commit(), "name": name, "found": found}
    with (FOUND / f"{what}.jsonl").open("ab") as file:
        file.write(msgspec.json.encode(line) + b"\n")


def _kept(what: str, kind: type[_Found], commit: str) -> dict[str, _Found]:
    """Give what was found with this commit, by name; the last word on each counts."""
    path = FOUND / f"{what}.jsonl"
    found: dict[str, _Found] = {}
    for line in path.read_bytes().splitlines() if path.exists() else ():
        item = msgspec.json.decode(line)
        if item["commit"] == commit:
            found[item["name"]] = msgspec.convert(item["found"], kind)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
