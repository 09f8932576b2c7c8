"""paho's client, imported without dnspython.

paho imports that where it is installed, to look brokers up by SRV records, which no device does:
3 MB of memory, and a tenth of an agent's start.
"""

from __future__ import annotations

import sys

_is_hidden = "dns" not in sys.modules
if _is_hidden:
    sys.modules["dns"] = None  # type: ignore[assignment] # Python's own mark of "not to be found"
try:
    from paho.mqtt import client as paho
finally:
    if _is_hidden:
        del sys.modules["dns"]

__all__ = ["paho"]
