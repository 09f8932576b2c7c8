"""paho's client, imported without what no device asks of it.

paho imports dnspython where that is installed, to look brokers up by SRV records: 3 MB of memory,
and a tenth of an agent's start. And it imports urllib.request, with http.client and email another
2 MB, to look for a proxy, which it does only where PySocks is installed.
"""

from __future__ import annotations

import sys

from slotcast_schemas.later_import import imported_later

_is_hidden = "dns" not in sys.modules
if _is_hidden:
    sys.modules["dns"] = None  # type: ignore[assignment] # Python's own mark of "not to be found"
try:
    with imported_later("urllib.request"):
        from paho.mqtt import client as paho
finally:
    if _is_hidden:
        del sys.modules["dns"]

__all__ = ["paho"]
