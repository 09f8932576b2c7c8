"""The vector by which a machine finds out that it calculates as the format demands."""

from __future__ import annotations

from slotcast_schemas.codecs.delta import selftest


def test_the_vector_gives_here_what_the_format_demands() -> None:
    """Calculated anew: its digest is kept for the life of a process."""
    selftest.vector_digest.cache_clear()
    assert selftest.vector_digest() == selftest.EXPECTED
    selftest.check_arithmetic()
