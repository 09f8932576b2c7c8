"""HotModel on a slot that is encrypted at rest: every kind of model that it runs, from memory."""

from __future__ import annotations

import gc
import hashlib
import os
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest

from slotcast_device import HotModel
from slotcast_device.at_rest.slots_key import FILE_NAME, KeyPlace
from slotcast_device.hotmodel import room
from slotcast_device.hotmodel.source import identify, open_current
from slotcast_device.storage.memory_copies import MemoryCopies
from slotcast_schemas import process_memory, wire
from slotcast_schemas.errors import ModelUnloadable
from slotcast_schemas.messages.release import File, Probe, Release, Runtime
from slotcast_schemas.probe import ProbeRequest, SlotModel, run_probe
from slotcast_schemas.probe.loading import read_model
from tests.support import litert_models, models
from tests.support.at_rest import key_file, slot_files

ROW = models.inputs(1)
takes_weights_from_memory = pytest.mark.skipif(
    not hasattr(onnxruntime.SessionOptions, "add_external_initializers_from_files_in_memory"),
    reason="this onnxruntime takes no weights from memory",
)


class Slot:
    """Slot a of a model, encrypted, with the agent's word for where the key is."""

    def __init__(self, folder: Path) -> None:
        self.key = key_file(folder / "slots.key")
        self.files = slot_files(self.key)
        self.folder = folder / "state" / "models" / "m" / "slots" / "a"
        self.folder.mkdir(parents=True)
        (folder / "state" / FILE_NAME).write_bytes(
            msgspec.json.encode(KeyPlace(key_file=str(self.key)))
        )
        self.current = self.folder.parents[1] / "current"
        self.current.symlink_to("slots/a")
        self.held: list[File] = []

    def fill(self, entry: str, contents: dict[str, bytes], model_format: str = "onnx") -> None:
        """Write a release: what is not named `labels` is of the model."""
        for name, data in contents.items():
            file = File(
                path=name,
                size_bytes=len(data),
                sha256=hashlib.sha256(data).digest(),
                role="data" if "labels" in name else "model",
            )
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            writer = self.files.create(self.folder / name, file)
            writer.write(data)
            writer.close_synced()
            self.held.append(file)
        release = Release(
            model="m",
            version="1",
            sequence=1,
            created=0,
            files=tuple(self.held),
            image_size_bytes=sum(map(len, contents.values())),
            image_sha256=bytes(32),
            entry=entry,
            runtime=Runtime(format=model_format),
        )
        (self.folder.parent / "a.release").write_bytes(wire.encode(release))


@pytest.fixture
def slot(tmp_path: Path) -> Slot:
    return Slot(tmp_path)


def of_two_files(tmp_path: Path, data: bytes) -> dict[str, bytes]:
    """Give a model with its weights in a file beside it, each in a folder of the release."""
    folder = tmp_path / "given"
    folder.mkdir()
    onnx.save_model(
        onnx.load_from_string(data),
        folder / "model.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    found = {f"net/{path.name}": path.read_bytes() for path in folder.iterdir()}
    assert set(found) == {"net/model.onnx", "net/weights.bin"}
    return found


def test_it_answers_from_an_encrypted_slot_and_reads_labels(slot: Slot) -> None:
    data = models.classifier()
    slot.fill("model.onnx", {"model.onnx": data, "labels.txt": b"cat\ndog\n"})
    assert data[:64] not in (slot.folder / "model.onnx").read_bytes()
    with HotModel(slot.current, report_s=0) as model:
        np.testing.assert_array_equal(model.run(None, {"x": ROW})[0], plain_answers(data))
        assert model.read_file("labels.txt") == b"cat\ndog\n"
        with pytest.raises(FileNotFoundError):
            model.read_file("nothing.txt")


def plain_answers(data: bytes) -> np.ndarray:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": ROW})[0])


def test_a_session_reads_a_file_in_memory_that_goes_with_it(slot: Slot) -> None:
    data = models.classifier()
    slot.fill("model.onnx", {"model.onnx": data})
    before = memory_files()
    with HotModel(slot.current, report_s=0) as model:
        (held,) = memory_files() - before
        assert Path(held).read_bytes() == data
        with model.pinned() as session:
            session.set_providers(["CPUExecutionProvider"])  # loads the model once more
        np.testing.assert_array_equal(model.run(None, {"x": ROW})[0], plain_answers(data))
        del session
    gc.collect()
    assert memory_files() == before


def test_without_files_in_memory_a_session_is_given_bytes(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = models.classifier()
    slot.fill("model.onnx", {"model.onnx": data})
    monkeypatch.delattr(os, "memfd_create")
    with HotModel(slot.current, report_s=0) as model:
        np.testing.assert_array_equal(model.run(None, {"x": ROW})[0], plain_answers(data))


def memory_files() -> set[str]:
    """Give the paths of what this process holds in files in memory."""
    numbers = Path("/proc/self/fd").iterdir()
    return {str(link) for link in numbers if "slotcast-slot" in os.path.realpath(link)}


@takes_weights_from_memory
def test_weights_in_a_file_beside_the_model_come_from_memory_too(
    slot: Slot, tmp_path: Path
) -> None:
    data = models.classifier()
    slot.fill("net/model.onnx", of_two_files(tmp_path, data))
    for options in (None, onnxruntime.SessionOptions):
        with HotModel(slot.current, report_s=0, session_options=options) as model:
            np.testing.assert_array_equal(model.run(None, {"x": ROW})[0], plain_answers(data))
    with pytest.raises(ModelUnloadable, match="give HotModel a function that makes"):
        HotModel(
            slot.current,
            report_s=0,
            session_options=onnxruntime.SessionOptions(),
            start_timeout_s=3.0,
            poll_s=0.02,
        )


@takes_weights_from_memory
def test_the_probe_loads_weights_beside_the_model_from_memory(slot: Slot, tmp_path: Path) -> None:
    slot.fill("net/model.onnx", of_two_files(tmp_path, models.classifier()))
    with MemoryCopies(slot.files).hold(slot.folder, slot.held) as memory:
        model = SlotModel(str(slot.folder), "net/model.onnx", memory=dict(memory))
        result = run_probe(ProbeRequest(candidate=model, probe=Probe(runs=3)))
    assert result.passed, result.detail


def test_a_model_of_one_file_is_read_by_a_path_in_memory_and_a_prepared_one_is_not(
    slot: Slot,
) -> None:
    slot.fill("net/model.onnx", {"net/model.onnx": models.classifier(), "labels.txt": b"cat"})
    model_files = [file for file in slot.held if file.role == "model"]
    with MemoryCopies(slot.files).hold(slot.folder, model_files) as memory:
        model = SlotModel(str(slot.folder), "net/model.onnx", memory=dict(memory))
        assert read_model(model, None) is None
        assert model.path.read_bytes() == models.classifier()
        prepared = msgspec.structs.replace(model, is_compiled=True)
        assert read_model(prepared, None) is not None


def test_an_onnxruntime_that_takes_no_weights_from_memory_is_named(
    slot: Slot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Options:
        pass

    slot.fill("net/model.onnx", of_two_files(tmp_path, models.classifier()))
    monkeypatch.setattr(onnxruntime, "SessionOptions", Options)
    with pytest.raises(ModelUnloadable, match="loads no weights beside the model"):
        HotModel(slot.current, report_s=0, start_timeout_s=3.0, poll_s=0.02)


def test_a_litert_model_answers_from_an_encrypted_slot_and_is_probed(slot: Slot) -> None:
    pytest.importorskip("ai_edge_litert.interpreter")
    slot.fill("m.tflite", {"m.tflite": litert_models.classifier(1)}, "litert")
    with HotModel(slot.current, report_s=0) as model:
        (name,) = [each.name for each in model.get_inputs()]
        assert np.isfinite(model.run(None, {name: ROW})[0]).all()
    with MemoryCopies(slot.files).hold(slot.folder, slot.held) as memory:
        which = SlotModel(str(slot.folder), "m.tflite", "litert", memory=dict(memory))
        result = run_probe(ProbeRequest(candidate=which, probe=Probe(runs=3)))
    assert result.passed, result.detail


def test_what_is_held_in_the_clear_while_it_loads_counts_as_memory(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot.fill("model.onnx", {"model.onnx": models.classifier()})
    identity = identify(slot.current)
    assert identity is not None
    opened = open_current(slot.current, identity, None)
    free_bytes = int(2.5 * opened.size_bytes) + room.MEMORY_RESERVE_BYTES
    monkeypatch.setattr(process_memory, "available_bytes", lambda: free_bytes)
    assert room.what_is_missing(opened) is not None
    monkeypatch.setattr(process_memory, "available_bytes", lambda: 2 * free_bytes)
    assert room.what_is_missing(opened) is None
