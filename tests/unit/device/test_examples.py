"""The examples for applications do what docs/application.md promises."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from slotcast_device import HotModel
from slotcast_device.application.app_report import read_reports
from slotcast_device.application.liveness import Liveness
from slotcast_device.packaged_files import SHARE
from slotcast_schemas.messages.release import Probe
from slotcast_schemas.probe import ProbeRequest, SlotModel, run_probe
from slotcast_schemas.samples import Samples, write_samples
from tests.support import models
from tests.support.waiting import wait_until

EXAMPLES = Path(__file__).parents[3] / "examples"


def make(folder: Path) -> None:
    for slot, seed in (("a", 1), ("b", 2)):
        (folder / "slots" / slot).mkdir(parents=True)
        (folder / "slots" / slot / "model.onnx").write_bytes(models.classifier(seed))
        (folder / "slots" / f"{slot}.release").write_bytes(b"")


def switch(folder: Path, slot: str) -> None:
    (folder / "new").symlink_to(f"slots/{slot}")
    (folder / "new").replace(folder / "current")


@pytest.fixture
def follower(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    make(tmp_path)
    switch(tmp_path, "a")
    # A program that says which model it was given, and serves until it is stopped.
    program = ["sh", "-c", 'echo "$1" >>"$0/log"; exec sleep 1000', str(tmp_path)]
    command = [str(EXAMPLES / "follow.sh"), str(tmp_path), "model.onnx", *program]
    environment = {**os.environ, "FOLLOW_SLEEP_S": "0.02"}
    with subprocess.Popen(command, env=environment) as process:
        yield process
        process.terminate()
        process.wait()


def log(folder: Path) -> list[str]:
    path = folder / "log"
    return path.read_text().splitlines() if path.exists() else []


def phase(folder: Path, slot: str) -> set[str]:
    return {r.phase for r in read_reports(folder / "app").reports if r.slot == slot}


def test_a_program_of_any_language_follows_the_switch(
    tmp_path: Path, follower: subprocess.Popen[bytes]
) -> None:
    given = [f"{tmp_path}/slots/{slot}/model.onnx" for slot in "ab"]
    wait_until(lambda: phase(tmp_path, "a") == {"serving"})
    wait_until(lambda: log(tmp_path) == given[:1])  # it runs, and may not have said so yet
    switch(tmp_path, "b")
    wait_until(lambda: phase(tmp_path, "b") == {"serving"})
    assert phase(tmp_path, "a") == {"retired"}
    wait_until(lambda: log(tmp_path) == given)
    follower.terminate()
    follower.wait()
    assert phase(tmp_path, "b") == set()


def test_a_program_that_keeps_dying_shows_as_restarts(tmp_path: Path) -> None:
    make(tmp_path)
    switch(tmp_path, "a")
    command = [str(EXAMPLES / "follow.sh"), str(tmp_path), "model.onnx", "false"]
    environment = {**os.environ, "FOLLOW_SLEEP_S": "0.02"}
    liveness, looks = Liveness(), itertools.count()
    with subprocess.Popen(command, env=environment) as process:
        for files in range(10):
            wait_until(lambda: len(read_reports(tmp_path / "app").files) >= files)  # noqa: B023
            found = read_reports(tmp_path / "app")
            liveness.look(found.files, float(next(looks)))
        process.terminate()
    assert found.malformed == 0
    for _ in range(100):
        liveness.look(read_reports(tmp_path / "app").files, float(next(looks)))
    assert len(liveness.restarts("a")) >= 3


def service() -> ModuleType:
    spec = importlib.util.spec_from_file_location("service", EXAMPLES / "service.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_service_answers_over_http(tmp_path: Path) -> None:
    make(tmp_path)
    switch(tmp_path, "a")
    handler = service().Handler
    with (
        HotModel(tmp_path / "current", entry="model.onnx", poll_s=0.01) as model,
        ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
    ):
        handler.model = model
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}/"
        try:
            body = json.dumps({"x": models.inputs(2).tolist()}).encode()
            with urllib.request.urlopen(address, body) as answer:
                scores = json.load(answer)["outputs"]["scores"]
            assert [sum(row) for row in scores] == [pytest.approx(1.0, abs=1e-5)] * 2
            with pytest.raises(urllib.error.HTTPError, match="400") as caught:
                urllib.request.urlopen(address, b'{"y": [1]}')
            caught.value.close()
        finally:
            server.shutdown()
            thread.join()


def test_the_example_of_a_command_answers_as_the_document_says(tmp_path: Path) -> None:
    """As it is copied from the package, by the probe itself."""
    rng = np.random.default_rng(1)
    # Small whole numbers: their sums are exact, in whatever order a processor adds them.
    matrix = rng.integers(-8, 9, (4, 3)).astype("<f4")
    rows = rng.integers(-8, 9, (5, 1, 4)).astype(np.float32)
    (tmp_path / "m.bin").write_bytes(matrix.tobytes())
    write_samples(tmp_path / "samples.npz", Samples({"x": rows}, {"y": rows @ matrix}))
    command = (sys.executable, str(SHARE / "probe_command.py"))
    model = SlotModel(str(tmp_path), "m.bin", "opaque", command)
    probe = Probe(samples="samples.npz", runs=1, max_latency_ratio=None)
    result = run_probe(ProbeRequest(candidate=model, probe=probe))
    assert (result.passed, result.reason) == (True, "passed"), result.detail
    assert next(check for check in result.checks if check.name == "golden").value == 0
    (tmp_path / "m.bin").write_bytes(matrix.tobytes()[:-2])
    refused = run_probe(ProbeRequest(candidate=model, probe=probe))
    assert (refused.reason, refused.blames_model) == ("model_unloadable", True)
