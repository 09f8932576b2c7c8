"""Whole images of weights: what goes in comes out, and small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zstandard

from slotcast_publisher.delta.weights import WeightsPiece
from slotcast_publisher.release.weights_payload import encode_weights_payload
from slotcast_schemas.codecs.delta.elements import FLOAT32, INT4
from slotcast_schemas.codecs.full import decode_full
from slotcast_schemas.codecs.source import MemorySource
from slotcast_schemas.errors import PayloadCorrupt
from tests.support.deltas import bytes_of, model_bytes, write_image
from tests.support.weights import KINDS, section_back, section_of, trained


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_weights_comes_back_and_is_small(name: str) -> None:
    kind, make, most = KINDS[name]
    data = make(trained(500, 256)).tobytes()
    section = section_of(data, WeightsPiece(len(data), kind, 256))
    assert section_back(section, len(data)) == data
    assert len(section) <= most * len(data)
    assert len(section) <= 1.001 * len(zstandard.ZstdCompressor(19).compress(data))


def test_what_repeats_is_left_to_zstd() -> None:
    data = trained(8, 256).tobytes() * 50
    assert len(section_of(data)) < len(data) / 20
    assert section_back(section_of(data), len(data)) == data


def test_text_and_tensors_alternate_in_one_section() -> None:
    tensor, text = trained(64, 64).tobytes(), b"a name, a shape\n" * 30
    pieces = (WeightsPiece(len(text)), WeightsPiece(len(tensor), FLOAT32, 64)) * 40
    data = (text + tensor) * 40
    assert section_back(section_of(data, *pieces), len(data)) == data


@pytest.mark.parametrize("size", [1, 255, 256, 257, 4 * 65_536 + 12])
def test_any_size_comes_back(size: int) -> None:
    data = trained(300, 256).tobytes()[:size]
    for kind in (None, FLOAT32, INT4):
        assert section_back(section_of(data, WeightsPiece(size, kind)), size) == data


def test_one_value_alone_takes_no_bytes_to_speak_of() -> None:
    for value in (0.0, -0.0, 3.25):
        data = np.full(100_000, value, dtype=np.float32).tobytes()
        assert len(section_of(data)) < 150
        assert section_back(section_of(data), len(data)) == data


def image_at(folder: Path) -> list[tuple[str, Path]]:
    """An image of two models, a text and a file without a byte."""
    return write_image(
        folder,
        a__onnx=model_bytes({"w": trained(700, 300), "b": trained(1, 40)}),
        empty=b"",
        names__txt=b"label\n" * 9000,
        z__onnx=model_bytes({"w": trained(900, 300, seed=2).astype(np.float16)}),
    )


def test_each_file_is_a_frame_that_decodes_alone(tmp_path: Path) -> None:
    image, out = image_at(tmp_path), tmp_path / "payload"
    calls: list[tuple[int, int]] = []
    frames = encode_weights_payload(image, out, progress=lambda *call: calls.append(call))
    payload = out.read_bytes()
    assert sum(frames) == len(payload) < 0.84 * len(bytes_of(image))
    assert calls[-1] == (len(bytes_of(image)), len(bytes_of(image)))
    start = 0
    for (_, path), size in zip(image, frames, strict=True):
        assert back(payload[start : start + size], path.stat().st_size) == path.read_bytes()
        start += size
    assert back(payload, len(bytes_of(image))) == bytes_of(image)


def test_large_tensors_are_cut_into_sections(tmp_path: Path) -> None:
    image = write_image(tmp_path, m__onnx=model_bytes({"w": trained(5000, 1024)}))
    encode_weights_payload(image, tmp_path / "payload")
    payload = (tmp_path / "payload").read_bytes()
    assert back(payload, len(bytes_of(image))) == bytes_of(image)


def test_the_same_files_give_the_same_payload(tmp_path: Path) -> None:
    image = image_at(tmp_path / "image")
    for name in ("a", "b"):
        encode_weights_payload(image, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_whole_image_of_the_first_format_still_decodes() -> None:
    """It was made by an encoder of before; a change of the format must get another name."""
    folder = Path(__file__).parents[2] / "assets" / "delta"
    image = (folder / "weights.image").read_bytes()
    assert back((folder / "weights.full").read_bytes(), len(image)) == image


def test_frames_that_make_too_little_or_too_much_are_refused(tmp_path: Path) -> None:
    image = image_at(tmp_path)
    encode_weights_payload(image, tmp_path / "payload")
    payload, size = (tmp_path / "payload").read_bytes(), len(bytes_of(image))
    for wrong in (payload[:-1], payload + payload, payload + b"x", b"", b"SLOTWGT2" + payload[8:]):
        with pytest.raises(PayloadCorrupt):
            back(wrong, size)
    for wrong_size in (size - 1, size + 1):
        with pytest.raises(PayloadCorrupt):
            back(payload, wrong_size)


def back(payload: bytes, size_bytes: int) -> bytes:
    """What the decoder makes of frames."""
    out = bytearray()
    decode_full(
        MemorySource(payload), image_size_bytes=size_bytes, sink=out.extend, compression="weights"
    )
    return bytes(out)
