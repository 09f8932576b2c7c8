"""The probe: is this model fit to serve here? Asked before the switch, in a child process.

`run_probe` starts the child, watches and kills it; `child` loads and measures; `judge` compares
what was found with the release's limits; `spec` is what the two processes say to each other.
See docs/health-check.md.
"""

from slotcast_device.probe.judge import DEVICE_BUSY, TOO_SLOW, ProbeResult
from slotcast_device.probe.runner import run_probe
from slotcast_device.probe.spec import ProbeRequest, SlotModel

__all__ = ["DEVICE_BUSY", "TOO_SLOW", "ProbeRequest", "ProbeResult", "SlotModel", "run_probe"]
