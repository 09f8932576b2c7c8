"""Decoders are made when the module that defines their type is imported, not by the first decode.

msgspec makes a type's decoder at its first use and keeps it on the class, where other threads see
it half made: in msgspec 0.22 two threads that decode the first message of a type at the same time
end the process with SIGSEGV. An import runs in one thread, under the module's import lock. So
every module that defines a type which is decoded calls `make_decoders` below it, and
tests/unit/workspace/test_first_use.py finds the one that does not.
"""

from __future__ import annotations

import msgspec


def make_decoders(*kinds: object) -> None:
    """Have msgspec make all that it needs to decode these types, and the types in their fields.

    Args:
        kinds: structs, or types made of them such as `dict[str, Entry]`.
    """
    for kind in kinds:
        msgspec.json.Decoder(kind)
