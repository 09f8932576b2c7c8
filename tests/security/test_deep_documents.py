"""Documents that are nested so deeply that their reader gives up: none ends who reads it.

What decodes JSON, MessagePack and TOML raises then what is no error of decoding, also where the
depth is in a field that nobody reads.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from slotcast_device.application.app_report import read_reports
from slotcast_device.config import DeviceConfig
from slotcast_device.reporting.metrics_ring import MetricsRing
from slotcast_device.reporting.status_counter import read_counter
from slotcast_device.storage.broker_book import BrokerBook
from slotcast_device.storage.os_disk import OsDisk
from slotcast_publisher.errors import RepositoryDamaged
from slotcast_publisher.fleet.rollout.plan import read_plan
from slotcast_publisher.trust.keys import KeyRing
from slotcast_schemas.errors import UsageError
from slotcast_schemas.probe import ProbeRequest, SlotModel, run_probe
from tests.support import models

DEPTH = 1900
DEEP = "[" * DEPTH + "]" * DEPTH
"""More than Python's recursion takes, and short enough for the smallest of these files."""


def test_an_applications_report_ends_no_agent(tmp_path: Path) -> None:
    text = f'{{"slot": "a", "phase": "serving", "more": {DEEP}}}'
    (tmp_path / "report-x-a.json").write_text(text)
    assert read_reports(tmp_path).malformed == 1
    (tmp_path / "report-x-a.json").write_text(text.replace(DEEP, "[]"))
    assert read_reports(tmp_path).malformed == 0


RUNTIME = """
import os, sys
os.write(int(sys.argv[1]), b'{"at": "load", "more": ' + DEEP + b'}\\n')
os._exit(0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the child's arguments are read as Linux's")
def test_what_a_probes_child_says_ends_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hostile/onnxruntime").mkdir(parents=True)
    told = RUNTIME.replace("DEEP", f"b'{DEEP}'")
    (tmp_path / "hostile/onnxruntime/__init__.py").write_text(told)
    (tmp_path / "m.onnx").write_bytes(models.classifier())
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hostile"))
    result = run_probe(ProbeRequest(candidate=SlotModel(str(tmp_path), "m.onnx")))
    assert (result.passed, result.reason) == (False, "probe_crashed")
    assert "what no probe says" in result.detail


def test_a_devices_own_files_keep_no_agent_from_starting(tmp_path: Path) -> None:
    (tmp_path / "root.json").write_text(DEEP)
    (tmp_path / "device.toml").write_text(
        'format = 1\ndevice = "d"\nmodels = ["m"]\n[[brokers]]\nurl = "mqtt://nowhere.invalid"\n'
    )
    (tmp_path / "state").mkdir()
    for name in ("device.json", "brokers.json"):
        (tmp_path / "state" / name).write_text(f'{{"reserved": 1, "more": {DEEP}}}')
    config = DeviceConfig(tmp_path / "device.toml")
    assert config.root_expires_s is None
    assert read_counter(config, OsDisk()) == 0
    assert BrokerBook(config, OsDisk(), wall_s=0).of("nowhere.invalid").learned == 0
    kept = b"\x81\xa4more" + b"\x91" * DEPTH + b"\xc0"
    assert MetricsRing.from_bytes(kept).to_bytes() == MetricsRing().to_bytes()


def test_a_repositorys_files_are_named_as_damaged(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(DEEP.replace("[", '{"a":').replace("]", "}"))
    with pytest.raises(RepositoryDamaged, match="keys"):
        KeyRing(tmp_path, lambda _what: None, pin=lambda _what: None)


def test_a_rollouts_plan_is_refused() -> None:
    with pytest.raises(UsageError, match="not TOML"):
        read_plan(f"groups = {DEEP}", "plan")
