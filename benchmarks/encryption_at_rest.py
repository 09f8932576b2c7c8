"""What encrypted slots cost a device: bytes on its disk, and processor time to install and to load.

New devices fetch the same release by turns, with slots encrypted and in the clear, and either is
the first of every second pair. Loading is what `HotModel` does with the slot that each of them then
has: read, open, make the session. What counts is the median of the pairs' ratios: two that follow
each other meet the same machine, of which the tries of some minutes do not.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median
from typing import Final

import onnxruntime

from benchmarks.report import CannotRun, Figure
from benchmarks.transfer_world import FAST_BYTES_PER_S, MODEL, World
from slotcast_device.hotmodel.loader import SessionSettings, new_session
from slotcast_device.hotmodel.source import identify, open_current

TRIES: Final = 21
"""Pairs; one by itself may be off by a tenth, whatever else the machine does."""


class AtRestWorld(World):
    """The same for devices of which some encrypt their slots.

    Attributes:
        encrypts: whether the next device does.
    """

    encrypts = False

    def _make_way(self, out: Path) -> None:
        super()._make_way(out)
        self.newest = out
        if not self.encrypts:
            return
        key = out / "slots.key"
        key.write_bytes(os.urandom(32))
        key.chmod(0o600)
        with (out / "device.toml").open("a") as file:
            file.write('\n[at_rest]\nkey_file = "slots.key"\n')

    @property
    def current(self) -> Path:
        """What applications of the newest device open."""
        return self.newest / "state" / "models" / MODEL / "current"


def measure(world: AtRestWorld) -> list[Figure]:
    """Measure both by turns."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    loads: dict[bool, list[float]] = {False: [], True: []}
    sizes = {}
    for turn in range(TRIES):
        for encrypts in (False, True) if turn % 2 else (True, False):
            world.encrypts = encrypts
            run = world.run_device(
                world.broker.port, is_observed=False, link_bytes_per_s=FAST_BYTES_PER_S
            )
            load_s = _load_s(world.current, is_encrypted=encrypts)
            loads[encrypts].append(load_s)
            seconds[encrypts].append(run.processor_s + load_s)
            sizes[encrypts] = sum(f.stat().st_size for f in world.current.resolve().iterdir())
    return [_bytes(sizes[True], sizes[False]), _processor(seconds, loads)]


def _bytes(encrypted: int, clear: int) -> Figure:
    return Figure(
        "bytes of a slot, encrypted at rest / in the clear",
        encrypted / clear,
        "ratio",
        limit=1.001,
        note=f"{encrypted:,} against {clear:,}",
    )


def _processor(seconds: dict[bool, list[float]], loads: dict[bool, list[float]]) -> Figure:
    ratios = [ours / theirs for ours, theirs in zip(seconds[True], seconds[False], strict=True)]
    return Figure(
        "processor time to install and load, encrypted at rest / in the clear",
        median(ratios),
        "ratio",
        limit=1.10,
        note=f"median of {TRIES} pairs, {min(ratios):.2f} to {max(ratios):.2f};"
        f" {median(seconds[True]):.2f} s against {median(seconds[False]):.2f} s, start and probe"
        f" included; of it loading {median(loads[True]):.3f} s against"
        f" {median(loads[False]):.3f} s",
    )


def _load_s(current: Path, *, is_encrypted: bool) -> float:
    """Processor time of one load, as an application has it."""
    identity = identify(current)
    if identity is None:
        raise CannotRun(f"{current} opens nothing")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    start_s = time.process_time()
    opened = open_current(current, identity, None)
    new_session(opened, SessionSettings(options, ["CPUExecutionProvider"]))
    took_s = time.process_time() - start_s
    if (opened.key is not None) is not is_encrypted:
        raise CannotRun(f"{opened.path} does not lie as it was meant to")
    return took_s
