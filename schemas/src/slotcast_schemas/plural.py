"""Numbers of things as people say them: one device, and not 1 devices."""

from __future__ import annotations


def several(number: int, noun: str) -> str:
    """Give so many of something, with thousands set apart, such as `1 device` or `2,000 devices`.

    Args:
        number: how many.
        noun: what they are; its plural must be the noun with an s.
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def part_of(number: int, of: int, noun: str) -> str:
    """Give how many of so many things, such as `0 of 1 device` or `3 of 40 devices`.

    Args:
        number: how many are meant.
        of: how many there are.
        noun: what they are; its plural must be the noun with an s.
    """
    return f"{number:,} of {several(of, noun)}"


def word_for(number: int, one: str, more: str) -> str:
    """Give the word that goes with so many, such as `has` with one device and `have` with more.

    Args:
        number: how many.
        one: the word for one.
        more: the word for none or several.
    """
    return one if number == 1 else more
