"""What the oldest packages that we claim cannot do, so that a test of it says why it is skipped."""

from __future__ import annotations

from typing import Final

import onnx
import onnxruntime
import pytest
from packaging.version import Version

NEEDS_ONNX_OF_TODAY: Final = pytest.mark.skipif(
    Version(onnx.__version__) < Version("1.19"),
    reason="onnx before 1.19 lacks these",
)
"""For tests of onnx's own node cases, and of models that hold bfloat16 arrays."""
PADS_WITHIN_BOUNDS: Final = pytest.mark.skipif(
    Version(onnxruntime.__version__) < Version("1.20"),
    reason="onnxruntime 1.18 mirrors past the end of an axis: a length of 1 runs too",
)
"""For tests of a model that runs on some lengths only, because it pads by mirroring."""
NEWEST_TREES: Final = pytest.mark.skipif(
    Version(onnxruntime.__version__) < Version("1.20"),
    reason="onnxruntime before 1.20 has no TreeEnsemble of ai.onnx.ml 5",
)
"""For tests of a model of that operator."""
EXPONENTS_ALONE: Final = pytest.mark.skipif(
    Version(onnxruntime.__version__) < Version("1.24"),
    reason="onnxruntime before 1.24 has no float8e8m0",
)
"""For tests of a model that gives numbers of that type."""
