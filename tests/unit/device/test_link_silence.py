"""A broker that takes the connection and never answers is noticed, and asked in 3.1.1 next."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from slotcast_device.agent import Agent
from slotcast_device.config import DeviceConfig

CONFIG = """
format = 1
device = "d1"
models = ["m"]
[[brokers]]
url = "mqtt://127.0.0.1:{port}"
[timing]
connect_timeout_s = 0.1
reconnect_first_s = 0.01
"""


@pytest.mark.timeout(300)
def test_a_broker_that_never_answers_connect_is_asked_in_the_older_protocol(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = CONFIG.format(port=listener.getsockname()[1])
        (tmp_path / "device.toml").write_text(config)
        (tmp_path / "root.json").write_text("{}")
        agent = Agent(DeviceConfig(tmp_path / "device.toml"))
        thread = threading.Thread(target=agent.run)
        thread.start()
        try:
            levels = []
            for _ in range(3):
                connection, _ = listener.accept()
                with connection:
                    levels.append(_level(connection.recv(4096)))
                    while connection.recv(4096):
                        pass  # a farewell; then the device hangs up, not this side
        finally:
            agent.stop()
            thread.join()
    assert levels == [5, 4, 5]


def _level(connect: bytes) -> int:
    """The protocol level in a CONNECT: the byte after the protocol's name."""
    return connect[connect.index(b"MQTT") + 4]
