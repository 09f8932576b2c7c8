"""What other tools made of each pair of files: measured once, kept, and given up after a while.

A tool's patch of the same two files is the same every time, and on some pairs a tool takes minutes.
So what it came to is kept in `benchmarks/out/delta-peers.jsonl`, by the digests of both files and
the tool's version: a run that was ended goes on, and a second run measures ours alone. A tool that
does not end in its time is said to have none, and is not asked again.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.delta_peers import TOOLS
from benchmarks.report import CannotRun
from slotcast_publisher.delta.measured_process import ChildFailed, ChildTooSlow, run_child

KEPT: Final = Path(__file__).with_name("out") / "delta-peers.jsonl"
"""What is kept, a line of JSON each."""

TIMEOUT_S: Final = 600.0
"""The seconds that a tool has to make, or to apply, one patch."""

BSDIFF: Final = "bsdiff4"

JUDGED: Final = (BSDIFF, "hdiffpatch", "xdelta3", "zstd --patch-from")
"""Tools that a delta is held against; what else is installed is shown beside them."""


class PeerRun(msgspec.Struct, frozen=True):
    """What a tool did with a pair."""

    patch_bytes: int
    create_cpu_s: float
    apply_cpu_s: float
    apply_peak_bytes: float


class _Line(msgspec.Struct, frozen=True):
    key: str
    run: PeerRun | None


class Peers:
    """Runs tools on pairs, or gives what they came to before.

    Args:
        work: a folder for patches and what is rebuilt of them.
        kept: the file of what was found.
        say: told what is run.
    """

    def __init__(self, work: Path, kept: Path, say: Callable[[str], None]) -> None:
        self._work = work
        self._kept = kept
        self._say = say
        lines = kept.read_bytes().splitlines() if kept.exists() else []
        found = [msgspec.json.decode(line, type=_Line) for line in lines]
        self._found = {line.key: line.run for line in found}

    def runs(self, name: str, old: Path, new: Path, tools: Iterable[str]) -> dict[str, PeerRun]:
        """Give what each tool did with a pair, but for those that could not, or not in time.

        Args:
            name: of the pair, for people.
            old: what both sides have.
            new: what is to be sent.
            tools: of `TOOLS`; one that is not installed is left out.

        Raises:
            CannotRun: a tool rebuilt other bytes.
        """
        runs: dict[str, PeerRun] = {}
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (old, new)]
        for tool in tools:
            key = " ".join([tool, _version(tool), *digests])
            if key not in self._found:
                self._say(f"{name}: {tool}")
                self._keep(key, self._run(tool, old, new))
            if (run := self._found[key]) is not None:
                runs[tool] = run
        return runs

    def _keep(self, key: str, run: PeerRun | None) -> None:
        self._found[key] = run
        self._kept.parent.mkdir(exist_ok=True)
        with self._kept.open("ab") as file:
            file.write(msgspec.json.encode(_Line(key, run)) + b"\n")

    def _run(self, tool: str, old: Path, new: Path) -> PeerRun | None:
        patch, image = self._work / "patch", self._work / "image"
        task = {"tool": tool, "old": str(old)}
        make = {**task, "do": "create", "input": str(new), "output": str(patch)}
        apply = {**task, "do": "apply", "input": str(patch), "output": str(image)}
        try:
            made, applied = (
                run_child("benchmarks.delta_peers", each, timeout_s=TIMEOUT_S)
                for each in (make, apply)
            )
        except ChildFailed as exc:
            # z4ai takes files of the same size alone.
            if tool in JUDGED and not isinstance(exc, ChildTooSlow):
                raise
            self._say(str(exc))
            return None
        if image.read_bytes() != new.read_bytes():
            raise CannotRun(f"expected {tool} to rebuild {new}, got other bytes")
        return PeerRun(
            made["size_bytes"],
            made["cost"]["cpu_s"],
            applied["cost"]["cpu_s"],
            applied["cost"]["peak_bytes"],
        )


def installed_tools() -> list[str]:
    """Give the tools that are here: z4ai is no part of our environment."""
    return [tool for tool in TOOLS if tool != "z4ai" or importlib.util.find_spec(tool)]


def _version(tool: str) -> str:
    try:
        return importlib.metadata.version({"zstd --patch-from": "zstandard"}.get(tool, tool))
    except importlib.metadata.PackageNotFoundError:
        return "-"  # a program of the system's
