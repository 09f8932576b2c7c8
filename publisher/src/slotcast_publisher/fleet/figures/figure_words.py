"""Counts, shares and ratios in words: the same on the page, in a terminal and in a log."""

from __future__ import annotations

import math

from slotcast_schemas.plural import several


def count_words(number: float) -> str:
    """Give a count with its thousands set apart."""
    return f"{number:,.0f}"


def share_words(share: float) -> str:
    """Give a share in percent, with as many digits as it needs to differ from nothing."""
    percent = share * 100
    if percent == 0 or abs(percent) >= 100:
        return f"{percent:.0f} %"
    digits = min(3, max(1, 1 - math.floor(math.log10(abs(percent)))))
    words = f"{percent:.{digits}f}".rstrip("0").rstrip(".")
    return f"{words.replace('-', '−')} %"


def of_words(hits: int, of: int) -> str:
    """Give a share by its two numbers."""
    return f"{count_words(hits)} of {count_words(of)}"


def ratio_words(ratio: float) -> str:
    """Give how many times something is something else."""
    return f"{three_digits(ratio)} ×"


def devices_words(count: int) -> str:
    """Give a number of devices."""
    return several(count, "device")


def three_digits(value: float) -> str:
    """Give three digits of a number of three digits at most; more are given whole."""
    if value >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
