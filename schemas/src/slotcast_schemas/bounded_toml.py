"""Reads TOML whose keys are no longer than keys are.

Python's reader keeps, for each part of a dotted key, all parts before it: a key of 100,000 parts,
which fits into 256 kB, takes more memory than a machine has.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final

KEY_PARTS_MAX: Final = 64
"""The most parts of a dotted key; what is read here has four."""

_QUOTED: Final = re.compile(
    r'"""(?:[^\\]|\\(?:.|\Z))*?(?:"""|\Z)'
    r"|'''.*?(?:'''|\Z)"
    r'|"(?:[^"\\\n]|\\.)*"?'
    r"|'[^'\n]*'?"
    r"|#[^\n]*",
    re.DOTALL,
)
"""Texts and comments, in which dots are no parts of keys (TOML 1.0); one that does not
end goes to the end, so that each character is looked at once."""
_RUN: Final = re.compile(r"[A-Za-z0-9_ \t.-]+")
"""What a key consists of, once texts are taken out of it; numbers look like one, too."""


def read_toml(text: str) -> dict[str, Any]:
    """Read a document.

    Raises:
        tomllib.TOMLDecodeError: it is none, or has a key of more than 64 parts.
        RecursionError: it is nested too deeply (`decode_errors`).
    """
    if text.count(".") >= KEY_PARTS_MAX:
        for run in _RUN.finditer(_QUOTED.sub("_", text)):
            if run[0].count(".") >= KEY_PARTS_MAX:
                raise tomllib.TOMLDecodeError(f"expected keys of at most {KEY_PARTS_MAX} parts")
    return tomllib.loads(text)
