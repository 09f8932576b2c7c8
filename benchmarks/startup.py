"""How long commands take that only say something, in processor time.

Each is run in turns with what it took before imports were put where they are used: a Python that
imports all that the command line can need. So the ratio is of one machine at one time, and does
not depend on how busy it is.

And how long such an import takes where Python looks for garbage as seldom as commands have it, to
one where it looks as it does by itself.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.report import Figure, Options

ROUNDS: Final = 15
QUICK_ROUNDS: Final = 5
LIMIT: Final = 1 / 3
GARBAGE_LIMIT: Final = 0.97
SELDOM: Final = (
    "from slotcast_schemas import garbage; garbage.look_for_garbage_seldom();"
    "{};garbage.keep_what_is_there()"
)
DEVICE_ALL: Final = "import slotcast_device.cli, slotcast_device.agent, slotcast_device.self_check"
PUBLISHER_ALL: Final = (
    "from slotcast_publisher.cli import command_table as table;"
    "[table.load(name) for name in table.COMMANDS];"
    "import slotcast_publisher.cli.running_service, slotcast_publisher.release.build"
)
_DEVICE_TOML: Final = """\
format = 1
device = "camera-7"
models = ["digits"]
state_dir = "state"
[[brokers]]
url = "mqtt://127.0.0.1:1"
"""
_ROOT_JSON: Final = '{"signed": {"expires": "2036-01-01T00:00:00Z"}}'


def run(options: Options) -> list[Figure]:
    """Measure `--help` and `status` against an import of everything, and an empty Python."""
    (options.work / "device.toml").write_text(_DEVICE_TOML)
    (options.work / "root.json").write_text(_ROOT_JSON)
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    figures = []
    for name, module, arguments, everything in (
        ("slotcast-device --help", "slotcast_device", ["--help"], DEVICE_ALL),
        ("slotcast-device status", "slotcast_device", ["status"], DEVICE_ALL),
        ("slotcast --help", "slotcast_publisher", ["--help"], PUBLISHER_ALL),
        ("slotcast serve --help", "slotcast_publisher", ["serve", "--help"], PUBLISHER_ALL),
    ):
        options.say(f"{name}: {rounds} rounds")
        starts, imports, empties = [], [], []
        cpu_s(options.work, "-c", everything)  # byte code is written once, as an install does
        for _ in range(rounds):
            starts.append(cpu_s(options.work, "-m", module, *arguments))
            imports.append(cpu_s(options.work, "-c", everything))
            empties.append(cpu_s(options.work, "-c", "pass"))
        start_s, import_s, empty_s = map(statistics.median, (starts, imports, empties))
        note = f"{start_s:.3f} s; all imported {import_s:.3f} s, python -c pass {empty_s:.3f} s"
        figures.append(Figure(name, start_s / import_s, "ratio", LIMIT, note=note))
    for name, everything in (("slotcast-device", DEVICE_ALL), ("slotcast", PUBLISHER_ALL)):
        figures.append(_compare_garbage(options, name, everything, rounds))
    return figures


def _compare_garbage(options: Options, name: str, everything: str, rounds: int) -> Figure:
    """Compare an import of everything with and without the looks for garbage.

    Args:
        options: of the run.
        name: of the command.
        everything: imports all that it can need.
        rounds: imports of each kind.
    """
    options.say(f"{name}, imports without looks for garbage: {rounds} rounds")
    seldom, often = [], []
    for _ in range(rounds):
        seldom.append(cpu_s(options.work, "-c", SELDOM.format(everything)))
        often.append(cpu_s(options.work, "-c", everything))
    seldom_s, often_s = statistics.median(seldom), statistics.median(often)
    note = f"{seldom_s:.3f} s; as Python looks by itself {often_s:.3f} s"
    return Figure(f"{name}, garbage", seldom_s / often_s, "ratio", GARBAGE_LIMIT, note=note)


def cpu_s(folder: Path, *arguments: str) -> float:
    """Give the processor time of one Python with these arguments."""
    settings = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    settings.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=settings,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
