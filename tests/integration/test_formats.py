"""Models of every kind, from the release through Mosquitto to a device that serves them."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import helper

from slotcast_device import HotModel
from slotcast_device.exit_codes import OK
from slotcast_publisher.release.build import Released
from slotcast_publisher.release.chosen_limits import ChosenLimits
from slotcast_publisher.release.delta_payloads import DeltaBuilder
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_schemas.errors import ModelFailed
from slotcast_schemas.messages import Release
from slotcast_schemas.messages.release import Trial
from slotcast_schemas.samples import write_samples
from slotcast_schemas.states import State
from tests.support import litert_models, models, opaque_models
from tests.support.brokers import Broker
from tests.support.fleet import PATIENT, Device, Observer, Publisher
from tests.support.fleet_fixtures import new_prefix
from tests.support.model_files import gguf_bytes
from tests.support.packed_once import PackedOnce
from tests.support.probing import golden_samples, run_rows

pytestmark = [pytest.mark.broker]

ROWS = models.inputs(3)
PROBE_WAIT_S = 180.0
"""How long a probe may take here; not a measure of speed."""


@pytest.fixture
def empty(broker: Broker, tmp_path: Path) -> Publisher:
    return Publisher.make(tmp_path / "repo", broker.url, prefix=new_prefix())


def release(publisher: Publisher, version: str, name: str, content: bytes, **more: Any) -> Released:
    folder = publisher.path.parent / version
    folder.mkdir()
    (folder / name).write_bytes(content)
    quick = ChosenLimits(probe={"runs": 1, "max_latency_ratio": None})
    fields: dict[str, Any] = {"trial": PATIENT, "files": (folder,), "limits": quick, **more}
    request = ReleaseRequest(model="clf", version=version, **fields)
    return publisher.repo.build_release(request, builders=(PackedOnce(), DeltaBuilder()))


def installed(publisher: Publisher, version: str, device: Device) -> None:
    publisher.publish("clf", version)
    status = device.run_once()
    assert status.state is State.COMMITTED, (status.reason, status.detail)
    assert status.active is not None
    assert status.active.version == version


def serves(device: Device, entry: str, content: bytes) -> bool:
    return device.current(entry=entry).read_bytes() == content


def expected() -> models.Floats:
    """Give what the zoo's first classifier says to `ROWS`."""
    return run_rows(models.classifier(1), ROWS)[:, 0]


def own_samples(tmp_path: Path) -> Path:
    """What whoever made the model saw it say: a file for a format that nothing here runs."""
    path = tmp_path / "own.npz"
    write_samples(path, golden_samples())
    return path


# --- LiteRT ---------------------------------------------------------------------------------------


def test_litert_is_released_updated_by_delta_and_held_by_hotmodel(
    empty: Publisher, tmp_path: Path
) -> None:
    first = release(empty, "1.0", "m.tflite", litert_models.classifier(1), seed=1)
    assert first.release.runtime.format == "litert"
    assert first.release.probe.samples is not None
    second = release(empty, "2.0", "m.tflite", litert_models.classifier(1, drift=1e-3), seed=1)
    assert any(record.payload.base is not None for record in second.payloads)
    device = empty.provision("cam-1", tmp_path / "cam-1")
    installed(empty, "1.0", device)
    with HotModel(device.folder() / "current", poll_s=0.01) as hot:
        assert np.allclose(
            hot.run(["scores"], {"x": ROWS})[0],
            expected(),
            atol=1e-5,
        )
        installed(empty, "2.0", device)


def test_litert_that_answers_wrongly_never_serves(empty: Publisher, tmp_path: Path) -> None:
    """Damaged before the release, its own samples find it; after it, devices do."""
    samples = own_samples(tmp_path)
    release(empty, "1.0", "m.tflite", litert_models.classifier(1), samples=samples)
    with pytest.raises(ModelFailed, match="golden_mismatch"):
        release(empty, "1.1", "m.tflite", litert_models.damaged_weights(1), samples=samples)
    bad = litert_models.damaged_weights(1)
    release(empty, "1.2", "m.tflite", bad, samples=samples, is_probed=False)
    device = empty.provision("cam-1", tmp_path / "cam-1")
    installed(empty, "1.0", device)
    empty.publish("clf", "1.2")
    status = device.run_once()
    assert (status.state, status.reason) == (State.FAILED, "golden_mismatch")
    assert serves(device, "m.tflite", litert_models.classifier(1))


# --- a command of the owner's ---------------------------------------------------------------------


COUNT_TENSORS = """
import json, struct, sys
for line in sys.stdin:
    told = json.loads(line)
    if told["do"] == "load":
        with open(told["model"], "rb") as file:
            magic, version, tensors = struct.unpack("<4sIQ", file.read(16))
        said = {} if magic == b"GGUF" else {"error": "no GGUF"}
    else:
        said = {"outputs": {"tensors": [tensors]}}
    print(json.dumps(said), flush=True)
"""
"""A command for GGUF that does what a device without llama.cpp can: look at the file's head."""


def command_toml(name: str, command: tuple[str, ...] = opaque_models.command()) -> str:
    words = ", ".join(json.dumps(word) for word in command)
    return f"\n[formats.{name}]\ncommand = [{words}]\n"


def test_a_format_of_ones_own_is_tried_by_the_owners_command(
    empty: Publisher, tmp_path: Path
) -> None:
    """The program that serves it is of any language: it opens a file, and writes a report."""
    options = {"format": "opaque_dense", "samples": own_samples(tmp_path)}
    trial = Trial(min_requests=5, max_restarts=1000)
    old, good = opaque_models.classifier(1), opaque_models.classifier(1, drift=1e-4)
    first = release(empty, "1.0", "m.dense", old, **options)
    assert any("[formats.opaque_dense]" in warning for warning in first.warnings)
    bad = opaque_models.classifier(2)
    release(empty, "1.1", "m.dense", bad, **options)
    release(empty, "1.2", "m.dense", good, trial=trial, **options)
    device = empty.provision("cam-1", tmp_path / "cam-1", extra=command_toml("opaque_dense"))
    installed(empty, "1.0", device)

    empty.publish("clf", "1.1")
    status = device.run_once()
    assert (status.state, status.reason) == (State.FAILED, "golden_mismatch")
    assert serves(device, "m.dense", old)

    empty.publish("clf", "1.2")
    with (
        Observer(empty.repo.settings.brokers[0].url, empty.topics, "cam-1") as observer,
        device.running(),
    ):
        observer.wait_for("clf", lambda m: m.state is State.TRIAL, PROBE_WAIT_S)
        with reporting(device, sequence=3):
            observer.wait_for_state("clf", State.COMMITTED, "1.2")
    assert serves(device, "m.dense", good)


@contextlib.contextmanager
def reporting(device: Device, sequence: int) -> Iterator[None]:
    """Do what docs/application.md asks of a program in any language, while the block lasts."""
    app, slot = device.folder() / "app", (device.folder() / "current").readlink().name
    stop = threading.Event()

    def program() -> None:
        for second in itertools.count(1):
            said = {"slot": slot, "phase": "serving", "sequence": sequence, "instance": "p-1"}
            figures = {"requests": 7 * second, "errors": 0, "uptime_s": float(second)}
            (app / "new").write_text(json.dumps({**said, **figures}))
            (app / "new").replace(app / f"report-p-1-{slot}.json")
            if stop.wait(0.2):
                return

    thread = threading.Thread(target=program)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_quantised_gguf_travels_as_a_delta_that_knows_its_blocks(
    empty: Publisher, tmp_path: Path
) -> None:
    """The second release is fetched as `delta+v2`, and is the very file that was given."""
    rng = np.random.default_rng(1)
    weights = {"w": (rng.standard_normal((512, 128)) * 0.05).astype(np.float32)}
    moved = weights["w"] + 1e-3 * rng.standard_normal((512, 128))
    release(empty, "1.0", "m.gguf", gguf_bytes({}, weights))
    new = gguf_bytes({}, {"w": moved.astype(np.float32)})
    done = release(empty, "2.0", "m.gguf", new)
    assert [r.payload.codec for r in done.payloads if r.payload.base] == ["delta+v1", "delta+v2"]
    program = tmp_path / "count_tensors.py"
    program.write_text(COUNT_TENSORS)
    command = command_toml("gguf", (sys.executable, str(program)))
    device = empty.provision("cam-1", tmp_path / "cam-1", extra=command)
    installed(empty, "1.0", device)
    empty.publish("clf", "2.0")
    with (
        Observer(empty.repo.settings.brokers[0].url, empty.topics, "cam-1") as observer,
        device.running(),
    ):
        said = observer.wait_for("clf", lambda m: m.state is State.DOWNLOADING)
        assert said.detail.startswith("delta+v2")
        observer.wait_for("clf", lambda m: m.state is State.TRIAL, PROBE_WAIT_S)
        observer.wait_for_state("clf", State.COMMITTED, "2.0")
    assert serves(device, "m.gguf", new)


def test_a_device_without_a_command_refuses_before_it_fetches(
    empty: Publisher, tmp_path: Path
) -> None:
    weights = {"w": models.weights()[0]}
    done = release(empty, "1.0", "m.gguf", gguf_bytes(weights))
    assert done.release.runtime.format == "gguf"
    empty.publish("clf", "1.0")
    device = empty.provision("cam-1", tmp_path / "cam-1")
    status = device.run_once()
    assert (status.state, status.reason) == (State.REJECTED, "incompatible")
    assert "[formats.gguf]" in status.detail
    assert not any((device.folder() / "incoming").glob("*/data"))


def test_a_device_from_before_there_were_formats_refuses_before_it_fetches(
    empty: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(empty, "1.0", "m.tflite", litert_models.classifier(1))
    empty.publish("clf", "1.0")
    device = empty.provision("cam-1", tmp_path / "cam-1")
    monkeypatch.setattr(Release, "FEATURES", frozenset({"rebased"}))
    status = device.run_once()
    assert (status.state, status.reason) == (State.REJECTED, "unsupported_feature")
    assert "model_format" in status.detail
    assert not any((device.folder() / "incoming").glob("*/data"))


# --- what a runtime prepared for itself -----------------------------------------------------------


def test_a_prepared_model_needs_a_signed_permission(empty: Publisher, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "made.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(models.classifier(1), options, providers=["CPUExecutionProvider"])
    content = (tmp_path / "made.ort").read_bytes()
    with pytest.raises(ModelFailed, match="--allow-compiled"):
        release(empty, "1.0", "m.ort", content, seed=1)
    allowed = ChosenLimits(runtime={"compiled": True})
    done = release(empty, "1.1", "m.ort", content, seed=1, limits=allowed)
    assert "compiled_model" in done.release.requires
    device = empty.provision("cam-1", tmp_path / "cam-1")
    installed(empty, "1.1", device)
    with HotModel(device.folder() / "current") as hot:
        assert np.allclose(hot.run(None, {"x": ROWS})[0], expected(), atol=1e-5)


def test_a_model_compiled_for_another_machine_is_released_unseen(empty: Publisher) -> None:
    """It does not load here, and would there: only its devices can try it."""
    node = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft")
    value = partial(helper.make_tensor_value_info, elem_type=1, shape=[1])
    graph = helper.make_graph([node], "g", [value("x")], [value("y")])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    content = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    with pytest.raises(ModelFailed, match="--allow-compiled"):
        release(empty, "1.0", "m.onnx", content)
    allowed = ChosenLimits(runtime={"compiled": True})
    done = release(empty, "1.1", "m.onnx", content, limits=allowed, is_probed=False)
    assert any("this machine cannot load it" in warning for warning in done.warnings)
    assert done.release.requires == ("compiled_model",)


def test_the_commands_say_and_show_the_format(empty: Publisher, tmp_path: Path) -> None:
    """`slotcast release --format` and `inspect`, as a person types them."""
    from slotcast_publisher.cli import app
    from tests.support.cli_runner import CliRunner

    (tmp_path / "weights.bin").write_bytes(opaque_models.classifier(1))
    run = CliRunner().invoke
    arguments = ["release", str(empty.path), "clf", "1.0", str(tmp_path / "weights.bin")]
    refused = run(app, [*arguments, "--no-passphrase"])
    assert "--format says what kind" in str(refused.exception)
    done = run(app, [*arguments, "--no-passphrase", "--format", "opaque", "--json"])
    assert done.exit_code == OK, done.output
    assert json.loads(done.stdout)["format"] == "opaque"
    assert "[formats.opaque]" in done.stderr
