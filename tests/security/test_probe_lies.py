"""A child whose model took it over, and which lies to its parent: no answer ends who hears it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from slotcast_publisher.release import bounded_run
from slotcast_publisher.release.model_check import check_model
from slotcast_schemas.errors import ModelUnloadable
from slotcast_schemas.limits import DETAIL_MAX_CHARS
from slotcast_schemas.messages.release import Probe
from slotcast_schemas.probe.judge import Death, judge
from slotcast_schemas.probe.spec import Note, ProbeFindings
from slotcast_schemas.reasons import Reason
from tests.support import models

PROBES = (
    Probe(),
    Probe(
        max_latency_p95_s=0.1,
        max_latency_ratio=1.5,
        max_memory_ratio=2.0,
        max_memory_bytes=1_000_000,
        max_load_s=3.0,
        min_cosine=0.9,
        min_accuracy=0.5,
    ),
)
STEPS = ("load", "active_load", "measure", "active_measure", "done", "passed", "none")
WORDS = (*Reason, "passed", "zzz")
DEATHS = (None, Death("probe_crashed", "x"), Death("probe_killed", "y", blames_model=False))


class Liar:
    """Draws what a child may say, odd figures among it."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def _is_said(self) -> bool:
        return self._random.random() < 0.5

    def _figure(self) -> float:
        return self._random.choice((0, 1e-320, 1e-9, 0.001, 0.5, 1, 5, 1e9))

    def _count(self) -> int:
        return self._random.choice((0, 1, 3, 10**9, 2**53 - 1))

    def _text(self) -> str:
        return self._random.choice(("", "x" * DETAIL_MAX_CHARS, "\x00\x1b[2J", "\u202eé\n"))

    def _any(self) -> float:
        return self._random.choice((-1, 1)) * self._random.choice((self._figure(), 1e308))

    def _costs(self) -> dict[str, Any]:
        return {"load_s": self._figure(), "peak_memory_bytes": self._count()}

    def _timing(self) -> dict[str, Any]:
        rounds, runs = self._random.choice((0, 1, 9, 40)), self._random.choice((0, 1, 30, 200))
        return {
            "by": self._random.choice(("clock", "processor")),
            "threads": self._count(),
            "cores": self._count(),
            "rounds": [(self._figure(), self._figure()) for _ in range(rounds)],
            "times_s": [self._figure() for _ in range(runs)],
            "active_p95_s": self._random.choice((None, self._figure())),
            "waited_share": self._random.choice((0, 1e-320, 0.5, 1)),
        }

    def _golden(self) -> dict[str, Any]:
        figures = {name: self._any() for name in ("worst", "cosine", "spread")}
        return {"runs": self._count(), "detail": self._text(), **figures}

    def note(self) -> bytes:
        """Give a line of the child's."""
        said: dict[str, Any] = {
            "failure": {"reason": self._random.choice(WORDS), "detail": self._text()},
            "contract": [self._text() for _ in range(self._random.randrange(3))],
            "not_run": self._text(),
            "nonfinite": self._text(),
            "constant": self._text(),
            "golden": self._golden(),
            "accuracy": self._any(),
            "candidate": self._costs(),
            "active": self._costs(),
            "timing": self._timing(),
        }
        kept = {name: value for name, value in said.items() if self._is_said()}
        return json.dumps({"at": self._random.choice(STEPS), **kept}).encode()

    def findings(self) -> ProbeFindings:
        """Give what is believed of a few lines."""
        found = ProbeFindings()
        for _ in range(self._random.randrange(1, 4)):
            try:
                found.add(msgspec.json.decode(self.note(), type=Note))
            except msgspec.ValidationError:
                return found
        return found


@pytest.mark.parametrize("seed", range(10))
def test_whatever_a_child_says_is_judged_and_can_be_reported(seed: int) -> None:
    liar = Liar(seed)
    for number in range(300):
        probe, death = PROBES[number % 2], DEATHS[number % 3]
        result = judge(probe, liar.findings(), death)
        assert len(result.detail) <= DETAIL_MAX_CHARS
        for check in result.checks:
            assert msgspec.json.decode(msgspec.json.encode(check), type=type(check)) == check


def test_a_child_that_says_it_has_no_processor_is_not_believed() -> None:
    said = b'{"at": "done", "timing": {"by": "processor", "threads": 1, "cores": 0}}'
    with pytest.raises(msgspec.ValidationError, match="cores"):
        msgspec.json.decode(said, type=Note)


# --- the child in which a publisher loads a model -------------------------------------------------

RUNTIME = """
import os
said = SAID
while True:
    os.write(1, said)
    if not ENDLESS:
        os._exit(0)
"""


def look_at(folder: Path, said: bytes, *, is_endless: bool = False) -> str:
    """Have a publisher look at a model whose runtime says this; why it is refused."""
    (folder / "hostile/onnxruntime").mkdir(parents=True)
    text = RUNTIME.replace("SAID", repr(said)).replace("ENDLESS", str(is_endless))
    (folder / "hostile/onnxruntime/__init__.py").write_text(text)
    (folder / "model").mkdir()
    (folder / "model/m.onnx").write_bytes(models.classifier())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder / "hostile"))
        with pytest.raises(ModelUnloadable) as refused:
            check_model(folder / "model", "m.onnx")
    return str(refused.value)


@pytest.mark.parametrize(
    "said", [b"5", b"[]", b"{}", b'{"error": 5}', b'{"error": [[]]}', b"[" * 5000]
)
def test_a_publisher_refuses_a_model_whatever_its_child_says(tmp_path: Path, said: bytes) -> None:
    assert "m.onnx" in look_at(tmp_path, said)


def test_a_publisher_holds_little_of_a_child_that_prints_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_run, "ANSWER_MAX_BYTES", 1024 * 1024)
    assert "SIGKILL" in look_at(tmp_path, b"x" * 65536, is_endless=True)
