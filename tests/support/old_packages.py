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
NEEDS_RUNTIME_OF_TODAY: Final = pytest.mark.skipif(
    Version(onnxruntime.__version__) < Version("1.20"),
    reason="onnxruntime before 1.20 ends otherwise here",
)
"""For tests of the sizes that are tried: 1.18 made no samples for `padded`, which was seen and not
looked into."""
