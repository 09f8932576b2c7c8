"""What a LiteRT model keeps between runs does not reach the next run of a probe or a sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from slotcast_schemas.probe.litert_session import LitertSession, has_resource_variables
from tests.support import litert_models


def opened(folder: Path, content: bytes) -> LitertSession:
    path = folder / "m.tflite"
    path.write_bytes(content)
    return LitertSession(path)


def test_each_run_starts_from_the_state_that_was_loaded(tmp_path: Path) -> None:
    session = opened(tmp_path, litert_models.with_memory())
    heard = np.arange(4, dtype=np.float32).reshape(1, 4)
    for _ in range(3):
        (answer,) = session.run({"x": heard}).values()
        assert np.array_equal(np.asarray(answer), heard)


def test_only_models_with_such_a_memory_are_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    for content, has_memory in (
        (litert_models.with_memory(), True),
        (litert_models.classifier(), False),
        (b"no model", False),
    ):
        path.write_bytes(content)
        assert has_resource_variables(path) == has_memory
