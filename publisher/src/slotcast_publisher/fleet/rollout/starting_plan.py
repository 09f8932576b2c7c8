"""Writes a good plan to start from: every key of a plan, with what it means and may be.

Keys that a first plan should say are set; the others stand behind `#`, with their default, or with
an example where there is none. What it says of a key is the key's own description (`plan`).
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

from slotcast_publisher.fleet.rollout.plan import Plan
from slotcast_schemas.describe import Key, keys_of
from slotcast_schemas.reasons import Reason

_WIDTH: Final = 96
_CANARIES_MIN: Final = 5
"""The fewest canaries that a plan aims at: fewer can hardly show that a release is bad."""
_SMALL_FLEET: Final = 60
"""The devices of a fleet below which no share of a canary group is ever sure, so that failures are
counted instead."""
_EXAMPLES: Final[Mapping[str, Any]] = {
    "salt": "2026",
    "max_under_way": 50,
    "windows": ["Mon-Fri 08:00-16:00"],
    "stepping_stones": ["1.5"],
    "go_back_to": "1.0.post1",
    "limits.stop_after_failures": 3,
    "limits.max_share_by_reason": {str(Reason.TOO_SLOW): 0.02},
    "limits.max_nonfinite_share_rise": 0.001,
    "limits.max_load_time_ratio": 2.0,
    "limits.max_output_mean_shift": 0.5,
    "limits.max_output_std_ratio": 2.0,
    "groups[].tags": {"ring": "canary"},
    "groups[].ids": ["cam-1", "cam-2"],
    "groups[].percent": 5,
    "groups[].success_share": 0.9,
    "groups[].soak_s": 600.0,
    "groups[].windows": ["Mon-Fri 08:00-16:00"],
    "groups[].gate.command": ["/usr/local/bin/ask-quality", "detector"],
    "groups[].gate.url": "https://ci.example/may-pass",
}
"""What stands behind `#` for keys that have no default to show."""


def name_of(model: str, version: str) -> str:
    """Give the name that a rollout has unless a person chooses another."""
    return f"{model}-{version}".replace("+", ".").replace("!", ".")[:48]


def starting_plan(model: str, version: str, devices: int | None = None) -> str:
    """Write a plan: a canary group first, then everyone in steps.

    Args:
        model: of the release.
        version: of the release.
        devices: how many the fleet has, if that is known: a small one needs more canaries.
    """
    chosen = _chosen(model, version, devices)
    keys = keys_of(Plan)
    lines = [
        f"# A rollout of {model} {version}: `slotcast rollout check` checks it, `slotcast rollout",
        "# start` starts it. A key behind `#` is not set; what it shows is its default, or, where",
        "# it says so, an example.",
        "",
    ]
    for key in keys:
        if not key.name.startswith(("limits.", "groups[].")):
            lines += _lines(key, key.name, chosen)
    lines += ["[limits]"]
    for key in keys:
        if key.name.startswith("limits."):
            lines += _lines(key, key.name.removeprefix("limits."), chosen)
    lines += [
        "# The first group: a few devices that show whether the release is good.",
        "[[groups]]",
    ]
    for key in keys:
        if key.name.startswith("groups[]."):
            lines += _lines(key, key.name.removeprefix("groups[]."), chosen)
    lines += [
        "# Everyone else: a tenth first, then half, then all, each when the step before has",
        "# committed.",
        "[[groups]]",
        'name = "everyone"',
        "steps = [10, 50, 100]",
    ]
    return "\n".join(lines) + "\n"


def _chosen(model: str, version: str, devices: int | None) -> dict[str, Any]:
    percent = 5.0
    if devices:
        percent = min(50.0, max(percent, math.ceil(100 * _CANARIES_MIN / devices)))
    chosen: dict[str, Any] = {
        "format": 1,
        "model": model,
        "version": version,
        "name": name_of(model, version),
        "success_share": 0.95,
        "soak_s": 3600.0,
        "unseen_s": 86400.0,
        "limits.max_failed_share": 0.05,
        "limits.max_error_share": 0.02,
        "limits.max_latency_p50_ratio": 1.5,
        "limits.max_latency_p95_ratio": 1.5,
        "groups[].name": "canary",
        "groups[].percent": percent,
    }
    if devices and devices < _SMALL_FLEET:
        chosen["limits.stop_after_failures"] = 2
    return chosen


def _lines(key: Key, name: str, chosen: Mapping[str, Any]) -> Iterator[str]:
    is_example = key.name not in chosen and key.name in _EXAMPLES
    values = f"{key.unit}: {key.values}" if key.unit else key.values
    note = "; not set unless given, this is an example" if is_example else ""
    text = f"{key.meaning} ({values}{note})"
    yield from textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")
    value = chosen.get(key.name, _EXAMPLES.get(key.name, key.default))
    yield f"{'' if key.name in chosen else '# '}{name} = {_toml(value)}"
    yield ""


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case None:
            return '"none"'
        case float() if value.is_integer():
            return str(int(value))
        case tuple() | list():
            return f"[{', '.join(map(_toml, value))}]"
        case dict():
            return f"{{ {', '.join(f'{k} = {_toml(v)}' for k, v in value.items())} }}"
        case str():
            return json.dumps(value, ensure_ascii=False)
    return str(value)
