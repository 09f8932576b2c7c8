"""Small deltas in the compact form: what they take, what they can say, and when there is none."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import zstandard

from slotcast_publisher.delta.compact import whole_script, write_compact
from slotcast_publisher.delta.encode import encode_delta
from slotcast_publisher.delta.flat_script import flatten
from slotcast_schemas.codecs.delta.compact import (
    COMPACT,
    HEAD_SIZE,
    Script,
    read_compact,
)
from slotcast_schemas.codecs.delta.headers import SECTION_IMAGE_MAX
from slotcast_schemas.codecs.delta.script_packers import (
    DICTIONARY_MAX,
    PACK_DEFLATE,
    PACK_DICTIONARY,
    PACK_LZMA,
    PACK_NONE,
    SCRIPT_MAX,
)
from slotcast_schemas.codecs.delta.segments import Copy, Other, Segment, TensorSegment
from slotcast_schemas.codecs.source import MemorySource
from tests.support.deltas import Tensors, apply_delta, bytes_of, model_bytes, write_image
from tests.support.model_files import gguf_bytes
from tests.support.trees import draw_tree, tree_model
from tests.support.weights import trained

ASSETS = Path(__file__).parents[2] / "assets" / "delta"
RNG = np.random.default_rng(5)
WEIGHTS = (RNG.standard_normal((96, 128)) * 0.05).astype(np.float32)
LATER = (RNG.standard_normal((40, 128)) * 0.05).astype(np.float32)


def compact(folder: Path, old: dict[str, bytes], new: dict[str, bytes]) -> bytes | None:
    """The compact delta, applied and compared; None where there is none."""
    base, target = write_image(folder / "old", **old), write_image(folder / "new", **new)
    encode_delta(base, target, folder / "long")
    out = folder / "compact"
    if write_compact(folder / "long", base, target, out) is None:
        assert not out.exists()
        return None
    payload = out.read_bytes()
    assert apply_delta(payload, bytes_of(base), len(bytes_of(target))) == bytes_of(target)
    return payload


def models(folder: Path, old: Tensors, new: Tensors) -> bytes | None:
    """The same of models."""
    return compact(folder, {"m__onnx": model_bytes(old)}, {"m__onnx": model_bytes(new)})


def script_of(payload: bytes, base: bytes, image_size_bytes: int) -> Script:
    return read_compact(
        MemorySource(payload),
        MemorySource(base),
        base_sha256=hashlib.sha256(base).digest(),
        image_size_bytes=image_size_bytes,
    )


def test_two_rows_that_changed_places_take_less_than_any_other_tool_would(tmp_path: Path) -> None:
    swapped = WEIGHTS.copy()
    swapped[[3, 70]] = WEIGHTS[[70, 3]]
    payload = models(tmp_path, {"w": WEIGHTS, "v": LATER}, {"w": swapped, "v": LATER})
    assert payload is not None
    assert len(payload) <= 45


def test_what_is_in_an_image_of_many_sections_is_said_once(tmp_path: Path) -> None:
    """The long form cuts it into sections, each with a header and a description of its own."""
    noise = RNG.bytes(SECTION_IMAGE_MAX + 5)
    edited = noise[:1000] + b"label" + noise[1005:]
    payload = compact(tmp_path, {"m__bin": noise}, {"m__bin": edited})
    assert payload is not None
    assert len(payload) <= 40


def test_each_packer_is_taken_where_it_gives_the_fewest_bytes(tmp_path: Path) -> None:
    noise = RNG.bytes(4000)
    words = "".join(f"label {index * 7919 % 1000}\n" for index in range(400)).encode()
    new = {PACK_NONE: b"\0x", PACK_DEFLATE: words[:60], PACK_LZMA: words}
    for packer, added in new.items():
        payload = compact(tmp_path / str(packer), {"f": noise}, {"f": noise + added})
        assert payload is not None
        assert payload[0] == COMPACT | packer


@pytest.fixture(scope="module")
def trees() -> tuple[bytes, bytes]:
    """A model of trees, and one of a tree more, which makes each of its columns longer."""
    rng = np.random.default_rng(1)
    drawn = [draw_tree(rng, 12) for _ in range(31)]
    return tree_model(drawn[:30]), tree_model(drawn)


def test_short_pieces_of_the_base_are_a_dictionary(
    tmp_path: Path, trees: tuple[bytes, bytes]
) -> None:
    payload = compact(tmp_path, {"m__onnx": trees[0]}, {"m__onnx": trees[1]})
    assert payload is not None
    assert payload[0] == COMPACT | PACK_DICTIONARY
    prefix = zstandard.ZstdCompressionDict(trees[0], dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    of_zstd = zstandard.ZstdCompressor(19, dict_data=prefix).compress(trees[1])
    assert len(payload) <= len(of_zstd) + HEAD_SIZE


@pytest.mark.parametrize("where", ["start", "end"])
def test_of_a_large_base_both_ends_are_a_dictionary(
    tmp_path: Path, trees: tuple[bytes, bytes], where: str
) -> None:
    noise = RNG.bytes(DICTIONARY_MAX)
    old = trees[0] + noise if where == "start" else noise + trees[0]
    payload = compact(tmp_path, {"f": old}, {"f": trees[1]})
    assert payload is not None
    assert payload[0] == COMPACT | PACK_DICTIONARY


def test_a_dictionary_of_nothing(tmp_path: Path, trees: tuple[bytes, bytes]) -> None:
    payload = compact(tmp_path, {"f": b""}, {"f": trees[0]})
    assert payload is not None


@pytest.mark.parametrize("left_bytes", [17, 16, 4, 0])
def test_an_image_is_a_script_where_one_has_room_for_it(left_bytes: int) -> None:
    script = whole_script(MemorySource(bytes(SCRIPT_MAX - left_bytes)), 0)
    assert (script is not None) == (left_bytes > 16)
    assert script is None or len(script) < SCRIPT_MAX


def test_rows_and_columns_that_moved_are_said_by_maps(tmp_path: Path) -> None:
    mixed = WEIGHTS[RNG.permutation(96)][:, RNG.permutation(128)]
    payload = models(tmp_path, {"w": WEIGHTS}, {"w": mixed})
    assert payload is not None
    base = (tmp_path / "old" / "m.onnx").read_bytes()
    segments = script_of(payload, base, len(base)).segments
    assert any(isinstance(each, TensorSegment) and each.gather for each in segments)


@pytest.mark.parametrize("how", ["trained", "a row that is new", "quantised blocks", "unrelated"])
def test_what_needs_coding_has_no_compact_form(tmp_path: Path, how: str) -> None:
    if how == "quantised blocks":
        old, new = {"w": trained(48, 128)}, {"w": trained(48, 128) + np.float32(1e-3)}
        files = ({"m__gguf": gguf_bytes({}, each)} for each in (old, new))
        assert compact(tmp_path, *files) is None
        return
    noise = RNG.standard_normal(WEIGHTS.shape).astype(np.float32)
    changed = {
        "trained": WEIGHTS + noise * np.float32(1e-4),
        "a row that is new": np.insert(WEIGHTS[:, RNG.permutation(128)], 9, noise[0], axis=0),
        "unrelated": noise,
    }
    assert models(tmp_path, {"w": WEIGHTS}, {"w": changed[how]}) is None


def test_a_delta_in_place_of_itself(tmp_path: Path) -> None:
    """What tries a delta has one file for it."""
    old, new = ({"f": b"word " * 900 + end} for end in (b"one", b"two"))
    base, target = write_image(tmp_path / "old", **old), write_image(tmp_path / "new", **new)
    delta = tmp_path / "delta"
    encode_delta(base, target, delta)
    size_bytes = write_compact(delta, base, target, delta)
    assert size_bytes == delta.stat().st_size
    assert apply_delta(delta.read_bytes(), bytes_of(base), 4503) == bytes_of(target)


def test_an_empty_image_and_an_empty_base(tmp_path: Path) -> None:
    for name, old, new in (("a", b"", b"label"), ("b", b"label", b""), ("c", b"", b"")):
        payload = compact(tmp_path / name, {"f": old}, {"f": new})
        assert payload is not None
        assert len(payload) <= HEAD_SIZE + 6


def told(base: bytes, target: bytes, *segments: Segment) -> list[Segment] | None:
    return flatten(MemorySource(base), MemorySource(target), list(segments), 4)


def test_other_bytes_go_on_with_the_copy_before_and_end_with_the_next() -> None:
    base = b"abcdefghijklmnopqrstuvwxyz"
    target = b"abcdefXYZpqrstuvwxyz"
    assert told(base, target, Copy(4, 0), Other(8), Copy(8, 18)) == [
        Copy(6, 0),
        Other(3),
        Copy(11, 15),
    ]


def test_copies_are_found_in_what_nothing_was_made_of_across_its_ranges() -> None:
    base = b"0123456789" + b"A" * 20 + b"abcdefghij"
    target = b"56789abcdef" + b"A" * 20
    assert told(base, target, Other(11), Copy(20, 10)) == [
        Copy(5, 5),
        Copy(6, 30),
        Copy(20, 10),
    ]


def test_a_compact_delta_of_before_still_decodes() -> None:
    """Brokers hold what this encoder made (`tests/assets/delta/make.py`)."""
    base, image, payload = (
        (ASSETS / f"compact.{name}").read_bytes() for name in ("base", "image", "delta")
    )
    segments = script_of(payload, base, len(image)).segments
    tensors = [each for each in segments if isinstance(each, TensorSegment)]
    assert {each.transposed is None for each in tensors} == {True, False}
    assert {type(each) for each in segments} == {Copy, Other, TensorSegment}
    assert apply_delta(payload, base, len(image)) == image


def test_one_packed_with_its_base_still_decodes() -> None:
    base, image, payload = (
        (ASSETS / f"dictionary.{name}").read_bytes() for name in ("base", "image", "delta")
    )
    assert payload[0] == COMPACT | PACK_DICTIONARY
    assert apply_delta(payload, base, len(image)) == image
