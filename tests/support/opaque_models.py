"""Models of a format that Slotcast does not know: the zoo's classifier as a file of weights."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np

from tests.support import models

PROGRAM = Path(__file__).with_name("dense_command.py")


def command(mood: str = "") -> tuple[str, ...]:
    """The owner's command for it, as device.toml names it."""
    return (sys.executable, str(PROGRAM), *([mood] if mood else []))


def classifier(seed: int = 1, *, drift: float = 0.0) -> bytes:
    """A good one, which says what `models.classifier(seed)` says."""
    return of_weights(models.weights(seed, drift=drift))


def of_weights(weights: list[models.Floats]) -> bytes:
    """A file of these weights."""
    out = io.BytesIO()
    w1, b1, w2, b2 = weights
    np.savez(out, w1=w1, b1=b1, w2=w2, b2=b2)
    return out.getvalue()
