"""Any old model and any new one: the delta between them gives the new one's very bytes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from slotcast_publisher.delta.coder import SymbolCollector
from slotcast_schemas.codecs.delta.bounded_fields import (
    FieldReader,
    FieldWriter,
    read_steps,
    write_steps,
)
from slotcast_schemas.codecs.delta.elements import (
    KINDS,
    Bits,
    ElementKind,
    exponents,
    is_negative,
    ordered,
    pack,
    unpack,
)
from slotcast_schemas.codecs.delta.model import FrequencyModel
from slotcast_schemas.codecs.delta.rans import BitReader, RansDecoder, WordReader
from slotcast_schemas.codecs.delta.segments import (
    CONTEXT_COUNT,
    SYMBOL_COUNT,
)
from slotcast_schemas.codecs.delta.symbols import SymbolTables, split
from slotcast_schemas.codecs.source import MemorySource
from tests.support.deltas import model_bytes, round_trip

DTYPES = [np.float32, np.float16, np.float64, np.int8, np.uint8, np.int16, np.int32, np.int64]
SHAPES = st.sampled_from(
    [(), (0,), (1,), (33,), (64, 3), (48, 48), (130, 70), (16, 4, 3, 3), (2, 0, 5), (1, 4000)]
)
# Signalling and quiet NaNs with payloads, infinities, both zeros, the smallest and largest numbers.
HOSTILE32 = [0x7F800001, 0x7FC12345, 0xFFFFFFFF, 0x7F800000, 0xFF800000, 0, 0x80000000, 1]
HOSTILE32 += [0x80000001, 0x7F7FFFFF, 0xFF7FFFFF, 0x007FFFFF, 0x00800000]

seeds = st.integers(0, 2**32 - 1)


def _values(rng: np.random.Generator, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Weights as training makes them, with hostile ones among them."""
    weights = rng.standard_normal(shape) * (40 if np.issubdtype(dtype, np.integer) else 0.05)
    values = np.asarray(weights, dtype=dtype)
    if values.size and rng.random() < 0.5:
        flat = values.reshape(-1)
        spots = rng.integers(0, flat.size, max(1, flat.size // 20))
        width = min(4, flat.itemsize)
        raw = np.array(rng.choice(HOSTILE32, len(spots)), dtype=np.uint32)
        bits = (raw >> np.uint32(32 - 8 * width)).astype(f"<u{width}")
        if flat.itemsize <= 4:
            flat.view(bits.dtype)[spots] = bits
    return values


LINES = ["rows", "columns", "lines", "grown", "lines, moved"]


def _with_lines_moved(rng: np.random.Generator, values: NDArray[Any], how: str) -> NDArray[Any]:
    """Rows, columns or both in another order; some that are new; some that also moved a little."""
    if how == "grown":
        axis = int(rng.integers(2))
        fresh = np.frombuffer(rng.bytes(values.nbytes), dtype=values.dtype).reshape(values.shape)
        return np.insert(values, [0], fresh.take([0], axis=axis), axis=axis)
    if how != "columns":
        values = values[rng.permutation(values.shape[0])]
    if how != "rows":
        values = values[:, rng.permutation(values.shape[1])]
    return _changed(rng, values, "moved") if how == "lines, moved" else values


def _changed(rng: np.random.Generator, values: NDArray[Any], how: str) -> NDArray[Any]:
    if how == "moved" and values.dtype.kind == "f":
        with np.errstate(all="ignore"):
            return (values + rng.standard_normal(values.shape) * 1e-3).astype(values.dtype)
    if how == "moved":
        return (values + (rng.random(values.shape) < 0.1)).astype(values.dtype)
    if how == "transposed" and values.ndim == 2:
        return np.ascontiguousarray(values.T)
    if how == "thin" and values.ndim == 2 and values.dtype.kind == "f":
        with np.errstate(all="ignore"):
            product = np.outer(rng.random(len(values)), rng.random(values.shape[1])) * 1e-2
            return (values + product).astype(values.dtype)
    if how in LINES and values.ndim >= 2 and values.size:
        return _with_lines_moved(rng, values, how)
    if how == "noise":
        return np.frombuffer(rng.bytes(values.nbytes), dtype=values.dtype).reshape(values.shape)
    return values


@settings(max_examples=60)
@given(
    seeds,
    st.lists(
        st.tuples(
            st.sampled_from(DTYPES),
            SHAPES,
            st.sampled_from(
                [*LINES, "same", "moved", "transposed", "thin", "noise", "gone", "renamed"]
            ),
        ),
        max_size=6,
    ),
)
@example(0, [(np.float32, (48, 48), "noise")])  # floats of any bits, beside ordinary ones
def test_every_pair_of_models_comes_back(
    seed: int, tensors: list[tuple[Any, tuple[int, ...], str]]
) -> None:
    rng = np.random.default_rng(seed)
    old, new = {}, {}
    for index, (dtype, shape, how) in enumerate(tensors):
        old[f"t{index}"] = _values(rng, dtype, shape)
        if how != "gone":
            name = f"new/{index}" if how == "renamed" else f"t{index}"
            new[name] = _changed(rng, old[f"t{index}"], how)
    with tempfile.TemporaryDirectory() as folder:
        round_trip(
            Path(folder), {"m__onnx": model_bytes(old)}, {"m__onnx": model_bytes(new, doc="new")}
        )


@settings(max_examples=60)
@given(st.binary(max_size=3000), st.binary(max_size=3000), st.integers(0, 3000))
def test_every_pair_of_files_comes_back(first: bytes, second: bytes, cut: int) -> None:
    """Also where a file has the name of a model, and is none."""
    old = {"a__onnx": first, "b__safetensors": second}
    new = {"a__onnx": first[:cut] + second + first[cut:], "b__safetensors": first}
    with tempfile.TemporaryDirectory() as folder:
        round_trip(Path(folder), old, new)


def _elements(kind: ElementKind, seed: int, count: int) -> Bits:
    rng = np.random.default_rng(seed)
    return unpack(kind, rng.bytes(kind.size_bytes(2 * count)))


kinds = st.sampled_from(list(KINDS.values()))


@given(kinds, seeds)
def test_any_two_elements_have_a_difference_that_undoes_itself(
    kind: ElementKind, seed: int
) -> None:
    old, new = _elements(kind, seed, 500), _elements(kind, seed + 1, 500)
    mask = np.array((1 << kind.bits) - 1, dtype=kind.unsigned)
    difference = (ordered(kind, new) - ordered(kind, old)) & mask
    symbols, plain = split(kind, difference, old)
    assert symbols.max() < 127
    tables = SymbolTables(np.arange(SYMBOL_COUNT, dtype=np.uint8), contexts=1)
    joined = tables.join(kind, symbols.astype(np.intp), plain, old)
    again = (ordered(kind, old) + joined) & mask
    assert np.array_equal(ordered(kind, again), new)
    assert pack(kind, new) == np.random.default_rng(seed + 1).bytes(kind.size_bytes(1000))


@given(kinds.filter(lambda kind: kind.is_float), seeds)
def test_ordered_integers_grow_with_the_floats(kind: ElementKind, seed: int) -> None:
    bits = _elements(kind, seed, 500)
    bits = bits[exponents(kind, bits) < exponents(kind, np.array([0] * 1, kind.unsigned) - 1)[0]]
    wide = bits.astype(np.uint32) << (16 if kind.name == "bfloat16" else 0)
    floats = (bits.view(np.float16) if kind.name == "float16" else wide.view(np.float32)).astype(
        np.float64
    )
    order = np.argsort(ordered(kind, bits).view(kind.signed), kind="stable")
    assert np.all(np.diff(floats[order]) >= 0)
    assert np.array_equal(is_negative(kind, bits), np.signbit(floats))


@settings(max_examples=60)
@given(seeds, st.lists(st.integers(1, 3000), min_size=1, max_size=5), st.floats(0.0, 1.0))
def test_symbols_of_any_strips_survive_the_coder(
    seed: int, lengths: list[int], skew: float
) -> None:
    rng = np.random.default_rng(seed)
    collector = SymbolCollector()
    strips = []
    for length in lengths:
        contexts = rng.integers(0, CONTEXT_COUNT, length).astype(np.uint8)
        symbols = (rng.integers(0, 127, length) * (rng.random(length) > skew)).astype(np.uint8)
        widths = np.maximum(0, symbols.astype(int) - 3) // 4
        plain = (rng.integers(0, 2**30, length) & ((1 << widths) - 1)).astype(np.uint32)
        strips.append((contexts, symbols, plain))
        collector.add(contexts, symbols, plain)
    coded = collector.finish()
    model = FrequencyModel(coded.used_contexts, coded.used_symbols, coded.precision_bits)
    words = WordReader(MemorySource(coded.words).read_at, 0, len(coded.words))
    bits = BitReader(MemorySource(coded.plain).read_at, 0, len(coded.plain))
    decoder = RansDecoder(model, 1 << coded.lanes_log2, words)
    index = np.cumsum(coded.used_contexts) - 1
    names = np.flatnonzero(coded.used_symbols).astype(np.uint8)
    tables = SymbolTables(names, contexts=int(coded.used_contexts.sum()))
    for contexts, symbols, plain in strips:
        places = decoder.decode(index[contexts])
        assert np.array_equal(places // len(names), index[contexts])
        assert np.array_equal(names[places % len(names)], symbols)
        numbers = bits.take(tables.plain_bits[places])
        assert np.array_equal(np.zeros_like(plain) if numbers is None else numbers, plain)
    decoder.finish()
    bits.finish()


@given(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=50), st.integers(-(2**62), 2**62))
def test_fields_survive(values: list[int], number: int) -> None:
    writer = FieldWriter()
    writer.sint(number)
    writer.uint(abs(number))
    array = np.array(values, dtype=np.int32)
    write_steps(writer, array)
    reader = FieldReader(bytes(writer.data))
    assert reader.sint("number") == number
    assert reader.uint("size", 1 << 62) == abs(number)
    assert np.array_equal(read_steps(reader, len(values)), array)
    reader.finish()
