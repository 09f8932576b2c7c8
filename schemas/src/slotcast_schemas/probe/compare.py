"""Compares what a model is and says with what the release declares and expects. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np

from slotcast_schemas.limits import DETAIL_MAX_CHARS
from slotcast_schemas.messages.release import Tensor
from slotcast_schemas.probe.spec import Golden
from slotcast_schemas.value_types import Array, Value, arrays_of

Outputs = Mapping[str, Value]
Signature = Sequence[Tensor]

SPREAD_VALUES_MIN: Final = 8
"""From so many values on, their mean says more than the largest."""

WORST_MAX: Final = 1e30
"""Stands for infinity, which JSON cannot say."""


def signature_problems(kind: str, declared: Signature, found: Signature) -> list[str]:
    """Where the model's inputs or outputs are not those that the release declares.

    Names, order and types must be the same. An input's size must be the same size, and a free
    dimension (named or not) free. An output's shape is judged by its runs (`output_problems`):
    runtimes do not check it against what the file declares.

    Args:
        kind: `input` or `output`, for the text.
        declared: by the release; none means that anything will do.
        found: in the model.
    """
    if not declared:
        return []
    if [t.name for t in declared] != [t.name for t in found]:
        names = [t.name for t in declared], [t.name for t in found]
        return [f"{kind}s: expected {names[0]!r:.200}, got {names[1]!r:.200}"]
    return [
        f"{kind} {want.name!r}: expected {want.dtype} {shape_words(want)},"
        f" got {got.dtype} {shape_words(got)}"
        for want, got in zip(declared, found, strict=True)
        if want.dtype != got.dtype or (kind == "input" and _sizes(want) != _sizes(got))
    ]


def output_problems(declared: Signature, outputs: Outputs) -> list[str]:
    """Where an output of a run does not have the shape that the signature promises."""
    problems = []
    for tensor in declared:
        got = outputs.get(tensor.name)
        if not isinstance(got, np.ndarray) or not tensor.dtype.startswith("tensor("):
            continue
        sizes = _sizes(tensor)
        fits = got.ndim == len(sizes) and all(
            want in {None, size} for want, size in zip(sizes, got.shape, strict=True)
        )
        if not fits and sizes:  # a shape that is not declared at all reads as no dimensions
            problems.append(
                f"output {tensor.name!r}: expected {shape_words(tensor)}, got {list(got.shape)}"
            )
    return problems


def golden(
    got: Sequence[Outputs],
    want: Sequence[Outputs],
    *,
    rtol: float,
    atol: float,
    output_atol: Mapping[str, float] = MappingProxyType({}),
) -> Golden:
    """Compare each run's outputs with the expected ones.

    Args:
        got: by run, by name.
        want: likewise; what is not expected by name is not compared.
        rtol: of the tolerance `atol + rtol * |want|`, element by element.
        atol: likewise.
        output_atol: of outputs that have another, by name.
    """
    allowed = {name: (rtol, output_atol.get(name, atol)) for name in want[0]}
    worst, cosine, where = 0.0, 1.0, ""
    for run, (outputs, expected) in enumerate(zip(got, want, strict=True)):
        for name, value in expected.items():
            excess = _excess(outputs.get(name), value, *allowed[name])
            if excess > worst:
                worst, where = excess, f"output {name!r} of sample {run}"
            if excess < WORST_MAX:
                cosine = min(cosine, _cosine(outputs[name], value))
    left_out = sorted({name for outputs in got for name in outputs} - want[0].keys())
    if left_out:
        said = f"the release compares no output {', '.join(left_out)!r}"
        where = f"{where}; {said}" if where else said
    return Golden(
        runs=len(got),
        worst=worst,
        cosine=cosine,
        detail=where[:DETAIL_MAX_CHARS],
        spread=_spread(got, want, allowed),
    )


def _spread(
    got: Sequence[Outputs], want: Sequence[Outputs], allowed: Mapping[str, tuple[float, float]]
) -> float | None:
    """Root mean square of the differences, as multiples of what is allowed; by the worst output.

    None where no output has values enough for a mean to say more than the largest.
    """
    found: list[float] = []
    for name in want[0]:
        parts = [
            _ratios(g, w, *allowed[name])
            for run, expected in zip(got, want, strict=True)
            for g, w in zip(arrays_of(run.get(name)), arrays_of(expected[name]), strict=False)
            if g.shape == w.shape and g.dtype.kind in "biuf" and w.dtype.kind in "biuf"
        ]
        ratios = np.concatenate(parts) if parts else np.empty(0)
        if ratios.size >= SPREAD_VALUES_MIN:
            found.append(float(min(np.sqrt(np.mean(np.square(ratios))), WORST_MAX)))
    return max(found, default=None)


def _excess(got: Value, want: Value, rtol: float, atol: float) -> float:
    """The largest difference, as a multiple of what is allowed there."""
    these, those = arrays_of(got), arrays_of(want)
    if type(got) is not type(want) or len(these) != len(those):
        return WORST_MAX
    pairs = zip(these, those, strict=True)
    return max((_array_excess(g, w, rtol, atol) for g, w in pairs), default=0.0)


def _array_excess(got: Array, want: Array, rtol: float, atol: float) -> float:
    if got.shape != want.shape:
        return WORST_MAX
    if want.dtype.kind not in "biuf" or got.dtype.kind not in "biuf":
        return 0.0 if np.array_equal(got.astype(str), want.astype(str)) else WORST_MAX
    return float(min(_ratios(got, want, rtol, atol).max(initial=0.0), WORST_MAX))


def _ratios(got: Array, want: Array, rtol: float, atol: float) -> Array:
    """Each difference, as a multiple of what is allowed there; of numbers of the same shape."""
    g, w = got.astype(np.float64).ravel(), want.astype(np.float64).ravel()
    same = (g == w) | (np.isnan(g) & np.isnan(w))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        ratio = np.abs(g - w) / (atol + rtol * np.abs(w))
    return np.where(same, 0.0, np.where(np.isnan(ratio), WORST_MAX, ratio))


def _cosine(got: Value, want: Value) -> float:
    pairs = zip(arrays_of(got), arrays_of(want), strict=True)
    return min((_array_cosine(g, w) for g, w in pairs), default=1.0)


def _array_cosine(got: Array, want: Array) -> float:
    if want.dtype.kind not in "biuf":
        return 1.0
    is_finite = np.isfinite(want)  # what is NaN in both has no direction; the tolerance judges
    g, w = got[is_finite].astype(np.float64), want[is_finite].astype(np.float64)
    norms = float(np.linalg.norm(g) * np.linalg.norm(w))
    if not np.isfinite(norms):
        return -1.0
    return float(g @ w) / norms if norms > 0 else 1.0  # no direction: the tolerance judges


def _sizes(tensor: Tensor) -> list[int | None]:
    return [size if isinstance(size, int) else None for size in tensor.shape]


def shape_words(tensor: Tensor) -> str:
    """Give a declared shape in words, `?` for a size that is free."""
    return "[" + ", ".join("?" if size is None else str(size) for size in tensor.shape) + "]"
