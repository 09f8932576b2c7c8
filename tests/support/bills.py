"""Holds a bill of materials to CycloneDX's own schema."""

from __future__ import annotations


def check_bill(text: str) -> None:
    """Check a bill of materials, written as JSON.

    Raises:
        AssertionError: it is not what CycloneDX 1.6 allows.
    """
    # The import takes a second, and each worker imports all files of tests.
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    assert problem is None, problem
