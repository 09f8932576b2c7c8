"""Releases and probes every one of onnx's node tests, with the test's own samples.

Each is one of these: not loaded by this onnxruntime (then the release must refuse it as well);
accepted by the release and by a device's probe; refused by the release, in words; or accepted by
the release and refused by the device, which must never be. What is refused stands in
`nodes.toml` with a reason, and nothing stands there that is accepted.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Final, Literal

import msgspec
import onnxruntime

from slotcast_publisher.release.build import build_release
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.store import Store
from slotcast_schemas.errors import ModelUnloadable, SlotcastError
from slotcast_schemas.probe import ProbeRequest, SlotModel, run_probe
from tests.zoo.forked import Forked, forked_children
from tests.zoo.node_cases import NodeCase, load_cases, write_case

Outcome = Literal["accepted", "refused_by_release", "refused_by_device", "not_loaded", "unnoticed"]
"""What became of a test; `unnoticed`: the runtime does not load it and the release took it."""


class NodeResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one test, and what was said of it."""

    name: str
    outcome: Outcome
    reason: str = ""
    said: str = ""


class NodeReason(msgspec.Struct, frozen=True, kw_only=True):
    """Why some tests are refused: all whose name matches, as a regular expression."""

    tests: str
    why: str

    def names(self, test: str) -> bool:
        """Whether a test is one of them."""
        return re.fullmatch(self.tests, test) is not None


LISTED: Final = Path(__file__).with_name("nodes.toml")
"""Which tests are refused, and why."""


def read_reasons() -> list[NodeReason]:
    """Give the list of tests that are refused."""
    return msgspec.toml.decode(LISTED.read_bytes(), type=dict[str, list[NodeReason]])["refused"]


def main(arguments: list[str]) -> int:
    """Load the model in this process, which a model may end: 0 if the runtime takes it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(arguments[0], options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # noqa: BLE001 (whatever the runtime raises, it does not load it)
        print(exc)
        return 1
    return 0


def try_case(case: NodeCase, folder: Path) -> NodeResult:
    """Release one test, and ask a device's probe."""
    model, given = write_case(case, folder)
    child = Forked(["-m", __name__, str(model)])
    with child.stdout:
        why = child.stdout.read().decode(errors="replace")
    loads = child.wait() == 0
    store = Store(folder / "repository")
    request = ReleaseRequest(model="node", version="1", files=(model,), samples=given)
    try:
        folder_of_release = build_release(store, request, time.time()).folder
    except SlotcastError as exc:
        if not loads and isinstance(exc, ModelUnloadable):
            return NodeResult(name=case.name, outcome="not_loaded", reason=exc.reason, said=why)
        return NodeResult(
            name=case.name, outcome="refused_by_release", reason=exc.reason, said=str(exc)
        )
    if not loads:
        return NodeResult(name=case.name, outcome="unnoticed", said=why)
    release = folder_of_release.load()
    result = run_probe(
        ProbeRequest(
            candidate=SlotModel(str(folder_of_release.files_dir.absolute()), release.entry),
            inputs=release.inputs,
            outputs=release.outputs,
            probe=release.probe,
        )
    )
    outcome: Outcome = "accepted" if result.passed else "refused_by_device"
    return NodeResult(name=case.name, outcome=outcome, reason=result.reason, said=result.detail)


def try_all(
    only: str = "", workers: int = 1, done: Container[str] = frozenset()
) -> Iterator[NodeResult]:
    """Try tests; children are forked (`forked`), so that thousands take minutes.

    Args:
        only: a regular expression; tests whose name has it in them.
        workers: how many at once.
        done: names of tests that are left out.
    """
    chosen = (case for case in load_cases() if re.search(only, case.name))
    _CASES.extend(case for case in chosen if case.name not in done)
    with ProcessPoolExecutor(workers, get_context("fork")) as pool:
        yield from pool.map(_try_number, range(len(_CASES)))
    _CASES.clear()


_CASES: Final[list[NodeCase]] = []
"""What the workers, which are forks of this process, try; by number."""


def _try_number(number: int) -> NodeResult:
    with forked_children(), tempfile.TemporaryDirectory(prefix="slotcast-node-") as folder:
        return try_case(_CASES[number], Path(folder))


def differences(results: Iterable[NodeResult], reasons: Sequence[NodeReason]) -> list[str]:
    """Hold results against the list; give a sentence for each test that is not as it says."""
    found: list[str] = []
    for result in results:
        is_listed = any(reason.names(result.name) for reason in reasons)
        text = f"{result.outcome} ({result.reason}): {result.said}"
        if result.outcome in {"refused_by_device", "unnoticed"}:
            found.append(f"{result.name}: {text}")
        elif result.outcome == "refused_by_release" and not is_listed:
            found.append(f"{result.name}: refused and not listed: {text}")
        elif result.outcome == "accepted" and is_listed:
            found.append(f"{result.name}: accepted, and listed as refused")
    return found


def counts(results: Iterable[NodeResult]) -> Mapping[str, int]:
    """Give how many tests came to each outcome."""
    return Counter(result.outcome for result in results)
