"""What kinds of model a release may hold, and the words for them; `probe.loading` opens each.

ONNX and LiteRT have runtimes that Slotcast calls itself. A model of any other kind is run by a
command of the device's owner, who names it in device.toml by the format's word; nothing that a
publisher signed is ever run as a program (docs/formats.md).
"""

from __future__ import annotations

import re
from typing import Final

from slotcast_schemas.errors import UsageError

ONNX: Final = "onnx"
LITERT: Final = "litert"
GGUF: Final = "gguf"
OPAQUE: Final = "opaque"
"""The kinds of models; of the last one nothing is known but its bytes."""

FEATURE: Final = "model_format"
"""What a release requires of its readers when its model is no ONNX: software from before there
were formats refuses it with that word, before it fetches a byte."""

COMPILED_FEATURE: Final = "compiled_model"
"""The same of a model that a runtime has prepared or compiled for itself."""

SUFFIXES: Final = {ONNX: (".onnx", ".ort"), LITERT: (".tflite", ".litert"), GGUF: (".gguf",)}
"""How files of a format are called, the usual ending first."""

_OPAQUE_NAMED: Final = re.compile(r"^opaque_[a-z0-9_]{1,57}\Z")


def check_format(text: str) -> str:
    """Give a format's word as it is written.

    Raises:
        UsageError: it is none.
    """
    if text in {ONNX, LITERT, GGUF, OPAQUE} or _OPAQUE_NAMED.match(text):
        return text
    raise UsageError(
        f"expected a format of onnx, litert, gguf, opaque, or opaque_NAME for one of several that"
        f" a device has commands for, got {text!r:.80}"
    )


def is_run_by_command(model_format: str) -> bool:
    """Say whether only a command of the device's owner runs such a model."""
    return model_format not in {ONNX, LITERT}
