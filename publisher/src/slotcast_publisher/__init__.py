"""Slotcast publisher: builds, signs and pushes releases of models. The command is `slotcast`."""

import os

__version__ = "0.1.0"

# From 1.31 on the runtime keeps a device id below the user's home, and sends what it counts to its
# makers. A publisher's models are its own affair: read when onnxruntime is imported, after this.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
