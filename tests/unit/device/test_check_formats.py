"""`slotcast-device check` says of each kind of model whether what runs it is there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from slotcast_device import self_check
from slotcast_device.runtime import importing
from tests.unit.device.test_config import GOOD, config


def test_a_command_is_looked_for_where_the_agent_would(tmp_path: Path) -> None:
    text = (
        f'{GOOD}\n[formats.gguf]\ncommand = ["./probe"]\n'
        f'[formats.opaque]\ncommand = ["{sys.executable}"]\n'
    )
    made = config(tmp_path, text)
    found = {finding.name: finding for finding in self_check._formats(made)}
    assert not found["format_gguf"].passed
    assert "is no program that" in found["format_gguf"].detail
    assert found["format_opaque"].passed
    (tmp_path / "probe").write_text("#!/bin/sh\n")
    (tmp_path / "probe").chmod(0o755)
    found = {finding.name: finding for finding in self_check._formats(made)}
    assert found["format_gguf"].passed


def test_litert_is_imported_and_not_only_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (litert,) = self_check._formats(config(tmp_path))
    assert (litert.name, litert.passed) == ("format_litert", True), litert.detail
    monkeypatch.setattr(importing, "LITERT_RUNTIME", "no_such_package")
    assert importing.runnable_formats({"gguf"}) == {"gguf"}
