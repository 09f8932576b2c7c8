"""How often the probe is wrong about speed: good releases refused, slow ones taken.

An install is the device's own job (`TrialWatcher.probe`), retries included: the candidate is in the
standby slot, the active model in the other one, child processes judge. A good candidate has
the same graph and new weights; a slow one has three times the layers, each as wide. Both are tried
on a device with nothing else to do, and beside 2, 8 and 20 processes that never rest; with sessions
of one thread, and of as many as there are cores.

Beside busy processes several installs run at once, each in a device's folder of its own: every one
of them is a busy process to the others, and stands for one of the number that is said.

What was done is kept in benchmarks/out/verdicts.jsonl, so a run that was ended goes on where it
was; results of another version of the probe are not counted. The table for docs/health-check.md
is left beside it. 200 installs of each kind in each cell take two to four hours on two cores.

    python -m benchmarks verdicts --installs 200
    python -m benchmarks verdicts --quick
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import onnx
import onnxruntime
from onnx import helper

import slotcast_schemas.messages
import slotcast_schemas.probe
from benchmarks.report import Figure, Options
from slotcast_device.core import actions as act
from slotcast_device.storage.os_disk import OsDisk
from slotcast_device.storage.slots import SlotStore
from slotcast_device.trial.watcher import TrialWatcher
from slotcast_schemas.messages.release import Probe
from slotcast_schemas.probe.binomial import chance_of_at_least
from slotcast_schemas.samples import Samples, write_samples
from tests.support import models
from tests.support.slot_releases import put_release

if TYPE_CHECKING:
    from slotcast_device.core.state import SlotName
    from slotcast_schemas.messages import Release

INSTALLS: Final = 200
INSTALLS_QUICK: Final = 5
BUSY: Final = (0, 2, 8, 20)
THREADS: Final = (1, 0)
TRIES_MAX: Final = 20
AT_ONCE: Final = {0: 1, 2: 2, 8: 4, 20: 6}
"""Installs at once, by how many processes shall be busy beside each of them."""
RATE_LIMIT: Final = 0.01
"""Of wrong verdicts of either kind, in each cell."""

OUT: Final = Path(__file__).parent / "out" / "verdicts.jsonl"
TABLE: Final = OUT.with_suffix(".md")
_COLUMNS: Final = ("beside it", "threads", "good: refused", "at most", "tries", "each")
HEAD: Final = (
    f"| {' | '.join((*_COLUMNS, '3 x slower: taken', *_COLUMNS[3:]))} |",
    "|---" * 10 + "|",
)
AGAIN_S: Final = 3.0
"""A device waits longer before it tries again; here that only some time has passed matters."""

LAYERS: Final = 40
WIDTH: Final = 64
ROWS: Final = 64
RUNS: Final = 4
"""Of the models: about 0.3 ms a run, 0.7 MB of weights; golden samples of four batches."""

Kind = Literal["good", "slow"]
KINDS: Final[tuple[Kind, ...]] = ("good", "slow")


@dataclass(frozen=True, slots=True)
class Cell:
    """One situation that a device may be in."""

    busy: int
    threads: int

    @property
    def name(self) -> str:
        """For the table."""
        beside = f"beside {self.busy} busy processes" if self.busy else "nothing beside it"
        return f"{beside}, {'1 thread' if self.threads == 1 else 'all cores'}"


@dataclass(frozen=True, slots=True)
class Install:
    """One verdict."""

    version: str
    busy: int
    threads: int
    kind: Kind
    reason: str
    tries: int
    took_s: float

    @property
    def is_wrong(self) -> bool:
        """A good one that was not taken, or a slow one that was not refused for being slow."""
        return self.reason != ("passed" if self.kind == "good" else "too_slow")


def run(options: Options) -> list[Figure]:
    """Measure what is still missing, and give both error rates of every cell."""
    wanted = options.installs or (INSTALLS_QUICK if options.quick else INSTALLS)
    version = _version_of_probe()
    done = [install for install in read_done() if install.version == version]
    figures: list[Figure] = []
    rows: list[str] = []
    benches = [Bench(options.work / str(n), version, n) for n in range(max(AT_ONCE.values()))]
    for cell in (Cell(busy, threads) for busy in BUSY for threads in THREADS):
        mine = [i for i in done if (i.busy, i.threads) == (cell.busy, cell.threads)]
        mine += _measure(benches, cell, mine, wanted, options)
        figures += _figures(cell, mine)
        rows.append(row(cell, mine))
    TABLE.write_text("\n".join([*HEAD, *rows]) + "\n")
    options.say(f"for docs/health-check.md: {TABLE}")
    return figures


def _measure(
    benches: Sequence[Bench],
    cell: Cell,
    before: Sequence[Install],
    wanted: int,
    options: Options,
) -> list[Install]:
    """Install both kinds in turns, until there are as many of each as wanted."""
    missing = {kind: wanted - sum(i.kind == kind for i in before) for kind in KINDS}
    numbers = range(max(0, *missing.values()))
    todo = deque(kind for number in numbers for kind in KINDS if number < missing[kind])
    new: list[Install] = []
    if not todo:
        return new

    def work(bench: Bench) -> None:
        with contextlib.suppress(IndexError):  # nothing is left to do
            while True:
                new.append(bench.install(cell, todo.popleft()))
                append_done(new[-1])
                if len(new) % 20 == 0:
                    wrong = sum(install.is_wrong for install in new)
                    options.say(f"{cell.name}: {len(new)} installs, {wrong} wrong")

    at_once = AT_ONCE[cell.busy]
    with busy_processes(max(0, cell.busy - (at_once - 1))), ThreadPoolExecutor(at_once) as pool:
        for done in [pool.submit(work, bench) for bench in benches[:at_once]]:
            done.result()
    return new


class Bench:
    """The slots of a device: an active model in one, candidates in the other."""

    def __init__(self, folder: Path, version: str, number: int) -> None:
        self._version = version
        self._store = SlotStore(OsDisk(), folder / "models")
        self._app = folder / "app"
        self._seed = int(time.time()) + number * 1_000_000  # each its own weights
        self._put("a", "good")

    def install(self, cell: Cell, kind: Kind) -> Install:
        """Let the device judge one candidate, as often as it takes."""
        release = self._put("b", kind)
        watcher = TrialWatcher(self._store, self._app, threading.Event(), threads=cell.threads)
        began_s = time.monotonic()
        for tries in range(1, TRIES_MAX + 1):  # noqa: B007 (said below)
            verdict = watcher.probe(act.ProbeSlot("b", release, "a"))
            if verdict.passed is not None:
                break
            time.sleep(AGAIN_S)
        took_s = round(time.monotonic() - began_s, 2)
        return Install(self._version, cell.busy, cell.threads, kind, verdict.reason, tries, took_s)

    def _put(self, slot: SlotName, kind: Kind) -> Release:
        """Put a release of new weights into a slot, as a build does."""
        self._seed += 1
        model = dense(self._seed, LAYERS * (3 if kind == "slow" else 1))
        files = {"model.onnx": model, "samples.npz": _samples(model)}
        probe = Probe(samples="samples.npz")
        return put_release(self._store, slot, files, sequence=self._seed, probe=probe)


def dense(seed: int, layers: int) -> bytes:
    """A stack of dense layers, small enough for a processor's own cache."""
    rng = np.random.default_rng(seed)
    sizes = [models.FEATURES, *[WIDTH] * layers, models.CLASSES]
    nodes, weights, last = [], [], "x"
    for index, (rows, columns) in enumerate(itertools.pairwise(sizes)):
        matrix = rng.standard_normal((rows, columns)) * np.sqrt(2 / rows)
        weights.append(onnx.numpy_helper.from_array(matrix.astype(np.float32), f"w{index}"))
        is_last = index == len(sizes) - 2
        out = "scores" if is_last else f"sum{index}"
        nodes.append(helper.make_node("MatMul", [last, f"w{index}"], [out]))
        if not is_last:
            last = f"active{index}"
            nodes.append(helper.make_node("Relu", [out], [last]))
    taken = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", models.FEATURES])
    given = helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["N", models.CLASSES])
    graph = helper.make_graph(nodes, "dense", [taken], [given], weights)
    opsets = [helper.make_opsetid("", models.OPSET)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def _samples(model: bytes) -> bytes:
    """Golden samples: a few batches, and what the model says to them."""
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((RUNS, ROWS, models.FEATURES)).astype(np.float32)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    scores = np.stack([session.run(None, {"x": batch})[0] for batch in rows])
    with tempfile.NamedTemporaryFile() as file:
        write_samples(Path(file.name), Samples({"x": rows}, {"scores": scores}))
        return Path(file.name).read_bytes()


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Run processes that never rest, for the length of the block.

    Each in a session of its own: Linux gives sessions alike (sched(7), autogroup), so that in one
    session all of them together would have no more than the probe.
    """
    command = [sys.executable, "-S", "-c", "while True: pass"]
    running = [subprocess.Popen(command, start_new_session=True) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


# --- what was done ------------------------------------------------------------------------------


def _figures(cell: Cell, installs: Sequence[Install]) -> Iterator[Figure]:
    for kind, error in (("good", "refused though good"), ("slow", "taken though 3 x slower")):
        mine = [install for install in installs if install.kind == kind]
        wrong = [install for install in mine if install.is_wrong]
        if not mine:
            continue
        share = len(wrong) / len(mine)
        tries = sum(install.tries for install in mine) / len(mine)
        took_s = sorted(install.took_s for install in mine)[len(mine) // 2]
        most = 100 * upper_bound(len(wrong), len(mine))
        note = f"{len(wrong)} of {len(mine)}, surely below {most:.1f} %"
        note += f"; {tries:.2f} tries, {took_s:.1f} s each"
        if wrong:
            note += f"; {Counter(install.reason for install in wrong)}"
        yield Figure(f"{cell.name}: {error}", share, "share", limit=RATE_LIMIT, note=note)


def row(cell: Cell, installs: Sequence[Install]) -> str:
    """One line of the table in docs/health-check.md."""
    cells = [str(cell.busy), "1" if cell.threads == 1 else "all cores"]
    for kind in KINDS:
        mine = [install for install in installs if install.kind == kind]
        wrong = sum(install.is_wrong for install in mine)
        took_s = sorted(install.took_s for install in mine)[len(mine) // 2]
        tries = sum(install.tries for install in mine) / len(mine)
        most = 100 * upper_bound(wrong, len(mine))
        cells += [f"{wrong} of {len(mine)}", f"{most:.1f} %", f"{tries:.2f}", f"{took_s:.1f} s"]
    return f"| {' | '.join(cells)} |"


def upper_bound(wrong: int, count: int) -> float:
    """The largest rate that would give so few with a chance of 5 % (Clopper and Pearson)."""
    low, high = wrong / count, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        if 1 - chance_of_at_least(wrong + 1, count, middle) > 0.05:
            low = middle
        else:
            high = middle
    return high


def _version_of_probe() -> str:
    """A digest of what decides a verdict, so that results of other code are told apart."""
    digest = hashlib.sha256()
    for package in (slotcast_schemas.probe, slotcast_schemas.messages):
        for path in sorted(Path(str(package.__file__)).parent.glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def read_done() -> list[Install]:
    lines = OUT.read_text().splitlines() if OUT.exists() else []
    return [Install(**json.loads(line)) for line in lines]


def append_done(install: Install) -> None:
    OUT.parent.mkdir(exist_ok=True)
    with OUT.open("a") as file:
        file.write(json.dumps(asdict(install)) + "\n")
