"""Sizes, times and figures as people read them, in log and status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slotcast_schemas.messages.status import Check

_IN_SECONDS: Final = ("latency_p", "load")
"""How the names of those checks begin whose figures are seconds."""


def size(size_bytes: float) -> str:
    """Give a size with its unit: `655.4 kB`."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def duration(seconds: float) -> str:
    """Give a time in its two largest units: `40 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    minutes, whole_s = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (whole_s, "s")]
    while len(parts) > 1 and parts[0][0] == 0:
        del parts[0]
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count) or "0 s"


def figure(check: Check) -> str:
    """Give a line of evidence in a few words: `errors 0.002 (limit 0.01, before 0.001)`."""
    if check.value is None:
        return f"{check.name} {'ok' if check.passed else check.detail or 'failed'}"
    sides = [
        f"{word} {amount(check.name, value)}"
        for word, value in (("limit", check.limit), ("before", check.reference))
        if value is not None
    ]
    text = f"{check.name} {amount(check.name, check.value)}"
    return f"{text} ({', '.join(sides)})" if sides else text


def amount(name: str, value: float) -> str:
    """Give the figure of a check with the unit that its name stands for."""
    if name.startswith(_IN_SECONDS):
        return f"{value * 1000:.3g} ms"
    return size(value) if name.startswith("memory") else f"{value:.3g}"


def figures(checks: Iterable[Check]) -> str:
    """Give all evidence that has a figure, in one line."""
    return ", ".join(figure(check) for check in checks if check.value is not None)
