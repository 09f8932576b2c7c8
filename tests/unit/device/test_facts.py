"""What a device knows of itself when it plans: the same figures by which it probes."""

from __future__ import annotations

from pathlib import Path

import pytest

from slotcast_device.config import DeviceConfig
from slotcast_device.jobs import ModelJobs
from slotcast_device.storage.os_disk import OsDisk
from slotcast_schemas import process_memory

CONFIG = """
format = 1
device = "d1"
models = ["m"]
[[brokers]]
url = "mqtt://127.0.0.1:1883"
"""
BOUND_BYTES = 12_345_678


def test_a_container_plans_with_the_memory_that_it_may_take_and_not_the_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "device.toml").write_text(CONFIG)
    (tmp_path / "root.json").write_text("{}")
    own = Path("/proc/self/cgroup").read_text().strip().rpartition(":")[2].lstrip("/")
    group = tmp_path / "cgroup" / own
    group.mkdir(parents=True, exist_ok=True)
    (group / "memory.max").write_text(f"{BOUND_BYTES + 4096}\n")
    (group / "memory.current").write_text("8192\n")
    (group / "memory.stat").write_text("anon 4096\ninactive_file 4096\n")
    monkeypatch.setattr(process_memory, "_CGROUP", tmp_path / "cgroup")
    config = DeviceConfig(tmp_path / "device.toml")
    config.model_dir("m").mkdir(parents=True)
    files = ModelJobs(config, "m", OsDisk())
    try:
        assert files._gather_facts().memory_bytes == BOUND_BYTES
    finally:
        files.close()
