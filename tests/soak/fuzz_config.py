"""Any bytes as `device.toml` are a configuration, or a `UsageError` that says what is wrong."""

from __future__ import annotations

import tempfile
from pathlib import Path

from slotcast_device.config import DeviceConfig
from slotcast_schemas.errors import UsageError

_FOLDER = tempfile.TemporaryDirectory(prefix="slotcast-fuzz-config-")
_EXAMPLE = b"""format = 1
device = "cam-1"
state_dir = "state"
root = "root.json"
models = ["detector", "clf"]
tags = { site = "north" }
[[brokers]]
url = "mqtts://user:word@broker.example:8883"
ca = "ca.pem"
protocol = "5"
[policy]
full_allowed = false
credit_max_chunks = 64
[timing]
keepalive_s = 30
reconnect_cap_s = 60.0
"""


def seeds() -> list[bytes]:
    """Give a configuration with most keys."""
    return [_EXAMPLE]


def one_input(data: bytes) -> None:
    """Read."""
    path = Path(_FOLDER.name) / "device.toml"
    path.write_bytes(data)
    (path.parent / "root.json").write_bytes(b"{}")
    try:
        config = DeviceConfig(path)
    except UsageError:
        return
    assert config.values.brokers[0].host
