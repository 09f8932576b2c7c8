"""Slotcast device: the agent, and what an application needs to follow it.

`from slotcast_device import HotModel` is all that an application imports; it is loaded on first
use, because the agent itself must not need the runtime.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slotcast_device.hotmodel import HotModel

__all__ = ["HotModel"]
__version__ = "0.1.0"

# From 1.31 on the runtime keeps a device id below the user's home, and sends what it counts to its
# makers. Neither is for devices: it is read when onnxruntime is imported, which comes after this.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> object:
    if name == "HotModel":
        from slotcast_device.hotmodel import HotModel

        return HotModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
