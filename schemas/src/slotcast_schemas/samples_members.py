"""How the members of a samples file are called, and what they are put together to.

    input:NAME          a row for each run (what a file had before there was anything else)
    input.3:NAME        run 3, where runs have other shapes
    input.3.0:NAME      the first array of run 3's sequence
    input.3.empty:NAME  run 3 has a sequence of nothing
    input.3.none:NAME   run 3 leaves an optional out
    input.3.keys:NAME   run 3's map, with `input.3.values:NAME`

`output` likewise. A name may hold colons and dots: what comes first is taken apart at the first
colon.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from slotcast_schemas.value_types import Rows, Value

Array = NDArray[Any]
"""An array of any type and shape."""

_MEMBER: Final = re.compile(
    r"(input|output)(?:\.([0-9]{1,5})(?:\.([0-9]{1,5}|empty|none|keys|values))?)?:(.*)\Z", re.DOTALL
)
_NOTHING: Final = np.empty(0, np.int8)

Parts = dict[str, Array]
"""The members of one run's value, by what stands behind the run; one array has an empty name."""


def members_of(kind: str, rows: Mapping[str, Rows]) -> dict[str, Array]:
    """Give the members of inputs or outputs.

    Args:
        kind: `input` or `output`.
        rows: what each run has, by name.
    """
    members: dict[str, Array] = {}
    for name, one in rows.items():
        if isinstance(one, np.ndarray):
            members[f"{kind}:{name}"] = one
            continue
        for run, value in enumerate(one):
            for part, array in _parts(value).items():
                dot = f".{part}" if part else ""
                members[f"{kind}.{run}{dot}:{name}"] = array
    return members


def _parts(value: Value) -> Parts:
    if value is None:
        return {"none": _NOTHING}
    if isinstance(value, dict):
        keys = sorted(value)
        return {"keys": np.asarray(keys), "values": np.asarray([value[key] for key in keys])}
    if isinstance(value, list):
        return {str(at): array for at, array in enumerate(value)} or {"empty": _NOTHING}
    return {"": value}


def values_of(members: Mapping[str, Array]) -> tuple[dict[str, Rows], dict[str, Rows]]:
    """Put members together to inputs and outputs.

    Raises:
        ValueError: a member is called as none is, or one is missing.
    """
    stacked: dict[tuple[str, str], Array] = {}
    single: dict[tuple[str, str], dict[int, Parts]] = {}
    for member, array in members.items():
        match = _MEMBER.match(member)
        if match is None:
            raise ValueError(f"expected input:NAME, output:NAME and labels, got {member!r:.80}")
        kind, run, part, name = match.groups()
        if run is None:
            stacked[kind, name] = array
        else:
            single.setdefault((kind, name), {}).setdefault(int(run), {})[part or ""] = array
    if both := stacked.keys() & single.keys():
        raise ValueError(f"expected {':'.join(min(both))!r:.80} once, got it in two ways")
    rows: dict[tuple[str, str], Rows] = {
        key: array if array.ndim else np.empty(0) for key, array in stacked.items()
    }
    rows |= {key: _values(":".join(key), runs) for key, runs in single.items()}
    inputs = {name: one for (kind, name), one in rows.items() if kind == "input"}
    return inputs, {name: one for (kind, name), one in rows.items() if kind == "output"}


def _values(what: str, runs: dict[int, Parts]) -> list[Value]:
    """Put the values of all runs together.

    Raises:
        ValueError: a run or a part of one is missing.
    """
    if sorted(runs) != list(range(len(runs))):
        raise ValueError(
            f"{what:.80}: expected runs 0 to {len(runs) - 1}, got {sorted(runs)!r:.80}"
        )
    return [_put_together(what, runs[run]) for run in range(len(runs))]


def _put_together(what: str, parts: Parts) -> Value:
    names = set(parts)
    if names == {""}:
        return parts[""]
    if names == {"none"}:
        return None
    if names == {"empty"}:
        return []
    if names == {"keys", "values"} and parts["keys"].ndim == parts["values"].ndim == 1:
        keys, values = parts["keys"].tolist(), parts["values"].tolist()
        if len(keys) == len(values):
            return dict(zip(keys, values, strict=True))
    if names == {str(at) for at in range(len(names))}:
        return [parts[str(at)] for at in range(len(names))]
    raise ValueError(f"{what:.80}: {sorted(names)!r:.80} make no value")
