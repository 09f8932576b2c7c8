"""What it costs to work on one model of a repository of 10, 150 and 2,000, in processor time.

The repositories are truly signed; models differ in nothing but their names. Each cost is one of a
fresh process of the command, less what starting Python takes, measured in turns over the sizes, so
that the ratio is of one machine at one time. One Python stays for the looks of `serve`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.report import Figure, Options
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.serve.kept_catalog import KeptCatalog
from tests.support.many_models import add_like, not_durable
from tests.support.models import classifier

SIZES: Final = (10, 150, 2_000)
QUICK_SIZES: Final = (10, 150)
ROUNDS: Final = 7
NOTICE_LIMIT_BYTES: Final = 10_000
RATIO_LIMIT: Final = 2.0
_MODEL: Final = "clf"


def run(options: Options) -> list[Figure]:
    """Measure release, offer and looks beside more and more models, against the fewest."""
    sizes = QUICK_SIZES if options.quick else SIZES
    repositories = {size: _make(options.work / str(size), size, options) for size in sizes}
    kept = {size: KeptCatalog(repo) for size, repo in repositories.items()}
    firsts = {size: _timed(kept[size].look) for size in sizes}
    costs: dict[str, dict[int, list[float]]] = {
        what: {size: [] for size in sizes} for what in ("release", "offer", "look", "idle look")
    }
    for number in range(2, 2 + ROUNDS):
        for size, repo in repositories.items():
            costs["release"][size].append(_command(repo.path, _RELEASE, number))
            costs["offer"][size].append(_command(repo.path, _OFFER, number))
            costs["look"][size].append(_timed(kept[size].look))
            costs["idle look"][size].append(_timed(kept[size].look))
    figures = []
    for what, by_size in costs.items():
        base_s = statistics.median(by_size[sizes[0]])
        for size in sizes[1:]:
            cost_s = statistics.median(by_size[size])
            limit = RATIO_LIMIT if what in {"release", "offer"} else None
            note = f"{cost_s * 1e3:.2f} ms; beside {sizes[0]}: {base_s * 1e3:.2f} ms"
            figures.append(
                Figure(f"{what}, {size} models", cost_s / base_s, "ratio", limit, note=note)
            )
    for size, repo in repositories.items():
        notices = [len(a.notice) for a in kept[size].catalog.announcements.values()]
        note = f"first look of serve {firsts[size]:.2f} s; key ring {_ring_bytes(repo)} bytes"
        figures.append(
            Figure(
                f"largest notice, {size} models",
                max(notices),
                "bytes",
                NOTICE_LIMIT_BYTES,
                note=note,
            )
        )
    return figures


def _make(path: Path, size: int, options: Options) -> Repository:
    options.say(f"signing a repository of {size} models")
    path.mkdir()
    (path / "model.onnx").write_bytes(classifier(hidden=16))
    repo = Repository.init(path / "repo")
    repo.build_release(
        ReleaseRequest(model=_MODEL, version="1.0", files=(path / "model.onnx",), is_probed=False)
    )
    repo.offer(_MODEL, "1.0")
    with not_durable():
        add_like(repo, _MODEL, "1.0", (f"model-{number:04}" for number in range(size - 1)))
    _fill_ring(repo, size)
    return Repository(repo.path)


def _fill_ring(repo: Repository, size: int) -> None:
    """Give the key ring an entry for each model, as it has where each was released by itself."""
    file = repo.path / "keys.json"
    entries = json.loads(file.read_bytes())
    like = next(iter(entries.values()))
    entries |= {f"{number:064x}": like for number in range(size - 2)}
    file.write_text(json.dumps(entries, indent=1, sort_keys=True))


def _ring_bytes(repo: Repository) -> int:
    return (repo.path / "keys.json").stat().st_size


_RELEASE: Final = (
    "repo.build_release(ReleaseRequest(model='clf', version=version, same_as='1.0',"
    " is_probed=False))"
)
_OFFER: Final = "repo.offer('clf', version)"
_PROGRAM: Final = """
import sys, time
from pathlib import Path
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
path, version = Path(sys.argv[1]), sys.argv[2]
before = time.process_time()
repo = Repository(path)
{work}
print(time.process_time() - before)
"""


def _command(path: Path, work: str, number: int) -> float:
    """Give the processor time of a command's work, without the start of Python."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(work=work), str(path), f"{number}.0"],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout)


def _timed(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before
