"""What a device says of a broker that hangs up before it answers."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from slotcast_device.cli import main
from slotcast_device.config import DeviceConfig
from slotcast_device.link.connection import Connection
from slotcast_device.storage.broker_book import BrokerBook
from slotcast_device.storage.os_disk import OsDisk
from tests.support.broker_front import BrokerFront
from tests.support.waiting import wait_until
from tests.unit.device.test_connection import Heard, turn


def configured(folder: Path, url: str) -> Path:
    (folder / "root.json").write_text("{}")
    path = folder / "device.toml"
    path.write_text(
        'format = 1\ndevice = "d1"\nmodels = ["m"]\nstate_dir = "state"\n'
        f'[[brokers]]\nurl = "{url}"\n[timing]\nreconnect_first_s = 0.01\n'
    )
    return path


@pytest.mark.parametrize(
    ("scheme", "cause"),
    [("mqtt", "this port expects TLS (mqtts://)"), ("mqtts", "this port has no TLS (mqtt://)")],
)
def test_check_says_so_and_ends_with_1(
    scheme: str, cause: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with BrokerFront() as front:
        path = configured(tmp_path, f"{scheme}://127.0.0.1:{front.port}")
        code = main(["check", "--config", str(path), "--json"])
    findings = {found["name"]: found for found in json.loads(capsys.readouterr().out)}
    assert code == 1
    assert not findings["broker"]["passed"]
    for said in (cause, "the broker still starts", "whoever runs the broker"):
        assert said in findings["broker"]["detail"]


@pytest.mark.parametrize("scheme", ["mqtt", "mqtts"])
def test_an_agent_says_that_its_link_is_down(scheme: str, tmp_path: Path) -> None:
    with BrokerFront() as front:
        config = DeviceConfig(configured(tmp_path, f"{scheme}://127.0.0.1:{front.port}"))
        book = BrokerBook(config, OsDisk(), 0)
        made = Connection(config, random.Random(1), Heard(), book, "here")

        def is_told() -> bool:
            turn(made)
            made.check()
            return made.state.status.reason == "link_down"

        wait_until(is_told)
        made.close()
    assert "closed the connection before it answered" in made.state.status.detail
