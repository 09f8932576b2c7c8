"""Two versions of Slotcast side by side: `python -m benchmarks transfer --against CHECKOUT`.

Each version releases the same file with its own commands to a broker of its own, and new devices
of both fetch it by turns, the one first and then the other. What else this machine does weighs on
both alike, so the ratio of each turn is taken and their median told, with the middle half of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles
from typing import Final

from benchmarks.device_run import Run
from benchmarks.report import CannotRun, Figure, Options
from benchmarks.transfer_world import FAST_BYTES_PER_S, OWN_COMMANDS, World
from tests.support.brokers import mosquitto

TRIES: Final = 9
_BEGIN, _END = "collecting", "is verified in slot"
"""What both versions log at the first SUBSCRIBE, and once the files are verified in the slot."""

Turn = tuple[Run, Run]
"""A run of this checkout, and one of the other."""


def compare(options: Options, other: Path, files: Mapping[str, Path]) -> list[Figure]:
    """Measure speed, processor time and memory of both versions for each file.

    Args:
        options: what was asked for.
        other: a checkout with its environment in `.venv`.
        files: what is released, by what it is called in the table.

    Raises:
        CannotRun: the other checkout has no commands.
    """
    figures = []
    for name, file in files.items():
        figures += _figures(name, _take_turns(options, other / ".venv" / "bin", name, file))
    return figures


def _take_turns(options: Options, other: Path, name: str, file: Path) -> list[Turn]:
    tries = options.tries or TRIES
    with ExitStack() as stack:
        ours, theirs = (
            _release(stack, options, folder, f"{name}-{number}", file)
            for number, folder in enumerate((OWN_COMMANDS, other.absolute()))
        )
        turns = []
        for number in range(tries + 1):
            options.say(f"{name} release, turn {number} of {tries}")
            if number % 2:
                turns.append((_fetch(ours), _fetch(theirs)))
            else:
                turns.append((_fetch(theirs), _fetch(ours))[::-1])
    return turns[1:]  # the first ones also read the files from the disk


def _release(stack: ExitStack, options: Options, commands: Path, name: str, file: Path) -> World:
    folder = options.work / name
    folder.mkdir()
    broker = stack.enter_context(mosquitto("development"))
    world = World(replace(options, work=folder), broker, commands)
    world.publish("1.0", file)
    return world


def _fetch(world: World) -> Run:
    """Let a device fetch what every version can: the image that is easy to undo."""
    run = world.run_device(world.broker.port, is_observed=False, link_bytes_per_s=FAST_BYTES_PER_S)
    if "full+zstd" not in run.logged_line(_BEGIN):
        raise CannotRun(f"the device took another payload: {run.logged_line(_BEGIN)}")
    return run


def _figures(name: str, turns: list[Turn]) -> list[Figure]:
    return [
        _ratio(f"speed, {name} release", turns, "a second", lambda run: 1 / _took_s(run)),
        _ratio(f"processor time of the transfer, {name} release", turns, "s", _processor_s),
        _ratio(f"processor time of all, {name} release", turns, "s", lambda run: run.processor_s),
        _ratio(f"peak memory, {name} release", turns, "MB", lambda run: run.peak_rss_bytes / 1e6),
    ]


def _took_s(run: Run) -> float:
    return run.logged(_END) - run.logged(_BEGIN)


def _processor_s(run: Run) -> float:
    return run.logged_processor_s(_END) - run.logged_processor_s(_BEGIN)


def _ratio(name: str, turns: list[Turn], unit: str, measure: Callable[[Run], float]) -> Figure:
    measured = [(measure(ours), measure(theirs)) for ours, theirs in turns]
    ratios = [ours / theirs for ours, theirs in measured]
    low, _, high = quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    ours, theirs = (median(values) for values in zip(*measured, strict=True))
    return Figure(
        f"{name}, here / there",
        median(ratios),
        "ratio",
        note=f"half of {len(ratios)} turns in {low:.3f} to {high:.3f};"
        f" {ours:.4g} {unit} here, {theirs:.4g} there",
    )
