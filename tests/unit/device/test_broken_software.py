"""A runtime that is missing or cannot be imported is named for what it is."""

from __future__ import annotations

import importlib.metadata
import sys
import threading
from pathlib import Path

import pytest

from slotcast_device.core import actions as act
from slotcast_device.core.plan import Facts, make_plan
from slotcast_device.core.state import ModelState
from slotcast_device.runner import unforeseen_error
from slotcast_device.runtime import importing
from slotcast_device.storage.os_disk import OsDisk
from slotcast_device.storage.slots import SlotStore
from slotcast_device.trial.watcher import TrialWatcher
from slotcast_schemas import wire
from slotcast_schemas.errors import SlotcastError, SoftwareBroken
from slotcast_schemas.messages.offer import Group
from slotcast_schemas.verify import Trusted
from tests.support import messages

MISSING = "libnot_here.so.1: cannot open shared object file: No such file or directory"


@pytest.fixture
def break_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have every child process find a runtime that says what a test writes into this file."""
    package = tmp_path / "broken" / "onnxruntime"
    package.mkdir(parents=True)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    return package / "__init__.py"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (f"raise ImportError({MISSING!r})", MISSING),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "SIGILL"),
        ("import sys; sys.exit(3)", "exit code 3"),
        ("import not_here_either", "No module named 'not_here_either'"),
    ],
)
def test_what_the_import_said_is_told(break_runtime: Path, code: str, said: str) -> None:
    break_runtime.write_text(code)
    assert said in importing.import_problem()


def test_a_runtime_that_works_has_no_problem_and_a_version() -> None:
    assert importing.import_problem() == ""
    assert importing.runtime_version() == importlib.metadata.version(importing.RUNTIME)


@pytest.mark.parametrize(
    ("distributions", "version"),
    [
        ({"onnxruntime": "1.2.3"}, "1.2.3"),
        ({"onnxruntime_gpu": "1.2.4"}, "1.2.4"),
        ({"onnxruntime": "1.2.3", "onnxruntime_gpu": "1.2.4"}, "1.2.3"),
    ],
    ids=["its own", "another's", "both"],
)
def test_the_version_is_that_of_the_distribution_which_has_the_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distributions: dict[str, str], version: str
) -> None:
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").touch()
    for name, one in distributions.items():
        folder = tmp_path / f"{name}-{one}.dist-info"
        folder.mkdir()
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {one}\n\nVersion: of the text\n"
        (folder / "METADATA").write_text(text)
        (folder / "RECORD").write_text("onnxruntime/__init__.py,,\n")
        (folder / "top_level.txt").write_text("onnxruntime\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    importlib.invalidate_caches()
    assert importing.runtime_version() == version


def test_a_probe_without_a_runtime_blames_the_installation_and_not_model_or_storage(
    break_runtime: Path, tmp_path: Path
) -> None:
    break_runtime.write_text(f"raise ImportError({MISSING!r})")
    watcher = TrialWatcher(SlotStore(OsDisk(), tmp_path), tmp_path / "app", threading.Event())
    with pytest.raises(SoftwareBroken) as broken:
        watcher.probe(act.ProbeSlot("a", messages.release(), None))
    assert broken.value.reason == "software_broken"
    assert MISSING in str(broken.value)
    assert sys.executable in str(broken.value)


def test_without_a_runtime_nothing_is_fetched_and_what_runs_runs_on() -> None:
    release = messages.release(rebased=None, requires=())
    offer = messages.offer(groups=(Group(name="everyone"),), payloads=(messages.payload(),))
    trusted = Trusted(release, wire.encode(release), offer, b"")
    facts = Facts("cam-1", {}, onnxruntime="", memory_bytes=10**9, disk_bytes=10**9)
    with pytest.raises(SoftwareBroken, match="not installed"):
        make_plan(trusted, ModelState(model="detector"), facts)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ImportError(MISSING), "software_broken"),
        (ModuleNotFoundError("No module named 'x'"), "software_broken"),
        (MemoryError(), "memory_short"),
        (ZeroDivisionError("division by zero"), "internal_error"),
    ],
)
def test_an_error_that_nobody_foresaw_is_not_called_a_failure_of_the_storage(
    error: Exception, reason: str
) -> None:
    ours: SlotcastError = unforeseen_error(error)
    assert ours.reason == reason
    assert len(str(ours)) > 20
