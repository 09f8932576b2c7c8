"""The full payload: what goes in comes out, and nothing else ever does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zstandard

from slotcast_publisher.release import full_payload
from slotcast_publisher.release.full_payload import encode_full
from slotcast_schemas.codecs.full import WINDOW_MAX_BYTES, decode_full
from slotcast_schemas.codecs.source import FilesImage, FileSource, MemorySource
from slotcast_schemas.errors import PayloadCorrupt, SlotDamaged


def _decode(payload: bytes, size_bytes: int, compression: str = "zstd") -> bytes:
    out = bytearray()
    decode_full(
        MemorySource(payload),
        image_size_bytes=size_bytes,
        sink=out.extend,
        compression=compression,  # type: ignore[arg-type]
    )
    return bytes(out)


def _files(tmp_path: Path, *contents: bytes) -> list[tuple[str, Path]]:
    files = []
    for index, content in enumerate(contents):
        path = tmp_path / f"file{index}"
        path.write_bytes(content)
        files.append((path.name, path))
    return files


def test_several_files_come_back_as_one_image(tmp_path: Path) -> None:
    contents = [b"label\n" * 50_000, b"", bytes(range(256)) * 300]
    out = tmp_path / "payload"
    report = encode_full(_files(tmp_path, *contents), out)
    assert report.compression == "zstd"
    assert report.payload_size_bytes == out.stat().st_size < report.image_size_bytes / 20
    assert _decode(out.read_bytes(), report.image_size_bytes) == b"".join(contents)


def test_noise_is_sent_as_it_is(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).bytes(200_000)
    out = tmp_path / "payload"
    report = encode_full(_files(tmp_path, noise), out)
    assert report.compression == "none"
    assert _decode(out.read_bytes(), len(noise), "none") == noise


def test_the_same_files_give_the_same_payload(tmp_path: Path) -> None:
    files = _files(tmp_path, b"weights" * 100_000)
    encode_full(files, tmp_path / "a")
    encode_full(files, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def _window_bytes(payload: bytes) -> int:
    return zstandard.get_frame_parameters(payload).window_size


def _weights(count: int) -> bytes:
    """Give bytes that shrink as weights do: by the exponents, nowhere by repetition."""
    return np.random.default_rng(2).normal(0, 0.02, count).astype(np.float32).tobytes()


def test_a_device_needs_little_memory_to_unpack_weights(tmp_path: Path) -> None:
    report = encode_full(_files(tmp_path, _weights(1 << 20)), tmp_path / "out")
    assert report.compression == "zstd"
    assert _window_bytes((tmp_path / "out").read_bytes()) == 256 * 1024


def test_a_tensor_that_is_stored_twice_is_worth_a_wider_window(tmp_path: Path) -> None:
    tensor = _weights(1 << 19)
    report = encode_full(_files(tmp_path, tensor + tensor), tmp_path / "out")
    payload = (tmp_path / "out").read_bytes()
    assert report.payload_size_bytes < len(tensor)
    assert len(tensor) < _window_bytes(payload) <= WINDOW_MAX_BYTES
    assert _decode(payload, report.image_size_bytes) == tensor + tensor


def _words(size_bytes: int) -> bytes:
    """Give text of words, some of which come far more often than others."""
    chosen = np.random.default_rng(3)
    words = [bytes(chosen.integers(97, 123, chosen.integers(2, 9))) for _ in range(4000)]
    picks = chosen.zipf(1.3, size_bytes // 4) % len(words)
    return b" ".join(words[pick] for pick in picks)[:size_bytes]


def _best_bytes(content: bytes) -> int:
    """Give what zstd's best usual level makes of it, in the widest window that devices take."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        19, source_size=len(content), window_log=23
    )
    return len(zstandard.ZstdCompressor(compression_params=parameters).compress(content))


def test_a_large_file_of_text_is_packed_at_the_best_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_payload, "_BEST_LEVEL_UP_TO_BYTES", 1 << 20)
    text = _words(3 << 20)
    report = encode_full(_files(tmp_path, text), tmp_path / "out")
    assert report.payload_size_bytes <= _best_bytes(text) * 1.001
    assert _decode((tmp_path / "out").read_bytes(), len(text)) == text


def test_a_large_file_of_weights_is_not_kept_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_payload, "_BEST_LEVEL_UP_TO_BYTES", 1 << 20)
    ((_, path),) = _files(tmp_path, _weights(1 << 20))
    assert full_payload.choose_level(path) == 9


def test_short_repeats_at_a_distance_are_found_where_the_quick_level_sees_none(
    tmp_path: Path,
) -> None:
    chosen = np.random.default_rng(4)
    words = chosen.integers(0, 100, (60_000, 6), dtype=np.uint8)
    content = words[chosen.integers(0, len(words), (1 << 20) // 6)].tobytes()
    report = encode_full(_files(tmp_path, content), tmp_path / "out")
    assert report.payload_size_bytes <= _best_bytes(content) * 1.001


def test_what_shrinks_by_half_a_per_cent_is_packed(tmp_path: Path) -> None:
    content = np.random.default_rng(5).bytes(995_000) + bytes(5_000)
    report = encode_full(_files(tmp_path, content), tmp_path / "out")
    assert report.payload_size_bytes < 996_000


def test_progress_ends_at_the_whole(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    files = _files(tmp_path, bytes(3 << 20), b"end")
    encode_full(files, tmp_path / "out", progress=lambda *call: calls.append(call))
    assert calls[-1] == (3 * (1 << 20) + 3,) * 2
    assert len(calls) > 2


@pytest.mark.parametrize("said", [0, 999, 1001])
@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_a_size_other_than_the_signed_one_is_refused(said: int, compression: str) -> None:
    image = bytes(1000)
    payload = zstandard.compress(image) if compression == "zstd" else image
    with pytest.raises(PayloadCorrupt, match=str(said)):
        _decode(payload, said, compression)


def test_bytes_after_the_frame_are_refused() -> None:
    frame = zstandard.compress(bytes(1000))
    for tail in (b"not a frame at all", zstandard.compress(b"x")):
        with pytest.raises(PayloadCorrupt):
            _decode(frame + tail, 1000)


def test_a_bomb_gives_no_more_than_the_signed_size() -> None:
    bomb = zstandard.compress(bytes(200 << 20))
    got = 0

    def sink(data: bytes | memoryview) -> None:
        nonlocal got
        assert len(data) <= 1 << 19
        got += len(data)

    with pytest.raises(PayloadCorrupt, match="more"):
        decode_full(MemorySource(bomb), image_size_bytes=1_000_000, sink=sink, compression="zstd")
    assert got == 1_000_000


def test_a_frame_that_asks_for_a_huge_window_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=0)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    frame = compressor.compress(bytes(1000)) + compressor.flush()
    with pytest.raises(PayloadCorrupt, match="memory"):
        _decode(frame, 1000)


def test_an_image_is_read_across_its_files_and_never_outside(tmp_path: Path) -> None:
    files = _files(tmp_path, b"abc", b"", b"defg", b"h")
    sized = [(path, path.stat().st_size) for _, path in files]
    with FilesImage(sized) as image:
        whole = b"abcdefgh"
        assert image.size_bytes == len(whole)
        for start in range(9):
            for end in range(start, 9):
                assert image.read_at(start, end - start) == whole[start:end]
        for offset, size in [(0, 9), (8, 1), (-1, 2), (3, -1)]:
            with pytest.raises(ValueError, match="8 bytes"):
                image.read_at(offset, size)


def test_a_file_of_another_size_than_recorded_is_damage(tmp_path: Path) -> None:
    (_, path), *_ = _files(tmp_path, b"abc")
    with pytest.raises(SlotDamaged, match=r"expected .* 4 bytes, got 3"):
        FilesImage([(path, 4)])
    with pytest.raises(SlotDamaged):
        FileSource(tmp_path / "missing")


def test_a_file_that_shrinks_while_it_is_read_is_damage(tmp_path: Path) -> None:
    (_, path), *_ = _files(tmp_path, b"abcdef")
    with FileSource(path) as source:
        path.write_bytes(b"ab")
        with pytest.raises(SlotDamaged, match="got none"):
            source.read_at(0, 6)
