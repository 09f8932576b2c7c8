"""What onnxruntime says of an error, with the cause first. Pure.

Its messages begin with a class, the file's path and places in its own sources, and a status keeps
but the first few hundred characters: the cause is found, and told first.
"""

from __future__ import annotations

import re
from typing import Final

_CLASS: Final = re.compile(r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ")
_LOADING: Final = re.compile(
    r"(?:Exception during (?:loading|initialization): )|(?:Load model from \S+ failed: ?)"
)
_SOURCE: Final = re.compile(
    r"\S+\.(?:cc|h|cpp|hpp|cu|cuh):\d+ "  # the place in onnxruntime's sources
    r"(?:[\w:~<>*&, ]*\((?:[^()]|\([^()]*\))*\)(?: const)?"  # the function, with its arguments
    r"(?:::<lambda\([^)]*\)>)?(?: \[with [^\]]*\])? "
    r"|(?:operator\(\)|\w+) )"  # or its name alone
)
_NODE: Final = re.compile(
    r"Non-zero status code returned while running (\w+) node\. Name:'([^']*)' Status Message: "
)
_ADVICE: Final = re.compile(r" ?Please fix either the inputs/outputs or the model\.?")


def cause_of(error: BaseException, *folders: str) -> str:
    """Give an error's cause in one line.

    Args:
        error: what was raised.
        folders: paths that say nothing to whoever reads it; names below them are kept.
    """
    text = " ".join(str(error).split())
    for folder in folders:
        text = text.replace(f"{folder.rstrip('/')}/", "")
    text = _ADVICE.sub("", _SOURCE.sub("", _LOADING.sub("", _CLASS.sub("", text))))
    parts = _NODE.split(text)
    if len(parts) > 1:  # a node in a graph in a node: the innermost has the cause
        kind, name, said = parts[-3:]
        where = f"{kind} node {name!r}" if name else f"{kind} node"
        text = f"{said.strip()} (at {where})"
    return text.strip() or type(error).__name__
