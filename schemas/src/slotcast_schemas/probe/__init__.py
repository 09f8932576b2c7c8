"""The probe: is this model fit to serve here? Asked before the switch, in a child process.

`run_probe` starts the child, watches and kills it; `child` loads and measures; `judge` compares
what was found with the release's limits; `spec` is what the two processes say to each other.
Both sides have it: a device asks before it switches, a publisher before it signs (docs/adr/0080).
See docs/health-check.md.
"""

import os

from slotcast_schemas.probe.judge import DEVICE_BUSY, TOO_SLOW, ProbeResult
from slotcast_schemas.probe.runner import run_probe
from slotcast_schemas.probe.spec import ProbeRequest, SlotModel

__all__ = ["DEVICE_BUSY", "TOO_SLOW", "ProbeRequest", "ProbeResult", "SlotModel", "run_probe"]

# From 1.31 on the runtime keeps a device id below the user's home, and sends what it counts to its
# makers. The child is told so here: its environment has no setting of the runtime's.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
